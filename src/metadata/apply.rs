//! Applying metadata. What is refused costs itself alone: the entry keeps its contents and all else it can have, and each
//! property that it lacks is an error of its own. Where a refusal takes something away that kept others out (a group, an
//! ACL), the mode becomes tighter in its place.

use std::ffi::CStr;
use std::path::Path;

use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Frozen, NotKept, Operation, Property, Result};
use crate::event::{Changes, Kind};
use crate::metadata::flags::frozen_at;
use crate::metadata::set::{set_both_times, set_mode, set_mtime, set_owner};
use crate::metadata::xattr::{self, Xattrs};
use crate::metadata::{HeldInode, acl, closed_to_others, equal};
use crate::plan::compare::{Difference, differences, mode_to_give, tries_group};
use crate::plan::rules::Rules;
use crate::plan::tighten::without_group;
use crate::plan::times::{Match, match_times, may_be_rounded};
use crate::plan::writers::looks_unfinished;
use crate::stat::{Stat, Time, stat_open};

/// What an entry is to have: its source's stat and attributes (`None`: leave attributes alone).
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) stat: &'a Stat,
    pub(crate) xattrs: Option<&'a Xattrs>,
}

/// The entry of the destination that is to have it.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) inode: HeldInode<'a>,
    /// What it has.
    pub(crate) have: &'a Stat,
    /// We made it, and it has no attributes of its own.
    pub(crate) bare: bool,
    /// Its file system keeps what it does not refuse: nobody has to look.
    pub(crate) sure: bool,
    /// It is a program behind FUSE, which may answer with EIO for what it does not have.
    pub(crate) program: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Applied {
    /// What was set.
    pub(crate) changes: Changes,
    /// What could not be, an error each.
    pub(crate) lacks: Vec<Error>,
    /// Root is nobody here, and was treated as a user without privilege.
    pub(crate) squashed: bool,
    /// The mode that it has now, as far as is known.
    pub(crate) mode: u32,
    /// The modification time, and what the file system made of it, if that rounds.
    pub(crate) rounded: Option<(Time, Time)>,
}

impl Default for Applied {
    fn default() -> Self {
        Applied { changes: Changes::NONE, lacks: Vec::new(), squashed: false, mode: 0, rounded: None }
    }
}

impl Applied {
    /// With what came of more.
    pub(crate) fn add(&mut self, other: Applied) {
        self.lacks.extend(other.lacks);
        self.rounded = other.rounded.or(self.rounded);
        self.squashed |= other.squashed;
    }
}

/// Makes `target` equal to what is wanted, in the one right order.
///
/// # Errors
/// When the disk, not a rule of the file system, is in the way.
pub(crate) fn apply<P: AsRef<Path>>(
    wanted: Wanted<'_>,
    target: Target<'_>,
    rules: &Rules,
    path: impl Fn() -> P + Copy,
) -> Result<Applied> {
    let Wanted { stat: want, xattrs } = wanted;
    let Target { inode, have, bare, sure, program } = target;
    let mut difference = differences(want, have, rules);
    let mut applied = Applied { changes: difference.changes(have), ..Applied::default() };
    let before = have.modified;
    let mut job = Job { wanted: want, inode, rules, path, before, program, lacks: Vec::new() };
    let mut given = job.give_owner((have, sure), &mut difference, &mut applied.changes)?;
    if !sure {
        // Before the mode, which is another one where the owner is.
        given = job.look_at_owner(given, &mut difference, &mut applied.changes)?;
    }
    let mut acl = AclGiven::Kept;
    if let Some(xattrs) = xattrs.filter(|xattrs| !(bare && xattrs.is_empty())) {
        let set;
        let squashed = given == OwnerGiven::Squashed;
        (set, acl) = job.give_xattrs(xattrs, have, (bare, sure), squashed)?;
        (applied.changes.acl, applied.changes.xattrs) = (set.acl, set.xattrs);
        // An ACL may have changed the mode behind our back.
        if !set.is_empty() && difference.mode.is_none() {
            difference.mode = Some(mode_of(want, have, &difference, rules));
        }
    }
    if let Some(xattrs) = xattrs.filter(|xattrs| !xattrs.is_complete()) {
        job.lacks.extend(xattrs.lacks());
        acl = if xattrs.hides_acl() { AclGiven::Unknown } else { acl };
    }
    let changes_hands = difference.owner.is_some_and(|(uid, _)| uid.is_some());
    if changes_hands && !bare && difference.mode.is_none() {
        // The former owner may have changed it in the last moment.
        difference.mode = Some(mode_of(want, have, &difference, rules));
    }
    applied.squashed = given == OwnerGiven::Squashed;
    if given != OwnerGiven::Yes || acl != AclGiven::Kept {
        let mode = mode_of(want, have, &difference, rules);
        let mode = tight(mode, want, (have, &difference), (given, acl), rules);
        applied.changes.mode = mode != have.mode && want.kind != Kind::Symlink;
        difference.mode = (!applied.changes.is_empty()).then_some(mode);
    }
    difference.mode = difference.mode.filter(|_| want.kind != Kind::Symlink);
    applied.mode = job.give_mode(&difference, &mut applied.changes)?.unwrap_or(have.mode);
    // Setting anything above leaves mtime alone, so that it is set only where it differs.
    if difference.times {
        job.give_time(&mut applied.changes)?;
    }
    if !sure {
        applied.rounded = job.look(&difference, &mut applied.changes)?;
    }
    applied.lacks = job.lacks;
    Ok(applied)
}

