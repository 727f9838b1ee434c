//! Files before they have their name. New ones are nameless (`O_TMPFILE`), so that a kill leaves nothing; where the
//! file system can't do that, and to take the place of what is there, a temporary name (io/temporary.rs) and rename(2).
//! What a killed run leaves under such names is the business of engine/own/litter.rs.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::own::writable::writable;
use crate::engine::state::file_systems::lacks_nameless;
use crate::engine::state::pair::Pair;
use crate::engine::state::room::Promise;
use crate::event::Kind;
use crate::io::rename::{Taken, link_nameless, take_place};
use crate::io::temporary::lock;
use crate::metadata::xattr;
use crate::stat::{Stat, proc_path, stat_open};

/// A regular file that is being written.
pub(crate) struct NewFile {
    pub(crate) fd: Arc<OwnedFd>,
    /// The permission bits it was asked for with.
    pub(crate) mode: u32,
    form: Form,
    /// It was made a clone of an older state.
    cloned: Cell<bool>,
    /// The room that it takes, after the descriptor: it is free once that is closed.
    pub(crate) room: Cell<Option<Promise>>,
}

/// The way a new file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteMethod {
    /// It gets its name when it is whole.
    Atomic,
    /// It has its name, which nothing has yet, from the beginning.
    Named,
    /// As `Atomic`, and what is written of it when the copy breaks off is kept for the next run.
    Partial,
}

enum Form {
    /// With the name under which it gets to a place that something has.
    Nameless(Option<CString>),
    /// Under a temporary name.
    Temporary(CString),
    /// Under a temporary name that the next run finds; `resumed`, if it has contents from an earlier run.
    Partial { name: CString, resumed: bool },
    /// Under its own name: `--no-atomic`, or in a provisional directory.
    Named,
    /// It was there before this run: `--inplace`.
    Existing,
}

/// Why a new file has not got its name.
pub(crate) enum Unpublished {
    /// It had none, and link(2) gave it none.
    NoName(Errno),
    /// It could not take the place of what has it.
    NotThere(Errno),
}

