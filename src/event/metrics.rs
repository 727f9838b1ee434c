//! What `--stats` tells of each ring: its operations and how long they took, how full it was, and what its time went to;
//! and, from all of them, which stage held the run back. A thread of the fallback engine counts as a ring.
//!
//! Here are the figures and what follows from them. They are taken in `io/metrics.rs` and shown by `report/tables.rs`.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Nanoseconds that a latency is recorded from, and up to: an hour.
const LATENCIES: (u64, u64) = (32, 3_600_000_000_000);
/// Significant decimal digits of a latency.
const DIGITS: u8 = 2;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Opening what is there.
    Open,
    /// Looking at a name.
    Stat,
    /// Reading contents.
    Read,
    /// Writing contents.
    Write,
    /// fsync(2).
    Flush,
    /// Making a file, a directory, a symlink or a node.
    Create,
    /// Giving an entry its owner, mode, attributes and times: several system calls.
    Metadata,
    /// Giving a file that is whole its name.
    Name,
}

impl Call {
    /// All of them, in the order of reports.
    pub const ALL: [Call; 8] = [
        Call::Open,
        Call::Stat,
        Call::Read,
        Call::Write,
        Call::Flush,
        Call::Create,
        Call::Metadata,
        Call::Name,
    ];

    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Call::Open => "open",
            Call::Stat => "stat",
            Call::Read => "read",
            Call::Write => "write",
            Call::Flush => "fsync",
            Call::Create => "create",
            Call::Metadata => "metadata",
            Call::Name => "name",
        }
    }

    /// The stage that it is part of.
    pub(crate) fn stage(self) -> Stage {
        match self {
            Call::Open | Call::Stat => Stage::Compare,
            Call::Read => Stage::Read,
            Call::Write | Call::Create => Stage::Write,
            Call::Flush | Call::Metadata | Call::Name => Stage::Finish,
        }
    }
}

/// How an operation reached the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Means {
    /// Through the ring: other tasks had their turn meanwhile.
    Ring,
    /// In place, by a plain system call.
    InPlace,
    /// By plain system calls in a thread of its own: reading what lies on FUSE, flushing file systems as a whole.
    Thread,
}

impl Means {
    /// All of them.
    pub const ALL: [Means; 3] = [Means::Ring, Means::InPlace, Means::Thread];

    /// The word used in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Means::Ring => "ring",
            Means::InPlace => "in_place",
            Means::Thread => "thread",
        }
    }
}

/// What a ring's time goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Waiting for the walk to find entries.
    Walk,
    /// Looking up, and comparing, what is there on both sides.
    Compare,
    /// Reading contents.
    Read,
    /// Hashing them.
    Hash,
    /// Making files, and writing contents.
    Write,
    /// Metadata, names, stable storage; completing directories.
    Finish,
    /// Anything else: waiting for the reporter, for a limit, for another task, for threads that delete or clone.
    #[default]
    Other,
    /// There was nothing left for this ring to do.
    Idle,
}

impl Stage {
    /// All of them, in the order of reports.
    pub const ALL: [Stage; 8] = [
        Stage::Walk,
        Stage::Compare,
        Stage::Read,
        Stage::Hash,
        Stage::Write,
        Stage::Finish,
        Stage::Other,
        Stage::Idle,
    ];

    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Walk => "walk",
            Stage::Compare => "compare",
            Stage::Read => "read",
            Stage::Hash => "hash",
            Stage::Write => "write",
            Stage::Finish => "finish",
            Stage::Other => "other",
            Stage::Idle => "idle",
        }
    }
}

/// Operations of one kind that went one way.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Operations {
    /// How many there were, those that failed included.
    pub count: u64,
    /// Bytes read or written.
    pub bytes: u64,
    latency: Option<Histogram<u32>>,
}

impl Operations {
    /// Takes note of how long one took.
    pub fn took(&mut self, nanoseconds: u64) {
        if self.latency.is_none() {
            // The bounds are constants that it takes; without a histogram the times alone are not known.
            self.latency = Histogram::new_with_bounds(LATENCIES.0, LATENCIES.1, DIGITS).ok();
        }
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(nanoseconds);
        }
    }

    /// Adds those of another ring.
    pub(crate) fn merge(&mut self, other: &Operations) {
        self.count += other.count;
        self.bytes += other.bytes;
        match (&mut self.latency, &other.latency) {
            // Both have the same bounds: nothing is lost.
            (Some(all), Some(more)) => drop(all.add(more)),
            (all @ None, more) => all.clone_from(more),
            (Some(_), None) => {}
        }
    }

    /// How many of them were timed: of those done in place one in eight is.
    pub fn timed(&self) -> u64 {
        self.latency.as_ref().map_or(0, Histogram::len)
    }

    /// The time that this part of those timed did not exceed, from 0 to 1; 1 is the longest.
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_nanos(self.latency.as_ref().map_or(0, |latency| latency.value_at_quantile(part)))
    }
}

