//! What becomes of what is replaced or deleted.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::cli::values::local::local;
use ringsync::{Backup, Config, Reuse};

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
    #[arg(long, value_name = "DIR", value_parser = local(), conflicts_with_all = ["copy_dest", "compare_dest"])]
    link_dest: Vec<PathBuf>,
    /// Copy, or clone, from DIR what is new in DST and the same there
    #[arg(long, value_name = "DIR", value_parser = local(), conflicts_with = "compare_dest")]
    copy_dest: Vec<PathBuf>,
    /// Leave out what is the same in DIR, and remove it from DST
    #[arg(long, value_name = "DIR", value_parser = local())]
    compare_dest: Vec<PathBuf>,
}

impl BackupArgs {
    /// Puts the options into `config`, after those about what is selected and deleted.
    ///
    /// # Errors
    /// When the suffix can't be part of a rule.
    pub(crate) fn apply(&self, config: &mut Config) -> ringsync::Result<()> {
        let trees = [
            (&self.link_dest, Reuse::Link),
            (&self.copy_dest, Reuse::Copy),
            (&self.compare_dest, Reuse::Compare),
        ];
        if let Some((trees, reuse)) = trees.into_iter().find(|(trees, _)| !trees.is_empty()) {
            config.link_dest.clone_from(trees);
            config.reuse = reuse;
        }
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
pub(crate) fn escaped(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|&byte| [b'\\', byte]).collect()
}

pub(crate) const KEPT: &str = "Old versions, and snapshots";
