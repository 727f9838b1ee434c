//! A directory of both trees. It is opened, and made in the destination, by the first task that needs it; it gets
//! its metadata when the last of its children is done.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::worker::Lane;
use super::{Run, check, extra, temporary};
use crate::error::{Context, Operation, Result};
use crate::io::stat_open;
use crate::metadata::xattr::{self, Holder, Xattrs};
use crate::metadata::{self, Target};
use crate::plan::changes::Changes;
use crate::plan::compare::differences;
use crate::plan::entry::{Kind, Stat, Time};
use crate::report::event::{Action, Entries, EntryEvent};

/// One directory of the source tree and the one that mirrors it.
pub(crate) struct Directory {
    parent: Option<Arc<Directory>>,
    name: CString,
    /// The walk, the batches under way, and the subdirectories that are not done.
    pending: AtomicUsize,
    state: tokio::sync::Mutex<State>,
    /// A single file's directories are the user's: they are not mirrored themselves.
    implied: bool,
    /// It has no subdirectories, and its entries are one batch.
    leaf: AtomicBool,
    /// Not all of its names are known.
    unlisted: AtomicBool,
}

enum State {
    /// Nobody needed it yet.
    Closed,
    Open(Arc<Pair>),
    /// It could not be opened or made; the error has been reported.
    Failed,
    /// Its metadata is set. Its descriptors are closed.
    Finished,
}

/// The two directories, held open.
pub(crate) struct Pair {
    /// Opened with `O_PATH`, so that a directory that can't be listed can still be mirrored.
    pub(crate) source: Arc<OwnedFd>,
    source_stat: Stat,
    /// The source's attributes, if they are kept.
    source_xattrs: Option<Xattrs>,
    /// `None` where a dry run would have made it.
    pub(crate) destination: Option<Arc<OwnedFd>>,
    /// This run made it: there is nothing in it to compare with.
    pub(crate) fresh: bool,
    /// It replaced something that was no directory.
    replaced: bool,
    /// Its name until it is done, or turns out to take long: nobody sees what is in it before.
    staged: Option<CString>,
    /// It has its own name.
    placed: AtomicBool,
    /// The destination before this run, where it existed.
    existing: Option<Stat>,
    /// An entry of the destination was made or replaced.
    touched: AtomicBool,
    /// What a file made in it is like; learnt from the first one.
    pub(crate) newborn: OnceLock<Newborn>,
    /// Its file system has `O_TMPFILE`, as far as is known.
    pub(crate) nameless: AtomicBool,
    /// Files can be cloned into it, as far as is known.
    pub(crate) clones: AtomicBool,
    /// Names of the source that the destination has too, whatever is behind them. Counted in a comparison alone.
    compared: AtomicUsize,
}

