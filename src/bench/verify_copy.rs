//! Whether a copy is right: every name, type and byte is compared with the source. What of the metadata was not kept is
//! noted, and no error: some tools leave it out by design.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use walkdir::WalkDir;

use crate::bench::plan::go_on;
use ringsync::{Escaped, Stop};

/// How much is compared at once, in bytes.
const BUFFER: usize = 64 << 10;
/// File systems round what a file takes by less than this, in bytes.
const LEAST_HOLE: u64 = 256 << 10;
/// In the unit of `st_blocks`.
const BLOCK: u64 = 512;

/// What a comparison found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The first thing that is wrong, and how many more there are.
    wrong: Option<(String, u64)>,
    /// What of the metadata was not kept.
    pub(crate) lost: BTreeSet<&'static str>,
    /// Where the first name of an inode with several of them was copied to.
    leaders: HashMap<(u64, u64), u64>,
}

impl Verdict {
    /// What is wrong, in one line.
    pub(crate) fn wrong(&self) -> Option<String> {
        let (first, count) = self.wrong.as_ref()?;
        Some(if *count == 1 { first.clone() } else { format!("{first} (and {} more)", count - 1) })
    }

    fn complain(&mut self, path: &Path, what: &str) {
        match &mut self.wrong {
            Some((_, count)) => *count += 1,
            None => {
                let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
                self.wrong = Some((format!("{}: {what}", Escaped::path(path)), 1));
            }
        }
    }
}

/// Compares a copy with its source.
///
/// # Errors
/// When the source can't be read, or the run is interrupted.
pub(crate) fn compare(source: &Path, destination: &Path, stop: &Stop) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut entries = 0_u64;
    for entry in WalkDir::new(source) {
        go_on(stop)?;
        let entry = entry.context("read the source")?;
        let below = entry.path().strip_prefix(source).context("read the source")?;
        let metadata = entry.metadata().context("read the source")?;
        entries += 1;
        match destination.join(below).symlink_metadata() {
            Err(error) => verdict.complain(below, &lacking(&error)),
            Ok(copy) => {
                let pair = Pair { source, destination, below, from: &metadata, to: &copy };
                pair.compare(&mut verdict, stop)?;
            }
        }
    }
    surplus(destination, source, entries, &mut verdict, stop)?;
    Ok(verdict)
}

fn lacking(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound { "is missing".into() } else { error.to_string() }
}

/// Complains of what only the destination has. It is looked for only where the numbers show that there must be some.
fn surplus(
    destination: &Path,
    source: &Path,
    entries: u64,
    verdict: &mut Verdict,
    stop: &Stop,
) -> anyhow::Result<()> {
    let list = || WalkDir::new(destination).into_iter().filter_map(Result::ok);
    if list().count() as u64 == entries && verdict.wrong.is_none() {
        return Ok(());
    }
    for entry in list() {
        go_on(stop)?;
        if let Ok(below) = entry.path().strip_prefix(destination)
            && source.join(below).symlink_metadata().is_err()
        {
            verdict.complain(below, "is not in the source");
        }
    }
    Ok(())
}

/// An entry and its copy.
struct Pair<'a> {
    source: &'a Path,
    destination: &'a Path,
    below: &'a Path,
    from: &'a Metadata,
    to: &'a Metadata,
}

impl Pair<'_> {
    fn compare(&self, verdict: &mut Verdict, stop: &Stop) -> anyhow::Result<()> {
        let (from, to) = (self.from, self.to);
        let path =
            |root: &Path| if self.below.as_os_str().is_empty() { root.into() } else { root.join(self.below) };
        let (source, destination): (PathBuf, PathBuf) = (path(self.source), path(self.destination));
        if from.mode() & libc::S_IFMT != to.mode() & libc::S_IFMT {
            verdict.complain(self.below, "is of another type");
        } else if from.is_file() {
            if from.len() != to.len() {
                verdict.complain(self.below, "is of another size");
            } else {
                match File::open(&destination) {
                    Err(error) => verdict.complain(self.below, &format!("can't be read: {error}")),
                    Ok(copy) => {
                        let same = same_contents(&source, copy, stop);
                        if !same.with_context(|| format!("compare {}", Escaped::path(&destination)))? {
                            verdict.complain(self.below, "has other contents");
                        }
                    }
                }
            }
        } else if from.is_symlink() {
            if std::fs::read_link(source)? != std::fs::read_link(destination)? {
                verdict.complain(self.below, "has another target");
            }
        } else if !from.is_dir() && from.rdev() != to.rdev() {
            verdict.complain(self.below, "is another device");
        }
        self.note_losses(verdict);
        Ok(())
    }

    fn note_losses(&self, verdict: &mut Verdict) {
        let (from, to) = (self.from, self.to);
        if (from.mtime(), from.mtime_nsec()) != (to.mtime(), to.mtime_nsec()) {
            verdict.lost.insert(match () {
                () if from.is_dir() => "times of directories",
                () if from.is_symlink() => "times of symlinks",
                () => "times",
            });
        }
        if from.mode() != to.mode() && !from.is_symlink() {
            verdict.lost.insert("mode");
        }
        if (from.uid(), from.gid()) != (to.uid(), to.gid()) {
            verdict.lost.insert("owner");
        }
        if from.is_file() && is_filled(from, to) {
            verdict.lost.insert("holes");
        }
        if !from.is_dir() && from.nlink() > 1 {
            let copy = to.ino();
            if *verdict.leaders.entry((from.dev(), from.ino())).or_insert(copy) != copy {
                verdict.lost.insert("hard links");
            }
        }
    }
}

