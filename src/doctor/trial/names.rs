//! Which names a file system takes, and whether it tells them apart.

use rustix::io::{Errno, Result};

use crate::doctor::finding::Found;
use crate::doctor::scratch::Scratch;

/// Characters that Windows forbids in names, and a line feed.
const CHARACTERS: [char; 9] = ['*', ':', '?', '"', '<', '>', '|', '\\', '\n'];

pub(super) fn case(scratch: &Scratch) -> Result<Found> {
    are_two(scratch, "a", "A", "a and A are one file")
}

/// The letter é as one character, and as a letter with an accent.
pub(super) fn unicode_forms(scratch: &Scratch) -> Result<Found> {
    are_two(scratch, "caf\u{e9}", "cafe\u{301}", "the two forms of é are one file")
}

fn are_two(scratch: &Scratch, one: &str, other: &str, otherwise: &str) -> Result<Found> {
    scratch.file(one)?;
    if scratch.has(other)? {
        return Ok(Found::No(otherwise.into()));
    }
    scratch.file(other)?;
    Ok(Found::Yes)
}

pub(super) fn listed(scratch: &Scratch) -> Result<Found> {
    for name in ["UPPER", "Mixed", "lower", "caf\u{e9}"] {
        scratch.file(name)?;
        if !scratch.lists(name)? {
            return Ok(Found::No(format!("{name} is listed as another name")));
        }
    }
    Ok(Found::Yes)
}

pub(super) fn trailing_dot(scratch: &Scratch) -> Result<Found> {
    keeps(scratch, b"name.")
}

pub(super) fn trailing_blank(scratch: &Scratch) -> Result<Found> {
    keeps(scratch, b"name ")
}

pub(super) fn bytes(scratch: &Scratch) -> Result<Found> {
    keeps(scratch, b"caf\xe9")
}

pub(super) fn long_names(scratch: &Scratch) -> Result<Found> {
    keeps(scratch, &[b'n'; 255])
}

fn keeps(scratch: &Scratch, name: &[u8]) -> Result<Found> {
    scratch.file(name)?;
    Ok(Found::yes_if(scratch.lists(name)?, "it is listed as another name"))
}

pub(super) fn characters(scratch: &Scratch) -> Result<Found> {
    let mut refused = Vec::new();
    for character in CHARACTERS {
        match keeps(scratch, format!("a{character}b").as_bytes()) {
            Ok(Found::Yes) => {}
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(errno),
            _ => refused
                .push(character.escape_default().to_string().replace("\\\\", "\\").replace("\\\"", "\"")),
        }
    }
    Ok(Found::yes_if(refused.is_empty(), format!("not {}", refused.join(" "))))
}
