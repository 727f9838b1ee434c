//! Bytes for people's eyes: names with control characters escaped, sizes with units.

use std::ffi::OsStr;
use std::fmt;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Shows bytes of a file name so that they can't move the cursor or forge a line: control characters and bytes
/// that are not UTF-8 are escaped as in a Rust string, and so is the backslash.
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

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() => write!(f, "\\u{{{:x}}}", c as u32)?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_gets_through() {
        let shown = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(shown(b"plain name.txt"), "plain name.txt");
        assert_eq!(shown("grün".as_bytes()), "grün");
        assert_eq!(shown(b"a\nb\r\tc\\"), "a\\nb\\r\\tc\\\\");
        assert_eq!(shown(b"\x1b[2J"), "\\u{1b}[2J");
        assert_eq!(shown(b"\xff\xc3"), "\\xff\\xc3");
        assert_eq!(shown("\u{9b}".as_bytes()), "\\u{9b}");
    }
}
