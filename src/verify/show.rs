//! Showing a verification: lines like those of `b3sum --check`, with a display below them on a terminal, or JSON.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::report::{Verdict, VerifyReporter, VerifyStart, VerifySummary, VerifyTotals};
use crate::config::Engine;
use crate::error::{Error, Outcome};
use crate::manifest::{Malformed, escape_path};
use crate::report::figures::Figures;
use crate::report::json::{JsonError, JsonPath};
use crate::report::lines::{Out, message};
use crate::text::Escaped;

/// Redraws a second.
const REDRAWS: u8 = 10;

/// Writes a line for each file to standard output, and what else there is to say to standard error.
pub struct VerifyLines {
    /// The manifest, as the user named it.
    manifest: PathBuf,
    /// No line for files that are right.
    quiet: bool,
    /// Standard output is a terminal, on which names must not move the cursor.
    terminal: bool,
    /// How numbers are shown on standard error.
    figures: Figures,
    /// What is said of files that are missing, if all are.
    elsewhere: Option<String>,
    out: Out,
    bar: Option<ProgressBar>,
}

impl VerifyLines {
    /// Lines about the files of `manifest`; `quiet` leaves out those that are right, and the display. There is one if
    /// standard error is a terminal.
    pub fn new(manifest: &Path, quiet: bool) -> Self {
        let bar = (!quiet && io::stderr().is_terminal()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
            let bar = ProgressBar::with_draw_target(None, target);
            // The template is a constant; one that did not parse would leave indicatif's own style.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let terminal = io::stdout().is_terminal();
        let figures = if io::stderr().is_terminal() { Figures::Human } else { Figures::Plain };
        VerifyLines {
            manifest: manifest.to_path_buf(),
            quiet,
            terminal,
            figures,
            elsewhere: None,
            out: Out::new(),
            bar,
        }
    }

    /// Runs `show` where the display is out of the way.
    fn beside_bar(&mut self, show: impl FnOnce(&mut Out)) {
        match &self.bar {
            Some(bar) => bar.suspend(|| {
                show(&mut self.out);
                self.out.write(Write::flush);
            }),
            None => show(&mut self.out),
        }
    }

    fn tell(&mut self, text: impl std::fmt::Display) {
        self.beside_bar(|_| message(text));
    }

    /// A file's line: `PATH: OK`. Read by a program it is what `b3sum` prints, the path's bytes as they are but for
    /// backslash and newline.
    fn describe(&self, path: &Path, verdict: &Verdict) -> Vec<u8> {
        let result = match verdict {
            Verdict::Right => "OK".into(),
            Verdict::Wrong(_) => "FAILED".into(),
            Verdict::Failed(cause) => format!("FAILED ({cause})"),
            Verdict::Extra => "EXTRA".into(),
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
        self.elsewhere.clone_from(&start.elsewhere);
        if let Some(bar) = &self.bar {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
    }

    fn file(&mut self, path: &Path, verdict: &Verdict) {
        let told_once = self.elsewhere.is_some() && verdict.is_missing();
        if !told_once && !(self.quiet && matches!(verdict, Verdict::Right)) {
            let line = self.describe(path, verdict);
            self.beside_bar(|out| out.write(|out| out.write_all(&line)));
        }
    }

    fn malformed(&mut self, line: u64, why: Malformed) {
        let text = format!("{}: line {line}: {why}", Escaped::path(&self.manifest));
        self.tell(text);
    }

    fn error(&mut self, error: &Error) {
        self.tell(error);
    }

    fn progress(&mut self, totals: &VerifyTotals) {
        match &self.bar {
            Some(bar) => bar.set_message(progress(totals, self.figures)),
            // Whoever reads along on a pipe sees what there is.
            None => self.out.write(Write::flush),
        }
    }

    fn finish(&mut self, summary: &VerifySummary) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.out.write(Write::flush);
        if let Some(advice) = self.elsewhere.take().filter(|_| summary.totals.missing > 0) {
            message(advice);
        }
        if !self.quiet || summary.outcome != Outcome::Done {
            message(summary_line(summary, Figures::Human));
        }
    }

    fn trouble(&mut self) -> Option<Error> {
        self.out.trouble()
    }
}

fn progress(totals: &VerifyTotals, figures: Figures) -> String {
    let plus = if totals.complete { "" } else { "+" };
    let (checked, listed) = (figures.count(totals.checked()), figures.count(totals.listed));
    let (bytes, rate) = (figures.bytes(totals.bytes), figures.bytes(totals.rate()));
    let mut text = format!("{checked} of {listed}{plus} files, {bytes}, {rate}/s");
    for part in troubles(totals, figures) {
        text += ", ";
        text += &part;
    }
    text
}

/// What is not as it should be, counted.
fn troubles(totals: &VerifyTotals, figures: Figures) -> Vec<String> {
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

fn summary_line(summary: &VerifySummary, figures: Figures) -> String {
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
enum Line<'a> {
    Start {
        version: &'static str,
        engine: &'static str,
        threads: usize,
        tasks: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        notice: Option<&'a str>,
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

    fn write(&mut self, line: &Line<'_>) {
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
        let (version, notice) = (env!("CARGO_PKG_VERSION"), start.notice.as_deref());
        self.write(&Line::Start { version, engine, threads, tasks, notice });
    }

    fn file(&mut self, path: &Path, verdict: &Verdict) {
        if self.quiet && matches!(verdict, Verdict::Right) {
            return;
        }
        let (blake3, error) = match verdict {
            Verdict::Wrong(found) => (Some(found.to_hex().to_string()), None),
            Verdict::Failed(cause) => (None, Some(cause.to_string())),
            Verdict::Right | Verdict::Extra => (None, None),
        };
        self.write(&Line::Check { path: JsonPath::new(path), result: verdict.name(), blake3, error });
    }

    fn malformed(&mut self, line: u64, why: Malformed) {
        message(format_args!("{}: line {line}: {why}", Escaped::path(&self.manifest)));
        let path = JsonPath::new(&self.manifest);
        self.write(&Line::Malformed { path, line, error: why.to_string() });
    }

    fn error(&mut self, error: &Error) {
        message(error);
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
    use crate::error::Cause;

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
    fn the_summary_names_only_what_there_is() {
        let totals =
            VerifyTotals { right: 1000, wrong: 1, malformed: 2, bytes: 3 << 20, ..VerifyTotals::default() };
        let summary = VerifySummary { outcome: Outcome::Failed, totals, stuck: false };
        let line = summary_line(&summary, Figures::Human);
        assert_eq!(
            line,
            "1,001 files checked, 1,000 right, 1 wrong, 2 malformed lines, 3.00 MiB in 0 seconds"
        );
    }
}
