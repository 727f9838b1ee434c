//! Having the ring take what it was given. tokio-uring submits only when its runtime parks, or its queue is full: tasks that
//! do everything in place leave it no time for that.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::io::op;

/// How often a ring is seen to, at least, while anything is in flight.
const SEEN_TO_EVERY: Duration = Duration::from_millis(1);

/// Has a thread see to its ring. The runtime submits what the ring was given only when no task is ready to go on; tasks
/// that find everything in the caches always are.
pub(crate) struct Sight {
    /// When the ring last answered.
    last: Cell<Instant>,
    /// Tasks wait for it to be seen to.
    awaited: Cell<bool>,
}

impl Sight {
    pub(crate) fn new() -> Self {
        Sight { last: Cell::new(Instant::now()), awaited: Cell::new(false) }
    }

    /// The ring has answered a task: the thread has just had a look.
    pub(crate) fn mark_seen_to(&self) {
        self.last.set(Instant::now());
    }

    /// Ends the task's turn until the thread has seen to its ring, if it has not for too long. A task that comes by
    /// meanwhile waits as well: only when none is ready is anything submitted.
    pub(crate) async fn see_to(&self, now: Instant) {
        if self.awaited.get() || now.saturating_duration_since(self.last.get()) >= SEEN_TO_EVERY {
            self.awaited.set(true);
            op::nothing().await;
            self.awaited.set(false);
            self.mark_seen_to();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::io::ring::runtime;

    #[test]
    fn a_task_that_comes_while_the_ring_is_awaited_waits_as_well() {
        let Ok(runtime) = runtime() else { return };
        runtime.block_on(async {
            let sight = Sight::new();
            let begun = Instant::now();
            let mut context = Context::from_waker(Waker::noop());
            let mut is_ready = |now| pin!(sight.see_to(now)).poll(&mut context).is_ready();
            assert!(is_ready(begun), "it has just been seen to");
            let late = begun + 2 * SEEN_TO_EVERY;
            let mut first = pin!(sight.see_to(late));
            assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(!is_ready(begun), "no time has passed, but nothing is submitted while it is ready");
            first.await;
            assert!(is_ready(begun), "it has been seen to");
        });
    }
}