/// How many operations were in flight when one was submitted, itself included. Buckets double: 1, 2 to 3, 4 to 7, ...
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Depths {
    /// Submissions by bucket.
    pub counts: [u64; Depths::BUCKETS],
    sum: u64,
    /// The most that were in flight.
    pub most: u64,
}

impl Depths {
    /// The last one is for 1024 and more.
    pub const BUCKETS: usize = 11;

    /// Counts a submission that brings the operations in flight to this number.
    pub fn add(&mut self, in_flight: u64) {
        let bucket = in_flight.max(1).ilog2() as usize;
        self.counts[bucket.min(Self::BUCKETS - 1)] += 1;
        self.sum += in_flight;
        self.most = self.most.max(in_flight);
    }

    /// How many submissions there were.
    pub fn submissions(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The mean over all submissions.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.submissions().max(1) as f64
    }
}

/// The figures of one ring.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Ring {
    /// Its number, from 0.
    pub index: usize,
    /// From its start to its end.
    pub elapsed: Duration,
    /// Processor time of its thread, that of the kernel's workers not among it.
    pub processor: Duration,
    /// Nanoseconds in which a task had its turn.
    pub(crate) busy: [u64; Stage::ALL.len()],
    /// Nanoseconds in which none had, by what was waited for.
    pub(crate) waiting: [u64; Stage::ALL.len()],
    /// Operations, by what they do and by how they reached the kernel.
    pub(crate) operations: [[Operations; Means::ALL.len()]; Call::ALL.len()],
    /// How full it was.
    pub depths: Depths,
    /// The most bytes that were in buffers on loan at once.
    pub most_bytes: u64,
    /// How often a task waited for a buffer.
    pub buffer_waits: u64,
    /// How long tasks waited for buffers, added up.
    pub buffer_wait: Duration,
}

impl Ring {
    /// Operations of a kind that went one way.
    pub fn operations(&self, kind: Call, means: Means) -> &Operations {
        &self.operations[kind as usize][means as usize]
    }

    /// The same, to add to them, for the tests of a reporter.
    pub fn operations_mut(&mut self, kind: Call, means: Means) -> &mut Operations {
        &mut self.operations[kind as usize][means as usize]
    }

    /// Time in which a task had its turn, what is done in place included.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy.iter().sum())
    }

    /// Time in which no task had its turn: all waited.
    pub fn waiting(&self) -> Duration {
        Duration::from_nanos(self.waiting.iter().sum())
    }

    /// Time that went to a stage, by its tasks' turns and by waiting for its operations.
    pub fn time(&self, stage: Stage) -> Duration {
        Duration::from_nanos(self.busy[stage as usize] + self.waiting[stage as usize])
    }

    /// Adds time that went to a stage: by its tasks' turns, and by waiting for its operations.
    pub fn add_time(&mut self, stage: Stage, busy: Duration, waiting: Duration) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        for (times, more) in [(&mut self.busy, busy), (&mut self.waiting, waiting)] {
            times[stage as usize] = times[stage as usize].saturating_add(nanoseconds(more));
        }
    }
}

/// All operations of all rings of a kind that went one way.
pub fn total(rings: &[Ring], kind: Call, means: Means) -> Operations {
    let mut total = Operations::default();
    rings.iter().for_each(|ring| total.merge(ring.operations(kind, means)));
    total
}

/// The share that a part has of the whole; 0 of nothing.
pub fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

/// Which stage held a run back.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Bottleneck {
    /// This one, with its share of the time in which rings had something to do or waited for it.
    Stage(Stage, f64),
    /// These two took most. Neither took enough of the time, or enough more than the other, to be blamed.
    Unclear([(Stage, f64); 2]),
    /// The run was too short to tell.
    TooShort,
}

/// Of less time than this nothing is concluded.
const SHORTEST: Duration = Duration::from_millis(10);
/// What holds a run back takes at least `LEAST_SHARE`, and `LEAD` times the share of the next one.
const LEAST_SHARE: f64 = 0.35;
const LEAD: f64 = 1.3;

