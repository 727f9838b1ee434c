//! Setting up io_uring. And seeing to it while tasks leave the runtime no time for that.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use io_uring::IoUring;
use rustix::io::Errno;

use crate::io::op;

/// Submission entries. A short queue on purpose: a full queue is handed to the kernel at once, so that operations
/// don't wait until every task of the thread has had its turn.
const ENTRIES: u32 = 32;
/// Completion entries: every task may have two operations in flight, a large file's tasks more.
const COMPLETIONS: u32 = 2048;
/// Kernel workers a ring for what can't be done without waiting (opens and stats of cold files). The kernel's own
/// limit of four a core leaves a disk's queue empty.
const WORKERS: u32 = 64;

/// What all rings of a run are set up with: a small ring, by which the kernel has shown what it can do.
pub(crate) struct Control(IoUring);

impl Control {
    /// Sets it up, and asks for the operations that the engine needs.
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::new(2)?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        // Nothing is submitted: this only shows whether it may be.
        ring.submitter().submit()?;
        let needed = [
            io_uring::opcode::OpenAt::CODE,
            io_uring::opcode::Statx::CODE,
            io_uring::opcode::Read::CODE,
            io_uring::opcode::Write::CODE,
            io_uring::opcode::Fsync::CODE,
        ];
        if needed.iter().all(|&code| probe.is_supported(code)) {
            Ok(Control(ring))
        } else {
            Err(Errno::NOSYS.into())
        }
    }

    /// A runtime with its ring, for the thread that calls.
    pub(crate) fn runtime(&self) -> io::Result<tokio_uring::Runtime> {
        let mut settings = tokio_uring::uring_builder();
        settings.setup_cqsize(COMPLETIONS);
        let runtime =
            tokio_uring::Runtime::new(tokio_uring::builder().entries(ENTRIES).uring_builder(&settings))?;
        // The workers belong to the thread, not to one of its rings: the limit can be set through any ring. A kernel too
        // old for it (before 5.15) keeps its own.
        self.0.submitter().register_iowq_max_workers(&mut [WORKERS, 0]).ok();
        Ok(runtime)
    }
}

/// The same for one thread alone.
pub(crate) fn runtime() -> io::Result<tokio_uring::Runtime> {
    Control::new()?.runtime()
}

/// How often a ring is seen to, at least, while anything is in flight.
const SEEN_TO_EVERY: Duration = Duration::from_millis(1);

/// Has a thread see to its ring. The runtime submits what the ring was given only when no task is ready to go on; tasks
/// that find everything in the caches always are.
pub(super) struct Sight {
    /// When the ring last answered.
    last: Cell<Instant>,
    /// Tasks wait for it to be seen to.
    awaited: Cell<bool>,
}

impl Sight {
    pub(super) fn new() -> Self {
        Sight { last: Cell::new(Instant::now()), awaited: Cell::new(false) }
    }

    /// The ring has answered a task: the thread has just had a look.
    pub(super) fn was_seen_to(&self) {
        self.last.set(Instant::now());
    }

    /// Ends the task's turn until the thread has seen to its ring, if it has not for too long. A task that comes by
    /// meanwhile waits as well: only when none is ready is anything submitted.
    pub(super) async fn see_to(&self, now: Instant) {
        if self.awaited.get() || now.saturating_duration_since(self.last.get()) >= SEEN_TO_EVERY {
            self.awaited.set(true);
            op::nothing().await;
            self.awaited.set(false);
            self.was_seen_to();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn whoever_comes_by_while_the_ring_is_awaited_waits_as_well() {
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
