//! What the walk finds becomes directories of the run.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::run::Run;
use crate::engine::state::directory::Directory;
use crate::error::{Cause, Error, Operation};
use crate::event::Event;
use crate::options::{Delete, Unread};
use crate::roots::follow::Follow;
use crate::roots::several::Parent;
use crate::select::Scope;
use crate::walk::{Sink, Unlisted};

impl Sink for Run {
    type Directory = Arc<Directory>;

    fn child(&self, parent: &Arc<Directory>, name: CString) -> Arc<Directory> {
        Directory::child(parent, name)
    }

    fn around(&self, root: &Arc<Directory>, around: Arc<Parent>) -> Arc<Directory> {
        Directory::around(root, around)
    }

    fn follow(&self, directory: &Arc<Directory>, name: &CStr) -> Result<Follow, Cause> {
        self.way_to(directory, name)
    }

    fn mark_followed(&self, directory: &Arc<Directory>) {
        directory.mark_followed();
    }

    fn lend(&self, directory: &Arc<Directory>, fd: &Arc<OwnedFd>) {
        if self.directories.lend() {
            directory.keep_source(fd);
        }
    }

    fn set_scope(&self, directory: &Arc<Directory>, scope: Option<Arc<Scope>>) {
        directory.set_scope(scope);
    }

    fn hold(&self, directory: &Arc<Directory>) {
        directory.hold();
    }

    fn mark_leaf(&self, directory: &Arc<Directory>) {
        directory.mark_leaf();
    }

    fn mark_unlisted(&self, directory: &Arc<Directory>) {
        directory.mark_unlisted();
        if self.protects_below() {
            self.deletions.protect(directory.path());
        }
    }

    fn mark_elsewhere(&self, directory: &Arc<Directory>) {
        directory.mark_elsewhere();
        directory.mark_unlisted();
        if self.config.delete.is_some() {
            self.deletions.protect(directory.path());
        }
    }

    fn report_unlisted(&self, directory: &Arc<Directory>, Unlisted { name, operation, cause }: Unlisted) {
        self.mark_unlisted(directory);
        let empties =
            |delete: Delete| delete.unread == Unread::ProtectsNothing && !self.config.deletes_before();
        if name.is_none() && directory.around.is_none() && self.config.delete.is_some_and(empties) {
            self.deletions.add_unread(directory);
        }
        let path = match &name {
            Some(name) => self.source_path(&directory.path().join(name)),
            None => self.source_path_of(directory),
        };
        let is_of_all = name.is_none();
        let error = Error::new(operation, path, cause);
        if is_of_all && error.tells_vanished() {
            directory.mark_gone();
        } else {
            self.report_blocking(Event::Failed(error));
        }
    }

    fn report_failed(&self, directory: &Arc<Directory>, name: &CStr, cause: Cause) {
        let path = self.source_path(&directory.path_of(name));
        self.report_blocking(Event::Failed(Error::new(Operation::FollowLink, path, cause)));
    }

    fn mark_source_has_entries(&self) {
        self.deletions.mark_source_has_entries();
    }

    fn source_path(&self, directory: &Arc<Directory>) -> PathBuf {
        self.source_path_of(directory)
    }

    fn report(&self, event: Event) {
        self.report_blocking(event);
    }

    fn leave_behind(&self) {
        self.leave_behind();
    }
}
