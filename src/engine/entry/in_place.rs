//! `--inplace`: which files of the destination may be rewritten where they are. Their owner and mode stand while they
//! change, and after a run that broke off, so that only a file is rewritten which grants nobody anything that its source
//! does not. Any other one is replaced: a reader who has it open would see the new contents, whatever its mode became.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::engine::entry::item::Item;
use crate::engine::entry::keep_old;
use crate::engine::own::new_file::NewFile;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::file::File;
use crate::metadata::HeldInode;
use crate::metadata::xattr::{self, Holder};
use crate::plan::compare::may_be_rewritten;
use crate::stat::{Stat, proc_path, stat_open};

/// Opens the destination's file to rewrite it. `None`: it is to be replaced, being no file, one that can't be written to,
/// one with further names, which may lie anywhere, or one that others have more of than the source grants.
pub(crate) fn open(item: &Item<'_>, source: &File, want: &Stat) -> Option<OwnedFd> {
    // Opening a device would already do something to it: first it is held, and looked at.
    let handle = item.handle(item.target()).ok()?;
    let have = stat_open(&handle).ok()?;
    let target = HeldInode::Handle(handle.as_fd());
    if !may_be_rewritten(want, &have, &item.run().rules) || !has_right_acl(item, source, target, want) {
        return None;
    }
    rustix::fs::open(proc_path(&handle), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Whether it has the ACL of its source, or none, and no capability. What can't be read is not right.
fn has_right_acl(item: &Item<'_>, source: &File, target: HeldInode<'_>, want: &Stat) -> bool {
    let run = item.run();
    let wanted = match run.rules.keep.xattrs {
        true => item.source_xattrs(want, Some(source)),
        false => Ok(xattr::Xattrs::new()),
    };
    let same_acl = wanted
        .is_ok_and(|wanted| !wanted.hides_acl() && xattr::has_access_acl_of(target, &wanted) == Ok(true));
    same_acl && xattr::has_capability(target) == Ok(false)
}

/// Whom a source grants what it holds, while a file that is there is rewritten. If that changes meanwhile, what the source gets
/// from then on is not for those who can read the file, also after a kill: it is to be replaced then.
pub(crate) struct Guard {
    stat: Stat,
    acl: Option<Vec<u8>>,
}

impl Guard {
    /// Looks once more whether the file may be rewritten: its source may have changed since it was opened.
    ///
    /// # Errors
    /// `Changed`, if it may not any more.
    pub(crate) fn new(item: &Item<'_>, source: &File, new: &NewFile) -> Result<Guard> {
        let stat = stat_open(source).at(Operation::StatSource, || item.source_path())?;
        let acl = xattr::access_acl_of(&Holder::Open(source.as_fd()), true);
        let want = item.adopt_open(stat, source)?;
        let have = stat_open(&new.fd).at(Operation::StatDestination, || item.path())?;
        let may_be = may_be_rewritten(&want, &have, &item.run().rules)
            && has_right_acl(item, source, HeldInode::Open(new.fd.as_fd()), &want);
        match may_be {
            true => Ok(Guard { stat, acl }),
            false => Err(Error::new(Operation::ReadSource, item.source_path(), Cause::Changed)),
        }
    }

    /// Whether what was read of the source before this is for all who had the file.
    pub(crate) fn holds(&self, source: &File) -> bool {
        let whose = |stat: &Stat| (stat.mode, stat.uid, stat.gid);
        stat_open(source).is_ok_and(|now| {
            now.changed == self.stat.changed
                || whose(&now) == whose(&self.stat)
                    && xattr::access_acl_of(&Holder::Open(source.as_fd()), true) == self.acl
        })
    }
}

/// Backs up what is to be rewritten, unless an earlier run broke off in the middle of that: the mixture it left is no old
/// version, and would take the place of the one that run has kept. An attribute tells, where the file system has any.
pub(crate) async fn keep_old(item: &Item<'_>, new: &NewFile) -> Result<()> {
    if item.run().backups.is_none() || is_mixture(new) {
        return Ok(());
    }
    keep_old::copy(item).await?;
    match rustix::fs::fsetxattr(&new.fd, xattr::UNFINISHED, b"", XattrFlags::empty()) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno).at(Operation::SetXattr, || item.path()),
    }
}

/// The file is what its source was: with the other attributes that the source lacks this one may have gone already.
pub(crate) fn mark_done(new: &NewFile) -> rustix::io::Result<()> {
    match rustix::fs::fremovexattr(&new.fd, xattr::UNFINISHED) {
        Err(errno) if errno != Errno::NODATA && errno != Errno::OPNOTSUPP && errno != Errno::NOSYS => {
            Err(errno)
        }
        _ => Ok(()),
    }
}

fn is_mixture(new: &NewFile) -> bool {
    rustix::fs::fgetxattr(&new.fd, xattr::UNFINISHED, &mut [0_u8; 0]).is_ok()
}
