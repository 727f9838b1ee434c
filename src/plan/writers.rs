//! Who besides the user who runs this could have put a name where it is in the destination. What they could have put there
//! is not given away with the source's owner and mode for having the source's name: it may be somebody else's secret, which
//! they may rename and not read.

use crate::stat::Stat;

/// The mode of a directory that a run has taken from its owner, until it is done: closed, sticky, and setuid, which means
/// nothing on a directory and which no new one inherits. Somebody else may have put there what is in it.
pub(crate) const TAKEN: u32 = 0o5700;
/// The bits that tell it: the owner's permissions and an inherited setgid may differ.
const TELLING: u32 = 0o5077;

/// Whether a directory has the mode of one that was taken from its owner by a run that did not complete it.
fn looks_taken(directory: &Stat) -> bool {
    directory.mode & TELLING == TAKEN & TELLING
}

/// Whether a directory was taken so. One whose source has that mode itself has it from there.
pub(crate) fn was_taken(directory: &Stat, source: &Stat) -> bool {
    looks_taken(directory) && !looks_taken(source)
}

/// Whether a directory has the mark of one that a run made and did not complete (io/temporary.rs): closed and sticky.
pub(crate) fn looks_unfinished(directory: &Stat) -> bool {
    directory.mode & TELLING == 0o1000
}

/// Users who can put names in a directory, or exchange it or one above it for another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Nobody else.
    Nobody,
    /// One other user.
    One(u32),
    /// Several, or it is not known who.
    #[default]
    Many,
}

impl Writers {
    /// Those of one directory, for a run of `user`. root can do everything anyway, and does not count. With an ACL the
    /// group's permissions are the most that the ACL grants anyone. The sticky bit keeps others from renaming what is in
    /// the directory, but not from renaming something into it.
    pub(crate) fn of(directory: &Stat, user: u32) -> Self {
        if directory.mode & 0o022 != 0 || looks_taken(directory) {
            Writers::Many
        } else if directory.uid == user || directory.uid == 0 {
            Writers::Nobody
        } else {
            Writers::One(directory.uid)
        }
    }

    /// Those of a directory in one that has these.
    pub(crate) fn below(self, directory: Self) -> Self {
        match (self, directory) {
            (Writers::Nobody, other) | (other, Writers::Nobody) => other,
            (one, other) if one == other => one,
            _ => Writers::Many,
        }
    }

    /// Whether one of them could have put something there that another user owns.
    pub(crate) fn could_plant(self, entry: &Stat) -> bool {
        match self {
            Writers::Nobody => false,
            Writers::One(user) => entry.uid != user,
            Writers::Many => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::plan::compare::tests::stat;

    #[test]
    fn whoever_may_write_to_a_directory_or_above_it_may_plant() {
        use Writers::{Many, Nobody, One};
        let of = |uid, mode| Writers::of(&Stat { uid, mode, ..stat(Kind::Directory) }, 0);
        let table = [
            (of(0, 0o755), Nobody),
            (of(0, 0o775), Many),
            (of(0, 0o1777), Many),
            (of(0, 0o1700), Nobody),
            (of(0, TAKEN), Many),
            (of(0, TAKEN | 0o2000), Many),
            (of(0, 0o3700), Nobody),
            (of(7, 0o755), One(7)),
            (of(7, 0o1777), Many),
            (Writers::of(&Stat { uid: 0, mode: 0o755, ..stat(Kind::Directory) }, 7), Nobody),
        ];
        for (index, (found, expected)) in table.into_iter().enumerate() {
            assert_eq!(found, expected, "{index}");
        }
        for (above, directory, expected) in [
            (Nobody, Nobody, Nobody),
            (Nobody, One(7), One(7)),
            (One(7), Nobody, One(7)),
            (One(7), One(7), One(7)),
            (One(7), One(8), Many),
            (Many, Nobody, Many),
        ] {
            assert_eq!(above.below(directory), expected, "{above:?} {directory:?}");
        }
        let owned_by = |uid| Stat { uid, ..stat(Kind::File) };
        assert!(!One(7).could_plant(&owned_by(7)), "theirs to give");
        assert!(One(7).could_plant(&owned_by(0)) && Many.could_plant(&owned_by(7)));
        assert!(!Nobody.could_plant(&owned_by(7)));
    }

    #[test]
    fn no_directory_has_two_marks() {
        let of = |mode| Stat { mode, ..stat(Kind::Directory) };
        // Where the directory around it is setgid, a new one is as well.
        for setgid in [0, 0o2000] {
            assert!(looks_taken(&of(TAKEN | setgid)) && !looks_unfinished(&of(TAKEN | setgid)));
            assert!(looks_unfinished(&of(0o1700 | setgid)) && !looks_taken(&of(0o1700 | setgid)));
        }
        assert!(!looks_unfinished(&of(0o1755)) && !looks_taken(&of(0o5755)) && !looks_unfinished(&of(0o700)));
    }
}
