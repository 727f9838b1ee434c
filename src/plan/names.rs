//! Names as the file system of a destination may take them: which of them it may take for one, and which it may refuse.

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

/// What is wrong with a name on file systems that do not take all of them. `longest`: how many bytes this one takes, if it
/// says so (statvfs(3)). `None`: nothing that is known.
///
/// The rules are those of Windows (Microsoft, "Naming Files, Paths, and Namespaces"), which FAT, exFAT, NTFS and SMB servers
/// have.
pub(crate) fn fault(name: &[u8], longest: Option<u64>) -> Option<String> {
    let bytes = name.len() as u64;
    if let Some(longest) = longest.filter(|longest| bytes > *longest) {
        return Some(format!("it has {bytes} bytes, {} more than there may be", bytes - longest));
    }
    let Ok(text) = std::str::from_utf8(name) else { return Some("it is not UTF-8".into()) };
    let units = text.encode_utf16().count();
    if units > LONGEST_WIDE {
        return Some(format!("it has {units} UTF-16 units, {} more than there may be", units - LONGEST_WIDE));
    }
    if let Some(character) = text.chars().find(|character| character.is_ascii_control()) {
        return Some(format!("it has the control character {}", character.escape_default()));
    }
    if let Some(character) = text.chars().find(|character| r#":*?"<>|\"#.contains(*character)) {
        return Some(format!("it has the character {character}"));
    }
    match text.chars().last() {
        Some('.') => return Some("it ends in a dot".into()),
        Some(' ') => return Some("it ends in a blank".into()),
        _ => {}
    }
    is_device(text).then(|| "Windows has a device of this name".into())
}

/// How many UTF-16 units FAT and NTFS take.
const LONGEST_WIDE: usize = 255;

/// `CON`, `COM1` and the like, with whatever after a dot.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let is_port = |rest: &str| matches!(rest.as_bytes(), [b'1'..=b'9']);
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || ["COM", "LPT"].iter().any(|port| stem.strip_prefix(port).is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_name_is_said_in_words() {
        let long = "x".repeat(200);
        let wide = "\u{e9}".repeat(256);
        for (name, longest, expected) in [
            ("fine name.txt", None, None),
            (".hidden", Some(255), None),
            (&long, Some(143), Some("it has 200 bytes, 57 more than there may be")),
            (&long, Some(255), None),
            (&wide, Some(1530), Some("it has 256 UTF-16 units, 1 more than there may be")),
            ("a:b", None, Some("it has the character :")),
            ("a\\b", None, Some("it has the character \\")),
            ("what?", None, Some("it has the character ?")),
            ("two\nlines", None, Some("it has the control character \\n")),
            ("\u{1}", None, Some("it has the control character \\u{1}")),
            ("etc.", None, Some("it ends in a dot")),
            ("blank ", None, Some("it ends in a blank")),
            ("nul.txt", None, Some("Windows has a device of this name")),
            ("com1", None, Some("Windows has a device of this name")),
            ("com10", None, None),
            ("console", None, None),
        ] {
            assert_eq!(fault(name.as_bytes(), longest).as_deref(), expected, "{name}");
        }
        assert_eq!(fault(b"\xff", None).as_deref(), Some("it is not UTF-8"));
    }

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
