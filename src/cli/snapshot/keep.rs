//! The rules by which snapshots stay.

use clap::{ArgGroup, Args};
use jiff::Span;
use jiff::tz::TimeZone;

use crate::cli::values::size::parse_size;
use crate::cli::values::span::parts;
use ringsync::store::retention::Rules;
use ringsync::store::{KeepFree, Prune};

/// What stays.
#[derive(Debug, Args)]
#[command(next_help_heading = "What stays", group = ArgGroup::new("rules").multiple(true))]
pub(crate) struct KeepRuleArgs {
    /// The newest N
    #[arg(long, value_name = "N", default_value_t, group = "rules", hide_default_value = true)]
    keep_last: u32,
    /// The newest of each of the last N hours that have one
    #[arg(long, value_name = "N", default_value_t, group = "rules", hide_default_value = true)]
    keep_hourly: u32,
    /// The same of days
    #[arg(long, value_name = "N", default_value_t, group = "rules", hide_default_value = true)]
    keep_daily: u32,
    /// Of weeks, which begin on Monday
    #[arg(long, value_name = "N", default_value_t, group = "rules", hide_default_value = true)]
    keep_weekly: u32,
    /// Of months
    #[arg(long, value_name = "N", default_value_t, group = "rules", hide_default_value = true)]
    keep_monthly: u32,
    /// Of years
    #[arg(long, value_name = "N", default_value_t, group = "rules", hide_default_value = true)]
    keep_yearly: u32,
    /// All that are not older than TIME before the newest one: 30d, 2w, 1y5m7d2h
    #[arg(long, value_name = "TIME", value_parser = parse_within, group = "rules")]
    keep_within: Option<Span>,
    /// Remove what no rule names only until SIZE, or N% of the file system, is free: the oldest first, and none of the 7
    /// newest complete ones
    #[arg(long, value_name = "SIZE|N%", value_parser = parse_free, group = "rules")]
    keep_free: Option<KeepFree>,
    /// Also where more than half of all snapshots would go
    #[arg(long)]
    yes: bool,
    /// The calendar of a place, as Europe/Berlin [default: the machine's]
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    timezone: Option<TimeZone>,
}

impl KeepRuleArgs {
    /// Whether nothing says what may go.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules().is_empty() && self.keep_free.is_none()
    }

    /// Whether any of the options is given.
    pub(crate) fn is_given(&self) -> bool {
        !self.is_empty() || self.yes || self.timezone.is_some()
    }

    /// Puts the options into `prune`.
    pub(crate) fn apply(&self, prune: &mut Prune) {
        prune.rules = self.rules();
        prune.keep_free = self.keep_free;
        prune.force = self.yes;
        if let Some(zone) = &self.timezone {
            prune.zone = zone.clone();
        }
    }

    fn rules(&self) -> Rules {
        Rules::default().with(|rules| {
            rules.last = self.keep_last;
            rules.hourly = self.keep_hourly;
            rules.daily = self.keep_daily;
            rules.weekly = self.keep_weekly;
            rules.monthly = self.keep_monthly;
            rules.yearly = self.keep_yearly;
            rules.within = self.keep_within;
        })
    }
}

/// Reads years, months, weeks, days and hours as restic(1) writes them: `m` are months.
fn parse_within(text: &str) -> Result<Span, String> {
    let wrong = || "not a time: years, months, weeks, days and hours, as 30d, 2w or 1y5m7d2h".to_owned();
    let mut span = Span::new();
    for (number, unit) in parts(text).ok_or_else(wrong)? {
        let number = i64::from(number);
        let with = match unit {
            "y" => span.try_years(span.get_years() as i64 + number),
            "m" => span.try_months(span.get_months() as i64 + number),
            "w" => span.try_weeks(span.get_weeks() as i64 + number),
            "d" => span.try_days(span.get_days() as i64 + number),
            "h" => span.try_hours(span.get_hours() as i64 + number),
            _ => return Err(wrong()),
        };
        span = with.map_err(|_| "it is longer than all time".to_owned())?;
    }
    if span.is_zero() { Err(wrong()) } else { Ok(span) }
}

/// Reads the name of a time zone.
pub(super) fn parse_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "no such time zone is known here: one as Europe/Berlin, or UTC".into())
}

/// Fewer bytes than this are meant to be something else.
const LEAST: u64 = 1 << 20;

fn parse_free(text: &str) -> Result<KeepFree, String> {
    match text.strip_suffix('%') {
        Some(number) => match number.parse() {
            Ok(percent) if percent < 100 => Ok(KeepFree::Percent(percent)),
            _ => Err("not a percentage from 0% to 99%".into()),
        },
        None => match parse_size(text)? {
            1..LEAST if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err("it is a number of bytes: give a unit, as 10G, or a percentage, as 10%".into())
            }
            bytes => Ok(KeepFree::Bytes(bytes)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_restic_has_them() {
        let of = |text| parse_within(text).map(|span| span.to_string());
        assert_eq!(of("30d").as_deref(), Ok("P30D"));
        assert_eq!(of("1y5m7d2h").as_deref(), Ok("P1Y5M7DT2H"));
        assert_eq!(of("1w2d").as_deref(), Ok("P1W2D"));
        for text in ["", "d", "30", "0d", "5min", "-1d", "1.5d", "99999999999999999999d", "99999999y", "3dä"]
        {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
