//! What a run begins with: its engine, and its root with the rules that hold there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::config::Config;
use crate::engine::Run;
use crate::engine::own::shed;
use crate::engine::run::staffing::THREADS;
use crate::engine::state::directory::Directory;
use crate::engine::state::file_systems::FileSystem;
use crate::engine::state::names::Names;
use crate::engine::state::pair::{Origin, Pair, SourceDirectory};
use crate::engine::workers::ring_thread::{RingThread, RingThreads};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Event, Notice};
use crate::files::key;
use crate::io::temporary::TemporaryNames;
use crate::metadata;
use crate::metadata::xattr::{self, Holder};
use crate::options::Engine;
use crate::plan::compare::Difference;
use crate::plan::privileges::Privileges;
use crate::plan::writers::Writers;
use crate::select::Scope;
use crate::stat::{Stat, Time, proc_path, stat_open};

/// The engine to use, its threads where these have rings, and why it is not the one hoped for.
#[derive(Default)]
pub(crate) struct Chosen {
    pub(crate) engine: Engine,
    pub(crate) rings: Vec<RingThread>,
    pub(crate) notice: Option<Notice>,
}

impl Chosen {
    /// No rings, but threads that are not started yet.
    fn threads(notice: Option<Notice>) -> Self {
        Chosen { engine: Engine::Threads, rings: Vec::new(), notice }
    }
}

/// Chooses the engine. `name` is what its threads are called, `subject` what a refusal names.
pub(crate) fn choose_engine(choice: Engine, jobs: usize, name: &str, subject: &Path) -> Result<Chosen> {
    if choice == Engine::Threads {
        return Ok(Chosen::threads(None));
    }
    let jobs = jobs.max(1);
    let RingThreads { threads, rings, refusal } = RingThreads::start(name, jobs)?;
    match refusal {
        None => Ok(Chosen { engine: Engine::Uring, rings: threads, notice: None }),
        Some(why) if choice == Engine::Uring => {
            Err(Error::new(Operation::StartEngine, subject, Cause::NoRing(why)))
        }
        Some(why) if rings == 0 => {
            let why = Cause::NoRing(why);
            Ok(Chosen::threads(Some(Notice::NoRings { threads: THREADS, why })))
        }
        Some(why) => {
            let notice = Notice::FewRings { rings, threads: jobs, why: Cause::NoRing(why) };
            Ok(Chosen { engine: Engine::Uring, rings: threads, notice: Some(notice) })
        }
    }
}

/// The names of what is not done, and why no later run will know them, if that is so. A dry run makes no key.
pub(super) fn temporary_names(config: &Config) -> Result<(TemporaryNames, Option<Notice>)> {
    let Some(state) = &config.state else { return Ok((TemporaryNames::of_this_run()?, None)) };
    let loaded = if config.writes() { key::load_or_make(state) } else { key::load(state) };
    match loaded {
        Ok(key) => Ok((TemporaryNames::new(key), None)),
        Err(_) if !config.writes() => Ok((TemporaryNames::of_this_run()?, None)),
        Err(error) => Ok((TemporaryNames::of_this_run()?, Some(Notice::NoKey(error)))),
    }
}

/// Only a thread can be left behind in the kernel: what a ring is told to do can't be taken back, and is done in the end.
pub(super) fn require_threads(config: &Config) -> Result<Chosen> {
    if config.engine == Engine::Uring {
        let cause = Cause::Refused("a time-out takes the engine of threads".into());
        return Err(Error::new(Operation::StartEngine, &config.source, cause));
    }
    Ok(Chosen::threads(None))
}

/// What is to be told of the power that root has not.
pub(super) fn limits_of_root(config: &Config) -> Option<Notice> {
    let limits = Privileges::of_process()
        .limits()
        .filter(|_| (config.keep.owner || config.keep.group) && config.writes());
    limits.map(Notice::LimitedRoot)
}

