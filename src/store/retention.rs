//! Which snapshots stay: rules that count periods of a calendar, with the meaning that restic(1) gives them. Pure.
//!
//! Snapshots are gone through from the newest to the oldest. Of each period that has one (an hour, a day, a week that
//! begins on Monday, a month, a year) the newest complete one stays, or the newest partial one where there is none, until a
//! rule has had its number of periods; a rule that has not had it keeps the oldest one of all as well.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ZonedDateTime};

/// What to keep. A rule of zero is none.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct Rules {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
    /// All that are not older than this before the newest one.
    pub within: Option<Span>,
}

crate::options::with!(Rules);

/// One snapshot, as far as rules look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// When it was begun.
    pub time: Timestamp,
    /// All that its source had is in it.
    pub complete: bool,
    /// It was given a name, and goes only by that.
    pub named: bool,
}

impl Candidate {
    /// One that was begun at `time`.
    pub fn new(time: Timestamp, complete: bool, named: bool) -> Self {
        Candidate { time, complete, named }
    }
}

/// What becomes of one, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It stays, for these reasons.
    Keep(Vec<String>),
    /// No rule names it.
    Remove,
}

impl Verdict {
    /// Whether it stays.
    pub fn keeps(&self) -> bool {
        matches!(self, Verdict::Keep(_))
    }
}

/// How far ahead of the clock a snapshot may be dated. One that is further was taken by a wrong clock: it stays, and no rule
/// looks at it.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_hours(1);

