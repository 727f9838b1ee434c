//! Symlinks of the source that stand for what they lead to: `--copy-links`, `--copy-dirlinks`, `--copy-unsafe-links`.
//! The walk asks where each leads, and goes on in directories; all else is for the tasks, which ask again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Astray, Cause, Operation, Result};
use crate::event::Kind;
use crate::options;
use crate::plan::symlinks::is_unsafe;
use crate::roots::follow::Follow;
use crate::stat::Inode;
use crate::walk::listing::{Found, Unlisted};
use crate::walk::sink::Sink;
use crate::walk::tree::Walk;

impl<S: Sink> Walk<'_, S> {
    /// Whether what has this type may be a directory, or stand for one.
    pub(super) fn may_be_directory(&self, kind: Kind) -> bool {
        kind == Kind::Directory || kind == Kind::Symlink && self.follows
    }

    /// Takes a symlink of the directory on top for what it leads to, if it stands for that.
    pub(super) fn meet_link(&mut self, found: Found) -> Result<()> {
        if self.is_hidden(&found) {
            return Ok(());
        }
        let Some(top) = self.levels.last() else { return Ok(()) };
        let is_on_the_way =
            top.names.as_ref().and_then(|names| names.child(&found.name)).is_some_and(|node| !node.named);
        let follow = self.sink.follow(&top.directory, &found.name);
        let led = match &follow {
            Ok(follow) => self.go(follow.clone()),
            Err(_) => Err(Cause::TypeChanged), // the task finds out once more why
        };
        let kind = led.as_ref().map_or(Kind::Symlink, |led| led.stat.kind);
        let options = self.config.symlinks;
        let stands_for_it = match options.follow {
            options::Follow::All => true,
            options::Follow::Directories if kind == Kind::Directory => true,
            _ => {
                let leads_out = |follow: &Follow| {
                    follow.target().is_ok_and(|target| is_unsafe(target.to_bytes(), follow.depth()))
                };
                options.follow_unsafe && follow.as_ref().is_ok_and(leads_out)
            }
        };
        match (led, follow) {
            (Ok(led), Ok(follow)) if stands_for_it && kind == Kind::Directory && led.astray.is_none() => {
                if self.is_round_to(Some(led.stat.inode)) {
                    return self.fail(&found, Cause::NotFollowed(Astray::Round));
                }
                self.descend(Found { kind, ..found }, Some(Arc::new(follow)))
            }
            _ if is_on_the_way => {
                let (name, operation) =
                    (Some(OsStr::from_bytes(found.name.to_bytes()).into()), Operation::FindPath);
                let cause = Errno::NOTDIR.into();
                self.report_unlisted(Unlisted { name, operation, cause });
                Ok(())
            }
            _ => {
                // A directory that is not to be followed fails in the task.
                let kind = if stands_for_it && kind != Kind::Directory { kind } else { Kind::Symlink };
                self.add_entry(Found { kind, ..found }, stands_for_it);
                Ok(())
            }
        }
    }

    fn fail(&self, found: &Found, cause: Cause) -> Result<()> {
        if let Some(top) = self.levels.last() {
            self.sink.report_failed(&top.directory, &found.name, cause);
        }
        Ok(())
    }

    /// Whether the directory on top, which is this one, lies in itself.
    pub(super) fn is_round(&self, inode: Option<Inode>) -> bool {
        let above = self.levels.len().saturating_sub(1);
        inode.is_some() && self.levels[..above].iter().any(|level| level.inode == inode)
    }

    /// Whether this directory is the one on top, or lies above it.
    fn is_round_to(&self, inode: Option<Inode>) -> bool {
        self.levels.iter().any(|level| level.inode == inode)
    }
}
