//! A stack of work that several threads take from and add to, until none of them can add any more.

use std::sync::{Condvar, Mutex, PoisonError};

/// Work that waits.
pub(crate) struct Stack<W> {
    state: Mutex<State<W>>,
    changed: Condvar,
}

struct State<W> {
    work: Vec<W>,
    /// How many threads might still find more.
    searching: usize,
    /// How many wait for it: to wake them is a call, also where there are none.
    waiting: usize,
}

impl<W> Default for Stack<W> {
    fn default() -> Self {
        let state = State { work: Vec::new(), searching: 0, waiting: 0 };
        Stack { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<W> Stack<W> {
    pub(crate) fn push(&self, work: W) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.work.push(work);
        if state.waiting > 0 {
            self.changed.notify_one();
        }
    }

    /// Whether this much work waits, or more.
    pub(crate) fn has(&self, enough: usize) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).work.len() >= enough
    }

    /// The newest work; waits while other threads may find more. `None`: there is none, and no more to come.
    pub(crate) fn take(&self) -> Option<W> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(work) = state.work.pop() {
                state.searching += 1;
                return Some(work);
            }
            if state.searching == 0 {
                return None;
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    fn done(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.searching -= 1;
        if state.searching == 0 && state.work.is_empty() {
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
