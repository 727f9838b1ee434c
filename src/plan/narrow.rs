//! What an existing directory of the destination loses before a run writes in it: all that its source does not grant. The
//! rest of its metadata it gets when it is done, so that nobody reads in between what the source keeps from them, and an
//! interrupted run leaves it closed rather than open.

use crate::plan::compare::{Difference, owner_to_set};
use crate::plan::rules::Rules;
use crate::plan::writers::TAKEN;
use crate::stat::Stat;

/// Permissions of the group, and with an ACL those of everyone it names.
const GROUP: u32 = 0o070;
/// Permissions of everyone but the owner.
const OTHERS: u32 = 0o077;
/// Those by which they get into a directory, or see what it lists: to write takes the right to enter it.
const ENTERED: u32 = 0o055;

/// Owner and mode to set at once so that `have` grants nobody more than `want` does. `same_acl` says that the two have the
/// same access ACL, or none. A former owner loses the directory to the user who runs this, and everybody with them; a group
/// or an ACL that is to change loses all permissions.
pub(crate) fn narrowed(want: &Stat, have: &Stat, same_acl: bool, rules: &Rules) -> Difference {
    let owner = owner_to_set(want, have, rules);
    let (uid, gid) = owner.unwrap_or_default();
    let mut granted = want.mode | !OTHERS;
    if gid.is_some() {
        granted &= !GROUP;
    }
    if !same_acl {
        granted &= !OTHERS;
    }
    let (user, mode) = (rules.privileges.user, have.mode & granted);
    if uid.is_some() && have.uid != user {
        return Difference { owner: Some((Some(user), None)), mode: Some(TAKEN), times: false };
    }
    Difference { owner: None, mode: (mode != have.mode).then_some(mode), times: false }
}

/// Whether others get into `have`, or see what it lists, whom `want` keeps out. Of another group everybody may be whom `want`
/// has among all others, and among all others those of its own group.
pub(crate) fn is_exposed(want: &Stat, have: &Stat, same_acl: bool, rules: &Rules) -> bool {
    let owner = owner_to_set(want, have, rules);
    let other_group = owner.is_some_and(|(_, gid)| gid.is_some());
    let to_all = want.mode & want.mode >> 3 & 0o007;
    let granted = match other_group {
        _ if !same_acl => 0,
        true => to_all << 3 | to_all,
        false => want.mode,
    };
    have.mode & !granted & ENTERED != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::plan::compare::tests::{rules, stat};

    #[test]
    fn what_the_source_does_not_grant_goes_first() {
        let of = |mode, uid, gid| Stat { mode, uid, gid, ..stat(Kind::Directory) };
        let mut root = rules(true);
        root.privileges.user = 0;
        // What the source has, what is there, whether the ACLs are the same; the owner and the mode to set.
        let table = [
            ("the same", of(0o755, 7, 8), of(0o755, 7, 8), true, (None, None)),
            ("narrower already", of(0o755, 7, 8), of(0o700, 7, 8), true, (None, None)),
            ("the source is closed", of(0o700, 7, 8), of(0o755, 7, 8), true, (None, Some(0o700))),
            ("each class for itself", of(0o705, 7, 8), of(0o770, 7, 8), true, (None, Some(0o700))),
            ("the special bits stay", of(0o700, 7, 8), of(0o3777, 7, 8), true, (None, Some(0o3700))),
            ("another group", of(0o770, 7, 8), of(0o775, 7, 9), true, (None, Some(0o700))),
            ("another owner", of(0o755, 7, 8), of(0o755, 6, 8), true, (Some(0), Some(TAKEN))),
            ("root's, to be given away", of(0o755, 7, 8), of(0o755, 0, 8), true, (None, None)),
            ("another ACL", of(0o755, 7, 8), of(0o755, 7, 8), false, (None, Some(0o700))),
            ("another ACL, closed", of(0o755, 7, 8), of(0o700, 7, 8), false, (None, None)),
        ];
        for (what, want, have, same_acl, (owner, mode)) in table {
            let found = narrowed(&want, &have, same_acl, &root);
            let expected = Difference { owner: owner.map(|uid| (Some(uid), None)), mode, times: false };
            assert_eq!(found, expected, "{what}");
        }
        let mut lax = root.clone();
        (lax.keep.owner, lax.keep.group) = (false, false);
        assert!(narrowed(&of(0o755, 7, 8), &of(0o755, 6, 9), true, &lax).is_empty(), "owners are left alone");
    }

    #[test]
    fn what_lets_others_in_is_exposed() {
        let of = |mode, gid| Stat { mode, uid: 7, gid, ..stat(Kind::Directory) };
        let mut root = rules(true);
        root.privileges.user = 0;
        for (what, want, have, same_acl, expected) in [
            ("the same", of(0o770, 8), of(0o770, 8), true, false),
            ("another group", of(0o770, 8), of(0o770, 9), true, true),
            ("another group of what is open to all", of(0o755, 8), of(0o755, 9), true, false),
            ("a group that is kept out", of(0o705, 8), of(0o705, 9), true, true),
            ("another group that may write alone", of(0o770, 8), of(0o720, 9), true, false),
            ("others", of(0o750, 8), of(0o751, 8), true, true),
            ("others may write as well", of(0o755, 8), of(0o777, 8), true, false),
            ("another ACL", of(0o750, 8), of(0o750, 8), false, true),
            ("another ACL, closed", of(0o750, 8), of(0o700, 8), false, false),
        ] {
            assert_eq!(is_exposed(&want, &have, same_acl, &root), expected, "{what}");
        }
    }
}
