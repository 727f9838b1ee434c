//! Sources that a process writes to through a mapping (mmap(2), `MAP_SHARED`), as many databases are. The kernel hears of the
//! first store to a page alone, and moves the file's times then; the page is its own again once it was written to the disk. A
//! page that was stored to before a file is read would take further stores, while it is read and for half a minute after,
//! that no time ever tells.
//!
//! So what somebody has open to write to is written out before it is read: from then on every store moves its times, also those
//! that come after the copy. What lies in memory has no disk to be written to: there a second look has to tell, and what
//! comes after the copy shows with `--checksum` alone.

use std::os::fd::AsFd;

use rustix::time::ClockId;

use crate::engine::entry::item::Item;
use crate::engine::run::blocking::in_thread;
use crate::error::{Operation, Result};
use crate::io::file::{Family, File};
use crate::io::op;
use crate::stat::Stat;

/// Seconds. What was stored to is written out within half a minute as a rule (`vm.dirty_expire_centisecs`), on a portable
/// computer within some minutes.
const WRITTEN_OUT: i64 = 3600;
/// The same where nobody is allowed to know whether a file is open to be written to.
const WRITTEN_OUT_AS_A_RULE: i64 = 60;

/// What is to be done so that stores show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stores {
    /// They do: nobody can store to it, but through a mapping that is still to be made.
    Show,
    /// They do once it is written out.
    ShowOnceWritten,
    /// They do not.
    Hide,
}

/// Sees to it that stores to `source`, which was found like `stat`, show in its times. Returns whether they do.
pub(crate) async fn show_stores(item: &Item<'_>, source: &File, stat: &Stat) -> Result<bool> {
    match stores(source, stat) {
        Stores::Show => Ok(true),
        Stores::Hide => Ok(false),
        Stores::ShowOnceWritten => {
            item.lane.doing(Operation::ReadSource);
            let fd = source.fd.clone();
            let written = in_thread(item.lane, move |_| Ok(op::write_out(fd.as_fd()).is_ok()));
            // What an overlay lies on may have no disk.
            Ok(Box::pin(written).await? && source.family == Family::Kernel)
        }
    }
}

/// Whether stores may have come to what lies in memory while it was read, though its times stood still.
pub(crate) fn may_hide_stores(source: &File, stat: &Stat) -> bool {
    source.family == Family::Memory && stores(source, stat) == Stores::Hide
}

fn stores(source: &File, stat: &Stat) -> Stores {
    if stat.size == 0 {
        return Stores::Show;
    }
    let age =
        rustix::time::clock_gettime(ClockId::RealtimeCoarse).tv_sec.saturating_sub(stat.changed.seconds);
    let has_disk = matches!(source.family, Family::Kernel | Family::Overlay);
    if has_disk && age > WRITTEN_OUT {
        return Stores::Show;
    }
    match op::is_open_for_writing(source.as_fd()) {
        Ok(false) => Stores::Show,
        Ok(true) if has_disk => Stores::ShowOnceWritten,
        Ok(true) => Stores::Hide,
        Err(_) if source.family == Family::Fuse || age > WRITTEN_OUT_AS_A_RULE => Stores::Show,
        Err(_) => Stores::Hide,
    }
}
