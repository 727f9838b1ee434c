//! Rules applied to snapshots whose dates are right.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::store::retention::Rules;

/// The rules that count periods.
const PERIODS: [&str; 5] = ["hourly", "daily", "weekly", "monthly", "yearly"];

/// A snapshot, and the periods that it lies in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dated {
    pub(super) index: usize,
    pub(super) complete: bool,
    time: Timestamp,
    /// Two snapshots that agree in one of these lie in the same hour, day, week, month or year.
    periods: [(i64, i64); PERIODS.len()],
}

impl Dated {
    pub(super) fn new(index: usize, time: Timestamp, complete: bool, zone: &TimeZone) -> Self {
        let local = ZonedDateTime::new(time, zone.clone());
        let date = local.date();
        let day = i64::from(date.duration_since(Date::constant(1970, 1, 1)).as_hours() as i32) / 24;
        let (week, year) = (date.iso_week_date(), i64::from(local.year()));
        let periods = [
            (day, i64::from(local.hour())),
            (day, 0),
            (i64::from(week.year()), i64::from(week.week())),
            (year, i64::from(local.month())),
            (year, 0),
        ];
        Dated { index, complete, time, periods }
    }

    /// Another one, as if it was begun at the same time.
    pub(super) fn beside(&self, index: usize, complete: bool) -> Self {
        Dated { index, complete, ..*self }
    }
}

impl Rules {
    /// Which of these, the newest first, stay, and for which rule.
    pub(super) fn named_by_date(&self, dated: &[Dated], zone: &TimeZone) -> Vec<(usize, String)> {
        let counts = [self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        let mut named = Vec::new();
        for (period, count) in counts.into_iter().enumerate() {
            keep_of_periods(dated, period, count, &mut named);
        }
        self.keep_within(dated, zone, &mut named);
        named
    }

    /// Those within a time before the newest one.
    fn keep_within(&self, dated: &[Dated], zone: &TimeZone, named: &mut Vec<(usize, String)>) {
        let (Some(within), Some(newest)) = (self.within, dated.first()) else { return };
        // A span that leads before all time keeps everything.
        let since =
            ZonedDateTime::new(newest.time, zone.clone()).checked_sub(within).map(|since| since.timestamp());
        let stay = dated.iter().filter(|dated| since.as_ref().map_or(true, |since| dated.time >= *since));
        named.extend(stay.map(|dated| (dated.index, format!("within {within:#}"))));
    }
}

/// Applies the rule of one period.
fn keep_of_periods(dated: &[Dated], period: usize, count: u32, named: &mut Vec<(usize, String)>) {
    let rule = PERIODS[period];
    let runs = dated.chunk_by(|one, other| one.periods[period] == other.periods[period]);
    let (mut left, mut last) = (count, None);
    for run in runs.take(count as usize) {
        left -= 1;
        last = run.iter().find(|dated| dated.complete).or(run.first()).map(|best| best.index);
        named.extend(last.map(|best| (best, rule.into())));
    }
    let oldest = dated.last().map(|oldest| oldest.index).filter(|oldest| left > 0 && last != Some(*oldest));
    named.extend(oldest.map(|oldest| (oldest, format!("{rule} (oldest)"))));
}
