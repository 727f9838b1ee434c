//! Which snapshots stay: rules that count periods of a calendar, with the meaning that restic(1) gives them. Pure.
//!
//! Snapshots are gone through from the newest to the oldest. Of each period that has one (an hour, a day, a week that
//! begins on Monday, a month, a year) the newest complete one stays, or the newest partial one where there is none, until a
//! rule has had its number of periods; a rule that has not had it keeps the oldest one of all as well (periods.rs).
//!
//! Their order is the one in which they were taken, whatever their dates say. A date that contradicts the order (order.rs) was
//! set by a wrong clock: its snapshot takes no place in a rule, and stays as long as one would that was begun together with the
//! snapshot before it, or after it, whose date is right.

mod order;
mod periods;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use crate::store::retention::order::in_order;
use crate::store::retention::periods::Dated;

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
/// looks at its date.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_hours(1);

impl Rules {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.last == 0 && !self.has_dates()
    }

    /// Whether any of them looks at dates.
    fn has_dates(&self) -> bool {
        self.within.is_some()
            || [self.hourly, self.daily, self.weekly, self.monthly, self.yearly]
                .iter()
                .any(|count| *count > 0)
    }

    /// Judges snapshots, the oldest first in the order they were taken in, whatever their times say.
    pub fn judge(&self, candidates: &[Candidate], now: Timestamp, zone: &TimeZone) -> Vec<Verdict> {
        let mut reasons: Vec<Vec<String>> = candidates.iter().map(|_| Vec::new()).collect();
        let (named, others): (Vec<usize>, Vec<usize>) =
            (0..candidates.len()).partition(|&index| candidates[index].named);
        for index in named {
            reasons[index].push("named".into());
        }
        if let Some(newest) = (0..candidates.len()).rev().find(|&index| candidates[index].complete) {
            reasons[newest].push("newest complete".into());
        }
        for &index in others.iter().rev().take(self.last as usize) {
            reasons[index].push("last".into());
        }
        self.judge_dates(candidates, &others, (now, zone), &mut reasons);
        let verdict = |reasons: Vec<String>| match reasons.is_empty() {
            true => Verdict::Remove,
            false => Verdict::Keep(reasons),
        };
        reasons.into_iter().map(verdict).collect()
    }

    /// Applies the rules that look at dates to the snapshots of these numbers.
    fn judge_dates(
        &self,
        candidates: &[Candidate],
        numbers: &[usize],
        (now, zone): (Timestamp, &TimeZone),
        reasons: &mut [Vec<String>],
    ) {
        let is_ahead = |&index: &usize| candidates[index].time.duration_since(now) > AHEAD;
        let (ahead, others): (Vec<usize>, Vec<usize>) = numbers.iter().partition(|index| is_ahead(index));
        for index in ahead {
            reasons[index].push("dated ahead of the clock".into());
        }
        let times: Vec<Timestamp> = others.iter().map(|&index| candidates[index].time).collect();
        // From the newest on.
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for (&index, is_in_order) in others.iter().zip(in_order(&times)).rev() {
            let Candidate { time, complete, .. } = candidates[index];
            if is_in_order {
                right.push(Dated::new(index, time, complete, zone));
            } else {
                wrong.push(index);
            }
        }
        for (index, why) in self.named_by_date(&right, zone) {
            reasons[index].push(why);
        }
        for index in wrong.into_iter().filter(|_| self.has_dates()) {
            let mut why = self.judge_beside(&right, index, candidates[index].complete, zone);
            if !why.is_empty() || right.is_empty() {
                reasons[index].push("dated out of order".into());
                reasons[index].append(&mut why);
            }
        }
    }

    /// Why one whose date is wrong stays: what it would stay for if it was begun together with the one before it or after it.
    fn judge_beside(&self, right: &[Dated], index: usize, complete: bool, zone: &TimeZone) -> Vec<String> {
        let at = right.partition_point(|dated| dated.index > index);
        let neighbours = [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|at| right.get(at));
        let mut reasons = Vec::new();
        for neighbour in neighbours {
            let mut all = right.to_vec();
            all.insert(at, neighbour.beside(index, complete));
            let named = self.named_by_date(&all, zone).into_iter().filter(|(named, _)| *named == index);
            reasons.extend(named.map(|(_, why)| why));
        }
        reasons.sort();
        reasons.dedup();
        reasons
    }
}

