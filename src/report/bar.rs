//! The display on a terminal: one line with how much is done, of how much where that is known, the rate, and the time left
//! once that can be told. Errors and lines go above it.

use std::path::Path;

use crate::report::handful::Handful;
use crate::report::lines::{self, Lines, Verbosity, summary_line};
use crate::report::number_format::NumberFormat;
use crate::report::terminal::{self, StatusLine};
use crate::report::{stats, tables};
use ringsync::Error;
use ringsync::event::{EntryEvent, Mode, Notice, Reporter, Stall, Start, Summary, Totals};

/// Columns of the bar, at most and at least.
const WIDEST: usize = 24;
const NARROWEST: usize = 8;

/// Draws on the terminal.
pub struct Bar {
    lines: Lines,
    verbosity: Verbosity,
    mode: Mode,
    lacks: Handful,
    line: StatusLine<Totals>,
    /// Lines for entries, which are written together: each time the display is removed and drawn again.
    told: Vec<String>,
}

impl Bar {
    /// A line on standard error, which must be a terminal, with lines above it as `verbosity` asks for, and its own numbers
    /// shown like `figures`.
    pub fn new(verbosity: Verbosity, figures: NumberFormat) -> Self {
        let lines = Lines::new(verbosity.clone());
        let line = StatusLine::new(move |totals, columns| line(totals, figures, columns));
        Bar { lines, verbosity, mode: Mode::Sync, lacks: Handful::default(), line, told: Vec::new() }
    }

    fn say_told(&mut self) {
        let told = std::mem::take(&mut self.told);
        if !told.is_empty() {
            terminal::above(|| self.lines.say_now(told.join("\n")));
        }
    }
}

impl Reporter for Bar {
    fn start(&mut self, start: &Start) {
        self.mode = start.mode;
        if let Some(text) = self.lines.describe_start(start) {
            lines::message(text);
        }
        lines::tell_limits(start, self.verbosity.quiet || self.verbosity.verbose > 0);
        lines::tell_missing(start, self.verbosity.quiet);
        self.line.begin();
    }

    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        self.lacks.of(event).into_iter().for_each(lines::message);
        if let Some(text) = self.lacks.live(directory, event).filter(|_| !self.verbosity.quiet) {
            lines::message(text);
        }
        self.told.extend(self.lines.describe(directory, event));
    }

    fn error(&mut self, error: &Error) {
        self.lacks.error(error).into_iter().for_each(lines::message);
    }

    fn notice(&mut self, notice: &Notice) {
        self.lines.notice(notice);
    }

    fn stall(&mut self, stall: &Stall) {
        if !self.verbosity.quiet {
            lines::message(lines::stall(stall));
        }
    }

    fn progress(&mut self, totals: &Totals) {
        self.say_told();
        self.line.update(totals, totals.fraction());
    }

    fn finish(&mut self, summary: &Summary) {
        self.line.end();
        self.say_told();
        self.lacks.rest().into_iter().for_each(lines::message);
        if !self.verbosity.quiet {
            self.lacks.rest_live().into_iter().for_each(lines::message);
            self.lines.say_now(summary_line(summary, self.mode, self.verbosity.closing));
        }
        if self.verbosity.stats {
            self.lines.say_now(stats::table(&summary.totals, self.mode, self.verbosity.figures));
            self.lines.say_now(tables::text(&summary.rings, self.verbosity.figures));
        }
    }

    fn trouble(&mut self) -> Option<Error> {
        self.lines.trouble()
    }
}

/// What has been done so far: entries, bytes, the rate, and the time left. "of" is only said of totals that are known.
fn parts(totals: &Totals, figures: NumberFormat) -> Parts {
    let of = |done: String, total: Option<String>| match total {
        Some(total) => format!("{done} of {total}"),
        None => done,
    };
    let found = totals.complete.then(|| figures.count(totals.found));
    let expected = totals.knows_bytes().then(|| figures.bytes(totals.bytes_expected));
    let left = totals.remaining().map(|left| {
        let seconds = left.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        match hours {
            0 => format!("{minutes}:{:02} left", seconds % 60),
            _ => format!("{hours}:{minutes:02}:{:02} left", seconds % 60),
        }
    });
    Parts {
        entries: of(figures.count(totals.done), found) + " entries",
        bytes: of(figures.bytes(totals.bytes), expected),
        rate: format!("{}/s", figures.bytes(totals.rate())),
        left,
    }
}

