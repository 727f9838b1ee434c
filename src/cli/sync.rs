//! `ringsync sync`: its options, grouped by purpose.

use std::path::PathBuf;

use clap::Args;
use ringsync::report::Reporter;
use ringsync::{Config, Delete, DeleteLimit};

use super::options::{CompareArgs, EngineArgs, KeepArgs};
use super::select::{ListArgs, SelectArgs};
use super::write::{ShowArgs, WriteArgs};

const DELETE: &str = "What is deleted";

/// Make DST hold what SRC holds: contents, types, modes, owners, times, links, holes and attributes.
///
/// A second run copies only what changed. What DST has beyond SRC stays. A trailing slash changes nothing.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// The directory, or the file, to copy
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The directory that shall hold the same; for a file, its new name or a directory to put it in
    #[arg(value_name = "DST")]
    destination: PathBuf,

    /// Change nothing, report what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Delete what DST has and SRC lacks, when all else is done
    #[arg(long, aliases = ["del", "delete-during", "delete-delay", "delete-after"], help_heading = DELETE, conflicts_with = "files_from")]
    delete: bool,
    /// And what the rules leave out
    #[arg(long, help_heading = DELETE, conflicts_with = "files_from")]
    delete_excluded: bool,
    /// Delete nothing at all if it would be more than N entries, or N% of DST's
    #[arg(long, value_name = "N", value_parser = parse_limit, help_heading = DELETE)]
    max_delete: Option<DeleteLimit>,
    /// Delete also if SRC is empty
    #[arg(long, help_heading = DELETE)]
    allow_empty_source: bool,
    /// Make DST's missing parent directories
    #[arg(long)]
    mkpath: bool,

    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    compare: CompareArgs,
    #[command(flatten)]
    keep: KeepArgs,

    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// A number of entries, or a share of them.
fn parse_limit(text: &str) -> Result<DeleteLimit, String> {
    let error = |error: std::num::ParseIntError| error.to_string();
    match text.strip_suffix('%') {
        Some(share) => match share.parse().map_err(error)? {
            share @ 0..=100 => Ok(DeleteLimit::Percent(share)),
            _ => Err("a share is from 0% to 100%".into()),
        },
        None => text.parse().map(DeleteLimit::Entries).map_err(error),
    }
}

impl SyncArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules or paths can't be read.
    pub(crate) fn config(&self) -> ringsync::Result<Config> {
        let mut config = Config::new(&self.source, &self.destination);
        config.make_parents = self.mkpath;
        config.dry_run = self.dry_run;
        self.select.apply(&mut config)?;
        self.list.apply(&mut config)?;
        config.select.delete_excluded = self.delete_excluded;
        let (limit, allow_empty_source) = (self.max_delete, self.allow_empty_source);
        config.delete = (self.delete || self.delete_excluded).then_some(Delete { limit, allow_empty_source });
        self.compare.apply(&mut config);
        self.keep.apply(&mut config);
        self.write.apply(&mut config);
        self.engine.apply(&mut config);
        Ok(config)
    }

    /// The reporter that fits the options and where the output goes.
    pub(crate) fn reporter(&self) -> Box<dyn Reporter> {
        self.show.reporter()
    }
}
