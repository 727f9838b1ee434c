//! Extra files: lists the directory and names the regular files that the manifest lacks.
//!
//! walkdir works by path: it starts at the held directory's link in /proc/self/fd, and where a path nears `PATH_MAX`
//! it starts anew at a descriptor. Only names are taken from it, and nothing is opened by them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use walkdir::{DirEntry, WalkDir};

use super::feed::Known;
use super::report::{News, Verdict};
use super::{Check, MESSAGES, spawn};
use crate::error::{Cause, Error, Operation, Result};
use crate::metadata::proc_path;
use crate::plan::entry::{Inode, Stat};
use crate::walk::tree::{LONG_PATH, open_listings};

/// Starts the walk in its thread. `manifest` is the manifest itself, which is no extra file.
pub(super) fn start(
    check: &Arc<Check>,
    known: Known,
    manifest: Inode,
    directory: &Path,
) -> Result<(JoinHandle<()>, Receiver<Vec<News>>)> {
    let (news, events) = async_channel::bounded(MESSAGES);
    let directory = directory.to_path_buf();
    let thread = spawn("walk", check, &news, move |check, news| {
        let walk = Walk { check, known, manifest, directory, news };
        walk.list(check.base.as_fd(), Path::new(""));
        Ok(())
    })?;
    Ok((thread, events))
}

struct Walk<'a> {
    check: &'a Check,
    known: Known,
    manifest: Inode,
    /// As the user named it, for messages.
    directory: PathBuf,
    news: &'a Sender<Vec<News>>,
}

impl Walk<'_> {
    /// Lists the directory that `fd` holds, `below` the one of the run, and all beneath it.
    fn list(&self, fd: BorrowedFd<'_>, below: &Path) {
        let base = PathBuf::from(proc_path(fd));
        let mut tree = WalkDir::new(&base).min_depth(1).max_open(open_listings()).into_iter();
        while let Some(item) = tree.next() {
            if self.check.stop.is_stopped() {
                return;
            }
            match item {
                Ok(entry) if entry.file_type().is_file() => self.look_at(fd, &base, &entry, below),
                Ok(entry) if entry.file_type().is_dir() && entry.path().as_os_str().len() > LONG_PATH => {
                    tree.skip_current_dir();
                    self.list_apart(fd, relative(&base, entry.path()), below);
                }
                Ok(_) => {}
                Err(error) => {
                    let path = below.join(error.path().map_or(Path::new(""), |path| relative(&base, path)));
                    let cause = error.into_io_error().map_or_else(|| Cause::TypeChanged, Cause::from);
                    self.fail(&path, cause);
                }
            }
        }
    }

    fn list_apart(&self, fd: BorrowedFd<'_>, path: &Path, below: &Path) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(fd, path, flags, Mode::empty(), beneath) {
            Ok(inner) => self.list(OwnedFd::as_fd(&inner), &below.join(path)),
            Err(errno) => self.fail(&below.join(path), errno),
        }
    }

    fn look_at(&self, fd: BorrowedFd<'_>, base: &Path, entry: &DirEntry, below: &Path) {
        let path = relative(base, entry.path());
        let whole = below.join(path);
        if self.known.has(&whole) || self.is_manifest(fd, path) {
            return;
        }
        self.tell(News::File { path: whole, verdict: Verdict::Extra, bytes: 0 });
    }

    fn is_manifest(&self, fd: BorrowedFd<'_>, path: &Path) -> bool {
        let stat = rustix::fs::statx(fd, path, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        stat.is_ok_and(|stat| Stat::from(&stat).inode == self.manifest)
    }

    fn fail(&self, path: &Path, cause: impl Into<Cause>) {
        self.tell(News::Failed(Error::new(Operation::ListDirectory, self.directory.join(path), cause)));
    }

    fn tell(&self, news: News) {
        self.news.send_blocking(vec![news]).ok();
    }
}

fn relative<'a>(base: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(base).unwrap_or(path)
}
