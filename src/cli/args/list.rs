//! Lists of paths.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::select::SELECT;
use crate::cli::values::local::local;
use ringsync::{Config, Paths, Separator};

/// Of one source, the paths of a list.
#[derive(Debug, Args)]
#[command(next_help_heading = SELECT)]
pub(crate) struct ListArgs {
    /// Mirror only the paths that FILE names, one a line (- is standard input)
    #[arg(long, value_name = "FILE", value_parser = local())]
    files_from: Option<PathBuf>,
    /// With --files-from: directories come with all their contents
    #[arg(short, long, requires = "files_from")]
    recursive: bool,
}

impl ListArgs {
    /// Puts the options into `config`, which has those of [`SelectArgs`].
    pub(crate) fn apply(&self, config: &mut Config) -> ringsync::Result<()> {
        let Some(file) = &self.files_from else { return Ok(()) };
        let separator = if config.select.from0 { Separator::Nul } else { Separator::Line };
        let mut paths = match config.insecure_links {
            false => Paths::read(file, separator)?,
            true => Paths::read_insecurely(file, separator)?,
        };
        paths.recursive = self.recursive;
        config.select.paths = Some(paths);
        Ok(())
    }
}
