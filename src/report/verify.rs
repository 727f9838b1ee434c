//! Showing a verification: lines like those of `b3sum --check`, with a display below them on a terminal, or JSON.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::HumanDuration;
use serde::Serialize;

use crate::report::json::JsonError;
use crate::report::lines::{Out, message};
use crate::report::number_format::NumberFormat;
use crate::report::terminal::{self, StatusLine};
use crate::report::words;
use ringsync::event::JsonPath;
use ringsync::manifest::{Malformed, escape_path};
use ringsync::verify::{Elsewhere, Verdict, VerifyReporter, VerifyStart, VerifySummary, VerifyTotals};
use ringsync::{Engine, Error, Escaped, Outcome};

/// From one line to the next where none can be drawn over.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes a line for each file to standard output, and what else there is to say to standard error.
pub struct VerifyLines {
    /// The manifest, as the user named it.
    manifest: PathBuf,
    /// No line for files that are right.
    quiet: bool,
    /// Standard output is a terminal, on which names must not move the cursor.
    terminal: bool,
    /// How numbers are shown on standard error.
    figures: NumberFormat,
    /// What is said of files that are missing, if all are.
    elsewhere: Option<String>,
    out: Out,
    display: Display,
}

/// How it is shown how far the run is.
enum Display {
    None,
    /// A line that is drawn over.
    Line(StatusLine<VerifyTotals>),
    /// A line now and then, the last one at this time: the terminal can't do more.
    Lines(Instant),
}

impl VerifyLines {
    /// Lines about the files of `manifest`; `quiet` leaves out those that are right, and the display. There is one if
    /// standard error is a terminal.
    pub fn new(manifest: &Path, quiet: bool) -> Self {
        let on_terminal = io::stdout().is_terminal();
        let figures = if io::stderr().is_terminal() { NumberFormat::Human } else { NumberFormat::Plain };
        let line = move |totals: &VerifyTotals, columns| fitting(&progress(totals, figures), columns);
        let display = match !quiet && io::stderr().is_terminal() {
            false => Display::None,
            true if terminal::is_capable() => Display::Line(StatusLine::new(line)),
            true => Display::Lines(Instant::now()),
        };
        VerifyLines {
            manifest: manifest.to_path_buf(),
            quiet,
            terminal: on_terminal,
            figures,
            elsewhere: None,
            out: Out::new(),
            display,
        }
    }

    /// Runs `show` where the display is out of the way.
    fn above_line(&mut self, show: impl FnOnce(&mut Out)) {
        match self.display {
            Display::None => show(&mut self.out),
            _ => terminal::above(|| {
                show(&mut self.out);
                self.out.write(Write::flush);
            }),
        }
    }

    fn tell(&self, text: impl std::fmt::Display) {
        message(text);
    }

    /// A file's line: `PATH: OK`. Read by a program it is what `b3sum` prints, the path's bytes as they are but for
    /// backslash and newline.
    fn describe(&self, path: &Path, verdict: &Verdict) -> Vec<u8> {
        let result = match verdict {
            Verdict::Right => "OK".into(),
            Verdict::Wrong(_) => "FAILED".into(),
            Verdict::Failed(cause) => format!("FAILED ({})", cause.told(words::option)),
            Verdict::Extra => "EXTRA".into(),
            other => other.name().to_uppercase(),
        };
        let mut line =
            if self.terminal { Escaped::path(path).to_string().into_bytes() } else { escape_path(path) };
        line.extend_from_slice(b": ");
        line.extend_from_slice(result.as_bytes());
        line.push(b'\n');
        line
    }
}

impl VerifyReporter for VerifyLines {
    fn start(&mut self, start: &VerifyStart) {
        self.elsewhere = start.elsewhere.as_ref().map(elsewhere);
        if let Display::Line(line) = &self.display {
            line.begin();
        }
    }

    fn file(&mut self, path: &Path, verdict: &Verdict) {
        let is_told_once = self.elsewhere.is_some() && verdict.is_missing();
        let is_quiet = self.quiet && matches!(verdict, Verdict::Right);
        if !is_told_once && !is_quiet {
            let line = self.describe(path, verdict);
            self.above_line(|out| out.write(|out| out.write_all(&line)));
        }
    }

    fn malformed(&mut self, line: u64, why: Malformed) {
        let text = format!("{}: line {line}: {why}", Escaped::path(&self.manifest));
        self.tell(text);
    }

