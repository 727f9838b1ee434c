//! Takes the figures of one ring (event/metrics.rs) while it runs. All of it belongs to the ring's thread: plain cells,
//! no atomics, and what is done without it costs one branch.
//!
//! The clock is read where a task's turn begins and ends, where it goes from one stage to another, and around operations.
//! Of those done in place, which are short, only one in eight is timed: a look-up that the cache answers takes a
//! microsecond, and reading the clock twice the twentieth part of that. All are counted.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::event::metrics::{Call, Means, Ring, Stage};
use crate::io::spans::{Spans, TRACKS, Track};

/// Of the operations of a kind that are done in place, one in this many is timed.
const TIMED_ONE_IN: u64 = 8;

/// The clock that all of this goes by (clock_gettime(2), `CLOCK_MONOTONIC`), in nanoseconds: a plain number, which takes
/// a third of what an `Instant` takes to reckon with.
pub(crate) fn now() -> u64 {
    clock(ClockId::CLOCK_MONOTONIC)
}

fn clock(id: ClockId) -> u64 {
    // It fails only for a clock that does not exist. Programs that pretend another time may have it before zero.
    let nanoseconds = |seconds: u64, rest: u64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
    clock_gettime(id).map_or(0, |time| nanoseconds(time.tv_sec() as u64, time.tv_nsec() as u64))
}

/// The figures of one ring, being taken.
pub(crate) struct Gauge {
    begun: u64,
    ring: RefCell<Ring>,
    /// When the turn, the stage or the wait that goes on began.
    since: Cell<u64>,
    stage: Cell<Stage>,
    /// The task whose turn it is.
    task: Cell<u32>,
    /// Tasks that have work.
    at_work: Cell<u32>,
    /// Operations that are not done in place, by the stage they are part of.
    in_flight: [Cell<u32>; Stage::ALL.len()],
    bytes: Cell<u64>,
    /// Whether no more work is to come from the walk.
    walk_is_over: Box<dyn Fn() -> bool>,
    trace: Option<Trace>,
}

struct Trace {
    spans: RefCell<Spans>,
    /// Which of a task's tracks have an operation in flight, a bit each.
    tracks: RefCell<Vec<u32>>,
}

impl Trace {
    /// The first track of a task that is free.
    fn take(&self, task: u32) -> Track {
        let mut tracks = self.tracks.borrow_mut();
        if tracks.len() <= task as usize {
            tracks.resize(task as usize + 1, 0);
        }
        let taken = &mut tracks[task as usize];
        let beside = taken.trailing_ones().min(TRACKS - 1);
        *taken |= 1 << beside;
        Track { task, beside }
    }

    fn give_back(&self, track: Track) {
        if let Some(taken) = self.tracks.borrow_mut().get_mut(track.task as usize) {
            *taken &= !(1 << track.beside);
        }
    }
}

/// An operation in flight. One that is dropped before it is done, since its run was stopped, is counted all the same.
pub(crate) struct InFlight<'a> {
    gauge: &'a Gauge,
    kind: Call,
    means: Means,
    start: u64,
    track: Option<Track>,
}

impl Gauge {
    /// For a ring of a run that began then; with `traced` its spans are kept too.
    pub(crate) fn new(
        index: usize,
        begun: u64,
        traced: bool,
        walk_is_over: impl Fn() -> bool + 'static,
    ) -> Self {
        let spans = traced.then(|| RefCell::new(Spans::new(index, begun)));
        let now = now();
        Gauge {
            begun: now,
            ring: RefCell::new(Ring { index, ..Ring::default() }),
            since: Cell::new(now),
            stage: Cell::default(),
            task: Cell::default(),
            at_work: Cell::default(),
            in_flight: Default::default(),
            bytes: Cell::default(),
            walk_is_over: Box::new(walk_is_over),
            trace: spans.map(|spans| Trace { spans, tracks: RefCell::default() }),
        }
    }

    /// A task's turn begins, at the stage where its last one ended.
    pub(crate) fn turn_begins(&self, task: u32, stage: Stage) {
        let waited = self.lap();
        self.task.set(task);
        self.stage.set(stage);
        let mut ring = self.ring.borrow_mut();
        if self.at_work.get() == 0 {
            let stage = if (self.walk_is_over)() { Stage::Idle } else { Stage::Walk };
            ring.waiting[stage as usize] += waited;
            return;
        }
        let all: u32 = self.in_flight.iter().map(Cell::get).sum();
        if all == 0 {
            ring.waiting[Stage::Other as usize] += waited;
            return;
        }
        for (sum, part) in ring.waiting.iter_mut().zip(&self.in_flight) {
            match part.get() {
                0 => {}
                // Nearly always they are all of one stage.
                part if part == all => *sum += waited,
                part => *sum += waited * u64::from(part) / u64::from(all),
            }
        }
    }

