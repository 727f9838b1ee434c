//! A source directory and the one that mirrors it, held open, and what a run learns of them. Where descriptors are
//! scarce the two are closed for a while (`park`) and what was learnt stays.

use std::ffi::CString;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::engine::state::file_systems::FileSystem;
use crate::engine::state::names::Names;
use crate::metadata::HeldInode;
use crate::metadata::xattr::{self, Xattrs, has_default_acl};
use crate::plan::compare::{differences, gives_more};
use crate::plan::rules::Rules;
use crate::plan::writers::{Writers, was_taken};
use crate::stat::{Inode, Stat, Time, stat_open};

/// The two directories, held open.
pub(crate) struct Pair {
    /// As the walk opened it to list it, or with `O_PATH`: a directory that can't be listed can still be mirrored.
    pub(crate) source: Arc<OwnedFd>,
    /// `None` where a dry run would have made it.
    pub(crate) destination: Option<Arc<OwnedFd>>,
    state: Arc<PairState>,
}

/// What is known of two directories.
pub(crate) struct PairState {
    pub(crate) source_stat: Stat,
    /// The source's attributes, if they are kept.
    pub(crate) source_xattrs: Option<Xattrs>,
    /// This run made it: there is nothing in it to compare with.
    pub(crate) fresh: bool,
    /// It replaced something that was no directory.
    pub(crate) replaced: bool,
    /// This run made it, and nobody else can enter it before it is done.
    pub(crate) private: bool,
    /// Who else could have put something in it before this run came.
    pub(crate) writers: Writers,
    /// Another user, who need not own it, could have put this directory here with all that is in it, and this run would
    /// open it to more users. A directory that was taken from its owner counts as well, and so does one in such a
    /// directory. All files in it are compared, whatever their size and time.
    pub(crate) planted: bool,
    /// This run, or one that was interrupted, has taken it from its owner.
    pub(crate) taken: bool,
    /// It has an ACL that could not be removed, and that what is made in it inherits.
    pub(crate) acl_stays: bool,
    /// It can't be closed as its source is: what is in it is its owner's alone.
    pub(crate) exposed: bool,
    /// Its name until it is done, or turns out to take long: nobody sees what is in it before.
    pub(crate) provisional: Option<CString>,
    /// It has its own name.
    pub(crate) placed: AtomicBool,
    /// The destination before this run, where it existed.
    pub(crate) existing: Option<Stat>,
    /// What the destination lies on.
    pub(crate) file_system: Arc<FileSystem>,
    /// Names of the source that may be one in the destination, if it is not known to tell all names apart.
    pub(crate) names: Option<Arc<Names>>,
    /// An entry of the destination was made or replaced.
    pub(crate) touched: AtomicBool,
    /// It has copies that broke off, with `--partial`, or something that another run is at work on: what is left of them when the
    /// directory is done is looked for.
    pub(crate) look_again: AtomicBool,
    /// Names in it that hold what a killed run has replaced.
    pub(crate) set_aside: Mutex<Vec<CString>>,
    /// This run left one: the directory must not look as if it were complete.
    pub(crate) broken_off: AtomicBool,
    /// What a file made in it is like; learnt from the first one.
    pub(crate) creation_defaults: OnceLock<CreationDefaults>,
    /// The permissions that new entries of it may have where modes are left alone; learnt when the first one is met.
    pub(crate) allowed: OnceLock<u32>,
    /// Files can be cloned into it, as far as is known.
    pub(crate) clones: AtomicBool,
    /// Names of the source that the destination has too, whatever is behind them.
    compared: AtomicUsize,
    /// Who else can write to its directory in each of the earlier trees that was looked at: `--link-dest`.
    reference_writers: Mutex<Vec<(usize, Writers)>>,
}

impl Deref for Pair {
    type Target = PairState;

    fn deref(&self) -> &PairState {
        &self.state
    }
}

