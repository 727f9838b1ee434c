//! A manifest whose paths start elsewhere: none of its files is there, and a line for each would hide why.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::content::manifest::Reader;
use crate::event::Kind;
use crate::io::path::Reach;
use crate::stat::{proc_path, stat_open};
use crate::stop::Stop;
use crate::text::{Escaped, grouped};
use crate::verify::config::VerifyConfig;
use crate::verify::verification::Input;

/// A manifest with several files none of which is there: its paths start at another directory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Elsewhere {
    /// The manifest, as messages call it.
    pub manifest: PathBuf,
    /// How many files it names.
    pub files: u64,
    /// Where they were looked for. `None`: in the working directory, since no other was named.
    pub directory: Option<PathBuf>,
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, name) = (grouped(self.files), Escaped::path(&self.manifest));
        write!(f, "none of the {files} files of {name} is in ")?;
        match &self.directory {
            Some(directory) => {
                write!(f, "{}: its paths start at another directory", Escaped::path(directory))
            }
            None => f.write_str("the working directory: name the directory that its paths start at"),
        }
    }
}

/// What to say once instead, if there are several files and none of them is there. A manifest that can be read only once
/// is not looked at.
pub(super) fn advice(
    config: &VerifyConfig,
    input: &Input,
    (base, reach): (&OwnedFd, Reach),
    stop: &Stop,
) -> Option<Elsewhere> {
    let is_file = stat_open(&input.fd).is_ok_and(|stat| stat.kind == Kind::File);
    // Opened once more, it is read from its beginning, and the first one stays where it is.
    let manifest = File::open(proc_path(&input.fd)).ok().filter(|_| is_file)?;
    let mut count = 0;
    for line in Reader::new(BufReader::new(manifest)) {
        let (_, line) = line.ok()?;
        let Ok(entry) = line else { continue };
        if stop.is_stopped() || !is_missing(base, reach, &entry.path) {
            return None;
        }
        count += 1;
    }
    let (manifest, directory) = (input.name.clone(), config.directory.clone());
    (count > 1).then_some(Elsewhere { manifest, files: count, directory })
}

/// Whether there is certainly no such file.
fn is_missing(base: &OwnedFd, reach: Reach, path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let found = match reach {
        Reach::Anywhere => rustix::fs::statx(base, &path, AtFlags::empty(), StatxFlags::TYPE).map(drop),
        Reach::Beneath => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat2(base, &path, flags, Mode::empty(), reach.resolve()).map(drop)
        }
    };
    found == Err(Errno::NOENT)
}
