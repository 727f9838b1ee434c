//! `--progress` where there is no terminal, and any run on one that can't draw: a line on standard error now and then.

use std::time::Duration;

use crate::report::bar;
use crate::report::lines::message;
use crate::report::number_format::NumberFormat;
use ringsync::event::{Reporter, Summary, Totals};

/// From one line to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// Tells how far the run is.
pub struct Ticker {
    figures: NumberFormat,
    /// When the next line is due, after the run began.
    due: Duration,
    /// Whether there is a line at the end too.
    ends: bool,
}

impl Ticker {
    /// Lines with their numbers shown like this.
    pub fn new(figures: NumberFormat) -> Self {
        Ticker { figures, due: INTERVAL, ends: true }
    }

    /// Instead of a display, which leaves nothing behind at the end.
    pub fn without_end(figures: NumberFormat) -> Self {
        Ticker { ends: false, ..Ticker::new(figures) }
    }

    fn is_due(&mut self, elapsed: Duration) -> bool {
        let due = elapsed >= self.due;
        if due {
            self.due = elapsed + INTERVAL;
        }
        due
    }
}

impl Reporter for Ticker {
    fn progress(&mut self, totals: &Totals) {
        if self.is_due(totals.elapsed) {
            message(bar::message(totals, self.figures));
        }
    }

    fn finish(&mut self, summary: &Summary) {
        if self.ends {
            message(bar::message(&summary.totals, self.figures));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_line_a_second() {
        let mut ticker = Ticker::new(NumberFormat::Plain);
        let due = [100, 999, 1000, 1001, 1999, 5500, 6499, 6500].map(Duration::from_millis);
        let told = due.map(|elapsed| ticker.is_due(elapsed));
        assert_eq!(told, [false, false, true, false, false, true, false, true]);
    }
}
