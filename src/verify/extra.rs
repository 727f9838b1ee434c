//! Extra files: lists the directory and all beneath it, never through a symlink, and names the regular files that the
//! manifest lacks.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_channel::{Receiver, Sender};
use rustix::fs::AtFlags;

use crate::error::{Cause, Error, Operation, Result};
use crate::event::Kind;
use crate::stat::{Inode, Stat};
use crate::verify::feed::Known;
use crate::verify::report::{News, Verdict};
use crate::verify::verification::{MESSAGES, Verification, spawn};
use crate::walk::listing::Listing;

/// Starts the walk in its thread. `manifest` is the manifest itself, which is no extra file.
pub(super) fn start(
    verification: &Arc<Verification>,
    known: Known,
    manifest: Inode,
    directory: &Path,
) -> Result<(JoinHandle<()>, Receiver<Vec<News>>)> {
    let (news, events) = async_channel::bounded(MESSAGES);
    let directory = directory.to_path_buf();
    let thread = spawn("walk", verification, &news, move |verification, news| {
        ExtraWalk { verification, known, manifest, directory, news }.list_all();
        Ok(())
    })?;
    Ok((thread, events))
}

struct ExtraWalk<'a> {
    verification: &'a Verification,
    known: Known,
    manifest: Inode,
    /// As the user named it, for messages.
    directory: PathBuf,
    news: &'a Sender<Vec<News>>,
}

impl ExtraWalk<'_> {
    /// Lists the directory of the run, and all beneath it. Each is opened from the first: none stays open meanwhile.
    fn list_all(&self) {
        let mut path = PathBuf::new();
        // From the first directory down to the one that is being listed: subdirectories still to come.
        let mut levels = vec![self.list(&path)];
        while let Some(level) = levels.last_mut() {
            if self.verification.stop.is_stopped() {
                return;
            }
            match level.pop() {
                Some(name) => {
                    path.push(name);
                    levels.push(self.list(&path));
                }
                None => {
                    levels.pop();
                    path.pop();
                }
            }
        }
    }

    /// Tells of what is extra in one directory, and returns its subdirectories.
    fn list(&self, path: &Path) -> Vec<PathBuf> {
        let mut subdirectories = Vec::new();
        let listing = match Listing::open(&self.verification.base, path.as_os_str().as_bytes()) {
            Ok(listing) => listing,
            Err(errno) => {
                self.fail(path, errno);
                return subdirectories;
            }
        };
        let fd = listing.fd.clone();
        for entry in listing.take_while(|_| !self.verification.stop.is_stopped()) {
            match entry {
                Ok(found) if found.kind == Kind::Directory => {
                    subdirectories.push(name_of(&found.name).into())
                }
                Ok(found) if found.kind == Kind::File => self.look_at(&fd, path, &found.name),
                Ok(_) => {}
                Err(unlisted) => self.fail(&path.join(unlisted.name.unwrap_or_default()), unlisted.cause),
            }
        }
        subdirectories
    }

    fn look_at(&self, fd: &OwnedFd, path: &Path, name: &CStr) {
        let whole = path.join(name_of(name));
        if self.known.has(&whole) || self.is_manifest(fd, name) {
            return;
        }
        self.tell(News::File { path: whole, verdict: Verdict::Extra, bytes: 0 });
    }

    fn is_manifest(&self, fd: &OwnedFd, name: &CStr) -> bool {
        let stat = rustix::fs::statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS);
        stat.is_ok_and(|stat| Stat::from(&stat).inode == self.manifest)
    }

    fn fail(&self, path: &Path, cause: impl Into<Cause>) {
        self.tell(News::Failed(Error::new(Operation::ListDirectory, self.directory.join(path), cause)));
    }

    fn tell(&self, news: News) {
        self.news.send_blocking(vec![news]).ok();
    }
}

fn name_of(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}
