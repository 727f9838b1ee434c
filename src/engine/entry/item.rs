//! One entry at work, and what belongs to it: its names, its directory, and the paths that errors name.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::own::shed;
use crate::engine::own::trial::{self, Place, TimeTells};
use crate::engine::run::lane::Lane;
use crate::engine::run::regular;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Kind;
use crate::io::file::{File, is_union};
use crate::metadata;
use crate::metadata::kept::Acls;
use crate::metadata::xattr::{self, Holder};
use crate::plan::compare::{Decision, Difference, differs_in_time_alone, keep};
use crate::plan::kept::KeptMode;
use crate::plan::writers::Writers;
use crate::roots::follow::Led;
use crate::stat::{Identity, Inode, Stat, proc_path};
use crate::walk::Entry;

/// One entry at work, with all that belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) lane: &'a Lane,
    pub(crate) directory: &'a Arc<Directory>,
    pub(crate) pair: &'a Arc<Pair>,
    pub(crate) entry: &'a Entry,
    /// It takes the place of a directory that was set aside for it: there was something, whatever is there now.
    pub(crate) replaces: bool,
    /// What the destination had under its name when that was looked at.
    pub(crate) old: Option<Former>,
    /// What it stands for, if it is a symlink that was followed.
    pub(crate) led: Option<&'a Led>,
}

/// What the destination has under an entry's name.
#[derive(Clone, Copy)]
pub(crate) struct Former {
    pub(crate) inode: Inode,
    pub(crate) kind: Kind,
    /// What is kept of its mode, if that is left alone.
    pub(crate) mode: Option<KeptMode>,
}

/// An entry's source, as far as it is known.
pub(crate) struct SourceEntry {
    pub(crate) stat: Stat,
    /// Opened already, a regular file.
    pub(crate) file: Option<File>,
}