impl Rules {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.within.is_none() && self.periods().iter().all(|(_, count)| *count == 0)
    }

    /// Judges snapshots, the oldest first in the order they were taken in, whatever their times say.
    pub fn judge(&self, candidates: &[Candidate], now: Timestamp, zone: &TimeZone) -> Vec<Verdict> {
        let mut reasons: Vec<Vec<String>> = candidates.iter().map(|_| Vec::new()).collect();
        let is_ahead = |candidate: &Candidate| candidate.time.duration_since(now) > AHEAD;
        let mut judged = Vec::new();
        for (index, candidate) in candidates.iter().enumerate().rev() {
            if candidate.named {
                reasons[index].push("named".into());
            } else if is_ahead(candidate) {
                reasons[index].push("dated ahead of the clock".into());
            } else {
                judged.push(index);
            }
        }
        if let Some(newest) = (0..candidates.len()).rev().find(|&index| candidates[index].complete) {
            reasons[newest].push("newest complete".into());
        }
        for (period, count) in self.periods() {
            keep_of_periods(candidates, &judged, (period, count), zone, &mut reasons);
        }
        self.keep_within(candidates, &judged, zone, &mut reasons);
        let verdict = |reasons: Vec<String>| match reasons.is_empty() {
            true => Verdict::Remove,
            false => Verdict::Keep(reasons),
        };
        reasons.into_iter().map(verdict).collect()
    }

    fn periods(&self) -> [(Period, u32); 6] {
        [
            (Period::Each, self.last),
            (Period::Hour, self.hourly),
            (Period::Day, self.daily),
            (Period::Week, self.weekly),
            (Period::Month, self.monthly),
            (Period::Year, self.yearly),
        ]
    }

    /// Those within a time before the newest one that is judged.
    fn keep_within(
        &self,
        candidates: &[Candidate],
        judged: &[usize],
        zone: &TimeZone,
        reasons: &mut [Vec<String>],
    ) {
        let newest = judged.iter().map(|&index| candidates[index].time).max();
        let (Some(within), Some(newest)) = (self.within, newest) else { return };
        // A span that leads before all time keeps everything.
        let since =
            ZonedDateTime::new(newest, zone.clone()).checked_sub(within).map(|since| since.timestamp());
        // One that a clock which was behind has dated is no older than those before it.
        let mut time = Timestamp::MIN;
        for &index in judged.iter().rev() {
            time = time.max(candidates[index].time);
            if since.as_ref().map_or(true, |since| time >= *since) {
                reasons[index].push(format!("within {within:#}"));
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Each,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    fn name(self) -> &'static str {
        match self {
            Period::Each => "last",
            Period::Hour => "hourly",
            Period::Day => "daily",
            Period::Week => "weekly",
            Period::Month => "monthly",
            Period::Year => "yearly",
        }
    }

    /// Two snapshots that agree in this lie in one period.
    fn of(self, index: usize, time: Timestamp, zone: &TimeZone) -> (i64, i64) {
        let local = ZonedDateTime::new(time, zone.clone());
        let days =
            |date: Date| i64::from(date.duration_since(Date::constant(1970, 1, 1)).as_hours() as i32) / 24;
        let year = i64::from(local.year());
        match self {
            Period::Each => (index as i64, 0),
            Period::Hour => (days(local.date()), i64::from(local.hour())),
            Period::Day => (days(local.date()), 0),
            Period::Week => {
                let week = local.date().iso_week_date();
                (i64::from(week.year()), i64::from(week.week()))
            }
            Period::Month => (year, i64::from(local.month())),
            Period::Year => (year, 0),
        }
    }
}

/// Applies one rule to what is `judged`, the newest first.
fn keep_of_periods(
    candidates: &[Candidate],
    judged: &[usize],
    (period, count): (Period, u32),
    zone: &TimeZone,
    reasons: &mut [Vec<String>],
) {
    let mut left = count;
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut last = None;
    for &index in judged {
        let of = period.of(index, candidates[index].time, zone);
        match runs.last_mut().filter(|_| last == Some(of)) {
            Some(run) => run.push(index),
            None => runs.push(vec![index]),
        }
        last = Some(of);
    }
    for run in &runs {
        if left == 0 {
            return;
        }
        left -= 1;
        let best = run.iter().find(|&&index| candidates[index].complete).or(run.first());
        if let Some(&best) = best {
            reasons[best].push(period.name().into());
        }
    }
    if let Some(&oldest) = judged.last().filter(|_| left > 0)
        && !reasons[oldest].iter().any(|reason| reason == period.name())
    {
        reasons[oldest].push(format!("{} (oldest)", period.name()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + hours * HOUR).unwrap()
    }

    fn kept(rules: &Rules, candidates: &[Candidate], now: Timestamp) -> Vec<usize> {
        let verdicts = rules.judge(candidates, now, &TimeZone::UTC);
        (0..candidates.len()).filter(|&index| verdicts[index].keeps()).collect()
    }

    /// The rule as restic's documentation tells it, by text: the newest of each period whose text is another one's, and the
    /// oldest of all where there are fewer periods than were asked for.
    fn by_text(times: &[Timestamp], format: &str, count: usize) -> Vec<usize> {
        let text =
            |index: usize| ZonedDateTime::new(times[index], TimeZone::UTC).strftime(format).to_string();
        let (mut kept, mut last) = (Vec::new(), None);
        for index in (0..times.len()).rev() {
            let period = text(index);
            if kept.len() < count && (last.as_ref() != Some(&period) || index == 0) {
                kept.push(index);
                last = Some(period);
            }
        }
        kept.reverse();
        kept
    }

    #[test]
    fn periods_are_those_of_the_calendar() {
        type Change = fn(&mut Rules, u32);
        // Five years, at odd distances.
        let times: Vec<Timestamp> = (0..4000).map(|step| at(step * 11 + step % 7)).collect();
        let all: Vec<Candidate> = times.iter().map(|time| Candidate::new(*time, true, false)).collect();
        let rule = |change: Change, count| Rules::default().with(|rules| change(rules, count));
        let table: [(Change, &str); 5] = [
            (|rules, count| rules.hourly = count, "%Y-%m-%d %H"),
            (|rules, count| rules.daily = count, "%Y-%m-%d"),
            (|rules, count| rules.weekly = count, "%G-%V"),
            (|rules, count| rules.monthly = count, "%Y-%m"),
            (|rules, count| rules.yearly = count, "%Y"),
        ];
        for (change, format) in table {
            for count in [1, 2, 7, 60, 1000, 100_000] {
                let found = kept(&rule(change, count), &all, at(100_000));
                assert_eq!(found, by_text(&times, format, count as usize), "{format} {count}");
            }
        }
        assert_eq!(kept(&rule(|rules, count| rules.last = count, 3), &all, at(100_000)), [3997, 3998, 3999]);
    }

    #[test]
    fn a_complete_one_stands_for_its_period() {
        let of = |hours, complete| Candidate::new(at(hours), complete, false);
        let rules = Rules::default().with(|rules| rules.daily = 2);
        // 2026-09-21 13:46 UTC is hour 0.
        let days = [of(-48, true), of(-24, true), of(-23, false), of(0, true), of(1, false)];
        assert_eq!(kept(&rules, &days, at(2)), [1, 3]);
        assert_eq!(kept(&rules, &[of(-24, false), of(-23, false), of(0, true)], at(2)), [1, 2]);
    }

    #[test]
    fn no_rule_looks_at_what_is_named_or_ahead() {
        let of = |hours| Candidate::new(at(hours), true, false);
        let named = Candidate::new(at(-400), true, true);
        let rules = Rules::default().with(|rules| rules.last = 1);
        let all = [named, of(-100), of(5000), of(-50), of(0)];
        assert_eq!(kept(&rules, &all, at(1)), [0, 2, 4]);
        // A clock that went back: the order is that of the record.
        assert_eq!(kept(&rules, &[of(0), of(-10), of(-20)], at(1)), [2]);
        // Without any rule the newest complete one stays.
        assert_eq!(kept(&Rules::default(), &all, at(1)), [0, 2, 4]);
        assert!(Rules::default().is_empty());
    }

    #[test]
    fn within_begins_at_the_newest_one() {
        let of = |hours| Candidate::new(at(hours), true, false);
        let rules = Rules::default().with(|rules| rules.within = Some(Span::new().days(2)));
        assert_eq!(kept(&rules, &[of(-49), of(-48), of(-1), of(0)], at(5000)), [1, 2, 3]);
        // A clock that was behind for a night is no reason to prune that night's, nor one ahead to prune the others.
        let all = [of(-49), of(-30), of(-9000), of(9000), of(-1), of(0)];
        assert_eq!(kept(&rules, &all, at(1)), [1, 2, 3, 4, 5]);
    }
}
