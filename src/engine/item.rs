//! One entry: opened, compared with what the destination has, and made anew or mended as the comparison says.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::engine::copy_file::{self, Copied};
use crate::engine::directory::Directory;
use crate::engine::job::Entry;
use crate::engine::pair::Pair;
use crate::engine::temporary::Taken;
use crate::engine::worker::Lane;
use crate::engine::{Run, backup, contents, guarded, link, litter, read_back, reference, special};
use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::event::metrics::Call;
use crate::event::{Action, Attributes, Changes, EntryEvent, Kind};
use crate::io::file::File;
use crate::metadata::xattr::{self, Holder};
use crate::metadata::{self, Target};
use crate::plan::compare::{Decision, Difference, changes, decide, gives_more, keep};
use crate::plan::skip::is_left_alone;
use crate::plan::writers::Writers;
use crate::stat::{Inode, Stat, stat_open};

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
    pub(crate) old: Option<Inode>,
}

/// An entry's source, as far as it is known.
pub(crate) struct Source {
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

    /// The source's directory, as files in it are opened: at once. To hold each file first took a sixth more time for small
    /// ones, and a device that somebody has put there meanwhile is not read.
    pub(crate) fn source_side(&self) -> (&Arc<OwnedFd>, Writers) {
        (&self.pair.source, Writers::Nobody)
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

    /// Makes the destination's entry what the source's is, and tells what that took.
    pub(super) async fn mirror(self) -> EntryEvent {
        let mut kind = self.entry.kind;
        let mut found = None;
        let (mut is_absent, mut is_found) = (false, false);
        let result = async {
            let source = self.open_source().await?;
            kind = source.stat.kind;
            found = Some(source.stat);
            if kind.is_special() && !self.run().rules.keep.specials {
                return Ok(Copied::skipped());
            }
            if kind == Kind::File && !self.run().config.select.takes_size(source.stat.size) {
                return Ok(Copied::skipped());
            }
            self.run().deletions.source_has_entries();
            self.claim_name()?;
            let destination = self.stat_destination().await?;
            (is_absent, is_found) = (destination.is_none(), destination.is_some());
            let item = Item { old: destination.map(|have| have.inode), ..self };
            let is_left = is_left_alone(&source.stat, destination.as_ref(), &self.run().rules);
            if is_left && !self.replaces {
                if destination.is_some() && self.pair.planted {
                    self.directory.mark_doubtful();
                }
                return self.leave(destination.as_ref()).await;
            }
            if destination.is_some_and(|have| have.kind == Kind::Directory) {
                self.require_empty_directory()?; // before other names wait for this one
            }
            if source.stat.links > 1 && self.run().rules.keep.hard_links {
                link::mirror(item, source, destination).await
            } else {
                item.mirror_one(source, destination.as_ref()).await
            }
        };
        let mut event = match result.await {
            Ok(copied) => copied.event(kind),
            Err(error) => EntryEvent::failed(kind, error),
        };
        if is_absent && matches!(event.action, Action::Created | Action::Linked) && !self.run().config.dry_run
        {
            self.pair.count_compared(); // now it has it
        }
        let vanished = event.error.as_ref().is_some_and(|error| error.outcome() == Outcome::Vanished);
        if vanished && is_found {
            self.pair.uncount_compared(); // the source has it no more
        }
        event.source = found.as_ref().map(Attributes::from);
        if kind == Kind::Symlink && event.points_to.is_none() && self.run().config.details {
            event.points_to = special::points_to(&self).ok();
        }
        event
    }

    /// Opens a file that will be read, as far as is known, and stats anything else.
    pub(crate) async fn open_source(&self) -> Result<Source> {
        let (fresh, rules) = (self.pair.fresh, &self.run().rules);
        let certain = fresh && !rules.compare.existing && self.run().references.is_empty();
        if self.entry.kind == Kind::File && certain && !self.run().config.dry_run {
            let (file, stat) = self.open_file().await?;
            return Ok(Source { stat, file: Some(file) });
        }
        if self.entry.kind == Kind::File && rules.checksum && !fresh {
            self.lane.doing(Operation::OpenSource);
            // One that can't be opened need not be read: it may have a size that the destination's has not.
            if let Ok((file, stat)) = contents::open(self.lane, self.source_side(), &self.entry.name).await {
                return Ok(Source { stat: self.adopt_open(stat, &file)?, file: Some(file) });
            }
        }
        self.lane.doing(Operation::StatSource);
        let stat = self.lane.io.stat(&self.pair.source, &self.entry.name).await;
        let stat = stat.and_then(|stat| stat.ok_or(Errno::NOENT));
        let stat = stat.at(Operation::StatSource, || self.source_path())?;
        if stat.kind == Kind::Directory {
            return Err(Error::new(Operation::StatSource, self.source_path(), Cause::TypeChanged));
        }
        let holder = Holder::Name(self.pair.source.as_fd(), &self.entry.name);
        Ok(Source { stat: metadata::adopt(stat, &holder, rules, || self.source_path())?, file: None })
    }

    /// Opens the source for reading. A FIFO or a device that took a file's place is not read.
    async fn open_file(&self) -> Result<(File, Stat)> {
        self.lane.doing(Operation::OpenSource);
        let opened = guarded::open(self.lane, self.source_side(), &self.entry.name, OFlags::RDONLY).await;
        let (file, stat) = opened.at(Operation::OpenSource, || self.source_path())?;
        let stat = self.adopt_open(stat, &file)?;
        Ok((file, stat))
    }

    /// The stat of a source that is open as the destination is to have it.
    pub(super) fn adopt_open(&self, stat: Stat, file: &File) -> Result<Stat> {
        metadata::adopt(stat, &Holder::Open(file.as_fd()), &self.run().rules, || self.source_path())
    }

    pub(crate) async fn stat_destination(&self) -> Result<Option<Stat>> {
        match &self.pair.destination {
            Some(within) if !self.pair.fresh => {
                self.lane.doing(Operation::StatDestination);
                let stat = self.lane.io.stat(within, self.target()).await;
                let stat = stat.at(Operation::StatDestination, || self.path())?;
                if stat.is_some() {
                    self.pair.count_compared();
                }
                Ok(stat)
            }
            _ => Ok(None),
        }
    }

    /// Keeps backups from the name, before it is looked up: what has it by then is found, and backed up in its turn.
    fn claim_name(&self) -> Result<()> {
        match (&self.run().backups, &self.pair.destination) {
            (Some(backups), Some(within)) => {
                backups.claim(within, self.target()).at(Operation::Backup, || self.path())
            }
            _ => Ok(()),
        }
    }

    /// The error of an operation that is broken off since the run was stopped.
    pub(crate) fn check_stop(&self) -> Result<()> {
        match self.run().stop.is_stopped() {
            true => Err(Error::new(Operation::Run, self.source_path(), Cause::Interrupted)),
            false => Ok(()),
        }
    }

    /// The path that an error of `operation` names.
    pub(crate) fn path_of(&self, operation: Operation) -> PathBuf {
        if operation.reads_source() { self.source_path() } else { self.path() }
    }

    /// Leaves what the destination has, if it has something, as it is. A manifest lists it all the same.
    async fn leave(&self, destination: Option<&Stat>) -> Result<Copied> {
        let mut copied = Copied::skipped();
        if self.lists_hashes() && destination.is_some_and(|have| have.kind == Kind::File) {
            copied.hash = Some(Box::pin(read_back::hash_destination(self)).await?);
        }
        Ok(copied)
    }

    /// Whether a hash is wanted of each file that the destination has.
    fn lists_hashes(&self) -> bool {
        let config = &self.run().config;
        config.manifest.is_some() && !config.dry_run
    }

    /// Mirrors an entry that is not a further name of another one.
    pub(crate) async fn mirror_one(self, source: Source, destination: Option<&Stat>) -> Result<Copied> {
        let kind = source.stat.kind;
        let mut copied = self.bring_about(source, destination).await?;
        if kind == Kind::File && copied.hash.is_none() && self.lists_hashes() {
            copied.hash = Some(Box::pin(read_back::hash_destination(&self)).await?);
        }
        Ok(copied)
    }

    /// Does what the comparison says.
    async fn bring_about(self, source: Source, destination: Option<&Stat>) -> Result<Copied> {
        let mut changes = changes(&source.stat, destination, &self.run().rules);
        let same_target = || {
            let same = special::same_target(&self);
            changes.contents |= !same;
            same
        };
        let mut decision = decide(&source.stat, destination, &self.run().rules, same_target);
        if let (true, Decision::Keep(_)) = (self.pair.planted, decision) {
            // Nothing of it may change, but everybody who can enter the directory then could read it.
            decision = match source.stat.kind {
                Kind::File => Decision::CompareContents,
                Kind::Fifo | Kind::Socket => Decision::Replace,
                _ => decision,
            };
        }
        let mut theirs = None;
        if let (Decision::CompareContents, Some(have)) = (decision, destination) {
            let same;
            (same, theirs) = Box::pin(self.same_contents(&source, have)).await?;
            changes.contents = !same;
            decision = if same { keep(&source.stat, have, &self.run().rules) } else { Decision::Replace };
        }
        let taken = match decision {
            Decision::Create => Some(Taken::Nothing),
            Decision::Replace => Some(Taken::Entry),
            _ => None,
        };
        if let Some(taken) = taken.filter(|_| !self.run().references.is_empty())
            && let Some(linked) = Box::pin(reference::link(&self, &source, taken)).await?
        {
            return Ok(linked);
        }
        if decision == Decision::Replace {
            changes = self.with_xattrs(&source.stat, changes);
        }
        let copied = match decision {
            Decision::Create => self.make(source, Taken::Nothing, Action::Created).await,
            Decision::Replace | Decision::CompareContents => {
                self.make(source, Taken::Entry, Action::Updated).await
            }
            Decision::ReplaceDirectory => {
                self.require_empty_directory()?;
                self.make(source, Taken::EmptyDirectory, Action::Updated).await
            }
            Decision::Keep(difference) => match destination {
                Some(have) => return self.mend(source, (have, theirs), difference).await,
                None => return Ok(Copied::skipped()),
            },
        };
        copied.map(|copied| Copied { changes, ..copied })
    }

    /// The changes, and those of attributes where these are to be told: what is replaced gets them anew in any case.
    pub(crate) fn with_xattrs(&self, source: &Stat, changes: Changes) -> Changes {
        let config = &self.run().config;
        if !config.details || !config.keep.xattrs || changes.new {
            return changes;
        }
        match (self.source_xattrs(source, None), self.destination_xattrs(None)) {
            (Ok(want), Ok(have)) => {
                let Changes { acl, xattrs, .. } = xattr::changes(&want, &have);
                Changes { acl, xattrs, ..changes }
            }
            _ => changes, // what can't be read is reported when it is needed
        }
    }

    /// Whether the destination's file, which is returned as well, holds what the source's does. One that can't be read is
    /// taken not to.
    async fn same_contents(&self, source: &Source, destination: &Stat) -> Result<(bool, Option<File>)> {
        match contents::compare(self, source, destination).await {
            Ok(compared) => Ok((compared.same, compared.theirs)),
            Err(Error { operation: Operation::OpenDestination | Operation::ReadDestination, .. }) => {
                Ok((false, None))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the entry anew.
    pub(crate) async fn make(self, source: Source, taken: Taken, action: Action) -> Result<Copied> {
        if self.run().config.dry_run {
            let bytes = if source.stat.kind == Kind::File { source.stat.data() } else { 0 };
            return Ok(Copied { action, bytes, ..Copied::skipped() });
        }
        if taken == Taken::Entry && source.stat.kind != Kind::File {
            backup::keep(&self).await?;
        }
        let copied = match source.stat.kind {
            Kind::File => {
                let (file, stat) = match source.file {
                    Some(file) => (file, source.stat),
                    None => self.open_file().await?,
                };
                copy_file::copy(self, &file, stat, taken).await?
            }
            Kind::Symlink => {
                self.lane.doing(Operation::Create);
                self.lane.io.in_place(Call::Create, || special::make_symlink(&self, &source.stat, taken))?
            }
            _ => {
                self.lane.doing(Operation::Create);
                self.lane.io.in_place(Call::Create, || special::make_node(&self, &source.stat, taken))?
            }
        };
        Ok(Copied { action, ..copied })
    }

    /// Requires that the directory in the way is empty, before anything is made to take its place.
    pub(crate) fn require_empty_directory(&self) -> Result<()> {
        match litter::is_empty(self.within()?, self.target())
            .at(Operation::OpenDestination, || self.path())?
        {
            true => Ok(()),
            false => Err(Error::new(Operation::Create, self.path(), Cause::DirectoryInTheWay)),
        }
    }

    /// Sets what differs of an entry whose contents are right. The destination's file may be open, to compare it.
    async fn mend(
        self,
        source: Source,
        (have, theirs): (&Stat, Option<File>),
        difference: Difference,
    ) -> Result<Copied> {
        let run = self.run();
        let wanted = || self.source_xattrs(&source.stat, source.file.as_ref());
        let xattrs = run.config.keep.xattrs.then(wanted).transpose()?;
        let (of_xattrs, grants) = match &xattrs {
            Some(want) => {
                let have = self.destination_xattrs(theirs.as_ref())?;
                (xattr::changes(want, &have), xattr::grants(want, &have))
            }
            None => (Changes::NONE, false),
        };
        let changes = Changes { acl: of_xattrs.acl, xattrs: of_xattrs.xattrs, ..difference.changes(have) };
        let mended = Copied { action: Action::Metadata, changes, ..Copied::skipped() };
        if difference.is_empty() && of_xattrs.is_empty() {
            if have.links > 1 && !run.links.may_share(have.inode, source.stat.inode) {
                return self.make(source, Taken::Entry, Action::Updated).await;
            }
            return Ok(Copied::unchanged());
        }
        // As for setuid: nobody's file gets a capability for having the size and time of one that has it.
        if have.links > 1 || grants {
            let copied = self.make(source, Taken::Entry, Action::Updated).await?;
            return Ok(Copied { changes, ..copied });
        }
        let gives = of_xattrs.acl || gives_more(&difference, have);
        if gives && !self.is_surely_ours(&source, have, &theirs).await? {
            return self.make(source, Taken::Entry, Action::Updated).await;
        }
        if run.config.dry_run {
            return Ok(mended);
        }
        self.lane.doing(Operation::SetTimes);
        let handle = self.handle(self.target())?;
        let now = stat_open(&handle).at(Operation::StatDestination, || self.path())?;
        if now.inode != have.inode || now.links > 1 {
            return Err(Error::new(Operation::OpenDestination, self.path(), Cause::TypeChanged));
        }
        let target = Target::Handle(handle.as_fd());
        self.lane.io.in_place(Call::Metadata, || {
            metadata::apply(target, &source.stat, &now, xattrs.as_ref(), false, &run.rules, || self.path())
        })?;
        Ok(mended)
    }

    /// Whether what the destination has is what a run put there, and may be given to others with the source's owner and
    /// mode. Where somebody else could have put it there, a file has to hold what the source does: its size and time may
    /// be chosen, to have another's secret given away. It is read, unless it was (`theirs`).
    async fn is_surely_ours(&self, source: &Source, have: &Stat, theirs: &Option<File>) -> Result<bool> {
        if theirs.is_some() || !self.pair.writers.could_plant(have) {
            return Ok(true);
        }
        match have.kind {
            Kind::File => Ok(Box::pin(self.same_contents(source, have)).await?.0),
            // What comes through it is nobody else's business.
            Kind::Fifo | Kind::Socket => Ok(false),
            _ => Ok(true),
        }
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
            None => Holder::Name(self.pair.source.as_fd(), &self.entry.name),
        };
        xattr::read_source(&holder, source, &self.run().rules, || self.source_path())
    }

    /// The destination's, in the same way.
    pub(crate) fn destination_xattrs(&self, open: Option<&File>) -> Result<xattr::Xattrs> {
        let holder = match open {
            Some(file) => Holder::Open(file.as_fd()),
            None => Holder::Name(self.within()?.as_fd(), self.target()),
        };
        xattr::read(&holder, self.run().rules.privileges.root, || self.path())
    }
}
