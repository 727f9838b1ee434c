//! Numbers as rsync shows them: with commas, with `-h` in units of 1000, with `-hh` of 1024, and with `--no-h` as they are.

/// How numbers are shown: 0 as they are, 1 with commas, 2 in units of 1000, 3 of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures(u8);

impl Default for Figures {
    fn default() -> Self {
        Figures(1)
    }
}

impl Figures {
    /// After one more `-h`, or a `--no-h`.
    pub(crate) fn after(self, on: bool) -> Self {
        Figures(if on { self.0.saturating_add(1).min(3) } else { 0 })
    }

    /// Columns that a size takes in a list.
    pub(super) fn width(self) -> usize {
        if self.0 == 0 { 11 } else { 14 }
    }

    /// A whole number.
    pub(super) fn whole(self, number: u64) -> String {
        self.in_units(number as f64).unwrap_or_else(|| self.grouped(number))
    }

    /// A number with two decimals.
    pub(super) fn decimal(self, number: f64) -> String {
        self.in_units(number).unwrap_or_else(|| {
            let hundredths = (number * 100.0).round() as u64;
            format!("{}.{:02}", self.grouped(hundredths / 100), hundredths % 100)
        })
    }

    /// In the largest unit that it has one of, if there are units and it has one of any.
    fn in_units(self, number: f64) -> Option<String> {
        let unit: f64 = match self.0 {
            0 | 1 => return None,
            2 => 1000.0,
            _ => 1024.0,
        };
        let powers = [(5, 'P'), (4, 'T'), (3, 'G'), (2, 'M'), (1, 'K')];
        let (power, letter) = powers.into_iter().find(|(power, _)| number >= unit.powi(*power))?;
        Some(format!("{:.2}{letter}", number / unit.powi(power)))
    }

    fn grouped(self, number: u64) -> String {
        let digits = number.to_string();
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if self.0 > 0 && index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_rsync() {
        let levels = [Figures(0), Figures(1), Figures(2), Figures(3)];
        for (number, expected) in [
            (0, ["0", "0", "0", "0"]),
            (999, ["999", "999", "999", "999"]),
            (1000, ["1000", "1,000", "1.00K", "1,000"]),
            (1_234_567, ["1234567", "1,234,567", "1.23M", "1.18M"]),
            (5 << 30, ["5368709120", "5,368,709,120", "5.37G", "5.00G"]),
        ] {
            assert_eq!(levels.map(|figures| figures.whole(number)), expected);
        }
        assert_eq!(levels.map(|figures| figures.decimal(1234.5)), ["1234.50", "1,234.50", "1.23K", "1.21K"]);
        let default = Figures::default();
        assert_eq!(
            [default.after(true).after(true).after(true), default.after(false)],
            [Figures(3), Figures(0)]
        );
        assert_eq!(default.after(false).after(true), default);
    }
}
