//! Making the destination's entry what the source's is: dispatches what the comparison says.

use std::os::fd::AsFd;

use crate::engine::entry::earlier::clone::Base;
use crate::engine::entry::earlier::{self, Earlier};
use crate::engine::entry::flags::{self, Found};
use crate::engine::entry::item::{Former, Item, SourceEntry};
use crate::engine::entry::new_file::room::Shortage;
use crate::engine::entry::{contents, copy_file, follow, hard_link, keep_old, read_back, special};
use crate::engine::own::{litter, refused, shed, trial};
use crate::engine::state::copied::Copied;
use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::event::metrics::Call;
use crate::event::{Action, Attributes, Changes, EntryEvent, Kind};
use crate::io::file::File;
use crate::io::rename::Taken;
use crate::metadata::xattr::Holder;
use crate::metadata::{self, HeldInode, Target, Wanted, xattr};
use crate::plan::compare::{Decision, Difference, changes, decide, differences, gives_more, keep};
use crate::plan::skip::is_left_alone;
use crate::stat::{Stat, stat_open};

impl Item<'_> {
    /// Makes the destination's entry what the source's is, and tells what that took.
    pub(crate) async fn mirror(self) -> EntryEvent {
        if self.entry.followed && self.led.is_none() {
            return Box::pin(follow::mirror(self)).await;
        }
        let mut kind = self.entry.kind;
        let mut found = None;
        let (mut is_absent, mut is_found) = (false, false);
        let result = async {
            let mut source = self.open_source().await?;
            kind = source.stat.kind;
            found = Some(source.stat);
            if !self.run().rules.keep.takes(kind) {
                return Ok(Copied::skipped());
            }
            if kind == Kind::File && !self.run().config.select.takes_size(source.stat.size) {
                return Ok(Copied::skipped());
            }
            if kind == Kind::Symlink && self.run().config.symlinks.skip_unsafe && follow::leads_out(&self)? {
                if self.pair.planted {
                    self.directory.mark_doubtful();
                }
                return Ok(Copied::skipped());
            }
            self.run().deletions.mark_source_has_entries();
            // Nearly no directory takes two names for one: the others do not pay for asking.
            let _turn = match self.pair.names {
                Some(_) => Box::pin(self.directory.take_turn(self.pair, self.target(), self.lane)).await?,
                None => None,
            };
            self.claim_name()?;
            let destination = self.stat_destination().await?;
            (is_absent, is_found) = (destination.is_none(), destination.is_some());
            let mode = self.kept_mode(&source.stat, destination.as_ref());
            if let Some(mode) = mode {
                source.stat.mode = mode.as_it_is;
            }
            let former = |have: Stat| Former { inode: have.inode, kind: have.kind, mode };
            let item = Item { old: destination.map(former), ..self };
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
            let has_names = source.stat.links > 1 && self.run().rules.keep.hard_links;
            if has_names && self.pair.exposed {
                let copied = Box::pin(item.mirror_one(source, destination.as_ref())).await?;
                Ok(copied.lacking(vec![hard_link::closed(&item)]))
            } else if has_names {
                hard_link::mirror(item, source, destination).await
            } else {
                item.mirror_one(source, destination.as_ref()).await
            }
        };
        let mut event = match result.await {
            Ok(mut copied) => {
                let taken = found.as_ref().filter(|_| copied.action != Action::Skipped);
                if let Some(mode) =
                    taken.and_then(|source| metadata::lack_of_mode(source, || self.source_path()))
                {
                    copied = copied.lacking(vec![mode]);
                }
                if let Some(applied) = &copied.applied {
                    self.run().tell_once(&self.pair.file_system, applied, || self.path()).await;
                }
                copied.event(kind)
            }
            Err(error) => EntryEvent::failed(kind, refused::explain(error, kind, (self.pair, self.target()))),
        };
        if is_absent && matches!(event.action, Action::Created | Action::Linked) && self.run().config.writes()
        {
            self.pair.count_compared(); // now it has it
        }
        let vanished = event.error.as_ref().is_some_and(|error| error.outcome() == Outcome::Vanished);
        if vanished && self.run().config.delete.is_some() {
            self.run().deletions.protect_vanished(self.directory.path_of(self.target()));
        }
        if vanished && is_found {
            self.pair.uncount_compared(); // the source has it no more
        }
        event.source = found.as_ref().map(Attributes::from);
        if kind == Kind::Symlink && event.points_to.is_none() && self.run().config.details {
            event.points_to = special::points_to(&self).ok();
        }
        event
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
        config.manifest().is_some()
    }

    /// Mirrors an entry that is not a further name of another one.
    pub(crate) async fn mirror_one(self, source: SourceEntry, destination: Option<&Stat>) -> Result<Copied> {
        let kind = source.stat.kind;
        let mut copied = self.bring_about(source, destination).await?;
        if kind == Kind::File && copied.hash.is_none() && self.lists_hashes() && !copied.is_left_out() {
            copied.hash = Some(Box::pin(read_back::hash_destination(&self)).await?);
        }
        Ok(copied)
    }

    /// Does what the comparison says.
    async fn bring_about(self, mut source: SourceEntry, destination: Option<&Stat>) -> Result<Copied> {
        let mut changes = changes(&source.stat, destination, &self.run().rules);
        let same_target = || {
            let same = special::same_target(&self);
            changes.contents |= !same;
            same
        };
        let mut decision = decide(&source.stat, destination, &self.run().rules, same_target);
        if decision == Decision::Replace
            && let Some(have) = destination
        {
            decision = self.judge_time(&source.stat, have)?;
        }
        if let (true, Decision::Keep(_) | Decision::Renew) = (self.pair.planted, decision) {
            // Nothing of it may change, but everybody who can enter the directory then could read it.
            decision = match source.stat.kind {
                Kind::File => Decision::CompareContents,
                Kind::Fifo | Kind::Socket => Decision::Replace,
                _ => decision,
            };
        }
        let (mut theirs, mut may_stay) = (None, !self.pair.planted);
        if let (Decision::CompareContents, Some(have)) = (decision, destination) {
            let same;
            (same, theirs) = Box::pin(self.same_contents(&source, have)).await?;
            (changes.contents, may_stay) = (!same, same);
            decision = if same { keep(&source.stat, have, &self.run().rules) } else { Decision::Replace };
        }
        let mut flags = Found::Same;
        if self.run().rules.keep.flags && matches!(decision, Decision::Keep(_)) {
            flags = Box::pin(flags::compare(&self, &mut source)).await?;
        }
        if matches!(flags, Found::Other) {
            changes.flags = true;
            decision = Decision::Replace;
        }
        if matches!(decision, Decision::Replace | Decision::Renew) {
            self.keep_mode_anew(&mut source.stat);
            let of_stat = self::changes(&source.stat, destination, &self.run().rules);
            changes.mode = of_stat.mode;
        }
        let mut base = None;
        let taken = match decision {
            Decision::Create => Some(Taken::Nothing),
            Decision::Replace | Decision::Renew => Some(Taken::Entry),
            _ => None,
        };
        if let (Decision::Renew, Some(have), true) = (decision, destination, may_stay)
            && let Some(lacks) = self.lacks_of_copy(&source, (have, &theirs))?
        {
            return Ok(Copied::unchanged().lacking(lacks));
        }
        if !self.run().references.is_empty() {
            let is_judged = matches!(decision, Decision::Keep(_)) && self.may_be_reused(&source.stat);
            if let Some(taken) = taken.or(is_judged.then_some(Taken::Entry))
                && let Some(earlier) = Box::pin(earlier::reuse(&self, &source, taken)).await?
            {
                match earlier {
                    Earlier::Done(done) => return Ok(done),
                    Earlier::Base(found) => base = Some(found),
                }
            }
            if decision == Decision::Create && self.run().config.details {
                let found = Box::pin(earlier::differs::differs(&self, &source)).await?;
                changes = found.unwrap_or(changes);
            }
        }
        if matches!(decision, Decision::Replace | Decision::Renew) {
            changes = self.with_xattrs(&source.stat, changes);
        }
        let copied = match decision {
            Decision::Create => self.make_from(base, source, Taken::Nothing, Action::Created).await,
            Decision::Replace | Decision::Renew | Decision::CompareContents => {
                self.make_from(base, source, Taken::Entry, Action::Updated).await
            }
            Decision::ReplaceDirectory => {
                self.require_empty_directory()?;
                self.make(source, Taken::EmptyDirectory, Action::Updated).await
            }
            Decision::Keep(mut difference) => match destination {
                Some(have) => {
                    let mask = self.keep_mask(&mut source.stat, have, &mut difference);
                    let mut mended = self.mend(source, (have, theirs), difference).await?;
                    if let Some(mask) = mask {
                        mended = mended.lacking(vec![mask]);
                    }
                    return Ok(if matches!(flags, Found::Same) { mended } else { flags.add_to(mended) });
                }
                None => return Ok(Copied::skipped()),
            },
        };
        copied.map(|copied| Copied { changes, ..copied })
    }

    /// Whether a file that the destination has, and that may be right, is looked for in earlier trees.
    fn may_be_reused(&self, source: &Stat) -> bool {
        source.kind == Kind::File && self.run().config.reuse.looks_at_all()
    }

    /// What a copy would lack that would have no more of its source's metadata than what is there.
    fn lacks_of_copy(
        &self,
        source: &SourceEntry,
        (have, theirs): (&Stat, &Option<File>),
    ) -> Result<Option<Vec<Error>>> {
        if !self.run().config.writes() {
            return Ok(None);
        }
        let wanted = || self.source_xattrs(&source.stat, source.file.as_ref());
        let xattrs = self.run().rules.keep.attributes().then(wanted).transpose()?;
        let have_xattrs = match xattrs {
            Some(_) => self.readable_xattrs(theirs.as_ref())?.ok(),
            None => Some(xattr::Xattrs::new()),
        };
        let wanted = Wanted { stat: &source.stat, xattrs: xattrs.as_ref() };
        trial::is_as_a_copy(self.place(), wanted, (have, have_xattrs.as_ref()))
    }

    /// The changes, and those of attributes where these are to be told: what is replaced gets them anew in any case.
    pub(crate) fn with_xattrs(&self, source: &Stat, changes: Changes) -> Changes {
        let config = &self.run().config;
        if !config.details || !self.run().rules.keep.attributes() || changes.new {
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
    async fn same_contents(&self, source: &SourceEntry, destination: &Stat) -> Result<(bool, Option<File>)> {
        match contents::compare(self, source, destination).await {
            Ok(compared) => Ok((compared.same, compared.theirs)),
            Err(Error { operation: Operation::OpenDestination | Operation::ReadDestination, .. }) => {
                Ok((false, None))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the entry anew.
    pub(crate) async fn make(&self, source: SourceEntry, taken: Taken, action: Action) -> Result<Copied> {
        self.make_from(None, source, taken, action).await
    }

    /// The same; a file as a clone of `base`, as far as that has what the source does.
    async fn make_from(
        &self,
        base: Option<Base>,
        mut source: SourceEntry,
        taken: Taken,
        action: Action,
    ) -> Result<Copied> {
        let has_all = base.as_ref().is_some_and(|base| base.has_all(&source.stat));
        self.keep_mode_anew(&mut source.stat);
        if !self.run().config.writes() {
            let is_copied = source.stat.kind == Kind::File && !has_all;
            let bytes = if is_copied { source.stat.data() } else { 0 };
            let reused = base.filter(|_| has_all).map(|base| base.reused(source.stat.size, true));
            return Ok(Copied { action, bytes, reused, ..Copied::skipped() });
        }
        if taken == Taken::Entry && source.stat.kind != Kind::File {
            keep_old::keep(self).await?;
        }
        let copied = match source.stat.kind {
            Kind::File => {
                let (file, stat) = match source.file {
                    Some(file) => (file, source.stat),
                    None => self.open_file().await?,
                };
                copy_file::copy(*self, &file, stat, (taken, base)).await?
            }
            _ => self.make_special(&source.stat, taken).await?,
        };
        Ok(Copied { action, ..copied })
    }

    /// Makes what is no file. It takes little room: where there is none, a large file may have it for a while.
    async fn make_special(&self, source: &Stat, taken: Taken) -> Result<Copied> {
        let mut shortage = Shortage::default();
        loop {
            shortage.begin(self);
            self.lane.doing(Operation::Create);
            let made = self.lane.io.in_place(Call::Create, || match source.kind {
                Kind::Symlink => special::make_symlink(self, source, taken),
                _ => special::make_node(self, source, taken),
            });
            match made {
                Err(error) => Box::pin(shortage.wait(self, None, error)).await?,
                made => return made,
            }
        }
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

    /// Has a mask of the destination's ACL stay as it is, where that ACL is not to be SRC's. Returns what the file lacks then.
    fn keep_mask(&self, source: &mut Stat, have: &Stat, difference: &mut Difference) -> Option<Error> {
        let holder = Holder::Name(self.pair.destination.as_ref()?.as_fd(), self.target());
        let faithful = self.pair.file_system.is_faithful;
        let mask = shed::keep_mask((source, have), (&holder, faithful), self.run(), || self.path())?;
        difference.mode = differences(source, have, &self.run().rules).mode;
        Some(mask)
    }

    /// Sets what differs of an entry whose contents are right. The destination's file may be open, to compare it.
    async fn mend(
        &self,
        source: SourceEntry,
        (have, theirs): (&Stat, Option<File>),
        difference: Difference,
    ) -> Result<Copied> {
        let run = self.run();
        let wanted = || self.source_xattrs(&source.stat, source.file.as_ref());
        let xattrs = run.rules.keep.attributes().then(wanted).transpose()?;
        let (of_xattrs, grants, unread) = match &xattrs {
            Some(want) => self.changes_of_xattrs(want, theirs.as_ref())?,
            None => (Changes::NONE, false, None),
        };
        let changes = Changes { acl: of_xattrs.acl, xattrs: of_xattrs.xattrs, ..difference.changes(have) };
        let mended = Copied { action: Action::Metadata, changes, ..Copied::skipped() };
        let lacks_of_source = || xattrs.as_ref().map_or_else(Vec::new, |xattrs| xattrs.lacks());
        if let (Some(unread), false) = (unread, run.config.writes()) {
            // Whether these differ is not known.
            let changes = Changes { xattrs: false, ..changes };
            let action = if changes.is_empty() { Action::Unchanged } else { Action::Metadata };
            let lacks = lacks_of_source().into_iter().chain([metadata::lack_of_unlisted(*unread)]);
            return Ok(Copied { action, changes, ..mended }.lacking(lacks.collect()));
        }
        if difference.is_empty() && of_xattrs.is_empty() {
            if have.links > 1 && !run.links.may_share(have.inode, self.identity(&source.stat)) {
                return self.make(source, Taken::Entry, Action::Updated).await;
            }
            let lacks = lacks_of_source();
            return Ok(if lacks.is_empty() {
                Copied::unchanged()
            } else {
                Copied::unchanged().lacking(lacks)
            });
        }
        // As for setuid: nobody's file gets a capability for having the size and time of one that has it.
        let gives = of_xattrs.acl || gives_more(&difference, have);
        let is_strange =
            have.links == 1 && !grants && gives && !self.is_surely_ours(&source, have, &theirs).await?;
        let holds_nothing = matches!(have.kind, Kind::Fifo | Kind::Socket);
        if (have.links > 1 || grants || is_strange && holds_nothing)
            && !self.pair.planted
            && let Some(lacks) = self.lacks_of_copy(&source, (have, &theirs))?
        {
            return Ok(Copied::unchanged().lacking(lacks));
        }
        if have.links > 1 || grants {
            let copied = self.make(source, Taken::Entry, Action::Updated).await?;
            return Ok(Copied { changes, ..copied });
        }
        if is_strange {
            return self.make(source, Taken::Entry, Action::Updated).await;
        }
        if !run.config.writes() {
            let lacks = lacks_of_source();
            return Ok(if lacks.is_empty() { mended } else { mended.lacking(lacks) });
        }
        self.lane.doing(Operation::SetTimes);
        let handle = self.handle(self.target())?;
        let now = stat_open(&handle).at(Operation::StatDestination, || self.path())?;
        if now.inode != have.inode || now.links > 1 {
            return Err(Error::new(Operation::OpenDestination, self.path(), Cause::TypeChanged));
        }
        let (inode, sure) = (HeldInode::Handle(handle.as_fd()), self.pair.file_system.is_sure(&source.stat));
        let (want, lack) = trial::spare_target(self.place(), &source.stat, now.modified)?;
        let wanted = Wanted { stat: &want, xattrs: xattrs.as_ref() };
        let program = self.pair.file_system.is_program;
        let target = Target { inode, have: &now, bare: false, sure, program };
        let apply = || metadata::apply(wanted, target, &run.rules, || self.path());
        let mut applied = self.lane.io.in_place(Call::Metadata, apply)?;
        applied.lacks.extend(lack);
        // What was refused, or has no effect, is no change.
        let changes = applied.changes;
        let action = if changes.is_empty() { Action::Unchanged } else { Action::Metadata };
        Ok(Copied { action, changes, ..mended }.with(applied))
    }

    /// What differs of the attributes, and whether that grants a privilege. Those that the destination does not show, with this
    /// error, are set anew, and are told then.
    fn changes_of_xattrs(
        &self,
        want: &xattr::Xattrs,
        theirs: Option<&File>,
    ) -> Result<(Changes, bool, Option<Box<Error>>)> {
        match self.readable_xattrs(theirs)? {
            Err(error) => {
                let none = xattr::Xattrs::new();
                let Changes { acl, .. } = xattr::changes(want, &none);
                let changes = Changes { acl, xattrs: true, ..Changes::NONE };
                Ok((changes, xattr::grants(want, &none), Some(error)))
            }
            Ok(have) => Ok((xattr::changes(want, &have), xattr::grants(want, &have), None)),
        }
    }

    /// The destination's attributes, or why it does not show them.
    fn readable_xattrs(&self, theirs: Option<&File>) -> Result<Result<xattr::Xattrs, Box<Error>>> {
        match self.destination_xattrs(theirs) {
            Err(error) if error.errno().is_some_and(metadata::is_refusal) => Ok(Err(Box::new(error))),
            have => have.map(Ok),
        }
    }

    /// Whether what the destination has is what a run put there, and may be given to others with the source's owner and
    /// mode. Where somebody else could have put it there, a file has to hold what the source does: its size and time may
    /// be chosen, to have another's secret given away. It is read, unless it was (`theirs`).
    async fn is_surely_ours(&self, source: &SourceEntry, have: &Stat, theirs: &Option<File>) -> Result<bool> {
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
}
