//! Times of parts, as restic(1) writes them: `1y5m7d2h`.

/// Reads numbers, each with its unit. `None`: it is not made of these.
pub(crate) fn parts(text: &str) -> Option<Vec<(u32, &str)>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        parts.push((number.parse().ok()?, unit));
        rest = after;
    }
    (!parts.is_empty()).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_unit() {
        assert_eq!(parts("1y5m7d2h"), Some(vec![(1, "y"), (5, "m"), (7, "d"), (2, "h")]));
        assert_eq!(parts("90"), Some(vec![(90, "")]));
        assert_eq!(parts("90min"), Some(vec![(90, "min")]));
        for text in ["", "d", "-1d", "4294967296d"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
