//! A source directory and the one that mirrors it, held open, and what a run learns of them. Where descriptors are
//! scarce the two are closed for a while (`park`) and what was learnt stays.

use std::ffi::{CStr, CString};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::worker::Lane;
use crate::engine::{Run, litter, own_directory};
use crate::error::Result;
use crate::metadata::xattr::{self, Xattrs};
use crate::metadata::{self, Target};
use crate::plan::compare::{Difference, differences, gives_more};
use crate::plan::rules::Rules;
use crate::plan::writers::{Writers, was_taken};
use crate::stat::{Inode, Stat, Time, stat_open};

/// The two directories, held open.
pub(crate) struct Pair {
    /// As the walk opened it to list it, or with `O_PATH`: a directory that can't be listed can still be mirrored.
    pub(crate) source: Arc<OwnedFd>,
    /// `None` where a dry run would have made it.
    pub(crate) destination: Option<Arc<OwnedFd>>,
    memory: Arc<Memory>,
}

/// What is known of two directories.
pub(crate) struct Memory {
    pub(super) source_stat: Stat,
    /// The source's attributes, if they are kept.
    pub(super) source_xattrs: Option<Xattrs>,
    /// This run made it: there is nothing in it to compare with.
    pub(crate) fresh: bool,
    /// It replaced something that was no directory.
    pub(super) replaced: bool,
    /// This run made it, and nobody else can enter it before it is done.
    pub(super) private: bool,
    /// Who else could have put something in it before this run came.
    pub(super) writers: Writers,
    /// Another user, who need not own it, could have put this directory here with all that is in it, and this run would
    /// open it to more users. A directory that was taken from its owner counts as well, and so does one in such a
    /// directory. All files in it are compared, whatever their size and time.
    pub(super) planted: bool,
    /// This run, or one that was interrupted, has taken it from its owner.
    pub(super) taken: bool,
    /// Its name until it is done, or turns out to take long: nobody sees what is in it before.
    pub(super) staged: Option<CString>,
    /// It has its own name.
    pub(super) placed: AtomicBool,
    /// The destination before this run, where it existed.
    existing: Option<Stat>,
    /// An entry of the destination was made or replaced.
    pub(super) touched: AtomicBool,
    /// An earlier run, or this one, left a copy in it that broke off: `--partial`.
    partial: AtomicBool,
    /// Names in it that hold what a killed run has replaced.
    pub(super) set_aside: Mutex<Vec<CString>>,
    /// This run left one: the directory must not look as if it were complete.
    pub(super) broken_off: AtomicBool,
    /// What a file made in it is like; learnt from the first one.
    newborn: OnceLock<Newborn>,
    /// Its file system has `O_TMPFILE`, as far as is known.
    pub(crate) nameless: AtomicBool,
    /// Files can be cloned into it, as far as is known.
    pub(crate) clones: AtomicBool,
    /// Names of the source that the destination has too, whatever is behind them.
    compared: AtomicUsize,
    /// Who else can write to its directory in each of the earlier trees that was looked at: `--link-dest`.
    reference_writers: Mutex<Vec<(usize, Writers)>>,
}

impl Deref for Pair {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

/// A source directory, before there is anything to pair it with.
pub(crate) struct Source {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) stat: Stat,
    /// Who else can write to it. They could write to its mirror as well, or can once it is done, even if it is another user's now: an
    /// interrupted run takes it from them.
    pub(crate) writers: Writers,
    pub(crate) xattrs: Option<Xattrs>,
}

impl Source {
    /// Takes from its mirror, which has `have`, what the source does not grant. Returns what was set. Where that is refused the
    /// error comes when it is done; but nothing that the source closes to others is put into another user's directory.
    /// Where owners and modes are not kept at all, a directory belongs to whom our new files belong to.
    pub(super) fn narrow(
        &self,
        mirror: &OwnedFd,
        have: &Stat,
        run: &Run,
        path: impl Fn() -> PathBuf + Copy,
    ) -> Result<Difference> {
        if run.config.dry_run {
            return Ok(Difference::default());
        }
        match metadata::narrow(
            Target::Open(mirror.as_fd()),
            &self.stat,
            have,
            self.xattrs.as_ref(),
            &run.rules,
            path,
        ) {
            Err(error) if error.errno() == Some(Errno::PERM) => {
                let is_open = self.stat.mode & 0o007 != 0;
                match is_open || own_directory::owner_of_new(mirror, run) == Ok(have.uid) {
                    true => Ok(Difference::default()),
                    false => Err(error),
                }
            }
            narrowed => narrowed,
        }
    }
}

/// How a directory of the destination came to be.
#[derive(Default)]
pub(super) struct Origin {
    /// What was there before this run.
    pub(super) existing: Option<Stat>,
    /// It replaced something that was no directory.
    pub(super) replaced: bool,
    /// The temporary name it has.
    pub(super) staged: Option<CString>,
    /// It was made for its owner alone.
    pub(super) private: bool,
    /// Who else could have put something in it.
    pub(super) writers: Writers,
    /// Others could have put it there, it is not theirs, and it, or a directory above it, is to be opened to more users.
    pub(super) planted: bool,
    /// It was taken from its owner.
    pub(super) taken: bool,
    /// It is to lose its ACL at once: without attributes it is to have none, which others chose.
    pub(super) sheds_acl: bool,
}

