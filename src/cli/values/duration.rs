//! Times on the command line: a number of seconds, or one with a unit.

use std::time::Duration;

/// Reads `300`, `90s`, `5m` or `2h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => 0,
    };
    let seconds = number.parse::<u64>().ok().filter(|_| factor > 0).and_then(|n| n.checked_mul(factor));
    match seconds {
        Some(seconds) if seconds <= u32::MAX.into() => Ok(Duration::from_secs(seconds)),
        Some(_) => Err("it is longer than a hundred years".into()),
        None => Err("not a time: a number of seconds, or one with a unit, as 90s, 5m or 2h".into()),
    }
}

/// The same, for a limit on how long something may take.
pub(crate) fn parse_limit(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("nothing is done in no time: it takes 1 s at least".into()),
        limit => Ok(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds() {
        for (text, seconds) in
            [("0", 0), ("300", 300), ("90s", 90), ("5m", 300), ("2H", 7200), ("4294967295", 4_294_967_295)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "5x", "5 m", "-1", "1.5h", "5mm", "4294967296", "99999999999999999999", "1m30s"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_limit("0").is_err() && parse_limit("0m").is_err() && parse_limit("1").is_ok());
    }
}
