//! `ringsync snapshot status`: its options.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::values::local::local;
use crate::cli::values::span::parts;

/// Tell whether a store is kept up, in one line
#[derive(Debug, Args)]
#[command(
    after_help = "It is well if the newest snapshot is complete, not older than --max-age, and not dated more than an hour \
ahead of the clock, if each snapshot has a record that can be read, and if others can't change what is kept. The line also tells whether a run is at \
work or was broken off, and whether others may write to STORE.\n\n\
Exit codes: 0 well, 1 usage, 3 STORE can't be used, or its record can't be read by this user, 23 not well."
)]
pub(crate) struct StatusArgs {
    /// The directory that holds the snapshots
    #[arg(value_name = "STORE", value_parser = local())]
    pub(crate) store: PathBuf,
    /// How old the newest snapshot may be: 26h, 1d12h, 2w, 90min
    #[arg(long, value_name = "TIME", default_value = "26h", value_parser = parse_age)]
    pub(crate) max_age: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// A time of parts, by the units of --keep-within and shorter ones. Months are of no length, and `m` is minutes elsewhere.
fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time: a number of seconds, or years, weeks, days, hours and minutes, as 26h, 1d12h or 90min";
    let mut seconds = 0_u64;
    let parts = parts(text).ok_or_else(wrong)?;
    for (number, unit) in &parts {
        let factor = match *unit {
            "" if parts.len() == 1 => 1,
            "s" => 1,
            "min" => 60,
            "h" => 60 * 60,
            "d" => DAY,
            "w" => 7 * DAY,
            "y" => 365 * DAY,
            "m" => return Err("m is months for --keep-within: write min for minutes, or days".into()),
            _ => return Err(wrong().into()),
        };
        seconds = seconds.saturating_add(u64::from(*number) * factor);
    }
    match seconds {
        0..=CENTURY => Ok(Duration::from_secs(seconds)),
        _ => Err("it is longer than a hundred years".into()),
    }
}

const DAY: u64 = 24 * 60 * 60;
const CENTURY: u64 = 36_525 * DAY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        for (text, hours) in
            [("2d", 48), ("1d12h", 36), ("1w", 168), ("1y", 8760), ("120min", 2), ("7200", 2)]
        {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(hours * 3600)), "{text}");
        }
        for text in ["", "d", "1.5d", "99999999999999999999d", "4294967295d", "1h30", "5mm"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
        assert!(parse_age("90m").is_err_and(|why| why.contains("write min")));
    }
}
