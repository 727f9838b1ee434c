//! The word of a ring on what it does: of whether a task has its turn, and of the step it is at.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Operation;

/// A ring's word on what it does. Only its own thread writes it, so that no operation on it has to be atomic with another.
/// Each has cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Heartbeat(AtomicU64);

/// What a heartbeat says: from the lowest bit, the operation, whether a task has its turn, and a count of steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pulse(u64);

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

impl Pulse {
    /// A step of this operation begins.
    pub(crate) fn step(self, operation: Operation) -> Self {
        Pulse((self.0 & !OPERATION).wrapping_add(STEP) | operation as u64 & OPERATION)
    }

    /// A turn begins: a step of what was done last.
    pub(crate) fn turn(self) -> Self {
        Pulse(self.0.wrapping_add(STEP) | TURN)
    }

    pub(crate) fn rest(self) -> Self {
        Pulse(self.0 & !TURN)
    }

    pub(crate) fn has_turn(self) -> bool {
        self.0 & TURN != 0
    }

    pub(crate) fn operation(self) -> Operation {
        let said = |operation: &Operation| *operation as u64 == self.0 & OPERATION;
        OPERATIONS.into_iter().find(said).unwrap_or(Operation::Run)
    }
}

impl Heartbeat {
    pub(crate) fn word(&self) -> Pulse {
        Pulse(self.0.load(Ordering::Relaxed))
    }

    /// The next step is part of this operation.
    pub(crate) fn step(&self, operation: Operation) {
        self.say(self.word().step(operation));
    }

    pub(crate) fn say(&self, word: Pulse) {
        self.0.store(word.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_the_step_and_whether_it_is_a_new_one() {
        let word = Pulse::default().turn().step(Operation::Write);
        assert!(word.has_turn() && word.operation() == Operation::Write);
        let next = word.step(Operation::Write);
        assert!(next != word && next.has_turn() && next.operation() == Operation::Write);
        assert!(!next.rest().has_turn() && next.rest().operation() == Operation::Write);
        assert_ne!(next.rest().turn(), next, "another turn is another step");
        assert_eq!(Pulse(u64::MAX).step(Operation::Create).operation(), Operation::Create);
    }
}
