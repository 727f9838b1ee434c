//! How snapshots are called: by the second they were begun in, in UTC, so that names sort as they were taken.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// `2026-11-27_023000Z`; for the `earlier` ones of the same second add up in what comes after it: `2026-11-27_023000Z.001`.
pub(super) fn of_time(time: Timestamp, earlier: u32) -> String {
    let second = ZonedDateTime::new(time, TimeZone::UTC).strftime("%Y-%m-%d_%H%M%SZ").to_string();
    if earlier == 0 { second } else { format!("{second}.{earlier:03}") }
}

/// The time that a name tells, if it was given by time.
pub(super) fn time(name: &str) -> Option<Timestamp> {
    let (second, rest) = name.split_at_checked(18)?;
    let is_suffix = rest.is_empty()
        || rest
            .strip_prefix('.')
            .is_some_and(|rest| rest.len() >= 3 && rest.bytes().all(|byte| byte.is_ascii_digit()));
    let time = DateTime::strptime("%Y-%m-%d_%H%M%SZ", second).ok().filter(|_| is_suffix)?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// With what a manifest's name has in addition while it is written, it is as long as a name can be (255 bytes).
const LONGEST: usize = 251;

/// Why a snapshot can't have a name, if it can't: it must be one that a shell lists and that no snapshot has by its time.
pub fn refusal(name: &OsStr) -> Option<&'static str> {
    let bytes = name.as_bytes();
    let is_time = || bytes.len() >= 18 && bytes[17] == b'Z' && bytes[..4].iter().all(u8::is_ascii_digit);
    if bytes.is_empty() || bytes.contains(&b'/') {
        Some("a name is one part of a path")
    } else if bytes[0] == b'.' || bytes[0] == b'-' {
        Some("a name begins with neither a dot nor a hyphen")
    } else if bytes.len() > LONGEST {
        Some("a name has 251 bytes at most")
    } else if bytes == super::LATEST.as_bytes() {
        Some("`latest` is the link to the newest snapshot")
    } else if std::str::from_utf8(bytes).map_or(true, |text| text.chars().any(char::is_control)) {
        Some("a name is UTF-8 without control characters")
    } else if is_time() {
        Some("names like this are given by time")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_time_goes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let names = [of_time(at(0), 0), of_time(at(0), 1), of_time(at(1_795_746_600), 0)];
        assert_eq!(names, ["1970-01-01_000000Z", "1970-01-01_000000Z.001", "2026-11-27_023000Z"]);
        assert!(names.is_sorted());
    }

    #[test]
    fn names_that_mean_something_else_are_refused() {
        for name in
            ["", "a/b", ".hidden", "-n", "latest", "a\nb", "2026-11-27_023000Z", "2026-11-27_023000Z.7"]
        {
            assert!(refusal(name.as_ref()).is_some(), "{name:?}");
        }
        assert!(refusal("n".repeat(252).as_ref()).is_some());
        for name in ["before-upgrade", "2026", "grün", "latest2", &"n".repeat(251)] {
            assert_eq!(refusal(name.as_ref()), None, "{name:?}");
        }
    }
}