/// A source directory, before there is anything to pair it with.
pub(crate) struct Source {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) stat: Stat,
    pub(crate) xattrs: Option<Xattrs>,
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
    /// The two roots.
    pub(crate) fn root(pair: Pair, implied: bool) -> Arc<Self> {
        Arc::new(Directory {
            parent: None,
            name: CString::default(),
            pending: AtomicUsize::new(1),
            state: tokio::sync::Mutex::new(State::Open(Arc::new(pair))),
            implied,
            leaf: AtomicBool::new(false),
            unlisted: AtomicBool::new(false),
        })
    }

    /// A subdirectory, which keeps `parent` open until it is done.
    pub(crate) fn child(parent: &Arc<Directory>, name: CString) -> Arc<Self> {
        parent.hold();
        Arc::new(Directory {
            parent: Some(parent.clone()),
            name,
            pending: AtomicUsize::new(1),
            state: tokio::sync::Mutex::new(State::Closed),
            implied: false,
            leaf: AtomicBool::new(false),
            unlisted: AtomicBool::new(false),
        })
    }

    /// The walk found one batch of entries in it and no subdirectory.
    pub(crate) fn is_leaf(&self) {
        self.leaf.store(true, Ordering::Relaxed);
    }

    /// The walk could not list all of it.
    pub(crate) fn is_unlisted(&self) {
        self.unlisted.store(true, Ordering::Relaxed);
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
            names.push(std::ffi::OsStr::from_bytes(directory.name.to_bytes()));
            directory = parent;
        }
        names.into_iter().rev().collect()
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
            match &*directory.state.lock().await {
                State::Open(pair) => break pair.clone(),
                State::Failed | State::Finished => return None,
                State::Closed => {}
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
        let mut state = self.state.lock().await;
        match &*state {
            State::Open(pair) => return Some(pair.clone()),
            State::Failed | State::Finished => return None,
            State::Closed => {}
        }
        match self.make_pair(parent, lane).await {
            Ok(pair) => {
                let pair = Arc::new(pair);
                *state = State::Open(pair.clone());
                Some(pair)
            }
            Err(error) => {
                *state = State::Failed;
                self.report(EntryEvent::failed(Kind::Directory, error), lane).await;
                None
            }
        }
    }

    async fn make_pair(&self, parent: &Pair, lane: &Lane) -> Result<Pair> {
        let run = &lane.run;
        let source = self.open_source(parent, lane).await?;
        let Some(within) = &parent.destination else {
            return Ok(Pair::absent(source));
        };
        let path = || run.destination_path(&self.path());
        let existing = if parent.fresh {
            None
        } else {
            lane.io.stat(within, &self.name).await.at(Operation::StatDestination, path)?
        };
        if existing.is_some() {
            parent.count_compared();
        }
        let before = existing.filter(|existing| existing.kind == Kind::Directory);
        let replaced = existing.is_some() && before.is_none();
        if before.is_none() && run.config.dry_run {
            return Ok(Pair { replaced, ..Pair::absent(source) });
        }
        let staged = if before.is_none() { self.make(parent, replaced, run)? } else { None };
        let name = staged.as_ref().unwrap_or(&self.name);
        let opened = open_destination(lane, within, name).await;
        let (destination, changed) = opened.at(Operation::OpenDestination, path)?;
        let destination = Arc::new(destination);
        if staged.is_some() {
            temporary::lock(&destination);
        }
        let pair = Pair { replaced, staged, ..Pair::new(source, Some(destination), before) };
        pair.touched.store(changed, Ordering::Relaxed);
        pair.remove_litter(run);
        Ok(pair)
    }

    async fn open_source(&self, parent: &Pair, lane: &Lane) -> Result<Source> {
        let run = &lane.run;
        let path = || run.source_path(&self.path());
        let fd = lane.io.open(&parent.source, &self.name, OFlags::PATH | OFlags::DIRECTORY).await;
        let fd = Arc::new(fd.at(Operation::OpenSource, path)?);
        let stat = stat_open(&fd).at(Operation::StatSource, path)?;
        let xattrs = if run.config.keep.xattrs {
            let holder = Holder::Name(parent.source.as_fd(), &self.name);
            Some(xattr::read(&holder, run.rules.privileges.root, path)?)
        } else {
            None
        };
        Ok(Source { fd, stat, xattrs })
    }

    /// Makes the directory in the destination, in the place of something else if `taken`. One that is done in a single
    /// batch is staged: it gets a temporary name, which is returned, and its own when it is done. Its files then need
    /// no more than to be made, which is a tenth faster than making them nameless (docs/performance.md).
    fn make(&self, parent: &Pair, taken: bool, run: &Run) -> Result<Option<CString>> {
        let path = || run.destination_path(&self.path());
        let within = parent.changing().at(Operation::Create, path)?;
        let is_staged = self.leaf.load(Ordering::Relaxed) && run.config.atomic && !taken;
        let temporary = (is_staged || taken).then(|| temporary::temporary_name(within)).transpose();
        let temporary = temporary.at(Operation::Create, path)?;
        let name = temporary.as_ref().unwrap_or(&self.name);
        // Nobody else's until it is whole. A directory that appeared meanwhile is as good.
        match temporary::writable(within, run, || rustix::fs::mkdirat(within, name, Mode::RWXU)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at(Operation::Create, path),
        }
        if let Some(temporary) = temporary.as_ref().filter(|_| taken) {
            // What is in the way goes only now that its successor is there.
            rustix::fs::unlinkat(within, &self.name, AtFlags::empty())
                .and_then(|()| rustix::fs::renameat(within, temporary, within, &self.name))
                .inspect_err(|_| temporary::remove_staged(within, temporary))
                .at(Operation::Remove, path)?;
            return Ok(None);
        }
        Ok(temporary)
    }

    /// Ends one batch, the walk's interest, or a subdirectory. The last one to end sets the metadata, and so on up
    /// the tree; the end of the root is the end of the run.
    pub(crate) async fn release(self: &Arc<Self>, lane: &Lane) {
        let mut directory = self;
        while directory.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            directory.finish(lane).await;
            match &directory.parent {
                Some(parent) => directory = parent,
                None => {
                    check::report_rest(lane).await;
                    return lane.run.close();
                }
            }
        }
    }

    async fn report(&self, event: EntryEvent, lane: &Lane) {
        lane.run.heed(&event);
        let entries = Entries { directory: self.path(), events: vec![event] };
        lane.outbox.put(entries, &lane.run).await;
    }

    async fn finish(self: &Arc<Self>, lane: &Lane) {
        if lane.run.stop.is_stopped() {
            self.finish_early(lane).await;
        } else if let Some(pair) = self.open(lane).await {
            // One without entries has not been needed by anybody until now.
            if !self.implied {
                let action = self.set_metadata(&pair, &lane.run);
                let action = self.unstage(&pair, lane).await.and(action);
                let done = |(action, changes)| EntryEvent::changed(Kind::Directory, action, changes);
                let failed = |error| EntryEvent::failed(Kind::Directory, error);
                self.report(action.map_or_else(failed, done), lane).await;
                if lane.run.config.check && !self.unlisted.load(Ordering::Relaxed) {
                    extra::report(self, &pair, lane).await;
                }
            }
        } else if matches!(*self.state.lock().await, State::Closed) {
            // One above it has failed.
            self.report(EntryEvent::done(Kind::Directory, Action::Skipped), lane).await;
        }
        *self.state.lock().await = State::Finished;
    }

    /// After a stop the directory may be incomplete. It keeps the time that tells the next run so; what it has goes under
    /// its own name.
    async fn finish_early(&self, lane: &Lane) {
        let pair = match &*self.state.lock().await {
            State::Open(pair) => pair.clone(),
            _ => return,
        };
        if let Err(error) = self.unstage(&pair, lane).await {
            self.report(EntryEvent::failed(Kind::Directory, error), lane).await;
        }
    }

    /// Gives a staged directory its name. No file in it may be half written: its one batch must be between two entries,
    /// or at its end.
    pub(crate) async fn unstage(&self, pair: &Pair, lane: &Lane) -> Result<()> {
        let (Some(staged), Some(parent)) = (&pair.staged, &self.parent) else { return Ok(()) };
        if pair.placed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let path = || lane.run.destination_path(&self.path());
        let parent = parent.open(lane).await.ok_or(Errno::NOENT).at(Operation::Rename, path)?;
        let within = parent.changing().at(Operation::Rename, path)?;
        rustix::fs::renameat(within, staged, within, &self.name)
            .inspect_err(|_| temporary::remove_staged(within, staged))
            .at(Operation::Rename, path)
    }

    fn set_metadata(&self, pair: &Pair, run: &Run) -> Result<(Action, Changes)> {
        let made = match pair {
            Pair { replaced: true, .. } => Some(Action::Updated),
            Pair { fresh: true, .. } => Some(Action::Created),
            _ => None,
        };
        let made = made.map(|action| (action, Changes::NEW));
        let Some(destination) = &pair.destination else {
            return Ok(made.unwrap_or((Action::Created, Changes::NEW)));
        };
        let path = || run.destination_path(&self.path());
        let have = pair.destination_stat(destination).at(Operation::StatDestination, path)?;
        let xattrs = pair.source_xattrs.as_ref();
        let target = Target::Open(destination.as_fd());
        let changes = if run.config.dry_run {
            let of_xattrs = match xattrs {
                Some(want) => {
                    xattr::changes(want, &xattr::read(&target.into(), run.rules.privileges.root, path)?)
                }
                None => Changes::NONE,
            };
            let of_stat = differences(&pair.source_stat, &have, &run.rules).changes(&have);
            Changes { acl: of_xattrs.acl, xattrs: of_xattrs.xattrs, ..of_stat }
        } else {
            let bare = pair.fresh && !has_default_acl(destination);
            metadata::apply(target, &pair.source_stat, &have, xattrs, bare, &run.rules, path)?
        };
        let action = if changes.is_empty() { Action::Unchanged } else { Action::Metadata };
        Ok(made.unwrap_or((action, changes)))
    }

    /// The destination directory again, after it was finished: for a hard link to a name in it.
    pub(crate) async fn reopen(self: &Arc<Self>, lane: &Lane) -> rustix::io::Result<Arc<OwnedFd>> {
        let mut names = Vec::new();
        let mut directory = self;
        let mut fd = loop {
            if let State::Open(pair) = &*directory.state.lock().await {
                break pair.destination.clone().ok_or(Errno::NOENT)?;
            }
            names.push(&directory.name);
            directory = directory.parent.as_ref().ok_or(Errno::NOENT)?;
        };
        for name in names.into_iter().rev() {
            fd = Arc::new(lane.io.open(&fd, name, OFlags::PATH | OFlags::DIRECTORY).await?);
        }
        Ok(fd)
    }
}

