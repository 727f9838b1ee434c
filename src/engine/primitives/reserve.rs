//! Rings in reserve. A ring whose calls in place wait for a disk leaves its core with nothing to do, and can't tell
//! beforehand which call will. Where that is much of the time, and the run does not fill its cores, one more ring
//! joins. Until it is called it is a thread that waits, without a runtime.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::engine::primitives::channel::Channel;
use crate::io::Io;
use crate::io::metrics::process_time;

/// Rings are judged by this much of their time, at least.
const WINDOW: Duration = Duration::from_millis(50);
/// A ring that would fill less than this part of its time is not called.
const LEAST_WORK: f64 = 0.25;
/// Nor is one while less than this part of the cores' time is left by the run.
const LEAST_IDLE: f64 = 0.25;

/// A while of a ring's time.
struct Window {
    time: Duration,
    /// For how much of it the ring waited in calls made in place.
    waited: Duration,
    /// What the whole process took of all cores meanwhile.
    worked: Duration,
}

/// The rings in reserve.
pub(crate) struct Reserve {
    /// Rings that work from the beginning.
    jobs: usize,
    /// How many there are in reserve, and how many have been called.
    most: usize,
    called: AtomicUsize,
    calls: Channel<()>,
}

impl Reserve {
    /// `most` rings for a run of `jobs`.
    pub(crate) fn new(jobs: usize, most: usize) -> Self {
        Reserve { jobs, most, called: AtomicUsize::new(0), calls: Channel::bounded(most.max(1)) }
    }

    pub(crate) fn len(&self) -> usize {
        self.most
    }

    /// Whether none is left to be called.
    fn all_work(&self) -> bool {
        self.called.load(Ordering::Relaxed) >= self.most
    }

    /// Whether a ring with this window should have one more beside it: how many there are so far.
    fn wants_one(&self, window: &Window) -> Option<usize> {
        let called = self.called.load(Ordering::Relaxed);
        (called < self.most && wanted(self.jobs, window) > called).then_some(called)
    }

    /// Calls one more than have been called, unless another ring has just done so.
    fn call(&self, called: usize) {
        let next = self.called.compare_exchange(called, called + 1, Ordering::Relaxed, Ordering::Relaxed);
        if next.is_ok() {
            self.calls.sender.try_send(()).ok();
        }
    }

    /// Waits to be called. False: the run is over.
    pub(crate) fn wait(&self) -> bool {
        // A call that is left from before the end is none.
        self.calls.receiver.recv_blocking().is_ok() && !self.calls.receiver.is_closed()
    }

    /// Nobody is called any more.
    pub(crate) fn close(&self) {
        self.calls.receiver.close();
    }
}

/// Who looks at a ring's time. One long wait says nothing of those to come: a ring is called when two windows in a row speak
/// for it.
pub(crate) struct Judge {
    /// When it last did, how long the ring had waited until then, and what the process had taken of all cores.
    last: Cell<(Instant, Duration, Duration)>,
    /// What it said then.
    wanted: Cell<bool>,
}

impl Judge {
    pub(crate) fn new() -> Self {
        Judge { last: Cell::new((Instant::now(), Duration::ZERO, process_time())), wanted: Cell::new(false) }
    }

    /// Has one more ring join if this one, whose operations are these, waits much, to be asked while there is work left
    /// for it.
    pub(crate) fn look(&self, reserve: &Reserve, io: &Io) {
        let (since, waited, worked) = self.last.get();
        let time = since.elapsed();
        if time < WINDOW || reserve.all_work() {
            return;
        }
        let (waits, work) = (io.waited(), process_time());
        let (waited, worked) = (waits.saturating_sub(waited), work.saturating_sub(worked));
        let wants = reserve.wants_one(&Window { time, waited, worked });
        if self.confirm(wants.is_some())
            && let Some(called) = wants
        {
            reserve.call(called);
        }
        self.last.set((Instant::now(), waits, work));
    }

    /// Whether a ring is called after a window that speaks for it, or does not. The next call takes two windows again.
    fn confirm(&self, wants: bool) -> bool {
        let confirmed = wants && self.wanted.get();
        self.wanted.set(wants && !confirmed);
        confirmed
    }
}

/// How many rings fill the time that `jobs` rings wait, if each waits as much of it as this one. None where the run has most
/// of its cores: a call is also slow when another thread of the run has the core.
fn wanted(jobs: usize, window: &Window) -> usize {
    let part = |of: Duration| of.as_secs_f64() / window.time.as_secs_f64().max(f64::MIN_POSITIVE);
    let (jobs, waited, worked) = (jobs as f64, part(window.waited), part(window.worked));
    if worked > jobs * (1.0 - LEAST_IDLE) {
        return 0;
    }
    if waited >= 1.0 {
        return usize::MAX;
    }
    (jobs * waited / (1.0 - waited) - LEAST_WORK).ceil().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether one more is wanted after a window of 100 ms.
    fn wants_one(reserve: &Reserve, waited: u64, worked: u64) -> bool {
        let [time, waited, worked] = [100, waited, worked].map(Duration::from_millis);
        reserve.wants_one(&Window { time, waited, worked }).is_some()
    }

    #[test]
    fn as_many_are_wanted_as_fill_the_time_that_rings_wait() {
        let reserve = Reserve::new(2, 2);
        assert!(!wants_one(&reserve, 0, 100));
        assert!(!wants_one(&reserve, 10, 100), "less than a quarter of a ring");
        assert!(wants_one(&reserve, 20, 100));
        reserve.call(0);
        reserve.call(0);
        assert!(!wants_one(&reserve, 20, 100), "half a ring: one is enough");
        assert!(wants_one(&reserve, 60, 100));
        reserve.call(1);
        assert!(!wants_one(&reserve, 100, 0), "there are no more");
        assert!(reserve.all_work() && reserve.wait());
        reserve.close();
        assert!(!reserve.wait(), "the run is over");
    }

    #[test]
    fn none_is_wanted_while_the_cores_have_enough_to_do() {
        let reserve = Reserve::new(2, 2);
        assert!(!wants_one(&reserve, 50, 160));
        assert!(wants_one(&reserve, 50, 140));
    }

    #[test]
    fn two_windows_in_a_row_call_a_ring() {
        let judge = Judge::new();
        let says = [true, false, true, true, true, false, true, true];
        assert_eq!(
            says.map(|wants| judge.confirm(wants)),
            [false, false, false, true, false, false, false, true]
        );
    }

    #[test]
    fn none_is_wanted_where_there_is_none() {
        let reserve = Reserve::new(2, 0);
        assert!(!wants_one(&reserve, 100, 0));
        reserve.close();
        assert!(!reserve.wait());
    }
}