/// Sets the modification time alone, of what has all the rest.
///
/// # Errors
/// When the disk is in the way.
pub(crate) fn apply_time<P: AsRef<Path>>(
    want: &Stat,
    target: Target<'_>,
    rules: &Rules,
    path: impl Fn() -> P + Copy,
) -> Result<Applied> {
    let Target { inode, sure, program, .. } = target;
    let mut applied = Applied::default();
    let before = Time::NEVER;
    let mut job = Job { wanted: want, inode, rules, path, before, program, lacks: Vec::new() };
    job.give_time(&mut applied.changes)?;
    if !sure && job.lacks.is_empty() {
        let now = job.stat()?;
        applied.rounded = job.look_at_time(now, &mut applied.changes)?;
    }
    applied.lacks = job.lacks;
    Ok(applied)
}

/// Whether an errno says that something is not to be had, and not that the disk, or the entry, is gone.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    !matches!(
        errno,
        Errno::IO
            | Errno::ROFS
            | Errno::NODEV
            | Errno::NXIO
            | Errno::SHUTDOWN
            | Errno::NOTCONN
            | Errno::STALE
            | Errno::BADF
            | Errno::NOENT
            | Errno::NOMEM
    )
}

/// The user that a server takes root for, unless it is told otherwise.
const NOBODY: u32 = 65534;

#[derive(Clone, Copy, PartialEq, Eq)]
enum OwnerGiven {
    Yes,
    No,
    /// Not, since root has no privilege here.
    Squashed,
}

