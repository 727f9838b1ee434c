//! `ringsync bench`: this machine's copiers on the same work.
//!
//! 1. What can't go well is refused first: a directory without room, caches that can't be dropped, a tool that is not
//!    there (`space.rs`, `tools.rs`).
//! 2. Data sets are made by rule in a directory of the benchmark's own, the only one that is written to (`data.rs`).
//! 3. For each data set, scenario and state of the caches all tools run in turn, the turns interleaved (`rounds.rs`). A
//!    run is a process, ringsync's too, measured from start to end (`run.rs`).
//! 4. After each run the copy is compared with the source (`verify_copy.rs`). A tool that fails, or whose copy is wrong, is
//!    marked and has no figures.
//! 5. Medians, and how far they can be believed (`spread.rs`), go into tables, files and plots (`report.rs`,
//!    `table.rs`, `plot.rs`), with what they were measured on (`machine.rs`).
//! 6. Whatever happens, the directory is removed, also after a signal.

mod change;
mod data;
pub(crate) mod machine;
pub(crate) mod plan;
mod plot;
mod report;
mod rounds;
mod run;
mod space;
mod spread;
mod table;
mod tools;
mod verify_copy;

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use crate::bench::machine::{FileSystem, Machine};
use crate::bench::plan::{Cache, Interrupted, Plan};
use crate::bench::report::{Cell, Output, Report, ToolInfo};
use crate::bench::rounds::{DROP_CACHES, Rounds};
use crate::bench::space::{Memory, Room, Size};
use crate::bench::tools::Installed;
use crate::report::lines::message;
use ringsync::{Escaped, Outcome, Stop};

pub(crate) use crate::bench::data::Case;
pub(crate) use crate::bench::tools::{TABLE, Tool};

/// What a scratch directory's name starts with.
const PREFIX: &str = "ringsync-bench-";

/// Measures, and reports.
///
/// # Errors
/// When something can't be used, or the system refuses what a benchmark needs; a tool's error is none of them.
pub(crate) fn bench(mut plan: Plan, stop: &Stop) -> anyhow::Result<Outcome> {
    match work(&mut plan, stop) {
        Err(error) if error.is::<Interrupted>() => Ok(Outcome::Interrupted),
        Err(error) if is_full(&error) => {
            message(format_args!("{error:#}"));
            Ok(Outcome::BrokenOff)
        }
        done => done,
    }
}

/// Whether somebody else took the room that there was.
fn is_full(error: &anyhow::Error) -> bool {
    let cause: Option<&io::Error> = error.root_cause().downcast_ref();
    cause.is_some_and(|cause| cause.kind() == ErrorKind::StorageFull)
}

fn work(plan: &mut Plan, stop: &Stop) -> anyhow::Result<Outcome> {
    resolve_places(plan)?;
    let source = plan.source.as_deref().unwrap_or(&plan.directory);
    if plan.caches.contains(&Cache::Cold) {
        caches_can_be_dropped(&FileSystem::of(source)?)?;
    }
    let tools = tools::find(plan.tools.as_deref())?;
    let data = data_sets(plan, stop)?;
    for data in &data {
        has_room(&plan.directory, data)?;
    }
    let mut report = Report {
        ringsync: env!("CARGO_PKG_VERSION"),
        machine: Machine::find(source, &plan.directory)?,
        runs: plan.runs,
        scale: plan.scale,
        tools: tools
            .iter()
            .map(|tool| Ok(ToolInfo::of(tool, tool.version(stop)?)))
            .collect::<anyhow::Result<_>>()?,
        cells: Vec::new(),
        interrupted: false,
    };
    let outputs = Outputs::open(plan)?;
    let scratch = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&plan.directory);
    let scratch = scratch.with_context(|| format!("use directory {}", Escaped::path(&plan.directory)))?;
    let measured = data.iter().try_for_each(|data| measure(plan, data, &tools, &scratch, &mut report, stop));
    let path = scratch.path().to_path_buf();
    if stop.is_stopped() {
        message(format_args!("interrupted: removing {}", Escaped::path(&path)));
    }
    let removed = scratch.close().with_context(|| format!("remove {}", Escaped::path(&path)));
    report.interrupted = match measured {
        Err(error) if error.is::<Interrupted>() => true,
        measured => measured.map(|()| false)?,
    };
    removed?;
    outputs.write(&report)?;
    Ok(match () {
        () if report.interrupted => Outcome::Interrupted,
        () if report.has_faults() => Outcome::Failed,
        () => Outcome::Done,
    })
}

/// Has the directory and the source by their real names, if they can be used.
fn resolve_places(plan: &mut Plan) -> anyhow::Result<()> {
    let use_directory = || format!("use directory {}", Escaped::path(&plan.directory));
    let directory = plan.directory.canonicalize().with_context(use_directory)?;
    anyhow::ensure!(directory.is_dir(), "{}: it is none", use_directory());
    if let Some(source) = &mut plan.source {
        *source = usable_source(source, &directory)?;
    }
    plan.directory = directory;
    Ok(())
}

