//! The metadata of a source that moves while it is read. What is read of a file must never get the mode, owner or ACL that the
//! file had with other contents: who could not read those bytes there, or run them as somebody else, could in the copy.
//!
//! So the metadata are looked at between the two readings. Where no write came in between they belong to what was read. Else
//! nobody can tell, and what all looks have in common is all that the copy grants.

use crate::engine::entry::item::Item;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::file::File;
use crate::metadata::xattr::{self, Xattrs};
use crate::stat::{Stat, stat_open};

/// How many times metadata that change are looked at.
const LOOKS: usize = 8;
/// Bits that have a program run as its owner or group.
const SET_ID: u32 = 0o6000;

/// What a copy gets beside its contents.
pub(crate) struct Metadata {
    pub(crate) stat: Stat,
    pub(crate) xattrs: Option<Xattrs>,
}

impl Metadata {
    /// Those of now, which belong together: nothing changed between the looks at the mode and at the ACL. Where that never
    /// comes about the mode is what it was each time.
    pub(super) fn of_now(item: &Item<'_>, source: &File) -> Result<Metadata> {
        let look = || stat_open(source).at(Operation::StatSource, || item.source_path());
        let mut now = look()?;
        for left in (0..LOOKS).rev() {
            let stat = item.adopt_open(now, source)?;
            let wanted = || item.source_xattrs(&stat, Some(source));
            let xattrs = item.run().rules.keep.xattrs.then(wanted).transpose()?;
            let then = look()?;
            if then.changed == now.changed {
                return Ok(Metadata { stat, xattrs });
            }
            if left == 0 {
                return Ok(Metadata { stat: Stat { mode: stat.mode & then.mode, ..stat }, xattrs });
            }
            now = then;
        }
        Err(Error::new(Operation::StatSource, item.source_path(), Cause::Changed))
    }

    /// What these have in common with other looks, and with the attributes at the beginning.
    ///
    /// # Errors
    /// When the file came to somebody else, or has another ACL or a new capability: whose bytes they are nobody knows.
    pub(super) fn narrowed(
        mut self,
        item: &Item<'_>,
        looks: [&Stat; 3],
        before: Option<&Xattrs>,
    ) -> Result<Metadata> {
        let changed = || Error::new(Operation::ReadSource, item.source_path(), Cause::Changed);
        if looks.iter().any(|look| (look.uid, look.gid) != (self.stat.uid, self.stat.gid)) {
            return Err(changed());
        }
        if let (Some(before), Some(now)) = (before, &self.xattrs)
            && (xattr::changes(now, before).acl || xattr::grants(now, before))
        {
            return Err(changed());
        }
        let mode = looks.iter().fold(self.stat.mode, |mode, look| mode & look.mode);
        if mode != self.stat.mode {
            self.stat.mode = mode;
            self.xattrs.iter_mut().for_each(|xattrs| xattr::follow_mode(xattrs, mode));
        }
        Ok(self)
    }

    /// The same of contents that the file may never have had: nobody runs them as somebody else.
    pub(super) fn without_privileges(mut self) -> Metadata {
        self.stat.mode &= !SET_ID;
        if let Some(xattrs) = &mut self.xattrs {
            xattr::drop_capability(xattrs);
        }
        self
    }
}
