//! When a run began, by which it is told whether a directory has changed since.

use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::stat::{Stat, Time};

/// Nanoseconds.
const SECOND: i128 = 1_000_000_000;

/// Times further ahead of the clock tell nothing: some clock was wrong.
const AHEAD: i64 = 3600;

/// The time before which nothing was read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Onset(Time);

impl Onset {
    pub(crate) fn now() -> Self {
        Onset(now())
    }

    /// Waits until each change gets a later time than this. File systems take their times from a clock that stands still for up
    /// to 10 ms: what was changed before the run, and what is changed once something was read, are not to have the same.
    pub(crate) fn wait_for_a_tick(&self) {
        for _ in 0..20 {
            let tick = clock_gettime(ClockId::RealtimeCoarse);
            if (Time { seconds: tick.tv_sec, nanoseconds: tick.tv_nsec as u32 }) > self.0 {
                return;
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Whether an inode has changed since. Nobody but the kernel sets the time that tells.
    pub(crate) fn is_before_change_of(&self, stat: &Stat) -> bool {
        let changed = stat.changed;
        changed > self.0 && changed.seconds < now().seconds + AHEAD
    }
}

fn now() -> Time {
    let now = Timestamp::now().as_nanosecond();
    Time { seconds: now.div_euclid(SECOND) as i64, nanoseconds: now.rem_euclid(SECOND) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::stat_open;

    #[test]
    fn what_changes_after_a_tick_is_later() {
        let file = tempfile::tempfile().unwrap();
        let stat = || stat_open(&file).unwrap();
        let onset = Onset::now();
        assert!(!onset.is_before_change_of(&stat()));
        onset.wait_for_a_tick();
        file.set_len(1).unwrap();
        assert!(onset.is_before_change_of(&stat()));
        let ahead = Time { seconds: i64::MAX, nanoseconds: 0 };
        assert!(!onset.is_before_change_of(&Stat { changed: ahead, ..stat() }));
    }
}