/// The source by its real name, if it can be one.
fn usable_source(source: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let what = || format!("use source {}", Escaped::path(source));
    let real = source.canonicalize().with_context(what)?;
    anyhow::ensure!(real.is_dir(), "{}: it is not a directory", what());
    anyhow::ensure!(!directory.starts_with(&real), "{}: the copies would be made inside it", what());
    Ok(real)
}

fn caches_can_be_dropped(source: &FileSystem) -> anyhow::Result<()> {
    anyhow::ensure!(!source.is_memory(), "use --cold: a source on {} is always in memory", source.kind);
    let opened = std::fs::File::options().write(true).open(DROP_CACHES);
    opened.with_context(|| format!("use --cold, which drops the caches: open {DROP_CACHES}")).map(drop)
}

/// A tree to copy.
struct Data<'a> {
    name: &'static str,
    origin: Origin<'a>,
    size: Size,
}

enum Origin<'a> {
    /// It is there.
    Given(&'a Path),
    /// It is made in the scratch directory.
    Made(Case),
}

fn data_sets<'a>(plan: &'a Plan, stop: &Stop) -> anyhow::Result<Vec<Data<'a>>> {
    if let Some(source) = &plan.source {
        let size = Size::of_tree(source, stop)?;
        return Ok(vec![Data { name: "SRC", origin: Origin::Given(source), size }]);
    }
    let made = |&case: &Case| Data {
        name: case.name(),
        origin: Origin::Made(case),
        size: Size::of_pieces(case.pieces(plan.scale)),
    };
    Ok(plan.cases.iter().map(made).collect())
}

/// Refuses what there is no room for.
fn has_room(directory: &Path, data: &Data<'_>) -> anyhow::Result<()> {
    let trees = match data.origin {
        Origin::Given(_) => 1,
        Origin::Made(_) => 2,
    };
    let mut free = Room::free_in(directory)?;
    if FileSystem::of(directory)?.is_memory() {
        free.bytes = free.bytes.min(Memory::now().available);
    }
    match free.lacks(data.size.room_for(trees)) {
        None => Ok(()),
        Some(lack) => anyhow::bail!(
            "use directory {}: for {}, {lack} (--scale and --cases take less)",
            Escaped::path(directory),
            data.name
        ),
    }
}

/// Measures all that is to be measured with one tree.
fn measure(
    plan: &Plan,
    data: &Data<'_>,
    tools: &[Installed],
    scratch: &TempDir,
    report: &mut Report,
    stop: &Stop,
) -> anyhow::Result<()> {
    let made = scratch.path().join("src");
    let source = match data.origin {
        Origin::Given(source) => source,
        Origin::Made(case) => {
            message(format_args!("{}: making the files", data.name));
            std::fs::create_dir(&made).context("use the scratch directory")?;
            data::write(case, plan.scale, &made, stop)?;
            &made
        }
    };
    for &scenario in &plan.scenarios {
        for &cache in &plan.caches {
            let mut cell = Cell::new(data.name, scenario, cache, data.size);
            message(format_args!("{}", cell.title()));
            let turns = Rounds {
                tools,
                source,
                destination: &scratch.path().join("dst"),
                size: data.size,
                scenario,
                cache,
                runs: plan.runs,
                warm_up: plan.warm_up,
                stop,
            };
            let measured = turns.measure(&mut cell);
            cell.finish();
            report.cells.push(cell);
            measured?;
        }
    }
    if let Origin::Made(_) = data.origin {
        std::fs::remove_dir_all(&made).context("remove a data set")?;
    }
    Ok(())
}

/// The files that were asked for.
struct Outputs {
    json: Option<Output>,
    csv: Option<Output>,
    svg: Option<Output>,
    html: Option<Output>,
}

impl Outputs {
    fn open(plan: &Plan) -> anyhow::Result<Outputs> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(Output::open).transpose();
        Ok(Outputs {
            json: open(&plan.json)?,
            csv: open(&plan.csv)?,
            svg: open(&plan.svg)?,
            html: open(&plan.html)?,
        })
    }

    /// Prints the tables, and fills the files.
    fn write(self, report: &Report) -> anyhow::Result<()> {
        let printed = write!(io::stdout().lock(), "{}", table::Text(report));
        let files = [
            self.json.map(|output| report.json().and_then(|text| output.write(&text))),
            self.csv.map(|output| output.write(&report.csv())),
            self.svg.map(|output| plot::svg(report).and_then(|text| output.write(&text))),
            self.html.map(|output| plot::html(report).and_then(|text| output.write(&text))),
        ];
        files.into_iter().flatten().collect::<anyhow::Result<()>>()?;
        match printed {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(error).context("write standard output")
            }
            _ => Ok(()),
        }
    }
}
