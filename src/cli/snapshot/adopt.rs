//! `ringsync snapshot adopt`: its options.

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::snapshot::keep::parse_zone;
use crate::cli::values::local::local;
use ringsync::store::found::Adopt;

/// Take over snapshots of rsnapshot, rsync-time-backup or a script
#[derive(Debug, Args)]
#[command(after_help = "\
Known are daily.0 (rsnapshot: its time is that of the directory), 2024-01-31-023000 (rsync-time-backup), \
2024-01-31_023000.123 and 2024-01-31. Each is renamed into STORE as it is, under the name of its time, and comes before the \
snapshots that STORE has. They are not copied: STORE must lie on the same file system.\n\n\
Exit codes: 0, 1 usage, 3 STORE or TREE can't be used, 20 interrupted (nothing is renamed), 23 something could not be renamed \
or counted.")]
pub(crate) struct AdoptArgs {
    /// The directory that holds the snapshots, or is to hold them
    #[arg(value_name = "STORE", value_parser = local())]
    store: PathBuf,
    /// What to take over; without any what lies in STORE
    #[arg(value_name = "TREE", value_parser = local())]
    trees: Vec<PathBuf>,
    /// The time zone of the times in names, as Europe/Berlin: by default that of this machine
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    timezone: Option<TimeZone>,
    /// Rename nothing, tell what would be taken over
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Wait while another run is at work in STORE
    #[arg(long)]
    wait: bool,
}

impl AdoptArgs {
    /// The options, resolved.
    pub(crate) fn adopt(&self) -> Adopt {
        Adopt::new(&self.store).with(|adopt| {
            adopt.trees.clone_from(&self.trees);
            adopt.dry_run = self.dry_run;
            adopt.wait = self.wait;
            if let Some(zone) = &self.timezone {
                adopt.zone = zone.clone();
            }
        })
    }

    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }
}
