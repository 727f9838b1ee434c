//! One run of one tool: its time, its processor time, its peak memory, and its end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process_group, pidfd_open, set_child_subreaper,
    waitpgid,
};
use wait4::Wait4;

use crate::bench::plan::Interrupted;
use ringsync::Stop;

/// How long a signal waits, at most, until it is seen. A child's end is seen at once.
const GLANCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How much of the end of a failed tool's messages is kept, in bytes.
const TAIL: u64 = 300;

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// From the start of the process to its end.
    pub(crate) wall: Duration,
    /// User and system time of all its processes and threads.
    pub(crate) processor: Duration,
    /// Resident memory of its largest process, in bytes.
    pub(crate) peak: u64,
    /// What this program took when it started the tool. The kernel counts a process's memory from before it becomes the
    /// tool: a peak that is no higher was not seen.
    pub(crate) floor: u64,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum End {
    Done(Measured),
    /// Why it did not do what it was asked to.
    Failed(String),
}

/// Runs a tool to its end, and waits for all processes that it started.
///
/// # Errors
/// When the run is interrupted, by then the tool is gone; when the system can't do what is needed here.
pub(crate) fn run(command: &mut Command, stop: &Stop) -> anyhow::Result<End> {
    // What the tool starts and leaves behind becomes a child of this process, and can be waited for.
    set_child_subreaper(Some(getpid())).context("take over the processes of tools")?;
    let messages =
        rustix::fs::memfd_create("messages", MemfdFlags::CLOEXEC).context("make a file in memory")?;
    let messages = File::from(messages);
    command.stdin(Stdio::null()).stderr(messages.try_clone()?).env("LC_ALL", "C").process_group(0);
    let floor = lowest_peak();
    let begun = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(End::Failed(format!("can't be started: {error}"))),
    };
    let group = Pid::from_child(&child);
    let waited = wait(&mut child, stop);
    let wall = begun.elapsed();
    if waited.is_err() {
        kill_process_group(group, Signal::KILL).ok();
    }
    let used = child.wait4().context("wait for a tool")?;
    end_group(group)?;
    waited?;
    if !used.status.success() {
        return Ok(End::Failed(failure(used.status, messages)));
    }
    let usage = used.rusage;
    Ok(End::Done(Measured { wall, processor: usage.utime + usage.stime, peak: usage.maxrss, floor }))
}

/// Waits until the child has ended, and leaves it to be reaped.
fn wait(child: &mut Child, stop: &Stop) -> anyhow::Result<()> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("watch a tool")?;
    loop {
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&GLANCE)) {
            Ok(0) | Err(Errno::INTR) if stop.is_stopped() => anyhow::bail!(Interrupted),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error).context("watch a tool"),
        }
    }
}

/// Ends what is left of a process group whose leader has ended. Nothing may write to the copy any more when it is
/// checked, or removed.
fn end_group(group: Pid) -> anyhow::Result<()> {
    loop {
        match waitpgid(group, WaitOptions::NOHANG) {
            Err(Errno::CHILD) => return Ok(()),
            Ok(None) => {
                // It has members, so that its number is still its own.
                kill_process_group(group, Signal::KILL).ok();
                match waitpgid(group, WaitOptions::empty()) {
                    Ok(_) | Err(Errno::CHILD | Errno::INTR) => {}
                    Err(error) => return Err(error).context("wait for a tool's processes"),
                }
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for a tool's processes"),
        }
    }
}

/// Forgets this process's own peak, which a child would inherit, and tells what remains: its memory now. 0 if the kernel
/// does not tell.
fn lowest_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").ok();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    peak_in(&status).unwrap_or(0)
}

/// The peak in proc(5)'s `status`, in bytes.
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// How a tool ended, and the last that it had to say.
fn failure(status: ExitStatus, mut messages: File) -> String {
    let mut tail = Vec::new();
    let length = messages.metadata().map_or(0, |file| file.len());
    let read = messages
        .seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .and_then(|_| messages.read_to_end(&mut tail));
    let text = String::from_utf8_lossy(&tail);
    let last: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match read {
        Ok(_) if !last.is_empty() => format!("{status}: {}", last.join(" | ")),
        _ => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::null());
        command
    }

    #[test]
    fn a_run_is_measured() {
        let End::Done(measured) = run(&mut shell("exit 0"), &Stop::default()).unwrap() else {
            panic!("it failed")
        };
        assert!(measured.wall > Duration::ZERO && measured.peak > 0 && measured.floor > 0);
    }

    #[test]
    fn a_failure_has_the_code_and_the_last_words() {
        let end = run(&mut shell("echo first >&2; echo last >&2; exit 7"), &Stop::default()).unwrap();
        let End::Failed(message) = end else { panic!("it succeeded") };
        assert_eq!(message, "exit status: 7: first | last");
        let End::Failed(message) = run(&mut Command::new("/no/such/tool"), &Stop::default()).unwrap() else {
            panic!("it succeeded")
        };
        assert!(message.starts_with("can't be started: "), "{message}");
    }

    #[test]
    fn nothing_that_a_tool_started_outlives_it() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("pid");
        let script = format!("sleep 1000 & echo $! > '{}'", file.display());
        assert!(matches!(run(&mut shell(&script), &Stop::default()).unwrap(), End::Done(_)));
        let pid = std::fs::read_to_string(file).unwrap();
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
    }

    #[test]
    fn a_stopped_run_ends_the_tool() {
        let stop = Stop::default();
        stop.stop();
        let error = run(&mut shell("sleep 1000"), &stop).unwrap_err();
        assert!(error.is::<Interrupted>(), "{error:#}");
    }

    #[test]
    fn the_peak_is_read_from_what_the_kernel_prints() {
        assert_eq!(peak_in("VmPeak:\t    9 kB\nVmHWM:\t    1234 kB\nVmRSS:\t 1 kB\n"), Some(1234 * 1024));
        assert_eq!(peak_in("VmPeak: 9 kB\n"), None);
    }
}
