//! ACLs that a new entry has from the directory it is in, where none are kept: they go. One that stays would let those in whom
//! it names, so that the mode, which is its mask, keeps them out.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::state::file_systems::FileSystem;
use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::Kind;
use crate::metadata::xattr::{Holder, Xattrs};
use crate::metadata::{HeldInode, is_refusal, xattr};
use crate::stat::Stat;

/// Removes the ACLs of an entry. What is returned is that of one which is refused.
pub(crate) fn acls(
    inode: HeldInode<'_>,
    file_system: &FileSystem,
    path: impl Fn() -> PathBuf + Copy,
) -> Result<Option<Error>> {
    match xattr::remove_acls(inode) {
        Ok(()) => Ok(None),
        // Programs behind FUSE answer so where they have no attributes.
        Err(Errno::IO) if !file_system.is_faithful => Ok(None),
        Err(errno) if is_refusal(errno) => {
            let lack = NotKept::refused(Property::Acl, "an inherited ACL, to be removed", errno);
            Ok(Some(Error::new(Operation::SetXattr, path(), Cause::from(lack))))
        }
        Err(errno) => Err(errno).at(Operation::SetXattr, path),
    }
}

/// Where attributes are left alone, keeps the mode of an entry, which has `have`, from opening the mask of an ACL that it has:
/// one that could not be removed would let in again whom it names. What is returned tells of it.
pub(crate) fn keep_mask(
    (want, have): (&mut Stat, &Stat),
    (holder, faithful): (&Holder<'_>, bool),
    run: &Run,
    path: impl FnOnce() -> PathBuf,
) -> Option<Error> {
    let opens = want.mode & !have.mode & 0o070 != 0 && want.kind == have.kind && want.kind != Kind::Symlink;
    if !opens || run.rules.keep.acls || !run.config.writes() {
        return None;
    }
    xattr::access_acl_of(holder, faithful)?;
    let wanted = want.mode;
    want.mode &= have.mode | !0o077;
    let became = format!("{:04o}, since an ACL of it lets others in", want.mode);
    let lack = NotKept::became(Property::Mode, format!("{wanted:04o}"), became);
    Some(Error::new(Operation::SetMode, path(), Cause::from(lack)))
}

/// What an entry is to have whose ACL stays, if one does: nothing for anybody but its owner.
pub(crate) fn tight(want: Stat, acl: Option<&Error>) -> Stat {
    match acl {
        Some(_) => Stat { mode: want.mode & !0o077, ..want },
        None => want,
    }
}

/// What an entry is to have in a directory that others may get into (`in_open`): nothing for anybody but its owner.
pub(crate) fn closed(want: Stat, mut xattrs: Option<Xattrs>, in_open: bool) -> (Stat, Option<Xattrs>) {
    if !in_open || want.kind == Kind::Symlink {
        return (want, xattrs);
    }
    let want = Stat { mode: want.mode & !0o077, ..want };
    if let Some(xattrs) = &mut xattrs {
        xattr::follow_mode(xattrs, want.mode);
    }
    (want, xattrs)
}
