//! Numbers as they are shown: with units and separators for people, plain for programs.

use indicatif::{BinaryBytes, HumanCount};

/// How numbers are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NumberFormat {
    /// `1234567`, and sizes in bytes: `1234567 B`.
    #[default]
    Plain,
    /// `1,234,567`, and sizes in the unit that fits: `1.18 MiB`.
    Human,
}

impl NumberFormat {
    /// A number of things.
    pub(crate) fn count(self, number: u64) -> String {
        match self {
            NumberFormat::Plain => number.to_string(),
            NumberFormat::Human => HumanCount(number).to_string(),
        }
    }

    /// A size.
    pub(crate) fn bytes(self, bytes: u64) -> String {
        match self {
            NumberFormat::Plain => format!("{bytes} B"),
            NumberFormat::Human => BinaryBytes(bytes).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_units_and_programs_get_digits() {
        let shown =
            |figures: NumberFormat| [figures.count(1_234_567), figures.bytes(1_234_567), figures.bytes(0)];
        assert_eq!(shown(NumberFormat::Plain), ["1234567", "1234567 B", "0 B"]);
        assert_eq!(shown(NumberFormat::Human), ["1,234,567", "1.18 MiB", "0 B"]);
    }
}