pub(super) fn open_root(run: &Arc<Run>) -> Result<Arc<Directory>> {
    let path = || &run.roots.source.path;
    let source =
        run.roots.source.fd.clone().ok_or(rustix::io::Errno::NOENT).at(Operation::UseSource, path)?;
    let stat = stat_open(&source).at(Operation::UseSource, path)?;
    let writers = Writers::of(&stat, run.rules.privileges.user);
    let destination = run.roots.destination.fd.clone();
    let holder = Holder::Link(proc_path(&source));
    let mut stat = metadata::adopt(stat, &holder, (&run.rules, allowed_of_root(run)), path)?;
    if run.roots.several.is_some() {
        stat.modified = Time::NEVER; // nothing is mirrored to DIR itself: what killed runs left in it is looked for
    }
    let have = destination.as_ref().map(stat_open).transpose().at(Operation::UseDestination, path)?;
    let mut file_system = Arc::default();
    if let (Some(fd), Some(stat)) = (&destination, &have) {
        run.file_systems.add(fd, stat);
        file_system = run.file_systems.of(fd, stat);
    }
    let existing = have.filter(|_| !run.roots.fresh);
    let implied = run.roots.single.is_some() || run.roots.several.is_some();
    let xattrs = if run.rules.keep.attributes() && !implied {
        let holder = Holder::Open(source.as_fd());
        let xattrs = xattr::read_source(&holder, &stat, &run.rules, path)?;
        if xattrs.hides_acl() {
            stat.mode = metadata::closed_to_others(stat.mode);
        }
        Some(xattrs)
    } else {
        None
    };
    let mut source = SourceDirectory { fd: source, stat, writers, xattrs };
    if let (Some(made), true) = (&have, run.roots.fresh) {
        source.inherit_setgid(made, run);
    }
    if let (Some(fd), Some(have), false) = (&destination, &existing, implied) {
        keep_mode(&mut source, (fd, have), &file_system, run);
    }
    let (narrowed, exposed) = match (&destination, &existing) {
        (Some(fd), Some(have)) if !implied => {
            source.narrow(fd, have, run, || run.roots.destination.path.clone())?
        }
        _ => (Difference::default(), false),
    };
    let names = run.roots.several.as_ref().map(|several| Arc::new(Names::known(several.names())));
    let origin = Origin { existing, exposed, file_system, names, ..Origin::default() };
    let pair = Pair::of_roots(source, destination, origin, narrowed.owner.is_some());
    pair.touched.store(!narrowed.is_empty(), Ordering::Relaxed);
    pair.remove_litter(run);
    run.directories.opened();
    let root = Directory::root(pair, implied);
    let scope = root_scope(run)?;
    let destination =
        run.roots.destination.fd.as_ref().filter(|_| run.heeds_kept_rules() && !run.roots.fresh);
    if let (Some(scope), Some(destination)) = (&scope, destination)
        && run.config.select.has_files()
    {
        root.set_kept(scope.with_files_of(destination)?);
    }
    root.set_scope(scope);
    Ok(root)
}

/// The permissions that DST itself may have where modes are left alone, if it is new: the default ACL that it has it from the
/// directory around it.
fn allowed_of_root(run: &Run) -> u32 {
    let rules = &run.rules;
    let inherits = !rules.keep.permissions && !rules.keep.acls && run.roots.fresh;
    let directory = run.roots.destination.fd.as_ref().filter(|_| inherits);
    directory.and_then(|fd| xattr::default_permissions(fd)).unwrap_or(0o777 & !rules.umask)
}

/// Keeps what DST itself, which has `have`, is to keep of its mode.
fn keep_mode(
    source: &mut SourceDirectory,
    (fd, have): (&OwnedFd, &Stat),
    file_system: &FileSystem,
    run: &Run,
) {
    source.keep_mode((fd, have), false, run); // it was named, and is trusted
    let (holder, path) = (Holder::Link(proc_path(fd)), || run.roots.destination.path.clone());
    let lack = shed::keep_mask((&mut source.stat, have), (&holder, file_system.is_faithful), run, path);
    if let Some(lack) = lack {
        run.report_blocking(Event::Failed(lack));
    }
}

/// The rules that hold in the source's root, if there are any. Several sources have none in common.
pub(super) fn root_scope(run: &Run) -> Result<Option<Arc<Scope>>> {
    let (select, root) = (&run.config.select, &run.roots.source);
    let has_rules = select.has_rules() && run.roots.several.is_none();
    let Some(fd) = root.fd.as_ref().filter(|_| has_rules) else { return Ok(None) };
    let path = root.path.canonicalize().at(Operation::UseSource, || &root.path)?;
    let scope = Scope::of_root(&Arc::new(select.clone()), &path, fd)?;
    // A dry run may have no destination.
    let mirror = run.roots.destination.path.canonicalize().ok();
    Ok(Some(Arc::new(match mirror {
        Some(mirror) => scope.mirrored_to(&mirror),
        None => scope,
    })))
}
