//! Why a command line can't be run, with rsync's exit code for it.

use std::process::ExitCode;

use crate::report::lines::warn;
use crate::report::words::told;
use ringsync::{Error, Operation};

/// Nothing more is done: why, and the exit code.
#[derive(Debug)]
pub(super) struct Failure {
    text: String,
    code: u8,
}

/// The command line is wrong.
pub(super) const USAGE: u8 = 1;
/// It asks for what is not to be had.
pub(super) const UNSUPPORTED: u8 = 4;
/// A path that was named can't be used.
pub(super) const FILES: u8 = 3;
/// What was to be written could not be.
pub(super) const WRITING: u8 = 11;
/// Some entries were not copied.
pub(super) const PARTIAL: u8 = 23;

impl Failure {
    pub(super) fn new(text: impl Into<String>, code: u8) -> Self {
        Failure { text: text.into(), code }
    }

    /// An option that is no option.
    pub(super) fn unknown(written: &str) -> Self {
        Failure::usage(written, "unknown option")
    }

    /// An option that is used wrongly.
    pub(super) fn usage(written: &str, why: &str) -> Self {
        Failure::new(format!("{written}: {why}"), USAGE)
    }

    /// An option of rsync's that ringsync does not have.
    pub(super) fn lacking(written: &str) -> Self {
        Failure::new(format!("{written}: ringsync does not have this option of rsync's"), UNSUPPORTED)
    }

    /// What is said of it.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Says it.
    pub(super) fn tell(&self) -> u8 {
        warn(format_args!("rsync: {}", self.text));
        self.code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = if error.operation == Operation::UseRule { USAGE } else { FILES };
        Failure::new(told(&error), code)
    }
}

/// Says how a run ended, where that is not well.
pub(super) fn closing(code: u8) -> ExitCode {
    let why = match code {
        0 => return ExitCode::SUCCESS,
        1 => "syntax or usage error",
        2 => "protocol incompatibility",
        3 => "errors selecting input/output files, dirs",
        4 => "requested action not supported",
        5 => "error starting client-server protocol",
        10 => "error in socket IO",
        11 => "error in file IO",
        12 => "error in rsync protocol data stream",
        20 => "received SIGINT, SIGTERM, or SIGHUP",
        23 => "some files/attrs were not transferred (see previous errors)",
        24 => {
            warn(format_args!(
                "rsync warning: some files vanished before they could be transferred (code 24) [ringsync {}]",
                env!("CARGO_PKG_VERSION")
            ));
            return code.into();
        }
        25 => "the --max-delete limit stopped deletions",
        30 => "timeout in data send/receive",
        _ => "unexplained error",
    };
    warn(format_args!("rsync error: {why} (code {code}) [ringsync {}]", env!("CARGO_PKG_VERSION")));
    code.into()
}
