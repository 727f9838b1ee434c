//! Work that waits for the disk for long: it goes to a thread, so that it does not hold up the other tasks.

use crate::engine::Run;
use crate::engine::run::lane::Lane;
use crate::error::{Cause, Error, Operation, Result, panicked};

/// What waits for the disk must not hold up the other tasks of this thread.
pub(crate) async fn in_thread<T: Send + 'static>(
    lane: &Lane,
    work: impl FnOnce(&Run) -> Result<T> + Send + 'static,
) -> Result<T> {
    let run = lane.run.clone();
    match tokio::task::spawn_blocking(move || work(&run)).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => Err(panicked(panic.as_ref())),
            // The runtime ends before it was begun: the run was stopped.
            Err(_) => Err(Error::new(Operation::Run, &lane.run.config.source, Cause::Interrupted)),
        },
    }
}
