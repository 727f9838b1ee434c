//! `ringsync sync`: its options, grouped by purpose.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::backup::BackupArgs;
use crate::cli::args::compare::CompareArgs;
use crate::cli::args::delete::DeleteArgs;
use crate::cli::args::engine::EngineArgs;
use crate::cli::args::keep::KeepArgs;
use crate::cli::args::list::ListArgs;
use crate::cli::args::select::SelectArgs;
use crate::cli::args::show::ShowArgs;
use crate::cli::args::symlinks::SymlinkArgs;
use crate::cli::args::write::WriteArgs;
use crate::cli::values::local::local;
use ringsync::event::{Mode, Reporter};
use ringsync::{Config, Escaped};

/// Make DST hold what SRC holds
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "The first run copies, later ones copy what changed. All that a file has is \
    kept, as with rsync -aHAX. What DST has beyond SRC stays, unless --delete is given. A trailing slash changes nothing: DST \
    becomes what SRC is.\n\n\
    Exit codes: 0 all done, 1 usage, 3 SRC or DST can't be used (or another run has it: --lock), 11 no space left or not flushed, 20 interrupted, 23 some \
    files failed, 24 some source files vanished, 25 nothing deleted (it would be too much, SRC is empty, or DST has nothing in common with it), 30 timed out."
)]
pub(crate) struct SyncArgs {
    /// The directory, or the file, to copy
    #[arg(value_name = "SRC", value_parser = local())]
    source: PathBuf,
    /// The directory that shall hold the same; for a file, its new name or where to put it
    #[arg(value_name = "DST", value_parser = local())]
    destination: PathBuf,

    /// Change nothing, tell what would be done (with -v or -i)
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Make DST's missing parent directories
    #[arg(long)]
    mkpath: bool,

    /// Print help (as -h alone does)
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    compare: CompareArgs,
    #[command(flatten)]
    delete: DeleteArgs,
    #[command(flatten)]
    backup: BackupArgs,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    symlinks: SymlinkArgs,

    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

impl SyncArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules or paths can't be read.
    pub(crate) fn config(&self) -> ringsync::Result<Config> {
        let mut config = Config::new(&self.source, &self.destination);
        config.make_parents = self.mkpath;
        config.mode = if self.dry_run { Mode::DryRun } else { Mode::Sync };
        self.symlinks.apply(&mut config);
        self.select.apply(&mut config)?;
        self.list.apply(&mut config)?;
        self.delete.apply(&mut config);
        self.backup.apply(&mut config)?;
        self.compare.apply(&mut config);
        self.keep.apply(&mut config);
        self.write.apply(&mut config);
        self.show.apply(&mut config);
        self.engine.apply(&mut config);
        Ok(config)
    }

    /// The reporter that fits the options and where the output goes.
    ///
    /// # Errors
    /// When the log can't be opened.
    pub(crate) fn reporter(&self, config: &Config) -> ringsync::Result<Box<dyn Reporter>> {
        let (source, destination) = (Escaped::path(&self.source), Escaped::path(&self.destination));
        self.show.reporter(&self.source, config, format!("sync {source} to {destination}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn config(options: &[&str]) -> ringsync::Config {
        let arguments = [&["ringsync", "sync"], options, &["SRC", "DST"]].concat();
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Sync(arguments) => arguments.config().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn p_keeps_partial_copies_whatever_is_shown() {
        assert!(config(&["-P"]).partial && config(&["-P", "--no-progress"]).partial);
        assert!(!config(&["--progress"]).partial && !config(&[]).partial);
    }

    #[test]
    fn details_are_found_out_for_those_who_show_them() {
        for options in [&["-i"][..], &["--out-format=%n"], &["--log-file=log"], &["--json"], &["-hh", "-ii"]]
        {
            assert!(config(options).details, "{options:?}");
        }
        assert!(!config(&["-vv", "--stats"]).details);
    }

    #[test]
    fn a_rate_of_zero_is_none() {
        assert_eq!(config(&["--bwlimit=0"]).bandwidth, None);
        assert_eq!(config(&["--bwlimit=1.5K"]).bandwidth.map(u64::from), Some(1536));
    }
}
