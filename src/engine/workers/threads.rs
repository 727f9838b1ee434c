//! The threads of a run: one for the walk, and those that copy, each with a runtime of its own. An error or a panic of one
//! breaks off the run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_channel::Sender;

use crate::engine::Run;
use crate::engine::delete::ahead;
use crate::engine::state::batch::{Batch, Parcel};
use crate::engine::state::directory::Directory;
use crate::engine::state::watched::Watched;
use crate::engine::workers::ring_thread::RingThread;
use crate::engine::workers::tasks::{self, Watch};
use crate::error::{Context, Error, Operation, Result, panicked};
use crate::event::Event;
use crate::io::{Io, ring};
use crate::walk::{self, Entry};

/// Starts the walk and the threads that copy.
pub(crate) fn start_workers(
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
    workers
        .extend((at_work..at_work + run.reserve.len()).filter_map(|index| start_reserve(run, index, tasks)));
    Ok(workers)
}

/// Starts the walk in its thread. For a single file it is one parcel.
fn start_walk(run: &Arc<Run>, root: Arc<Directory>, parcels: Sender<Parcel>) -> Result<JoinHandle<()>> {
    spawn_thread("walk", run, None, move |run| {
        run.tell_misplaced_rules();
        if run.config.deletes_before() {
            ahead::clear(run, &root)?;
        }
        let Some(single) = &run.roots.single else {
            if run.config.delete.is_some() && !run.roots.fresh {
                run.onset.wait_for_a_tick();
            }
            let scope = root.scope().cloned();
            return walk::walk((&run.config, &run.roots, &run.stop), (root, scope), &**run, &parcels);
        };
        let name = single.source.clone();
        let hidden = root.scope().is_some_and(|scope| scope.hides(&name, false));
        let entry =
            Entry { name, kind: single.kind, rename: Some(single.destination.clone()), followed: false };
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
fn start_reserve(run: &Arc<Run>, index: usize, tasks: usize) -> Option<JoinHandle<()>> {
    let work = move |run: &Arc<Run>| match run.reserve.wait().then(ring::runtime) {
        Some(Ok(runtime)) => run_on(&runtime, run, index, tasks),
        _ => Ok(()),
    };
    let started = spawn_thread("copy", run, None, work);
    started.inspect_err(|_| run.thread_ends()).ok()
}

pub(crate) type Threads = Vec<JoinHandle<()>>;

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
    runtime.block_on(tasks::run_tasks(Io::ring(), run.clone(), index, tasks, Watch::default()))
}

fn run_plain(run: &Arc<Run>, index: usize, watch: Watch) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Error::new(Operation::StartEngine, &run.config.source, error))?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, tasks::run_tasks(Io::plain(), run.clone(), index, 1, watch))
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
pub(crate) fn spawn_thread(
    name: &str,
    run: &Arc<Run>,
    watched: Option<Arc<Watched>>,
    work: impl FnOnce(&Arc<Run>) -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let run = run.clone();
    let body = move || guard(&run, watched, work);
    thread::Builder::new().name(name.into()).spawn(body).at(Operation::StartEngine, || "threads")
}
