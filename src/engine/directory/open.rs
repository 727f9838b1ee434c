//! Opening directories: by the first who needs one, together with those above it.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::MutexGuard;

use crate::engine::Run;
use crate::engine::run::heed::heed;
use crate::engine::run::lane::Lane;
use crate::engine::state::directory::{Directory, State};
use crate::engine::state::pair::Pair;
use crate::engine::state::watched::patiently;
use crate::error::{Cause, Context, Operation, Result};
use crate::event::{Action, Entries, EntryEvent, Event, Kind};
use crate::roots::several::Parent;
use crate::stat::{proc_path, stat_open};

impl Directory {
    /// Its state; `None` if the task that has it does not come back.
    pub(crate) async fn lock(&self, lane: &Lane) -> Option<MutexGuard<'_, State>> {
        patiently(|| self.state.lock(), &self.given_up, lane.watched()).await
    }

    /// Opens it, and makes it in the destination, together with the parents that nobody needed yet. `None`: that has
    /// failed, now or before, and been reported.
    pub(crate) async fn open(self: &Arc<Self>, lane: &Lane) -> Option<Arc<Pair>> {
        let mut closed = Vec::new();
        let mut directory = self;
        let mut pair = loop {
            match &*directory.lock(lane).await? {
                State::Open(pair) => break pair.clone(),
                State::Failed | State::Finished => return None,
                State::Closed | State::Evicted(_) => {}
            }
            closed.push(directory);
            directory = directory.parent.as_ref()?;
        };
        for directory in closed.into_iter().rev() {
            pair = directory.open_in(&pair, lane).await?;
        }
        Some(pair)
    }

    async fn open_in(&self, parent: &Pair, lane: &Lane) -> Option<Arc<Pair>> {
        let mut state = self.lock(lane).await?;
        match &*state {
            State::Open(pair) => return Some(pair.clone()),
            State::Failed | State::Finished => return None,
            State::Closed | State::Evicted(_) => {}
        }
        if let Some(watched) = lane.watched() {
            watched.mark_awaited(&self.given_up);
        }
        let made = match (&*state, &self.around) {
            (State::Evicted(evicted), _) => self.open_again(evicted, parent, lane).await.map(Some),
            (_, Some(around)) => self.look_from(around, parent, lane).map(Some),
            _ => lane.with_room(async || self.make_pair(parent, lane).await).await,
        };
        if let Some(watched) = lane.watched() {
            watched.unmark_awaited();
        }
        let event = match made {
            Ok(Some(pair)) => {
                let pair = Arc::new(pair);
                *state = State::Open(pair.clone());
                if lane.run.directories.opened() {
                    self.evict_above(&lane.run);
                }
                return Some(pair);
            }
            Ok(None) => EntryEvent::done(Kind::Directory, Action::Skipped),
            Err(error) => {
                if error.tells_vanished() && !lane.run.config.checks() {
                    self.mark_vanished();
                }
                EntryEvent::failed(Kind::Directory, error)
            }
        };
        *state = State::Failed;
        match event.error {
            Some(error) if self.implied => lane.run.report(Event::Failed(*error)).await, // it is no entry
            _ => self.report(event, lane).await,
        }
        None
    }

    /// Opens the directory around sources, whose destination is that of the directory above. The walk has just been there:
    /// this is answered by the cache.
    fn look_from(&self, around: &Parent, parent: &Pair, lane: &Lane) -> Result<Pair> {
        lane.doing(Operation::OpenSource);
        let source = match self.take_lent(&lane.run) {
            Some(fd) => fd,
            None => Arc::new(around.open().at(Operation::OpenSource, || &around.path)?),
        };
        Ok(parent.seen_from(source))
    }

    /// Opens its source by its name, which may be that of a symlink that is followed.
    pub(crate) async fn hold_source(&self, parent: &Pair, lane: &Lane) -> Result<OwnedFd, Cause> {
        let above = self.parent.as_ref().filter(|_| self.followed.load(Ordering::Relaxed));
        let Some(above) = above else {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            return Ok(lane.io.open(&parent.source, &self.name, flags).await?);
        };
        let led = lane.run.way_to(above, &self.name)?.go()?.allowed()?;
        if led.stat.kind == Kind::Directory { Ok(led.fd) } else { Err(Cause::TypeChanged) }
    }

    /// Its source, if the walk has left it open.
    pub(crate) fn take_lent(&self, run: &Run) -> Option<Arc<OwnedFd>> {
        let lent = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        lent.inspect(|_| run.directories.give_back())
    }

    pub(crate) async fn report(&self, mut event: EntryEvent, lane: &Lane) {
        if lane.is_lost() {
            return; // it has been reported
        }
        lane.run.heed(&mut event);
        heed(&event, self, &lane.run);
        let entries = Entries { directory: self.path(), events: vec![event] };
        lane.outbox.put(entries, &lane.run).await;
        if lane.watched().is_some() {
            lane.outbox.send(&lane.run).await; // a thread that is lost sends nothing any more
        }
    }

    /// The destination directory again, after it was finished: for a hard link to a name in it.
    pub(crate) async fn reopen(self: &Arc<Self>, lane: &Lane) -> rustix::io::Result<Arc<OwnedFd>> {
        let mut names = Vec::new();
        let mut directory = self;
        let mut fd = loop {
            if let State::Open(pair) = &*directory.lock(lane).await.ok_or(Errno::NOENT)? {
                break pair.destination.clone().ok_or(Errno::NOENT)?;
            }
            if directory.kept_link.load(Ordering::Relaxed) {
                let held = lane.run.hold_in_destination(&directory.path());
                break Arc::new(held.map_err(|_| Errno::NOENT)?);
            }
            if directory.around.is_none() {
                names.push(&directory.name);
            }
            directory = directory.parent.as_ref().ok_or(Errno::NOENT)?;
        };
        for name in names.into_iter().rev() {
            fd = Arc::new(lane.io.open(&fd, name, OFlags::PATH | OFlags::DIRECTORY).await?);
        }
        Ok(fd)
    }
}

/// Opens a destination directory, if need be after giving its owner, who is not root, the right to. Returns whether that
/// was done.
pub(crate) async fn open_destination(
    lane: &Lane,
    within: &Arc<OwnedFd>,
    name: &CStr,
) -> rustix::io::Result<(OwnedFd, bool)> {
    match lane.io.open(within, name, OFlags::RDONLY | OFlags::DIRECTORY).await {
        Err(Errno::ACCESS) if lane.run.config.writes() => {
            let handle = lane.io.open(within, name, OFlags::PATH | OFlags::DIRECTORY).await?;
            let mode = Mode::from_raw_mode(stat_open(&handle)?.mode) | Mode::RWXU;
            rustix::fs::chmodat(rustix::fs::CWD, proc_path(&handle), mode, AtFlags::empty())?;
            let opened = lane.io.open(within, name, OFlags::RDONLY | OFlags::DIRECTORY).await?;
            Ok((opened, true))
        }
        other => Ok((other?, false)),
    }
}
