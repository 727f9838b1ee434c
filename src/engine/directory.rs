//! A directory of both trees. It is opened, and made in the destination, by the first task that needs it (open_pair.rs); the
//! last one completes it (finish.rs).

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::sync::MutexGuard;

use crate::engine::pair::{Pair, Parked};
use crate::engine::worker::Lane;
use crate::engine::{Run, delete, watch};
use crate::error::{Context, Operation, Result};
use crate::event::{Action, Entries, EntryEvent, Event, Kind};
use crate::roots::several::Parent;
use crate::select::Scope;

/// One directory of the source tree and the one that mirrors it.
pub(crate) struct Directory {
    pub(super) parent: Option<Arc<Directory>>,
    pub(super) name: CString,
    /// Directories above it.
    pub(super) depth: usize,
    /// The walk, the batches under way, and the subdirectories that are not done.
    pub(super) pending: AtomicUsize,
    pub(super) state: tokio::sync::Mutex<State>,
    /// The directories around what the user named are the user's: they are not mirrored themselves.
    pub(super) implied: bool,
    /// Where sources lie that are put into the directory above: it is that one's name, and has none of its own.
    pub(super) around: Option<Arc<Parent>>,
    /// Its source, as the walk opened it, until somebody needs it.
    source: Mutex<Option<Arc<OwnedFd>>>,
    /// What of it is mirrored, if there are rules.
    scope: OnceLock<Arc<Scope>>,
    /// What of its mirror is kept, by the files of rules that are there.
    pub(super) kept: OnceLock<Arc<Scope>>,
    /// It has no subdirectories, and its entries are one batch.
    pub(super) leaf: AtomicBool,
    /// Its name is on stable storage: `--fsync`.
    pub(super) name_is_durable: AtomicBool,
    /// Not all of its names are known.
    pub(super) unlisted: AtomicBool,
    /// Something in it failed, or was left alone.
    pub(super) doubtful: AtomicBool,
    /// The thread that opens or finishes it does not come back.
    given_up: Arc<AtomicBool>,
}

pub(super) enum State {
    /// Nobody needed it yet.
    Closed,
    Open(Arc<Pair>),
    /// It was open, and is to be opened again when it is needed: descriptors are scarce.
    Parked(Parked),
    /// It could not be opened or made, or is left alone; that has been reported.
    Failed,
    /// Its metadata is set. Its descriptors are closed.
    Finished,
}

impl Drop for Directory {
    /// Lets go of the parents one by one: a chain of many thousands would otherwise be dropped by recursion.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut directory) = parent.and_then(Arc::into_inner) {
            parent = directory.parent.take();
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.path()).finish()
    }
}

impl Directory {
    fn new(parent: Option<Arc<Directory>>, name: CString, state: State, implied: bool) -> Self {
        let depth = parent.as_ref().map_or(0, |parent| parent.depth + 1);
        Directory {
            parent,
            name,
            depth,
            pending: AtomicUsize::new(1),
            state: tokio::sync::Mutex::new(state),
            implied,
            around: None,
            source: Mutex::default(),
            scope: OnceLock::new(),
            kept: OnceLock::new(),
            leaf: AtomicBool::new(false),
            name_is_durable: AtomicBool::new(false),
            unlisted: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            given_up: Arc::default(),
        }
    }

    /// The two roots.
    pub(crate) fn root(pair: Pair, implied: bool) -> Arc<Self> {
        Arc::new(Directory::new(None, CString::default(), State::Open(Arc::new(pair)), implied))
    }

    /// A subdirectory, which keeps `parent` open until it is done.
    pub(crate) fn child(parent: &Arc<Directory>, name: CString) -> Arc<Self> {
        parent.hold();
        Arc::new(Directory::new(Some(parent.clone()), name, State::Closed, false))
    }

    /// The directory around sources that are put into `root`'s destination. As its depth is that of `root`, it is never
    /// parked.
    pub(crate) fn around(root: &Arc<Directory>, around: Arc<Parent>) -> Arc<Self> {
        root.hold();
        let mut directory = Directory::new(Some(root.clone()), CString::default(), State::Closed, true);
        (directory.depth, directory.around) = (root.depth, Some(around));
        Arc::new(directory)
    }

    pub(super) fn parent(&self) -> Option<&Arc<Directory>> {
        self.parent.as_ref()
    }

    /// Takes the source directory over from the walk, where there are descriptors for that.
    pub(crate) fn take_source(&self, fd: &Arc<OwnedFd>, run: &Run) {
        if run.directories.lend() {
            *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(fd.clone());
        }
    }

