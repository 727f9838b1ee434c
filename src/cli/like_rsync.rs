//! `ringsync rsync`: its place among the commands. Its words are rsync's, and clap never reads them.

use std::ffi::OsString;

use clap::Args;

/// Do what rsync does with the same words, between directories of this machine
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "A script changes one word: rsync becomes ringsync rsync. The program does the same when it is called by \
    the name rsync, through a link. ringsync rsync --help lists the options, and rsync(1) says what each one does.\n\n\
    Exit codes: those of rsync, 4 among them for an option that ringsync does not have."
)]
pub(crate) struct RsyncArgs {
    /// rsync's options and paths
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<OsString>,
}
