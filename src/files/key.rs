//! The machine key: 32 random bytes that only the user who runs ringsync can read. Temporary names are made with it
//! (io/temporary.rs), so that nobody else can give one to a file of their own choice.
//!
//! It lies in a state directory, is made by the first run that writes, and is never sent anywhere. Without one a run
//! takes a key by chance: it then knows its own names, and no later run does.

use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Kind;
use crate::io::rename::rename_free;
use crate::io::temporary::{LENGTH, by_chance};
use crate::stat::stat_open;

/// The file in the state directory.
const NAME: &str = "key";
/// Names the state directory, instead of the usual one.
const VARIABLE: &str = "RINGSYNC_STATE_DIR";

/// Where this user's programs keep what outlives a run: `RINGSYNC_STATE_DIR` if it is set; else `/var/lib/ringsync` for
/// root, whose HOME may be another user's (sudo(8)); else `ringsync` in `XDG_STATE_HOME` or `~/.local/state` (XDG Base
/// Directory Specification). `None`: there is no such place.
pub fn default_state_directory() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(given) = absolute(VARIABLE) {
        return Some(given);
    }
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/ringsync"));
    }
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    absolute("XDG_STATE_HOME").or_else(home).map(|state| state.join("ringsync"))
}

/// The key in `state`, which is made if it is not there.
///
/// # Errors
/// When it can't be read or made, and when others could have written or read it.
pub(crate) fn load_or_make(state: &Path) -> Result<[u8; LENGTH]> {
    match load(state) {
        Err(error) if error.errno() == Some(Errno::NOENT) => {}
        loaded => return loaded,
    }
    // Only what is missing is made for the owner alone: the parents are ordinary directories.
    if let Some(parent) = state.parent() {
        std::fs::create_dir_all(parent).at(Operation::UseKey, || state)?;
    }
    match DirBuilder::new().mode(0o700).create(state) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error).at(Operation::UseKey, || state);
        }
        _ => {}
    }
    let (directory, path) = (open(state)?, state.join(NAME));
    match make(&directory) {
        // Another run was quicker.
        Ok(()) | Err(Errno::EXIST) => read(&directory, &path),
        Err(errno) => Err(errno).at(Operation::UseKey, || path),
    }
}

/// The key in `state`.
///
/// # Errors
/// As for [`load_or_make`]; `ENOENT` where there is none.
pub(crate) fn load(state: &Path) -> Result<[u8; LENGTH]> {
    read(&open(state)?, &state.join(NAME))
}

/// Opens the state directory, in which nobody else may have put anything.
fn open(state: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(state, flags, Mode::empty()).at(Operation::UseKey, || state)?;
    require_private(&directory, 0o022, state)?;
    Ok(directory)
}

fn read(directory: &OwnedFd, path: &Path) -> Result<[u8; LENGTH]> {
    let at = || path;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, NAME, flags, Mode::empty()).at(Operation::UseKey, at)?;
    require_private(&file, 0o077, path)?;
    let stat = stat_open(&file).at(Operation::UseKey, at)?;
    if stat.kind != Kind::File || stat.size != LENGTH as u64 {
        return Err(refused(path, "it is not a key; remove it, and the next run makes one"));
    }
    let mut key = [0; LENGTH];
    File::from(file).read_exact(&mut key).at(Operation::UseKey, at)?;
    Ok(key)
}

/// Requires that it is the user's, and that others have none of the permissions in `forbidden`.
fn require_private(fd: &OwnedFd, forbidden: u32, path: &Path) -> Result<()> {
    let stat = stat_open(fd).at(Operation::UseKey, || path)?;
    let own = rustix::process::geteuid().as_raw();
    match stat.uid == own && stat.mode & forbidden == 0 {
        true => Ok(()),
        false => Err(refused(path, "others could have written or read it")),
    }
}

fn refused(path: &Path, why: &str) -> Error {
    Error::new(Operation::UseKey, path, Cause::Refused(why.into()))
}

/// Writes a new key under a name of its own, and then gives it the right one if that is still free: nobody reads half of
/// one.
fn make(directory: &OwnedFd) -> rustix::io::Result<()> {
    let key = by_chance().map_err(|_| Errno::IO)?;
    let other = by_chance().map_err(|_| Errno::IO)?;
    let name = CString::new(format!("{NAME}.{}", &blake3::hash(&other).to_hex()[..16]));
    let name = name.map_err(|_| Errno::INVAL)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = File::from(file);
    let written = file.write_all(&key).and_then(|()| file.sync_all());
    let written = written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let own_name = CString::new(NAME).map_err(|_| Errno::INVAL)?;
    let named = written.and_then(|()| rename_free(directory, &name, directory, &own_name));
    if named.is_err() {
        rustix::fs::unlinkat(directory, &name, AtFlags::empty())?;
    }
    named
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("not/there/yet");
        assert_eq!(load(&state).unwrap_err().errno(), Some(Errno::NOENT));
        let key = load_or_make(&state).unwrap();
        assert_eq!(load(&state).unwrap(), key);
        assert_ne!(key, [0; LENGTH]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(NAME))), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1, "nothing is left beside it");
        assert_ne!(load_or_make(&home.path().join("another")).unwrap(), key);
    }

    #[test]
    fn all_who_make_one_at_once_get_the_same() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_make(&state).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn what_others_could_have_read_or_written_is_no_key() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        load_or_make(&state).unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for (path, good, bad) in [(state.join(NAME), 0o600, 0o604), (state.clone(), 0o700, 0o770)] {
            set(&path, bad);
            let error = load(&state).unwrap_err().to_string();
            assert!(error.contains("others could have"), "{error}");
            set(&path, good);
        }
        std::fs::write(state.join(NAME), "short").unwrap();
        assert!(load(&state).unwrap_err().to_string().contains("it is not a key"));
        std::fs::remove_file(state.join(NAME)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", state.join(NAME)).unwrap();
        assert!(load(&state).is_err());
    }
}