impl Pair {
    /// Two open directories.
    pub(crate) fn new(source: Source, destination: Option<Arc<OwnedFd>>, existing: Option<Stat>) -> Self {
        let fresh = existing.is_none();
        Pair { destination, fresh, existing, ..Pair::absent(source) }
    }

    /// The destination directory, for whoever is about to change what is in it.
    pub(crate) fn changing(&self) -> rustix::io::Result<&Arc<OwnedFd>> {
        self.touched.store(true, Ordering::Relaxed);
        self.destination.as_ref().ok_or(Errno::NOENT)
    }

    /// The destination has one more name of the source.
    pub(crate) fn count_compared(&self) {
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    /// So many names the destination has.
    pub(crate) fn compared(&self) -> usize {
        self.compared.load(Ordering::Relaxed)
    }

    /// Nobody sees yet what is in it.
    pub(crate) fn is_staged(&self) -> bool {
        self.staged.is_some() && !self.placed.load(Ordering::Relaxed)
    }

    /// The destination's stat as it is now.
    fn destination_stat(&self, destination: &OwnedFd) -> rustix::io::Result<Stat> {
        match self.existing {
            Some(existing) if !self.touched.load(Ordering::Relaxed) => Ok(existing),
            _ => stat_open(destination),
        }
    }

    /// What a regular file, asked for with `mode`, got: `file` is one that was just made here.
    pub(crate) fn stat_of_new(&self, file: &OwnedFd, mode: u32, run: &Run) -> rustix::io::Result<Stat> {
        if let Some(newborn) = self.newborn.get()
            && newborn.predictable
            && newborn.stat.mode == mode & !run.umask
        {
            return Ok(newborn.stat);
        }
        let mut stat = stat_open(file)?;
        // No time that a source could have: the new file's own one moves on with the writing.
        stat.modified = Time { seconds: i64::MIN, nanoseconds: 0 };
        let inherits_acl = self.destination.as_ref().is_some_and(|fd| has_default_acl(fd));
        let predictable = stat.mode == mode & !run.umask && !inherits_acl;
        self.newborn.get_or_init(|| Newborn { stat, predictable, inherits_acl });
        Ok(stat)
    }

    /// Whether new entries inherit an ACL, which their source may not have.
    pub(crate) fn inherits_acl(&self) -> bool {
        match self.newborn.get() {
            Some(newborn) => newborn.inherits_acl,
            None => self.destination.as_ref().is_some_and(|fd| has_default_acl(fd)),
        }
    }

    /// A source directory whose mirror a dry run would have made.
    fn absent(source: Source) -> Self {
        Pair {
            source: source.fd,
            source_stat: source.stat,
            source_xattrs: source.xattrs,
            destination: None,
            fresh: true,
            replaced: false,
            staged: None,
            placed: AtomicBool::new(false),
            existing: None,
            touched: AtomicBool::new(false),
            newborn: OnceLock::new(),
            nameless: AtomicBool::new(true),
            clones: AtomicBool::new(true),
            compared: AtomicUsize::new(0),
        }
    }

    /// Removes what a killed run left. Its traces are only in directories that it did not get to finish, and these
    /// don't have their source's time yet: an untouched tree is never listed.
    pub(crate) fn remove_litter(&self, run: &Run) {
        if let Some(destination) = &self.destination
            && let Some(existing) = &self.existing
            && (existing.modified != self.source_stat.modified || !run.config.keep.times)
            && !run.config.dry_run
        {
            self.touched.store(true, Ordering::Relaxed);
            temporary::remove_litter(destination, existing.inode);
        }
    }
}

/// What a directory makes of a new file: its group may come from the directory, its mode from an ACL, and some file
/// systems have ideas of their own.
pub(crate) struct Newborn {
    stat: Stat,
    /// The next one will be the same.
    predictable: bool,
    inherits_acl: bool,
}

fn has_default_acl(directory: &OwnedFd) -> bool {
    let mut value = [0_u8; 256];
    let length = match rustix::fs::fgetxattr(directory, xattr::DEFAULT_ACL, &mut value[..]) {
        // It was opened with O_PATH, since it can't be listed.
        Err(Errno::BADF) => {
            rustix::fs::getxattr(metadata::proc_path(directory), xattr::DEFAULT_ACL, &mut value[..])
        }
        other => other,
    };
    match length {
        Ok(length) => length > 0,
        Err(errno) => errno == Errno::RANGE, // a long one
    }
}

/// Opens a destination directory, if need be after giving its owner, who is not root, the right to. Returns whether that
/// was done.
async fn open_destination(
    lane: &Lane,
    within: &Arc<OwnedFd>,
    name: &CStr,
) -> rustix::io::Result<(OwnedFd, bool)> {
    match lane.io.open(within, name, OFlags::RDONLY | OFlags::DIRECTORY).await {
        Err(Errno::ACCESS) if !lane.run.config.dry_run => {
            let handle = lane.io.open(within, name, OFlags::PATH | OFlags::DIRECTORY).await?;
            let mode = Mode::from_raw_mode(stat_open(&handle)?.mode) | Mode::RWXU;
            rustix::fs::chmodat(rustix::fs::CWD, metadata::proc_path(&handle), mode, AtFlags::empty())?;
            let opened = lane.io.open(within, name, OFlags::RDONLY | OFlags::DIRECTORY).await?;
            Ok((opened, true))
        }
        other => Ok((other?, false)),
    }
}
