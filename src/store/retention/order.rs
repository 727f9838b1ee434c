//! Which dates fit the order in which the snapshots were taken.
//!
//! A clock that is behind for a night, or ahead, dates that night's snapshot before earlier ones, or after later ones. Which
//! of two such dates is the wrong one, the others tell: those are right that belong to the longest series of dates in which
//! none is earlier than the one before it. Where there are several series of that length, only what is in all of them is.

use std::cmp::Reverse;

use jiff::Timestamp;

/// Whether each of these dates is right, to the second: a name tells no more.
pub(super) fn in_order(times: &[Timestamp]) -> Vec<bool> {
    let seconds = || times.iter().map(|time| time.as_second());
    let until = longest(seconds());
    let mut from = longest(seconds().rev().map(Reverse));
    from.reverse();
    let all = until.iter().copied().max().unwrap_or(0);
    // The place that each has in a series of this length.
    let places: Vec<Option<usize>> =
        until.iter().zip(from).map(|(&until, from)| (until + from == all + 1).then_some(until)).collect();
    let mut rivals = vec![0; all + 1];
    places.iter().flatten().for_each(|&place| rivals[place] += 1);
    places.iter().map(|place| place.is_some_and(|place| rivals[place] == 1)).collect()
}

/// Of each the length of the longest series that ends with it.
fn longest<T: Ord>(dates: impl Iterator<Item = T>) -> Vec<usize> {
    // The least date with which a series of each length ends.
    let mut ends: Vec<T> = Vec::new();
    let length = |date: T| {
        let at = ends.partition_point(|end| *end <= date);
        match ends.get_mut(at) {
            Some(end) => *end = date,
            None => ends.push(date),
        }
        at + 1
    };
    dates.map(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the longest series among these, by trying all of them.
    fn by_trial(dates: &[i64]) -> usize {
        let series = (0_u32..1 << dates.len()).filter(|chosen| {
            let chosen: Vec<i64> =
                (0..dates.len()).filter(|at| chosen >> at & 1 == 1).map(|at| dates[at]).collect();
            chosen.is_sorted()
        });
        series.map(|chosen| chosen.count_ones() as usize).max().unwrap()
    }

    #[test]
    fn a_date_is_right_if_no_series_is_as_long_without_it() {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as i64
        };
        for _ in 0..400 {
            let dates: Vec<i64> = (0..next() % 9).map(|_| next() % 8).collect();
            let without = |at: usize| [&dates[..at], &dates[at + 1..]].concat();
            let expected: Vec<bool> =
                (0..dates.len()).map(|at| by_trial(&without(at)) < by_trial(&dates)).collect();
            let times: Vec<Timestamp> =
                dates.iter().map(|date| Timestamp::from_second(*date).unwrap()).collect();
            assert_eq!(in_order(&times), expected, "{dates:?}");
        }
    }
}
