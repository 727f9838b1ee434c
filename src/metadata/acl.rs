//! The permissions in a POSIX ACL, as the kernel shows it in an attribute (acl(5), linux/posix_acl_xattr.h).

// Tags of an ACL's entries. The format is linux/posix_acl_xattr.h's: a version of four bytes, then entries of a tag,
// permissions and an id, little endian.
const USER_OBJ: u8 = 0x01;
const USER: u8 = 0x02;
const GROUP_OBJ: u8 = 0x04;
const GROUP: u8 = 0x08;
const MASK: u8 = 0x10;
const OTHER: u8 = 0x20;

/// What an ACL grants the owning group: its entry, as far as the mask allows. One that can't be read grants nothing.
pub(super) fn group_of(acl: &[u8]) -> u32 {
    entry_of(acl, GROUP_OBJ).unwrap_or(0) & entry_of(acl, MASK).unwrap_or(7)
}

/// The permissions of an entry that an ACL has once at most.
fn entry_of(acl: &[u8], tag: u8) -> Option<u32> {
    let entries = acl.get(4..).unwrap_or_default();
    let entry = entries.chunks_exact(8).find(|entry| entry[0] == tag);
    entry.map(|entry| u32::from(entry[2]) & 7)
}

/// The permissions that an ACL is shown as in a mode: those of its mask, where there is one, for the group. One that can't be
/// read grants nothing.
pub(super) fn permissions(acl: &[u8]) -> u32 {
    let group = entry_of(acl, MASK).or_else(|| entry_of(acl, GROUP_OBJ));
    let of = |tag| entry_of(acl, tag).unwrap_or(0);
    of(USER_OBJ) << 6 | group.unwrap_or(0) << 3 | of(OTHER)
}

/// Gives an ACL the permissions that chmod(2) would: the mask, where there is one, has the place of the group.
pub(super) fn follow_mode(acl: &mut [u8], mode: u32) {
    let Some((_, entries)) = acl.split_at_mut_checked(4) else { return };
    let group = if entries.chunks_exact(8).any(|entry| entry[0] == MASK) { MASK } else { GROUP_OBJ };
    for entry in entries.chunks_exact_mut(8) {
        let class = match entry[0] {
            USER_OBJ => 6,
            tag if tag == group => 3,
            OTHER => 0,
            _ => continue,
        };
        entry[2] = (mode >> class & 7) as u8;
    }
}

/// The mode of a file whose ACL the destination does not keep, and whose mode was `mode` with it. Nobody gets more than the
/// ACL granted: the group no more than its own entry and than any user who is named, who may be in it, and all others no
/// more than anybody who is named. An ACL that can't be read grants nothing.
pub(super) fn mode_without(acl: &[u8], mode: u32) -> u32 {
    let entries = || acl.get(4..).unwrap_or_default().chunks_exact(8);
    let mask = entries().find(|entry| entry[0] == MASK).map_or(7, |entry| u32::from(entry[2]) & 7);
    let least = |tags: &[u8]| {
        let named = entries().filter(|entry| tags.contains(&entry[0]));
        named.fold(7, |least, entry| least & u32::from(entry[2]) & mask)
    };
    let group = group_of(acl) & least(&[USER]);
    let others = mode & 0o007 & least(&[USER, GROUP]);
    mode & !0o077 | group << 3 | others
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::metadata) fn acl(entries: &[(u8, u8)]) -> Vec<u8> {
        let entries = entries.iter().flat_map(|&(tag, bits)| [tag, 0, bits, 0, 7, 0, 0, 0]);
        [2, 0, 0, 0].into_iter().chain(entries).collect()
    }

    #[test]
    fn an_acl_follows_its_mode_as_chmod_has_it() {
        let mut masked = acl(&[(1, 6), (2, 7), (4, 5), (0x10, 7), (0x20, 4)]);
        follow_mode(&mut masked, 0o4710);
        assert_eq!(masked, acl(&[(1, 7), (2, 7), (4, 5), (0x10, 1), (0x20, 0)]));
        let mut plain = acl(&[(1, 6), (4, 5), (0x20, 4)]);
        follow_mode(&mut plain, 0o712);
        assert_eq!(plain, acl(&[(1, 7), (4, 1), (0x20, 2)]));
        let mut broken = vec![2, 0];
        follow_mode(&mut broken, 0o777);
        assert_eq!(broken, [2, 0]);
    }

    #[test]
    fn an_acl_shows_its_mask_for_the_group() {
        assert_eq!(permissions(&acl(&[(1, 7), (2, 7), (4, 7), (0x10, 5), (0x20, 4)])), 0o754);
        assert_eq!(permissions(&acl(&[(1, 6), (4, 3), (0x20, 1)])), 0o631);
        assert_eq!(permissions(&[2, 0]), 0);
    }

    #[test]
    fn without_its_acl_a_file_grants_nobody_more() {
        let table = [
            ("a named user is lost", acl(&[(1, 6), (2, 6), (4, 4), (0x10, 6), (0x20, 4)]), 0o664, 0o644),
            (
                "the mask was more than the group's",
                acl(&[(1, 6), (2, 7), (4, 0), (0x10, 7), (0x20, 0)]),
                0o670,
                0o600,
            ),
            ("a user who was kept out", acl(&[(1, 6), (2, 0), (4, 4), (0x10, 7), (0x20, 4)]), 0o674, 0o600),
            ("a group that was kept out", acl(&[(1, 6), (4, 4), (8, 0), (0x10, 7), (0x20, 4)]), 0o674, 0o640),
            (
                "the mask holds for those who are named",
                acl(&[(1, 6), (2, 7), (4, 7), (0x10, 1), (0x20, 5)]),
                0o615,
                0o611,
            ),
            ("no ACL at all", vec![2, 0], 0o4755, 0o4705),
        ];
        for (what, acl, mode, expected) in table {
            let found = mode_without(&acl, mode);
            assert_eq!(found, expected, "{what}: {found:o}");
        }
    }
}
