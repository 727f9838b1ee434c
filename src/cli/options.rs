//! Options that several commands have.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use ringsync::report::figures::Figures;
use ringsync::{Config, DEFAULT_DEPTH, Engine, Keep, default_jobs};

pub(crate) const KEEP: &str = "What is kept";
pub(crate) const SHOW: &str = "What is shown";
pub(crate) const SPEED: &str = "Engine";

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
    /// Take each name of a file with several names for a file of its own
    #[arg(long)]
    no_hard_links: bool,
    /// Leave modification times alone (the next sync then copies everything again)
    #[arg(long)]
    no_times: bool,
    /// Leave out FIFOs, sockets and devices
    #[arg(long)]
    no_specials: bool,
}

/// How the work is done.
#[derive(Debug, Args)]
#[command(next_help_heading = SPEED)]
pub(crate) struct EngineArgs {
    /// How system calls reach the kernel
    #[arg(long, value_enum, default_value_t)]
    engine: EngineArg,
    /// Rings, a thread each [default: the cores, 8 at most]
    #[arg(short, long, value_name = "N", value_parser = count(64))]
    jobs: Option<u16>,
    /// Copy tasks a ring
    #[arg(long, value_name = "N", value_parser = count(1024), default_value_t = DEFAULT_DEPTH as u16)]
    depth: u16,
}

/// How numbers are shown: as one is told, or else for whoever reads them.
pub(crate) fn figures(human: bool, plain: bool, output: impl IsTerminal) -> Figures {
    match human || !plain && output.is_terminal() {
        true => Figures::Human,
        false => Figures::Plain,
    }
}

/// A number from 1 to `most`.
fn count(most: i64) -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=most)
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum EngineArg {
    /// io_uring, or threads where it is forbidden
    #[default]
    Auto,
    /// io_uring or nothing
    Uring,
    /// Plain system calls on 16 threads
    Threads,
}

impl KeepArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.keep = Keep {
            owner: !self.no_owner,
            xattrs: !self.no_xattrs,
            hard_links: !self.no_hard_links,
            times: !self.no_times,
            specials: !self.no_specials,
        };
    }
}

impl EngineArgs {
    /// Engine, jobs and depth.
    pub(crate) fn resolved(&self) -> (Engine, usize, usize) {
        let engine = match self.engine {
            EngineArg::Auto => Engine::Auto,
            EngineArg::Uring => Engine::Uring,
            EngineArg::Threads => Engine::Threads,
        };
        (engine, self.jobs.map_or_else(default_jobs, usize::from), self.depth.into())
    }

    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        (config.engine, config.jobs, config.depth) = self.resolved();
    }
}
