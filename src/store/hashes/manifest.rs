//! The hashes of a snapshot's files, in the format of `b3sum` and in the order of their paths: those that its run has made, and of
//! what it took from earlier trees what their manifests have. Nothing is read for it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use blake3::Hash;

use crate::content::manifest::format::{format_line, format_mark};
use crate::content::manifest::{LINE_LIMIT, Reader, Record};
use crate::error::{Context, Operation, Result};
use crate::store::hashes::journal::{self, Known};
use crate::store::hashes::sorted::Sorted;
use crate::store::layout::Layout;
use crate::store::own::held;
use crate::store::record;

/// The manifest of an earlier tree, read along with the lines that ask for it.
struct Earlier(Option<Peekable<Reader<BufReader<File>>>>);

impl Earlier {
    /// One that is missing knows nothing.
    fn open(path: &Path) -> Self {
        let file = held::open(path).ok();
        Earlier(file.map(|file| Reader::new(BufReader::new(file)).peekable()))
    }

    /// The hash of a file. Paths are asked for in their order. What is no line of a manifest is passed over.
    fn hash_of(&mut self, path: &[u8]) -> Option<Hash> {
        let lines = self.0.as_mut()?;
        loop {
            match lines.peek() {
                Some(Ok((_, Ok(line)))) if record_path(line) >= path => break,
                Some(Ok(_)) => lines.next(),
                Some(Err(_)) | None => return None,
            };
        }
        match lines.peek() {
            Some(Ok((_, Ok(line)))) if record_path(line) == path => Some(line.hash),
            _ => None,
        }
    }
}

fn record_path(line: &Record) -> &[u8] {
    line.path.as_os_str().as_bytes()
}

/// Writes the manifest of what a run with this journal has written.
pub(crate) fn write(layout: &Layout, journal: &Path, path: &Path) -> Result<()> {
    let (head, lines) = journal::read(journal)?;
    let mut earlier: Vec<Earlier> =
        head.earlier.iter().map(|name| Earlier::open(&layout.own(name))).collect();
    let at = || path.to_path_buf();
    let new = path.with_extension("new");
    let sorted = Sorted::new(lines, &layout.own("sorting")).at(Operation::WriteManifest, at)?;
    let file = held::create(&new).at(Operation::WriteManifest, at)?;
    let mut file = BufWriter::with_capacity(1 << 16, file);
    for entry in sorted {
        let entry = entry.at(Operation::WriteManifest, at)?;
        let hash = match entry.known {
            Known::Hash(hash) | Known::Changing(hash) => Some(hash),
            Known::Earlier(number) => {
                earlier.get_mut(number as usize).and_then(|tree| tree.hash_of(&entry.path))
            }
        };
        let name = Path::new(OsStr::from_bytes(&entry.path));
        let line = hash.map(|hash| format_line(name, &hash));
        if let Some(line) = line.filter(|line| line.len() <= LINE_LIMIT + 1) {
            if matches!(entry.known, Known::Changing(_)) {
                file.write_all(&format_mark(name)).at(Operation::WriteManifest, at)?;
            }
            file.write_all(&line).at(Operation::WriteManifest, at)?;
        }
    }
    let file =
        file.into_inner().map_err(std::io::IntoInnerError::into_error).at(Operation::WriteManifest, at)?;
    drop(file);
    held::rename(&new, path).at(Operation::Rename, at)
}

/// Removes the manifests of snapshots that are not there any more.
pub(crate) fn remove_orphans(layout: &Layout) -> Result<()> {
    let manifests = layout.manifests();
    for name in held::list(&manifests).at(Operation::ListDirectory, || &manifests)? {
        let name = PathBuf::from(name);
        let snapshot = name.file_stem().filter(|_| name.extension() == Some(OsStr::new("b3")));
        let snapshot = snapshot.and_then(OsStr::to_str);
        if snapshot.is_none_or(|snapshot| !layout.may_have(snapshot)) {
            record::remove(&manifests.join(&name))?;
        }
    }
    Ok(())
}
