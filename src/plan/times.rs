//! How a time in the destination stands to the source's. File systems keep times to 1 s, 10 ms or 100 ns, and from and
//! to a year of their own: what they make of a time is no difference between the trees.

use crate::stat::{Stat, Time};

/// How a destination's modification time stands to the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// To the nanosecond.
    Same,
    /// It is the source's as the file system rounds it.
    Rounded,
    /// It is the first, or the last, time that some file systems have, and the source's lies beyond. A file of any other may
    /// have such a time as well: whether it was clamped only a trial tells.
    Clamped,
    Other,
}

/// What file systems round to, in nanoseconds: NTFS, clients of SMB, exFAT, old ext4 and HFS+.
const STEPS: [i128; 4] = [100, 1000, 10_000_000, SECOND];
const SECOND: i128 = 1_000_000_000;

/// A day in seconds: FAT keeps local time.
const DAY: i64 = 86_400;
/// The first times that file systems have, in seconds since 1970, and by how much they may differ: 32 bits with a sign, 32
/// bits without one, and FAT's 1980.
const FIRST: [(i64, i64); 3] = [(i32::MIN as i64, 0), (0, 0), (315_532_800, DAY)];
/// The last ones: 32 bits with a sign, FAT's 2107, 32 bits without, ext4 with large inodes, xfs with `bigtime`.
const LAST: [(i64, i64); 5] = [
    (i32::MAX as i64, 0),
    (4_354_819_198, DAY),
    (u32::MAX as i64, 0),
    (15_032_385_535, 0),
    (16_299_260_424, 1),
];

/// Compares the source's modification time with that of `have` in the destination.
///
/// A time that was cut counts as the source's only where the change time, which the kernel sets and nobody else, is cut as
/// well: a file system that keeps nanoseconds has them in nearly every change time.
pub(crate) fn match_times(want: Time, have: &Stat) -> Match {
    if want == have.modified {
        return Match::Same;
    }
    let is_at =
        |(limit, around): &(i64, i64)| have.modified.seconds.abs_diff(*limit) <= around.unsigned_abs();
    let (later, earlier) = (want > have.modified, want < have.modified);
    let at_limit = later && LAST.iter().any(is_at) || earlier && FIRST.iter().any(is_at);
    if at_limit && have.modified.nanoseconds == 0 {
        return Match::Clamped;
    }
    let (modified, changed) = (nanoseconds(have.modified), nanoseconds(have.changed));
    let is_cut = |step: &i128| {
        modified % step == 0 && changed % step == 0 && (nanoseconds(want) - modified).abs() < *step
    };
    if STEPS.iter().any(is_cut) { Match::Rounded } else { Match::Other }
}

/// How many steps there are to which a time may be rounded, which only a trial tells.
pub(crate) const TRIED: usize = 5;

/// Which step it is to which a time may be the source's, rounded: 100 ns, 1 µs, 10 ms, 1 s, or 2 s as FAT keeps it. The change
/// time need not be: a program behind FUSE may pass on one that is finer. Any file system may have such a time: only a trial
/// tells.
pub(crate) fn may_be_rounded(want: Time, have: &Stat) -> Option<usize> {
    let modified = nanoseconds(have.modified);
    let is_cut = |step: &i128| modified % step == 0 && (nanoseconds(want) - modified).abs() < *step;
    let steps = STEPS.into_iter().chain([2 * SECOND]);
    steps.enumerate().find(|(_, step)| is_cut(step)).map(|(index, _)| index)
}

fn nanoseconds(time: Time) -> i128 {
    i128::from(time.seconds) * SECOND + i128::from(time.nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::plan::compare::tests::stat;

    #[test]
    fn a_time_is_matched_as_the_file_system_keeps_it() {
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let fine = at(1_700_000_000, 123_456_789);
        let end = i64::from(i32::MAX);
        let table = [
            ("the same", at(1000, 5), at(1000, 5), fine, Match::Same),
            ("a nanosecond", at(1000, 5), at(1000, 6), fine, Match::Other),
            ("seconds", at(1000, 5), at(1000, 0), at(2000, 0), Match::Rounded),
            ("seconds, rounded up", at(1000, 5), at(1001, 0), at(2000, 0), Match::Rounded),
            ("a whole second", at(1000, 5), at(999, 0), at(2000, 0), Match::Other),
            ("on a file system with nanoseconds", at(1000, 5), at(1000, 0), fine, Match::Other),
            ("two seconds", at(1001, 5), at(1000, 0), at(2001, 0), Match::Other),
            ("100 ns", at(1000, 123_456_789), at(1000, 123_456_700), at(2000, 700), Match::Rounded),
            ("10 ms", at(1000, 123_456_789), at(1000, 120_000_000), at(2000, 10_000_000), Match::Rounded),
            ("10 ms, fine", at(1000, 123_456_789), at(1000, 120_000_000), fine, Match::Other),
            ("past 2038", at(end + 9, 5), at(end, 0), at(2000, 0), Match::Clamped),
            ("2038 itself", at(end - 9, 5), at(end, 0), fine, Match::Other),
            ("before 1901", at(-3_000_000_000, 5), at(i64::from(i32::MIN), 0), at(2000, 0), Match::Clamped),
            ("before 1970", at(-5, 5), at(0, 0), at(2000, 0), Match::Clamped),
            ("before 1980, east", at(5, 0), at(315_532_800 - 7200, 0), at(2000, 0), Match::Clamped),
            ("past 2107", at(5_000_000_000, 0), at(4_354_819_198, 0), at(2000, 0), Match::Clamped),
            ("never", at(5, 0), Time::NEVER, at(2000, 0), Match::Other),
        ];
        for (what, want, modified, changed, expected) in table {
            let have = Stat { modified, changed, ..stat(Kind::File) };
            assert_eq!(match_times(want, &have), expected, "{what}");
        }
    }

    #[test]
    fn a_step_is_a_question() {
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let of = |want, modified| {
            let changed = at(2000, 123_456_789);
            may_be_rounded(want, &Stat { modified, changed, ..stat(Kind::File) })
        };
        assert_eq!((of(at(1001, 5), at(1000, 0)), of(at(998, 5), at(1000, 0))), (Some(4), Some(4)));
        assert_eq!(of(at(1002, 5), at(1001, 0)), None, "odd");
        assert_eq!(of(at(1002, 0), at(1000, 0)), None, "two seconds later");
        assert_eq!(of(at(1000, 123_456_789), at(1000, 123_456_000)), Some(1), "a microsecond");
        assert_eq!(of(at(1000, 123_456_789), at(1000, 123_456_700)), Some(0), "100 ns");
        assert_eq!(of(at(1000, 123_456_789), at(1000, 123_000_789)), None, "nothing that is rounded to");
        assert_eq!(of(at(1000, 123_456_789), at(1000, 0)), Some(3), "a second");
    }
}
