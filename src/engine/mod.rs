//! The pipeline's phases: open the roots, start the threads, walk, gather, join.

mod backup;
pub(crate) mod check;
mod delete;
pub(crate) mod directory;
pub(crate) mod entry;
mod finish;
pub(crate) mod own;
pub(crate) mod primitives;
pub(crate) mod progress;
pub(crate) mod refuse;
pub(crate) mod run;
pub(crate) mod setup;
pub mod stages;
pub(crate) mod state;
mod strangers;
pub(crate) mod workers;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;

use crate::config::Config;
use crate::engine::own::litter::is_empty;
use crate::engine::progress::Progress;
use crate::engine::progress::manifest::Hashes;
use crate::engine::run::staffing::Staffing;
use crate::engine::run::{Beside, new_run};
use crate::engine::setup::{limits_of_root, open_root, require_threads, temporary_names};
use crate::engine::state::watched::Watched;
use crate::engine::workers::stall::Stalls;
use crate::engine::workers::threads::start_workers;
use crate::engine::workers::watchdog::Watchdog;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Mode, Reporter, Start, Summary};
use crate::files::trace::TraceFile;
use crate::io::limits::raise_descriptor_limit;
use crate::roots::lock::{Locking, lock};
use crate::roots::{self, Roots};
use crate::stop::Stop;

pub(crate) use crate::engine::run::Run;
pub(crate) use crate::engine::setup::{Chosen, choose_engine};
pub(crate) use crate::engine::state::file_systems::is_flush_refusal;

/// Runs `config` to its end and tells `reporter` what happens. The calling thread is blocked until then: a task of tokio's
/// calls this in `tokio::task::spawn_blocking`.
///
/// # Errors
/// When nothing could be started: SRC or DST can't be used, options contradict each other, the engine is not to be had, or
/// the caller is a task of tokio's. What fails later, a file's error among them, is in the summary.
///
/// The program's exit code is then [`EXIT_UNUSABLE`](crate::EXIT_UNUSABLE), 3, whatever the error's
/// [`outcome`](crate::Error::outcome) is.
pub fn sync(config: &Config, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Summary> {
    refuse::refuse_task(&config.source)?;
    refuse::refuse_contradictions(config)?;
    let descriptors = raise_descriptor_limit();
    let Chosen { engine, rings, notice } = match config.timeout {
        Some(_) => require_threads(config)?,
        None => choose_engine(config.engine, config.jobs, "copy", &config.source)?,
    };
    let held = config.clone();
    let (temporary, unknown) = within(config, move || temporary_names(&held))?;
    let notices = notice.into_iter().chain(unknown).chain(limits_of_root(config)).collect();
    // Before anything is written: what can't be used is to be told first.
    let manifest = config.manifest();
    let (begun, opened) = (manifest.map(Path::to_path_buf), config.clone());
    let (names, traced) = (temporary.clone(), config.clone());
    let (mut manifest, trace) = within(config, move || {
        let trees = traced.trees();
        let manifest = begun.as_deref().map(|path| Hashes::create(path, &trees, names)).transpose()?;
        let trace = traced.trace.as_deref().map(|path| TraceFile::create(path, &trees)).transpose()?;
        Ok((manifest, trace))
    })?;
    let staffing = Staffing::new(config, engine, descriptors);
    let Staffing { threads, tasks, .. } = staffing;
    let Config { mode, fsync, reuse, .. } = *config;
    let reuse = (!config.link_dest.is_empty()).then_some(reuse);
    let mut start = Start { engine, threads, tasks, notices, missing: Vec::new(), mode, fsync, reuse };
    let roots = match open_roots(config, stop) {
        Err(error) if matches!(error.cause, Cause::Interrupted) => {
            return Ok(Progress::new(reporter, stop, manifest, trace)?.refuse(&start, error));
        }
        roots => roots?,
    };
    let (roots, mut beside) = within(config, move || {
        let beside = Beside::open(&opened, &roots)?;
        Ok((roots, beside))
    })?;
    start.missing = std::mem::take(&mut beside.missing);
    let (run, parcel_sender, events) = new_run(config, roots, beside, temporary, &staffing);
    let held = run.clone();
    let root = within(config, move || strangers::refuse(&held).and_then(|()| open_root(&held)));
    if let (Some(manifest), Some(single)) = (&mut manifest, &run.roots.single) {
        manifest.set_single(OsStr::from_bytes(single.destination.to_bytes()));
    }
    let mut progress = Progress::new(reporter, stop, manifest, trace)?;
    if !config.link_dest.is_empty() {
        progress.count_directories_apart();
    }
    let root = match root {
        Err(error) if matches!(error.cause, Cause::NothingShared { .. }) => {
            return Ok(progress.refuse(&start, error));
        }
        root => root?,
    };
    let watched: Vec<_> = config.timeout.iter().flat_map(|_| (0..threads).map(|_| Watched::new())).collect();
    let workers = start_workers(&run, rings, tasks, root, parcel_sender, &watched);
    let workers = workers.inspect_err(|_| run.abandon())?;
    let watchdog = config.timeout.map(|limit| Watchdog::new(&run, watched, limit));
    let watch = (watchdog, Stalls::new(&run));
    let summary = progress.gather(&start, events, &run.stop, || run.abandon(), watch);
    if !summary.stuck {
        workers.into_iter().for_each(|worker| drop(worker.join()));
    }
    Ok(summary)
}

/// Opens SRC and DST, and locks DST if the run is to have it alone. To wait for another run is no hang.
fn open_roots(config: &Config, stop: &Stop) -> Result<Roots> {
    loop {
        let opened = config.clone();
        let mut roots = within(config, move || roots::open(&opened))?;
        if lock(&roots.destination, config, stop)? == Locking::Waited {
            continue;
        }
        if let (true, Some(_), Some(fd)) = (roots.fresh, config.lock, &roots.destination.fd) {
            // Another run may have had it between its making and its locking.
            roots.fresh = is_empty(fd, c".").unwrap_or(false);
        }
        return Ok(roots);
    }
}

/// Does what may wait for the kernel, no longer than `--timeout` allows.
pub(crate) fn within<T: Send + 'static>(
    config: &Config,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let Some(limit) = config.timeout else { return work() };
    let (sender, receiver) = std::sync::mpsc::channel();
    let body = move || drop(sender.send(work()));
    thread::Builder::new().name("open".into()).spawn(body).at(Operation::StartEngine, || "threads")?;
    // Whichever of them hangs, the run is not begun.
    let late = |_| Err(Error::new(Operation::Run, &config.source, Cause::TimedOut(limit)));
    receiver.recv_timeout(limit).unwrap_or_else(late)
}

