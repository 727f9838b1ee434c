//! Options about what the destination had before: what is deleted, and what is kept of it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::local::local;
use ringsync::{Backup, Config, Delete, DeleteLimit};

const DELETE: &str = "What is deleted from DST";
const KEPT: &str = "Old versions, and snapshots";

/// What is deleted.
#[derive(Debug, Args)]
#[command(next_help_heading = DELETE, group = ArgGroup::new("deletes").multiple(true))]
pub(crate) struct DeleteArgs {
    /// Delete what DST has and SRC lacks, when all else is done
    #[arg(
        long,
        aliases = ["del", "delete-during", "delete-delay", "delete-after"],
        group = "deletes",
        conflicts_with = "files_from"
    )]
    delete: bool,
    /// The same, and what the rules leave out
    #[arg(long, group = "deletes", conflicts_with = "files_from")]
    delete_excluded: bool,
    /// If it would be more than N entries, or N% of DST's, delete nothing
    #[arg(long, value_name = "N", value_parser = parse_limit, requires = "deletes")]
    max_delete: Option<DeleteLimit>,
    /// Delete also if SRC is empty
    #[arg(long, requires = "deletes")]
    allow_empty_source: bool,
}

/// What is kept of what was there.
#[derive(Debug, Args)]
#[command(next_help_heading = KEPT, group = ArgGroup::new("backups").multiple(true))]
pub(crate) struct BackupArgs {
    /// Keep what is replaced or deleted, under its name with a suffix
    #[arg(short, long, group = "backups")]
    backup: bool,
    /// Keep it in a tree of its own, under its path
    #[arg(long, value_name = "DIR", group = "backups", value_parser = local())]
    backup_dir: Option<PathBuf>,
    /// What names of backups end in [default: ~, nothing with --backup-dir]
    #[arg(long, value_name = "SUFFIX", requires = "backups")]
    suffix: Option<OsString>,
    /// Hard-link what is the same in DIR, an older mirror (from DST, if relative)
    #[arg(long, value_name = "DIR", value_parser = local())]
    link_dest: Vec<PathBuf>,
}

/// A number of entries, or a share of them.
fn parse_limit(text: &str) -> Result<DeleteLimit, String> {
    let limit = match text.strip_suffix('%') {
        Some(share) => share.parse().ok().filter(|share| *share <= 100).map(DeleteLimit::Percent),
        None => text.parse().ok().map(DeleteLimit::Entries),
    };
    limit.ok_or_else(|| "neither a number of entries nor a share from 0% to 100%".into())
}

impl DeleteArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.select.delete_excluded = self.delete_excluded;
        config.delete = (self.delete || self.delete_excluded).then(|| {
            Delete::default().with(|delete| {
                delete.limit = self.max_delete;
                delete.allow_empty_source = self.allow_empty_source;
            })
        });
    }
}

impl BackupArgs {
    /// Puts the options into `config`, after those about what is selected and deleted.
    ///
    /// # Errors
    /// When the suffix can't be part of a rule.
    pub(crate) fn apply(&self, config: &mut Config) -> ringsync::Result<()> {
        config.link_dest.clone_from(&self.link_dest);
        if !self.backup && self.backup_dir.is_none() {
            return Ok(());
        }
        let default = if self.backup_dir.is_some() { "" } else { "~" };
        let suffix = self.suffix.clone().unwrap_or_else(|| default.into());
        if config.delete.is_some() && self.backup_dir.is_none() && !config.select.delete_excluded {
            let rule = OsString::from_vec([b"P *", &*escaped(suffix.as_bytes())].concat());
            config.select.filter(&rule)?;
        }
        config.backup = Some(Backup::default().with(|backup| {
            backup.directory.clone_from(&self.backup_dir);
            backup.suffix = suffix;
        }));
        Ok(())
    }
}

/// Bytes that stand for themselves in a pattern.
fn escaped(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|&byte| [b'\\', byte]).collect()
}
