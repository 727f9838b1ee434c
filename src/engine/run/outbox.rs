//! What a thread's tasks have to report, gathered so that the progress task is woken seldom.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::engine::Run;
use crate::event::{Entries, Event};

/// Entries that are sent together.
const FULL: usize = 512;
/// This many bytes of their directories' paths count as an entry: a path of a very deep tree takes more memory than all
/// else.
const PATH_PER_ENTRY: usize = 128;
/// A report waits no longer than this for others, as long as tasks end at all.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Reports of one thread that are not sent yet.
pub(crate) struct Outbox {
    groups: RefCell<Vec<Entries>>,
    weight: Cell<usize>,
    emptied: Cell<Instant>,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox { groups: RefCell::default(), weight: Cell::new(0), emptied: Cell::new(Instant::now()) }
    }
}

impl Outbox {
    /// Adds a report, and sends all when there are enough.
    pub(crate) async fn put(&self, entries: Entries, run: &Run) {
        let path = entries.directory.as_os_str().len();
        self.weight.set(self.weight.get() + entries.events.len() + path / PATH_PER_ENTRY);
        self.groups.borrow_mut().push(entries);
        if self.weight.get() >= FULL || self.emptied.get().elapsed() > LONGEST_WAIT {
            self.send(run).await;
        }
    }

    /// Sends what there is. Waits while the reporter is behind.
    pub(crate) async fn send(&self, run: &Run) {
        self.emptied.set(Instant::now());
        self.weight.set(0);
        let groups = self.groups.take();
        if !groups.is_empty() {
            run.report(Event::Entries(groups)).await;
        }
    }
}
