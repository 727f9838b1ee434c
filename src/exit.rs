//! How the program ends: what it prints last, and its exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::report::lines::message;
use crate::report::words;
use crate::supervisor::leave_word;
use ringsync::{Error, Operation, Outcome};

/// Writes to standard output, and returns the exit code.
pub(crate) fn print(text: &[u8]) -> ExitCode {
    let mut trouble = say(text);
    exit_code(Outcome::Done, false, || trouble.take())
}

/// Writes to standard output, and returns what went wrong. A reader that goes away has seen enough.
pub(crate) fn say(text: &[u8]) -> Option<Error> {
    let mut out = std::io::stdout().lock();
    let trouble = out.write_all(text).and_then(|()| out.flush()).err();
    let trouble = trouble.filter(|trouble| trouble.kind() != ErrorKind::BrokenPipe);
    trouble.map(|trouble| Error::new(Operation::Write, "standard output", trouble))
}

/// The exit code of a run, whose reports may have met `trouble`.
pub(crate) fn exit_code(
    mut outcome: Outcome,
    stuck: bool,
    mut trouble: impl FnMut() -> Option<ringsync::Error>,
) -> ExitCode {
    while let Some(trouble) = trouble() {
        message(words::told(&trouble));
        outcome = outcome.max(Outcome::Failed);
    }
    let code = outcome.exit_code();
    if stuck {
        // Threads that hang in the kernel would keep the process. What they hold is nameless and goes with them, or
        // under a temporary name and goes with the next run.
        leave_word(code);
        std::process::exit(code.into());
    }
    code.into()
}
