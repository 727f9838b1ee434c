//! `--delete-before`: what the destination has beyond the source is found by a walk of its own, judged, and removed before
//! anything is copied, so that there is room for it. Errors of the source are left to the walk to come, which reports them.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::delete::extras::Done;
use crate::engine::delete::{collect, unread};
use crate::engine::state::deletions::Begun;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::{Origin, Pair, SourceDirectory};
use crate::error::{Cause, Context, Operation, Result};
use crate::event::Event;
use crate::io::path::open_to_list;
use crate::options::{Delete, Unread};
use crate::plan::writers::Writers;
use crate::roots::follow::Follow;
use crate::roots::several::Parent;
use crate::select::Scope;
use crate::stat::stat_open;
use crate::walk::{self, Parcel, Sink, Unlisted};

/// Removes what may be removed. `root` has the rules that hold at the top.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn clear(run: &Run, root: &Directory) -> Result<()> {
    let Some(delete) = run.config.delete.filter(|_| run.roots.single.is_none() && !run.roots.fresh) else {
        return Ok(());
    };
    let (sender, parcels) = async_channel::unbounded();
    let ahead = Ahead { run, parcels, unread: Mutex::default() };
    let scope = root.scope().cloned();
    let top = Place::new(None, CString::default(), root.kept.clone());
    walk::walk((&run.config, &run.roots, &run.stop), (Arc::new(top), scope), &ahead, &sender)?;
    ahead.empty_unread();
    run.protect_left_mounts();
    let (mut doomed, _, _) = run.deletions.take();
    if run.stop.is_stopped() {
        return Ok(());
    }
    let mut begun = Begun::default();
    if collect::holds_back(run, delete) {
        doomed.clear();
        begun.held_back = true;
    }
    match collect::may_delete(run, &doomed, 0, delete, None) {
        Ok(()) => begun.count = collect::remove(run, doomed, delete, None),
        Err(error) => {
            begun.refused = true;
            run.report_blocking(Event::Failed(error));
        }
    }
    run.deletions.set_begun(begun);
    Ok(())
}

/// A directory of the source.
struct Place {
    parent: Option<Arc<Place>>,
    /// That of one around sources has none.
    name: CString,
    /// As the walk opened it, until its rules are known.
    source: Mutex<Option<Arc<OwnedFd>>>,
    scope: OnceLock<Arc<Scope>>,
    /// The rules that its mirror has itself.
    kept: OnceLock<Arc<Scope>>,
}

impl Drop for Place {
    /// Lets go of the parents one by one.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut place) = parent.and_then(Arc::into_inner) {
            parent = place.parent.take();
        }
    }
}

impl Place {
    fn new(parent: Option<Arc<Place>>, name: CString, kept: OnceLock<Arc<Scope>>) -> Self {
        let (source, scope) = (Mutex::default(), OnceLock::new());
        Place { parent, name, source, scope, kept }
    }

    /// Whether only its subdirectories are mirrored, as of one around sources.
    fn is_implied(&self) -> bool {
        self.parent.is_some() && self.name.is_empty()
    }

    fn path(&self) -> PathBuf {
        let places = std::iter::successors(Some(self), |place| place.parent.as_deref());
        let names: Vec<&CString> = places.map(|place| &place.name).filter(|name| !name.is_empty()).collect();
        names.into_iter().rev().map(|name| OsStr::from_bytes(name.to_bytes())).collect()
    }

    fn scopes(&self) -> Vec<Arc<Scope>> {
        self.scope.get().into_iter().chain(self.kept.get()).cloned().collect()
    }
}

/// Takes what the walk finds.
struct Ahead<'a> {
    run: &'a Run,
    parcels: async_channel::Receiver<Parcel<Arc<Place>>>,
    /// Directories that can't be listed.
    unread: Mutex<Vec<Arc<Place>>>,
}

