//! Setting up io_uring: what it needs is tried first, so that a refusal can be told apart and remedied.

use std::cell::{Cell, OnceCell};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use io_uring::IoUring;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::op;

/// Submission entries. A short queue on purpose: a full queue is handed to the kernel at once, so that operations
/// don't wait until every task of the thread has had its turn.
const ENTRIES: u32 = 32;
/// Completion entries: every task may have two operations in flight, a large file's tasks more.
const COMPLETIONS: u32 = 2048;
/// Kernel workers a ring for what can't be done without waiting (opens and stats of cold files). The kernel's own
/// limit of four a core leaves a disk's queue empty.
const WORKERS: u32 = 64;

/// Why a ring could not be set up, with the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{source}; {remedy}")]
pub(crate) struct Unavailable {
    source: io::Error,
    remedy: &'static str,
}

impl From<io::Error> for Unavailable {
    fn from(source: io::Error) -> Self {
        let remedy = match Errno::from_io_error(&source) {
            Some(Errno::PERM | Errno::ACCESS) => {
                "io_uring is forbidden here: set the sysctl kernel.io_uring_disabled to 0, \
                 allow io_uring_setup in the container's seccomp profile, or use --engine threads"
            }
            Some(Errno::NOSYS) => {
                "this kernel has no io_uring (Linux 5.15 or newer has): use --engine threads"
            }
            Some(Errno::NOMEM) => {
                "the ring's memory counts as locked: raise the limit (ulimit -l), \
                 lower --jobs, or use --engine threads"
            }
            Some(Errno::MFILE | Errno::NFILE) => "too many open files: raise the limit (ulimit -n)",
            _ => "use --engine threads",
        };
        Unavailable { source, remedy }
    }
}

/// A runtime with its ring, for the thread that calls.
pub(crate) fn runtime() -> Result<tokio_uring::Runtime, Unavailable> {
    let mut settings = tokio_uring::uring_builder();
    settings.setup_cqsize(COMPLETIONS);
    let runtime =
        tokio_uring::Runtime::new(tokio_uring::builder().entries(ENTRIES).uring_builder(&settings))?;
    // The workers belong to the thread, not to one of its rings: the limit can be set through any of them. A kernel
    // too old for it (before 5.15) keeps its own.
    if let Ok(ring) = IoUring::new(2) {
        ring.submitter().register_iowq_max_workers(&mut [WORKERS, 0]).ok();
    }
    Ok(runtime)
}

/// Whether this process may use so many rings with the operations the engine needs.
pub(crate) fn probe(rings: usize) -> Result<(), Unavailable> {
    let build =
        || -> std::io::Result<IoUring> { IoUring::builder().setup_cqsize(COMPLETIONS).build(ENTRIES) };
    let rings = (0..rings).map(|_| build()).collect::<std::io::Result<Vec<_>>>()?;
    let mut probe = io_uring::Probe::new();
    if let Some(ring) = rings.first() {
        ring.submitter().register_probe(&mut probe)?;
    }
    let needed = [
        io_uring::opcode::OpenAt::CODE,
        io_uring::opcode::Statx::CODE,
        io_uring::opcode::Read::CODE,
        io_uring::opcode::Write::CODE,
        io_uring::opcode::Fsync::CODE,
    ];
    if needed.iter().all(|&code| probe.is_supported(code)) {
        Ok(())
    } else {
        Err(io::Error::from(Errno::NOSYS).into())
    }
}

/// A ring is seen to so often at least while anything is in flight.
const SEEN_TO_EVERY: Duration = Duration::from_millis(1);

/// Has a thread see to its ring. The runtime submits what the ring was given only when no task is ready to go on; tasks
/// that find everything in the caches always are.
pub(super) struct Sight {
    bell: OnceCell<Bell>,
    /// When the thread last had a look.
    last: Cell<Instant>,
}

impl Sight {
    pub(super) fn new() -> Self {
        Sight { bell: OnceCell::new(), last: Cell::new(Instant::now()) }
    }

    /// An operation is done: the thread has just had a look.
    pub(super) fn was_seen_to(&self) {
        self.last.set(Instant::now());
    }

    /// Ends the task's turn until the thread has seen to its ring, if it has not for too long.
    pub(super) async fn see_to(&self, now: Instant) {
        if now.saturating_duration_since(self.last.get()) >= SEEN_TO_EVERY {
            self.last.set(now); // other tasks need not ring as well
            self.bell.get_or_init(Bell::new).ring().await;
        }
    }
}

/// Something to wait for that only comes by way of the kernel. Without a descriptor for it the ring has to wait.
struct Bell(Option<AsyncFd<OwnedFd>>);

impl Bell {
    /// One for the runtime of the calling task.
    fn new() -> Self {
        Bell(op::watched_event().ok())
    }

    /// Waits for an event, which the runtime looks for after it has submitted everything.
    async fn ring(&self) {
        let Some(event) = &self.0 else { return };
        // Each write is an event, whatever the count; no run lasts until that is full.
        if rustix::io::write(event, &1_u64.to_ne_bytes()).is_ok()
            && let Ok(mut ready) = event.readable().await
        {
            ready.clear_ready();
        }
    }
}
