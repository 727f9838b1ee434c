//! Files before they have their name. New ones are nameless (`O_TMPFILE`), so that a kill leaves nothing; where the
//! file system can't do that, and to take the place of what is there, a temporary name and rename(2). New directories
//! without subdirectories, one batch at most, are staged: filled under a temporary
//! name and then renamed, when they are done or turn out to take long.
//!
//! A temporary name is `.ringsync-`, 16 hex digits by chance, and 16 hex digits that only fit this chance in this very
//! directory: a later run tells by them what is litter of ours, and takes no other file for it, not even a copy of
//! one. A lock on the file (flock(2)) shows that its run still lives.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Run;
use super::pair::Pair;
use crate::io::stat_open;
use crate::metadata::proc_path;
use crate::plan::entry::{Inode, Kind, Stat};

/// What has the name that a new entry is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Nothing,
    /// Anything that rename(2) replaces.
    Entry,
    /// A directory, to be removed at the last moment, when its successor is there.
    EmptyDirectory,
}

/// A regular file that is being written.
pub(crate) struct NewFile {
    pub(crate) fd: Arc<OwnedFd>,
    /// The permission bits it was asked for with.
    pub(crate) mode: u32,
    form: Form,
}

/// The way a new file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It gets its name when it is whole.
    Atomic,
    /// It has its name, which nothing has yet, from the beginning.
    Named,
    /// As `Atomic`, and what is written of it when the copy breaks off is kept for the next run.
    Partial,
}

enum Form {
    Nameless,
    /// Under a temporary name.
    Temporary(CString),
    /// Under a temporary name that the next run finds; `resumed`, if it has contents from an earlier run.
    Partial {
        name: CString,
        resumed: bool,
    },
    /// Under its own name: `--no-atomic`, or in a staged directory.
    Named,
    /// It was there before this run: `--inplace`.
    Existing,
}

