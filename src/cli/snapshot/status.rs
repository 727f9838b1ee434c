//! `ringsync snapshot status`: its options.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::values::duration::parse_duration;
use crate::cli::values::local::local;

/// Tell whether a store is kept up, in one line
#[derive(Debug, Args)]
#[command(
    after_help = "It is well if the newest snapshot is complete, not older than --max-age, and not dated more than an hour \
ahead of the clock, if each snapshot has a record, and if others can't change what is kept. The line also tells whether a run is at \
work or was broken off, and whether others may write to STORE.\n\n\
Exit codes: 0 well, 1 usage, 3 STORE can't be used, or its record can't be read by this user, 23 not well."
)]
pub(crate) struct StatusArgs {
    /// The directory that holds the snapshots
    #[arg(value_name = "STORE", value_parser = local())]
    pub(crate) store: PathBuf,
    /// How old the newest snapshot may be: 26h, 2d, 90m
    #[arg(long, value_name = "TIME", default_value = "26h", value_parser = parse_age)]
    pub(crate) max_age: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// A time, also in days.
fn parse_age(text: &str) -> Result<Duration, String> {
    match text.strip_suffix(['d', 'D']).and_then(|days| days.parse::<u64>().ok()) {
        Some(days) => parse_duration(&format!("{}h", days.saturating_mul(24))),
        None => parse_duration(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_times_as_well() {
        assert_eq!(parse_age("2d"), parse_duration("48h"));
        assert_eq!(parse_age("90"), parse_duration("90s"));
        for text in ["d", "1.5d", "99999999999999999999d", "4294967296d"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }
}
