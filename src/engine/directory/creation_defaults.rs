//! What a directory makes of a new file.

use std::os::fd::OwnedFd;

use crate::engine::Run;
use crate::engine::state::pair::{CreationDefaults, Pair};
use crate::metadata::xattr::{default_permissions, has_default_acl};
use crate::plan::writers::Writers;
use crate::stat::{Stat, Time, stat_open};

impl Pair {
    /// What a regular file, asked for with `mode`, got: `file` is one that was just made here.
    pub(crate) fn stat_of_new(&self, file: &OwnedFd, mode: u32, run: &Run) -> rustix::io::Result<Stat> {
        if let Some(creation_defaults) = self.creation_defaults.get()
            && creation_defaults.predictable
            && creation_defaults.stat.mode == mode & !run.rules.umask
        {
            return Ok(creation_defaults.stat);
        }
        let mut stat = stat_open(file)?;
        // No time that a source could have: the new file's own one moves on with the writing.
        stat.modified = Time::NEVER;
        let inherits_acl = self.destination.as_ref().is_some_and(|fd| has_default_acl(fd));
        // Others who can write there could change what new files get, from one to the next.
        let constant = self.writers == Writers::Nobody;
        let predictable = constant && stat.mode == mode & !run.rules.umask && !inherits_acl;
        self.creation_defaults.get_or_init(|| CreationDefaults { stat, predictable, inherits_acl });
        Ok(stat)
    }

    /// The group that a new file belongs to, as far as is known.
    pub(crate) fn group_of_new(&self, run: &Run) -> u32 {
        let found = self.creation_defaults.get().map(|creation_defaults| creation_defaults.stat.gid);
        found.unwrap_or(run.rules.privileges.group)
    }

    /// The permissions that a new entry may have where modes are left alone: what the umask leaves, or the default ACL grants
    /// that it inherits.
    pub(crate) fn allowed(&self, run: &Run) -> u32 {
        let rules = &run.rules;
        if rules.keep.permissions {
            return 0o777; // nobody asks
        }
        *self.allowed.get_or_init(|| {
            let inherits = !rules.keep.acls && !self.sheds_inherited_acl(run);
            let directory = self.destination.as_ref().filter(|_| inherits);
            directory.and_then(|fd| default_permissions(fd)).unwrap_or(0o777 & !rules.umask)
        })
    }

    /// Whether new entries are to lose the ACL that they inherit: where none are kept, and others chose it, or could not be
    /// kept from it.
    pub(crate) fn sheds_inherited_acl(&self, run: &Run) -> bool {
        !run.rules.keep.acls && (self.writers != Writers::Nobody || self.acl_stays)
    }
}
