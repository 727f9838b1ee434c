//! `--flags`: no copy on write. It has an effect on what is empty: a new file gets it before its first byte, and a file that
//! lacks it, or has it and should not, is made anew, if its file system knows the flag.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};

use crate::engine::entry::item::{Item, SourceEntry};
use crate::engine::own::new_file::NewFile;
use crate::engine::own::trial;
use crate::engine::run::regular;
use crate::engine::state::copied::Copied;
use crate::error::{Cause, Context, Error, NotKept, Operation, Property, Result};
use crate::event::{Action, Kind};
use crate::io::file::File;
use crate::metadata::flags::{is_nocow, set_nocow, text};
use crate::metadata::is_refusal;
use crate::stat::proc_path;

/// What a file of the destination has of the flag.
pub(crate) enum Found {
    /// What its source has, as far as can be told.
    Same,
    /// Something else, which a new file would not have.
    Other,
    /// Something else, and so would a new file.
    Lacks(Error),
}

impl Found {
    /// Adds what the entry lacks. One that was copied was told already.
    pub(crate) fn add_to(self, copied: Copied) -> Copied {
        match self {
            Found::Lacks(error) if !matches!(copied.action, Action::Created | Action::Updated) => {
                copied.lacking(vec![error])
            }
            _ => copied,
        }
    }
}

/// Gives a new file what its source has. What it lacks is returned.
pub(crate) fn give(item: &Item<'_>, source: &File, new: &NewFile) -> Result<Option<Error>> {
    if !item.run().rules.keep.flags {
        return Ok(None);
    }
    let want = is_nocow(source);
    if new.has_contents() {
        return Ok((is_nocow(&new.fd) != want).then(|| kept(item, want)));
    }
    match set_nocow(&new.fd, want) {
        Ok(()) => Ok(None),
        Err(errno) if is_refusal(errno) => {
            Ok(Some(lack(item, NotKept::refused(Property::Flags, text(want), errno))))
        }
        Err(errno) => Err(errno).at(Operation::SetFlags, || item.path()),
    }
}

/// Compares a file whose contents are right with its source, which stays open. What can't be opened is not known to differ.
pub(crate) async fn compare(item: &Item<'_>, source: &mut SourceEntry) -> Result<Found> {
    if !item.run().rules.keep.flags || source.stat.kind != Kind::File {
        return Ok(Found::Same);
    }
    if source.file.is_none() {
        source.file = item.open_file().await.ok().map(|(file, _)| file);
    }
    let opened = regular::open(item.lane, item.destination_side()?, item.target(), OFlags::RDONLY).await;
    match (&source.file, opened) {
        (Some(source), Ok((destination, _))) => judge(item, is_nocow(source), is_nocow(&destination)),
        _ => Ok(Found::Same),
    }
}

/// The same of a file of an earlier tree, which is held.
pub(crate) async fn compare_held(item: &Item<'_>, source: &SourceEntry, held: impl AsFd) -> Result<Found> {
    if !item.run().rules.keep.flags || source.stat.kind != Kind::File {
        return Ok(Found::Same);
    }
    let want = match &source.file {
        Some(file) => is_nocow(file),
        None => item.open_file().await.is_ok_and(|(file, _)| is_nocow(&file)),
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let found = rustix::fs::open(proc_path(held.as_fd()), flags, Mode::empty()).is_ok_and(is_nocow);
    judge(item, want, found)
}

fn judge(item: &Item<'_>, want: bool, found: bool) -> Result<Found> {
    if want == found {
        return Ok(Found::Same);
    }
    let config = &item.run().config;
    if config.in_place && config.writes() {
        return Ok(Found::Lacks(kept(item, want)));
    }
    if !want {
        return Ok(Found::Other);
    }
    Ok(match trial::keeps_nocow(item.place())? {
        Ok(()) => Found::Other,
        Err(errno) => Found::Lacks(lack(item, NotKept::refused(Property::Flags, text(want), errno))),
    })
}

/// The error of a file that is rewritten where it is.
fn kept(item: &Item<'_>, want: bool) -> Error {
    lack(item, NotKept::became(Property::Flags, text(want), text(!want)))
}

fn lack(item: &Item<'_>, lack: NotKept) -> Error {
    Error::new(Operation::SetFlags, item.path(), Cause::from(lack))
}
