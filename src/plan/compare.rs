//! The decisions: pure functions of two stats and the rules, so that a table can test them.

use crate::event::{Changes, Kind};
use crate::options::CompareBy;
use crate::plan::rules::Rules;
use crate::stat::Stat;

/// What has to happen to a destination name so that it holds what the source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing is there: make it.
    Create,
    /// Something else is there, or its contents differ: make it anew and take its name.
    Replace,
    /// Its contents are right, but its metadata is not set where it is: as `Replace`, if a new one would have any other.
    Renew,
    /// A directory is there and must go first, which works only if it is empty.
    ReplaceDirectory,
    /// Files of one size, whose contents have to be compared. Where they are the same, [`keep`] has the rest.
    CompareContents,
    /// The contents are the same; only metadata may differ.
    Keep(Difference),
}

/// Metadata to set, in terms of the values to set it to; `None` where it is right already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// User and group, as far as they differ and this process may change them.
    pub(crate) owner: Option<(Option<u32>, Option<u32>)>,
    /// The permission bits.
    pub(crate) mode: Option<u32>,
    /// Whether the modification time differs.
    pub(crate) times: bool,
}

impl Difference {
    /// Nothing to set.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Difference::default()
    }

    /// The same in terms of what differs from `have`.
    pub(crate) fn changes(&self, have: &Stat) -> Changes {
        let (uid, gid) = self.owner.unwrap_or_default();
        Changes {
            times: self.times,
            // One that chown(2) clears, and that is only set again, does not differ.
            mode: self.mode.is_some_and(|mode| mode != have.mode),
            owner: uid.is_some(),
            group: gid.is_some(),
            ..Changes::NONE
        }
    }
}

/// What two stats show to differ. Whether contents or attributes do, other than in size, they don't tell.
pub(crate) fn changes(source: &Stat, destination: Option<&Stat>, rules: &Rules) -> Changes {
    let Some(have) = destination.filter(|have| is_similar(source.kind, have.kind)) else {
        return Changes::NEW;
    };
    let other_size = source.kind == Kind::File && source.size != have.size;
    let other_device = source.kind.is_device() && source.device_node != have.device_node;
    Changes {
        contents: source.kind != have.kind || other_device || other_size && rules.compares_contents(),
        size: other_size,
        ..differences(source, have, rules).changes(have)
    }
}

/// Types that count as one where changes are named, as rsync has it: one can be called a change of the other.
fn is_similar(one: Kind, other: Kind) -> bool {
    one == other || one.is_device() && other.is_device() || is_channel(one) && is_channel(other)
}

fn is_channel(kind: Kind) -> bool {
    matches!(kind, Kind::Fifo | Kind::Socket)
}

/// Compares two entries of one name, neither of them a source directory. `same_content` answers for symlinks
/// whether they point to the same target; it is asked only when all else agrees.
pub(crate) fn decide(
    source: &Stat,
    destination: Option<&Stat>,
    rules: &Rules,
    same_content: impl FnOnce() -> bool,
) -> Decision {
    let Some(destination) = destination else { return Decision::Create };
    if destination.kind == Kind::Directory {
        return Decision::ReplaceDirectory;
    }
    let same = source.kind == destination.kind
        && match source.kind {
            Kind::File if rules.compares_contents() && source.size == destination.size => {
                return Decision::CompareContents;
            }
            Kind::File => {
                source.size == destination.size && !rules.copies_for_time(source.modified, destination)
            }
            Kind::CharDevice | Kind::BlockDevice => source.device_node == destination.device_node,
            Kind::Symlink => same_content(),
            _ => true,
        };
    if !same {
        return Decision::Replace;
    }
    keep(source, destination, rules)
}

/// Whether a file would be copied for its time alone.
pub(crate) fn differs_in_time_alone(source: &Stat, destination: &Stat, rules: &Rules) -> bool {
    let files = source.kind == Kind::File && destination.kind == Kind::File;
    files
        && source.size == destination.size
        && rules.compare.by == CompareBy::SizeAndTime
        && rules.copies_for_time(source.modified, destination)
}

