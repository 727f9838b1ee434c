//! Symlinks that stand for what they lead to, and those that are left out since they lead out of the source.

use crate::engine::entry::item::Item;
use crate::engine::entry::special::source_target;
use crate::error::{Cause, Error, Operation, Outcome, Result};
use crate::event::{EntryEvent, Kind};
use crate::plan::symlinks::is_unsafe;
use crate::roots::follow::Led;

/// Follows the item's symlink, and mirrors what that leads to. Where it leads is found out when that is opened: it may have been
/// turned elsewhere since the walk looked.
pub(super) async fn mirror(item: Item<'_>) -> EntryEvent {
    match follow(&item) {
        Ok(led) => Box::pin(Item { led: Some(&led), ..item }.mirror()).await,
        Err(error) => {
            let run = item.run();
            if error.outcome() == Outcome::Vanished && run.config.delete.is_some() {
                run.deletions.protect_vanished(item.directory.path_of(item.target()));
            }
            EntryEvent::failed(item.entry.kind, error)
        }
    }
}

/// What the item's symlink leads to, if it may be followed.
pub(crate) fn follow(item: &Item<'_>) -> Result<Led> {
    item.lane.doing(Operation::FollowLink);
    let failed = |cause| Error::new(Operation::FollowLink, item.source_path(), cause);
    let way = item.run().way_to(item.directory, &item.entry.name).map_err(failed)?;
    let within = way.name.is_some().then_some(item.pair.source_stat.inode);
    let way = crate::roots::follow::Follow { within, ..way };
    let mut led = way.go().and_then(Led::allowed).map_err(failed)?;
    if led.stat.kind == Kind::Directory {
        return Err(failed(Cause::TypeChanged));
    }
    // Its other names are no names of the symlink.
    led.stat.links = 1;
    Ok(led)
}

/// Whether the item's symlink leads out of the source by its text, or may.
pub(super) fn leads_out(item: &Item<'_>) -> Result<bool> {
    let target = source_target(item)?;
    Ok(is_unsafe(target.to_bytes(), item.directory.path().components().count()))
}
