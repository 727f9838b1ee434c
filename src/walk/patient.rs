//! `--timeout`: listing directories in a thread that can be left behind.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::error::{Cause, Operation, Result};
use crate::roots::follow::{Follow, Led};
use crate::walk::level::{Rest, Route};
use crate::walk::lister::{Lister, Told};
use crate::walk::listing::{Found, Unlisted};
use crate::walk::sink::Sink;
use crate::walk::tree::{LANDINGS, LONG_PATH, Walk};

/// Who lists, and how long an answer may take.
pub(super) struct TimedLister {
    lister: Lister,
    limit: Duration,
}

impl TimedLister {
    pub(super) fn start(limit: Duration) -> Result<Self> {
        Ok(TimedLister { lister: Lister::start()?, limit })
    }
}

impl<S: Sink> Walk<'_, S> {
    /// Has a directory listed to its end. One whose listing gives no answer for too long is left behind, and who listed it.
    pub(super) fn list_patiently(&mut self, directory: S::Directory, route: Route) -> Result<()> {
        let Some(patience) = &mut self.patience else { return Ok(()) };
        let (limit, length) = (patience.limit, route.below.len());
        let answers = patience.lister.list(route.clone());
        self.push_level(directory, route, None, Rest::nothing());
        let (mut names, depth) = (Vec::new(), self.levels.len());
        loop {
            match answers.recv_timeout(limit) {
                Ok(told) => {
                    if !told.into_iter().all(|told| self.take_told(told, length, &mut names)) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let (operation, cause) = (Operation::ListSource, Cause::TimedOut(limit));
                    self.report_unlisted(Unlisted { name: None, operation, cause });
                    self.sink.leave_behind();
                    self.patience = Some(TimedLister::start(limit)?);
                    break;
                }
            }
        }
        if let Some(top) = self.levels.get_mut(depth - 1) {
            top.rest = Rest::Directories(names.into_iter());
        }
        Ok(())
    }

    /// Follows a symlink; without `--timeout` in place.
    pub(super) fn go(&mut self, follow: Follow) -> std::result::Result<Led, Cause> {
        let Some(patience) = &mut self.patience else { return follow.go() };
        let limit = patience.limit;
        match patience.lister.follow(follow).recv_timeout(limit) {
            Ok(led) => led,
            Err(RecvTimeoutError::Disconnected) => Err(Cause::TimedOut(limit)),
            Err(RecvTimeoutError::Timeout) => {
                self.sink.leave_behind();
                self.patience = Some(TimedLister::start(limit).map_err(|error| error.cause)?);
                Err(Cause::TimedOut(limit))
            }
        }
    }

    /// Takes note of what the lister tells of the directory on top. Returns whether to go on with it.
    fn take_told(&mut self, told: Told, length: usize, names: &mut Vec<Found>) -> bool {
        match told {
            Told::Opened(fd, scope) => {
                let depth = self.levels.len();
                let goes_on = self.enter(&fd, scope);
                if self.levels.len() < depth {
                    return false;
                }
                let is_landing = length >= LONG_PATH && self.open < LANDINGS * self.most_open;
                let is_link = self.levels.last().is_some_and(|top| top.followed);
                if (self.open < self.most_open || is_landing || is_link)
                    && let Some(top) = self.levels.last_mut()
                {
                    top.fd = Some(fd);
                    self.open += 1;
                }
                return goes_on;
            }
            Told::Entry(found) if self.may_be_directory(found.kind) => names.push(found),
            Told::Entry(found) => self.add(found),
            Told::Unlisted(unlisted) => self.report_unlisted(unlisted),
        }
        true
    }
}