impl NewFile {
    /// Makes an empty file in `pair`'s destination, for a source with `mode`.
    pub(crate) fn create(
        pair: &Pair,
        name: &CStr,
        way: Way,
        mode: u32,
        run: &Run,
    ) -> rustix::io::Result<Self> {
        let within = pair.changing()?;
        // Nobody can open a nameless file: it may have its final permissions at once, and writing it needs none.
        // One that has a name others can reach is nobody else's until it has its owner. Without privilege, setting
        // attributes takes the right to write.
        let own = if run.rules.privileges.root { 0 } else { 0o600 };
        let (open_mode, closed_mode) = (mode & 0o777 | own, 0o600);
        let make = |name: &CStr, mode, form| NewFile::make(within, name, NEW_NAME, mode, form, run);
        if way == Way::Partial
            && let Some(new) = NewFile::partial(within, name, closed_mode, run)?
        {
            return Ok(new);
        }
        if way == Way::Named || pair.is_staged() {
            match make(name, if pair.private { open_mode } else { closed_mode }, Form::Named) {
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
        if pair.nameless.load(Ordering::Relaxed) {
            match NewFile::make(within, c".", OFlags::TMPFILE, open_mode, Form::Nameless, run) {
                // The answers of file systems, and of kernels, that don't know O_TMPFILE (open(2)).
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
                    pair.nameless.store(false, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        let temporary = temporary_name(within)?;
        let new = make(&temporary, closed_mode, Form::Temporary(temporary.clone()))?;
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
        Ok(NewFile { fd: Arc::new(fd), mode, form })
    }

    /// Opens what an earlier run left of the file, or makes one that a later run will find. `None` while another run has it.
    fn partial(within: &OwnedFd, name: &CStr, mode: u32, run: &Run) -> rustix::io::Result<Option<Self>> {
        let name = partial_name(within, name)?;
        if let Some(fd) = open_partial(within, &name) {
            let form = Form::Partial { name, resumed: true };
            return Ok(Some(NewFile { fd: Arc::new(fd), mode, form }));
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
        NewFile { fd: Arc::new(fd), mode: 0, form: Form::Existing }
    }

    /// Whether it has contents from before this run, which may differ from what they are to be.
    pub(crate) fn has_contents(&self) -> bool {
        matches!(self.form, Form::Existing | Form::Partial { resumed: true, .. })
    }

    /// Gives the file its name.
    pub(crate) fn publish(self, within: &OwnedFd, name: &CStr, taken: Taken) -> rustix::io::Result<()> {
        match self.form {
            Form::Named | Form::Existing => Ok(()),
            Form::Temporary(temporary) | Form::Partial { name: temporary, .. } => {
                take_place(within, &temporary, name, taken)
            }
            Form::Nameless => {
                if taken == Taken::Nothing {
                    match link_nameless(&self.fd, within, name) {
                        Err(Errno::EXIST) => {}
                        other => return other,
                    }
                }
                lock(&self.fd);
                let temporary = temporary_name(within)?;
                link_nameless(&self.fd, within, &temporary)?;
                take_place(within, &temporary, name, taken)
            }
        }
    }

    /// Whether what there is of it is kept if the copy breaks off, under a name that the next run finds.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.form, Form::Partial { .. })
    }

    /// Whether it has had its name from before this run.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self.form, Form::Existing)
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
            Form::Nameless | Form::Existing => return,
            Form::Temporary(temporary) | Form::Partial { name: temporary, .. } => temporary,
            Form::Named => name,
        };
        // What can't be removed now is litter for the next run; the error that led here is the one to report.
        rustix::fs::unlinkat(within, name, AtFlags::empty()).ok();
    }
}

/// Renames a temporary name to the one it is for.
pub(crate) fn take_place(
    within: &OwnedFd,
    temporary: &CStr,
    name: &CStr,
    taken: Taken,
) -> rustix::io::Result<()> {
    let cleared = match taken {
        Taken::EmptyDirectory => rustix::fs::unlinkat(within, name, AtFlags::REMOVEDIR),
        _ => Ok(()),
    };
    let result = cleared.and_then(|()| rustix::fs::renameat(within, temporary, within, name));
    if result.is_err() {
        rustix::fs::unlinkat(within, temporary, AtFlags::empty()).ok();
    }
    result
}

/// Links a nameless file: by its descriptor, or through /proc where that takes a privilege (open(2), `O_TMPFILE`).
pub(crate) fn link_nameless(fd: impl AsFd + Copy, within: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
    static BY_DESCRIPTOR: AtomicBool = AtomicBool::new(true);
    if BY_DESCRIPTOR.load(Ordering::Relaxed) {
        match rustix::fs::linkat(fd, c"", within, name, AtFlags::EMPTY_PATH) {
            Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => BY_DESCRIPTOR.store(false, Ordering::Relaxed),
            other => return other,
        }
    }
    rustix::fs::linkat(CWD, proc_path(fd), within, name, AtFlags::SYMLINK_FOLLOW)
}

/// Runs `create`; where the directory forbids it to its own owner, who is not root, opens it to the owner first. Its
/// mode is set when the directory is done.
pub(crate) fn writable<T>(
    within: &OwnedFd,
    run: &Run,
    create: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match create() {
        Err(Errno::ACCESS) if !run.rules.privileges.root => {
            let mode = Mode::from_raw_mode(stat_open(within)?.mode);
            // By its link in /proc: it may be held without being open.
            let opened = rustix::fs::chmodat(CWD, proc_path(within), mode | Mode::RWXU, AtFlags::empty());
            opened.map_err(|_| Errno::ACCESS)?;
            create()
        }
        other => other,
    }
}

/// Holds the file's lock for as long as it is open, unless another run has it. A file system without locks only leaves
/// litter longer.
pub(crate) fn lock(fd: &OwnedFd) -> bool {
    rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

/// For a name that must not be there yet.
const NEW_NAME: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::NOFOLLOW);

const PREFIX: &[u8] = b".ringsync-";
const PARTIAL: &[u8] = b".ringsync-partial-";
const DIGITS: usize = 16;

/// A temporary name for this directory that is not in use: 2⁶⁴ chances, and `O_EXCL` or link(2) would tell.
pub(crate) fn temporary_name(within: impl AsFd) -> rustix::io::Result<CString> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    let chance = format!("{:016x}", hasher.finish());
    let name = name_for(PREFIX, stat_open(within)?.inode, &chance);
    CString::new(name).map_err(|_| Errno::INVAL)
}

/// The temporary name of a file that may be resumed: 16 hex digits of its name's hash stand for the chance.
fn partial_name(within: impl AsFd, name: &CStr) -> rustix::io::Result<CString> {
    let digits = blake3::hash(name.to_bytes()).to_hex();
    let name = name_for(PARTIAL, stat_open(within)?.inode, &digits[..DIGITS]);
    CString::new(name).map_err(|_| Errno::INVAL)
}

/// Opens what an earlier run left of a file. Nobody else may have a name for it, or the right to write to it; otherwise
/// it is removed, as far as possible, and `None` returned.
fn open_partial(within: &OwnedFd, name: &CStr) -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(within, name, flags, Mode::empty()).ok()?;
    if !lock(&fd) {
        return None;
    }
    // Whoever had the lock before may have given the file its own name, and another one this name since.
    let stat = stat_open(&fd).ok()?;
    let named = rustix::fs::statx(within, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS).ok()?;
    if Stat::from(&named).inode != stat.inode {
        return None;
    }
    let ours = stat.kind == Kind::File
        && stat.links == 1
        && stat.uid == rustix::process::geteuid().as_raw()
        && stat.mode & 0o022 == 0;
    if !ours {
        rustix::fs::unlinkat(within, name, AtFlags::empty()).ok();
    }
    ours.then_some(fd)
}

fn name_for(prefix: &[u8], directory: Inode, chance: &str) -> Vec<u8> {
    let mut proof = blake3::Hasher::new_derive_key("ringsync 2026 temporary file name");
    proof.update(&directory.number.to_le_bytes()).update(chance.as_bytes());
    let mut name = prefix.to_vec();
    name.extend_from_slice(chance.as_bytes());
    name.extend_from_slice(&proof.finalize().to_hex().as_bytes()[..DIGITS]);
    name
}

/// Whether a name is one that [`temporary_name`] or [`partial_name`] gave in this directory.
pub(super) fn is_temporary(name: &[u8], directory: Inode) -> bool {
    let prefix = if name.starts_with(PARTIAL) { PARTIAL } else { PREFIX };
    let chance = name.strip_prefix(prefix).and_then(|rest| rest.get(..DIGITS));
    let chance = chance.and_then(|chance| std::str::from_utf8(chance).ok());
    chance.is_some_and(|chance| name_for(prefix, directory, chance) == name)
}

/// Removes the temporary files and staged directories that killed runs left in a directory; with `keep_partial` not
/// those that may be resumed. What can't be removed stays what it is, hidden litter that the next run tries to remove.
/// Returns whether any was kept.
pub(crate) fn remove_litter(within: &OwnedFd, inode: Inode, keep_partial: bool) -> bool {
    let mut kept = false;
    for (name, kind) in listing(within, |name| is_temporary(name.to_bytes(), inode)) {
        if keep_partial && name.to_bytes().starts_with(PARTIAL) {
            kept = true;
            continue;
        }
        if !is_abandoned(within, &name, kind) {
            continue;
        }
        if kind == Kind::Directory {
            remove_staged(within, &name);
        } else {
            rustix::fs::unlinkat(within, &name, AtFlags::empty()).ok();
        }
    }
    kept
}

/// Removes a staged directory. It has no subdirectories, and is its owner's alone: one that is otherwise is not ours and
/// stays.
pub(crate) fn remove_staged(within: &OwnedFd, name: &CStr) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::openat(within, name, flags, Mode::empty()) else { return };
    let own = rustix::process::geteuid().as_raw();
    if !stat_open(&directory).is_ok_and(|stat| stat.uid == own && stat.mode & 0o077 == 0) {
        return;
    }
    let entries = listing(&directory, |name| name != c"." && name != c"..");
    if entries.iter().all(|(_, kind)| *kind != Kind::Directory) {
        for (entry, _) in entries {
            rustix::fs::unlinkat(&directory, &entry, AtFlags::empty()).ok();
        }
        rustix::fs::unlinkat(within, name, AtFlags::REMOVEDIR).ok();
    }
}

