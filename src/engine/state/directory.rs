//! A directory of both trees. It is opened, and made in the destination, by the first task that needs it
//! (engine/directory/make.rs); the last one completes it (engine/finish).

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::engine::state::pair::{Evicted, Pair};
use crate::event::Action;
use crate::roots::several::Parent;
use crate::select::Scope;

/// One directory of the source tree and the one that mirrors it.
pub(crate) struct Directory {
    pub(crate) parent: Option<Arc<Directory>>,
    pub(crate) name: CString,
    /// Directories above it.
    pub(crate) depth: usize,
    /// The walk, the batches under way, and the subdirectories that are not done.
    pub(crate) pending: AtomicUsize,
    pub(crate) state: tokio::sync::Mutex<State>,
    /// The directories around what the user named are the user's: they are not mirrored themselves.
    pub(crate) implied: bool,
    /// Where sources lie that are put into the directory above: it is that one's name, and has none of its own.
    pub(crate) around: Option<Arc<Parent>>,
    /// Its source is a symlink to a directory.
    pub(crate) followed: AtomicBool,
    /// Its mirror is what a symlink leads to.
    pub(crate) kept_link: AtomicBool,
    /// Its source, as the walk opened it, until somebody needs it.
    pub(crate) source: Mutex<Option<Arc<OwnedFd>>>,
    /// What of it is mirrored, if there are rules.
    scope: OnceLock<Arc<Scope>>,
    /// What of its mirror is kept, by the files of rules that are there.
    pub(crate) kept: OnceLock<Arc<Scope>>,
    /// It has no subdirectories, and its entries are one batch.
    pub(crate) leaf: AtomicBool,
    /// Its name is on stable storage: `--fsync`.
    pub(crate) name_is_durable: AtomicBool,
    /// Not all of its names are known.
    pub(crate) unlisted: AtomicBool,
    /// It was not in the source any more when it was to be listed.
    gone: AtomicBool,
    /// It could not be opened, since the source does not have it any more.
    vanished: AtomicBool,
    /// It lies on a file system that is left out.
    pub(crate) elsewhere: AtomicBool,
    /// Something in it failed, or was left alone.
    pub(crate) doubtful: AtomicBool,
    /// The thread that opens or finishes it does not come back.
    pub(crate) given_up: Arc<AtomicBool>,
}

pub(crate) enum State {
    /// Nobody needed it yet.
    Closed,
    Open(Arc<Pair>),
    /// It was open, and is to be opened again when it is needed: descriptors are scarce.
    Evicted(Evicted),
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
            followed: AtomicBool::new(false),
            kept_link: AtomicBool::new(false),
            source: Mutex::default(),
            scope: OnceLock::new(),
            kept: OnceLock::new(),
            leaf: AtomicBool::new(false),
            name_is_durable: AtomicBool::new(false),
            unlisted: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            vanished: AtomicBool::new(false),
            elsewhere: AtomicBool::new(false),
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
    /// evicted.
    pub(crate) fn around(root: &Arc<Directory>, around: Arc<Parent>) -> Arc<Self> {
        root.hold();
        let mut directory = Directory::new(Some(root.clone()), CString::default(), State::Closed, true);
        (directory.depth, directory.around) = (root.depth, Some(around));
        Arc::new(directory)
    }

    pub(crate) fn parent(&self) -> Option<&Arc<Directory>> {
        self.parent.as_ref()
    }

    /// The walk has come to it through a symlink.
    pub(crate) fn mark_followed(&self) {
        self.followed.store(true, Ordering::Relaxed);
    }

    /// Keeps the source directory that the walk has opened.
    pub(crate) fn keep_source(&self, fd: &Arc<OwnedFd>) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(fd.clone());
    }

    /// Rules that hold in it: known before any of its entries is sent.
    pub(crate) fn set_scope(&self, scope: Option<Arc<Scope>>) {
        if let Some(scope) = scope {
            self.scope.get_or_init(|| scope);
        }
    }

    /// Rules that its mirror has itself, for what is only there.
    pub(crate) fn set_kept(&self, scope: Scope) {
        self.kept.get_or_init(|| Arc::new(scope));
    }

    /// All rules by which something that only its mirror has may stay.
    pub(crate) fn scopes(&self) -> Vec<Arc<Scope>> {
        self.scope.get().into_iter().chain(self.kept.get()).cloned().collect()
    }

    pub(crate) fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.get()
    }

    /// Not everything in it, and so in those above, was looked at, or brought about. What others may have put there is not
    /// given away then.
    pub(crate) fn mark_doubtful(&self) {
        let mut next = Some(self);
        while let Some(directory) = next {
            directory.doubtful.store(true, Ordering::Relaxed);
            next = directory.parent.as_deref();
        }
    }

    /// The walk found one batch of entries in it and no subdirectory.
    pub(crate) fn mark_leaf(&self) {
        self.leaf.store(true, Ordering::Relaxed);
    }

    /// The task that opens or finishes it does not come back: nobody is to wait for that.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    /// A thread that does not come back may leave something in it, for the next run to remove.
    pub(crate) fn mark_traces(&self) {
        if let Ok(state) = self.state.try_lock()
            && let State::Open(pair) = &*state
        {
            pair.mark_broken_off();
        }
    }

    /// The walk could not list all of it.
    pub(crate) fn mark_unlisted(&self) {
        self.unlisted.store(true, Ordering::Relaxed);
    }

    /// The walk could not list it, since the source does not have it any more. That is told when it is opened or finished.
    pub(crate) fn mark_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// It could not be opened, since the source does not have it any more.
    pub(crate) fn mark_vanished(&self) {
        self.vanished.store(true, Ordering::Relaxed);
    }

    /// What becomes of an entry of it, where it, or one above it, could not be opened.
    pub(crate) fn action_without(&self) -> Action {
        let mut next = Some(self);
        while let Some(directory) = next {
            if directory.vanished.load(Ordering::Relaxed) {
                return Action::Vanished;
            }
            next = directory.parent.as_deref();
        }
        Action::Skipped
    }

    /// The walk does not read it: `--one-file-system`.
    pub(crate) fn mark_elsewhere(&self) {
        self.elsewhere.store(true, Ordering::Relaxed);
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

    /// The path of a name in it, below the roots.
    pub(crate) fn path_of(&self, name: &CStr) -> PathBuf {
        self.path().join(std::ffi::OsStr::from_bytes(name.to_bytes()))
    }
}
