//! What another user may have put into a store's directory for what is ours, while that was open to them: a run that reads
//! and writes there, and removes, would be led elsewhere by it.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::store::own::held;

/// What a name is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// A directory of ours.
    Directory,
    /// A tree, whose top has the owner that it has in the source.
    Tree,
    File,
    /// The link that becomes `latest`.
    Link,
}

/// Refuses a directory for what is ours that others may write to, and what is theirs in it. It is to be closed to others
/// before.
pub(crate) fn vet(own: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(held::open_own(own).at(Operation::UseStore, || own)?);
    let stat = stat.at(Operation::UseStore, || own)?;
    if !is_ours(&stat) || stat.st_mode & 0o022 != 0 {
        return Err(refusal(own, "others may write to it: chmod go-w"));
    }
    vet_each(own, &|name| match name.to_str() {
        Some("doomed" | "manifests" | "broken-off" | "nothing") => Expected::Directory,
        Some("incomplete") => Expected::Tree,
        Some("latest") => Expected::Link,
        _ => Expected::File,
    })?;
    vet_each(&own.join("manifests"), &|_| Expected::File)?;
    vet_each(&own.join("broken-off"), &|name| match Path::new(name).extension() {
        None => Expected::Tree,
        Some(_) => Expected::File,
    })
}

fn vet_each(directory: &Path, expected: &dyn Fn(&OsStr) -> Expected) -> Result<()> {
    for name in held::list(directory).at(Operation::UseStore, || directory)? {
        let path = directory.join(&name);
        let stat = match held::stat(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            stat => stat.at(Operation::UseStore, || &path)?,
        };
        if let Some(why) = complaint(&stat, expected(&name)) {
            return Err(refusal(&path, why));
        }
    }
    Ok(())
}

/// What is wrong with something, if anything is.
fn complaint(stat: &Stat, expected: Expected) -> Option<&'static str> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_root = rustix::process::geteuid().is_root();
    match expected {
        Expected::Directory | Expected::Tree if kind != FileType::Directory => {
            Some("it is no directory, and ringsync makes one: look what it is, and remove it")
        }
        Expected::Tree if is_root => None,
        Expected::File if kind == FileType::Symlink => {
            Some("it is a symlink, and ringsync makes none: look where it leads, and remove it")
        }
        _ if !is_ours(stat) => Some("it is another user's, who may have put it there: remove it"),
        _ => None,
    }
}

fn is_ours(stat: &Stat) -> bool {
    stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw()
}

fn refusal(path: &Path, why: &str) -> Error {
    Error::new(Operation::UseStore, path, Cause::Refused(why.into()))
}
