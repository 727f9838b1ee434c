//! The mode that an entry of the destination keeps where modes are left alone (`--no-perms`). Another owner, another group and
//! other contents get no setuid, setgid or sticky of it; and where somebody else could have chosen the mode, nobody reads by
//! it what the source keeps from them.

use crate::event::Kind;
use crate::plan::compare::owner_to_set;
use crate::plan::rules::Rules;
use crate::plan::writers::{looks_unfinished, was_taken};
use crate::stat::Stat;

/// All permissions, without setuid, setgid and sticky.
const PERMISSIONS: u32 = 0o777;

/// What an entry keeps of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptMode {
    /// Where it stays, or its owner and group at most are set.
    pub(crate) as_it_is: u32,
    /// Where it is made anew.
    pub(crate) anew: u32,
}

impl Rules {
    /// Whether an entry of the destination keeps its mode: it has its source's type, and no mark of a run that broke off.
    pub(crate) fn leaves_mode(&self, want: &Stat, have: &Stat) -> bool {
        let is_marked = have.kind == Kind::Directory && (looks_unfinished(have) || was_taken(have, want));
        !self.keep.permissions && want.kind == have.kind && want.kind != Kind::Symlink && !is_marked
    }

    /// What an entry keeps of `shown`, its mode as it is with the ACL that it is to have. Somebody else could have put a
    /// `planted` one where it is. `within` is the directory that it lies in.
    pub(crate) fn kept_mode(
        &self,
        want: &Stat,
        have: &Stat,
        shown: KeptMode,
        (planted, within): (bool, Option<&Stat>),
    ) -> KeptMode {
        let shown = match self.keep.executability && want.kind == Kind::File {
            true => KeptMode {
                as_it_is: run_as_source(shown.as_it_is, want),
                anew: run_as_source(shown.anew, want),
            },
            false => shown,
        };
        let is_handed_over = owner_to_set(want, have, self).is_some();
        let is_of_another = self.owner_of_new(want, within) != (have.uid, have.gid);
        let is_other = !matches!(want.kind, Kind::File | Kind::Directory);
        let less = |mode| if planted { unreadable(mode, want) } else { mode };
        KeptMode {
            as_it_is: match want.kind {
                _ if is_handed_over => shown.as_it_is & want.mode & PERMISSIONS,
                Kind::Directory => less(shown.as_it_is), // what is put there is new
                _ => shown.as_it_is,
            },
            anew: match is_of_another || is_other {
                true => shown.anew & want.mode & PERMISSIONS,
                false => less(shown.anew) & PERMISSIONS,
            },
        }
    }

    /// Whom a new entry in a directory belongs to in the end, as far as that is known before it is made (inode(7)).
    fn owner_of_new(&self, want: &Stat, within: Option<&Stat>) -> (u32, u32) {
        let shared = within.filter(|within| within.mode & 0o2000 != 0);
        let gid = shared.map_or(self.privileges.group, |within| within.gid);
        let new = Stat { uid: self.privileges.user, gid, ..*want };
        let (uid, gid) = owner_to_set(want, &new, self).unwrap_or_default();
        (uid.unwrap_or(new.uid), gid.unwrap_or(new.gid))
    }
}

/// A mode that lets a file be run if its source can be: by all who may read it, where nobody could. Nobody runs it as somebody
/// else for that.
fn run_as_source(mode: u32, want: &Stat) -> u32 {
    match (mode & 0o111 != 0, want.mode & 0o111 != 0) {
        (true, false) => mode & !0o111,
        (false, true) => (mode | (mode & 0o444) >> 2) & PERMISSIONS,
        _ => mode,
    }
}

