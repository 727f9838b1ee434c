//! A pattern for one name, as filter rules have them, for what is no rule: users and groups.

use crate::select::pattern::Pattern;

/// A pattern with the wildcards of filter rules: `*`, `?`, `[a-z]`, `[[:alpha:]]`.
#[derive(Debug, Clone)]
pub struct NamePattern(Pattern);

impl NamePattern {
    /// Reads a pattern. `None`: nothing can match it, as where a `[` has no `]`, or it is too large.
    pub fn new(pattern: &str) -> Option<Self> {
        Pattern::new(pattern.as_bytes()).filter(Pattern::may_match).map(NamePattern)
    }

    /// Whether it matches all of a name.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.matches(&[b"/", name].concat(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_whole() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("w*e", "wayne", true),
            ("w*e", "wayned", false),
            ("*n*n*", "n", false),
            ("?", "", false),
            ("[!a-c]*", "dora", true),
            ("[^a-c]*", "anna", false),
            ("[[:alpha:]]?", "x1", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
        ] {
            assert_eq!(
                NamePattern::new(pattern).unwrap().matches(name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        for pattern in ["[a", "*\\", "[!", "[[:none:]]"] {
            assert!(NamePattern::new(pattern).is_none(), "{pattern}");
        }
    }
}
