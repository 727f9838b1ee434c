//! Options that several commands have.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};

use super::duration::parse_duration;
use super::owner::parse_owner;
use super::size::parse_size;
use crate::report::figures::Figures;
use ringsync::{Chmod, Compare, Config, DEFAULT_DEPTH, Engine, Keep, Owner, default_jobs};

pub(crate) const COMPARE: &str = "What counts as changed, and what is left alone";
pub(crate) const KEEP: &str = "Which metadata is kept";
pub(crate) const SHOW: &str = "What is shown";
pub(crate) const SPEED: &str = "Engine and speed";

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

/// What is kept, or compared.
#[derive(Debug, Args)]
#[command(next_help_heading = KEEP)]
pub(crate) struct KeepArgs {
    /// Leave owner and group alone
    #[arg(long)]
    no_owner: bool,
    /// Leave extended attributes and ACLs alone
    #[arg(long)]
    no_xattrs: bool,
    /// Copy a file with several names once for each
    #[arg(long)]
    no_hard_links: bool,
    /// Leave modification times alone (the next run then copies everything again)
    #[arg(long)]
    no_times: bool,
    /// Leave out FIFOs, sockets and devices
    #[arg(long)]
    no_specials: bool,
    /// Change modes, as chmod does: Dg+s,F644,o= (D directories, F all else)
    #[arg(long, value_name = "CHMOD", allow_hyphen_values = true)]
    chmod: Vec<Chmod>,
    /// Give everything to USER, USER:GROUP or :GROUP, by name or number
    #[arg(long, value_name = "USER:GROUP", value_parser = parse_owner, conflicts_with = "no_owner")]
    chown: Option<Owner>,
}

/// How the work is done.
#[derive(Debug, Args)]
#[command(next_help_heading = SPEED)]
pub(crate) struct EngineArgs {
    /// How system calls reach the kernel: auto takes io_uring, or threads where it is forbidden
    #[arg(long, value_enum, value_name = "WHICH", default_value_t)]
    engine: EngineArg,
    /// Rings, a thread each [default: the cores, 8 at most]
    #[arg(short, long, value_name = "N", value_parser = count(64))]
    jobs: Option<u16>,
    /// Copy tasks a ring, at most
    #[arg(long, value_name = "N", value_parser = count(1024), default_value_t = DEFAULT_DEPTH as u16)]
    depth: u16,
    /// Bytes of a large file read and written at once, 64K to 4M [default: 256K, more where reads take long]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size)]
    buffer_size: Option<usize>,
}

/// How numbers are shown: as the options say, or else as fits a terminal or a program that reads them.
pub(crate) fn figures(human: bool, plain: bool, output: impl IsTerminal) -> Figures {
    match human || !plain && output.is_terminal() {
        true => Figures::Human,
        false => Figures::Plain,
    }
}

/// A number from 1 to `most`.
pub(super) fn count(most: u16) -> impl Fn(&str) -> Result<u16, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| format!("not a number from 1 to {most}"))
    }
}

/// How many seconds may lie between two times that count as equal; `None`: not a nanosecond.
#[derive(Debug, Clone, Copy)]
struct Window(Option<u64>);

fn parse_window(text: &str) -> Result<Window, String> {
    match text.parse::<i32>() {
        Ok(..0) => Ok(Window(None)),
        _ => parse_duration(text).map(|window| Window(Some(window.as_secs()))),
    }
}

/// Whole 64 KiB, 4 MiB at most.
fn buffer_size(text: &str) -> Result<usize, String> {
    const UNIT: u64 = 64 << 10;
    let bytes = parse_size(text)?;
    match bytes {
        UNIT..=0x40_0000 if bytes.is_multiple_of(UNIT) => Ok(bytes as usize),
        _ => Err("not a multiple of 64K from 64K to 4M".into()),
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum EngineArg {
    // A value with a help of its own would make clap spread --help over three screens.
    #[default]
    Auto,
    Uring,
    Threads,
}

impl KeepArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.keep = Keep::default().with(|keep| {
            keep.owner = !self.no_owner;
            keep.xattrs = !self.no_xattrs;
            keep.hard_links = !self.no_hard_links;
            keep.times = !self.no_times;
            keep.specials = !self.no_specials;
        });
        self.chmod.iter().for_each(|chmod| config.chmod.extend(chmod));
        config.owner = self.chown.unwrap_or_default();
    }
}

impl CompareArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.checksum = self.checksum;
        config.compare = Compare::default().with(|compare| {
            compare.size_only = self.size_only;
            compare.ignore_times = self.ignore_times;
            compare.window = self.modify_window.and_then(|Window(seconds)| seconds);
            compare.update = self.update;
            compare.existing = self.existing;
            compare.ignore_existing = self.ignore_existing;
        });
    }
}

impl EngineArgs {
    /// Engine, jobs, depth and the size of buffers.
    pub(crate) fn resolved(&self) -> (Engine, usize, usize, Option<usize>) {
        let engine = match self.engine {
            EngineArg::Auto => Engine::Auto,
            EngineArg::Uring => Engine::Uring,
            EngineArg::Threads => Engine::Threads,
        };
        let jobs = self.jobs.map_or_else(default_jobs, usize::from);
        (engine, jobs, self.depth.into(), self.buffer_size)
    }

    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        (config.engine, config.jobs, config.depth, config.buffer) = self.resolved();
        if self.jobs.is_some() {
            config.spare_jobs = 0;
        }
    }
}
