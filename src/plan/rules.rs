//! The rules of a run: what is kept, what counts as different, what this process may change, and what the source is
//! taken to be where the destination is to differ from it.

use crate::event::Kind;
use crate::options::{Compare, CompareBy, Keep, Owner};
use crate::plan::chmod::Chmod;
use crate::plan::compare::mode_to_give;
use crate::plan::id_map::IdMap;
use crate::plan::privileges::{Privileges, Reach};
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
    pub(crate) users: Option<IdMap>,
    pub(crate) groups: Option<IdMap>,
    /// Permission bits that the kernel takes from new files.
    pub(crate) umask: u32,
}

impl Keep {
    /// Whether entries of this type are mirrored.
    pub fn takes(&self, kind: Kind) -> bool {
        match kind {
            Kind::File | Kind::Directory => true,
            Kind::Symlink => self.symlinks,
            Kind::Fifo | Kind::Socket => self.specials,
            Kind::CharDevice | Kind::BlockDevice => self.devices,
        }
    }

    /// Whether any attributes are read, ACLs among them.
    pub(crate) fn attributes(&self) -> bool {
        self.xattrs || self.acls
    }

    /// Whether entries of this type get their source's time.
    pub(crate) fn times_of(&self, kind: Kind) -> bool {
        self.times
            && match kind {
                Kind::Directory => self.directory_times,
                Kind::Symlink => self.symlink_times,
                _ => true,
            }
    }
}

impl Rules {
    /// The source's stat as the destination is to have it. setuid and setgid are the source's owner's and group's: they do
    /// not pass to others, unless they are asked for.
    ///
    /// Where modes are left alone a new entry gets those of its source's permissions that are `allowed`.
    pub(crate) fn adopt(&self, source: Stat, allowed: u32) -> Stat {
        let mapped = |map: &Option<IdMap>, id| map.as_ref().map_or(id, |map| map.get(id));
        let uid = self.owner.user.unwrap_or_else(|| mapped(&self.users, source.uid));
        let gid = self.owner.group.unwrap_or_else(|| mapped(&self.groups, source.gid));
        let mut mode = self.chmod.apply(source.mode, source.kind, self.umask);
        if !self.keep.permissions {
            mode &= 0o777 & allowed;
        }
        let wanted = Stat { mode, ..source };
        Stat { mode: mode_to_give(&wanted, uid, gid, self), uid, gid, ..source }
    }

    /// Which attributes are read and set.
    pub(crate) fn reach(&self) -> Reach {
        Reach { namespaces: self.privileges.namespaces, acls: self.keep.acls, xattrs: self.keep.xattrs }
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
        let want = rules.adopt(stat(Kind::File), 0o755);
        assert_eq!((want.mode, want.uid, want.gid), (0o6750, 1, 9));
        assert_eq!(rules.adopt(stat(Kind::Directory), 0o755).mode, 0o700);
        let link = rules.adopt(stat(Kind::Symlink), 0o755);
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
            assert_eq!(unasked.adopt(source, 0o755).mode, expected, "{user:?} {group:?}");
            let directory = Stat { mode, ..stat(Kind::Directory) };
            assert_eq!(unasked.adopt(directory, 0o755).mode, mode, "a directory is not run");
        }
        let difference = differences(&want, &stat(Kind::File), &rules);
        assert_eq!((difference.owner, difference.mode), (Some((Some(1), Some(9))), Some(0o6750)));
        // The owner is left alone: setuid was asked for all the same.
        let mut lax = rules.clone();
        (lax.keep.owner, lax.keep.group, lax.owner) = (false, false, Owner::default());
        let found =
            differences(&lax.adopt(Stat { uid: 1, ..stat(Kind::File) }, 0o755), &stat(Kind::File), &lax);
        assert_eq!((found.owner, found.mode), (None, Some(0o6750)));
    }

    #[test]
    fn mapped_owners_take_the_place_of_the_source_s() {
        let only = |from, to| Some(IdMap::new(move |id| if id == from { to } else { id }));
        let mut rules = Rules { users: only(7, 70), groups: only(5, 50), ..rules(true) };
        let setuid = Stat { mode: 0o6755, ..stat(Kind::File) };
        let found = rules.adopt(setuid, 0o755);
        assert_eq!((found.uid, found.gid, found.mode), (70, 8, 0o2755), "setuid was another user's");
        let found = rules.adopt(Stat { uid: 1, gid: 5, ..setuid }, 0o755);
        assert_eq!((found.uid, found.gid, found.mode), (1, 50, 0o4755));
        rules.owner.group = Some(3);
        assert_eq!(rules.adopt(Stat { gid: 5, ..setuid }, 0o755).gid, 3);
    }

    #[test]
    fn a_new_entry_gets_what_is_allowed_where_modes_are_left_alone() {
        let mut rules = rules(true);
        let source = Stat { mode: 0o6777, ..stat(Kind::File) };
        assert_eq!(rules.adopt(source, 0o750).mode, 0o6777);
        rules.keep.permissions = false;
        assert_eq!(rules.adopt(source, 0o750).mode, 0o750);
        rules.chmod = "F604".parse().unwrap();
        assert_eq!(rules.adopt(source, 0o750).mode, 0o600);
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
        assert_eq!(differences(&rules.adopt(have, 0o755), &have, &rules).owner, Some((Some(7), None)));
    }
}
