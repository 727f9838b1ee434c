//! The display on a terminal: a bar with files and bytes done of those found so far, the rate, and the time left
//! once that can be told. Errors and lines go above it.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Reporter;
use super::event::{EntryEvent, Mode, Stall, Start, Summary, Totals};
use super::figures::Figures;
use super::lines::{self, Lines, Verbosity, summary_line};
use super::{stats, tables};
use crate::error::Error;

/// Redraws a second.
const REDRAWS: u8 = 10;
/// The bar needs no further explanation; the message says the rest.
const SEARCHING: &str = "{spinner} {msg}";
const COUNTING_DOWN: &str = "{bar:24} {percent:>3} %  {msg}";

/// Draws on the terminal.
pub struct Bar {
    bar: ProgressBar,
    lines: Lines,
    verbosity: Verbosity,
    mode: Mode,
    counting_down: bool,
    figures: Figures,
}

impl Bar {
    /// A bar on standard error, which must be a terminal, with lines above it as `verbosity` asks for, and its own numbers
    /// shown like `figures`.
    pub fn new(verbosity: Verbosity, figures: Figures) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REDRAWS));
        let lines = Lines::new(verbosity.clone());
        let mut display = Bar { bar, lines, verbosity, mode: Mode::Sync, counting_down: false, figures };
        display.set_style(SEARCHING);
        display
    }

    fn set_style(&mut self, template: &str) {
        // The templates are constants; one that did not parse would leave indicatif's own style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
    }
}

impl Reporter for Bar {
    fn start(&mut self, start: &Start) {
        self.mode = start.mode();
        self.bar.enable_steady_tick(Duration::from_millis(200));
        if let Some(text) = self.lines.describe_start(start) {
            self.bar.suspend(|| lines::message(text));
        }
        self.bar.suspend(|| lines::tell_missing(start, self.verbosity.quiet));
    }

    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        if let Some(error) = &event.error {
            self.error(error);
        }
        if event.link_limit && !self.verbosity.quiet {
            self.bar.suspend(|| lines::message(lines::link_limit(directory, event)));
        }
        if let Some(line) = self.lines.describe(directory, event) {
            self.bar.suspend(|| self.lines.say_now(line));
        }
    }

    fn error(&mut self, error: &Error) {
        self.bar.suspend(|| lines::message(error));
    }

    fn stall(&mut self, stall: &Stall) {
        if !self.verbosity.quiet {
            self.bar.suspend(|| lines::message(lines::stall(stall)));
        }
    }

    fn progress(&mut self, totals: &Totals) {
        if totals.complete && !self.counting_down {
            self.counting_down = true;
            self.set_style(COUNTING_DOWN);
        }
        self.bar.set_length(totals.found.max(1));
        self.bar.set_position(totals.done);
        self.bar.set_message(message(totals, self.figures));
    }

    fn finish(&mut self, summary: &Summary) {
        self.bar.finish_and_clear();
        if !self.verbosity.quiet {
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

/// What has been done so far.
pub(crate) fn message(totals: &Totals, figures: Figures) -> String {
    let plus = if totals.complete { "" } else { "+" };
    let mut text = format!(
        "{} of {}{plus} entries, {} of {}{plus}, {}/s",
        figures.count(totals.done),
        figures.count(totals.found),
        figures.bytes(totals.bytes),
        figures.bytes(totals.bytes_expected),
        figures.bytes(totals.rate()),
    );
    if let Some(left) = totals.remaining() {
        let seconds = left.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        text += &match hours {
            0 => format!(", {minutes}:{:02} left", seconds % 60),
            _ => format!(", {hours}:{minutes:02}:{:02} left", seconds % 60),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_promises_an_end_only_when_it_is_known() {
        let mut totals = Totals::default();
        (totals.found, totals.done, totals.elapsed) = (4000, 1000, Duration::from_secs(60));
        (totals.bytes, totals.bytes_expected) = (6 << 20, 6 << 20);
        assert_eq!(
            message(&totals, Figures::Human),
            "1,000 of 4,000+ entries, 6.00 MiB of 6.00 MiB+, 102.40 KiB/s"
        );
        totals.complete = true;
        assert_eq!(
            message(&totals, Figures::Human),
            "1,000 of 4,000 entries, 6.00 MiB of 6.00 MiB, 102.40 KiB/s, 3:00 left"
        );
    }
}