    /// It ends, at the stage that is returned.
    pub(crate) fn turn_ends(&self) -> Stage {
        let stage = self.stage.get();
        let took = self.lap();
        self.ring.borrow_mut().busy[stage as usize] += took;
        stage
    }

    /// What follows is part of this stage.
    pub(crate) fn enter(&self, stage: Stage) {
        if stage != self.stage.get() {
            self.turn_ends();
            self.stage.set(stage);
        }
    }

    /// The time since the last call.
    fn lap(&self) -> u64 {
        let now = now();
        now - self.since.replace(now)
    }

    /// The task whose turn it is has work now.
    pub(crate) fn work_begins(&self) {
        self.at_work.set(self.at_work.get() + 1);
    }

    /// It has none any more.
    pub(crate) fn work_ends(&self) {
        self.at_work.set(self.at_work.get().saturating_sub(1));
        self.enter(Stage::Other);
    }

    /// Makes a system call in place. `bytes` tells how many it has read or written.
    pub(crate) fn in_place<T>(
        &self,
        kind: Call,
        call: impl FnOnce() -> T,
        bytes: impl FnOnce(&T) -> u64,
    ) -> T {
        let started = self.start_in_place(kind);
        let result = call();
        self.done_in_place(kind, started, bytes(&result));
        result
    }

    /// Before a system call in place: when it starts, if it is to be timed.
    pub(crate) fn start_in_place(&self, kind: Call) -> Option<u64> {
        let count = self.ring.borrow().operations(kind, Means::InPlace).count;
        (self.trace.is_some() || count.is_multiple_of(TIMED_ONE_IN)).then(now)
    }

    /// After it.
    pub(crate) fn done_in_place(&self, kind: Call, started: Option<u64>, bytes: u64) {
        let end = started.map(|start| (start, now()));
        {
            let mut ring = self.ring.borrow_mut();
            let operations = &mut ring.operations[kind as usize][Means::InPlace as usize];
            operations.count += 1;
            operations.bytes += bytes;
            if let Some((start, end)) = end {
                operations.took(end - start);
            }
        }
        if let (Some(trace), Some(times)) = (&self.trace, end) {
            let track = trace.take(self.task.get());
            trace.spans.borrow_mut().operation(track, times, (kind, Means::InPlace), bytes);
            trace.give_back(track);
        }
    }

    /// An operation is handed over.
    pub(crate) fn submit(&self, kind: Call, means: Means) -> InFlight<'_> {
        let of_stage = &self.in_flight[kind.stage() as usize];
        of_stage.set(of_stage.get() + 1);
        let in_flight: u32 = self.in_flight.iter().map(Cell::get).sum();
        let mut ring = self.ring.borrow_mut();
        ring.operations[kind as usize][means as usize].count += 1;
        ring.depths.add(in_flight.into());
        let track = self.trace.as_ref().map(|trace| trace.take(self.task.get()));
        InFlight { gauge: self, kind, means, start: now(), track }
    }

    /// More bytes of buffers are lent.
    pub(crate) fn lend(&self, bytes: u64) {
        let bytes = self.bytes.get() + bytes;
        self.bytes.set(bytes);
        let mut ring = self.ring.borrow_mut();
        ring.most_bytes = ring.most_bytes.max(bytes);
    }

    /// Bytes of buffers have come back.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// A task has waited for a buffer since `start`.
    pub(crate) fn count_buffer_wait(&self, start: u64) {
        let mut ring = self.ring.borrow_mut();
        ring.buffer_waits += 1;
        ring.buffer_wait += Duration::from_nanos(now() - start);
    }

    /// When a span for the trace begins, if there is one.
    pub(crate) fn span_begins(&self) -> Option<(u32, u64)> {
        self.trace.as_ref().map(|_| (self.task.get(), now()))
    }

    /// It ends: a task's work on what has this path.
    pub(crate) fn span_ends(
        &self,
        begun: Option<(u32, u64)>,
        path: impl FnOnce() -> PathBuf,
        step: &'static str,
    ) {
        if let (Some(trace), Some((task, start))) = (&self.trace, begun) {
            trace.spans.borrow_mut().work(task, (start, now()), &path(), step);
        }
    }

    /// Text of the trace that is to be sent.
    pub(crate) fn take_trace(&self, all: bool) -> Option<String> {
        self.trace.as_ref()?.spans.borrow_mut().take(all)
    }

    /// The figures, at the end of the thread.
    pub(crate) fn ring(&self) -> Ring {
        let mut ring = self.ring.take();
        ring.elapsed = Duration::from_nanos(now() - self.begun);
        ring.processor = thread_processor_time();
        ring
    }
}

