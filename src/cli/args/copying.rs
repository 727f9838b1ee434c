//! What copies one or several sources may be told: the options that `copy` and `snapshot restore` have alike.

use clap::Args;

use crate::cli::args::backup::BackupArgs;
use crate::cli::args::compare::CompareArgs;
use crate::cli::args::engine::EngineArgs;
use crate::cli::args::keep::KeepArgs;
use crate::cli::args::select::SelectArgs;
use crate::cli::args::show::ShowArgs;
use crate::cli::args::write::WriteArgs;
use ringsync::Config;

#[derive(Debug, Args)]
pub(crate) struct CopyingArgs {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    compare: CompareArgs,
    #[command(flatten)]
    backup: BackupArgs,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

impl CopyingArgs {
    /// Sets what they say.
    ///
    /// # Errors
    /// When a rule is none, or a file of rules can't be read.
    pub(crate) fn apply(&self, config: &mut Config) -> ringsync::Result<()> {
        self.select.apply(config)?;
        self.backup.apply(config)?;
        self.compare.apply(config);
        self.keep.apply(config);
        self.write.apply(config);
        self.show.apply(config);
        self.engine.apply(config);
        Ok(())
    }
}
