//! The line at the bottom of the terminal that tells how far a run is. There is one for the process, on standard error;
//! messages and lines go above it. indicatif draws it, as often as it should, on a terminal of ours: its own one erases a
//! line by how wide that was, which leaves rows behind where the terminal became narrower.

use std::io::{self, IsTerminal, Write};
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike, WeakProgressBar};
use rustix::termios::{tcgetpgrp, tcgetwinsize};

/// Columns of a terminal that does not say.
const COLUMNS: u16 = 80;
/// Drawings a second.
const HZ: u8 = 10;
/// How long a process that is to end or to be stopped waits for the line to go.
const MOMENT: Duration = Duration::from_millis(100);
/// What a line looks like. The bar takes the columns that the text leaves.
const TEMPLATE: &str = "{wide_bar}{text}";
/// A column of the bar is filled in eighths: full, seven to one of them, and empty.
const BLOCKS: &str = "█▉▊▋▌▍▎▏ ";
/// How many steps a full bar has.
const STEPS: u64 = 1000;

/// Removes the line. The cursor stands at its beginning, also where the terminal became narrower and has broken it into
/// several rows, whose number nobody knows for sure: a terminal tells of its new size some time after it has changed.
const ERASE: &str = "\r\x1b[J";
/// For the same reason what does not fit is not to go on in the next row (DECAWM, ctlseqs of xterm).
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// The line that is shown, if there is one.
static SHOWN: Mutex<Option<WeakProgressBar>> = Mutex::new(None);
/// None is to be shown for now.
static IS_PAUSED: AtomicBool = AtomicBool::new(false);

fn shown() -> Option<ProgressBar> {
    lock(&SHOWN).as_ref()?.upgrade()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether standard error is a terminal on which a line can be drawn over.
pub fn is_capable() -> bool {
    io::stderr().is_terminal() && !is_dumb(std::env::var_os("TERM").as_deref())
}

fn is_dumb(term: Option<&std::ffi::OsStr>) -> bool {
    term.is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Removes the line for good: the process is about to end. It does so at once, if need be with the line still there.
pub fn clear() {
    if let Some(bar) = shown() {
        try_for_a_moment(move || bar.finish_and_clear());
    }
}

/// Removes the line, and draws none until [`resume`]: the process is about to be stopped, if need be with the line there.
pub fn pause() {
    let is_late = Arc::new(AtomicBool::new(false));
    let later = is_late.clone();
    // Once the process goes on, the line is not to be paused any more.
    try_for_a_moment(move || above(|| IS_PAUSED.store(!later.load(Ordering::Relaxed), Ordering::Relaxed)));
    is_late.store(true, Ordering::Relaxed);
    IS_PAUSED.store(true, Ordering::Relaxed);
}

/// Does something with the line, and waits no longer than a moment for it. The line is locked while something is written
/// above it, and that takes for ever where nobody reads: less(1) behind a pipe, or a terminal that Ctrl-S has stopped.
fn try_for_a_moment(work: impl FnOnce() + Send + 'static) {
    let (done, end) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        work();
        done.send(()).ok();
    };
    if std::thread::Builder::new().name("line".into()).spawn(work).is_ok() {
        end.recv_timeout(MOMENT).ok();
    }
}

/// Lets the line be drawn again.
pub fn resume() {
    IS_PAUSED.store(false, Ordering::Relaxed);
}

/// Does something that writes to the terminal while the line is away.
pub(crate) fn above<T>(work: impl FnOnce() -> T) -> T {
    match shown() {
        Some(bar) => bar.suspend(work),
        None => work(),
    }
}

/// A line that shows some counts.
pub(crate) struct StatusLine<T> {
    bar: ProgressBar,
    counts: Arc<Mutex<T>>,
}

impl<T: Clone + Default + Send + 'static> StatusLine<T> {
    /// Shows what `text` makes of the counts and of the number of columns it may take.
    pub(crate) fn new(text: impl Fn(&T, usize) -> String + Clone + Send + Sync + 'static) -> Self {
        let counts = Arc::new(Mutex::new(T::default()));
        let drawn = counts.clone();
        let write = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            out.write_str(&text(&lock(&drawn), columns().into())).ok();
        };
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style.progress_chars(BLOCKS).with_key("text", write);
        let target = ProgressDrawTarget::term_like_with_hz(Box::<Terminal>::default(), HZ);
        StatusLine { bar: ProgressBar::with_draw_target(None, target).with_style(style), counts }
    }

    /// Shows it from now on.
    pub(crate) fn begin(&self) {
        *lock(&self.counts) = T::default();
        *lock(&SHOWN) = Some(self.bar.downgrade());
        self.bar.reset();
    }

    /// Shows these counts when it is drawn next, and a bar that is filled to `fraction` where that is known.
    pub(crate) fn update(&self, counts: &T, fraction: Option<f64>) {
        lock(&self.counts).clone_from(counts);
        self.bar.update(|state| {
            if let Some(fraction) = fraction {
                state.set_len(STEPS);
                state.set_pos((fraction * STEPS as f64) as u64);
            }
        });
    }

    /// Removes it.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// Standard error, for one line that does not wrap: the cursor stays in its row, at its beginning.
#[derive(Debug, Default)]
struct Terminal {
    /// What is written once it is complete.
    drawing: Mutex<String>,
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        columns()
    }

    fn move_cursor_up(&self, _rows: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _rows: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        lock(&self.drawing).push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str(ERASE)
    }

    fn flush(&self) -> io::Result<()> {
        let drawing = take(&mut *lock(&self.drawing));
        if drawing.is_empty() || IS_PAUSED.load(Ordering::Relaxed) || !is_in_foreground() {
            return Ok(());
        }
        let mut terminal = io::stderr().lock();
        terminal.write_all(complete(&drawing).as_bytes())?;
        terminal.flush()
    }
}

/// A drawing that goes back to its beginning.
fn complete(drawing: &str) -> String {
    format!("{NO_WRAP}{}{WRAP}\r", drawing.trim_end())
}

/// The columns that a line may take, at least one. Past the last one the cursor would be in this row or in the next, as
/// the terminal likes.
fn columns() -> u16 {
    let size = tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
    let columns = if size == 0 { COLUMNS } else { size };
    columns.saturating_sub(1).max(1)
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
        let terminal = Terminal::default();
        terminal.clear_line().unwrap();
        terminal.write_str("half").unwrap();
        terminal.write_str("  ").unwrap();
        let drawing = terminal.drawing.into_inner().unwrap();
        assert_eq!(complete(&drawing), "\x1b[?7l\r\x1b[Jhalf\x1b[?7h\r");
    }

    #[test]
    fn the_line_looks_as_it_should() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn a_terminal_without_a_name_is_dumb() {
        assert!(is_dumb(None) && is_dumb(Some("".as_ref())) && is_dumb(Some("dumb".as_ref())));
        assert!(!is_dumb(Some("xterm".as_ref())));
    }
}
