//! The bytes of a file that are told while they are copied or compared, so that a display goes on before the file is done.
//! Of a file that is begun anew, or fails, what was told before is taken back.

use std::cell::Cell;
use std::num::NonZeroU64;

use crate::engine::Run;
use crate::event::Event;

/// What was told of one file.
#[derive(Default)]
pub(crate) struct Streamed {
    /// At least one, as if a file that is one hole had a byte: then it takes no more room in reports than a number.
    expected: Cell<Option<NonZeroU64>>,
    told: Cell<u64>,
}

impl Streamed {
    /// Tells how many bytes are to come.
    pub(crate) async fn begin(&self, bytes: u64, run: &Run) {
        let expected = NonZeroU64::new(bytes).unwrap_or(NonZeroU64::MIN);
        self.expected.set(Some(expected));
        self.told.set(0);
        run.report(Event::Expected(expected.get())).await;
    }

    /// How many were to come, if that was told.
    pub(crate) fn expected(&self) -> Option<NonZeroU64> {
        self.expected.get()
    }

    /// Takes note of bytes that were told.
    pub(crate) fn add(&self, bytes: u64) {
        self.told.set(self.told.get() + bytes);
    }

    /// Tells that no more come, and that no entry will say so.
    pub(crate) async fn end(&self, run: &Run) {
        if let Some(expected) = self.expected.take() {
            run.report(Event::Ended { expected: expected.get(), copied: self.told.take() }).await;
        }
    }
}