/// Whether the larger part of a file's holes is none in its copy.
fn is_filled(from: &Metadata, to: &Metadata) -> bool {
    let (before, after) = (from.blocks() * BLOCK, to.blocks() * BLOCK);
    let hole = from.len().saturating_sub(before);
    hole >= LEAST_HOLE && after > before + hole / 2
}

fn same_contents(source: &Path, mut copy: File, stop: &Stop) -> anyhow::Result<bool> {
    let mut source = File::open(source)?;
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        go_on(stop)?;
        let length = fill(&mut source, &mut left)?;
        if length != fill(&mut copy, &mut right)? || left[..length] != right[..length] {
            return Ok(false);
        }
        if length < BUFFER {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    /// A tree, an exact copy of it, and what is found after a change to the copy.
    fn after(change: impl Fn(&Path)) -> Verdict {
        let home = tempfile::tempdir().unwrap();
        let (source, copy) = (home.path().join("a"), home.path().join("b"));
        fs::create_dir_all(source.join("d")).unwrap();
        fs::write(source.join("d/file"), vec![7; 3 * BUFFER]).unwrap();
        fs::hard_link(source.join("d/file"), source.join("name")).unwrap();
        fs::write(source.join("empty"), "").unwrap();
        symlink("file", source.join("d/link")).unwrap();
        fs::File::create(source.join("hole")).unwrap().set_len(4 << 20).unwrap();
        assert!(Command::new("cp").arg("-aT").args([&source, &copy]).status().unwrap().success());
        change(&copy);
        compare(&source, &copy, &Stop::default()).unwrap()
    }

    #[test]
    fn an_exact_copy_is_right() {
        let verdict = after(|_| {});
        assert_eq!((verdict.wrong(), verdict.lost.len()), (None, 0), "{verdict:?}");
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        let wrong = |change: &dyn Fn(&Path)| after(change).wrong().unwrap();
        let byte = |copy: &Path| {
            let mut bytes = fs::read(copy.join("d/file")).unwrap();
            *bytes.last_mut().unwrap() = 8;
            fs::remove_file(copy.join("d/file")).unwrap();
            fs::write(copy.join("d/file"), bytes).unwrap();
        };
        assert_eq!(wrong(&byte), "d/file: has other contents");
        assert_eq!(wrong(&|copy| fs::write(copy.join("empty"), "x").unwrap()), "empty: is of another size");
        assert_eq!(wrong(&|copy| fs::write(copy.join("more"), "x").unwrap()), "more: is not in the source");
        assert_eq!(wrong(&|copy| fs::remove_file(copy.join("empty")).unwrap()), "empty: is missing");
        let directory = |copy: &Path| {
            fs::remove_file(copy.join("empty")).unwrap();
            fs::create_dir(copy.join("empty")).unwrap();
        };
        assert_eq!(wrong(&directory), "empty: is of another type");
        let target = |copy: &Path| {
            fs::remove_file(copy.join("d/link")).unwrap();
            symlink("else", copy.join("d/link")).unwrap();
        };
        assert_eq!(wrong(&target), "d/link: has another target");
        assert_eq!(wrong(&|copy| fs::remove_dir_all(copy).unwrap()), ".: is missing (and 6 more)");
    }

    #[test]
    fn what_is_not_kept_is_noted() {
        let lost = |change: &dyn Fn(&Path)| {
            let verdict = after(change);
            assert_eq!(verdict.wrong(), None);
            verdict.lost.into_iter().collect::<Vec<_>>()
        };
        let mode =
            |copy: &Path| fs::set_permissions(copy.join("empty"), PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(lost(&mode), ["mode"]);
        let time = |copy: &Path| {
            fs::File::open(copy.join("empty"))
                .unwrap()
                .set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap();
        };
        assert_eq!(lost(&time), ["times"]);
        let hole = |copy: &Path| fs::write(copy.join("hole"), vec![0; 4 << 20]).unwrap();
        assert_eq!(lost(&hole), ["holes", "times"]);
        let link = |copy: &Path| {
            fs::remove_file(copy.join("name")).unwrap();
            fs::copy(copy.join("d/file"), copy.join("name")).unwrap();
        };
        assert_eq!(lost(&link), ["hard links", "times", "times of directories"]);
    }
}
