//! Where modes are left alone a directory of the destination keeps its own, as far as nobody gains by it: plan/kept.rs.

use std::os::fd::OwnedFd;

use crate::engine::Run;
use crate::engine::state::pair::SourceDirectory;
use crate::metadata::kept::Acls;
use crate::metadata::xattr::{self, Holder};
use crate::stat::{Stat, proc_path};

impl SourceDirectory {
    /// Gives a source directory the setgid bit that its mirror, which was made as `made`, has from the directory around it, where
    /// modes are left alone.
    pub(crate) fn inherit_setgid(&mut self, made: &Stat, run: &Run) {
        if !run.rules.keep.permissions {
            self.stat.mode |= made.mode & 0o2000;
        }
    }

    /// Gives a source directory the mode of its mirror, which has `have`, where modes are left alone. Somebody else could
    /// have put a `planted` one where it is.
    pub(crate) fn keep_mode(&mut self, (mirror, have): (&OwnedFd, &Stat), planted: bool, run: &Run) {
        let rules = &run.rules;
        if !rules.leaves_mode(&self.stat, have) {
            return;
        }
        let is_faithful = run.file_systems.of(mirror, have).is_faithful;
        let destination = xattr::access_acl_of(&Holder::Link(proc_path(mirror)), is_faithful);
        let source = self.xattrs.as_ref().and_then(|xattrs| xattr::access_acl(xattrs).map(<[u8]>::to_vec));
        let acls = Acls { kept: rules.keep.acls, source, destination };
        let shown = acls.mode_to_keep(&self.stat, have);
        self.stat.mode = rules.kept_mode(&self.stat, have, shown, (planted, None)).as_it_is;
        if let Some(xattrs) = &mut self.xattrs {
            xattr::follow_mode(xattrs, self.stat.mode);
        }
    }
}
