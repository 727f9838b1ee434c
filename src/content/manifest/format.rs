//! Writing a line of a manifest.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use blake3::Hash;

use crate::content::manifest::{CHANGING, GAP};

/// The line for a file, its newline included. For a path without NUL, and not empty, it is one that
/// [`parse_line`](crate::content::manifest::parse_line) takes apart again, unless it is too long.
pub fn format_line(path: &Path, hash: &Hash) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let mut line = Vec::with_capacity(bytes.len() + 80);
    if needs_escape(bytes) {
        line.push(b'\\');
    }
    line.extend_from_slice(hash.to_hex().as_bytes());
    line.extend_from_slice(GAP);
    escape(bytes, &mut line);
    line.push(b'\n');
    line
}

/// The line, its newline included, that marks a file whose contents may be a mixture. The line for the file comes after it.
pub fn format_mark(path: &Path) -> Vec<u8> {
    let mut line = CHANGING.to_vec();
    escape(path.as_os_str().as_bytes(), &mut line);
    line.push(b'\n');
    line
}

/// A path as `b3sum --check` shows it: escaped as in a manifest, after a backslash that says so.
pub fn escape_path(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let mut text = Vec::with_capacity(bytes.len() + 80);
    if needs_escape(bytes) {
        text.push(b'\\');
    }
    escape(bytes, &mut text);
    text
}

fn needs_escape(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b'\\' | b'\n'))
}

pub(crate) fn escape(path: &[u8], line: &mut Vec<u8>) {
    for &byte in path {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            byte => line.push(byte),
        }
    }
}
