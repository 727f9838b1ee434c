//! SIGINT and SIGTERM: the first asks the run to stop, the second ends the process at once.

use std::time::Duration;

use anyhow::Context;
use ringsync::{Outcome, Stop};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals within this time are one.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How long a run of the engine may take to end after a signal.
pub(crate) const LIMIT: Duration = Duration::from_millis(1900);

/// Raises `stop` on the first signal. The second one, or the end of `limit`, does not wait for anything.
pub(crate) fn stop_on_signal(stop: &Stop, limit: Option<Duration>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start signals")?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        // Past RLIMIT_FSIZE a write is to fail with EFBIG, and not to kill: a handler is enough for that.
        drop(signal(SignalKind::from_raw(libc::SIGXFSZ))?);
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let stop = stop.clone();
    let wait = move || {
        runtime.block_on(async {
            next(&mut interrupt, &mut terminate).await;
            stop.stop();
            let again = async {
                // The terminal and a supervisor may both have sent the same one.
                tokio::time::sleep(AT_ONCE).await;
                let nothing = Duration::ZERO;
                while tokio::time::timeout(nothing, next(&mut interrupt, &mut terminate)).await.is_ok() {}
                next(&mut interrupt, &mut terminate).await;
            };
            // The run ends by itself in less, unless its output is stuck: nobody reads the pipe, say.
            match limit {
                Some(limit) => tokio::time::timeout(limit, again).await.unwrap_or_default(),
                None => again.await,
            }
            std::process::exit(Outcome::Interrupted.exit_code().into());
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).context("start signals")?;
    Ok(())
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
