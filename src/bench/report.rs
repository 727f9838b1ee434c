//! What the benchmark found, as values, and for programs: JSON and CSV.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::bench::machine::Machine;
use crate::bench::plan::{Cache, Scenario};
use crate::bench::run::Measured;
use crate::bench::space::Size;
use crate::bench::spread::{Spread, Trust};
use crate::bench::tools::{Installed, OURS};
use ringsync::Escaped;

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The version of this program.
    pub(crate) ringsync: &'static str,
    pub(crate) machine: Machine,
    pub(crate) runs: usize,
    /// Of generated data.
    pub(crate) scale: f64,
    pub(crate) tools: Vec<ToolInfo>,
    pub(crate) cells: Vec<Cell>,
    /// What there is, is right, but it is not all.
    pub(crate) interrupted: bool,
}

/// What a tool is, and how it was called.
#[derive(Debug, Serialize)]
pub(crate) struct ToolInfo {
    pub(crate) name: &'static str,
    pub(crate) version: Option<String>,
    pub(crate) copy: Option<String>,
    pub(crate) update: Option<String>,
    pub(crate) remark: &'static str,
}

impl ToolInfo {
    pub(crate) fn of(installed: &Installed, version: Option<String>) -> ToolInfo {
        let tool = installed.tool;
        ToolInfo {
            name: tool.name,
            version,
            copy: tool.shown(Scenario::Fresh),
            update: tool.shown(Scenario::Noop),
            remark: tool.remark,
        }
    }
}

/// One table: all tools on the same work.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    /// The data set, or `SRC`.
    pub(crate) case: &'static str,
    pub(crate) scenario: Scenario,
    pub(crate) cache: Cache,
    pub(crate) entries: u64,
    /// The sizes of all files.
    pub(crate) bytes: u64,
    /// Files that were changed before each run.
    pub(crate) changed: u64,
    pub(crate) results: Vec<ToolResult>,
}

impl Cell {
    pub(crate) fn new(case: &'static str, scenario: Scenario, cache: Cache, size: Size) -> Cell {
        let (entries, bytes) = (size.entries, size.contents);
        Cell { case, scenario, cache, entries, bytes, changed: 0, results: Vec::new() }
    }

    /// What it is, in words: `small, fresh, warm`.
    pub(crate) fn title(&self) -> String {
        format!("{}, {}, {}", self.case, self.scenario.name(), self.cache.name())
    }

    /// How many times as long as ringsync a tool took.
    pub(crate) fn ratio(&self, result: &ToolResult) -> Option<f64> {
        let ours = self.results.iter().find(|other| other.tool == OURS)?.wall()?.median;
        Some(result.wall()?.median / ours).filter(|ratio| ratio.is_finite())
    }

    /// Works out what is worked out once all runs are done.
    pub(crate) fn finish(&mut self) {
        let ratios: Vec<_> = self.results.iter().map(|result| self.ratio(result)).collect();
        for (result, ratio) in self.results.iter_mut().zip(ratios) {
            result.times_ringsync = ratio;
            result.wall_seconds = result.wall();
            result.trust = result.trust();
        }
    }
}

/// What one tool did in a cell.
#[derive(Debug, Serialize)]
pub(crate) struct ToolResult {
    pub(crate) tool: &'static str,
    pub(crate) fault: Option<Fault>,
    /// What of the metadata was not kept.
    pub(crate) not_kept: Vec<&'static str>,
    wall_seconds: Option<Spread>,
    pub(crate) times_ringsync: Option<f64>,
    pub(crate) trust: Option<Trust>,
    pub(crate) runs: Vec<Measurement>,
}

/// Why a tool has no figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "message", rename_all = "lowercase")]
pub(crate) enum Fault {
    /// It says so itself.
    Failed(String),
    /// The copy is not what the source is.
    Wrong(String),
}

impl Fault {
    /// For people, on one line.
    pub(crate) fn text(&self) -> String {
        let (kind, message) = match self {
            Fault::Failed(message) => ("failed", message),
            Fault::Wrong(message) => ("wrong", message),
        };
        format!("{kind}: {}", Escaped::name(message.as_ref()))
    }
}

/// The figures of one run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Measurement {
    wall_seconds: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
    /// A peak up to this could not be seen.
    peak_floor_bytes: u64,
}

impl From<Measured> for Measurement {
    fn from(measured: Measured) -> Measurement {
        Measurement {
            wall_seconds: measured.wall.as_secs_f64(),
            cpu_seconds: measured.processor.as_secs_f64(),
            peak_bytes: measured.peak,
            peak_floor_bytes: measured.floor,
        }
    }
}

impl ToolResult {
    pub(crate) fn new(tool: &'static str) -> ToolResult {
        ToolResult {
            tool,
            fault: None,
            not_kept: Vec::new(),
            wall_seconds: None,
            times_ringsync: None,
            trust: None,
            runs: Vec::new(),
        }
    }

    /// The figures of a tool that did it wrong once are not worth anything.
    pub(crate) fn wall(&self) -> Option<Spread> {
        let runs = self.runs.iter().filter(|_| self.fault.is_none());
        Spread::of(runs.map(|run| run.wall_seconds))
    }

