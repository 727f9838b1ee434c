//! Manifests: which file holds what, in the format that `b3sum` prints and `b3sum --check` reads.
//!
//! # The format
//!
//! A manifest is a sequence of lines. Each ends with a newline (0x0a); the last one may lack it. A line is
//!
//! 1. a backslash, if and only if the path is escaped,
//! 2. the BLAKE3 hash of the file's contents as 64 lower-case hexadecimal digits,
//! 3. two spaces,
//! 4. the path, at least one byte, up to the end of the line.
//!
//! In an escaped path `\\` stands for a backslash and `\n` for a newline; a backslash before anything else, or at the
//! end, makes the line malformed. In a path that is not escaped a backslash is a backslash. Nothing else is escaped: a
//! carriage return before the newline, for example, is the path's last byte. A path holds no NUL.
//!
//! Before the line of a file that changed while it was read, and was taken all the same, stands another one that says so:
//! [`CHANGING`] and its path, escaped as on any line. `b3sum --check` takes that one for malformed, and goes on.
//!
//! There are no other comments, no empty lines and no byte order mark; each of these makes its line malformed, as in
//! `b3sum` (1.2.0, with which this was compared line by line). Malformed lines don't hide the lines after them.
//!
//! Three more rules differ from `b3sum`'s:
//!
//! - Paths are bytes here, as they are in the kernel. `b3sum` prints U+FFFD where a name is not UTF-8, and reads
//!   neither U+FFFD nor bytes that are not UTF-8: on such a line of a manifest of ours it gives up.
//! - A line of more than [`LINE_LIMIT`] bytes is malformed, so that no input takes more memory than that.
//! - An escaped line whose path has nothing to escape is read, but never written; `b3sum` does the same.

pub(crate) mod format;
mod read;

use std::path::PathBuf;

use blake3::Hash;

pub use crate::content::manifest::format::{escape_path, format_line, format_mark};
pub use crate::content::manifest::read::{Malformed, Reader, parse_line};

/// The longest line that is read or written, in bytes, its newline not counted: eight times the longest path that the
/// kernel takes at once, each byte of it escaped.
pub const LINE_LIMIT: usize = 64 << 10;

/// Hexadecimal digits of a hash.
const HEX: usize = 2 * blake3::OUT_LEN;
/// What stands between hash and path.
pub(crate) const GAP: &[u8] = b"  ";
/// How a line begins that marks a file whose contents may be a mixture.
pub const CHANGING: &[u8] = b"# changing: ";

/// What one line says: the file at this path has this hash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// As it is written, with escapes undone; relative to whatever the reader of the manifest takes it to be.
    pub path: PathBuf,
    /// BLAKE3 of the file's contents.
    pub hash: Hash,
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            paths in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..40), 1..20),
            hash in any::<[u8; 32]>(),
        ) {
            let hash = Hash::from_bytes(hash);
            let entry = |path: &Vec<u8>| Record { path: Path::new(OsStr::from_bytes(path)).into(), hash };
            let entries: Vec<Record> = paths.iter().map(entry).collect();
            let lines = entries.iter().flat_map(|entry| format_line(&entry.path, &hash)).collect::<Vec<u8>>();
            let read: Vec<_> = Reader::new(&lines[..]).map(Result::unwrap).collect();
            let expected: Vec<_> = (1..).zip(entries.into_iter().map(Ok)).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn special_bytes_survive(path in "[\\\\\n\r n\u{fffd}a]{1,12}") {
            let entry = Record { path: path.into(), hash: blake3::hash(b"") };
            let line = format_line(&entry.path, &entry.hash);
            prop_assert_eq!(parse_line(&line[..line.len() - 1]), Ok(entry));
        }
    }
}
