//! Points in time in the zone of this machine, or of the environment's `TZ`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Knows the zone.
#[derive(Debug, Clone)]
pub(crate) struct Clock(TimeZone);

impl Clock {
    pub(crate) fn new() -> Self {
        Clock(TimeZone::system())
    }

    /// The time now, as a log has it: `2026/11/23 12:00:00`.
    pub(crate) fn now(&self) -> String {
        self.show(Timestamp::now(), "%Y/%m/%d %H:%M:%S")
    }

    /// A time of a file: `2026/11/23-12:00:00`. One beyond the year 9999 is shown in seconds.
    pub(crate) fn of_file(&self, seconds: i64) -> String {
        match Timestamp::from_second(seconds) {
            Ok(time) => self.show(time, "%Y/%m/%d-%H:%M:%S"),
            Err(_) => seconds.to_string(),
        }
    }

    fn show(&self, time: Timestamp, format: &str) -> String {
        time.to_zoned_datetime(self.0.clone()).strftime(format).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_their_zone() {
        let clock = Clock(TimeZone::fixed(jiff::tz::offset(2)));
        assert_eq!(clock.of_file(0), "1970/01/01-02:00:00");
        assert_eq!(clock.of_file(-1), "1970/01/01-01:59:59");
        assert_eq!(clock.of_file(i64::MAX), i64::MAX.to_string());
    }
}
