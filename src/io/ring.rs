//! Setting up io_uring.

use std::io;

use io_uring::IoUring;
use rustix::io::Errno;

use crate::error::Cause;

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

/// Why io_uring can't be used here, if it can't. It is what a run of [`Engine::Auto`](crate::Engine::Auto) asks first.
pub fn ring_refusal() -> Option<Cause> {
    Control::new().err().map(Cause::NoRing)
}

/// A runtime with a ring for one thread alone.
pub(crate) fn runtime() -> io::Result<tokio_uring::Runtime> {
    Control::new()?.runtime()
}