impl NewFile {
    /// Makes an empty file in `pair`'s destination, with `mode` where nobody else can reach it. Where it can't take the place
    /// of what is there, that is told now.
    pub(crate) fn create(
        pair: &Pair,
        name: &CStr,
        (method, taken): (WriteMethod, Taken),
        mode: u32,
        run: &Run,
    ) -> rustix::io::Result<Self> {
        let within = pair.changing()?;
        let temporary = (taken != Taken::Nothing).then(|| run.temporary.new_name(within)).transpose()?;
        // Nobody can open a nameless file: it may have its permissions at once. One that has a name others can reach is
        // nobody else's until it has its owner.
        let open_mode = open_mode(mode, run);
        let make = |name: &CStr, mode, form| NewFile::make(within, name, NEW_NAME, mode, form, run);
        if method == WriteMethod::Partial {
            match NewFile::partial(within, name, CLOSED, run) {
                Ok(Some(new)) => return Ok(new),
                // Another run has it, or what is in the directory can't be renamed.
                Ok(None) | Err(Errno::PERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        if method == WriteMethod::Named || pair.is_provisional() {
            match make(name, if pair.private { open_mode } else { CLOSED }, Form::Named) {
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
        NewFile::unnamed(pair, open_mode, temporary, run)
    }

    /// Makes an empty file that is never to have a name of its own.
    pub(crate) fn scratch(pair: &Pair, mode: u32, run: &Run) -> rustix::io::Result<Self> {
        NewFile::unnamed(pair, open_mode(mode, run), None, run)
    }

    /// Makes a file without a name, or with a temporary one.
    fn unnamed(
        pair: &Pair,
        open_mode: u32,
        temporary: Option<CString>,
        run: &Run,
    ) -> rustix::io::Result<Self> {
        let within = pair.changing()?;
        if !pair.file_system.refuses_nameless() {
            let form = Form::Nameless(temporary.clone());
            match NewFile::make(within, c".", OFlags::TMPFILE, open_mode, form, run) {
                Err(errno) if lacks_nameless(errno) => pair.file_system.mark_refuses_nameless(),
                other => return other,
            }
        }
        let temporary = temporary.map_or_else(|| run.temporary.new_name(within), Ok)?;
        let form = Form::Temporary(temporary.clone());
        let new = NewFile::make(within, &temporary, NEW_NAME, CLOSED, form, run)?;
        lock(&new.fd);
        Ok(new)
    }

    fn make(
        within: &OwnedFd,
        name: &CStr,
        flags: OFlags,
        mode: u32,
        form: Form,
        run: &Run,
    ) -> rustix::io::Result<Self> {
        let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
        let mode_bits = Mode::from_raw_mode(mode);
        let fd = writable(within, run, || rustix::fs::openat(within, name, flags, mode_bits))?;
        Ok(NewFile::of(fd, mode, form))
    }

    fn of(fd: OwnedFd, mode: u32, form: Form) -> Self {
        NewFile { fd: Arc::new(fd), mode, form, cloned: Cell::default(), room: Cell::default() }
    }

    /// Opens what an earlier run left of the file, or makes one that a later run will find. `None` while another run has it.
    fn partial(within: &OwnedFd, name: &CStr, mode: u32, run: &Run) -> rustix::io::Result<Option<Self>> {
        let name = run.temporary.partial_name(within, name)?;
        if let Some(fd) = open_partial(within, &name) {
            let form = Form::Partial { name, resumed: true };
            return Ok(Some(NewFile::of(fd, mode, form)));
        }
        let form = Form::Partial { name: name.clone(), resumed: false };
        match NewFile::make(within, &name, NEW_NAME, mode, form, run) {
            // Another run may have found it before it was locked.
            Ok(new) => Ok(lock(&new.fd).then_some(new)),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// A file that is there already and is to be rewritten where it is.
    pub(crate) fn existing(fd: OwnedFd) -> Self {
        NewFile::of(fd, 0, Form::Existing)
    }

    /// Whether it has contents from before this run, which may differ from what they are to be.
    pub(crate) fn has_contents(&self) -> bool {
        self.cloned.get() || matches!(self.form, Form::Existing | Form::Partial { resumed: true, .. })
    }

    /// It has the contents of an older state, which differ from what they are to be.
    pub(crate) fn mark_cloned(&self) {
        self.cloned.set(true);
    }

    /// Gives the file its name.
    pub(crate) fn publish(
        self,
        within: &OwnedFd,
        name: &CStr,
        taken: Taken,
        run: &Run,
    ) -> Result<(), Unpublished> {
        let temporary = match self.form {
            Form::Named | Form::Existing => return Ok(()),
            Form::Temporary(temporary) | Form::Partial { name: temporary, .. } => temporary,
            Form::Nameless(temporary) => {
                if taken == Taken::Nothing {
                    match link_nameless(&self.fd, within, name) {
                        Err(Errno::EXIST) => {}
                        linked => return linked.map_err(Unpublished::NoName),
                    }
                }
                lock(&self.fd);
                let temporary = temporary.map_or_else(|| run.temporary.new_name(within), Ok);
                let temporary = temporary.map_err(Unpublished::NotThere)?;
                link_nameless(&self.fd, within, &temporary).map_err(Unpublished::NoName)?;
                temporary
            }
        };
        take_place((within, &temporary), (within, name), taken).map_err(Unpublished::NotThere)
    }

    /// Whether what there is of it is kept if the copy breaks off, under a name that the next run finds.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.form, Form::Partial { .. })
    }

    /// Whether it has no name at all yet.
    pub(crate) fn is_nameless(&self) -> bool {
        matches!(self.form, Form::Nameless(_))
    }

    /// Whether it has had its name from before this run.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self.form, Form::Existing)
    }

    /// Whether it takes no room on the disk.
    pub(crate) fn is_empty(&self) -> bool {
        stat_open(&self.fd).is_ok_and(|stat| stat.allocated == 0)
    }

    /// Gives up on the file. Returns whether what there is of it was left for the next run.
    pub(crate) fn discard(self, within: &OwnedFd, name: &CStr) -> bool {
        let kept = self.is_kept();
        if !kept {
            self.remove(within, name);
        }
        kept
    }

    /// Removes the file, unless it was there before this run.
    pub(crate) fn remove(self, within: &OwnedFd, name: &CStr) {
        let name = match &self.form {
            Form::Nameless(_) | Form::Existing => return,
            Form::Temporary(temporary) | Form::Partial { name: temporary, .. } => temporary,
            Form::Named => name,
        };
        // What can't be removed now is litter for the next run; the error that led here is the one to report.
        rustix::fs::unlinkat(within, name, AtFlags::empty()).ok();
    }
}

/// The mode to make a file with: writing to it needs no permission, but without privilege, setting attributes does.
fn open_mode(mode: u32, run: &Run) -> u32 {
    mode & 0o777 | if run.rules.privileges.root { 0 } else { 0o600 }
}

/// The mode of what nobody else may open.
const CLOSED: u32 = 0o600;
/// For a name that must not be there yet.
const NEW_NAME: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOFOLLOW);

/// Opens what an earlier run left of a file. What has the name and is anything else is removed, as far as possible, and
/// `None` returned.
fn open_partial(within: &OwnedFd, name: &CStr) -> Option<OwnedFd> {
    // Opening a device would already do something to it: first it is held, and looked at.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(within, name, flags, Mode::empty()).ok()?;
    let found = stat_open(&handle).ok()?;
    let remove = || rustix::fs::unlinkat(within, name, AtFlags::empty()).ok();
    if found.kind != Kind::File || found.uid != rustix::process::geteuid().as_raw() {
        remove();
        return None;
    }
    let fd = rustix::fs::open(proc_path(&handle), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
    if !lock(&fd) {
        return None;
    }
    // The run that had the lock before may have given the file its own name, and another one this name since.
    let named = rustix::fs::statx(within, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS).ok()?;
    if Stat::from(&named).inode != found.inode {
        return None;
    }
    if !is_as_we_left_it(&fd) {
        remove();
        return None;
    }
    Some(fd)
}

/// Whether a file of our own has exactly what a copy that broke off has: one name, no permission for anybody else, no
/// bits and attributes that make it more than a file. The owner of its directory may have renamed another file to be here.
fn is_as_we_left_it(file: &OwnedFd) -> bool {
    let stat = stat_open(file);
    stat.is_ok_and(|stat| stat.links == 1 && stat.mode == CLOSED)
        && xattr::grants_nothing(file).unwrap_or(false)
}
