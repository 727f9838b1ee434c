//! SIGINT, SIGTERM and SIGHUP: the first asks the run to stop, the second ends the process at once. SIGHUP stays ignored
//! where it was at the start: that is what nohup(1) is for.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::report::terminal;
use ringsync::{Outcome, Stop};

/// Signals within this time are one.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How long a run of the engine may take to end after a signal.
pub(crate) const LIMIT: Duration = Duration::from_millis(1900);

/// Raises `stop` on the first signal. The second one, or the end of `limit`, does not wait for anything.
pub(crate) fn stop_on_signal(stop: &Stop, limit: Option<Duration>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start signals")?;
    let mut ends = {
        let _context = runtime.enter();
        // Past RLIMIT_FSIZE a write is to fail with EFBIG, and not to kill: a handler is enough for that.
        drop(signal(SignalKind::from_raw(libc::SIGXFSZ))?);
        Ends::new()?
    };
    let stop = stop.clone();
    let wait = move || {
        runtime.block_on(async {
            ends.next().await;
            stop.stop();
            let again = async {
                // The terminal and a supervisor may both have sent the same one.
                tokio::time::sleep(AT_ONCE).await;
                let nothing = Duration::ZERO;
                while tokio::time::timeout(nothing, ends.next()).await.is_ok() {}
                ends.next().await;
            };
            // The run ends by itself in less, unless its output is stuck, for example in a pipe that nobody reads.
            match limit {
                Some(limit) => tokio::time::timeout(limit, again).await.unwrap_or_default(),
                None => again.await,
            }
            terminal::clear();
            std::process::exit(Outcome::Interrupted.exit_code().into());
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(no_thread)?;
    Ok(())
}

/// Why no thread could be started, and what to do about it. A run is made of threads: without them nothing begins.
pub(crate) fn no_thread(error: std::io::Error) -> anyhow::Error {
    let advice = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::EINVAL) => {
            "; a sandbox forbids it: have it allow clone3, or answer ENOSYS for it, as newer container runtimes do"
        }
        Some(libc::ENOSYS) => "; a sandbox forbids it: have it allow clone",
        Some(libc::EAGAIN) => {
            "; there are as many processes and threads as may be (ulimit -u, pids.max of the cgroup)"
        }
        _ => "",
    };
    anyhow::anyhow!("start a thread: {error}{advice}")
}

/// Has Ctrl-Z leave no half line behind: it is removed before the process stops, and comes back when it goes on.
pub(crate) fn clear_before_stop() -> anyhow::Result<()> {
    if !terminal::is_capable() || is_ignored(libc::SIGTSTP) || !has_a_shell() {
        return Ok(());
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start signals")?;
    let mut stops = {
        let _context = runtime.enter();
        signal(SignalKind::from_raw(libc::SIGTSTP))?
    };
    let wait = move || {
        runtime.block_on(async {
            while stops.recv().await.is_some() {
                terminal::pause();
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP).ok();
                terminal::resume();
            }
        });
    };
    std::thread::Builder::new().name("stops".into()).spawn(wait).map_err(no_thread)?;
    Ok(())
}

/// Whether somebody is there who can let a stopped process go on. The kernel stops no others for SIGTSTP (setpgid(2)).
fn has_a_shell() -> bool {
    let session = |process| rustix::process::getsid(process).ok();
    let parent = rustix::process::getppid();
    parent.is_some() && session(parent) == session(None)
}

/// The signals that ask a process to end.
pub(crate) struct Ends {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: it is ignored.
    hang_up: Option<Signal>,
}

impl Ends {
    /// Catches them from now on. Needs the context of a runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        let hang_up = if is_ignored(libc::SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) };
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Ends { interrupt, terminate, hang_up })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> rustix::process::Signal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => rustix::process::Signal::INT,
            _ = self.terminate.recv() => rustix::process::Signal::TERM,
            _ = hang_up => rustix::process::Signal::HUP,
        }
    }
}

/// Whether this process was started with a signal ignored (proc_pid_status(5), `SigIgn`).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
