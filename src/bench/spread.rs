//! What several runs come to: the median, how far they lie apart, and whether that can be believed.

use serde::Serialize;

/// Runs that lie further apart than this share of their median are noise.
const NOISE: f64 = 0.3;
/// Fewer runs than this tell nothing of the noise.
const ENOUGH: usize = 3;

/// Several figures of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// None without a figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, min, max })
    }

    /// How far the figures lie apart, as a share of their median.
    pub(crate) fn share(self) -> f64 {
        if self.max == self.min { 0.0 } else { (self.max - self.min) / self.median }
    }
}

/// Whether a median can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trust {
    Good,
    /// The runs lie too far apart.
    Noisy,
    /// There are too few runs to tell.
    TooFew,
}

impl Trust {
    pub(crate) fn of(spread: Spread, runs: usize) -> Trust {
        match () {
            () if runs < ENOUGH => Trust::TooFew,
            () if spread.share() > NOISE => Trust::Noisy,
            () => Trust::Good,
        }
    }

    /// The mark in the table, and what it means.
    pub(crate) fn mark(self) -> (&'static str, &'static str) {
        match self {
            Trust::Good => ("", ""),
            Trust::Noisy => ("!", "too noisy to believe: the runs lie more than 30 % of the median apart"),
            Trust::TooFew => ("?", "too few runs to tell how noisy it is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(figures: &[f64]) -> Spread {
        Spread::of(figures.iter().copied()).unwrap()
    }

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(spread(&[7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn figures_that_lie_apart_are_not_believed() {
        let trust = |figures: &[f64]| Trust::of(spread(figures), figures.len());
        assert_eq!(trust(&[1.0, 1.1, 1.2]), Trust::Good);
        assert_eq!(trust(&[1.0, 1.1, 1.5]), Trust::Noisy);
        assert_eq!(trust(&[1.0, 1.0]), Trust::TooFew);
        assert_eq!(trust(&[0.0, 0.0, 0.0]), Trust::Good);
    }
}