/// Which stage held the run back, from what the time of all rings went to. What a ring did after there was nothing left
/// for it does not count.
pub fn bottleneck(rings: &[Ring]) -> Bottleneck {
    let time = |stage| rings.iter().map(|ring| ring.time(stage)).sum::<Duration>();
    let mut times: Vec<(Stage, Duration)> = Stage::ALL
        .into_iter()
        .filter(|&stage| stage != Stage::Idle)
        .map(|stage| (stage, time(stage)))
        .collect();
    let whole = times.iter().map(|(_, time)| *time).sum();
    if whole < SHORTEST {
        return Bottleneck::TooShort;
    }
    times.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    let [first, second] = [0, 1].map(|place| (times[place].0, share(times[place].1, whole)));
    // "Other" is nobody's name: what can't be told apart can't be blamed.
    let is_clear = first.0 != Stage::Other && first.1 >= LEAST_SHARE && first.1 >= LEAD * second.1;
    if is_clear { Bottleneck::Stage(first.0, first.1) } else { Bottleneck::Unclear([first, second]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(times: &[(Stage, u64)]) -> Ring {
        let mut ring = Ring::default();
        for (index, (stage, milliseconds)) in times.iter().enumerate() {
            let time = Duration::from_millis(*milliseconds);
            let (busy, waiting) =
                if index % 2 == 0 { (time, Duration::ZERO) } else { (Duration::ZERO, time) };
            ring.add_time(*stage, busy, waiting);
        }
        ring
    }

    #[test]
    fn the_stage_that_took_most_is_blamed_only_where_it_stands_out() {
        use Stage::{Compare, Hash, Idle, Other, Read, Walk, Write};
        let of = |times: &[(Stage, u64)]| bottleneck(&[ring(times), ring(&[(Idle, 5000)])]);
        assert_eq!(of(&[(Write, 600), (Read, 400)]), Bottleneck::Stage(Write, 0.6));
        assert_eq!(of(&[(Walk, 900), (Compare, 100)]), Bottleneck::Stage(Walk, 0.9));
        assert_eq!(of(&[(Write, 500), (Read, 500)]), Bottleneck::Unclear([(Read, 0.5), (Write, 0.5)]));
        let even = [(Write, 300), (Read, 200), (Hash, 200), (Compare, 150), (Walk, 150)];
        assert_eq!(of(&even), Bottleneck::Unclear([(Write, 0.3), (Read, 0.2)]), "it took most, but little");
        assert_eq!(of(&[(Other, 900), (Read, 100)]), Bottleneck::Unclear([(Other, 0.9), (Read, 0.1)]));
        assert_eq!(of(&[(Write, 9)]), Bottleneck::TooShort);
        assert_eq!(bottleneck(&[]), Bottleneck::TooShort);
    }

    #[test]
    fn rings_are_added_up() {
        let write = |ring: &mut Ring, micros: u64| {
            let operations = ring.operations_mut(Call::Write, Means::Ring);
            operations.count += 1;
            operations.bytes += 10;
            operations.took(micros * 1000);
        };
        let mut rings = [Ring::default(), Ring::default(), Ring::default()];
        (1..=90).for_each(|_| write(&mut rings[1], 100));
        (1..=10).for_each(|_| write(&mut rings[2], 9000));
        let all = total(&rings, Call::Write, Means::Ring);
        assert_eq!((all.count, all.bytes, all.timed()), (100, 1000, 100));
        let near = |part, micros: f64| {
            let told = all.quantile(part).as_nanos() as f64 / 1000.0;
            assert!((told / micros - 1.0).abs() < 0.02, "{part}: {told}");
        };
        near(0.5, 100.0);
        near(0.99, 9000.0);
        near(1.0, 9000.0);
        assert_eq!(total(&rings, Call::Read, Means::Ring).quantile(0.5), Duration::ZERO, "there was none");
    }

    #[test]
    fn an_operation_that_takes_for_ever_is_still_counted() {
        let mut operations = Operations::default();
        operations.took(u64::MAX);
        operations.took(0);
        assert_eq!(operations.timed(), 2);
        assert!(operations.quantile(1.0) >= Duration::from_secs(3600));
    }

    #[test]
    fn depths_double_from_one_bucket_to_the_next() {
        let mut depths = Depths::default();
        assert_eq!(depths.mean(), 0.0);
        [1, 1, 2, 3, 4, 64, 5000].into_iter().for_each(|depth| depths.add(depth));
        assert_eq!(depths.counts, [2, 2, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!((depths.most, depths.submissions()), (5000, 7));
        assert_eq!(depths.mean(), 5075.0 / 7.0);
    }
}