/// A source directory, before there is anything to pair it with.
pub(crate) struct SourceDirectory {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) stat: Stat,
    /// Who else can write to it. They could write to its mirror as well, or can once it is done, even if it is another
    /// user's now: an interrupted run takes it from them.
    pub(crate) writers: Writers,
    pub(crate) xattrs: Option<Xattrs>,
}

/// How a directory of the destination came to be.
#[derive(Default)]
pub(crate) struct Origin {
    /// What was there before this run.
    pub(crate) existing: Option<Stat>,
    /// It replaced something that was no directory.
    pub(crate) replaced: bool,
    /// The temporary name it has.
    pub(crate) provisional: Option<CString>,
    /// It was made for its owner alone.
    pub(crate) private: bool,
    /// Who else could have put something in it.
    pub(crate) writers: Writers,
    /// Others could have put it there, it is not theirs, and it, or a directory above it, is to be opened to more users.
    pub(crate) planted: bool,
    /// It was taken from its owner.
    pub(crate) taken: bool,
    /// What it lies on.
    pub(crate) file_system: Arc<FileSystem>,
    /// Names that may be one in it, where they are known.
    pub(crate) names: Option<Arc<Names>>,
    /// It is to lose its ACL at once: without attributes it is to have none, which others chose.
    pub(crate) sheds_acl: bool,
    /// That was refused: what is made in it inherits it.
    pub(crate) acl_stays: bool,
    /// It stays open to more users than its source.
    pub(crate) exposed: bool,
}

/// Whether somebody gets more of a directory, which has `have`, once it has the owner, mode and ACL of its source.
pub(crate) fn opens_up(
    directory: &OwnedFd,
    have: &Stat,
    (want, xattrs): (&Stat, Option<&Xattrs>),
    rules: &Rules,
) -> rustix::io::Result<bool> {
    let has_acl = |want| xattr::has_access_acl_of(HeldInode::Open(directory.as_fd()), want);
    Ok(gives_more(&differences(want, have, rules), have)
        || !xattrs.filter(|_| rules.keep.acls).map_or(Ok(true), has_acl)?)
}

/// Two directories that were closed because descriptors are scarce.
pub(crate) struct Evicted {
    state: Arc<PairState>,
    destination: Option<Inode>,
}

impl Pair {
    /// Two open directories; without a destination a dry run, which would have made it.
    pub(crate) fn new(source: SourceDirectory, destination: Option<Arc<OwnedFd>>, origin: Origin) -> Self {
        let Origin {
            existing,
            replaced,
            provisional,
            private,
            writers,
            planted,
            taken,
            acl_stays,
            exposed,
            file_system,
            names,
            ..
        } = origin;
        let folds = destination.as_ref().is_some_and(|fd| file_system.may_fold(fd));
        let names = names.or_else(|| folds.then(Arc::default));
        let state = PairState {
            source_stat: source.stat,
            source_xattrs: source.xattrs,
            fresh: existing.is_none(),
            replaced,
            provisional,
            private,
            writers,
            planted,
            taken,
            acl_stays,
            exposed,
            placed: AtomicBool::new(false),
            existing,
            file_system,
            names,
            touched: AtomicBool::new(false),
            look_again: AtomicBool::new(false),
            set_aside: Mutex::default(),
            broken_off: AtomicBool::new(false),
            creation_defaults: OnceLock::new(),
            allowed: OnceLock::new(),
            clones: AtomicBool::new(true),
            compared: AtomicUsize::new(0),
            reference_writers: Mutex::default(),
        };
        Pair { source: source.fd, destination, state: Arc::new(state) }
    }

