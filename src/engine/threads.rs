//! The threads of a run: one for the walk, and those that copy, each with a runtime of its own. An error or a panic of one
//! breaks off the run.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_channel::Sender;

use crate::config::Config;
use crate::engine::directory::Directory;
use crate::engine::job::{Batch, Entry, Parcel};
use crate::engine::ring_thread::RingThread;
use crate::engine::watch::Watched;
use crate::engine::worker::{self, Watch};
use crate::engine::{DESCRIPTORS_A_TASK, Run, THREADS};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Event;
use crate::io::{Io, ring};
use crate::options::Engine;
use crate::walk;

/// Who works on a run.
pub(super) struct Crowd {
    pub(super) threads: usize,
    /// Rings in reserve.
    pub(super) spares: usize,
    /// Tasks a thread, at most.
    pub(super) tasks: usize,
}

impl Crowd {
    pub(super) fn new(config: &Config, engine: Engine, descriptors: usize) -> Self {
        let most = descriptors / DESCRIPTORS_A_TASK;
        if engine == Engine::Threads {
            return Crowd { threads: THREADS.min(most).max(1), spares: 0, tasks: 1 };
        }
        let threads = config.jobs.max(1);
        let tasks = config.depth.min(most / threads).max(1);
        // Where descriptors are scarce those at work need them all.
        Crowd { threads, spares: config.spare_jobs.min((most / tasks).saturating_sub(threads)), tasks }
    }
}

/// Starts the walk and the threads that copy.
pub(super) fn start_workers(
    run: &Arc<Run>,
    rings: Vec<RingThread>,
    tasks: usize,
    root: Arc<Directory>,
    parcels: Sender<Parcel>,
    watched: &[Arc<Watched>],
) -> Result<Threads> {
    let mut workers = start_lanes(run, rings, tasks, watched)?;
    workers.push(start_walk(run, root, parcels)?);
    let at_work = run.offers.len();
    workers.extend((at_work..at_work + run.spares.len()).filter_map(|index| start_spare(run, index, tasks)));
    Ok(workers)
}

/// Starts the walk in its thread. For a single file it is one parcel.
fn start_walk(run: &Arc<Run>, root: Arc<Directory>, parcels: Sender<Parcel>) -> Result<JoinHandle<()>> {
    spawn_thread("walk", run, None, move |run| {
        let Some(single) = &run.roots.single else {
            return walk::walk(run, root, &parcels);
        };
        let name = single.source.clone();
        let hidden = root.scope().is_some_and(|scope| scope.hides(&name, false));
        let entry = Entry { name, kind: single.kind, rename: Some(single.destination.clone()) };
        let entries = if hidden { Vec::new() } else { vec![entry] };
        run.report_blocking(Event::Found { entries: entries.len() as u64, directories: 0, complete: true });
        parcels.send_blocking(vec![Batch { directory: root, entries }]).ok();
        Ok(())
    })
}

/// Starts the threads that copy, each with a runtime of its own. Those with rings have been started.
fn start_lanes(
    run: &Arc<Run>,
    rings: Vec<RingThread>,
    tasks: usize,
    watched: &[Arc<Watched>],
) -> Result<Threads> {
    if !rings.is_empty() {
        return Ok(rings
            .into_iter()
            .enumerate()
            .map(|(index, ring)| begin(run, ring, index, tasks))
            .collect());
    }
    let start = |index: usize| match watched.get(index) {
        Some(watched) => start_lane(run, index, watched.clone(), None),
        None => spawn_thread("copy", run, None, move |run| run_plain(run, index, Watch::default())),
    };
    (0..run.offers.len()).map(start).collect()
}

/// Has a thread that has its ring, or could not have one, copy.
fn begin(run: &Arc<Run>, ring: RingThread, index: usize, tasks: usize) -> JoinHandle<()> {
    let run = run.clone();
    ring.begin(move |runtime| {
        guard(&run, None, |run| match runtime {
            Some(runtime) => run_on(&runtime, run, index, tasks),
            None => run_plain(run, index, Watch::default()),
        });
    })
}

/// Starts a ring's thread in reserve. The run goes on without it where there is no thread to be had, or no ring once it is
/// called.
fn start_spare(run: &Arc<Run>, index: usize, tasks: usize) -> Option<JoinHandle<()>> {
    let work = move |run: &Arc<Run>| match run.spares.wait().then(ring::runtime) {
        Some(Ok(runtime)) => run_on(&runtime, run, index, tasks),
        _ => Ok(()),
    };
    let started = spawn_thread("copy", run, None, work);
    started.inspect_err(|_| run.thread_ends()).ok()
}

pub(super) type Threads = Vec<JoinHandle<()>>;

/// Starts a thread that is watched, with the work of the one it replaces, if it does.
pub(crate) fn start_lane(
    run: &Arc<Run>,
    index: usize,
    watched: Arc<Watched>,
    first: Option<Batch>,
) -> Result<JoinHandle<()>> {
    let watch = Watch { watched: Some(watched.clone()), first };
    spawn_thread("copy", run, Some(watched), move |run| run_plain(run, index, watch))
}

fn run_on(runtime: &tokio_uring::Runtime, run: &Arc<Run>, index: usize, tasks: usize) -> Result<()> {
    runtime.block_on(worker::run_tasks(Io::ring(), run.clone(), index, tasks, Watch::default()))
}

fn run_plain(run: &Arc<Run>, index: usize, watch: Watch) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Error::new(Operation::StartEngine, &run.config.source, error))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, worker::run_tasks(Io::plain(), run.clone(), index, 1, watch))
}

/// Does the work of a thread. Its error, or panic, breaks off the run; unless it has been replaced meanwhile.
fn guard(run: &Arc<Run>, watched: Option<Arc<Watched>>, work: impl FnOnce(&Arc<Run>) -> Result<()>) {
    let result = catch_unwind(AssertUnwindSafe(|| work(run)));
    if watched.is_some_and(|watched| watched.is_lost()) {
        return;
    }
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => run.break_off(error),
        Err(panic) => run.break_off(panicked(panic.as_ref())),
    }
    run.thread_ends();
}

/// Starts a thread whose error, or panic, breaks off the run.
pub(super) fn spawn_thread(
    name: &str,
    run: &Arc<Run>,
    watched: Option<Arc<Watched>>,
    work: impl FnOnce(&Arc<Run>) -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let run = run.clone();
    let body = move || guard(&run, watched, work);
    thread::Builder::new().name(name.into()).spawn(body).at(Operation::StartEngine, || "threads")
}

/// The error that a panic becomes.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into());
    Error::new(Operation::Run, "", Cause::Panic(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_rings_take_no_descriptors_from_those_at_work() {
        let config = Config { jobs: 2, spare_jobs: 2, depth: 64, ..Config::new("a", "b") };
        let crowd = |descriptors_for| {
            let Crowd { threads, spares, tasks } =
                Crowd::new(&config, Engine::Uring, descriptors_for * DESCRIPTORS_A_TASK);
            (threads, spares, tasks)
        };
        assert_eq!(crowd(4 * 64), (2, 2, 64));
        assert_eq!(crowd(3 * 64), (2, 1, 64));
        assert_eq!(crowd(2 * 64), (2, 0, 64));
        assert_eq!(crowd(16), (2, 0, 8));
        assert_eq!(crowd(0), (2, 0, 1));
    }
}
