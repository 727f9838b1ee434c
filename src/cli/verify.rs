//! `ringsync verify`: its options.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::args::engine::EngineArgs;
use crate::cli::values::duration::parse_limit;
use crate::cli::values::local::local;
use crate::report::verify::{VerifyJson, VerifyLines};
use ringsync::VerifyConfig;
use ringsync::verify::{Manifest, VerifyReporter};

/// Check files against a manifest of their hashes
#[derive(Debug, Args)]
#[command(
    after_help = "Prints a line for each file, as b3sum --check does, in the order in which they are done. The \
    whole of the manifest is checked, whatever fails.\n\n\
    Exit codes: 0 all files are right; 1 usage; 3 MANIFEST or DIR can't be used; \
    20 interrupted; 23 a file is wrong, missing or extra, or a line malformed; 30 a file timed out."
)]
pub(crate) struct VerifyArgs {
    /// The manifest; - is standard input
    #[arg(value_name = "MANIFEST", value_parser = local())]
    manifest: PathBuf,
    /// Where its paths start. None may lead out of it, and symlinks in it are not followed [default: the working
    /// directory, from which paths may lead anywhere]
    #[arg(value_name = "DIR", value_parser = local())]
    directory: Option<PathBuf>,

    /// Also report the regular files in DIR that the manifest lacks
    #[arg(long, requires = "directory")]
    strict: bool,
    /// No line for files that are right
    #[arg(short, long)]
    quiet: bool,
    /// Give up on a file on no disk that makes no progress for this long: 300 or 300s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_limit)]
    timeout: Duration,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    engine: EngineArgs,
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
        config.timeout = self.timeout;
        (config.engine, config.jobs, config.depth, config.buffer) = self.engine.resolved();
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
