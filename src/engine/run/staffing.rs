//! Who works on a run.

use crate::config::Config;
use crate::options::Engine;

/// Who works on a run.
pub(crate) struct Staffing {
    pub(crate) threads: usize,
    /// Rings in reserve.
    pub(crate) reserve: usize,
    /// Tasks a thread, at most.
    pub(crate) tasks: usize,
}

impl Staffing {
    pub(crate) fn new(config: &Config, engine: Engine, descriptors: usize) -> Self {
        let most = descriptors / DESCRIPTORS_A_TASK;
        if engine == Engine::Threads {
            return Staffing { threads: THREADS.min(most).max(1), reserve: 0, tasks: 1 };
        }
        let threads = config.jobs.max(1);
        let tasks = config.depth.min(most / threads).max(1);
        // Where descriptors are scarce those at work need them all.
        Staffing { threads, reserve: config.reserve_jobs.min((most / tasks).saturating_sub(threads)), tasks }
    }
}

/// Threads of the fallback engine: enough to keep a disk's queue busy with plain system calls.
pub(crate) const THREADS: usize = 16;

/// Descriptors a task may hold: a file on each side, its directory, and directories above it, of which it opens several
/// on the way down a deep tree. With half as many, a chain of 300 directories met the limit of 256 in a third of the
/// runs on a busy machine.
pub(crate) const DESCRIPTORS_A_TASK: usize = 24;

/// Threads that a run may leave behind in the kernel, whatever the limit on descriptors.
pub(crate) const MOST_LEFT_BEHIND: usize = 128;

/// Parcels the walk may be ahead, a thread. Few: what waits longer has left the processor's cache when its turn comes.
pub(crate) const PARCELS_A_THREAD: usize = 8;

/// Messages, of some hundred entries each, that the tasks may be ahead of the reporter.
pub(crate) const EVENTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_in_reserve_take_no_descriptors_from_those_at_work() {
        let config = Config { jobs: 2, reserve_jobs: 2, depth: 64, ..Config::new("a", "b") };
        let staffing = |descriptors_for| {
            let Staffing { threads, reserve, tasks } =
                Staffing::new(&config, Engine::Uring, descriptors_for * DESCRIPTORS_A_TASK);
            (threads, reserve, tasks)
        };
        assert_eq!(staffing(4 * 64), (2, 2, 64));
        assert_eq!(staffing(3 * 64), (2, 1, 64));
        assert_eq!(staffing(2 * 64), (2, 0, 64));
        assert_eq!(staffing(16), (2, 0, 8));
        assert_eq!(staffing(0), (2, 0, 1));
    }
}
