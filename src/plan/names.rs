//! Names as the file system of a destination may take them: which of them it may take for one.

use unicode_normalization::UnicodeNormalization;

/// What two names have in common which some file system takes for one: without regard to case and to the forms that
/// Unicode has for one character, and without dots, blanks and invisible characters that do not count. It is a hint:
/// whether a certain file system does take two names for one has to be seen.
pub(crate) fn folded(name: &[u8]) -> Vec<u8> {
    let last = name.iter().rposition(|byte| !matches!(byte, b'.' | b' '));
    let name = &name[..last.map_or(name.len(), |last| last + 1)];
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_ascii() => {
            // Upper case first: it makes two letters of a sharp s, as file systems do.
            let one_case = text.nfd().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
            one_case.nfd().filter(|character| !is_ignored(*character)).collect::<String>().into_bytes()
        }
        _ => name.to_ascii_lowercase(),
    }
}

/// Characters that nobody sees, and that file systems leave out of a comparison (Unicode's `Default_Ignorable_Code_Point`,
/// those of them that are in use).
fn is_ignored(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{34f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_be_one_fold_to_one() {
        for (one, other, same) in [
            ("README", "readme", true),
            ("a", "b", false),
            ("x", "x.", true),
            ("x", "x . ", true),
            ("x.y", "xy", false),
            ("\u{e9}t\u{e9}", "e\u{301}te\u{301}", true),
            ("\u{c9}T\u{c9}", "e\u{301}te\u{301}", true),
            ("\u{e9}", "e", false),
            ("stra\u{df}e", "STRASSE", true),
            ("\u{212a}", "k", true),
            ("\u{d55c}", "\u{1112}\u{1161}\u{11ab}", true),
            ("\u{41f}\u{440}\u{438}", "\u{43f}\u{440}\u{438}", true),
            ("\u{43f}\u{440}\u{438}", "\u{43f}\u{440}\u{439}", false),
            ("a\u{200d}b", "ab", true),
            ("...", "..", false),
        ] {
            assert_eq!(folded(one.as_bytes()) == folded(other.as_bytes()), same, "{one} {other}");
        }
        assert_eq!(folded(b"\xffA"), folded(b"\xffa"));
    }
}
