//! `ringsync snapshot restore`: its options, those of `copy`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::copying::CopyingArgs;
use crate::cli::args::show::Closing;
use crate::cli::values::local::local;
use ringsync::event::{Mode, Reporter};
use ringsync::store::look::{Restore, place};
use ringsync::{Config, Escaped};

/// Get files back out of a snapshot
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    override_usage = "ringsync snapshot restore [OPTIONS] STORE[@NAME] [PATH]... DST",
    after_help = "Without PATH all that the snapshot has goes into DST, which becomes what the source was, as with sync; each \
PATH, which begins at the snapshot's top, is put into DST under its own name, as with copy. So that 2026/lake.jpg gets where it \
was, DST is the directory 2026. What differs is replaced, also what is newer in DST: -n -i tells before, --backup keeps it, \
--ignore-existing leaves alone what is there, --update what is newer. Nothing is deleted, what else DST has stays, and no \
symlink is followed. Names of one inode become hard links again. With --verify the files are compared with the \
hashes that STORE keeps as well.\n\n\
Nothing is written to STORE, which may be read-only, or lack .ringsync: then its directories that are named by time are the \
snapshots.\n\n\
Exit codes: those of copy; 3 also where there is no such snapshot, or it lacks a PATH, and 23 where no NAME is given and the \
newest snapshot is partial, unless what it lacks lies under none of the PATHs."
)]
pub(crate) struct RestoreArgs {
    /// The store, and @ with the name of a snapshot [default: the newest]; what of it; where to put it
    #[arg(value_name = "STORE[@NAME] [PATH]... DST", required = true, num_args = 2.., value_parser = local())]
    places: Vec<PathBuf>,

    /// Change nothing, tell what would be done (with -v or -i)
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Make DST's missing parent directories; with a PATH also DST
    #[arg(long)]
    mkpath: bool,

    /// Print help (as -h alone does)
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    #[command(flatten)]
    copying: CopyingArgs,
}

impl RestoreArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When there is no such snapshot, it lacks what is asked for, a rule is none, or a file of rules can't be read.
    pub(crate) fn restore(&self) -> ringsync::Result<Restore> {
        let (from, paths, to) = match &self.places[..] {
            [from, paths @ .., to] => (&**from, paths, &**to),
            _ => (Path::new(""), &[][..], Path::new("")),
        };
        let (store, name) = place(from);
        let mut restore = Restore::new(&store, name.as_deref(), paths, to)?;
        let config = &mut restore.run;
        config.make_parents = self.mkpath;
        config.mode = if self.dry_run { Mode::DryRun } else { Mode::Sync };
        self.copying.apply(config)?;
        Ok(restore)
    }

    /// The reporter that fits the options and where the output goes.
    ///
    /// # Errors
    /// When the log can't be opened.
    pub(crate) fn reporter(&self, config: &Config) -> ringsync::Result<Box<dyn Reporter>> {
        let named: Vec<String> = self.places.iter().map(|path| Escaped::path(path).to_string()).collect();
        let source = if self.places.len() == 2 { &*config.source } else { Path::new("") };
        self.copying.show.reporter(source, config, format!("restore {}", named.join(" ")))
    }

    /// In what form it is said what may be missing.
    pub(crate) fn closing(&self) -> Closing {
        self.copying.show.closing()
    }
}
