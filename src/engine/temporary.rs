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
use super::directory::Pair;
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

enum Form {
    Nameless,
    /// Under a temporary name.
    Temporary(CString),
    /// Under its own name: `--no-atomic`, or in a staged directory.
    Named,
}

impl NewFile {
    /// Makes an empty file in `pair`'s destination, for a source with `mode`. `named` asks for `name` at once, which
    /// must not exist.
    pub(crate) fn create(
        pair: &Pair,
        name: &CStr,
        named: bool,
        mode: u32,
        run: &Run,
    ) -> rustix::io::Result<Self> {
        let within = pair.changing()?;
        let create = |name: &CStr, flags: OFlags, mode: u32, form: Form| {
            let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
            let mode_bits = Mode::from_raw_mode(mode);
            let fd = writable(within, run, || rustix::fs::openat(within, name, flags, mode_bits))?;
            Ok(NewFile { fd: Arc::new(fd), mode, form })
        };
        // Nobody can open a nameless file: it may have its final permissions at once, and writing it needs none.
        // One that has a name others can reach is nobody else's until it has its owner. Without privilege, setting
        // attributes takes the right to write.
        let own = if run.rules.privileges.root { 0 } else { 0o600 };
        let (open_mode, closed_mode) = (mode & 0o777 | own, 0o600);
        let new_name = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let staged = pair.is_staged();
        if named || staged {
            match create(name, new_name, if staged { open_mode } else { closed_mode }, Form::Named) {
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
        if pair.nameless.load(Ordering::Relaxed) {
            match create(c".", OFlags::TMPFILE, open_mode, Form::Nameless) {
                // The answers of file systems, and of kernels, that don't know O_TMPFILE (open(2)).
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
                    pair.nameless.store(false, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        let temporary = temporary_name(within)?;
        let new = create(&temporary, new_name, closed_mode, Form::Temporary(temporary.clone()))?;
        lock(&new.fd);
        Ok(new)
    }

    /// Gives the file its name.
    pub(crate) fn publish(self, within: &OwnedFd, name: &CStr, taken: Taken) -> rustix::io::Result<()> {
        match self.form {
            Form::Named => Ok(()),
            Form::Temporary(temporary) => take_place(within, &temporary, name, taken),
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

    /// Gives up on the file.
    pub(crate) fn discard(self, within: &OwnedFd, name: &CStr) {
        let name = match &self.form {
            Form::Nameless => return,
            Form::Temporary(temporary) => temporary,
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
            rustix::fs::fchmod(within, mode | Mode::RWXU).map_err(|_| Errno::ACCESS)?;
            create()
        }
        other => other,
    }
}

/// Holds the file's lock for as long as it is open. A file system without locks only leaves litter longer.
pub(crate) fn lock(fd: &OwnedFd) {
    rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive).ok();
}

const PREFIX: &[u8] = b".ringsync-";
const DIGITS: usize = 16;

/// A temporary name for this directory that is not in use: 2⁶⁴ chances, and `O_EXCL` or link(2) would tell.
pub(crate) fn temporary_name(within: impl AsFd) -> rustix::io::Result<CString> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    let chance = format!("{:016x}", hasher.finish());
    let name = name_for(stat_open(within)?.inode, &chance);
    CString::new(name).map_err(|_| Errno::INVAL)
}

fn name_for(directory: Inode, chance: &str) -> Vec<u8> {
    let mut proof = blake3::Hasher::new_derive_key("ringsync 2026 temporary file name");
    proof.update(&directory.number.to_le_bytes()).update(chance.as_bytes());
    let mut name = PREFIX.to_vec();
    name.extend_from_slice(chance.as_bytes());
    name.extend_from_slice(&proof.finalize().to_hex().as_bytes()[..DIGITS]);
    name
}

/// Whether a name is one that [`temporary_name`] gave in this directory.
fn is_temporary(name: &[u8], directory: Inode) -> bool {
    let chance = name.strip_prefix(PREFIX).and_then(|rest| rest.get(..DIGITS));
    chance.and_then(|c| std::str::from_utf8(c).ok()).is_some_and(|chance| name_for(directory, chance) == name)
}

/// Removes the temporary files and staged directories that killed runs left in a directory. What can't be removed stays
/// what it is, hidden litter that the next run tries to remove.
pub(crate) fn remove_litter(within: &OwnedFd, inode: Inode) {
    for (name, kind) in listing(within, |name| is_temporary(name.to_bytes(), inode)) {
        if !is_abandoned(within, &name, kind) {
            continue;
        }
        if kind == Kind::Directory {
            remove_staged(within, &name);
        } else {
            rustix::fs::unlinkat(within, &name, AtFlags::empty()).ok();
        }
    }
}

/// Removes a staged directory. It has no subdirectories: one that does is not ours and stays.
pub(crate) fn remove_staged(within: &OwnedFd, name: &CStr) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::openat(within, name, flags, Mode::empty()) else { return };
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
fn is_abandoned(within: &OwnedFd, name: &CStr, kind: Kind) -> bool {
    if kind != Kind::File && kind != Kind::Directory {
        return true;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(within, name, flags, Mode::empty()).is_ok_and(|fd| {
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_in_the_right_directory_are_litter() {
        let here = Inode { device: 1, number: 77 };
        let there = Inode { device: 1, number: 78 };
        let name = name_for(here, "0123456789abcdef");
        assert!(name.len() < 64);
        assert!(is_temporary(&name, here));
        assert!(!is_temporary(&name, there), "a copy in another directory is a user's file");
        assert!(!is_temporary(b".ringsync-0123456789abcdef0123456789abcdef", here));
        assert!(!is_temporary(b".ringsync-", here));
        assert!(!is_temporary(b".ringsync-\xff123456789abcdef0123456789abcdef", here));
    }
}
