//! The rules of a run: what is kept, what counts as different, and what this process may change.

use super::entry::Time;
use crate::config::{Compare, Config, Keep};

/// What this process may change of owner and group (chown(2)).
#[derive(Debug, Clone)]
pub(crate) struct Privileges {
    /// Effective user 0: may give files away, and sees every namespace of attributes.
    pub(crate) root: bool,
    /// Groups an unprivileged owner may give its files to.
    pub(crate) groups: Vec<u32>,
}

impl Privileges {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let mut groups: Vec<u32> =
            rustix::process::getgroups().unwrap_or_default().into_iter().map(|g| g.as_raw()).collect();
        groups.push(rustix::process::getegid().as_raw());
        Privileges { root: rustix::process::geteuid().is_root(), groups }
    }
}

/// What counts as different, and what can be mended.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) keep: Keep,
    pub(crate) privileges: Privileges,
    /// Files of one size are compared by contents, and not by time.
    pub(crate) checksum: bool,
    pub(crate) compare: Compare,
}

impl Rules {
    /// Those of a run by this process.
    pub(crate) fn new(config: &Config) -> Self {
        Rules {
            keep: config.keep,
            privileges: Privileges::of_process(),
            checksum: config.checksum,
            compare: config.compare,
        }
    }

    /// Whether a file that the destination has, of the source's size, is copied for its time, whatever that is; or for
    /// nothing that a stat tells.
    pub(crate) fn copies_for_time(&self, same_time: bool) -> bool {
        !self.checksum && !self.compare.size_only && (self.compare.ignore_times || !same_time)
    }

    /// Whether two times count as one.
    pub(crate) fn same_time(&self, one: Time, other: Time) -> bool {
        match self.compare.window {
            Some(window) => one.seconds.abs_diff(other.seconds) <= window,
            None => one == other,
        }
    }

    /// Whether the destination's time is later, and not only by what does not count.
    pub(crate) fn is_newer(&self, source: Time, destination: Time) -> bool {
        destination > source && !self.same_time(source, destination)
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::tests::{PLAIN, SAME, stat, with};
    use super::super::compare::{Decision, decide, differences};
    use super::super::entry::{Kind, Stat};
    use super::*;

    #[test]
    fn a_window_is_of_whole_seconds_and_holds_for_all_types() {
        let at = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let table = [
            (None, at(1000, 5), true),
            (None, at(1000, 6), false),
            (Some(0), at(1000, 999_999_999), true),
            (Some(0), at(1001, 0), false),
            (Some(0), at(999, 999_999_999), false),
            (Some(2), at(1002, 999_999_999), true),
            (Some(2), at(998, 0), true),
            (Some(2), at(1003, 0), false),
            (Some(2), at(997, 999_999_999), false),
            (Some(u64::MAX), at(i64::MAX, 0), true),
            (Some(1), Time::NEVER, false),
        ];
        for (window, modified, same) in table {
            let rules = with(Compare { window, ..PLAIN });
            for kind in [Kind::File, Kind::Symlink, Kind::Directory, Kind::Fifo] {
                let have = Stat { modified, ..stat(kind) };
                assert_eq!(differences(&stat(kind), &have, &rules).times, !same, "{window:?} {modified:?}");
            }
            let have = Stat { modified, ..stat(Kind::File) };
            let expected = if same { SAME } else { Decision::Replace };
            assert_eq!(decide(&stat(Kind::File), Some(&have), &rules, || true), expected, "{window:?}");
        }
    }
}
