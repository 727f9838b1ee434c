//! `ringsync verify`: its options.

use std::path::{Path, PathBuf};

use clap::Args;
use ringsync::verify::{Manifest, VerifyJson, VerifyLines, VerifyReporter};
use ringsync::{DEFAULT_DEPTH, VerifyConfig, default_jobs};

use super::sync::{EngineArg, count};

/// Check files against a manifest of their hashes, as b3sum prints it.
///
/// Prints a line for each file, as b3sum --check does, in the order in which they are done. The whole of the manifest
/// is checked, whatever fails.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all files are right; 1 usage; 3 MANIFEST or DIR can't be used; \
    20 interrupted; 23 a file is wrong, missing or extra, or a line malformed.")]
pub(crate) struct VerifyArgs {
    /// The manifest; - is standard input
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Where its paths start. None may lead out of it, and symlinks in it are not followed [default: the working
    /// directory, from which paths may lead anywhere]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Also report the regular files in DIR that the manifest lacks
    #[arg(long, requires = "directory")]
    strict: bool,
    /// No line for files that are right
    #[arg(short, long)]
    quiet: bool,
    /// One JSON object a line on standard output, and nothing else there
    #[arg(long)]
    json: bool,

    /// How system calls reach the kernel
    #[arg(long, value_enum, default_value_t)]
    engine: EngineArg,
    /// Rings, a thread each [default: the cores, 8 at most]
    #[arg(short, long, value_name = "N", value_parser = count(64))]
    jobs: Option<u16>,
    /// Files that each ring has open at a time
    #[arg(long, value_name = "N", value_parser = count(1024), default_value_t = DEFAULT_DEPTH as u16)]
    depth: u16,
}

impl VerifyArgs {
    fn manifest(&self) -> Manifest {
        if self.manifest == Path::new("-") {
            Manifest::StandardInput
        } else {
            Manifest::File(self.manifest.clone())
        }
    }

    /// The options, resolved.
    pub(crate) fn config(&self) -> VerifyConfig {
        let mut config = VerifyConfig::new(self.manifest());
        config.directory = self.directory.clone();
        config.strict = self.strict;
        config.engine = self.engine.into();
        config.jobs = self.jobs.map_or_else(default_jobs, usize::from);
        config.depth = self.depth.into();
        config
    }

    /// The reporter that fits the options and where the output goes.
    pub(crate) fn reporter(&self) -> Box<dyn VerifyReporter> {
        let manifest = self.manifest();
        if self.json {
            Box::new(VerifyJson::new(manifest.name(), self.quiet))
        } else {
            Box::new(VerifyLines::new(manifest.name(), self.quiet))
        }
    }
}
