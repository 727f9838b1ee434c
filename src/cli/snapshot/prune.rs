//! `ringsync snapshot prune`: its options.

use std::path::PathBuf;

use clap::Args;

use crate::cli::snapshot::keep::KeepRuleArgs;
use crate::cli::values::local::local;
use ringsync::store::Prune;
use ringsync::store::retention::Rules;

/// Remove the snapshots of a store that no rule names
#[derive(Debug, Args)]
#[command(after_help = "\
Rules have the meaning that restic gives them, by the local calendar. Of each period the newest complete snapshot stays, or \
the newest partial one where there is none; a rule that has fewer periods than it counts keeps the oldest snapshot as well. \
The newest complete one always stays, which --name can't change; no rule looks at named ones, and at those dated more than an \
hour ahead of the clock. One that a wrong clock dated before earlier ones takes no place of others: it stays as long as one \
would that was begun together with the snapshot before it, or after it.\n\n\
With --keep-free the rules say what must stay, and the others go only while space is short: without a rule, the oldest. It \
stops when three removals in a row freed less than 1 % of what is missing (and less than 100 MiB), and at half of all snapshots if there is no --yes.\n\n\
Exit codes: 0, 1 usage, 3 STORE can't be used, or more than half of its snapshots would go, 20 interrupted, 23 something could \
not be removed, and the next run goes on, or --keep-free could not be reached.")]
pub(crate) struct PruneArgs {
    /// The directory that holds the snapshots
    #[arg(value_name = "STORE", value_parser = local())]
    store: PathBuf,
    /// Remove the snapshot that `list` calls NAME, dated or named, and no other; may be given more than once
    #[arg(long, value_name = "NAME", conflicts_with = "rules")]
    name: Vec<String>,
    /// Remove nothing, tell what would go
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another run is at work in STORE
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    keep: KeepRuleArgs,
}

impl PruneArgs {
    /// The options, resolved.
    ///
    /// # Errors
    /// When there is no rule: a text for people.
    pub(crate) fn prune(&self) -> Result<Prune, &'static str> {
        if self.keep.is_empty() && self.name.is_empty() {
            return Err(
                "what is to stay? Give at least one rule, as --keep-daily 30, or name what is to go with --name",
            );
        }
        Ok(Prune::new(&self.store, Rules::default()).with(|prune| {
            self.keep.apply(prune);
            prune.names.clone_from(&self.name);
            prune.dry_run = self.dry_run;
            prune.wait = self.wait;
        }))
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}