impl InFlight<'_> {
    /// It is done, and has read or written this many bytes.
    pub(crate) fn done(self, bytes: u64) {
        // It was done when its task got its turn, or before: the clock was read then.
        let end = self.gauge.since.get().max(self.start);
        {
            let mut ring = self.gauge.ring.borrow_mut();
            let operations = &mut ring.operations[self.kind as usize][self.means as usize];
            operations.bytes += bytes;
            operations.took(end - self.start);
        }
        if let (Some(trace), Some(track)) = (&self.gauge.trace, self.track) {
            let times = (self.start, end);
            trace.spans.borrow_mut().operation(track, times, (self.kind, self.means), bytes);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let of_stage = &self.gauge.in_flight[self.kind.stage() as usize];
        of_stage.set(of_stage.get().saturating_sub(1));
        if let (Some(trace), Some(track)) = (&self.gauge.trace, self.track) {
            trace.give_back(track);
        }
    }
}

/// What the process has had of all processors.
pub(crate) fn process_time() -> Duration {
    Duration::from_nanos(clock(ClockId::CLOCK_PROCESS_CPUTIME_ID))
}

/// What the calling thread has had of the processor.
fn thread_processor_time() -> Duration {
    Duration::from_nanos(clock(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn time_without_a_turn_belongs_to_what_is_waited_for() {
        let over = Rc::new(Cell::new(false));
        let seen = over.clone();
        let gauge = Gauge::new(0, now(), false, move || seen.get());
        let waiting = |stage: Stage| gauge.ring.borrow().waiting[stage as usize];
        gauge.turn_begins(0, Stage::Other);
        assert!(waiting(Stage::Walk) > 0, "nobody has work, and more may come");
        gauge.work_begins();
        let (read, write) = (gauge.submit(Call::Read, Means::Ring), gauge.submit(Call::Write, Means::Ring));
        gauge.turn_ends();
        gauge.turn_begins(1, Stage::Other);
        assert!(waiting(Stage::Read) > 0);
        assert_eq!(waiting(Stage::Read), waiting(Stage::Write), "both alike");
        drop((read, write));
        gauge.turn_ends();
        gauge.turn_begins(0, Stage::Other);
        assert!(waiting(Stage::Other) > 0, "for a task that waits, but not for the kernel");
        gauge.work_ends();
        gauge.turn_ends();
        over.set(true);
        gauge.turn_begins(0, Stage::Other);
        assert!(waiting(Stage::Idle) > 0, "the walk is over");
        gauge.turn_ends();
        let ring = gauge.ring();
        assert_eq!(ring.depths.counts[..2], [1, 1]);
        let all = ring.busy() + ring.waiting();
        assert!(all <= ring.elapsed && all > ring.elapsed / 2, "{ring:?}");
    }

    #[test]
    fn what_is_done_in_place_is_all_counted_and_some_of_it_timed() {
        let gauge = Gauge::new(0, now(), false, || true);
        for _ in 0..80 {
            assert_eq!(gauge.in_place(Call::Read, || 7, |&read| read), 7);
        }
        gauge.submit(Call::Read, Means::Ring).done(100);
        drop(gauge.submit(Call::Read, Means::Ring));
        let ring = gauge.ring();
        let told = Means::ALL.map(|means| {
            let operations = ring.operations(Call::Read, means);
            (operations.count, operations.bytes, operations.timed())
        });
        assert_eq!(told, [(2, 100, 1), (80, 560, 10), (0, 0, 0)]);
    }

    #[test]
    fn buffers_on_loan_are_bytes_in_flight() {
        let gauge = Gauge::new(0, now(), false, || true);
        gauge.lend(10);
        gauge.lend(20);
        gauge.give_back(30);
        gauge.lend(5);
        assert_eq!(gauge.ring().most_bytes, 30);
    }
}
