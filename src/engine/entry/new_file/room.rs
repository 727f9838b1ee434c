//! What a file's copy does about room on the destination's disk (engine/state/room.rs): it is promised its own before its
//! contents come, and where it found none, others may have had it meanwhile.

use rustix::io::Errno;
use tokio::sync::MutexGuard;

use crate::engine::entry::item::Item;
use crate::engine::entry::large_file::LARGE_FILE;
use crate::engine::own::new_file::NewFile;
use crate::engine::state::room::{FILLER, Promise};
use crate::error::{Cause, Error, Operation, Result};
use crate::io::file::{free_bytes, told_free_bytes};
use crate::stat::stat_open;

impl Item<'_> {
    /// Has a file that may take much promised its room, until it is done. One that is larger than all that is free is an
    /// error at once; small ones pay nothing for that. A disk without any room is full, whatever the file.
    pub(crate) async fn take_room(&self, size: u64, data: u64, new: &NewFile) -> Result<()> {
        if size <= FILLER {
            return Ok(());
        }
        let has = if new.has_contents() { allocated(new) } else { 0 };
        let bytes = data.saturating_sub(has);
        let root = self.run().rules.privileges.root;
        let free = || (bytes > LARGE_FILE).then(|| free_bytes(&new.fd, root)).flatten();
        match self.lane.patiently(self.run().room.promise(bytes, free)).await {
            None => self.fail_if_stopped(),
            Some(Ok(promise)) => {
                new.room.set(Some(promise));
                Ok(())
            }
            Some(Err(free)) if free < FILLER => Err(Error::new(Operation::Write, self.path(), Errno::NOSPC)),
            Some(Err(free)) => Err(self.without_room(Errno::NOSPC.into(), bytes - free)),
        }
    }

    /// What the shortage of a file says that took some of the room it was `promised`: that there is no room for it alone, or,
    /// where it found next to none and no others have much of it, that the disk is full.
    fn judge_shortage(&self, error: Error, took: u64, promised: u64, (others, free): (usize, u64)) -> Error {
        let is_large = promised >= FILLER;
        // Some programs behind FUSE give a file all of its room at once, or none: that of exFAT.
        let has_enough = took >= FILLER;
        let had = if has_enough { took } else { free };
        let is_alone = has_enough || is_large && (others > 0 || had >= FILLER);
        match error.cause {
            // On FUSE all of its size may seem to be there from the beginning.
            Cause::Io(why) if is_alone && had >= promised => self.without_room(why, promised),
            Cause::Io(why) if is_alone => self.without_room(why, promised - had),
            cause => Error { cause, ..error },
        }
    }

    /// Bytes that the file system of a new file calls free.
    fn told_free(&self, new: &NewFile) -> u64 {
        told_free_bytes(&new.fd, self.run().rules.privileges.root)
    }

    fn without_room(&self, why: std::io::Error, missing: u64) -> Error {
        Error::new(Operation::Write, self.path(), Cause::NoRoom { why, missing })
    }
}

/// Bytes that a new file has on the disk.
fn allocated(new: &NewFile) -> u64 {
    stat_open(&new.fd).map_or(0, |stat| stat.allocated)
}

/// Frees the room of a file that is given up. Another thread may still hold its descriptor for a while, so that to close it
/// would not be enough; and what is freed can be had, on some file systems, once that is on the disk.
async fn give_back(item: &Item<'_>, new: &NewFile) {
    let fd = new.fd.clone();
    let freed = tokio::task::spawn_blocking(move || {
        rustix::fs::ftruncate(&fd, 0).and_then(|()| rustix::fs::syncfs(&fd))
    });
    // Where it can't be freed, the next file finds no room either, and says so.
    item.lane.patiently(freed).await;
}

/// How often a small file is tried again whose room a large one had just given back: a quota may count it a while longer.
const MOST_SETTLINGS: u32 = 3;

/// How a copy gets on that finds no room.
#[derive(Default)]
pub(crate) struct Shortage<'a> {
    /// How many files that took much had ended when this one was begun.
    before: u64,
    tries: u32,
    /// How often it was tried again once what others gave back was on the disk.
    settled: u32,
    /// Held from the second try on: two large files would take each other's room again.
    turn: Option<MutexGuard<'a, ()>>,
}

impl<'a> Shortage<'a> {
    /// The file is begun.
    pub(crate) fn begin(&mut self, item: &Item<'_>) {
        self.before = item.run().room.takers().1;
    }

    /// Gives back what a file took that found no room, and waits until others have done so whose room it may have been.
    ///
    /// # Errors
    /// Any other error. That the disk is full: nobody else had much of it, and there was no room for a small file. That there
    /// is no room for this file alone: what it had, which is free again, or what is free now is more than a small file takes.
    pub(crate) async fn wait(
        &mut self,
        item: &'a Item<'_>,
        new: Option<&NewFile>,
        error: Error,
    ) -> Result<()> {
        if !error.lacks_room() {
            return Err(error);
        }
        let room = &item.run().room;
        let promise = new.and_then(|new| new.room.take());
        let (at_work, ended) = room.takers();
        let others = at_work - usize::from(promise.is_some());
        let is_shared = others > 0 || ended > self.before;
        // Small files need no more than their turn, as long as there are others that may end; a large one gets one.
        let again = is_shared && (self.tries == 0 || promise.is_none());
        if !is_shared && promise.is_none() && ended > 0 && self.settled < MOST_SETTLINGS {
            self.settled += 1;
            item.lane.settle_room().await;
            return item.fail_if_stopped();
        }
        let own = new.filter(|new| !new.is_in_place());
        let took = own.map_or(0, allocated);
        // Others judge by what is left: a large file keeps nothing while it waits.
        if let Some(new) = own.filter(|_| took >= FILLER || promise.is_some() && took > 0) {
            give_back(item, new).await;
        }
        let expected = promise.as_ref().map_or(0, Promise::bytes);
        drop(promise); // now that its room is free again
        if !again {
            let free = new.map_or(0, |new| item.told_free(new));
            let others = others.max(room.takers().0);
            return Err(item.judge_shortage(error, took, expected, (others, free)));
        }
        self.tries += 1;
        if self.turn.is_none() {
            self.turn = item.lane.patiently(room.turn.lock()).await;
        }
        if ended == self.before {
            item.lane.patiently(room.wait(room.takers().1)).await;
        }
        item.fail_if_stopped()
    }
}
