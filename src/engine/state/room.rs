//! Room on the destination's disk. A file that is larger than all that is free costs that file, not the run: it is not
//! begun where that can be known before, and where it shows on the way, its room is given back and the others go on.
//! A disk is full when not even a small file finds room, and nobody else's large one has taken it.
//!
//! Large files that may not all fit at the same time go one after the other: each is promised its room first. Where what
//! is free can't be known (a quota, a file system that compresses), the errno alone tells, also to small files beside a
//! large one: they wait until it has ended, and try again.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Files with more bytes of data may take the room that others need: while one is written, `ENOSPC` does not tell that the
/// disk is full. With less room than this left a disk is full.
pub(crate) const FILLER: u64 = 1 << 20;

/// The room that files of a run take.
#[derive(Debug, Default)]
pub(crate) struct Room {
    state: Mutex<State>,
    /// One that took much has ended.
    ended: Notify,
    /// Held by the one that tries again: two large files would take each other's room for ever.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that those at work may come to take.
    promised: u64,
    at_work: usize,
    /// How many have ended.
    ended: u64,
}

/// Room that a file may take, until this is dropped.
#[derive(Debug)]
pub(crate) struct Promise {
    room: Arc<Room>,
    bytes: u64,
}

impl Promise {
    /// How many bytes it may take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.promised -= self.bytes;
        state.at_work -= 1;
        state.ended += 1;
        drop(state);
        self.room.ended.notify_waiters();
    }
}

impl Room {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises a file its room. Waits for others to end if it might not fit beside them. `free` tells what is free, where
    /// that is known.
    ///
    /// # Errors
    /// What is free, if that is less than it takes.
    pub(crate) async fn promise(
        self: &Arc<Self>,
        bytes: u64,
        free: impl Fn() -> Option<u64>,
    ) -> Result<Promise, u64> {
        loop {
            // Before the look: who ends right after it is heard as well.
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            {
                let mut state = self.state();
                let fits = |others: u64| free().filter(|free| *free < bytes.saturating_add(others));
                match fits(state.promised) {
                    None => {
                        state.promised += bytes;
                        state.at_work += 1;
                        return Ok(Promise { room: self.clone(), bytes });
                    }
                    Some(free) if state.at_work == 0 => return Err(free),
                    Some(_) => {}
                }
            }
            ended.await;
        }
    }

    /// How many that took much are at work, and how many have ended so far.
    pub(crate) fn takers(&self) -> (usize, u64) {
        let state = self.state();
        (state.at_work, state.ended)
    }

    /// Waits until more than `before` have ended, or none is at work.
    pub(crate) async fn wait(&self, before: u64) {
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            {
                let state = self.state();
                if state.at_work == 0 || state.ended > before {
                    return;
                }
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_fit_beside_others_waits_and_who_never_fits_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let room = Arc::new(Room::default());
            let first = room.promise(60, || Some(100)).await.unwrap();
            let beside = room.promise(40, || Some(100)).await.unwrap();
            let other = room.clone();
            let third = tokio::task::spawn_local(async move { other.promise(50, || Some(100)).await });
            tokio::task::yield_now().await;
            assert!(!third.is_finished(), "60 and 40 are promised");
            drop(first);
            let third = third.await.unwrap().unwrap();
            assert_eq!(room.takers(), (2, 1));
            drop((beside, third));
            assert_eq!(room.takers(), (0, 3));
            room.wait(3).await;
            assert_eq!(room.promise(101, || Some(100)).await.unwrap_err(), 100);
            assert!(room.promise(1 << 40, || None).await.is_ok(), "what is free is not known");
        });
    }
}
