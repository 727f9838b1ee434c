//! One table's measurements: all tools in turn, A B C, B C A, ..., so that whatever changes on the machine meanwhile
//! meets them all alike.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use rustix::fs::MemfdFlags;
use walkdir::WalkDir;

use crate::bench::change::change;
use crate::bench::plan::{Cache, Scenario, go_on};
use crate::bench::report::{Cell, Fault, Measurement, ToolResult};
use crate::bench::run::{End, run};
use crate::bench::space::{Memory, Size};
use crate::bench::tools::Installed;
use crate::bench::verify_copy::compare;
use ringsync::Stop;

/// What the kernel is told through this file: to forget what it has read. 3 stands for contents and inodes.
pub(crate) const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
/// How much is written at once, in bytes.
const BUFFER: usize = 64 << 10;
/// What is left of free memory, as a divisor, when the rest is touched.
const REST: u64 = 4;

/// What is done in each turn.
pub(crate) struct Rounds<'a> {
    pub(crate) tools: &'a [Installed],
    pub(crate) source: &'a Path,
    /// Where copies go: a name that is free.
    pub(crate) destination: &'a Path,
    pub(crate) size: Size,
    pub(crate) scenario: Scenario,
    pub(crate) cache: Cache,
    pub(crate) runs: usize,
    /// Whether there is a turn before the others that does not count.
    pub(crate) warm_up: bool,
    pub(crate) stop: &'a Stop,
}

impl Rounds<'_> {
    /// Fills in `cell`, which keeps what it has if this is interrupted.
    pub(crate) fn measure(&self, cell: &mut Cell) -> anyhow::Result<()> {
        let mut tools: Vec<&Installed> =
            self.tools.iter().filter(|tool| tool.tool.words(self.scenario).is_some()).collect();
        cell.results = tools.iter().map(|tool| ToolResult::new(tool.tool.name)).collect();
        if self.cache == Cache::Warm {
            read_all(self.source, self.stop)?;
        }
        let uncounted = usize::from(self.warm_up && self.cache == Cache::Warm);
        for turn in 0..uncounted + self.runs {
            for tool in &tools {
                let Some(result) = cell.results.iter_mut().find(|result| result.tool == tool.tool.name)
                else {
                    continue;
                };
                if result.fault.is_none() {
                    cell.changed = self.turn(tool, turn >= uncounted, result)?;
                }
            }
            tools.rotate_left(1);
        }
        self.remove_copy()
    }

    /// One run of one tool, and what comes before and after it. Tells how many files were changed for it.
    fn turn(&self, tool: &Installed, counts: bool, result: &mut ToolResult) -> anyhow::Result<u64> {
        go_on(self.stop)?;
        let changed = self.prepare()?;
        self.settle()?;
        let Some(mut command) = tool.command(self.scenario, self.source, self.destination) else {
            return Ok(changed);
        };
        match run(command.stdout(Stdio::null()), self.stop)? {
            End::Failed(message) => {
                result.not_kept.clear();
                result.fault = Some(Fault::Failed(message));
            }
            End::Done(measured) => {
                let verdict = compare(self.source, self.destination, self.stop)?;
                result.not_kept = verdict.lost.iter().copied().collect();
                result.fault = verdict.wrong().map(Fault::Wrong);
                if counts && result.fault.is_none() {
                    result.runs.push(Measurement::from(measured));
                }
            }
        }
        if result.fault.is_some() || !result.not_kept.is_empty() {
            // The next tool is not to mend what this one did, but to find a right one.
            self.remove_copy()?;
        }
        Ok(changed)
    }

    /// Has the destination be what the scenario starts from.
    fn prepare(&self) -> anyhow::Result<u64> {
        let there = self.destination.symlink_metadata().is_ok();
        match self.scenario {
            Scenario::Fresh => self.remove_copy().map(|()| 0),
            Scenario::Noop | Scenario::Changed if !there => {
                self.first_copy().and_then(|()| self.make_changes())
            }
            Scenario::Noop | Scenario::Changed => self.make_changes(),
        }
    }

    fn make_changes(&self) -> anyhow::Result<u64> {
        if self.scenario == Scenario::Noop {
            return Ok(0);
        }
        let changed = change(self.destination, self.stop)?;
        anyhow::ensure!(changed > 0, "change a file: there is none that could be changed");
        Ok(changed)
    }

    /// A copy that keeps everything, for tools to find nothing to do in.
    fn first_copy(&self) -> anyhow::Result<()> {
        let ours =
            self.tools.first().and_then(|ours| ours.command(Scenario::Fresh, self.source, self.destination));
        let mut command = ours.context("find this program")?;
        match run(command.stdout(Stdio::null()), self.stop)? {
            End::Done(_) => {}
            End::Failed(message) => anyhow::bail!("make a copy to update: {message}"),
        }
        match compare(self.source, self.destination, self.stop)?.wrong() {
            None => Ok(()),
            Some(wrong) => anyhow::bail!("make a copy to update: {wrong}"),
        }
    }

    fn remove_copy(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(self.destination) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                std::fs::remove_file(self.destination)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
        .context("remove a copy")
    }

    /// Has nothing be under way that one tool did and the next one would pay for.
    fn settle(&self) -> anyhow::Result<()> {
        flush(self.destination.parent().context("open the scratch directory")?)?;
        if self.cache == Cache::Cold {
            // Only what is on its disk can be dropped.
            flush(self.source)?;
            std::fs::write(DROP_CACHES, "3").context("drop the caches")?;
        }
        let trees = match (self.scenario, self.cache) {
            (Scenario::Fresh, Cache::Warm) => 1,
            (Scenario::Fresh, Cache::Cold) => 2,
            (Scenario::Noop | Scenario::Changed, _) => 0, // what is read of the largest file is counted anyway
        };
        touch_memory(self.size.room_for(trees).bytes, self.stop)
    }
}

/// Has all that was written to a directory's file system be on its disk.
fn flush(directory: &Path) -> anyhow::Result<()> {
    let opened = File::open(directory).context("open a directory to flush")?;
    rustix::fs::syncfs(&opened).context("flush a file system")
}

/// Has all contents be in the page cache, as far as they fit.
fn read_all(source: &Path, stop: &Stop) -> anyhow::Result<()> {
    for entry in WalkDir::new(source) {
        go_on(stop)?;
        let entry = entry.context("read the source")?;
        if entry.file_type().is_file() {
            let mut file = File::open(entry.path()).context("read the source")?;
            io::copy(&mut file, &mut io::sink()).context("read the source")?;
        }
    }
    Ok(())
}

/// Uses this much memory, and gives it back. A virtual machine's host backs memory when it is first used, which is slow; and
/// it may take back what was free for a while. Memory that must be freed first is backed already.
fn touch_memory(bytes: u64, stop: &Stop) -> anyhow::Result<()> {
    let free = Memory::now().free;
    let file = rustix::fs::memfd_create("memory", MemfdFlags::CLOEXEC).context("make a file in memory")?;
    let mut file = File::from(file);
    let piece = [0; BUFFER];
    for _ in 0..bytes.min(free - free / REST) / BUFFER as u64 {
        go_on(stop)?;
        if file.write_all(&piece).is_err() {
            break; // somebody else was quicker
        }
    }
    Ok(())
}