    /// The two roots.
    pub(crate) fn of_roots(
        source: SourceDirectory,
        destination: Option<Arc<OwnedFd>>,
        origin: Origin,
        taken: bool,
    ) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let of_mirror = |stat: &Stat| Writers::of(stat, user).below(source.writers);
        let existing = origin.existing;
        let writers = existing.as_ref().map_or(Writers::Nobody, of_mirror);
        let planted = existing.as_ref().is_some_and(|stat| was_taken(stat, &source.stat));
        let taken = taken || planted;
        Pair::new(source, destination, Origin { writers, planted, taken, ..origin })
    }

    /// The same destination, for what lies in another directory of the source.
    pub(crate) fn seen_from(&self, source: Arc<OwnedFd>) -> Self {
        Pair { source, destination: self.destination.clone(), state: self.state.clone() }
    }

    /// Closes both, and keeps what is needed to know them again.
    pub(crate) fn evict(&self) -> rustix::io::Result<Evicted> {
        let destination = self.destination.as_ref().map(stat_open).transpose()?;
        Ok(Evicted { state: self.state.clone(), destination: destination.map(|stat| stat.inode) })
    }

    /// The destination directory, for a caller that is about to change what is in it.
    pub(crate) fn changing(&self) -> rustix::io::Result<&Arc<OwnedFd>> {
        self.touched.store(true, Ordering::Relaxed);
        self.destination.as_ref().ok_or(Errno::NOENT)
    }

    /// The destination's stat as it is now, without a time if this run has moved it.
    pub(crate) fn destination_stat(&self, destination: &OwnedFd) -> rustix::io::Result<Stat> {
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
    pub(crate) fn before(&self) -> Option<&Stat> {
        self.existing.as_ref()
    }

    /// Whether new entries inherit an ACL, which their source may not have.
    pub(crate) fn inherits_acl(&self) -> bool {
        if self.writers != Writers::Nobody {
            return true; // as far as can be told
        }
        match self.creation_defaults.get() {
            Some(creation_defaults) => creation_defaults.inherits_acl,
            None => self.destination.as_ref().is_some_and(|fd| has_default_acl(fd)),
        }
    }

    /// Who else could have put what the directory of an earlier tree holds there; `find` tells, and is asked once.
    pub(crate) fn reference_writers(&self, tree: usize, find: impl FnOnce() -> Writers) -> Writers {
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

    /// The inode of a new file whose metadata may change when it is closed; `None` where the file system is no such one.
    pub(crate) fn inode_to_look_at(&self, file: &OwnedFd) -> Option<Inode> {
        if self.file_system.is_faithful {
            return None;
        }
        stat_open(file).ok().map(|stat| stat.inode)
    }

    /// A copy in it broke off and is kept for the next run.
    pub(crate) fn mark_broken_off(&self) {
        self.broken_off.store(true, Ordering::Relaxed);
    }
}

impl PairState {
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
    pub(crate) fn is_provisional(&self) -> bool {
        self.provisional.is_some() && !self.placed.load(Ordering::Relaxed)
    }
}

impl Evicted {
    /// Whether two directories, opened again by their names, are the ones that were closed.
    pub(crate) fn is(
        &self,
        source: &OwnedFd,
        destination: Option<&Arc<OwnedFd>>,
    ) -> rustix::io::Result<bool> {
        let destination = destination.map(stat_open).transpose()?.map(|stat| stat.inode);
        Ok(stat_open(source)?.inode == self.state.source_stat.inode && destination == self.destination)
    }

    /// The two, open again.
    pub(crate) fn resume(&self, source: Arc<OwnedFd>, destination: Option<Arc<OwnedFd>>) -> Pair {
        Pair { source, destination, state: self.state.clone() }
    }

    /// Whether there is a directory in the destination.
    pub(crate) fn has_destination(&self) -> bool {
        self.destination.is_some()
    }
}

/// What a directory makes of a new file: its group may come from the directory, its mode from an ACL, and some file
/// systems have ideas of their own.
pub(crate) struct CreationDefaults {
    pub(crate) stat: Stat,
    /// The next one will be the same.
    pub(crate) predictable: bool,
    pub(crate) inherits_acl: bool,
}