    fn error(&mut self, error: &Error) {
        self.tell(words::told(error));
    }

    fn progress(&mut self, totals: &VerifyTotals) {
        match &mut self.display {
            // A reader at the other end of a pipe sees what there is.
            Display::None => self.out.write(Write::flush),
            Display::Line(line) => line.update(totals, None),
            Display::Lines(shown) if shown.elapsed() >= INTERVAL => {
                message(progress(totals, self.figures));
                *shown = Instant::now();
            }
            Display::Lines(_) => {}
        }
    }

    fn finish(&mut self, summary: &VerifySummary) {
        if let Display::Line(line) = &self.display {
            line.end();
        }
        self.out.write(Write::flush);
        if let Some(advice) = self.elsewhere.take().filter(|_| summary.totals.missing > 0) {
            message(advice);
        }
        if !self.quiet || summary.outcome != Outcome::Done {
            message(summary_line(summary, NumberFormat::Human));
        }
    }

    fn trouble(&mut self) -> Option<Error> {
        self.out.trouble()
    }
}

/// What to say of a manifest whose paths start elsewhere.
fn elsewhere(elsewhere: &Elsewhere) -> String {
    match elsewhere.directory {
        Some(_) => elsewhere.to_string(),
        None => format!("{elsewhere}, ringsync verify {} DIR", Escaped::path(&elsewhere.manifest)),
    }
}

fn progress(totals: &VerifyTotals, figures: NumberFormat) -> String {
    let (checked, bytes) = (figures.count(totals.checked()), figures.bytes(totals.bytes));
    let of = if totals.complete { format!(" of {}", figures.count(totals.listed)) } else { String::new() };
    let mut parts = vec![format!("{checked}{of} files")];
    parts.extend(troubles(totals, figures));
    parts.extend([bytes, format!("{}/s", figures.bytes(totals.rate()))]);
    parts.join(", ")
}

/// The parts of a text that fit into `columns`. There is no bar, so the text has all of them.
fn fitting(text: &str, columns: usize) -> String {
    let mut text = text;
    while text.chars().count() > columns {
        text = text.rsplit_once(", ").map_or("", |(first, _)| first);
    }
    format!("{text:columns$}")
}

/// What is not as it should be, counted.
fn troubles(totals: &VerifyTotals, figures: NumberFormat) -> Vec<String> {
    let counts = [
        (totals.wrong, "wrong"),
        (totals.missing, "missing"),
        (totals.failed, "unreadable"),
        (totals.extra, "extra"),
        (totals.malformed, "malformed lines"),
        (totals.errors, "errors"),
    ];
    let some = counts.into_iter().filter(|(count, _)| *count > 0);
    some.map(|(count, what)| format!("{} {what}", figures.count(count))).collect()
}

fn summary_line(summary: &VerifySummary, figures: NumberFormat) -> String {
    let totals = &summary.totals;
    let mut parts = vec![
        format!("{} files checked", figures.count(totals.checked())),
        format!("{} right", figures.count(totals.right)),
    ];
    parts.extend(troubles(totals, figures));
    parts.push(format!("{} in {}", figures.bytes(totals.bytes), HumanDuration(totals.elapsed)));
    let interrupted = if summary.outcome == Outcome::Interrupted { "interrupted: " } else { "" };
    format!("{interrupted}{}", parts.join(", "))
}

/// Writes one JSON object a line: `start`, a `check` for each file, `malformed`, `error`, `summary`.
pub struct VerifyJson {
    manifest: PathBuf,
    quiet: bool,
    out: Out,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Start {
        version: &'static str,
        engine: &'static str,
        threads: usize,
        tasks: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        notice: Option<String>,
    },
    Check {
        #[serde(flatten)]
        path: JsonPath,
        result: &'static str,
        /// What a file with the wrong contents holds.
        #[serde(skip_serializing_if = "Option::is_none")]
        blake3: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    Malformed {
        #[serde(flatten)]
        path: JsonPath,
        line: u64,
        error: String,
    },
    Error {
        #[serde(flatten)]
        path: JsonPath,
        error: JsonError,
    },
    Summary {
        outcome: &'static str,
        exit_code: u8,
        checked: u64,
        right: u64,
        wrong: u64,
        missing: u64,
        failed: u64,
        extra: u64,
        malformed: u64,
        errors: u64,
        bytes: u64,
        seconds: f64,
    },
}

impl VerifyJson {
    /// JSON lines about the files of `manifest`; `quiet` leaves out those that are right.
    pub fn new(manifest: &Path, quiet: bool) -> Self {
        VerifyJson { manifest: manifest.to_path_buf(), quiet, out: Out::new() }
    }

