//! Whether as much may be deleted as is to be: judged when all is known.

use crate::options::DeleteLimit;

/// Why nothing is deleted at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    EmptySource,
    TooMany,
}

/// Judges a run that would delete `deletions` of the destination's entries.
pub(crate) fn judge(
    deletions: u64,
    entries: u64,
    source_is_empty: bool,
    allow_empty_source: bool,
    limit: Option<DeleteLimit>,
) -> Option<Refusal> {
    if deletions > 0 && source_is_empty && !allow_empty_source {
        return Some(Refusal::EmptySource);
    }
    let too_many = match limit {
        None | Some(DeleteLimit::First(_)) => false,
        Some(DeleteLimit::Entries(most)) => deletions > most,
        Some(DeleteLimit::Percent(most)) => {
            u128::from(deletions) * 100 > u128::from(entries) * u128::from(most)
        }
    };
    too_many.then_some(Refusal::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing_is_deleted() {
        use DeleteLimit::{Entries, First, Percent};
        let table = [
            (0, 0, None, None),
            (100, 100, None, None),
            (10, 100, Some(Entries(10)), None),
            (11, 100, Some(Entries(10)), Some(Refusal::TooMany)),
            (0, 100, Some(Entries(0)), None),
            (1, 100, Some(Entries(0)), Some(Refusal::TooMany)),
            (10, 100, Some(Percent(10)), None),
            (11, 100, Some(Percent(10)), Some(Refusal::TooMany)),
            (1, 3, Some(Percent(33)), Some(Refusal::TooMany)),
            (1, 3, Some(Percent(34)), None),
            (0, 0, Some(Percent(0)), None),
            (11, 100, Some(First(10)), None),
        ];
        for (deletions, entries, limit, expected) in table {
            assert_eq!(judge(deletions, entries, false, false, limit), expected, "{deletions} {limit:?}");
        }
        assert_eq!(judge(1, 1, true, false, None), Some(Refusal::EmptySource));
        assert_eq!(judge(1, 1, true, true, None), None);
        assert_eq!(judge(0, 0, true, false, None), None, "two empty trees are equal");
    }
}