/// Decides for entries whose contents are the same.
pub(crate) fn keep(source: &Stat, destination: &Stat, rules: &Rules) -> Decision {
    let difference = differences(source, destination, rules);
    // A file with more names than its source is also someone else's: setting its owner or mode would reach through
    // those names, so it is made anew (as would a hard link planted to a file elsewhere).
    if destination.links > 1 && !difference.is_empty() {
        return Decision::Renew;
    }
    // The owner that a file loses may have it open, and would go on writing to what is another's then.
    let new_owner = difference.owner.and_then(|(uid, _)| uid);
    if source.kind == Kind::File && new_owner.is_some() && destination.uid != rules.privileges.user {
        return Decision::Renew;
    }
    // Nor is a file made setuid or setgid: size and time may be all that it has of its source.
    let gets_bits = difference.mode.is_some_and(|mode| mode & !destination.mode & 0o6000 != 0);
    if source.kind == Kind::File && (gets_bits || source.mode & 0o6000 != 0 && difference.owner.is_some()) {
        return Decision::Renew;
    }
    Decision::Keep(difference)
}

/// The metadata of `have` that must be set to make it equal to `want`.
pub(crate) fn differences(want: &Stat, have: &Stat, rules: &Rules) -> Difference {
    let owner = owner_to_set(want, have, rules);
    let (uid, gid) = owner.unwrap_or_default();
    let mode = mode_to_give(want, uid.unwrap_or(have.uid), gid.unwrap_or(have.gid), rules);
    let is_left = !rules.keep.permissions && owner.is_none() && want.mode == have.mode;
    // chown(2) clears setuid and setgid, so that these have to be set again after it.
    let mode_differs = !is_left && mode != have.mode || owner.is_some() && mode & 0o6000 != 0;
    Difference {
        owner,
        mode: (want.kind != Kind::Symlink && mode_differs).then_some(mode),
        times: rules.keep.times_of(want.kind) && !rules.same_time(want.modified, have),
    }
}

/// Whether a file of the destination may be rewritten where it is: nobody but those whom the source grants it can read or
/// run what it has meanwhile. Its owner and its group are right already, its permissions no wider, and it has no bits that
/// would run it as somebody else. Where owners are not kept, one of the user who runs this is right as well.
pub(crate) fn may_be_rewritten(want: &Stat, have: &Stat, rules: &Rules) -> bool {
    let gives = |kept| kept && rules.privileges.chown;
    let user = have.uid == want.uid || !gives(rules.keep.owner) && have.uid == rules.privileges.user;
    let group = have.gid == want.gid
        || !gives(rules.keep.group) && (have.mode & 0o070 == 0 || rules.is_own_group(have.gid));
    let no_wider = have.mode & !want.mode & 0o077 == 0;
    have.kind == Kind::File && have.links == 1 && have.mode & 0o6000 == 0 && user && group && no_wider
}

/// Whether somebody gets more of `have` once `difference` is set: a new owner or group, wider permissions, or a directory
/// that others may write to and that loses its sticky bit, which kept them from each other's files.
pub(crate) fn gives_more(difference: &Difference, have: &Stat) -> bool {
    let widens = |mode: u32| {
        let loses_sticky = have.kind == Kind::Directory && have.mode & !mode & 0o1000 != 0;
        mode & !have.mode & 0o6077 != 0 || loses_sticky && mode & 0o022 != 0
    };
    difference.owner.is_some() || difference.mode.is_some_and(widens)
}

/// Who should own the file, where that is kept and differs from who does, and this process may say so. What the user has asked for is
/// tried in any case: a file of somebody else's then becomes an error.
pub(super) fn owner_to_set(want: &Stat, have: &Stat, rules: &Rules) -> Option<(Option<u32>, Option<u32>)> {
    let may = &rules.privileges;
    let may_user = rules.keep.owner && (may.gives_to_user(want.uid) || rules.owner.user.is_some());
    let uid = (want.uid != have.uid && may_user).then_some(want.uid);
    let gid = (want.gid != have.gid && tries_group(want.gid, rules)).then_some(want.gid);
    (uid.is_some() || gid.is_some()).then_some((uid, gid))
}

/// Whether a file of another group is given to this one.
pub(crate) fn tries_group(group: u32, rules: &Rules) -> bool {
    let may = &rules.privileges;
    let may_group =
        || may.gives_to_group(group) || rules.owner.group.is_some() || may.groups.contains(&group);
    rules.keep.group && may_group()
}

