//! `--bwlimit`: tasks wait for the bucket (engine/primitives/bandwidth.rs), and tell how far they are.

use std::time::{Duration, Instant};

use tokio::sync::SemaphorePermit;

use crate::engine::Run;
use crate::engine::run::lane::Lane;
use crate::engine::run::streamed::Streamed;
use crate::error::Operation;
use crate::event::Event;

/// How often a thread that is watched says that it is not stuck.
const WORD: Duration = Duration::from_millis(50);

impl Run {
    /// How many of `length` bytes should be read at once: few, where the rate is low, so that all go on smoothly.
    pub(crate) fn piece(&self, length: usize) -> usize {
        self.rate.as_ref().map_or(length, |rate| length.min(rate.piece as usize))
    }
}

impl Lane {
    /// Waits until this number of bytes may be read, or the run is stopped.
    pub(crate) async fn pace(&self, bytes: usize) {
        if let Some(rate) = &self.run.rate {
            let wait = rate.bucket().take(bytes as u64, Instant::now());
            if !wait.is_zero() {
                self.patiently(tokio::time::sleep(wait)).await;
            }
        }
    }

    /// Tells how many bytes were copied. Where nothing limits the rate that is told a file, or a segment of one, at a time.
    pub(crate) async fn count(&self, bytes: usize) {
        if self.run.rate.is_some() {
            self.run.report(Event::Bytes(bytes as u64)).await;
        }
    }

    /// The same of a file that is copied in order, which is told a piece at a time if it is told as it goes on.
    pub(crate) async fn count_in_order(&self, bytes: usize, streamed: &Streamed) {
        streamed.add(bytes as u64);
        if self.run.rate.is_some() || streamed.expected().is_some() {
            self.run.report(Event::Bytes(bytes as u64)).await;
        }
    }

    /// Waits for a permit to copy a file's contents. `None`: nobody needs one, or the run is stopped.
    pub(crate) async fn admission(&self) -> Option<SemaphorePermit<'_>> {
        let rate = self.run.rate.as_ref()?;
        self.patiently(rate.files.acquire()).await?.ok()
    }

    /// Waits, but no longer than the run goes on. `--timeout` is not meant for this.
    pub(crate) async fn patiently<T>(&self, awaited: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(awaited);
        loop {
            tokio::select! {
                biased;
                () = self.run.stop.stopped() => return None,
                done = &mut awaited => return Some(done),
                () = tokio::time::sleep(WORD), if self.watched().is_some() => self.doing(Operation::ReadSource),
            }
        }
    }
}
