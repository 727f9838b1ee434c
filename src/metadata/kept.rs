//! The mode that an entry has to keep where modes are left alone, and its ACL: with one, the group's permissions in the mode
//! are the ACL's mask (acl(5)), which mean something else once it is gone, or another one is there.

use crate::metadata::acl;
use crate::plan::kept::KeptMode;
use crate::stat::Stat;

/// The access ACLs of an entry on both sides.
pub(crate) struct Acls {
    /// Whether the destination is to have the source's.
    pub(crate) kept: bool,
    pub(crate) source: Option<Vec<u8>>,
    pub(crate) destination: Option<Vec<u8>>,
}

impl Acls {
    /// The mode of `have`, as far as it grants nobody more with the ACL that the entry is to have than it did with its own.
    pub(crate) fn mode_to_keep(&self, want: &Stat, have: &Stat) -> KeptMode {
        let mode = have.mode;
        let without = self.destination.as_ref().map_or(mode, |acl| acl::mode_without(acl, mode));
        if !self.kept {
            return KeptMode { as_it_is: mode, anew: without };
        }
        let mut wanted = self.source.clone();
        if let Some(acl) = &mut wanted {
            acl::follow_mode(acl, mode);
        }
        let mode = match &wanted {
            _ if wanted == self.destination => mode,
            None => without,
            // Those whom the new one names get no more by its mask than they do in the source.
            Some(_) => without & (want.mode | !0o070),
        };
        KeptMode { as_it_is: mode, anew: mode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::acl::tests::acl;
    use crate::stat::stat_open;

    #[test]
    fn a_mask_is_not_kept_for_a_group() {
        let any = stat_open(tempfile::tempfile().unwrap()).unwrap();
        let of = |mode| Stat { mode, ..any };
        let with = |mask| Some(acl(&[(1, 6), (2, 7), (4, 0), (0x10, mask), (0x20, 0)]));
        // Whether ACLs are kept, the source's, the destination's; the mode as it is, and of a new one.
        let table = [
            ("none", true, None, None, (0o660, 0o660)),
            ("left alone", false, None, with(6), (0o660, 0o600)),
            ("to be removed", true, None, with(6), (0o600, 0o600)),
            ("the same, but for the mask", true, with(4), with(6), (0o660, 0o660)),
            ("to be set", true, with(4), None, (0o640, 0o640)),
        ];
        for (what, kept, source, destination, (as_it_is, anew)) in table {
            let found = Acls { kept, source, destination }.mode_to_keep(&of(0o640), &of(0o660));
            assert_eq!(found, KeptMode { as_it_is, anew }, "{what}: {:o} {:o}", found.as_it_is, found.anew);
        }
    }
}
