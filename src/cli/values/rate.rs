//! `--bwlimit RATE`: a number of KiB, or of the unit that its suffix names, as rsync has it.

/// Parses a rate, in bytes a second. `K`, `M`, `G`, `T` stand for powers of 1024, as do `KiB` and so on; `KB` and so on for
/// powers of 1000; `B` for bytes.
pub(crate) fn bytes_a_second(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| "not a number".to_owned())?;
    let suffix = suffix.to_ascii_lowercase();
    let unit = match suffix.as_str() {
        "" => 1024.0,
        "b" => 1.0,
        other => {
            let (prefix, base) = match other.strip_suffix("ib") {
                Some(prefix) => (prefix, 1024.0_f64),
                None => other.strip_suffix('b').map_or((other, 1024.0), |prefix| (prefix, 1000.0)),
            };
            let power = ["k", "m", "g", "t"].iter().position(|&known| known == prefix);
            let power = power.ok_or_else(|| format!("unknown unit {}", suffix.escape_default()))?;
            base.powi(power as i32 + 1)
        }
    };
    let bytes = number * unit;
    match bytes {
        0.0 => Ok(0),
        1.0..=1e18 => Ok(bytes as u64),
        _ => Err("less than a byte a second, or more than there is".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_rsync() {
        for (text, bytes) in [
            ("0", 0),
            ("0M", 0),
            ("100", 102_400),
            ("100k", 102_400),
            ("1.5m", 1_572_864),
            ("1.5MiB", 1_572_864),
            ("1.5MB", 1_500_000),
            ("2GB", 2_000_000_000),
            ("1T", 1 << 40),
            ("700b", 700),
            (".5", 512),
        ] {
            assert_eq!(bytes_a_second(text), Ok(bytes), "{text}");
        }
        for text in [
            "", ".", "K", "-1", "1e3", "1.2.3", "5X", "5 M", "5KiBs", "inf", "NaN", "0.1B", "9999999T", "5ib",
        ] {
            assert!(bytes_a_second(text).is_err(), "{text}");
        }
    }
}