impl Ahead<'_> {
    /// Takes note of what the mirror of a directory has beyond it.
    fn look(&self, place: &Place, source: Arc<OwnedFd>) -> Result<()> {
        let (run, path) = (self.run, place.path());
        let at = || run.destination_path(&path);
        let Some(root) = &run.roots.destination.fd else { return Ok(()) };
        let mirror = match open_to_list(root, path.as_os_str().as_bytes()) {
            // It has none, or something else is in its place.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            opened => Arc::new(opened.at(Operation::OpenDestination, at)?),
        };
        let have = stat_open(&mirror).at(Operation::StatDestination, at)?;
        let above = place.parent.as_ref().and_then(|parent| parent.kept.get());
        if let Some(above) = above.filter(|_| run.config.select.has_files()) {
            let kept = above.enter(&place.name, &mirror);
            let kept = kept.inspect_err(|_| run.deletions.protect(path.clone()))?;
            place.kept.get_or_init(|| Arc::new(kept));
        }
        let stat = stat_open(&source).at(Operation::StatSource, || run.source_path(&path))?;
        let file_system = run.file_systems.of(&mirror, &have);
        let source = SourceDirectory { fd: source, stat, writers: Writers::default(), xattrs: None };
        let origin = Origin { existing: Some(have), file_system, ..Origin::default() };
        let pair = Arc::new(Pair::new(source, Some(mirror), origin));
        if let Some(doomed) = Done::ahead(pair, path, place.scopes()).extras(run)? {
            run.deletions.add(doomed);
        }
        Ok(())
    }

    /// Takes note of what goes from the mirrors of directories that can't be listed, where these protect nothing.
    fn empty_unread(&self) {
        for place in std::mem::take(&mut *self.unread.lock().unwrap_or_else(PoisonError::into_inner)) {
            let above = place.parent.as_ref().map(|above| above.scopes()).unwrap_or_default();
            let scopes = above.iter().map(|scope| Arc::new(scope.below(&place.name))).collect();
            unread::add_extras(self.run, place.path(), scopes);
        }
    }
}

impl Sink for Ahead<'_> {
    type Directory = Arc<Place>;

    fn child(&self, parent: &Arc<Place>, name: CString) -> Arc<Place> {
        while self.parcels.try_recv().is_ok() {} // entries that are no directories are not asked about
        Arc::new(Place::new(Some(parent.clone()), name, OnceLock::new()))
    }

    fn around(&self, root: &Arc<Place>, _around: Arc<Parent>) -> Arc<Place> {
        Arc::new(Place::new(Some(root.clone()), CString::default(), OnceLock::new()))
    }

    /// No run follows symlinks that deletes first.
    fn follow(&self, _: &Arc<Place>, _: &CStr) -> Result<Follow, Cause> {
        Err(Errno::LOOP.into())
    }

    fn mark_followed(&self, _: &Arc<Place>) {}

    fn report_failed(&self, _: &Arc<Place>, _: &CStr, _: Cause) {
        self.run.deletions.mark_read_failed();
    }

    fn lend(&self, directory: &Arc<Place>, fd: &Arc<OwnedFd>) {
        *directory.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(fd.clone());
    }

    fn set_scope(&self, directory: &Arc<Place>, scope: Option<Arc<Scope>>) {
        if let Some(scope) = scope {
            directory.scope.get_or_init(|| scope);
        }
        let lent = directory.source.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_root = directory.parent.is_none() && self.run.roots.several.is_none();
        let source = lent.or_else(|| self.run.roots.source.fd.clone().filter(|_| is_root));
        if let Some(source) = source.filter(|_| !directory.is_implied())
            && let Err(error) = self.look(directory, source)
        {
            self.run.report_blocking(Event::Failed(error));
        }
    }

    fn hold(&self, _: &Arc<Place>) {}

    fn mark_leaf(&self, _: &Arc<Place>) {}

    fn mark_unlisted(&self, directory: &Arc<Place>) {
        if self.run.protects_below() {
            self.run.deletions.protect(directory.path());
        }
    }

    fn mark_elsewhere(&self, directory: &Arc<Place>) {
        self.run.deletions.protect(directory.path());
    }

    fn report_unlisted(&self, directory: &Arc<Place>, Unlisted { name, .. }: Unlisted) {
        self.mark_unlisted(directory);
        self.run.deletions.mark_read_failed();
        let empties = |delete: Delete| delete.unread == Unread::ProtectsNothing;
        if name.is_none() && !directory.is_implied() && self.run.config.delete.is_some_and(empties) {
            self.unread.lock().unwrap_or_else(PoisonError::into_inner).push(directory.clone());
        }
    }

    fn mark_source_has_entries(&self) {
        self.run.deletions.mark_source_has_entries();
    }

    fn source_path(&self, directory: &Arc<Place>) -> PathBuf {
        self.run.source_path(&directory.path())
    }

    fn report(&self, event: Event) {
        if let Event::Failed(_) = event {
            self.run.deletions.mark_read_failed();
        }
    }

    fn leave_behind(&self) {
        self.run.leave_behind();
    }
}