    pub(crate) fn cpu(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.cpu_seconds))
    }

    /// The largest peak, and whether it is only known not to be larger.
    pub(crate) fn peak(&self) -> Option<(u64, bool)> {
        let run = self.runs.iter().max_by_key(|run| run.peak_bytes)?;
        Some((run.peak_bytes, run.peak_bytes <= run.peak_floor_bytes))
    }

    pub(crate) fn trust(&self) -> Option<Trust> {
        self.wall().map(|spread| Trust::of(spread, self.runs.len()))
    }
}

impl Report {
    /// Whether a tool failed, or did it wrong.
    pub(crate) fn has_faults(&self) -> bool {
        self.cells.iter().flat_map(|cell| &cell.results).any(|result| result.fault.is_some())
    }

    pub(crate) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self).context("write JSON")? + "\n")
    }

    /// A line for each run, and for each tool that failed one.
    pub(crate) fn csv(&self) -> String {
        let mut text = String::from(
            "case,scenario,cache,tool,run,wall_seconds,cpu_seconds,peak_bytes,peak_floor_bytes,not_kept,fault\n",
        );
        for cell in &self.cells {
            for result in &cell.results {
                let start =
                    format!("{},{},{},{}", cell.case, cell.scenario.name(), cell.cache.name(), result.tool);
                let not_kept = quoted(&result.not_kept.join("; "));
                for (run, number) in result.runs.iter().zip(1..) {
                    let (wall, cpu) = (run.wall_seconds, run.cpu_seconds);
                    let (peak, floor) = (run.peak_bytes, run.peak_floor_bytes);
                    let _ = writeln!(text, "{start},{number},{wall:.6},{cpu:.6},{peak},{floor},{not_kept},");
                }
                if let Some(fault) = &result.fault {
                    let _ = writeln!(text, "{start},,,,,,{not_kept},{}", quoted(&fault.text()));
                }
            }
        }
        text
    }
}

/// A field of CSV (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_string()
    }
}

/// A file for a report, opened before hours are spent on what goes into it, and left as it is until then.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Output> {
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let file = opened.with_context(|| format!("write report {}", Escaped::path(path)))?;
        Ok(Output { path: path.into(), file })
    }

    /// Makes `text` all that the file holds.
    pub(crate) fn write(mut self, text: &str) -> anyhow::Result<()> {
        let mut put = || {
            // A pipe, or a terminal, can't be cut.
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
                self.file.rewind()?;
            }
            self.file.write_all(text.as_bytes())
        };
        put().with_context(|| format!("write report {}", Escaped::path(&self.path)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report with a good tool, a slow one and a wrong one.
    pub(crate) fn sample() -> Report {
        let machine = Machine::find("/".as_ref(), "/".as_ref()).unwrap();
        let result = |tool, walls: &[f64], fault| {
            let run = |&wall_seconds: &f64| Measurement {
                wall_seconds,
                cpu_seconds: 0.5,
                peak_bytes: 9 << 20,
                peak_floor_bytes: 9 << 20,
            };
            ToolResult { fault, runs: walls.iter().map(run).collect(), ..ToolResult::new(tool) }
        };
        let mut rsync = result("rsync", &[4.0, 3.0, 9.0], None);
        rsync.not_kept = vec!["hard links", "holes"];
        let wrong = Fault::Wrong("a,\"b\"\u{1b}: is missing".into());
        let results = vec![result(OURS, &[2.0, 2.1, 1.9], None), rsync, result("xcp", &[1.0], Some(wrong))];
        let mut cell = Cell {
            case: "small",
            scenario: Scenario::Fresh,
            cache: Cache::Warm,
            entries: 1234,
            bytes: 1 << 20,
            changed: 0,
            results,
        };
        cell.finish();
        Report {
            ringsync: "0",
            machine,
            runs: 3,
            scale: 1.0,
            tools: Vec::new(),
            cells: vec![cell],
            interrupted: false,
        }
    }

    #[test]
    fn ratios_are_those_of_medians_and_a_wrong_tool_has_none() {
        let report = sample();
        let ratios: Vec<_> = report.cells[0].results.iter().map(|result| result.times_ringsync).collect();
        assert_eq!(ratios, [Some(1.0), Some(2.0), None]);
        assert!(report.has_faults());
    }

    #[test]
    fn csv_has_a_line_a_run_and_quotes_what_needs_it() {
        let text = sample().csv();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 3 + 3 + 1 + 1);
        assert_eq!(lines[1], "small,fresh,warm,ringsync,1,2.000000,0.500000,9437184,9437184,,");
        assert_eq!(lines[4], "small,fresh,warm,rsync,1,4.000000,0.500000,9437184,9437184,hard links; holes,");
        assert_eq!(lines[8], "small,fresh,warm,xcp,,,,,,,\"wrong: a,\"\"b\"\"\\u{1b}: is missing\"");
        assert_eq!((quoted("a b"), quoted("a\nb")), ("a b".into(), "\"a\nb\"".into()));
    }

    #[test]
    fn a_report_replaces_what_the_file_held_and_not_before() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("report");
        std::fs::write(&path, "something longer").unwrap();
        let output = Output::open(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something longer");
        output.write("short").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
        assert!(Output::open(&home.path().join("no/report")).is_err());
    }
}