#[cfg(test)]
mod tests {
    use jiff::ZonedDateTime;

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
        // Nor is the newest one reason if it is dated behind the others, or ahead of them by a clock that is right by now.
        assert_eq!(kept(&rules, &[of(-1), of(0), of(-9000)], at(1)), [0, 1, 2]);
        assert_eq!(kept(&rules, &[of(-49), of(-30), of(90), of(-1), of(0)], at(99)), [1, 2, 3, 4]);
    }

    /// Nights of these dates, in days.
    fn nights(days: &[i64]) -> Vec<Candidate> {
        days.iter().map(|day| Candidate::new(at(day * 24), true, false)).collect()
    }

    #[test]
    fn a_wrong_date_takes_no_place() {
        let rules = Rules::default().with(|rules| rules.daily = 3);
        let kept = |days: &[i64], now: i64| kept(&rules, &nights(days), at(now * 24 + 2));
        // The clock was behind for the night of 103, which was begun as the one before was: as long as 102 stays.
        assert_eq!(kept(&[100, 101, 102, 50], 50), [0, 1, 2, 3], "the others are ahead of the clock");
        assert_eq!(kept(&[100, 101, 102, 50], 103), [0, 1, 2, 3]);
        assert_eq!(kept(&[100, 101, 102, 50, 104], 104), [1, 2, 3, 4]);
        assert_eq!(kept(&[101, 102, 50, 104, 105, 106], 106), [3, 4, 5]);
        // It goes, though it has the date of the day that is the oldest to stay.
        assert_eq!(kept(&[101, 102, 105, 103, 104, 105, 106], 106), [4, 5, 6]);
        // For three nights the clock was ahead, and then time has come to that.
        assert_eq!(
            kept(&[1, 2, 3, 14, 15, 16, 7, 8, 9], 16),
            [0, 1, 2, 3, 4, 5, 6, 7, 8],
            "which are right?"
        );
        assert_eq!(kept(&[1, 2, 3, 14, 15, 16, 7, 8, 9, 10], 16), [7, 8, 9]);
        assert_eq!(
            kept(&[1, 2, 3, 14, 15, 16, 7, 8], 9),
            [2, 3, 4, 5, 6, 7],
            "what is ahead stays, and is no reference"
        );
        // Of two nights nobody can tell, nor where each night goes back.
        assert_eq!(kept(&[20, 10], 30), [0, 1]);
        assert_eq!(kept(&[50, 40, 30, 20, 10], 60), [0, 1, 2, 3, 4]);
        let last = Rules::default().with(|rules| rules.last = 2);
        assert_eq!(self::kept(&last, &nights(&[50, 40, 30, 20, 10]), at(2000)), [3, 4]);
    }

    /// What stays, computed in the plainest way: a date is right if without it the longest series is shorter; what is
    /// wrong stays if it does with the date of the right one before it, or after it.
    fn plainly(candidates: &[Candidate], (format, count): (&str, usize), now: Timestamp) -> Vec<usize> {
        let longest = |times: &[Timestamp]| {
            let mut lengths: Vec<usize> = Vec::new();
            for (at, time) in times.iter().enumerate() {
                let before = (0..at).filter(|&earlier| times[earlier] <= *time);
                lengths.push(1 + before.map(|earlier| lengths[earlier]).max().unwrap_or(0));
            }
            lengths.into_iter().max().unwrap_or(0)
        };
        let times: Vec<Timestamp> = candidates.iter().map(|candidate| candidate.time).collect();
        let is_ahead = |index: usize| times[index] > now + SignedDuration::from_hours(1);
        let without = |index: Option<usize>| -> Vec<Timestamp> {
            (0..times.len()).filter(|&at| !is_ahead(at) && Some(at) != index).map(|at| times[at]).collect()
        };
        let is_right =
            |index: usize| !is_ahead(index) && longest(&without(Some(index))) < longest(&without(None));
        let right: Vec<usize> = (0..times.len()).filter(|&index| is_right(index)).collect();
        let stay = |numbers: &[usize], dates: &[Timestamp]| -> Vec<usize> {
            by_text(dates, format, count).into_iter().map(|at| numbers[at]).collect()
        };
        let dates: Vec<Timestamp> = right.iter().map(|&index| times[index]).collect();
        let mut kept = stay(&right, &dates);
        for wrong in (0..times.len()).filter(|index| !right.contains(index)) {
            let at = right.iter().filter(|&&index| index < wrong).count();
            let numbers = [&right[..at], &[wrong], &right[at..]].concat();
            let beside =
                [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|near| dates.get(near));
            let does = |date: &Timestamp| {
                stay(&numbers, &[&dates[..at], &[*date], &dates[at..]].concat()).contains(&wrong)
            };
            if is_ahead(wrong) || right.is_empty() || beside.into_iter().any(does) {
                kept.push(wrong);
            }
        }
        kept.extend(candidates.len().checked_sub(1)); // the newest complete one
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    #[test]
    fn wrong_clocks_are_judged_as_the_plain_computation_does() {
        let mut state = 3_u64;
        let mut next = |most: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as i64 % most
        };
        for round in 0..300 {
            let mut shift = 0;
            let mut all = Vec::new();
            for night in 0..next(30) {
                // Now and then the clock is set, and that may be set right again.
                shift = match next(6) {
                    0 => next(60) - 30,
                    1 => 0,
                    _ => shift,
                };
                all.push(Candidate::new(at((night + shift) * 24 + next(5)), true, false));
            }
            let now = at((all.len() as i64 + next(20) - 5) * 24);
            let rule = |change: fn(&mut Rules, u32), count: usize| {
                Rules::default().with(|rules| change(rules, count as u32))
            };
            for count in [1, 2, 5, 40] {
                let daily = kept(&rule(|rules, count| rules.daily = count, count), &all, now);
                assert_eq!(daily, plainly(&all, ("%Y-%m-%d", count), now), "{round}: {count} of {all:#?}");
                let weekly = kept(&rule(|rules, count| rules.weekly = count, count), &all, now);
                assert_eq!(weekly, plainly(&all, ("%G-%V", count), now), "{round}: {count} of {all:#?}");
            }
        }
    }
}
