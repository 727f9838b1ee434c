//! `ringsync bench`: its options.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::bench::plan::{Cache, Plan, Scenario};
use crate::bench::{Case, TABLE, Tool};
use crate::cli::values::count::count;
use crate::cli::values::local::local;

const WHAT: &str = "What is measured";
const REPORT: &str = "Reports";
const QUICK_SCALE: f64 = 0.01;
const RUNS: usize = 5;

/// Compare ringsync with cp, rsync and others on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
The tools run in turn, so that whatever changes on the machine meets them all alike, and each copy is compared with its \
source, byte by byte. Figures are medians; 'x ringsync' is how many times as long as ringsync a tool took. All is done \
in a new directory in DIR, which is removed in the end. SRC is only read.\n\n\
Data sets, for --scale 1: small, 100,000 files of 6 KiB; tree, a source tree of 75,000 files; large, one file of 2 GiB; \
mixed, 1,800 files up to 8 MiB; sparse, 8 files of 256 MiB that are mostly holes.\n\n\
Scenarios: fresh, there is no copy yet; noop, the copy is right; changed, one file in a hundred is not. Tools that \
always copy everything have no part in the last two.\n\n\
A tool's processor time is that of all its processes; its peak memory that of the largest. What is written is not \
flushed to the disk, by no tool.\n\n\
Exit codes: 0 all done, 1 usage, 3 SRC, DIR, a tool or a report can't be used, 11 no space left, \
20 interrupted, 23 a tool failed or its copy is wrong.")]
pub(crate) struct BenchArgs {
    /// A directory to copy instead of generated files
    #[arg(value_name = "SRC", value_parser = local(), conflicts_with_all = ["cases", "scale"])]
    source: Option<PathBuf>,
    /// Where copies are made: it decides what is measured, and gigabytes are written there
    #[arg(long, value_name = "DIR", value_parser = local())]
    dir: PathBuf,

    /// Data sets [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = case())]
    #[arg(help_heading = WHAT)]
    cases: Vec<Case>,
    /// What is to be done [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = scenario())]
    #[arg(help_heading = WHAT)]
    scenarios: Vec<Scenario>,
    /// Tools to compare ringsync with [default: all that are on PATH]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = tool())]
    #[arg(help_heading = WHAT)]
    tools: Vec<&'static Tool>,
    /// Measure also from the disk, all caches dropped before each run: needs root, and slows down everybody
    #[arg(long, help_heading = WHAT)]
    cold: bool,
    /// Counted runs of each tool; when warm there is one before them [default: 5]
    #[arg(long, value_name = "N", value_parser = count(u16::MAX), help_heading = WHAT)]
    runs: Option<u16>,
    /// Make data sets this many times as large [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = scale, help_heading = WHAT)]
    scale: Option<f64>,
    /// A first impression: --runs 1 --scale 0.01, and none before it
    #[arg(long, help_heading = WHAT)]
    quick: bool,

    /// Write everything, each run too, as JSON
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    json: Option<PathBuf>,
    /// Write each run, a line of CSV
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    csv: Option<PathBuf>,
    /// Draw the medians
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    svg: Option<PathBuf>,
    /// Write tables and drawings as a page
    #[arg(long, value_name = "FILE", help_heading = REPORT)]
    html: Option<PathBuf>,
}

impl BenchArgs {
    /// The options, resolved.
    pub(crate) fn plan(self) -> Plan {
        Plan {
            directory: self.dir,
            source: self.source,
            cases: if self.cases.is_empty() { Case::ALL.to_vec() } else { self.cases },
            scenarios: if self.scenarios.is_empty() { Scenario::ALL.to_vec() } else { self.scenarios },
            caches: if self.cold { vec![Cache::Warm, Cache::Cold] } else { vec![Cache::Warm] },
            tools: Some(self.tools).filter(|tools| !tools.is_empty()),
            runs: self.runs.map_or(if self.quick { 1 } else { RUNS }, usize::from),
            warm_up: !self.quick,
            scale: self.scale.unwrap_or(if self.quick { QUICK_SCALE } else { 1.0 }),
            json: self.json,
            csv: self.csv,
            svg: self.svg,
            html: self.html,
        }
    }
}

fn case() -> impl TypedValueParser<Value = Case> {
    one_of(Case::ALL.map(|case| (case.name(), case)))
}

fn scenario() -> impl TypedValueParser<Value = Scenario> {
    one_of(Scenario::ALL.map(|scenario| (scenario.name(), scenario)))
}

fn tool() -> impl TypedValueParser<Value = &'static Tool> {
    one_of(TABLE.iter().map(|tool| (tool.name, tool)))
}

/// Reads one of several values by its name.
fn one_of<T, C>(choices: C) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
    C: IntoIterator<Item = (&'static str, T)>,
{
    let choices: Vec<(&str, T)> = choices.into_iter().collect();
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    PossibleValuesParser::new(names).try_map(move |text| {
        choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or("it is none of them")
    })
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if (0.0001..=100.0).contains(&scale) => Ok(scale),
        _ => Err("not a number from 0.0001 to 100".into()),
    }
}
