//! Whether a store's file system can clone files (ioctl_ficlone(2)).

use std::io::Write;
use std::path::Path;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::options::{Reflink, Reuse};
use crate::store::layout::Layout;
use crate::store::own::held;
use crate::store::record;
use crate::store::space::is_no_room;

/// How a snapshot uses the files of earlier ones again.
///
/// # Errors
/// When it is to clone them, and the file system can't.
pub(super) fn reuse(layout: &Layout, clone: Reflink) -> Result<Reuse> {
    match clone {
        Reflink::Never => Ok(Reuse::Link),
        _ if can_clone(layout)? => Ok(Reuse::Clone),
        Reflink::Auto => Ok(Reuse::Link),
        Reflink::Always => {
            let why = "its file system can't clone files, as btrfs and xfs can".into();
            Err(Error::new(Operation::UseStore, layout.store(), Cause::Refused(why)))
        }
    }
}

/// Tries it with two small files.
fn can_clone(layout: &Layout) -> Result<bool> {
    let (one, other) = (layout.own("clone-from"), layout.own("clone-to"));
    let make = |path: &Path| held::create(path).at(Operation::Create, || path);
    let clone = || {
        let (mut from, to) = (make(&one)?, make(&other)?);
        from.write_all(&[1; 4096]).at(Operation::Write, || &one)?;
        Ok(rustix::fs::ioctl_ficlone(&to, &from).is_ok())
    };
    let cloned = clone();
    record::remove(&one)?;
    record::remove(&other)?;
    match cloned {
        // The run says so, and what is pruned makes room.
        Err(error) if is_no_room(&error) => Ok(false),
        cloned => cloned,
    }
}