impl Item<'_> {
    pub(crate) fn run(&self) -> &Run {
        &self.lane.run
    }

    /// The entry's name in the destination.
    pub(crate) fn target(&self) -> &CStr {
        self.entry.target()
    }

    /// The destination directory, to look at.
    pub(crate) fn within(&self) -> Result<&Arc<OwnedFd>> {
        self.pair.destination.as_ref().ok_or(Errno::NOENT).at(Operation::OpenDestination, || self.path())
    }

    /// Opens the source's file: at once. To hold each file first took a sixth more time for small ones, and a device that
    /// somebody has put there meanwhile is not read. What a symlink led to is held already.
    pub(crate) async fn open_regular(&self, flags: OFlags) -> Result<(File, Stat), Cause> {
        match self.led {
            None => {
                let side = (&self.pair.source, Writers::Nobody);
                regular::open(self.lane, side, &self.entry.name, flags).await
            }
            Some(led) => regular::reopen(self.lane, &led.fd, flags).await,
        }
    }

    /// Whose attributes the source's are.
    pub(crate) fn source_holder(&self) -> Holder<'_> {
        match self.led {
            None => Holder::Name(self.pair.source.as_fd(), &self.entry.name),
            Some(led) => Holder::Link(proc_path(&led.fd)),
        }
    }

    /// The destination's, and who else can write there.
    pub(crate) fn destination_side(&self) -> Result<(&Arc<OwnedFd>, Writers)> {
        Ok((self.within()?, self.pair.writers))
    }

    /// The destination directory, to change an entry of it. A dry run, which may have none, never gets to ask.
    pub(crate) fn changing(&self) -> Result<&Arc<OwnedFd>> {
        self.pair.changing().at(Operation::Create, || self.path())
    }

    pub(crate) fn source_path(&self) -> PathBuf {
        self.run().source_path(&self.directory.path_of(&self.entry.name))
    }

    /// The entry's path in the destination, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.run().destination_path(&self.directory.path_of(self.target()))
    }

    /// The stat of a source as the destination is to have it. In a directory that stays open it is its owner's alone.
    pub(crate) fn adopt(&self, stat: Stat, holder: &Holder<'_>) -> Result<Stat> {
        let (rules, allowed) = (&self.run().rules, self.pair.allowed(self.run()));
        let stat = metadata::adopt(stat, holder, (rules, allowed), || self.source_path())?;
        Ok(if self.pair.exposed { shed::closed(stat, None, true).0 } else { stat })
    }

    /// The stat of a source that is open as the destination is to have it.
    pub(crate) fn adopt_open(&self, stat: Stat, file: &File) -> Result<Stat> {
        let mut stat = self.adopt(stat, &Holder::Open(file.as_fd()))?;
        self.keep_mode_anew(&mut stat);
        Ok(stat)
    }

    /// What is kept of the mode of what the destination has, where modes are left alone.
    pub(crate) fn kept_mode(&self, source: &Stat, have: Option<&Stat>) -> Option<KeptMode> {
        let rules = &self.run().rules;
        let have = have.filter(|have| rules.leaves_mode(source, have))?;
        let within = self.pair.destination.as_ref()?;
        let destination = Holder::Name(within.as_fd(), self.target());
        let destination = xattr::access_acl_of(&destination, self.pair.file_system.is_faithful);
        let kept = rules.keep.acls;
        let source_acl = if kept { xattr::access_acl_of(&self.source_holder(), true) } else { None };
        let shown = Acls { kept, source: source_acl, destination }.mode_to_keep(source, have);
        let planted = self.pair.planted || self.pair.writers.could_plant(have);
        Some(rules.kept_mode(source, have, shown, (planted, self.pair.before())))
    }

    /// Gives a source the mode that a new copy gets in the place of what was there, where modes are left alone.
    pub(crate) fn keep_mode_anew(&self, source: &mut Stat) {
        let old = self.old.filter(|old| old.kind == source.kind);
        if let Some(mode) = old.and_then(|old| old.mode) {
            source.mode = mode.anew;
        }
    }

    /// Which file a source is that has several names.
    pub(crate) fn identity(&self, source: &Stat) -> Identity {
        source.identity(self.run().rules.keep.permissions, is_union(&self.pair.source))
    }

    /// The error of an operation that is broken off since the run was stopped.
    pub(crate) fn fail_if_stopped(&self) -> Result<()> {
        match self.run().stop.is_stopped() {
            true => Err(Error::new(Operation::Run, self.source_path(), Cause::Interrupted)),
            false => Ok(()),
        }
    }

    /// Where what becomes of its metadata can be tried.
    pub(crate) fn place(&self) -> Place<'_, impl Fn() -> PathBuf + Copy> {
        Place { pair: self.pair, run: self.run(), path: || self.path() }
    }

    /// What to do about an entry that is to be replaced: if its time is the only reason, that may tell nothing.
    pub(crate) fn judge_time(&self, source: &Stat, have: &Stat) -> Result<Decision> {
        let rules = &self.run().rules;
        if !differs_in_time_alone(source, have, rules) {
            return Ok(Decision::Replace);
        }
        Ok(match trial::time_tells(self.place(), source.modified, have)? {
            TimeTells::Older => Decision::Replace,
            // There is nothing to mend about it.
            TimeTells::Same => match keep(source, have, rules) {
                Decision::Keep(difference) => Decision::Keep(Difference { times: false, ..difference }),
                other => other,
            },
            TimeTells::Nothing => Decision::CompareContents,
        })
    }

    /// The path that an error of `operation` names.
    pub(crate) fn path_of(&self, operation: Operation) -> PathBuf {
        if operation.reads_source() { self.source_path() } else { self.path() }
    }

    /// Holds a destination name's inode without opening it.
    pub(crate) fn handle(&self, name: &CStr) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.within()?, name, flags, rustix::fs::Mode::empty())
            .at(Operation::OpenDestination, || self.path())
    }

    /// The source's attributes as the destination is to have them: those of its name, or of the file that is open.
    pub(crate) fn source_xattrs(&self, source: &Stat, open: Option<&File>) -> Result<xattr::Xattrs> {
        let holder = match open {
            Some(file) => Holder::Open(file.as_fd()),
            None => self.source_holder(),
        };
        let mut found = xattr::read_source(&holder, source, &self.run().rules, || self.source_path())?;
        if self.pair.exposed {
            xattr::follow_mode(&mut found, source.mode);
        }
        Ok(found)
    }

    /// The destination's, in the same way.
    pub(crate) fn destination_xattrs(&self, open: Option<&File>) -> Result<xattr::Xattrs> {
        let holder = match open {
            Some(file) => Holder::Open(file.as_fd()),
            None => Holder::Name(self.within()?.as_fd(), self.target()),
        };
        let read = xattr::read(&holder, self.run().rules.reach(), || self.path());
        self.pair.file_system.attributes(read)
    }
}
