//! Text for people's eyes: names with control characters escaped, numbers with their digits in groups.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Shows bytes of a file name so that they can't move the cursor, forge a line or look like another name: control
/// characters, those that are not seen or turn the direction of what follows, and bytes that are not UTF-8 are escaped as
/// in a Rust string, and so is the backslash.
pub struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    /// A path.
    pub fn path(path: &'a Path) -> Self {
        Escaped(path.as_os_str().as_bytes())
    }

    /// A file name.
    pub fn name(name: &'a OsStr) -> Self {
        Escaped(name.as_bytes())
    }
}

/// Characters that show nothing themselves: those of Unicode's category Cf (Unicode 17), which may turn the direction of
/// text or join and split letters; the separators of lines and paragraphs; and fillers without a width.
const UNSEEN: [(char, char); 24] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

fn is_unseen(c: char) -> bool {
    c > '\u{ac}' && UNSEEN.iter().any(|&(first, last)| (first..=last).contains(&c))
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() || is_unseen(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A number with a comma before every three digits, as people read it: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        let table = [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")];
        table.iter().for_each(|(number, text)| assert_eq!(grouped(*number), *text));
    }

    #[test]
    fn nothing_that_moves_the_cursor_gets_through() {
        let shown = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(shown(b"plain name.txt"), "plain name.txt");
        assert_eq!(shown("grün".as_bytes()), "grün");
        assert_eq!(shown(b"a\nb\r\tc\\"), "a\\nb\\r\\tc\\\\");
        assert_eq!(shown(b"\x1b[2J"), "\\u{1b}[2J");
        assert_eq!(shown(b"\xff\xc3"), "\\xff\\xc3");
        assert_eq!(shown("\u{9b}".as_bytes()), "\\u{9b}");
        assert_eq!(shown("a\u{202e}txt.exe".as_bytes()), "a\\u{202e}txt.exe");
        for unseen in
            ["\u{ad}", "\u{61c}", "\u{200b}", "\u{200d}", "\u{2028}", "\u{2029}", "\u{2066}", "\u{feff}"]
        {
            let code = unseen.chars().next().map_or(0, u32::from);
            assert_eq!(shown(unseen.as_bytes()), format!("\\u{{{code:x}}}"));
        }
        for seen in ["\u{a0}", "\u{e9}", "\u{5d0}", "\u{627}", "\u{4e2d}", "\u{1f980}", "\u{2764}\u{fe0f}"] {
            assert_eq!(shown(seen.as_bytes()), seen);
        }
    }
}