/// Whether somebody gets more of a directory, which has `have`, once it has the owner, mode and ACL of its source.
pub(super) fn opens_up(
    directory: &OwnedFd,
    have: &Stat,
    (want, xattrs): (&Stat, Option<&Xattrs>),
    rules: &Rules,
) -> rustix::io::Result<bool> {
    let has_acl = |want| xattr::has_access_acl_of(Target::Open(directory.as_fd()), want);
    Ok(gives_more(&differences(want, have, rules), have) || !xattrs.map_or(Ok(true), has_acl)?)
}

/// Two directories that were closed because descriptors are scarce.
pub(crate) struct Parked {
    memory: Arc<Memory>,
    destination: Option<Inode>,
}

impl Pair {
    /// Two open directories; without a destination a dry run, which would have made it.
    pub(super) fn new(source: Source, destination: Option<Arc<OwnedFd>>, origin: Origin) -> Self {
        let Origin { existing, replaced, staged, private, writers, planted, taken, .. } = origin;
        let memory = Memory {
            source_stat: source.stat,
            source_xattrs: source.xattrs,
            fresh: existing.is_none(),
            replaced,
            staged,
            private,
            writers,
            planted,
            taken,
            placed: AtomicBool::new(false),
            existing,
            touched: AtomicBool::new(false),
            partial: AtomicBool::new(false),
            set_aside: Mutex::default(),
            broken_off: AtomicBool::new(false),
            newborn: OnceLock::new(),
            nameless: AtomicBool::new(true),
            clones: AtomicBool::new(true),
            compared: AtomicUsize::new(0),
            reference_writers: Mutex::default(),
        };
        Pair { source: source.fd, destination, memory: Arc::new(memory) }
    }

    /// The two roots.
    pub(crate) fn of_roots(
        source: Source,
        destination: Option<Arc<OwnedFd>>,
        existing: Option<Stat>,
        taken: bool,
    ) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let of_mirror = |stat: &Stat| Writers::of(stat, user).below(source.writers);
        let writers = existing.as_ref().map_or(Writers::Nobody, of_mirror);
        let planted = existing.as_ref().is_some_and(|stat| was_taken(stat, &source.stat));
        let taken = taken || planted;
        Pair::new(source, destination, Origin { existing, writers, planted, taken, ..Origin::default() })
    }

    /// The same destination, for what lies in another directory of the source.
    pub(super) fn seen_from(&self, source: Arc<OwnedFd>) -> Self {
        Pair { source, destination: self.destination.clone(), memory: self.memory.clone() }
    }

    /// Closes both, and keeps what is needed to know them again.
    pub(super) fn park(&self) -> rustix::io::Result<Parked> {
        let destination = self.destination.as_ref().map(stat_open).transpose()?;
        Ok(Parked { memory: self.memory.clone(), destination: destination.map(|stat| stat.inode) })
    }

    /// The destination directory, for a caller that is about to change what is in it.
    pub(crate) fn changing(&self) -> rustix::io::Result<&Arc<OwnedFd>> {
        self.touched.store(true, Ordering::Relaxed);
        self.destination.as_ref().ok_or(Errno::NOENT)
    }

    /// The destination's stat as it is now, without a time if this run has moved it.
    pub(super) fn destination_stat(&self, destination: &OwnedFd) -> rustix::io::Result<Stat> {
        match self.existing {
            Some(existing) if !self.touched.load(Ordering::Relaxed) => Ok(existing),
            existing => {
                let stat = stat_open(destination)?;
                // A time that this run has caused is not to be taken for the source's, however close.
                let same = existing.is_some_and(|existing| existing.modified == stat.modified);
                Ok(if same { stat } else { Stat { modified: Time::NEVER, ..stat } })
            }
        }
    }

    /// The destination as it was before this run, where it existed.
    pub(super) fn before(&self) -> Option<&Stat> {
        self.existing.as_ref()
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
        stat.modified = Time::NEVER;
        let inherits_acl = self.destination.as_ref().is_some_and(|fd| has_default_acl(fd));
        // Others who can write there could change what new files get, from one to the next.
        let constant = self.writers == Writers::Nobody;
        let predictable = constant && stat.mode == mode & !run.umask && !inherits_acl;
        self.newborn.get_or_init(|| Newborn { stat, predictable, inherits_acl });
        Ok(stat)
    }

    /// Whether new entries inherit an ACL, which their source may not have.
    pub(crate) fn inherits_acl(&self) -> bool {
        if self.writers != Writers::Nobody {
            return true; // as far as can be told
        }
        match self.newborn.get() {
            Some(newborn) => newborn.inherits_acl,
            None => self.destination.as_ref().is_some_and(|fd| has_default_acl(fd)),
        }
    }

    /// Whether new entries are to lose the ACL that they inherit: where none are kept, and others chose it.
    pub(crate) fn sheds_inherited_acl(&self, run: &Run) -> bool {
        !run.config.keep.xattrs && self.writers != Writers::Nobody
    }

    /// Who else could have put what the directory of an earlier tree holds there; `find` tells, and is asked once.
    pub(super) fn reference_writers(&self, tree: usize, find: impl FnOnce() -> Writers) -> Writers {
        let mut known = self.reference_writers.lock().unwrap_or_else(PoisonError::into_inner);
        match known.iter().find(|(number, _)| *number == tree) {
            Some((_, writers)) => *writers,
            None => {
                let writers = find();
                known.push((tree, writers));
                writers
            }
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
            let source = Some(&*self.source);
            let kept = litter::remove(destination, existing.inode, source, run.config.partial, run);
            // A time within --modify-window stays, unless something was removed.
            let is_moved = || stat_open(destination).map_or(true, |stat| stat.modified != existing.modified);
            let is_set = !run.rules.same_time(self.source_stat.modified, existing.modified);
            self.touched.fetch_or(is_set || is_moved(), Ordering::Relaxed);
            self.partial.store(kept.partial, Ordering::Relaxed);
            *self.set_aside.lock().unwrap_or_else(PoisonError::into_inner) = kept.set_aside;
        }
    }

    /// Removes broken off copies that nobody went on with, now that everything in it is done.
    pub(super) fn remove_obsolete_partials(&self, run: &Run) {
        if self.partial.load(Ordering::Relaxed)
            && !self.broken_off.load(Ordering::Relaxed)
            && let (Some(destination), Some(existing)) = (&self.destination, &self.existing)
        {
            litter::remove(destination, existing.inode, Some(&self.source), false, run);
        }
    }

    /// A copy in it broke off and is kept for the next run.
    pub(crate) fn leaves_partial(&self) {
        self.broken_off.store(true, Ordering::Relaxed);
    }
}

