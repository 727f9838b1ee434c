//! What counts as changed.

use clap::Args;

use crate::cli::values::duration::parse_duration;
use ringsync::{Compare, CompareBy, Config};

/// What counts as changed, and what is left alone.
#[derive(Debug, Args)]
#[command(next_help_heading = COMPARE)]
pub(crate) struct CompareArgs {
    /// Compare files by contents, not by size and time
    #[arg(short, long)]
    checksum: bool,
    /// Compare files by size alone
    #[arg(long)]
    size_only: bool,
    /// Copy every file, also where size and time are equal
    #[arg(short = 'I', long)]
    ignore_times: bool,
    /// Take times for equal that are SECS seconds apart; -1 compares nanoseconds [default: -1]
    #[arg(short = '@', long, value_name = "SECS", allow_negative_numbers = true, value_parser = parse_window)]
    modify_window: Option<Window>,
    /// Leave files alone that are newer in DST
    #[arg(short, long)]
    update: bool,
    /// Make nothing that DST does not have yet
    #[arg(long, visible_alias = "ignore-non-existing")]
    existing: bool,
    /// Leave alone what DST has, other than directories
    #[arg(long)]
    ignore_existing: bool,
}

impl CompareArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.compare = Compare::default().with(|compare| {
            // What says more about contents goes first, as in rsync.
            compare.by = match self {
                CompareArgs { checksum: true, .. } => CompareBy::Contents,
                CompareArgs { size_only: true, .. } => CompareBy::Size,
                CompareArgs { ignore_times: true, .. } => CompareBy::Nothing,
                _ => CompareBy::SizeAndTime,
            };
            compare.window = self.modify_window.and_then(|Window(seconds)| seconds);
            compare.update = self.update;
            compare.existing = self.existing;
            compare.ignore_existing = self.ignore_existing;
        });
    }
}

const COMPARE: &str = "What counts as changed, and what is left alone";

/// How many seconds may lie between two times that count as equal; `None`: not a nanosecond.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window(Option<u64>);

fn parse_window(text: &str) -> Result<Window, String> {
    match text.parse::<i32>() {
        Ok(..0) => Ok(Window(None)),
        _ => parse_duration(text).map(|window| Window(Some(window.as_secs()))),
    }
}
