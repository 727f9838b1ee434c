//! Waiting for a tick of the clock to pass before a file is read.
//!
//! Most file systems stamp what changes by a clock that moves a few hundred times a second (CLOCK_REALTIME_COARSE,
//! clock_gettime(2)), some by whole seconds. If a file was written to in this very tick, a further write in it leaves all
//! times as they are, and a copy that was read in between would look right for ever. So reading begins in a later tick
//! than the one of the last change: every write from then on moves ctime. Linux 6.13 has file systems that need no wait
//! (Documentation/filesystems/multigrain-ts.rst): once somebody has looked at a time there, the next one differs.

use std::time::{Duration, Instant};

use rustix::time::ClockId;

use crate::engine::entry::item::Item;
use crate::engine::entry::live::mapped::show_stores;
use crate::error::{Context, Operation, Result};
use crate::io::file::File;
use crate::stat::{Stat, Time, stat_open};

/// No tick is longer (CONFIG_HZ is at least 100), and a sleeper wakes up late.
const LONGEST_TICK: Duration = Duration::from_millis(20);
/// The same where times are whole seconds.
const LONGEST_SECOND: Duration = Duration::from_millis(1020);
/// The same where they are even seconds: FAT has no others.
const LONGEST_TWO: Duration = Duration::from_millis(2020);
/// How often the clock is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(1);

/// How the last change of a file and the clock go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// The next change will have another time.
    Older,
    /// It may have the same, until this much has passed.
    Now(Duration),
    /// It lies so far ahead that the clock it was made by is another one. Waiting would not help.
    Ahead,
}

/// `changed` is the time of the last change, `now` what the clock says; `fine` is whether the file system tells any two
/// changes apart that were looked at.
fn age(changed: Time, now: Time, fine: bool) -> Age {
    // A clock of whole seconds says so by its zeros, and one of even seconds may.
    let (limit, now) = match changed.nanoseconds {
        0 if changed.seconds % 2 == 0 => (LONGEST_TWO, Time { seconds: now.seconds & !1, nanoseconds: 0 }),
        0 => (LONGEST_SECOND, Time { nanoseconds: 0, ..now }),
        _ if fine => return Age::Older,
        _ => (LONGEST_TICK, now),
    };
    let nanoseconds = |time: Time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    match nanoseconds(changed) - nanoseconds(now) {
        ..0 => Age::Older,
        ahead if ahead <= limit.as_nanos() as i128 => Age::Now(limit),
        _ => Age::Ahead,
    }
}

fn now() -> Time {
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    Time { seconds: now.tv_sec, nanoseconds: u32::try_from(now.tv_nsec).unwrap_or_default() }
}

/// A source, and whether every change from now on will show in its times.
pub(crate) struct Settled {
    pub(crate) stat: Stat,
    pub(crate) apart: bool,
    /// Stores through a mapping show as well (mapped.rs).
    pub(crate) shows_stores: bool,
}

/// Waits until `source`, which was found like `stat`, is in a state from which every change can be told, unless it is written
/// to meanwhile: how long that goes on nobody knows. Files without a size (in /proc) have times that move with every look:
/// any contents they get show by a size.
pub(crate) async fn settle(item: &Item<'_>, source: &File, stat: Stat) -> Result<Settled> {
    let shows_stores = show_stores(item, source, &stat).await?;
    let Age::Now(limit) = age(stat.changed, now(), source.fine_times) else {
        return Ok(Settled { stat, apart: true, shows_stores });
    };
    if stat.size == 0 {
        return Ok(Settled { stat, apart: true, shows_stores });
    }
    wait(item, &stat, source.fine_times, limit).await?;
    let found = stat_open(source).at(Operation::StatSource, || item.source_path())?;
    let found = item.adopt_open(found, source)?;
    // If nothing changed its clock is a little ahead of ours.
    let apart =
        found.changed == stat.changed || !matches!(age(found.changed, now(), source.fine_times), Age::Now(_));
    Ok(Settled { stat: found, apart, shows_stores })
}

/// Waits until a change of `source` has other times than those of `stat`, which it had a while ago.
pub(crate) async fn pass_tick(item: &Item<'_>, source: &File, stat: &Stat) -> Result<()> {
    match age(stat.changed, now(), source.fine_times) {
        Age::Now(limit) => wait(item, stat, source.fine_times, limit).await,
        Age::Older | Age::Ahead => Ok(()),
    }
}

async fn wait(item: &Item<'_>, stat: &Stat, fine: bool, limit: Duration) -> Result<()> {
    let begun = Instant::now();
    while matches!(age(stat.changed, now(), fine), Age::Now(_)) && begun.elapsed() < limit {
        item.fail_if_stopped()?;
        item.lane.doing(Operation::StatSource);
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// How often a source that keeps changing is read before giving up.
pub(crate) const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_in_this_tick_has_to_wait() {
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let now = at(1_000, 500_000_004);
        for (changed, fine, wanted) in [
            (at(1_000, 500_000_003), false, Age::Older),
            (now, false, Age::Now(LONGEST_TICK)),
            (at(1_000, 510_000_004), false, Age::Now(LONGEST_TICK)),
            (at(1_000, 600_000_004), false, Age::Ahead),
            (at(5_000, 1), false, Age::Ahead),
            (now, true, Age::Older),
            (at(999, 0), false, Age::Older),
            (at(998, 0), true, Age::Older),
            (at(1_000, 0), false, Age::Now(LONGEST_TWO)),
            (at(1_000, 0), true, Age::Now(LONGEST_TWO)),
            (at(1_002, 0), true, Age::Now(LONGEST_TWO)),
            (at(1_001, 0), true, Age::Now(LONGEST_SECOND)),
            (at(1_003, 0), true, Age::Ahead),
            (Time::NEVER, false, Age::Older),
            (at(i64::MAX, 1), false, Age::Ahead),
        ] {
            assert_eq!(age(changed, now, fine), wanted, "{changed:?} {fine}");
        }
        assert_eq!(age(at(1_000, 0), at(1_001, 500_000_000), true), Age::Now(LONGEST_TWO), "as on FAT");
    }
}
