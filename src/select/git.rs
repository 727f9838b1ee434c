//! `--gitignore`: what git would not track, by the .gitignore files on the way, .git/info/exclude and the user's own
//! list (gitignore(5)).

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::gitignore::gitconfig_excludes_path;
use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::path::open_directory;
use crate::select::git_pattern::Patterns;
use crate::select::rule_file;

/// The lists that hold in a directory; the last word is the innermost one's.
#[derive(Debug, Clone, Default)]
pub(super) struct Git {
    lists: Option<Arc<List>>,
    /// The user's own list: its patterns hold from the top of each repository.
    global: Option<Arc<Vec<u8>>>,
}

#[derive(Debug)]
struct List {
    /// Length of its directory's path, in bytes; 0 for the root of the file system.
    anchor: usize,
    patterns: Patterns,
    above: Option<Arc<List>>,
}

impl Git {
    /// Those from above a directory, if it lies in a repository.
    pub(super) fn above(path: &Path) -> Result<Self> {
        let global = gitconfig_excludes_path().and_then(|path| std::fs::read(path).ok()).map(Arc::new);
        let mut git = Git { lists: None, global };
        if path.join(".git").exists() {
            return Ok(git); // what is above is not about it
        }
        let Some(top) = path.ancestors().skip(1).find(|above| above.join(".git").exists()) else {
            return Ok(git);
        };
        let mut directories: Vec<&Path> =
            path.ancestors().skip(1).take_while(|above| above.starts_with(top)).collect();
        directories.reverse();
        for directory in directories {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(directory, flags, Mode::empty());
            git = git.enter(directory, &fd.at(Operation::ReadRules, || directory)?)?;
        }
        Ok(git)
    }

    /// With what a directory's own files say.
    pub(super) fn enter(&self, path: &Path, fd: &OwnedFd) -> Result<Self> {
        let mut git = self.clone();
        if rustix::fs::accessat(fd, ".git", Access::EXISTS, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            git.lists = None; // a repository of its own
            let exclude = match open_directory(fd, b".git/info") {
                Ok(info) => read_list(&info, path, "exclude")?,
                Err(_) => None,
            };
            let global = git.global.as_ref().map(|text| text.to_vec());
            for text in [global, exclude].into_iter().flatten() {
                git.push(path, &text)?;
            }
        }
        if let Some(text) = read_list(fd, path, ".gitignore")? {
            git.push(path, &text)?;
        }
        Ok(git)
    }

    /// Whether git would leave a path out.
    pub(super) fn ignores(&self, path: &Path, is_directory: bool) -> bool {
        let path = path.as_os_str().as_bytes();
        let lists = std::iter::successors(self.lists.as_deref(), |list| list.above.as_deref());
        let below = |list: &List| path.get(list.anchor + 1..).unwrap_or_default();
        lists.into_iter().find_map(|list| list.patterns.ignores(below(list), is_directory)).unwrap_or(false)
    }

    fn push(&mut self, directory: &Path, text: &[u8]) -> Result<()> {
        let refused = |error: regex::Error| {
            let path = directory.join(".gitignore");
            Error::new(Operation::ReadRules, path, Cause::Refused(error.to_string()))
        };
        let patterns = Patterns::read(text).map_err(refused)?;
        let anchor = match directory.as_os_str().len() {
            1 => 0,
            length => length,
        };
        self.lists = Some(Arc::new(List { anchor, patterns, above: self.lists.take() }));
        Ok(())
    }
}

/// Reads a list in a directory. One that is a symlink is passed over, as git does.
fn read_list(directory: &OwnedFd, path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    match rule_file::read(directory, OsStr::new(name)).at(Operation::ReadRules, || path.join(name)) {
        Err(error) if error.errno() == Some(Errno::LOOP) => Ok(None),
        other => other,
    }
}
