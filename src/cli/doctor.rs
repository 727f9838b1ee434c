//! `ringsync doctor`: its options.

use std::path::PathBuf;

use clap::Args;

use crate::cli::values::local::local;
use crate::doctor::Plan;

/// Tell what this machine, SRC and DST can hold, and which options follow
#[derive(Debug, Args)]
#[command(after_help = "\
Without SRC and DST it tells of the machine alone. SRC is only looked at. In DST everything is tried in a new directory, \
.ringsync-doctor- and 32 digits, which is removed in the end; if DST does not exist, in the directory above.\n\n\
What is to be kept, and DST can't hold, is lost only if SRC can have it. Try it as the user who runs sync: root keeps more, \
and a server may allow less.\n\n\
Exit codes: 0 DST can hold all that SRC can have, 1 usage, 3 SRC or DST can't be used, 20 interrupted, 23 something would be \
lost.")]
pub(crate) struct DoctorArgs {
    /// A directory, or a file, that is to be mirrored
    #[arg(value_name = "SRC", value_parser = local())]
    source: Option<PathBuf>,
    /// The directory that is to hold the same
    #[arg(value_name = "DST", value_parser = local())]
    destination: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    /// The options, resolved.
    pub(crate) fn plan(self) -> Plan {
        Plan { source: self.source, destination: self.destination, json: self.json }
    }
}
