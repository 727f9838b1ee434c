//! What the names of other programs' snapshots tell.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::store::name;

/// The intervals of rsnapshot's configuration, as it comes and as its manual has them.
const INTERVALS: [&str; 10] =
    ["hourly", "daily", "weekly", "monthly", "yearly", "alpha", "beta", "gamma", "delta", "epsilon"];
/// What the nightly script of docs/guide.md adds where something is missing.
const SOME_FAILED: &str = "_some-failed";

/// Whose snapshot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of this program: it lost its record, or comes from another store.
    Own,
    /// `daily.0`: its time is when its directory was modified.
    Rsnapshot,
    /// `2024-01-31-023000`, by rsync-time-backup.
    TimeBackup,
    /// `2024-01-31_023000.123`, with or without the end, or a date alone: docs/guide.md.
    Guide,
}

/// What a name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) origin: Origin,
    /// When it was begun, if that is in the name.
    pub(super) started: Option<Timestamp>,
    /// Something is missing in it.
    pub(super) is_partial: bool,
}

/// Reads a name, whose time is one of this zone. With `any_interval` any word may be one of rsnapshot's.
pub(super) fn told(name: &str, zone: &TimeZone, any_interval: bool) -> Option<Told> {
    let told = |origin, started, is_partial| Some(Told { origin, started, is_partial });
    if let Some(time) = name::time(name) {
        return told(Origin::Own, Some(time), false);
    }
    if let Some(time) = local(name, "%Y-%m-%d-%H%M%S", zone) {
        return told(Origin::TimeBackup, Some(time), false);
    }
    let (by_script, is_partial) = match name.strip_suffix(SOME_FAILED) {
        Some(rest) => (rest, true),
        None => (name, false),
    };
    if let Some(time) = of_script(by_script, zone) {
        return told(Origin::Guide, Some(time), is_partial);
    }
    let (interval, number) = name.rsplit_once('.')?;
    let is_word = || interval.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_interval = INTERVALS.contains(&interval) || any_interval && is_word();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_interval && is_number { told(Origin::Rsnapshot, None, false) } else { None }
}

/// Whether a directory is something that other programs have not done with.
pub(super) fn is_scratch(name: &str) -> bool {
    matches!(name, "lost+found" | "incomplete" | "removing") || name.starts_with("_delete.")
}

fn local(text: &str, format: &str, zone: &TimeZone) -> Option<Timestamp> {
    let time = DateTime::strptime(format, text).ok().filter(|_| text.len() == 17)?;
    zone.to_timestamp(time).ok()
}

fn of_script(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if text.len() == 10 {
        let date = Date::strptime("%Y-%m-%d", text).ok()?;
        return zone.to_timestamp(date.to_datetime(Time::midnight())).ok();
    }
    let (second, rest) = text.split_at_checked(17)?;
    let time = local(second, "%Y-%m-%d_%H%M%S", zone)?;
    let milliseconds = match rest.strip_prefix('.') {
        Some(digits) if digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok()?
        }
        None if rest.is_empty() => 0,
        _ => return None,
    };
    time.checked_add(SignedDuration::from_millis(milliseconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_whose_they_are_and_when_they_were_begun() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let of =
            |name| told(name, &zone, false).map(|told| (told.origin, told.started.map(|t| t.to_string())));
        let at = |time: &str| Some(time.to_owned());
        for name in ["2024-01-31_003000Z", "2024-01-31_003000Z.001"] {
            assert_eq!(of(name), Some((Origin::Own, at("2024-01-31T00:30:00Z"))), "{name}");
        }
        assert_eq!(of("2024-01-31-023000"), Some((Origin::TimeBackup, at("2024-01-31T00:30:00Z"))));
        assert_eq!(of("2024-01-31_023000.250"), Some((Origin::Guide, at("2024-01-31T00:30:00.25Z"))));
        assert_eq!(of("2024-01-31_023000"), Some((Origin::Guide, at("2024-01-31T00:30:00Z"))));
        assert_eq!(of("2024-01-31"), Some((Origin::Guide, at("2024-01-30T22:00:00Z"))));
        assert_eq!(of("daily.0"), Some((Origin::Rsnapshot, None)));
        assert!(told("2024-01-31_023000.250_some-failed", &zone, false).is_some_and(|told| told.is_partial));
        for name in
            ["2024-01-31-0230", "2024-13-31-023000", "daily", "daily.x", "notes.1", "2024-01-31_023000.2"]
        {
            assert_eq!(of(name), None, "{name}");
        }
        assert!(told("night.12", &zone, true).is_some() && told("_delete.12", &zone, true).is_none());
    }
}
