//! Sizes as rsync reads them (rsync(1), `--max-size`): `1.5mb-1`.

/// Reads a number of bytes. K, M, G, T and P, with or without `iB`, are powers of 1024; followed by B alone, of 1000. At
/// the end, `+1` or `-1` may make it one byte more or less.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (text, more) = match (text.strip_suffix("+1"), text.strip_suffix("-1")) {
        (Some(text), _) => (text, 1),
        (_, Some(text)) => (text, -1),
        _ => (text, 0),
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let bytes = scale(number, factor(unit)?).ok_or("not a size")?;
    let sum = bytes.checked_add_signed(more).ok_or("out of range")?;
    if sum > i64::MAX as u64 { Err("out of range".into()) } else { Ok(sum) }
}

/// What a unit stands for, in bytes.
fn factor(unit: &str) -> Result<u64, String> {
    let (letter, rest) = match unit.chars().next() {
        None => return Ok(1),
        Some(letter) => (letter.to_ascii_uppercase(), unit[letter.len_utf8()..].to_ascii_lowercase()),
    };
    let power = "BKMGTP".find(letter).ok_or("the unit is none of B, K, M, G, T, P")? as u32;
    match rest.as_str() {
        "" | "ib" if power > 0 => Ok(1024_u64.pow(power)),
        "b" if power > 0 => Ok(1000_u64.pow(power)),
        "" => Ok(1),
        _ => Err("after its letter a unit has B, iB or nothing".into()),
    }
}

/// A decimal number times a factor, rounded down, without the errors of floating point.
fn scale(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let value = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
    let fraction = &fraction[..fraction.len().min(15)]; // more digits stand for less than a byte
    let factor = u128::from(factor);
    let parts = value(fraction)? * factor / 10_u128.pow(fraction.len() as u32);
    u64::try_from(value(whole)?.checked_mul(factor)?.checked_add(parts)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_rsync() {
        for (text, bytes) in [
            ("0", 0),
            ("100", 100),
            ("100b", 100),
            ("1k", 1024),
            ("1.5K", 1536),
            ("2KiB", 2048),
            ("1kb", 1000),
            ("1.5mb-1", 1_499_999),
            ("2g+1", (2 << 30) + 1),
            (".5m", 512 << 10),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "1x", "1kx", "-1", "1.2.3", "9999999999999999999", "9000000P", "0-1", "."] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
