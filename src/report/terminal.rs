//! The line at the bottom of the terminal that tells how far a run is. There is one for the process, on standard error;
//! messages and lines go above it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::{tcgetpgrp, tcgetwinsize};

/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// What is shown.
struct Line {
    /// How many columns the text takes, if there is one.
    columns: Option<usize>,
    /// Nothing is shown for now.
    paused: bool,
}

static LINE: Mutex<Line> = Mutex::new(Line { columns: None, paused: false });

fn line() -> MutexGuard<'static, Line> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether standard error is a terminal on which a line can be drawn over.
pub fn is_capable() -> bool {
    io::stderr().is_terminal() && !is_dumb(std::env::var_os("TERM").as_deref())
}

fn is_dumb(term: Option<&std::ffi::OsStr>) -> bool {
    term.is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Removes the line, until more is drawn.
pub fn clear() {
    line().clear();
}

/// Removes the line, and draws none until [`resume`]: the process is about to be stopped.
pub fn pause() {
    let mut line = line();
    line.clear();
    line.paused = true;
}

/// Lets the line be drawn again.
pub fn resume() {
    line().paused = false;
}

/// Does something that writes to the terminal while the line is away.
pub(crate) fn above<T>(work: impl FnOnce() -> T) -> T {
    let mut line = line();
    line.clear();
    work()
}

/// Draws the line that `text` makes of the number of columns it may take.
pub(crate) fn draw(text: impl FnOnce(usize) -> String) {
    let mut line = line();
    if line.paused || !is_in_foreground() {
        return;
    }
    // In the last column the cursor would be in this row or the next one, as the terminal likes.
    let text = text(columns().saturating_sub(1));
    let erased = line.erasure();
    line.columns = Some(text.chars().count());
    write(&format!("{erased}{text}"));
}

impl Line {
    fn clear(&mut self) {
        if self.columns.is_some() {
            write(&self.erasure());
            self.columns = None;
        }
    }

    /// What erases it. A terminal that became narrower has broken it into several rows.
    fn erasure(&self) -> String {
        let Some(taken) = self.columns else { return String::new() };
        match taken.div_ceil(columns().max(1)).saturating_sub(1) {
            0 => "\r\x1b[J".into(),
            rows => format!("\r\x1b[{rows}A\x1b[J"),
        }
    }
}

/// When nobody sees it, the run goes on all the same.
fn write(text: &str) {
    let mut terminal = io::stderr().lock();
    terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush()).ok();
}

fn columns() -> usize {
    let size = tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
    if size == 0 { COLUMNS } else { size.into() }
}

/// A run that its shell has put in the background leaves the terminal to others.
fn is_in_foreground() -> bool {
    // A terminal that is nobody's says nothing of groups.
    tcgetpgrp(io::stderr()).map_or(true, |group| group == rustix::process::getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_broken_into_rows_is_erased_whole() {
        let erasure = |columns| Line { columns, paused: false }.erasure();
        // Tests have no terminal: 80 columns.
        assert_eq!(erasure(None), "");
        assert_eq!(erasure(Some(0)), "\r\x1b[J");
        assert_eq!(erasure(Some(80)), "\r\x1b[J");
        assert_eq!(erasure(Some(81)), "\r\x1b[1A\x1b[J");
        assert_eq!(erasure(Some(200)), "\r\x1b[2A\x1b[J");
    }

    #[test]
    fn a_terminal_without_a_name_is_dumb() {
        assert!(is_dumb(None) && is_dumb(Some("".as_ref())) && is_dumb(Some("dumb".as_ref())));
        assert!(!is_dumb(Some("xterm".as_ref())));
    }
}
