//! A task's turns. A runtime gives its tasks their turns one after the other: one that does not end its own keeps all the
//! others from going on. So each ring leaves word of whether a task has its turn and of the step it is at, and the
//! progress task, which runs elsewhere, looks at these words (stall.rs). Two plain stores a turn, and one a step, are all
//! that costs. With `--stats` and `--trace` turns are timed as well (io/gauge.rs).

use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use crate::engine::worker::Lane;
use crate::error::Operation;
use crate::event::metrics::Stage;

/// A ring's word on what it does. Only its own thread writes it, so that no operation on it has to be atomic with another.
/// Each has cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Beacon(AtomicU64);

/// What a beacon says: from the lowest bit, the operation, whether a task has its turn, and a count of steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Word(u64);

const OPERATION: u64 = 0xff;
const TURN: u64 = 0x100;
const STEP: u64 = 0x200;

/// What tasks say that they are at.
const OPERATIONS: [Operation; 17] = [
    Operation::OpenSource,
    Operation::StatSource,
    Operation::ReadSource,
    Operation::OpenDestination,
    Operation::StatDestination,
    Operation::ReadDestination,
    Operation::Create,
    Operation::Write,
    Operation::Flush,
    Operation::Link,
    Operation::Rename,
    Operation::Remove,
    Operation::SetTimes,
    Operation::ListDestination,
    Operation::Backup,
    Operation::Verify,
    Operation::Run,
];

impl Word {
    /// A step of this operation begins.
    pub(super) fn step(self, operation: Operation) -> Self {
        Word((self.0 & !OPERATION).wrapping_add(STEP) | operation as u64 & OPERATION)
    }

    /// A turn begins: a step of what was done last.
    pub(super) fn turn(self) -> Self {
        Word(self.0.wrapping_add(STEP) | TURN)
    }

    pub(super) fn rest(self) -> Self {
        Word(self.0 & !TURN)
    }

    pub(super) fn has_turn(self) -> bool {
        self.0 & TURN != 0
    }

    pub(super) fn operation(self) -> Operation {
        let said = |operation: &Operation| *operation as u64 == self.0 & OPERATION;
        OPERATIONS.into_iter().find(said).unwrap_or(Operation::Run)
    }
}

impl Beacon {
    pub(super) fn word(&self) -> Word {
        Word(self.0.load(Ordering::Relaxed))
    }

    /// The next step is part of this operation.
    pub(super) fn step(&self, operation: Operation) {
        self.say(self.word().step(operation));
    }

    fn say(&self, word: Word) {
        self.0.store(word.0, Ordering::Relaxed);
    }
}

/// A turn, until it is dropped: a panic ends it as well.
struct Turn<'a>(&'a Beacon);

impl<'a> Turn<'a> {
    fn new(beacon: &'a Beacon) -> Self {
        beacon.say(beacon.word().turn());
        Turn(beacon)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.say(self.0.word().rest());
    }
}

/// What a task does, turn by turn.
pub(super) struct Turns<F> {
    lane: Rc<Lane>,
    task: u32,
    stage: Stage,
    work: Pin<Box<F>>,
}

impl<F: Future> Turns<F> {
    /// The `work` of a ring's task of this number.
    pub(super) fn new(lane: Rc<Lane>, task: usize, work: F) -> Self {
        Turns { lane, task: task as u32, stage: Stage::Other, work: Box::pin(work) }
    }
}

impl<F: Future> Future for Turns<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Turns { lane, task, stage, work } = &mut *self;
        let _turn = Turn::new(lane.beacon());
        if let Some(gauge) = &lane.gauge {
            gauge.turn_begins(*task, *stage);
        }
        let polled = work.as_mut().poll(context);
        if let Some(gauge) = &lane.gauge {
            *stage = gauge.turn_ends();
        }
        if polled.is_pending() {
            lane.task_waits();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_the_step_and_whether_it_is_a_new_one() {
        let word = Word::default().turn().step(Operation::Write);
        assert!(word.has_turn() && word.operation() == Operation::Write);
        let next = word.step(Operation::Write);
        assert!(next != word && next.has_turn() && next.operation() == Operation::Write);
        assert!(!next.rest().has_turn() && next.rest().operation() == Operation::Write);
        assert_ne!(next.rest().turn(), next, "another turn is another step");
        assert_eq!(Word(u64::MAX).step(Operation::Create).operation(), Operation::Create);
    }
}
