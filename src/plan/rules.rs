//! The rules of a run: what is kept, what counts as different, what this process may change, and what the source is
//! taken to be where the destination is to differ from it.

use crate::event::Kind;
use crate::options::{Compare, CompareBy, Keep, Owner};
use crate::plan::chmod::Chmod;
use crate::plan::compare::mode_to_give;
use crate::plan::privileges::Privileges;
use crate::plan::times::{Match, match_times};
use crate::stat::{Stat, Time};

/// What counts as different, and what can be mended.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) keep: Keep,
    pub(crate) privileges: Privileges,
    pub(crate) compare: Compare,
    /// What modes and owners are to be, where they are not to be the source's.
    pub(crate) chmod: Chmod,
    pub(crate) owner: Owner,
    /// Permission bits that the kernel takes from new files.
    pub(crate) umask: u32,
}

impl Keep {
    /// Whether entries of this type are mirrored.
    pub(crate) fn takes(&self, kind: Kind) -> bool {
        match kind {
            Kind::File | Kind::Directory => true,
            Kind::Symlink => self.symlinks,
            _ => self.specials,
        }
    }

    /// Whether entries of this type get their source's time.
    pub(crate) fn times_of(&self, kind: Kind) -> bool {
        self.times && (self.directory_times || kind != Kind::Directory)
    }
}

impl Rules {
    /// The source's stat as the destination is to have it. setuid and setgid are the source's owner's and group's: they do
    /// not pass to others, unless they are asked for.
    pub(crate) fn adopt(&self, source: Stat) -> Stat {
        let uid = self.owner.user.unwrap_or(source.uid);
        let gid = self.owner.group.unwrap_or(source.gid);
        let mut mode = self.chmod.apply(source.mode, source.kind, self.umask);
        if !self.keep.permissions {
            mode &= 0o777 & !self.umask;
        }
        let wanted = Stat { mode, ..source };
        Stat { mode: mode_to_give(&wanted, uid, gid, self), uid, gid, ..source }
    }

    /// Whether the user who runs this is in a group.
    pub(crate) fn is_own_group(&self, group: u32) -> bool {
        self.privileges.groups.contains(&group)
    }

    /// Whether files of one size are compared by contents, and not by time.
    pub(crate) fn compares_contents(&self) -> bool {
        self.compare.by == CompareBy::Contents
    }

    /// Whether a file that the destination has, of the source's size, is copied for its time; or for nothing that a stat
    /// tells. Whether the file system can have that time only a trial tells.
    pub(crate) fn copies_for_time(&self, source: Time, destination: &Stat) -> bool {
        match self.compare.by {
            CompareBy::SizeAndTime => !self.same_time(source, destination),
            CompareBy::Nothing => true,
            CompareBy::Size | CompareBy::Contents => false,
        }
    }

    /// Whether the destination's time counts as the source's.
    pub(crate) fn same_time(&self, source: Time, destination: &Stat) -> bool {
        match self.compare.window {
            Some(window) => source.seconds.abs_diff(destination.modified.seconds) <= window,
            // Nearly always, and at once.
            None if source == destination.modified => true,
            None => matches!(match_times(source, destination), Match::Same | Match::Rounded),
        }
    }

    /// Whether the destination's time is later, and not only by what does not count.
    pub(crate) fn is_newer(&self, source: Time, destination: &Stat) -> bool {
        destination.modified > source && !self.same_time(source, destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::compare::tests::{PLAIN, SAME, rules, stat, with};
    use crate::plan::compare::{Decision, decide, differences};

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

    #[test]
    fn a_wanted_mode_and_owner_take_the_place_of_the_source_s() {
        let chmod = "F6750,D700".parse().unwrap();
        let owner = Owner { user: Some(1), group: Some(9) };
        let rules = Rules { chmod, owner, ..rules(true) };
        let want = rules.adopt(stat(Kind::File));
        assert_eq!((want.mode, want.uid, want.gid), (0o6750, 1, 9));
        assert_eq!(rules.adopt(stat(Kind::Directory)).mode, 0o700);
        let link = rules.adopt(stat(Kind::Symlink));
        assert_eq!((link.mode, link.uid), (0o644, 1), "a symlink has an owner and no mode");
        let mut unasked = rules.clone();
        unasked.chmod = Chmod::default();
        for (mode, user, group, expected) in [
            (0o6755, Some(0), None, 0o2755),
            (0o6755, None, Some(0), 0o4755),
            (0o6755, Some(0), Some(0), 0o755),
            (0o6755, Some(7), Some(8), 0o6755),
        ] {
            unasked.owner = Owner { user, group };
            let source = Stat { mode, ..stat(Kind::File) };
            assert_eq!(unasked.adopt(source).mode, expected, "{user:?} {group:?}");
            let directory = Stat { mode, ..stat(Kind::Directory) };
            assert_eq!(unasked.adopt(directory).mode, mode, "a directory is not run");
        }
        let difference = differences(&want, &stat(Kind::File), &rules);
        assert_eq!((difference.owner, difference.mode), (Some((Some(1), Some(9))), Some(0o6750)));
        // The owner is left alone: setuid was asked for all the same.
        let mut lax = rules.clone();
        (lax.keep.owner, lax.owner) = (false, Owner::default());
        let found = differences(&lax.adopt(Stat { uid: 1, ..stat(Kind::File) }), &stat(Kind::File), &lax);
        assert_eq!((found.owner, found.mode), (None, Some(0o6750)));
    }

    #[test]
    fn an_owner_that_can_not_be_had_is_refused() {
        let (root, user) = (rules(true).privileges, rules(false).privileges);
        let table = [
            (None, None, true),
            (Some(7), None, true),
            (Some(7), Some(9), true),
            (None, Some(8), true),
            (Some(0), None, false),
            (Some(0), Some(8), false),
            (Some(7), Some(10), false),
            (None, Some(10), false),
        ];
        for (to, group, allowed) in table {
            let owner = Owner { user: to, group };
            assert_eq!(user.refusal(&owner).is_none(), allowed, "{owner:?}");
            assert_eq!(root.refusal(&owner), None);
        }
        // It is asked for: what is somebody else's is tried, and is an error then, not passed over.
        let rules = Rules { owner: Owner { user: Some(7), group: None }, ..rules(false) };
        let have = Stat { uid: 1, ..stat(Kind::File) };
        assert_eq!(differences(&rules.adopt(have), &have, &rules).owner, Some((Some(7), None)));
    }
}
