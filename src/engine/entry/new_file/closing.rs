//! Asking what closing a new file says (io/close.rs), before it gets its name.

use rustix::io::Errno;

use crate::engine::entry::item::Item;
use crate::engine::own::new_file::NewFile;
use crate::error::{Context, Operation, Result};
use crate::event::metrics::{Call, Means};
use crate::io::close;

/// Asks, where that can matter: on a file system of the kernel's own that keeps what it takes a file pays nothing. The answer may take as long as the network does, and comes in a thread.
pub(crate) async fn ask(item: &Item<'_>, new: &NewFile) -> Result<()> {
    if item.pair.file_system.is_faithful {
        return Ok(());
    }
    item.lane.doing(Operation::Write);
    let fd = new.fd.clone();
    let asked = tokio::task::spawn_blocking(move || close::ask(&fd));
    let asked = item.lane.io.hand_over(Call::Flush, Means::Thread, asked, |_| 0).await;
    asked.unwrap_or(Err(Errno::IO)).at(Operation::Write, || item.path())
}