/// A mode without what lets anybody but the owner read what they can't in the source. Who can read it may write as they
/// could to what was there, which had the same owner, and may run a file.
fn unreadable(mode: u32, want: &Stat) -> u32 {
    let read = want.mode & 0o044;
    let run = if want.kind == Kind::File { read >> 2 } else { 0 };
    mode & (want.mode | read >> 1 | run | 0o7700)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::compare::tests::{rules, stat};

    fn lax() -> Rules {
        let mut rules = rules(true);
        rules.keep.permissions = false;
        rules
    }

    #[test]
    fn what_is_new_gets_no_more_than_the_old_one_had_a_right_to() {
        let of = |kind, mode, uid| Stat { mode, uid, ..stat(kind) };
        // What the source has, what is there, whether others could have put it there; the mode as it is, and of a new one.
        let table = [
            ("one's own", Kind::File, 0o600, (0o4664, 7), false, (0o4664, 0o664)),
            ("somebody else's", Kind::File, 0o600, (0o4666, 1), false, (0o600, 0o600)),
            ("setuid of somebody else's", Kind::File, 0o755, (0o4777, 1), false, (0o755, 0o755)),
            ("narrower", Kind::File, 0o644, (0o600, 1), false, (0o600, 0o600)),
            ("planted", Kind::File, 0o600, (0o6666, 7), true, (0o6666, 0o600)),
            ("planted, of a shared directory", Kind::File, 0o644, (0o775, 7), true, (0o775, 0o775)),
            ("a directory", Kind::Directory, 0o700, (0o3775, 7), false, (0o3775, 0o775)),
            ("a directory of somebody else's", Kind::Directory, 0o700, (0o3777, 1), false, (0o700, 0o700)),
            ("a planted directory", Kind::Directory, 0o700, (0o3777, 7), true, (0o3700, 0o700)),
            ("a shared directory", Kind::Directory, 0o755, (0o3775, 7), true, (0o3775, 0o775)),
            ("a device", Kind::CharDevice, 0o600, (0o666, 7), false, (0o666, 0o600)),
        ];
        for (what, kind, mode, (had, uid), planted, (as_it_is, anew)) in table {
            let (want, have) = (of(kind, mode, 7), of(kind, had, uid));
            let shown = KeptMode { as_it_is: had, anew: had };
            let found = lax().kept_mode(&want, &have, shown, (planted, None));
            assert_eq!(found, KeptMode { as_it_is, anew }, "{what}: {:o} {:o}", found.as_it_is, found.anew);
        }
    }

    #[test]
    fn a_file_is_run_as_its_source_is() {
        let mut rules = lax();
        rules.keep.executability = true;
        for (what, kind, source, had, expected) in [
            ("can be run now", Kind::File, 0o700, 0o644, 0o755),
            ("by those who read it", Kind::File, 0o711, 0o640, 0o750),
            ("could be run", Kind::File, 0o644, 0o711, 0o600),
            ("can be run by some", Kind::File, 0o755, 0o744, 0o744),
            ("is not run as another user then", Kind::File, 0o755, 0o6644, 0o755),
            ("keeps its bits", Kind::File, 0o755, 0o4755, 0o4755),
            ("a directory", Kind::Directory, 0o700, 0o600, 0o600),
        ] {
            let want = Stat { mode: source, ..stat(kind) };
            let shown = KeptMode { as_it_is: had, anew: had };
            let found = rules.kept_mode(&want, &Stat { mode: had, ..stat(kind) }, shown, (false, None));
            assert_eq!(found.as_it_is, expected, "{what}: {:o}", found.as_it_is);
        }
    }

    #[test]
    fn a_new_file_belongs_to_whom_it_is_given_or_who_makes_it() {
        let (want, mut rules) = (Stat { uid: 1, gid: 2, ..stat(Kind::File) }, lax());
        let shared = Stat { gid: 5, mode: 0o2775, ..stat(Kind::Directory) };
        assert_eq!(rules.owner_of_new(&want, Some(&shared)), (1, 2));
        (rules.keep.owner, rules.keep.group) = (false, false);
        assert_eq!(rules.owner_of_new(&want, Some(&shared)), (7, 5));
        assert_eq!(rules.owner_of_new(&want, Some(&Stat { mode: 0o775, ..shared })), (7, 9));
        let mut user = super::tests::rules(false);
        user.keep.permissions = false;
        assert_eq!(user.owner_of_new(&want, None), (7, 9));
        assert_eq!(user.owner_of_new(&Stat { gid: 8, ..want }, None), (7, 8), "a group of theirs");
    }

    #[test]
    fn a_mark_of_a_run_is_no_mode_to_keep() {
        let directory = |mode| Stat { mode, ..stat(Kind::Directory) };
        let keeps = |have: &Stat| lax().leaves_mode(&directory(0o755), have);
        assert!(keeps(&directory(0o700)) && keeps(&directory(0o1777)));
        assert!(!keeps(&directory(0o1700)) && !keeps(&directory(0o3700)) && !keeps(&directory(0o5700)));
        assert!(!keeps(&stat(Kind::File)), "another type");
        let file = |mode| Stat { mode, ..stat(Kind::File) };
        assert!(lax().leaves_mode(&file(0o644), &file(0o1700)));
        assert!(!rules(true).leaves_mode(&file(0o644), &file(0o600)));
    }
}
