//! A stack of work that several threads take from and add to, until none of them can add any more.

use std::sync::{Condvar, Mutex, PoisonError};

/// Work that waits, and how many threads might still find more.
pub(crate) struct Stack<W> {
    state: Mutex<(Vec<W>, usize)>,
    changed: Condvar,
}

impl<W> Default for Stack<W> {
    fn default() -> Self {
        Stack { state: Mutex::new((Vec::new(), 0)), changed: Condvar::new() }
    }
}

impl<W> Stack<W> {
    pub(crate) fn push(&self, work: W) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.push(work);
        self.changed.notify_one();
    }

    /// Whether this much work waits, or more.
    pub(crate) fn has(&self, enough: usize) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.len() >= enough
    }

    /// The newest work; waits while other threads may find more. `None`: there is none, and no more to come.
    pub(crate) fn take(&self) -> Option<W> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(work) = state.0.pop() {
                state.1 += 1;
                return Some(work);
            }
            if state.1 == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 -= 1;
        if state.1 == 0 && state.0.is_empty() {
            self.changed.notify_all();
        }
    }
}

/// A thread that may find more work, until this is dropped, also by a panic: the others wait for that.
pub(crate) struct Searching<'a, W>(pub(crate) &'a Stack<W>);

impl<W> Drop for Searching<'_, W> {
    fn drop(&mut self) {
        self.0.done();
    }
}
