//! Completing directories: the last of its children to end gives a directory its metadata, and so on up the tree; the end
//! of the root is the end of the run.

pub(crate) mod count;
pub(crate) mod flush;

use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rustix::io::Errno;

use crate::engine::delete::{collect, extras};
use crate::engine::directory::earlier;
use crate::engine::directory::merge::merge;
use crate::engine::own::litter;
use crate::engine::run::lane::Lane;
use crate::engine::state::directory::{Directory, State};
use crate::engine::state::pair::{Pair, opens_up};
use crate::engine::state::watched::{Remains, Step};
use crate::engine::{Run, check};
use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::metrics::{Call, Means};
use crate::event::{Action, Changes, EntryEvent, Event, Kind};
use crate::io::rename::rename_free;
use crate::metadata::flags;
use crate::metadata::xattr::{self, has_default_acl};
use crate::metadata::{self, Applied, HeldInode, Target, Wanted};
use crate::plan::compare::differences;
use crate::stat::Stat;

impl Directory {
    /// Ends one batch, the walk's interest, or a subdirectory. The last one to end sets the metadata, and so on up
    /// the tree; the end of the root is the end of the run.
    pub(crate) async fn release(self: &Arc<Self>, lane: &Lane) {
        let mut directory = self;
        let mut nothing = Remains::default();
        while directory.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            let work = pin!(directory.finish(lane));
            let finished = lane.at_work(directory, || Step::Finish, &mut nothing, work);
            if finished.await.is_none() {
                return; // another thread goes on
            }
            match &directory.parent {
                Some(parent) => directory = parent,
                None => return directory.end_run(lane).await,
            }
        }
        directory.evict_idle(&lane.run);
    }

    /// The root is done, and with it the run.
    async fn end_run(self: &Arc<Self>, lane: &Lane) {
        let run = &lane.run;
        if run.config.fsync && !run.stop.is_stopped() && run.config.writes() {
            let mut nothing = Remains::default();
            let flush = lane.io.hand_over(Call::Flush, Means::Thread, flush::flush_all(run), |()| 0);
            let flushed = lane.at_work(self, || Step::Flush, &mut nothing, flush);
            if flushed.await.is_none() {
                return;
            }
        }
        check::report_rest(lane).await;
        if !run.stop.is_stopped() {
            run.tell_idle_rules().await;
        }
        run.close();
    }

    async fn finish(self: &Arc<Self>, lane: &Lane) {
        if lane.run.stop.is_stopped() {
            self.finish_early(lane).await;
        } else if self.around.is_some() {
            drop(self.take_lent(&lane.run)); // its destination is another one's, which goes on
        } else if let Some(pair) = self.open(lane).await {
            // One without entries has not been needed by anybody until now.
            pair.remove_obsolete(&lane.run);
            report_set_aside(self, &pair, lane).await;
            if self.is_gone() {
                let path = lane.run.source_path_of(self);
                let error = Error::new(Operation::ListSource, path, Errno::NOENT);
                lane.run.report(Event::Failed(error)).await;
            }
            if !self.implied {
                // Under its temporary name it stays its owner's alone, which is how the next run tells litter.
                lane.doing(Operation::SetTimes);
                let placed = self.give_name_to_directory(&pair, lane).await;
                let set =
                    |pair: &Pair| lane.io.in_place(Call::Metadata, || self.set_metadata(pair, &lane.run));
                let set = match placed {
                    Ok(pair) => lane.with_room(async || set(&pair)).await,
                    Err(error) => Err(error),
                };
                let event = match set {
                    Ok((action, changes, applied)) => {
                        let path = || lane.run.destination_path(&self.path());
                        lane.run.tell_once(&pair.file_system, &applied, path).await;
                        EntryEvent::changed(Kind::Directory, action, changes).lacking(applied.lacks)
                    }
                    Err(error) => EntryEvent::failed(Kind::Directory, error),
                };
                self.report(event.of(&pair.source_stat), lane).await;
                if lane.run.config.delete.is_some() {
                    collect::collect(self, &pair, lane).await;
                }
                if lane.run.judges_extras() && self.elsewhere.load(Ordering::Relaxed) {
                    extras::tell_kept(self, &pair, lane).await;
                }
                if lane.run.config.checks() && !self.unlisted.load(Ordering::Relaxed) {
                    extras::report(self, &pair, lane).await;
                }
            }
        } else if self.lock(lane).await.is_some_and(|state| matches!(*state, State::Closed)) {
            // One above it has failed.
            self.report(EntryEvent::done(Kind::Directory, self.action_without()), lane).await;
        }
        if self.parent.is_none() && !lane.run.stop.is_stopped() {
            lane.run.tell_left_mounts().await;
        }
        if self.parent.is_none()
            && lane.run.config.delete.is_some()
            && lane.run.roots.single.is_none()
            && !lane.run.stop.is_stopped()
        {
            lane.outbox.send(&lane.run).await; // what was done is told before what is deleted
            Box::pin(collect::carry_out(lane)).await;
        }
        if let Some(mut state) = self.lock(lane).await
            && let State::Open(_) = std::mem::replace(&mut *state, State::Finished)
        {
            lane.run.directories.closed();
        }
    }

    /// After a stop the directory may be incomplete. It keeps the time that tells the next run so; what it has goes under
    /// its own name.
    async fn finish_early(&self, lane: &Lane) {
        let pair = match self.lock(lane).await.as_deref() {
            Some(State::Open(pair)) => pair.clone(),
            _ => return,
        };
        if let Err(error) = self.give_name_to_directory(&pair, lane).await {
            self.report(EntryEvent::failed(Kind::Directory, error), lane).await;
        }
    }

    /// Gives a provisional directory its name, and returns the pair to go on with: another one, where another run has made a
    /// directory of this name meanwhile. No file in it may be half written: its one batch must be between two entries, or
    /// at its end.
    pub(crate) async fn give_name_to_directory(&self, pair: &Arc<Pair>, lane: &Lane) -> Result<Arc<Pair>> {
        let (Some(provisional), Some(parent)) = (&pair.provisional, &self.parent) else {
            return Ok(pair.clone());
        };
        if pair.placed.swap(true, Ordering::Relaxed) {
            return Ok(pair.clone());
        }
        let path = || lane.run.destination_path(&self.path());
        let parent = parent.open(lane).await.ok_or(Errno::NOENT).at(Operation::Rename, path)?;
        let within = parent.changing().at(Operation::Rename, path)?;
        // Not even an empty one is replaced: its run has it open, to make files in it.
        let rename = || rename_free(within, provisional, within, &self.name).at(Operation::Rename, path);
        let merged = match lane.with_room(async || rename()).await {
            Ok(()) => return Ok(pair.clone()),
            Err(error) if matches!(error.errno(), Some(Errno::EXIST | Errno::NOTEMPTY)) => {
                merge(self, (pair, &parent), (within, provisional), lane).await
            }
            Err(error) => Err(error),
        };
        let merged = merged.inspect_err(|_| litter::remove_directory(within, provisional, &lane.run))?;
        if let Some(mut state) = self.lock(lane).await
            && let State::Open(pair) = &mut *state
        {
            *pair = merged.clone();
        }
        Ok(merged)
    }

    /// Refuses to open a directory to more users if others could have put it there, or filled it, and it holds what the
    /// source does not have, or what was not looked at: it may be somebody's private one, under another name. What it
    /// holds of the source's was compared when its turn came.
    fn refuse_planted(
        &self,
        pair: &Pair,
        destination: &OwnedFd,
        want: &Stat,
        run: &Run,
    ) -> Result<(), Cause> {
        if pair.planted && count::count_done(destination, run)? != pair.compared() {
            self.mark_doubtful(); // and so are those above it
        }
        if !self.doubtful.load(Ordering::Relaxed) {
            return Ok(());
        }
        if pair.taken {
            return Err(Cause::Withheld(
                "it was another user's, and stays closed until a run has no error in it",
            ));
        }
        let Some(before) = pair.before().filter(|_| pair.planted) else { return Ok(()) };
        match opens_up(destination, before, (want, pair.source_xattrs.as_ref()), &run.rules)? {
            true => Err(Cause::Withheld(
                "others may write where it lies, and could have renamed it; it holds more than SRC has, or what failed, \
                 and is not given SRC's owner and mode",
            )),
            false => Ok(()),
        }
    }

    /// Gives a directory the flag of its source: new entries inherit it. Returns whether it differed, and what it lacks.
    fn give_flags(&self, pair: &Pair, destination: &OwnedFd, run: &Run) -> Result<(bool, Option<Error>)> {
        if !run.rules.keep.flags {
            return Ok((false, None));
        }
        // What can't be opened is not known to differ.
        let opened = (flags::open_directory(&pair.source), flags::open_directory(destination));
        let (Ok(source), Ok(destination)) = opened else { return Ok((false, None)) };
        let want = flags::is_nocow(source);
        if flags::is_nocow(&destination) == want {
            return Ok((false, None));
        }
        if !run.config.writes() {
            return Ok((true, None));
        }
        match flags::set_nocow(destination, want) {
            Ok(()) => Ok((true, None)),
            Err(errno) if metadata::is_refusal(errno) => {
                let lack = NotKept::refused(Property::Flags, flags::text(want), errno);
                let path = run.destination_path(&self.path());
                Ok((false, Some(Error::new(Operation::SetFlags, path, Cause::from(lack)))))
            }
            Err(errno) => Err(errno).at(Operation::SetFlags, || run.destination_path(&self.path())),
        }
    }

    fn set_metadata(&self, pair: &Pair, run: &Run) -> Result<(Action, Changes, Applied)> {
        let made = match (pair.replaced, pair.fresh) {
            (true, _) => Some(Action::Updated),
            (false, true) => Some(Action::Created),
            (false, false) => None,
        };
        let made = made.map(|action| match action {
            Action::Created => (action, earlier::changes(self, pair, run)),
            action => (action, Changes::NEW),
        });
        let Some(destination) = &pair.destination else {
            let (action, changes) =
                made.unwrap_or_else(|| (Action::Created, earlier::changes(self, pair, run)));
            return Ok((action, changes, Applied::default()));
        };
        let path = || run.destination_path(&self.path());
        let have = pair.destination_stat(destination).at(Operation::StatDestination, path)?;
        let mut want = pair.source_stat;
        let broken_off = pair.broken_off.load(Ordering::Relaxed);
        if broken_off {
            want.modified = have.modified; // the next run is to see that there is something left in it
        }
        let xattrs = pair.source_xattrs.as_ref();
        let (inode, mut applied) = (HeldInode::Open(destination.as_fd()), Applied::default());
        let changes = if !run.config.writes() {
            let of_xattrs = match xattrs {
                Some(want) => {
                    applied.lacks.extend(want.lacks());
                    xattr::changes(want, &xattr::read(&inode.into(), run.rules.privileges.namespaces, path)?)
                }
                None => Changes::NONE,
            };
            let of_stat = differences(&want, &have, &run.rules).changes(&have);
            let (flags, _) = self.give_flags(pair, destination, run)?;
            Changes { acl: of_xattrs.acl, xattrs: of_xattrs.xattrs, flags, ..of_stat }
        } else {
            self.refuse_planted(pair, destination, &want, run).at(Operation::SetOwner, path)?;
            let of_flags = self.give_flags(pair, destination, run)?;
            let bare = pair.fresh && !has_default_acl(destination);
            let (sure, program) = (pair.file_system.is_sure(&want), pair.file_system.is_program);
            let target = Target { inode, have: &have, bare, sure, program };
            applied = metadata::apply(Wanted { stat: &want, xattrs }, target, &run.rules, path)?;
            applied.lacks.extend(of_flags.1);
            applied.lacks.extend(metadata::lack_of_mode(&want, || run.source_path(&self.path())));
            let set = Changes { flags: of_flags.0, ..applied.changes };
            // What this run has moved, and set again, is no difference between the trees, and what it took away at first is.
            pair.before().map_or(set, |before| {
                let of_stat = differences(&want, before, &run.rules).changes(before);
                let Changes { times, mode, owner, group, .. } = without(of_stat, &applied);
                let mode = mode && applied.mode != before.mode;
                let times = times && applied.rounded.is_none_or(|(_, now)| now != before.modified);
                Changes { times: times && !broken_off, mode, owner, group, ..set }
            })
        };
        let action = if changes.is_empty() { Action::Unchanged } else { Action::Metadata };
        let (action, changes) = made.unwrap_or((action, changes));
        Ok((action, changes, applied))
    }
}

/// What differs, less what could not be set.
fn without(changes: Changes, applied: &Applied) -> Changes {
    let lacks = |property| {
        let is_it = |error: &Error| matches!(&error.cause, Cause::NotKept(lack) if lack.property == property);
        applied.lacks.iter().any(is_it)
    };
    Changes {
        times: changes.times && !lacks(Property::DirectoryTimes),
        mode: changes.mode && !lacks(Property::Mode),
        owner: changes.owner && !lacks(Property::Owner) && !applied.squashed,
        group: changes.group && !lacks(Property::Owner) && !applied.squashed,
        ..changes
    }
}

/// Reports what killed runs have replaced in a directory, where this run does not delete it.
async fn report_set_aside(directory: &Directory, pair: &Pair, lane: &Lane) {
    let names = std::mem::take(&mut *pair.set_aside.lock().unwrap_or_else(PoisonError::into_inner));
    for name in names.iter().filter(|_| lane.run.config.delete.is_none()) {
        let path = lane.run.destination_path(&directory.path_of(name));
        let error = Error::new(Operation::Remove, path, Cause::SetAside);
        lane.run.report(Event::Failed(error)).await;
    }
}