impl Memory {
    /// The destination has one more name of the source, or gets it now.
    pub(crate) fn count_compared(&self) {
        self.compared.fetch_add(1, Ordering::Relaxed);
    }

    /// The source has lost one of them.
    pub(crate) fn uncount_compared(&self) {
        self.compared.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many names the destination has.
    pub(crate) fn compared(&self) -> usize {
        self.compared.load(Ordering::Relaxed)
    }

    /// Nobody sees yet what is in it.
    pub(crate) fn is_staged(&self) -> bool {
        self.staged.is_some() && !self.placed.load(Ordering::Relaxed)
    }
}

impl Parked {
    /// Whether two directories, opened again by their names, are the ones that were closed.
    pub(super) fn is(
        &self,
        source: &OwnedFd,
        destination: Option<&Arc<OwnedFd>>,
    ) -> rustix::io::Result<bool> {
        let destination = destination.map(stat_open).transpose()?.map(|stat| stat.inode);
        Ok(stat_open(source)?.inode == self.memory.source_stat.inode && destination == self.destination)
    }

    /// The two, open again.
    pub(super) fn resume(&self, source: Arc<OwnedFd>, destination: Option<Arc<OwnedFd>>) -> Pair {
        Pair { source, destination, memory: self.memory.clone() }
    }

    /// Whether there is a directory in the destination.
    pub(super) fn has_destination(&self) -> bool {
        self.destination.is_some()
    }
}

/// What a directory makes of a new file: its group may come from the directory, its mode from an ACL, and some file
/// systems have ideas of their own.
struct Newborn {
    stat: Stat,
    /// The next one will be the same.
    predictable: bool,
    inherits_acl: bool,
}

pub(super) fn has_default_acl(directory: &OwnedFd) -> bool {
    let mut value = [0_u8; 256];
    let length = match rustix::fs::fgetxattr(directory, xattr::DEFAULT_ACL, &mut value[..]) {
        // It was opened with O_PATH, since it can't be listed.
        Err(Errno::BADF) => {
            rustix::fs::getxattr(crate::stat::proc_path(directory), xattr::DEFAULT_ACL, &mut value[..])
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
pub(super) async fn open_destination(
    lane: &Lane,
    within: &Arc<OwnedFd>,
    name: &CStr,
) -> rustix::io::Result<(OwnedFd, bool)> {
    match lane.io.open(within, name, OFlags::RDONLY | OFlags::DIRECTORY).await {
        Err(Errno::ACCESS) if !lane.run.config.dry_run => {
            let handle = lane.io.open(within, name, OFlags::PATH | OFlags::DIRECTORY).await?;
            let mode = Mode::from_raw_mode(stat_open(&handle)?.mode) | Mode::RWXU;
            rustix::fs::chmodat(rustix::fs::CWD, crate::stat::proc_path(&handle), mode, AtFlags::empty())?;
            let opened = lane.io.open(within, name, OFlags::RDONLY | OFlags::DIRECTORY).await?;
            Ok((opened, true))
        }
        other => Ok((other?, false)),
    }
}
