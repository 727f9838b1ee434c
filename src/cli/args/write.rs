//! Options of the commands that write: how files are written, and what is shown of it.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::args::engine::SPEED;
use crate::cli::values::duration::parse_limit;
use crate::cli::values::local::local;
use crate::cli::values::rate::bytes_a_second;
use crate::cli::values::reflink::ReflinkArg;
use ringsync::{Config, Hashing, Lock};

const WRITE: &str = "How files are written";

/// How files are written.
#[derive(Debug, Args)]
#[command(next_help_heading = WRITE)]
pub(crate) struct WriteArgs {
    /// Write new files under their own names: faster in directories that DST has, but a kill leaves half a file
    #[arg(long)]
    no_atomic: bool,
    /// Have a directory that is not empty make way for what is none in SRC (as --delete does)
    #[arg(long)]
    force: bool,
    /// Rewrite files where they are, only blocks that differ; a kill leaves a mixture
    #[arg(long)]
    inplace: bool,
    /// Keep what was written of a large file, and go on there in the next run
    #[arg(long)]
    partial: bool,
    /// Have DST for this run alone among those with --lock: while another one has it, end with 3
    #[arg(long)]
    lock: bool,
    /// With --lock: wait while another run has DST
    #[arg(long, requires = "lock")]
    wait: bool,
    /// Have all on stable storage before the run ends, and data before names
    #[arg(long)]
    fsync: bool,
    /// Take what was read last of a file that changes each time, perhaps a mixture, and mark it
    #[arg(long)]
    take_changing: bool,
    /// Trust that files of more than 1 GiB that grow are only appended to: look at samples, not at all of it
    #[arg(long)]
    trust_append: bool,
    /// Give up on what hangs for TIME (90s, 5m, 1h), and go on with the rest (without io_uring)
    #[arg(long, value_name = "TIME", value_parser = parse_limit)]
    timeout: Option<Duration>,
    /// Read each copied file back from DST's storage and compare
    #[arg(long, conflicts_with = "no_hash")]
    verify: bool,
    /// Write the hashes of all files in DST to FILE, as b3sum does
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_hash", "dry_run"], value_parser = local())]
    manifest: Option<PathBuf>,
    /// Share blocks with SRC: auto where the file system can, always or fail
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    reflink: ReflinkArg,
    /// Don't hash what is copied
    #[arg(long)]
    no_hash: bool,
    /// Read no more than RATE a second: KiB, or 500K, 1.5M, 2GB
    #[arg(long, value_name = "RATE", value_parser = bytes_a_second, help_heading = SPEED)]
    bwlimit: Option<u64>,
}

impl WriteArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.atomic = !self.no_atomic;
        config.force = self.force;
        config.in_place = self.inplace;
        config.partial = self.partial;
        config.lock = match (self.lock, self.wait) {
            (false, _) => None,
            (true, false) => Some(Lock::Refuse),
            (true, true) => Some(Lock::Wait),
        };
        config.fsync = self.fsync;
        config.take_changing = self.take_changing;
        config.trust_append = self.trust_append;
        config.timeout = self.timeout;
        config.bandwidth = self.bwlimit.and_then(NonZeroU64::new);
        config.hashing = (!self.no_hash).then(|| {
            Hashing::default().with(|hashing| {
                hashing.verify = self.verify;
                hashing.manifest.clone_from(&self.manifest);
            })
        });
        config.reflink = self.reflink.into();
    }
}
