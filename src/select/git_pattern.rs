//! The patterns of a list that git reads (gitignore(5), dir.c and wildmatch.c of git), turned into regular expressions over
//! bytes: names and lists may be in any encoding.

use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::select::pattern::{class, push_byte, push_set};
use crate::select::without_mark;

/// The patterns of one list.
#[derive(Debug)]
pub(super) struct Patterns {
    /// Over paths below the list's directory, without a slash before them.
    set: RegexSet,
    /// What each of them means.
    meanings: Vec<Meaning>,
}

#[derive(Debug, Clone, Copy)]
struct Meaning {
    /// It began with an exclamation mark: what matches is not ignored.
    include: bool,
    /// It ended in a slash: directories alone match.
    directories: bool,
}

impl Patterns {
    /// Reads a list. A line that is no pattern is none for git either: it is passed over.
    ///
    /// # Errors
    /// When all patterns together are too large.
    pub(super) fn read(text: &[u8]) -> Result<Self, regex::Error> {
        let lines = without_mark(text).split(|&byte| byte == b'\n');
        let (expressions, meanings): (Vec<String>, _) = lines.filter_map(pattern).unzip();
        let mut builder = RegexSetBuilder::new(expressions);
        let set = builder.unicode(false).dot_matches_new_line(true).build()?;
        Ok(Patterns { set, meanings })
    }

    /// Whether a path below the list's directory is ignored, if the list says anything about it: the last pattern that
    /// matches decides.
    pub(super) fn ignores(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        let matched = self.set.matches(path);
        let mut meanings = matched.iter().rev().filter_map(|index| self.meanings.get(index));
        let decides = meanings.find(|meaning| is_directory || !meaning.directories);
        decides.map(|meaning| !meaning.include)
    }
}

/// Reads a line: the regular expression, and what a match means. `None`: it matches nothing.
fn pattern(line: &[u8]) -> Option<(String, Meaning)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.first() == Some(&b'#') {
        return None;
    }
    let line = without_blanks_behind(line);
    let (include, line) = match line.strip_prefix(b"!") {
        Some(pattern) => (true, pattern),
        None => (false, line),
    };
    let (directories, line) = match line.strip_suffix(b"/") {
        Some(pattern) => (true, pattern),
        None => (false, line),
    };
    let meaning = Meaning { include, directories };
    if line.is_empty() {
        return None;
    }
    if !line.contains(&b'/') {
        return Some((format!("^(?:.*/)?{}$", expression(line, false)?), meaning));
    }
    let path = line.strip_prefix(b"/").unwrap_or(line);
    Some((format!("^{}$", expression(path, true)?), meaning))
}

/// A line without the spaces at its end, but for one that a backslash keeps.
fn without_blanks_behind(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut bytes = line.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b' ' => {}
            b'\\' => match bytes.next() {
                Some((at, _)) => end = at + 1,
                None => return line,
            },
            _ => end = at + 1,
        }
    }
    &line[..end]
}

/// The regular expression for a pattern: of a whole path, if `is_path`, and else of a name. `None`: nothing can match it.
fn expression(text: &[u8], is_path: bool) -> Option<String> {
    let mut expression = String::new();
    // What git compares before it looks at wildcards is no part of the pattern to it.
    let first_wildcard = text.iter().position(|byte| b"*?[\\".contains(byte));
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let at = text.len() - rest.len();
        rest = after;
        match first {
            b'*' => {
                let stars = 1 + after.iter().take_while(|&&byte| byte == b'*').count();
                rest = &text[at + stars..];
                let begins = at == 0 || Some(at) == first_wildcard || text[at - 1] == b'/';
                let crosses = is_path && stars > 1 && begins;
                match rest {
                    [b'/', behind @ ..] if crosses => {
                        rest = behind;
                        expression += "(?:.*/)?";
                    }
                    [] | [b'\\', b'/', ..] if crosses => expression += ".*",
                    _ => expression += "[^/]*",
                }
            }
            b'?' => expression += "[^/]",
            b'[' => {
                let (set, behind) = class(after)?;
                rest = behind;
                push_set(&mut expression, &set);
            }
            b'\\' => {
                let [escaped, behind @ ..] = after else { return None };
                rest = behind;
                push_byte(&mut expression, *escaped);
            }
            byte => push_byte(&mut expression, *byte),
        }
    }
    Some(expression)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let list = Patterns::read(b"*.o\n!keep.o\nbuild/\n/top\n").unwrap();
        for (path, is_directory, ignored) in [
            ("a.o", false, Some(true)),
            ("deep/a.o", false, Some(true)),
            ("deep/keep.o", false, Some(false)),
            ("build", true, Some(true)),
            ("build", false, None),
            ("top", false, Some(true)),
            ("deep/top", false, None),
        ] {
            assert_eq!(list.ignores(path.as_bytes(), is_directory), ignored, "{path}");
        }
    }

    #[test]
    fn bytes_are_bytes() {
        let list = Patterns::read(b"\xef\xbb\xbfcaf\xe9\r\nna\xefve*\n[\xe0-\xe5]x\nth\xc3\xa9\n").unwrap();
        for path in [&b"caf\xe9"[..], b"dir/caf\xe9", b"na\xefvely", b"\xe2x", b"th\xc3\xa9"] {
            assert_eq!(list.ignores(path, false), Some(true), "{}", path.escape_ascii());
        }
        for path in [&b"caf\xc3\xa9"[..], b"caf\xe9\r", b"na\xc3\xafve", b"\xe9x", b"th\xe9"] {
            assert_eq!(list.ignores(path, false), None, "{}", path.escape_ascii());
        }
    }
}
