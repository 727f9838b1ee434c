//! Plain lines: errors on standard error, the rest on standard output. Nothing here moves a cursor, so that it can
//! go to a pipe or a file.

use std::io::{self, BufWriter, Stdout, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::HumanDuration;

use crate::report::format::Format;
use crate::report::handful::Handful;
use crate::report::number_format::NumberFormat;
use crate::report::{stats, tables, terminal, words};
use ringsync::event::{
    Action, EntryEvent, Kind, Missing, Mode, Notice, Reporter, Shared, Stall, Start, Summary, Totals, itemize,
};
use ringsync::{Engine, Error, Escaped, Operation, Outcome, Reuse};

/// A shorter run says nothing of how fast the next one will be.
const SHORTEST_RATED: Duration = Duration::from_millis(100);

/// How much to say.
#[derive(Debug, Clone)]
pub struct Verbosity {
    /// Errors alone.
    pub quiet: bool,
    /// 1: a line for every entry that changed; 2: for every entry.
    pub verbose: u8,
    /// A closing table.
    pub stats: bool,
    /// 1: a line in itemised form for every entry that differs; 2: for every entry.
    pub itemize: u8,
    /// What the lines for entries look like, instead.
    pub format: Option<Format>,
    /// How the table shows numbers.
    pub figures: NumberFormat,
    /// How the closing line does, which people read wherever it goes: programs have JSON.
    pub closing: NumberFormat,
}

impl Default for Verbosity {
    fn default() -> Self {
        let (verbose, itemize) = (0, 0);
        let (figures, closing) = (NumberFormat::Plain, NumberFormat::Human);
        Verbosity { quiet: false, verbose, stats: false, itemize, format: None, figures, closing }
    }
}

/// Writes lines.
pub struct Lines {
    verbosity: Verbosity,
    mode: Mode,
    lacks: Handful,
    out: Out,
}

/// Standard output, which may fail. The run goes on all the same, and the first failure is kept.
pub(crate) struct Out {
    writer: BufWriter<Stdout>,
    trouble: Option<Error>,
}

impl Out {
    pub(crate) fn new() -> Self {
        Out { writer: BufWriter::new(io::stdout()), trouble: None }
    }

    /// Takes note of how a write went.
    pub(crate) fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            self.trouble.get_or_insert_with(|| Error::new(Operation::Write, "standard output", error));
        }
    }

    /// Writes something with `write`.
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) {
        let written = write(&mut self.writer);
        self.note(written);
    }

    /// The first failure, if there was one.
    pub(crate) fn trouble(&mut self) -> Option<Error> {
        self.trouble.take()
    }
}

impl Lines {
    /// Lines as `verbosity` asks for.
    pub fn new(verbosity: Verbosity) -> Self {
        Lines { verbosity, mode: Mode::Sync, lacks: Handful::default(), out: Out::new() }
    }

    /// Writes a line to standard output.
    fn say(&mut self, line: impl std::fmt::Display) {
        self.out.write(|out| writeln!(out, "{line}"));
    }

    /// The same at once, for a caller that also writes to the terminal in another way.
    pub(crate) fn say_now(&mut self, line: impl std::fmt::Display) {
        self.say(line);
        self.out.write(Write::flush);
    }

    /// The line for an entry, where one is wanted.
    pub(crate) fn describe(&self, directory: &Path, event: &EntryEvent) -> Option<String> {
        let Verbosity { itemize, verbose, .. } = self.verbosity;
        let unchanged = itemize > 1 || verbose > 1;
        if let Some(format) = &self.verbosity.format {
            return format.line(directory, event, unchanged);
        }
        if itemize > 0 {
            return itemize::wanted(event, unchanged).then(|| itemize::line(directory, event));
        }
        let wanted = match event.action {
            Action::Failed => false,
            Action::Unchanged => verbose > 1,
            _ => verbose > 0,
        };
        let path = event.path(directory);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
        wanted.then(|| {
            let slash = if event.kind == Kind::Directory { "/" } else { "" };
            format!("{:9} {}{slash}", event.action.name(), Escaped::path(path))
        })
    }