/// What became of an access ACL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AclGiven<'a> {
    Kept,
    /// The source's is missing; the target has none.
    Lost(&'a [u8]),
    /// The target has another one than the source, which may have none.
    Another(Option<&'a [u8]>),
    /// The source's can't be read.
    Unknown,
}

/// The mode for a target that lacks what kept others out.
fn tight(
    mode: u32,
    want: &Stat,
    (have, difference): (&Stat, &Difference),
    (given, lost): (OwnerGiven, AclGiven<'_>),
    rules: &Rules,
) -> u32 {
    let mode = match lost {
        AclGiven::Kept => mode,
        AclGiven::Lost(acl) => acl::mode_without(acl, mode),
        AclGiven::Another(acl) => acl.map_or(mode, |acl| acl::mode_without(acl, mode)) & !0o070, // which is its mask
        AclGiven::Unknown => closed_to_others(mode),
    };
    let (_, gid) = difference.owner.unwrap_or_default();
    let is_tried = given != OwnerGiven::Yes && tries_group(want.gid, rules);
    let lacks_group = is_tried && gid.unwrap_or(have.gid) != want.gid;
    if lacks_group { without_group(mode) } else { mode }
}

/// The mode that `differences` would have set: an ACL may have changed it behind its back.
fn mode_of(want: &Stat, have: &Stat, difference: &Difference, rules: &Rules) -> u32 {
    let (uid, gid) = difference.owner.unwrap_or_default();
    mode_to_give(want, uid.unwrap_or(have.uid), gid.unwrap_or(have.gid), rules)
}

/// One entry at work.
struct Job<'a, F> {
    wanted: &'a Stat,
    inode: HeldInode<'a>,
    rules: &'a Rules,
    path: F,
    /// Its modification time when the work began.
    before: Time,
    program: bool,
    lacks: Vec<Error>,
}

impl<P: AsRef<Path>, F: Fn() -> P + Copy> Job<'_, F> {
    /// Takes note of a refusal; any other error is returned.
    fn lack(&mut self, operation: Operation, refused: (Property, String), errno: Errno) -> Result<()> {
        // A mode or a time takes room on no file system but one that is full (btrfs).
        let lacks_room = matches!(errno, Errno::NOSPC | Errno::DQUOT);
        let takes_none = !refused.0.is_owner() && !matches!(refused.0, Property::Xattr | Property::Acl);
        let lacks_attributes =
            matches!(refused.0, Property::Xattr | Property::Acl) && self.inode.lacks_attributes(errno);
        if !self.is_refusal(errno) && !lacks_attributes || lacks_room && takes_none {
            return Err(errno).at(operation, self.path);
        }
        self.refused(operation, refused, errno);
        Ok(())
    }

    fn is_refusal(&self, errno: Errno) -> bool {
        is_refusal(errno) || errno == Errno::IO && self.program
    }

    /// Takes note of a refusal, whatever the kernel said.
    fn refused(&mut self, operation: Operation, (property, wanted): (Property, String), errno: Errno) {
        let frozen = (errno == Errno::PERM).then(|| self.frozen()).flatten();
        let lack = NotKept { frozen, ..NotKept::refused(property, wanted, errno) };
        self.lacks.push(Error::new(operation, (self.path)().as_ref(), Cause::from(lack)));
    }

    fn frozen(&self) -> Option<Frozen> {
        let (HeldInode::Open(fd) | HeldInode::Handle(fd)) = self.inode;
        frozen_at(fd, c"")
    }

    /// The same of what was set without an error, and is something else.
    fn became(&mut self, operation: Operation, property: Property, (wanted, found): (String, String)) {
        let lack = NotKept::became(property, wanted, found);
        self.lacks.push(Error::new(operation, (self.path)().as_ref(), Cause::from(lack)));
    }

    /// Sets user and group, or what of the two is not refused, which `difference` has afterwards.
    fn give_owner(
        &mut self,
        (have, sure): (&Stat, bool),
        difference: &mut Difference,
        changes: &mut Changes,
    ) -> Result<OwnerGiven> {
        let Some((uid, gid)) = difference.owner else { return Ok(OwnerGiven::Yes) };
        let Err(errno) = set_owner(self.inode, uid, gid) else { return Ok(OwnerGiven::Yes) };
        if errno == Errno::PERM && self.is_squashed(have, sure) {
            difference.owner = None;
            (changes.owner, changes.group) = (false, false);
            return Ok(OwnerGiven::Squashed);
        }
        let text = |id: Option<u32>| id.map_or_else(String::new, |id| id.to_string());
        let wanted = format!("{}:{}", text(uid), text(gid));
        self.lack(Operation::SetOwner, (Property::of_owner(uid.is_some(), gid.is_some()), wanted), errno)?;
        let both = uid.is_some() && gid.is_some();
        let gid = gid.filter(|_| both && set_owner(self.inode, None, gid).is_ok());
        let uid = uid.filter(|_| both && gid.is_none() && set_owner(self.inode, uid, None).is_ok());
        difference.owner = (uid.is_some() || gid.is_some()).then_some((uid, gid));
        (changes.owner, changes.group) = (uid.is_some(), gid.is_some());
        Ok(OwnerGiven::No)
    }

    /// Whether a server takes root for nobody, or for another user (exports(5), `root_squash`, `anonuid`): what root makes
    /// there is theirs, and root may do with it what they may.
    fn is_squashed(&self, have: &Stat, sure: bool) -> bool {
        let may = &self.rules.privileges;
        let acts_as_owner = || set_mode(self.inode, have.mode).is_ok();
        let is_another = !sure && have.uid != may.user && have.kind != Kind::Symlink;
        may.chown && may.user != NOBODY && (have.uid == NOBODY || is_another && acts_as_owner())
    }

    /// Looks at whose it is now, which `difference` has afterwards. What was refused has been told.
    fn look_at_owner(
        &mut self,
        given: OwnerGiven,
        difference: &mut Difference,
        changes: &mut Changes,
    ) -> Result<OwnerGiven> {
        let Some((uid, gid)) = difference.owner else { return Ok(given) };
        let now = self.stat()?;
        let wanted = (uid.unwrap_or(now.uid), gid.unwrap_or(now.gid));
        if wanted == (now.uid, now.gid) {
            return Ok(given);
        }
        if given == OwnerGiven::Yes {
            let text = |(uid, gid)| format!("{uid}:{gid}");
            let property = Property::of_owner(wanted.0 != now.uid, wanted.1 != now.gid);
            self.became(Operation::SetOwner, property, (text(wanted), text((now.uid, now.gid))));
        }
        difference.owner = Some((Some(now.uid), Some(now.gid)));
        (changes.owner, changes.group) = (uid == Some(now.uid), gid == Some(now.gid));
        Ok(OwnerGiven::No)
    }

    /// Makes the attributes equal. Without privilege that takes the right to write, which the owner may give himself: the
    /// mode is set afterwards in any case.
    fn give_xattrs<'x>(
        &mut self,
        want: &'x Xattrs,
        have: &Stat,
        bare_and_sure: (bool, bool),
        squashed: bool,
    ) -> Result<(Changes, AclGiven<'x>)> {
        let (root, reach) = (self.rules.privileges.root, self.rules.reach());
        let (bare, sure) = bare_and_sure;
        let holds = equal::Holds { bare, sure };
        let mut set = equal::make_equal(self.inode, want, holds, reach);
        let is_closed =
            |set: &equal::Set| set.refused.iter().any(|refused| refused.errno == Some(Errno::ACCESS));
        // Where it may not, what was refused first is told.
        let may_open = is_closed(&set) && !root && have.kind != Kind::Symlink;
        if may_open && set_mode(self.inode, have.mode | 0o600).is_ok() {
            let again = equal::make_equal(self.inode, want, holds, reach);
            let changes = Changes {
                acl: set.changes.acl | again.changes.acl,
                xattrs: set.changes.xattrs | again.changes.xattrs,
                ..Changes::NONE
            };
            set = equal::Set { changes, ..again };
        }
        let mut acl = AclGiven::Kept;
        for refused in set.refused.into_iter().filter(|refused| !(squashed && refused.takes_privilege())) {
            if refused.is_access_acl() {
                let found = xattr::has_access_acl_of(self.inode, &Xattrs::new());
                acl = match xattr::access_acl(want) {
                    Some(wanted) if found == Ok(true) => AclGiven::Lost(wanted),
                    _ if found == Ok(true) => AclGiven::Kept, // it had none to lose
                    wanted => AclGiven::Another(wanted),
                };
            }
            match refused.errno {
                Some(errno) => self.lack(Operation::SetXattr, refused.told(), errno)?,
                None => {
                    let (property, wanted) = refused.told();
                    self.became(Operation::SetXattr, property, (wanted, "nothing".into()));
                }
            }
        }
        Ok((set.changes, acl))
    }

    /// Sets the mode, and returns the one that was set.
    fn give_mode(&mut self, difference: &Difference, changes: &mut Changes) -> Result<Option<u32>> {
        let Some(mode) = difference.mode else { return Ok(None) };
        if let Err(errno) = set_mode(self.inode, mode) {
            changes.mode = false;
            // Left alone, nobody misses it, but where a directory has the mode that no user chose.
            let is_kept = self.rules.keep.permissions || self.rules.keep.executability;
            if is_kept || !self.is_refusal(errno) || self.is_left_unfinished() {
                self.lack(Operation::SetMode, (Property::Mode, octal(mode)), errno)?;
            }
            return Ok(None);
        }
        Ok(Some(mode))
    }

    /// Whether it is a directory with the mark of one that is not done.
    fn is_left_unfinished(&self) -> bool {
        self.wanted.kind == Kind::Directory && self.stat().is_ok_and(|now| looks_unfinished(&now))
    }

    fn give_time(&mut self, changes: &mut Changes) -> Result<()> {
        let Err(errno) = set_mtime(self.inode, self.wanted.modified) else { return Ok(()) };
        changes.times = false;
        let refused = (self.times(), self.wanted.modified.to_string());
        // sshfs follows symlinks: what is missing is what the symlink points to.
        if errno == Errno::NOENT && self.wanted.kind == Kind::Symlink {
            self.refused(Operation::SetTimes, refused, errno);
            return Ok(());
        }
        self.lack(Operation::SetTimes, refused, errno)
    }

    fn times(&self) -> Property {
        match self.wanted.kind {
            Kind::Directory => Property::DirectoryTimes,
            Kind::Symlink => Property::SymlinkTimes,
            _ => Property::Times,
        }
    }

    fn lacks(&self, property: Property) -> bool {
        let is_it = |error: &Error| matches!(&error.cause, Cause::NotKept(lack) if lack.property == property);
        self.lacks.iter().any(is_it)
    }

    /// Looks at what became of it: some file systems say yes, and do something else. Returns the time, if it was rounded.
    fn look(&mut self, difference: &Difference, changes: &mut Changes) -> Result<Option<(Time, Time)>> {
        let now = self.stat()?;
        if let Some(mode) = difference.mode.filter(|mode| *mode != now.mode && self.rules.keep.permissions)
            && !self.lacks(Property::Mode)
        {
            self.became(Operation::SetMode, Property::Mode, (octal(mode), octal(now.mode)));
            changes.mode = false;
        }
        if !difference.times || self.lacks(self.times()) {
            return Ok(None);
        }
        self.look_at_time(now, changes)
    }

    fn look_at_time(&mut self, mut now: Stat, changes: &mut Changes) -> Result<Option<(Time, Time)>> {
        let want = self.wanted.modified;
        if match_times(want, &now) == Match::Other
            && may_be_rounded(want, &now).is_none()
            && set_both_times(self.inode, want).is_ok()
        {
            now = self.stat()?; // some set both times or none
        }
        match match_times(want, &now) {
            Match::Same => Ok(None),
            Match::Rounded => Ok(Some((want, now.modified))),
            Match::Other if may_be_rounded(want, &now).is_some() => {
                changes.times &= now.modified != self.before;
                Ok(Some((want, now.modified)))
            }
            Match::Clamped | Match::Other => {
                let texts = (want.to_string(), now.modified.to_string());
                self.became(Operation::SetTimes, self.times(), texts);
                changes.times = false;
                Ok(None)
            }
        }
    }

    fn stat(&self) -> Result<Stat> {
        let stat = match self.inode {
            HeldInode::Open(fd) | HeldInode::Handle(fd) => stat_open(fd),
        };
        stat.at(Operation::StatDestination, self.path)
    }
}

/// What an entry of the destination lacks whose attributes could not be read: those that its source does not have may be
/// left.
pub(crate) fn lack_of_unlisted(error: Error) -> Error {
    let errno = error.errno().unwrap_or(Errno::ACCESS);
    let lack = NotKept::refused(Property::Xattr, equal::UNLISTED, errno);
    Error::new(Operation::SetXattr, error.path, Cause::from(lack))
}

fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

/// The name of an attribute, for a message.
pub(super) fn name_of(name: &CStr) -> String {
    String::from_utf8_lossy(name.to_bytes()).escape_debug().to_string()
}
