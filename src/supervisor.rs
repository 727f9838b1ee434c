//! `--timeout`, and `verify` where a file system in user space is mounted: a process does not end while one of its threads
//! is stuck in the kernel, and a process that waits for its end is stuck as well. So a child does the work, and this
//! process waits for the child's message, not for its end.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode};

use anyhow::Context;
use ringsync::Outcome;
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use crate::signals::{Ends, no_thread};

/// Tells a child that it is one: the descriptor to leave word at.
const LINE: &str = "RINGSYNC_SUPERVISED";
/// And which process waits for it.
const PARENT: &str = "RINGSYNC_SUPERVISOR";

/// Whether this process is the child.
pub(crate) fn is_supervised() -> bool {
    std::env::var_os(LINE).is_some()
}

/// Has a child do what this process was started for, and returns its exit code.
pub(crate) fn supervise() -> anyhow::Result<ExitCode> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
    rustix::io::fcntl_setfd(&writer, FdFlags::empty()).context("make a pipe")?;
    let mut arguments = std::env::args_os();
    // A name for lists of processes.
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(LINE, writer.as_fd().as_raw_fd().to_string());
    command.env(PARENT, std::process::id().to_string());
    let mut child = command.spawn().context("start a child process")?;
    drop(writer);
    pass_on_signals(&child)?;
    match word(reader) {
        Some(code) => Ok(code.into()),
        // It ended by itself.
        None => Ok(status(&mut child)?.into()),
    }
}

/// The exit code that a stuck child left word of.
fn word(reader: OwnedFd) -> Option<u8> {
    let mut word = [0];
    File::from(reader).read_exact(&mut word).ok().map(|()| word[0])
}

/// The exit code of a child that ended; one that was killed gets the shell's code for that.
fn status(child: &mut Child) -> anyhow::Result<u8> {
    let status = child.wait().context("wait for the child process")?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Passes on what is sent to this process alone. What a terminal sends goes to the child as well: two at once
/// count as one there.
fn pass_on_signals(child: &Child) -> anyhow::Result<()> {
    let pid = Pid::from_child(child);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut ends = {
        let _context = runtime.enter();
        Ends::new()?
    };
    let pass_on = move || {
        runtime.block_on(async {
            loop {
                kill_process(pid, ends.next().await).ok();
            }
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(pass_on).map_err(no_thread)?;
    Ok(())
}

/// In the child: what has to be so before it begins. A child without its parent would go on unseen: it ends with its parent,
/// and does not begin if that has ended before this was asked for (prctl(2), `PR_SET_PDEATHSIG`).
pub(crate) fn prepare_child() {
    set_parent_process_death_signal(Some(Signal::KILL)).ok();
    let wanted = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok());
    let parent = getppid().map(Pid::as_raw_nonzero).map(NonZero::get);
    if wanted.is_some() && wanted != parent {
        std::process::exit(Outcome::Interrupted.exit_code().into());
    }
}

/// In a child with stuck threads: leaves word of its exit code. Nobody is to wait for its end, nor for that of its output.
pub(crate) fn leave_word(code: u8) {
    let Some(line) = std::env::var_os(LINE) else { return };
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        rustix::stdio::dup2_stdin(&null).ok();
        rustix::stdio::dup2_stdout(&null).ok();
        rustix::stdio::dup2_stderr(&null).ok();
    }
    let line = std::path::Path::new("/proc/self/fd").join(line);
    File::options().write(true).open(line).and_then(|mut line| line.write_all(&[code])).ok();
}