/// Whether a directory has no entries, as far as can be told without trying to remove it.
pub(crate) fn is_empty(within: &OwnedFd, name: &CStr) -> rustix::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(within, name, flags, Mode::empty())?;
    let mut entries = rustix::fs::Dir::read_from(directory)?.flatten();
    Ok(!entries.any(|entry| entry.file_name() != c"." && entry.file_name() != c".."))
}

/// The wanted names in a directory, and their types; none where it can't be listed.
fn listing(directory: &OwnedFd, wanted: impl Fn(&CStr) -> bool) -> Vec<(CString, Kind)> {
    let entries = rustix::fs::Dir::read_from(directory).into_iter().flatten().flatten();
    let names = entries.filter(|entry| wanted(entry.file_name())).map(|entry| entry.file_name().to_owned());
    let kind = |name: &CString| {
        let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        stat.ok().map(|stat| Stat::from(&stat).kind)
    };
    names.filter_map(|name| kind(&name).map(|kind| (name, kind))).collect()
}

/// Whether no living run holds the lock. Only files and directories can be locked; all else has its temporary name for
/// microseconds.
pub(super) fn is_abandoned(within: &OwnedFd, name: &CStr, kind: Kind) -> bool {
    if kind != Kind::File && kind != Kind::Directory {
        return true;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(within, name, flags, Mode::empty()).is_ok_and(|fd| lock(&fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_in_the_right_directory_are_litter() {
        let here = Inode { device: 1, number: 77 };
        let there = Inode { device: 1, number: 78 };
        let name = name_for(PREFIX, here, "0123456789abcdef");
        assert!(name.len() < 64);
        let partial = name_for(PARTIAL, here, "0123456789abcdef");
        assert!(is_temporary(&partial, here) && !is_temporary(&partial, there));
        assert!(is_temporary(&name, here));
        assert!(!is_temporary(&name, there), "a copy in another directory is a user's file");
        assert!(!is_temporary(b".ringsync-0123456789abcdef0123456789abcdef", here));
        assert!(!is_temporary(b".ringsync-", here));
        assert!(!is_temporary(b".ringsync-\xff123456789abcdef0123456789abcdef", here));
    }
}
