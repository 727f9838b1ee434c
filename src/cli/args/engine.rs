//! Options that several commands have.

use clap::{Args, ValueEnum};

use crate::cli::values::count::count;
use crate::cli::values::size::parse_size;
use ringsync::{Config, DEFAULT_DEPTH, Engine, default_jobs};

pub(crate) const SPEED: &str = "Engine and speed";

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
    /// Tasks a ring, at most: begins with 2, adds more while they wait (verify: all at once)
    #[arg(long, value_name = "N", value_parser = count(1024), default_value_t = DEFAULT_DEPTH as u16)]
    depth: u16,
    /// Bytes of a large file read and written at once, 64K to 4M [default: 256K, on FUSE 1M]
    #[arg(long, value_name = "SIZE", value_parser = buffer_size)]
    buffer_size: Option<usize>,
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
            config.reserve_jobs = 0;
        }
    }
}
