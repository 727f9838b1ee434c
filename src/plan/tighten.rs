//! Modes for what the destination does not keep: what kept others out is missing, so that the permission bits alone have to.

use crate::plan::compare::tries_group;
use crate::plan::rules::Rules;
use crate::stat::Stat;

/// The mode to make a file with that belongs to `group` then: where it is to be given to another one, that may be refused,
/// and so may a tighter mode.
pub(crate) fn mode_at_first(want: &Stat, group: u32, rules: &Rules) -> u32 {
    let changes_hands = group != want.gid && tries_group(want.gid, rules);
    if changes_hands { without_group(want.mode) } else { want.mode }
}

/// The mode of an entry whose group the destination does not keep: the group that it has instead gets no more than everybody.
pub(crate) fn without_group(mode: u32) -> u32 {
    mode & !0o070 | mode & (mode & 0o007) << 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_group_gets_no_more_than_everybody() {
        for (mode, expected) in [
            (0o640, 0o600),
            (0o644, 0o644),
            (0o775, 0o755),
            (0o770, 0o700),
            (0o604, 0o604),
            (0o2751, 0o2711),
            (0o745, 0o745),
        ] {
            assert_eq!(without_group(mode), expected, "{mode:o}");
        }
    }
}