/// The parts of a line, the last one when it can be told.
struct Parts {
    entries: String,
    bytes: String,
    rate: String,
    left: Option<String>,
}

/// What has been done so far, all of it.
pub(crate) fn message(totals: &Totals, figures: NumberFormat) -> String {
    let Parts { entries, bytes, rate, left } = parts(totals, figures);
    [Some(entries), Some(bytes), Some(rate), left].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The parts of the display that fit into `columns`. The part that says least about the time left goes first. The text
/// leaves room for the bar, if there is one.
fn line(totals: &Totals, figures: NumberFormat, columns: usize) -> String {
    let Parts { entries, bytes, rate, left } = parts(totals, figures);
    let (entries, bytes, rate) = (Some(entries), Some(bytes), Some(rate));
    let fraction = totals.fraction();
    let percent = fraction.map_or_else(String::new, |part| format!("{:>3} %  ", (part * 100.0) as u64));
    let choices = [
        [&entries, &bytes, &rate, &left],
        [&entries, &bytes, &None, &left],
        [&None, &bytes, &None, &left],
        [&None, &None, &None, &left],
    ];
    let texts = choices.map(|parts| {
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        format!("{percent}{}", parts.join(", "))
    });
    let fits = texts.into_iter().find(|text| text.chars().count() <= columns);
    let text = fits.unwrap_or_default();
    let room = columns.saturating_sub(text.chars().count() + 1).min(WIDEST);
    match fraction {
        Some(_) if room >= NARROWEST => format!(" {text:rest$}", rest = columns - room - 1),
        _ => format!("{text:columns$}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A thousand of four thousand files after a minute.
    fn totals() -> Totals {
        let mut totals = Totals::default();
        (totals.found, totals.done, totals.elapsed) = (4000, 1000, Duration::from_secs(60));
        (totals.bytes, totals.bytes_expected) = (6 << 20, 6 << 20);
        totals
    }

    #[test]
    fn the_message_promises_an_end_only_when_it_is_known() {
        let mut totals = totals();
        assert_eq!(message(&totals, NumberFormat::Human), "1,000 entries, 6.00 MiB, 102.40 KiB/s");
        totals.complete = true;
        assert_eq!(
            message(&totals, NumberFormat::Human),
            "1,000 of 4,000 entries, 6.00 MiB, 102.40 KiB/s, 3:00 left"
        );
        (totals.done, totals.bytes_expected) = (4000, 8 << 20);
        assert_eq!(
            message(&totals, NumberFormat::Human),
            "4,000 of 4,000 entries, 6.00 MiB of 8.00 MiB, 102.40 KiB/s, 0:20 left"
        );
    }

    #[test]
    fn the_line_fits() {
        let mut totals = totals();
        for complete in [false, true] {
            totals.complete = complete;
            for columns in 0..200 {
                let line = line(&totals, NumberFormat::Human, columns);
                assert!(line.chars().count() <= columns, "{columns}: {line}");
            }
        }
        let shown = |totals: &Totals, columns| {
            let line = line(totals, NumberFormat::Human, columns);
            (columns - line.chars().count(), line.trim_end().to_owned())
        };
        let at = |columns| shown(&totals, columns);
        assert_eq!(at(39), (12, "  25 %  6.00 MiB, 3:00 left".into()));
        let all = "  25 %  1,000 of 4,000 entries, 6.00 MiB, 102.40 KiB/s, 3:00 left";
        assert_eq!(at(79), (79 - all.len(), all.into()));
        assert_eq!(at(119), (WIDEST, all.into()));
        assert_eq!(at(20), (0, " 25 %  3:00 left".into()));
        totals.complete = false;
        assert_eq!(shown(&totals, 30), (0, "1,000 entries, 6.00 MiB".into()));
    }
}