    /// What to say about the set-up, where it is wanted.
    pub(crate) fn describe_start(&self, start: &Start) -> Option<String> {
        let engine = match start.engine {
            Engine::Threads => "threads",
            _ => "io_uring",
        };
        (self.verbosity.verbose > 0 && !self.verbosity.quiet).then(|| match words::notice(&start.notices) {
            Some(notice) => notice,
            None => format!("engine: {engine}, {} × {} tasks", start.threads, start.tasks),
        })
    }
}

/// A message for people, on standard error. When nobody reads it, the run goes on all the same.
pub fn message(text: impl std::fmt::Display) {
    terminal::above(|| writeln!(io::stderr(), "ringsync: {text}").ok());
}

/// The same without the program's name.
pub fn warn(text: impl std::fmt::Display) {
    terminal::above(|| writeln!(io::stderr(), "{text}").ok());
}

/// What to say of a tree of `--link-dest`, or its like, that is not there.
pub(crate) fn missing(missing: &Missing) -> String {
    let others = if missing.has_others { ", though there are other trees beside it" } else { "" };
    let (option, lacks) = match missing.reuse {
        Reuse::Compare => ("compare", "compared with"),
        Reuse::Copy => ("copy", "copied from"),
        _ => ("link", "linked to"),
    };
    format!("--{option}-dest {} does not exist{others}: nothing is {lacks} it", Escaped::path(&missing.path))
}

/// Says what a run can't do that its user may take for granted, unless that `is_told` already, or not wanted.
pub(crate) fn tell_limits(start: &Start, is_told: bool) {
    let limits = start.notices.iter().filter(|notice| matches!(notice, Notice::LimitedRoot(_)));
    limits.filter(|_| !is_told).for_each(|notice| message(notice.told(words::option)));
}

/// Says of which trees of `--link-dest` are not there; with `--quiet` only of those that are more likely a mistake.
pub(crate) fn tell_missing(start: &Start, quiet: bool) {
    let told = start.missing.iter().filter(|missing| missing.has_others || !quiet);
    told.for_each(|tree| message(missing(tree)));
}

/// What to say of a ring that stands still.
pub(crate) fn stall(stall: &Stall) -> String {
    let Stall { ring, operation, time, .. } = stall;
    let operation = operation.told(words::option);
    format!(
        "ring {ring} has stood still for {:.1} s: its task does not get past: {operation}",
        time.as_secs_f64()
    )
}

impl Reporter for Lines {
    fn start(&mut self, start: &Start) {
        self.mode = start.mode;
        if let Some(text) = self.describe_start(start) {
            message(text);
        }
        tell_limits(start, self.verbosity.quiet || self.verbosity.verbose > 0);
        tell_missing(start, self.verbosity.quiet);
    }

    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        self.lacks.of(event).into_iter().for_each(message);
        if let Some(text) = self.lacks.live(directory, event).filter(|_| !self.verbosity.quiet) {
            message(text);
        }
        if let Some(line) = self.describe(directory, event) {
            self.say(line);
        }
    }

    fn error(&mut self, error: &Error) {
        self.lacks.error(error).into_iter().for_each(message);
    }

    fn notice(&mut self, notice: &Notice) {
        let Verbosity { quiet, verbose, .. } = self.verbosity;
        if !quiet && (verbose > 0 || !notice.is_detail()) {
            message(notice.told(words::option));
        }
    }

    fn stall(&mut self, stall: &Stall) {
        if !self.verbosity.quiet {
            message(self::stall(stall));
        }
    }

    fn finish(&mut self, summary: &Summary) {
        self.lacks.rest().into_iter().for_each(message);
        if !self.verbosity.quiet {
            self.lacks.rest_live().into_iter().for_each(message);
            self.say(summary_line(summary, self.mode, self.verbosity.closing));
        }
        if self.verbosity.stats {
            self.say(stats::table(&summary.totals, self.mode, self.verbosity.figures));
            self.say(tables::text(&summary.rings, self.verbosity.figures));
        }
        self.out.write(Write::flush);
    }

    fn trouble(&mut self) -> Option<Error> {
        self.out.trouble()
    }
}