    /// Rules that hold in it: known before any of its entries is sent.
    pub(crate) fn set_scope(&self, scope: Option<Arc<Scope>>) {
        if let Some(scope) = scope {
            self.scope.get_or_init(|| scope);
        }
    }

    /// Rules that its mirror has itself, for what is only there.
    pub(super) fn set_kept(&self, scope: Scope) {
        self.kept.get_or_init(|| Arc::new(scope));
    }

    /// All rules by which something that only its mirror has may stay.
    pub(super) fn scopes(&self) -> Vec<Arc<Scope>> {
        self.scope.get().into_iter().chain(self.kept.get()).cloned().collect()
    }

    pub(crate) fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.get()
    }

    /// Not everything in it, and so in those above, was looked at, or brought about. What others may have put there is not
    /// given away then.
    pub(super) fn mark_doubtful(&self) {
        let mut next = Some(self);
        while let Some(directory) = next {
            directory.doubtful.store(true, Ordering::Relaxed);
            next = directory.parent.as_deref();
        }
    }

    /// The walk found one batch of entries in it and no subdirectory.
    pub(crate) fn is_leaf(&self) {
        self.leaf.store(true, Ordering::Relaxed);
    }

    /// The task that opens or finishes it does not come back: nobody is to wait for that.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    /// A thread that does not come back may leave something in it, for the next run to remove.
    pub(super) fn leaves_traces(&self) {
        if let Ok(state) = self.state.try_lock()
            && let State::Open(pair) = &*state
        {
            pair.leaves_partial();
        }
    }

    /// Its state; `None` if the task that has it does not come back.
    pub(super) async fn lock(&self, lane: &Lane) -> Option<MutexGuard<'_, State>> {
        watch::patiently(|| self.state.lock(), &self.given_up, lane.watched()).await
    }

    /// The walk could not list all of it.
    pub(crate) fn is_unlisted(&self, run: &Run) {
        self.unlisted.store(true, Ordering::Relaxed);
        if run.config.delete.is_some() {
            run.deletions.protect(self.path());
        }
    }

    /// One more batch is under way.
    pub(crate) fn hold(&self) {
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Undoes a `hold` that came to nothing, while another one lasts.
    pub(crate) fn drop_hold(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// The path below the roots.
    pub(crate) fn path(&self) -> PathBuf {
        let mut names = Vec::new();
        let mut directory = self;
        while let Some(parent) = &directory.parent {
            if directory.around.is_none() {
                names.push(std::ffi::OsStr::from_bytes(directory.name.to_bytes()));
            }
            directory = parent;
        }
        names.into_iter().rev().collect()
    }

    /// Whether it is a directory around sources.
    pub(crate) fn is_around(&self) -> bool {
        self.around.is_some()
    }

    /// Where in the source it lies, as the user would name it.
    pub(crate) fn source_path(&self, run: &Run) -> PathBuf {
        match &self.around {
            Some(around) => around.path.clone(),
            None => run.source_path(&self.path()),
        }
    }

    /// The path of a name in it, below the roots.
    pub(crate) fn path_of(&self, name: &CStr) -> PathBuf {
        self.path().join(std::ffi::OsStr::from_bytes(name.to_bytes()))
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
                State::Closed | State::Parked(_) => {}
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
            State::Closed | State::Parked(_) => {}
        }
        if let Some(watched) = lane.watched() {
            watched.is_awaited(&self.given_up);
        }
        let made = match (&*state, &self.around) {
            (State::Parked(parked), _) => self.open_again(parked, parent, lane).await.map(Some),
            (_, Some(around)) => self.look_from(around, parent, lane).map(Some),
            _ => self.make_pair(parent, lane).await,
        };
        if let Some(watched) = lane.watched() {
            watched.is_awaited_no_more();
        }
        let event = match made {
            Ok(Some(pair)) => {
                let pair = Arc::new(pair);
                *state = State::Open(pair.clone());
                if lane.run.directories.opened() {
                    self.park_above(&lane.run);
                }
                return Some(pair);
            }
            Ok(None) => EntryEvent::done(Kind::Directory, Action::Skipped),
            Err(error) => EntryEvent::failed(Kind::Directory, error),
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

    /// Its source, if the walk has left it open.
    pub(super) fn take_lent(&self, run: &Run) -> Option<Arc<OwnedFd>> {
        let lent = self.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        lent.inspect(|_| run.directories.give_back())
    }

    pub(super) async fn report(&self, event: EntryEvent, lane: &Lane) {
        if lane.is_lost() {
            return; // it has been reported
        }
        lane.run.heed(&event);
        delete::heed(&event, self, &lane.run);
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
