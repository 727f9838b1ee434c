//! What the destination's file system does not take, tried before anything large is written: names, which are told in words,
//! and files without one.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::own::new_file::NewFile;
use crate::engine::own::{directory, litter};
use crate::engine::state::file_systems::keeps_nameless;
use crate::engine::state::pair::Pair;
use crate::error::{Cause, Error, Operation};
use crate::event::Kind;
use crate::io::rename::link_nameless;
use crate::io::temporary::lock;
use crate::metadata::flags::frozen_at;
use crate::plan::names::fault;

/// Bytes of a new file from which on its name is tried before it is written: less is soon written.
const WORTH_A_TRIAL: u64 = 4 << 20;

/// What every file system takes that is known to take all names of this length.
const ORDINARY_NAME: usize = 255;

/// Of names in use, what the file systems with the lowest limit take (eCryptfs with names encrypted).
const SHORTEST_LIMIT: u64 = 143;

/// Tries the name of a new file of this size, in a directory of our own: its own place is to hold the whole file or nothing.
/// What hinders the trial itself says nothing of the name.
pub(crate) fn try_name(pair: &Pair, name: &CStr, size: u64, run: &Run) -> Result<(), Cause> {
    let is_sure = pair.file_system.is_faithful && name.count_bytes() <= ORDINARY_NAME;
    if is_sure || size < WORTH_A_TRIAL || pair.is_provisional() || !run.config.atomic {
        return Ok(());
    }
    let Ok(within) = pair.changing() else { return Ok(()) };
    let Ok(temporary) = run.temporary.new_name(within) else { return Ok(()) };
    let mut tried = Ok(());
    if let Ok(scratch) = directory::make(within, &temporary, run) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        tried = rustix::fs::openat(&scratch, name, flags, Mode::RUSR | Mode::WUSR).map(drop);
        if tried.is_ok() {
            rustix::fs::unlinkat(&scratch, name, AtFlags::empty()).ok();
        }
    }
    litter::remove_directory(within, &temporary, run);
    match tried {
        Err(errno) if is_of_name(errno) || is_also_of_name(errno) => Err(refusal(errno, within, name)),
        _ => Ok(()),
    }
}

/// Asks, before a file of this size is written, whether chattr(1) has closed the one that it is to replace.
pub(crate) fn try_to_replace(within: &OwnedFd, name: &CStr, size: u64) -> Result<(), Cause> {
    match size >= WORTH_A_TRIAL && frozen_at(within, name).is_some() {
        true => Err(Errno::PERM.into()), // which is explained where it is told
        false => Ok(()),
    }
}

/// Tries, once for each file system, whether a nameless file can get a name, before a file of this size is copied without
/// one. What hinders the trial itself says nothing of that.
pub(crate) fn try_nameless(pair: &Pair, size: u64, run: &Run) {
    if size < WORTH_A_TRIAL || pair.is_provisional() || !pair.file_system.begin_trying_nameless() {
        return;
    }
    let Ok(new) = NewFile::scratch(pair, 0, run) else { return };
    if new.is_nameless()
        && let Ok(within) = pair.changing()
        && let Ok(temporary) = run.temporary.new_name(within)
    {
        lock(&new.fd);
        match link_nameless(&new.fd, within, &temporary) {
            Ok(()) => drop(rustix::fs::unlinkat(within, &temporary, AtFlags::empty())),
            Err(errno) if keeps_nameless(errno) => pair.file_system.mark_refuses_nameless(),
            Err(_) => {}
        }
    }
    if let Ok(within) = pair.changing() {
        new.remove(within, c""); // it has no name of its own
    }
}

/// Whether a name is one that the file system may well refuse.
pub(crate) fn is_doubtful(pair: &Pair, name: &CStr) -> bool {
    match pair.file_system.is_faithful {
        true => name.count_bytes() > ORDINARY_NAME,
        false => fault(name.to_bytes(), Some(SHORTEST_LIMIT)).is_some(),
    }
}

/// The same error, with what is known of its reason: the name, or that chattr(1) has closed the entry or its directory.
pub(crate) fn explain(error: Error, kind: Kind, (pair, name): (&Pair, &CStr)) -> Error {
    let Some(within) = &pair.destination else { return error };
    explain_frozen(explain_name(error, kind, (pair, name)), (within, name))
}

/// The same for one that can be closed by chattr(1) alone.
pub(crate) fn explain_frozen(error: Error, (within, name): (&OwnedFd, &CStr)) -> Error {
    let Cause::Io(_) = error.cause else { return error };
    if error.errno() != Some(Errno::PERM) || !error.operation.uses_destination() {
        return error;
    }
    let entry = frozen_at(within, name).map(|how| (how, false));
    match entry.or_else(|| frozen_at(within, c"").map(|how| (how, true))) {
        Some((how, directory)) => {
            let cause = Cause::Frozen { error: Errno::PERM.into(), how, directory };
            Error::new(error.operation, error.path, cause)
        }
        None => error,
    }
}

/// As one of the name if that is what it is.
fn explain_name(error: Error, kind: Kind, (pair, name): (&Pair, &CStr)) -> Error {
    let (Some(errno), Some(within)) = (error.errno(), &pair.destination) else { return error };
    // Symlinks and nodes are made under another name.
    let is_made = matches!(kind, Kind::File | Kind::Directory);
    let gives_name = match error.operation {
        Operation::Rename | Operation::Link | Operation::StatDestination => true,
        operation => operation == Operation::Create && is_made,
    };
    let may_be = match errno {
        errno if is_also_of_name(errno) => is_made && !pair.file_system.is_faithful,
        errno => is_of_name(errno),
    };
    if !gives_name || !may_be || !matches!(error.cause, Cause::Io(_)) {
        return error;
    }
    match refusal(errno, within, name) {
        Cause::NameRefused { why: None, .. } => error,
        cause => Error::new(error.operation, error.path, cause),
    }
}

fn is_of_name(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG)
}

/// What some programs say instead, for example that of exFAT.
fn is_also_of_name(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM | Errno::NOENT)
}

fn refusal(errno: Errno, within: &OwnedFd, name: &CStr) -> Cause {
    let longest = rustix::fs::fstatvfs(within).ok().map(|answer| answer.f_namemax);
    Cause::NameRefused {
        error: errno.into(),
        why: fault(name.to_bytes(), longest.filter(|longest| *longest > 0)),
    }
}