    fn write(&mut self, line: &Line) {
        self.out.write(|out| {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")
        });
    }
}

impl VerifyReporter for VerifyJson {
    fn start(&mut self, start: &VerifyStart) {
        let engine = if start.engine == Engine::Threads { "threads" } else { "uring" };
        let VerifyStart { threads, tasks, .. } = *start;
        let (version, notice) = (env!("CARGO_PKG_VERSION"), words::notice(&start.notices));
        self.write(&Line::Start { version, engine, threads, tasks, notice });
    }

    fn file(&mut self, path: &Path, verdict: &Verdict) {
        if self.quiet && matches!(verdict, Verdict::Right) {
            return;
        }
        let (blake3, error) = match verdict {
            Verdict::Wrong(found) => (Some(found.to_hex().to_string()), None),
            Verdict::Failed(cause) => (None, Some(cause.told(words::option).into_owned())),
            _ => (None, None),
        };
        self.write(&Line::Check { path: JsonPath::new(path), result: verdict.name(), blake3, error });
    }

    fn malformed(&mut self, line: u64, why: Malformed) {
        message(format_args!("{}: line {line}: {why}", Escaped::path(&self.manifest)));
        let path = JsonPath::new(&self.manifest);
        self.write(&Line::Malformed { path, line, error: why.to_string() });
    }

    fn error(&mut self, error: &Error) {
        message(words::told(error));
        self.write(&Line::Error { path: JsonPath::new(&error.path), error: JsonError::new(error) });
    }

    fn progress(&mut self, _totals: &VerifyTotals) {
        self.out.write(Write::flush);
    }

    fn finish(&mut self, summary: &VerifySummary) {
        let totals = &summary.totals;
        self.write(&Line::Summary {
            outcome: summary.outcome.name(),
            exit_code: summary.outcome.exit_code(),
            checked: totals.checked(),
            right: totals.right,
            wrong: totals.wrong,
            missing: totals.missing,
            failed: totals.failed,
            extra: totals.extra,
            malformed: totals.malformed,
            errors: totals.errors,
            bytes: totals.bytes,
            seconds: totals.elapsed.as_secs_f64(),
        });
        self.out.write(Write::flush);
    }

    fn trouble(&mut self) -> Option<Error> {
        self.out.trouble()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use ringsync::Cause;

    #[test]
    fn lines_for_programs_keep_bytes_and_lines_for_people_do_no_harm() {
        let mut lines = VerifyLines::new(Path::new("sums"), true);
        let path = Path::new(OsStr::from_bytes(b"a\n\x1b[2J\xff"));
        lines.terminal = false;
        assert_eq!(lines.describe(path, &Verdict::Right), b"\\a\\n\x1b[2J\xff: OK\n");
        lines.terminal = true;
        assert_eq!(lines.describe(path, &Verdict::Right), b"a\\n\\u{1b}[2J\\xff: OK\n");
        let missing = Verdict::Failed(Cause::from(rustix::io::Errno::NOENT));
        let line = lines.describe(Path::new("gone"), &missing);
        assert_eq!(line, b"gone: FAILED (No such file or directory (os error 2))\n");
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let text = "1 of 2 files, 1 wrong, 3.00 MiB, 1.00 MiB/s";
        assert_eq!(fitting(text, 43), text);
        assert_eq!(fitting(text, 42), "1 of 2 files, 1 wrong, 3.00 MiB           ");
        assert_eq!(fitting(text, 12), "1 of 2 files");
        assert_eq!(fitting(text, 11), " ".repeat(11));
    }

    #[test]
    fn the_summary_names_only_what_there_is() {
        let mut totals = VerifyTotals::default();
        (totals.right, totals.wrong, totals.malformed, totals.bytes) = (1000, 1, 2, 3 << 20);
        let summary = VerifySummary::new(Outcome::Failed, totals);
        let line = summary_line(&summary, NumberFormat::Human);
        assert_eq!(
            line,
            "1,001 files checked, 1,000 right, 1 wrong, 2 malformed lines, 3.00 MiB in 0 seconds"
        );
    }
}
