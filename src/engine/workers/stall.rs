//! Rings that stand still: a step of one task takes so long that no other task has its turn. It is some system call that
//! was made in place and does not come back, or comes back late: a server that does not answer, a disk that is failing.
//! The run goes on as soon as it does; but the user who waits is told where it stands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Run;
use crate::engine::primitives::heartbeat::{Heartbeat, Pulse};
use crate::error::Operation;
use crate::event::Stall;

/// A step may take this long.
const LIMIT: Duration = Duration::from_secs(1);
/// How often it is looked. The first look at a step starts its time, so that it may take this much longer to be noticed.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// Looks at the rings of a run.
pub(crate) struct Stalls {
    run: Arc<Run>,
    seen: Seen,
}

impl Stalls {
    /// Where threads are watched, `--timeout`, the watchdog says what is stuck.
    pub(crate) fn new(run: &Arc<Run>) -> Option<Self> {
        let watch = || Stalls { run: run.clone(), seen: Seen::new(run.heartbeats.len(), Instant::now()) };
        run.config.timeout.is_none().then(watch)
    }

    /// What stands still and has not been reported yet.
    pub(crate) fn look(&mut self) -> Vec<Stall> {
        let words: Vec<Pulse> = self.run.heartbeats.iter().map(Heartbeat::word).collect();
        self.seen.look(&words, Instant::now())
    }
}

/// What the last looks have found.
struct Seen {
    looked: Instant,
    /// The word of each ring, and when it was new.
    words: Vec<(Pulse, Instant)>,
    /// Each place is reported once.
    told: Vec<Operation>,
}

impl Seen {
    fn new(rings: usize, now: Instant) -> Self {
        Seen { looked: now, words: vec![(Pulse::default(), now); rings], told: Vec::new() }
    }

    fn look(&mut self, words: &[Pulse], now: Instant) -> Vec<Stall> {
        // A look that comes late was kept from it, as all other threads may have been: the process was stopped.
        let late = now.duration_since(self.looked) > 2 * LOOK;
        self.looked = now;
        let mut stalls = Vec::new();
        for (ring, (word, (seen, since))) in words.iter().zip(&mut self.words).enumerate() {
            if late || seen != word || !word.has_turn() {
                (*seen, *since) = (*word, now);
                continue;
            }
            let (operation, time) = (word.operation(), now.duration_since(*since));
            // A flush takes as long as the disk does: that is no stall.
            let is_told = operation == Operation::Flush || self.told.contains(&operation);
            if time >= LIMIT && !is_told {
                self.told.push(operation);
                stalls.push(Stall { ring, operation, time });
            }
        }
        stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told at each look, at the usual times, of these words.
    fn told(looks: &[[Pulse; 2]]) -> Vec<(usize, usize, Operation)> {
        let start = Instant::now();
        let mut seen = Seen::new(2, start);
        let mut told = Vec::new();
        for (turn, words) in looks.iter().enumerate() {
            let stalls = seen.look(words, start + LOOK * (turn as u32 + 1));
            told.extend(stalls.iter().map(|stall| (turn, stall.ring, stall.operation)));
        }
        told
    }

    #[test]
    fn a_step_of_a_second_is_told_once() {
        let (resting, stuck) = (Pulse::default(), Pulse::default().turn().step(Operation::StatSource));
        assert_eq!(told(&[[resting, stuck]; 20]), [(4, 1, Operation::StatSource)]);
        assert_eq!(told(&[[stuck, stuck]; 20]).len(), 1, "one place");
        let other = Pulse::default().turn().step(Operation::Write);
        assert_eq!(told(&[[stuck, other]; 20]).len(), 2, "two places");
    }

    #[test]
    fn who_goes_on_or_waits_does_not_stand_still() {
        let mut word = Pulse::default().turn();
        let moving: Vec<[Pulse; 2]> = (0..20)
            .map(|_| {
                word = word.step(Operation::ReadSource);
                [word, word.rest()]
            })
            .collect();
        assert_eq!(told(&moving), []);
        let flushing = Pulse::default().turn().step(Operation::Flush);
        assert_eq!(told(&[[flushing, word.rest()]; 20]), []);
    }

    #[test]
    fn a_process_that_was_stopped_did_not_stall() {
        let stuck = [Pulse::default().turn().step(Operation::Write)];
        let start = Instant::now();
        let mut seen = Seen::new(1, start);
        assert!(seen.look(&stuck, start + LOOK).is_empty());
        assert!(seen.look(&stuck, start + 100 * LIMIT).is_empty());
        assert!(seen.look(&stuck, start + 100 * LIMIT + LOOK).is_empty());
    }
}