/// The mode, less setuid or setgid where the file will not belong to whom these bits were meant for. What the user asked
/// for with `--chmod` is meant for the owner, no matter who that is.
pub(crate) fn mode_to_give(want: &Stat, uid: u32, gid: u32, rules: &Rules) -> u32 {
    if want.kind == Kind::Directory || want.mode & 0o6000 == 0 {
        return want.mode;
    }
    let user = if uid != want.uid { 0o4000 } else { 0 };
    let group = if gid != want.gid { 0o2000 } else { 0 };
    want.mode & !((user | group) & !rules.chmod.gives_files())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::options::{Compare, Keep, Owner};
    use crate::plan::chmod::Chmod;
    use crate::plan::privileges::Privileges;
    use crate::stat::{Inode, Time};

    pub(in crate::plan) fn stat(kind: Kind) -> Stat {
        Stat {
            kind,
            mode: 0o644,
            uid: 7,
            gid: 8,
            size: 100,
            allocated: 4096,
            links: 1,
            modified: Time { seconds: 1000, nanoseconds: 5 },
            changed: Time::default(),
            inode: Inode { device: 1, number: 2 },
            device_node: (0, 0),
            acl_unread: None,
        }
    }

    pub(in crate::plan) fn rules(root: bool) -> Rules {
        Rules {
            keep: Keep::default(),
            privileges: Privileges::of(root, 7, vec![8, 9]),
            compare: PLAIN,
            chmod: Chmod::default(),
            owner: Owner::default(),
            users: None,
            groups: None,
            umask: 0o022,
        }
    }

    /// The rules with the options in `compare`.
    pub(in crate::plan) fn with(compare: Compare) -> Rules {
        Rules { compare, ..rules(true) }
    }

    pub(in crate::plan) const PLAIN: Compare = Compare {
        by: CompareBy::SizeAndTime,
        window: None,
        update: false,
        existing: false,
        ignore_existing: false,
    };

    pub(in crate::plan) const SAME: Decision =
        Decision::Keep(Difference { owner: None, mode: None, times: false });

    #[test]
    fn contents_are_judged_by_type_size_and_nanoseconds() {
        type Change = fn(&mut Stat);
        let table: [(&str, Kind, Change, Decision); 9] = [
            ("the same", Kind::File, |_| (), SAME),
            ("another size", Kind::File, |s| s.size = 99, Decision::Replace),
            ("one nanosecond later", Kind::File, |s| s.modified.nanoseconds = 6, Decision::Replace),
            ("a symlink in the way", Kind::File, |s| s.kind = Kind::Symlink, Decision::Replace),
            ("a directory in the way", Kind::File, |s| s.kind = Kind::Directory, Decision::ReplaceDirectory),
            ("a device's size means nothing", Kind::BlockDevice, |s| s.size = 9, SAME),
            ("another device", Kind::CharDevice, |s| s.device_node = (1, 3), Decision::Replace),
            ("a FIFO is a FIFO", Kind::Fifo, |s| s.size = 1, SAME),
            ("a FIFO for a socket", Kind::Socket, |s| s.kind = Kind::Fifo, Decision::Replace),
        ];
        for (what, kind, change, expected) in table {
            let mut destination = stat(kind);
            change(&mut destination);
            assert_eq!(decide(&stat(kind), Some(&destination), &rules(true), || true), expected, "{what}");
        }
        assert_eq!(decide(&stat(Kind::File), None, &rules(true), || true), Decision::Create);
        assert_eq!(
            decide(&stat(Kind::Symlink), Some(&stat(Kind::Symlink)), &rules(true), || false),
            Decision::Replace
        );
    }

    #[test]
    fn with_checksum_the_time_is_metadata_and_files_of_one_size_are_read() {
        let rules = with(Compare { by: CompareBy::Contents, ..PLAIN });
        let have = Stat { modified: Time { seconds: 9, nanoseconds: 9 }, ..stat(Kind::File) };
        let of = |have: &Stat| decide(&stat(have.kind), Some(have), &rules, || true);
        assert_eq!(of(&have), Decision::CompareContents);
        assert_eq!(of(&stat(Kind::File)), Decision::CompareContents, "an equal time proves nothing");
        assert_eq!(of(&Stat { size: 99, ..have }), Decision::Replace, "and is not read");
        let times = Difference { times: true, ..Difference::default() };
        assert_eq!(keep(&stat(Kind::File), &have, &rules), Decision::Keep(times));
        assert_eq!(of(&Stat { kind: Kind::Fifo, ..have }), Decision::Keep(times));
        let changes = changes(&stat(Kind::File), Some(&Stat { size: 99, ..stat(Kind::File) }), &rules);
        assert_eq!(changes, Changes { contents: true, size: true, ..Changes::NONE });
    }

    #[test]
    fn options_say_what_of_a_file_is_compared() {
        let replace = Decision::Replace;
        let times = Decision::Keep(Difference { times: true, ..Difference::default() });
        let by = |by| Compare { by, ..PLAIN };
        // What it makes of a file that is the same, has another time, has another size.
        let table = [
            ("by size and time", PLAIN, [SAME, replace, replace]),
            ("by size", by(CompareBy::Size), [SAME, times, replace]),
            ("not at all", by(CompareBy::Nothing), [replace, replace, replace]),
        ];
        let (file, mut later, mut longer) = (stat(Kind::File), stat(Kind::File), stat(Kind::File));
        later.modified.seconds += 1;
        longer.size += 1;
        for (what, compare, expected) in table {
            let found =
                [&file, &later, &longer].map(|have| decide(&file, Some(have), &with(compare), || true));
            assert_eq!(found, expected, "{what}");
            let contents = with(Compare { by: CompareBy::Contents, ..compare });
            let found = decide(&file, Some(&later), &contents, || true);
            assert_eq!(found, Decision::CompareContents, "{what}: contents are read whatever the times are");
            for kind in [Kind::Symlink, Kind::Fifo, Kind::CharDevice] {
                let found = decide(&stat(kind), Some(&stat(kind)), &with(compare), || true);
                assert_eq!(found, SAME, "{what}: a {} has nothing to copy", kind.name());
            }
        }
    }

    #[test]
    fn metadata_is_mended_in_place_unless_other_names_share_it() {
        let mut have = stat(Kind::File);
        have.mode = 0o600;
        let mend = Difference { mode: Some(0o644), ..Difference::default() };
        assert_eq!(decide(&stat(Kind::File), Some(&have), &rules(true), || true), Decision::Keep(mend));
        have.links = 2;
        assert_eq!(decide(&stat(Kind::File), Some(&have), &rules(true), || true), Decision::Renew);
    }

    #[test]
    fn only_root_gives_files_away_and_setuid_never_changes_hands() {
        let mut want = stat(Kind::File);
        want.mode = 0o6755;
        let mut have = stat(Kind::File);
        (have.uid, have.gid, have.mode) = (1, 1, 0o755);
        let as_root = differences(&want, &have, &rules(true));
        assert_eq!((as_root.owner, as_root.mode), (Some((Some(7), Some(8))), Some(0o6755)));
        let as_user = differences(&want, &have, &rules(false));
        assert_eq!((as_user.owner, as_user.mode), (Some((None, Some(8))), Some(0o2755)));
        want.gid = 1234; // not a group of ours
        let stranger = differences(&want, &have, &rules(false));
        assert_eq!((stranger.owner, stranger.mode), (None, None));
    }

    #[test]
    fn a_file_that_somebody_loses_is_made_anew() {
        let mut root = rules(true);
        root.privileges.user = 0;
        let of = |uid, kind| decide(&stat(kind), Some(&Stat { uid, ..stat(kind) }), &root, || true);
        assert_eq!(of(5, Kind::File), Decision::Renew);
        assert!(matches!(of(0, Kind::File), Decision::Keep(_)), "root gives its own away");
        assert!(matches!(of(5, Kind::Fifo), Decision::Keep(_)), "it holds nothing");
        assert!(matches!(of(5, Kind::Symlink), Decision::Keep(_)), "it can't be written to");
    }

    #[test]
    fn only_a_file_that_grants_no_more_is_rewritten_in_place() {
        type Change = fn(&mut Stat);
        // As root; as root without owners; as the user who runs it, who is in the groups 8 and 9.
        let table: [(&str, Change, [bool; 3]); 11] = [
            ("the same", |_| (), [true, true, true]),
            ("narrower", |s| s.mode = 0o600, [true, true, true]),
            ("wider for others", |s| s.mode = 0o646, [false, false, false]),
            ("wider for the owner", |s| s.mode = 0o744, [true, true, true]),
            ("setuid", |s| s.mode = 0o4644, [false, false, false]),
            ("setgid", |s| s.mode = 0o2644, [false, false, false]),
            ("root's", |s| s.uid = 0, [false, true, false]),
            ("somebody's", |s| s.uid = 5, [false, false, false]),
            ("of a strange group", |s| s.gid = 1, [false, false, false]),
            ("of a strange group that has no part", |s| (s.gid, s.mode) = (1, 0o604), [false, true, true]),
            ("with another name", |s| s.links = 2, [false, false, false]),
        ];
        let (mut root, user) = (rules(true), rules(false));
        root.privileges = Privileges::of(true, 0, vec![0]);
        let mut lax = root.clone();
        (lax.keep.owner, lax.keep.group) = (false, false);
        for (what, change, expected) in table {
            let mut have = stat(Kind::File);
            change(&mut have);
            let found = [&root, &lax, &user].map(|rules| may_be_rewritten(&stat(Kind::File), &have, rules));
            assert_eq!(found, expected, "{what}");
        }
        let fifo = stat(Kind::Fifo);
        assert!(!may_be_rewritten(&stat(Kind::File), &fifo, &root));
    }

    #[test]
    fn giving_more_is_told_from_giving_less() {
        type Change = fn(&mut Stat);
        let table: [(&str, Change, bool); 6] = [
            ("the same", |_| (), false),
            ("wider there", |s| s.mode = 0o666, false),
            ("narrower there", |s| s.mode = 0o640, true),
            ("the owner's own permissions", |s| s.mode = 0o044, false),
            ("another owner", |s| s.uid = 0, true),
            ("another group", |s| s.gid = 0, true),
        ];
        for (what, change, expected) in table {
            let mut have = stat(Kind::File);
            change(&mut have);
            let difference = differences(&stat(Kind::File), &have, &rules(true));
            assert_eq!(gives_more(&difference, &have), expected, "{what}");
        }
        let of = |mode| Stat { mode, ..stat(Kind::Directory) };
        let gives = |want, have| gives_more(&differences(&of(want), &of(have), &rules(true)), &of(have));
        assert!(gives(0o777, 0o1777) && gives(0o775, 0o1775), "all may rename all");
        assert!(!gives(0o755, 0o1755) && !gives(0o1777, 0o1777));
    }

    #[test]
    fn changes_are_named_one_by_one() {
        type Change = fn(&mut Stat);
        let none = Changes::NONE;
        let table: [(&str, Kind, Change, Changes); 11] = [
            ("the same", Kind::File, |_| (), none),
            ("another size", Kind::File, |s| s.size = 9, Changes { size: true, ..none }),
            ("a symlink's size is its target's", Kind::Symlink, |s| s.size = 9, none),
            ("a nanosecond", Kind::Fifo, |s| s.modified.nanoseconds = 6, Changes { times: true, ..none }),
            ("permissions", Kind::Directory, |s| s.mode = 0o600, Changes { mode: true, ..none }),
            ("a symlink has none", Kind::Symlink, |s| s.mode = 0o600, none),
            ("the user", Kind::Symlink, |s| s.uid = 9, Changes { owner: true, ..none }),
            ("the group", Kind::File, |s| s.gid = 9, Changes { group: true, ..none }),
            (
                "a device's number",
                Kind::CharDevice,
                |s| s.device_node.1 = 1,
                Changes { contents: true, ..none },
            ),
            (
                "a FIFO for a socket",
                Kind::Socket,
                |s| s.kind = Kind::Fifo,
                Changes { contents: true, ..none },
            ),
            ("a FIFO for a file", Kind::File, |s| s.kind = Kind::Fifo, Changes::NEW),
        ];
        for (what, kind, change, expected) in table {
            let mut have = stat(kind);
            change(&mut have);
            assert_eq!(changes(&stat(kind), Some(&have), &rules(true)), expected, "{what}");
        }
        assert_eq!(changes(&stat(Kind::File), None, &rules(true)), Changes::NEW);
        let mut setuid = stat(Kind::File);
        setuid.mode = 0o4755;
        let have = Stat { uid: 9, ..setuid };
        let found = changes(&setuid, Some(&have), &rules(true));
        assert_eq!(found, Changes { owner: true, ..none }, "setuid is set again, but does not differ");
    }

    #[test]
    fn what_is_not_kept_does_not_differ() {
        let mut have = stat(Kind::Symlink);
        (have.uid, have.modified.seconds, have.mode) = (1, 1, 0o777);
        let mut lax = rules(true);
        lax.keep.owner = false;
        lax.keep.times = false;
        assert!(differences(&stat(Kind::Symlink), &have, &lax).is_empty());
        assert!(differences(&stat(Kind::Symlink), &have, &rules(true)).times);
    }
}
