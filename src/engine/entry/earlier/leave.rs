//! `--compare-dest`: what an earlier tree has in the same state, with all metadata that are kept, is left out. The destination
//! is to look like a fresh one: a file that it has all the same is removed.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::engine::entry::earlier::link::find_exact;
use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::entry::keep_old;
use crate::engine::own::writable::writable;
use crate::engine::state::copied::Copied;
use crate::error::{Context, Operation, Result};
use crate::event::{Action, Reused};
use crate::io::rename::Taken;

/// Leaves the item out, if an earlier tree has the same. `None`: none has.
pub(crate) async fn leave(item: &Item<'_>, source: &SourceEntry, taken: Taken) -> Result<Option<Copied>> {
    for reference in &item.run().references.trees {
        let Some(exact) = find_exact(item, source, reference).await? else { continue };
        let reused = Some(Reused { tree: reference.number, bytes: exact.size(), as_it_is: true });
        let action = match taken {
            Taken::Nothing => Action::Unchanged,
            _ => remove(item).await?,
        };
        return Ok(Some(Copied { action, reused, ..Copied::skipped() }));
    }
    Ok(None)
}

/// Removes what the destination has of it, of which a backup is made where these are kept.
async fn remove(item: &Item<'_>) -> Result<Action> {
    if item.run().config.writes() {
        keep_old::keep(item).await?;
        item.lane.doing(Operation::Remove);
        let within = item.changing()?;
        let unlink = || rustix::fs::unlinkat(within, item.target(), AtFlags::empty());
        match writable(within, item.run(), unlink) {
            Ok(()) | Err(Errno::NOENT) => item.pair.uncount_compared(),
            Err(errno) => return Err(errno).at(Operation::Remove, || item.path()),
        }
    }
    Ok(Action::Deleted)
}
