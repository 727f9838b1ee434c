//! `ringsync copy`: its options, those of `sync` that make sense for several sources.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::copying::CopyingArgs;
use crate::cli::args::symlinks::SymlinkArgs;
use crate::cli::values::local::local;
use ringsync::event::{Mode, Reporter};
use ringsync::{Config, Escaped};

/// Put each SRC, a file or a directory, into DIR under its own name
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "DIR must exist, unless --mkpath is given, and is not itself mirrored: what else it has stays. A \
    second run copies only what changed. A SRC that is a symlink is copied as one, and a trailing slash changes nothing. \
    Names that lead from one SRC to another stay hard links. Where options speak of DST, the place in DIR is meant.\n\n\
    Rules see a path as it is in DIR: /NAME/... is below the SRC of this name, which may be left out \
    itself.\n\nNothing is deleted: what a directory in DIR has beyond its SRC stays, since one SRC that is named by \
    mistake would cost another one's copy. sync --delete, a directory at a time, makes exact mirrors.\n\n\
    Exit codes: those of sync. With 3 nothing was written: two SRCs have one name, or one is or holds DIR, lies where \
    another is to be copied to, or has no name of its own (., .., /). A SRC that is missing is an error (23), and \
    the others are copied."
)]
pub(crate) struct CopyArgs {
    /// The files and directories to copy
    #[arg(value_name = "SRC", required = true, num_args = 1.., value_parser = local())]
    sources: Vec<PathBuf>,
    /// The directory to put them in, or a symlink to it
    #[arg(value_name = "DIR", required = true, value_parser = local())]
    directory: PathBuf,

    /// Change nothing, tell what would be done (with -v or -i)
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Make DIR, and its parents, where they are missing
    #[arg(long)]
    mkpath: bool,

    /// Print help (as -h alone does)
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    #[command(flatten)]
    copying: CopyingArgs,
    #[command(flatten)]
    symlinks: SymlinkArgs,
}

impl CopyArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules can't be read.
    pub(crate) fn config(&self) -> ringsync::Result<Config> {
        let mut config = Config::copy(&self.sources, &self.directory);
        config.make_parents = self.mkpath;
        config.mode = if self.dry_run { Mode::DryRun } else { Mode::Sync };
        self.symlinks.apply(&mut config);
        self.copying.apply(&mut config)?;
        Ok(config)
    }

    /// The reporter that fits the options and where the output goes.
    ///
    /// # Errors
    /// When the log can't be opened.
    pub(crate) fn reporter(&self, config: &Config) -> ringsync::Result<Box<dyn Reporter>> {
        let sources: Vec<String> = self.sources.iter().map(|path| Escaped::path(path).to_string()).collect();
        let opening = format!("copy {} to {}", sources.join(" "), Escaped::path(&self.directory));
        // Each source has a place of its own: paths are shown as they are in DIR.
        self.copying.show.reporter(Path::new(""), config, opening)
    }
}
