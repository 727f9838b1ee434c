//! The line at the bottom of the terminal that tells how far a run is. There is one for the process, on standard error;
//! messages and lines go above it.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::{tcgetpgrp, tcgetwinsize};

/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

/// Removes the line. The cursor stands at its beginning, also where the terminal became narrower and has broken it into
/// several rows, whose number nobody knows for sure: a terminal tells of its new size some time after it has changed.
const ERASE: &str = "\r\x1b[J";
/// For the same reason what does not fit is not to go on in the next row (DECAWM, ctlseqs of xterm).
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

struct Line {
    is_shown: bool,
    /// None is to be shown for now.
    is_paused: bool,
}

static LINE: Mutex<Line> = Mutex::new(Line { is_shown: false, is_paused: false });

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
    line.is_paused = true;
}

/// Lets the line be drawn again.
pub fn resume() {
    line().is_paused = false;
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
    if line.is_paused || !is_in_foreground() {
        return;
    }
    let text = text(columns().saturating_sub(1));
    line.is_shown = true;
    write(&drawing(&text));
}

impl Line {
    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            write(ERASE);
        }
    }
}

/// Draws a text, and goes back to its beginning.
fn drawing(text: &str) -> String {
    format!("{ERASE}{NO_WRAP}{text}{WRAP}\r")
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
    fn the_cursor_ends_where_the_line_begins() {
        assert_eq!(drawing("half"), "\r\x1b[J\x1b[?7lhalf\x1b[?7h\r");
    }

    #[test]
    fn a_terminal_without_a_name_is_dumb() {
        assert!(is_dumb(None) && is_dumb(Some("".as_ref())) && is_dumb(Some("dumb".as_ref())));
        assert!(!is_dumb(Some("xterm".as_ref())));
    }
}