/// One line on the whole run.
pub fn summary_line(summary: &Summary, mode: Mode, figures: NumberFormat) -> String {
    let totals = &summary.totals;
    let Totals { bytes, elapsed, errors, .. } = *totals;
    let apart = totals.directories_apart;
    let count = |action| totals.count(action) - if action == Action::Created { apart } else { 0 };
    let mut parts: Vec<String> = Action::ALL
        .into_iter()
        .filter(|action| count(*action) > 0)
        .map(|action| format!("{} {}", figures.count(count(action)), mode.word(action)))
        .collect();
    match apart {
        0 => {}
        1 => parts.push("1 directory".into()),
        apart => parts.push(format!("{} directories", figures.count(apart))),
    }
    if parts.is_empty() {
        parts.push(if summary.outcome == Outcome::Done { "nothing to do" } else { "nothing done" }.into());
    }
    let is_at_end = totals.complete && totals.done >= totals.found;
    let opening = match summary.outcome {
        Outcome::Interrupted => "interrupted: ",
        // It went on to its end with what did fit.
        Outcome::BrokenOff if totals.bytes_missing > 0 && is_at_end => "out of space: ",
        Outcome::BrokenOff => "broken off: ",
        _ => mode.opening(),
    };
    let mut line = format!("{opening}{}", parts.join(", "));
    if let Some(Shared { reuse, files, of, .. }) = totals.shared.filter(|shared| shared.of > 0) {
        let done = match reuse {
            Reuse::Link | Reuse::Relink => "linked",
            Reuse::Clone => "cloned",
            Reuse::Copy => "reused",
            Reuse::Compare => "left out",
        };
        let plural = if of == 1 { "" } else { "s" };
        line += &format!("; {done} {} of {} file{plural}", figures.count(files), figures.count(of));
    }
    if bytes > 0 {
        line += &format!("; {}", figures.bytes(bytes));
        if mode != Mode::DryRun && elapsed >= SHORTEST_RATED {
            line += &format!(" at {}/s", figures.bytes(totals.rate()));
        }
    }
    line += &match elapsed.as_secs() {
        0..60 => format!("; {:.2} s", elapsed.as_secs_f64()),
        _ => format!("; {}", HumanDuration(elapsed)),
    };
    if totals.bytes_missing > 0 {
        line += &format!("; {} missing", figures.bytes(totals.bytes_missing));
    }
    match totals.links_refused {
        0 => {}
        1 => line += "; 1 copy in place of a hard link",
        copies => line += &format!("; {} copies in place of hard links", figures.count(copies)),
    }
    if totals.grew > 0 {
        line += &format!("; {} grew", figures.count(totals.grew));
    }
    if totals.changing > 0 {
        line += &format!("; {} taken while changing", figures.count(totals.changing));
    }
    match errors {
        0 => {}
        1 => line += "; 1 error",
        errors => line += &format!("; {} errors", figures.count(errors)),
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_has_no_rate() {
        let mut totals = Totals::default();
        totals.add(Action::Created);
        (totals.bytes, totals.elapsed) = (3 << 20, Duration::from_millis(99));
        let line = |totals: &Totals, figures| {
            let summary = Summary::new(Outcome::Done, totals.clone());
            summary_line(&summary, Mode::Sync, figures)
        };
        assert_eq!(line(&totals, NumberFormat::Human), "1 created; 3.00 MiB; 0.10 s");
        totals.elapsed = Duration::from_millis(100);
        assert_eq!(line(&totals, NumberFormat::Human), "1 created; 3.00 MiB at 30.00 MiB/s; 0.10 s");
        assert_eq!(line(&totals, NumberFormat::Plain), "1 created; 3145728 B at 31457280 B/s; 0.10 s");
    }
}