/// Compares the trees and writes nothing. What differs is reported as a sync would mend it; what only the destination
/// has, as [`Deleted`](crate::event::Action::Deleted). The outcome is [`Outcome::Done`](crate::Outcome::Done) if they
/// are equal. It blocks as [`sync`] does.
///
/// # Errors
/// As for [`sync`], with the same exit code; also where the destination does not exist.
pub fn check(config: &Config, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Summary> {
    refuse::refuse_task(&config.source)?;
    let destination = &config.destination;
    std::fs::metadata(destination).at(Operation::UseDestination, || destination)?;
    let config = Config { mode: Mode::Check, make_parents: false, ..config.clone() };
    sync(&config, reporter, stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::state::batch::Parcel;
    use crate::engine::workers::threads::spawn_thread;
    use crate::error::Outcome;
    use crate::event::Silent;
    use crate::io::temporary::TemporaryNames;
    use crate::options::Engine;

    #[test]
    fn a_panic_in_a_thread_ends_the_run_with_an_error() {
        let home = tempfile::tempdir().unwrap();
        let source = home.path().join("src");
        std::fs::create_dir(&source).unwrap();
        let config = Config::new(&source, home.path().join("dst"));
        let roots = roots::open(&config).unwrap();
        let staffing = Staffing { threads: 1, reserve: 0, tasks: 1 };
        let temporary = TemporaryNames::of_this_run().unwrap();
        let (run, parcels, events) = new_run(&config, roots, Beside::default(), temporary, &staffing);
        // The walk waits for room that nobody makes: only the end of the run lets it go.
        let walk = spawn_thread("walk", &run, None, move |_| {
            while parcels.send_blocking(Parcel::new()).is_ok() {}
            Ok(())
        });
        let copy = spawn_thread("copy", &run, None, |_| panic!("on purpose"));
        let stopped = run.stop.clone();
        drop(run);
        let start = Start::new(Engine::Threads, Mode::Sync);
        let (mut silent, stop) = (Silent, Stop::default());
        let progress = Progress::new(&mut silent, &stop, None, None).unwrap();
        let summary = progress.gather(&start, events, &stopped, || (), (None, None));
        assert_eq!((summary.outcome, summary.totals.errors, summary.stuck), (Outcome::BrokenOff, 1, false));
        assert!(!stop.is_stopped(), "the flag is the caller's");
        walk.unwrap().join().unwrap();
        copy.unwrap().join().unwrap();
    }
}
