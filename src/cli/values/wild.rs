//! Patterns with the wildcards of a shell: `*`, `?`, `[…]`.

/// Whether a pattern has a wildcard.
pub(crate) fn is_wild(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Why a pattern can't be understood, if it can't.
pub(crate) fn mistake(pattern: &str) -> Option<&'static str> {
    let mut rest = pattern.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = match first {
            b'\\' if after.is_empty() => return Some("nothing follows its backslash"),
            b'\\' => &after[1..],
            b'[' if after.starts_with(b"[:") => {
                return Some("it has a named class, for which there are ranges: [a-z]");
            }
            b'[' => match class(after) {
                Some((_, rest)) => rest,
                None => return Some("its [ has no ]"),
            },
            _ => after,
        };
    }
    None
}

/// Whether a pattern that can be understood matches all of a name. Takes as long as the two are, multiplied.
pub(crate) fn matches(pattern: &str, name: &[u8]) -> bool {
    // Where each star that was met last began: it may have to take one byte more.
    let (mut rest, mut name) = (pattern.as_bytes(), name);
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', after)) = rest.split_first() {
            star = Some((after, name));
            rest = after;
            continue;
        }
        match (one(rest, name), name.split_first()) {
            (Some(after), Some((_, left))) => (rest, name) = (after, left),
            _ if rest.is_empty() && name.is_empty() => return true,
            _ => {
                let Some((after, began)) = star else { return false };
                let Some((_, left)) = began.split_first() else { return false };
                star = Some((after, left));
                (rest, name) = (after, left);
            }
        }
    }
}

/// What follows in a pattern once its first element has matched the first byte of a name; `None` if it does not.
fn one<'a>(pattern: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (&byte, (&first, after)) = (name.first()?, pattern.split_first()?);
    match first {
        b'?' => Some(after),
        b'\\' => after.split_first().filter(|(literal, _)| **literal == byte).map(|(_, after)| after),
        b'[' => {
            let (class, after) = class(after)?;
            class.has(byte).then_some(after)
        }
        literal => (literal == byte).then_some(after),
    }
}

/// Characters in brackets.
struct Class<'a> {
    excludes: bool,
    members: &'a [u8],
}

/// Reads a class after its `[`, and returns what follows it. A `]` that comes first stands for itself.
fn class(text: &[u8]) -> Option<(Class<'_>, &[u8])> {
    let excludes = text.first().is_some_and(|first| b"!^".contains(first));
    let text = &text[usize::from(excludes)..];
    let end = text.iter().skip(1).position(|&byte| byte == b']')? + 1;
    Some((Class { excludes, members: &text[..end] }, &text[end + 1..]))
}

impl Class<'_> {
    fn has(&self, byte: u8) -> bool {
        let (mut rest, mut found) = (self.members, false);
        while !rest.is_empty() {
            (found, rest) = match rest {
                [low, b'-', high, after @ ..] => (found || (*low..=*high).contains(&byte), after),
                [one, after @ ..] => (found || *one == byte, after),
                [] => break,
            };
        }
        found != self.excludes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_whole() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "wayne", true),
            ("w*e", "wayne", true),
            ("w*e", "wayned", false),
            ("*n*n*", "nn", true),
            ("*n*n*", "n", false),
            ("w?yne", "wayne", true),
            ("?", "", false),
            ("[a-cx]1", "b1", true),
            ("[a-cx]1", "d1", false),
            ("[!a-c]*", "dora", true),
            ("[^a-c]*", "anna", false),
            ("[]-]x", "]x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a*b*c*d", "abcabcabd", true),
        ] {
            assert_eq!(matches(pattern, name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_can_not_be_understood_is_told() {
        for pattern in ["[a", "a\\", "[[:alpha:]]", "[!"] {
            assert!(mistake(pattern).is_some(), "{pattern}");
        }
        for pattern in ["*", "[]]", "a[b-c]?", "\\["] {
            assert_eq!(mistake(pattern), None, "{pattern}");
        }
    }
}
