//! The lines of a journal in the order of their paths, in memory that does not grow with their number: what is too much to be
//! sorted at once goes to files in parts, which are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::iter::Peekable;
use std::path::Path;

use crate::store::hashes::journal::{self, Entry, Lines};
use crate::store::own::held;

/// Bytes of lines that are sorted at once, as far as their paths tell.
const PART: usize = 32 << 20;
/// What a line takes beside its path.
const LINE: usize = 88;

/// A part that is sorted.
type Part = Peekable<Box<dyn Iterator<Item = io::Result<Entry>>>>;

/// The lines, by the bytes of their paths.
pub(crate) struct Sorted {
    parts: Vec<Part>,
    /// The next path of each part.
    next: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Sorted {
    /// Sorts. The file `scratch` is made for each part, and has no name any more when this returns.
    pub(crate) fn new(lines: Lines, scratch: &Path) -> io::Result<Self> {
        Sorted::in_parts(lines, scratch, PART)
    }

    fn in_parts(mut lines: Lines, scratch: &Path, limit: usize) -> io::Result<Self> {
        let mut sorted = Sorted { parts: Vec::new(), next: BinaryHeap::new() };
        loop {
            let (mut part, mut bytes) = (Vec::new(), 0);
            for entry in lines.by_ref() {
                let entry = entry?;
                bytes += entry.path.len() + LINE;
                part.push(entry);
                if bytes >= limit {
                    break;
                }
            }
            part.sort_unstable_by(|one, other| one.path.cmp(&other.path));
            if bytes < limit {
                sorted.add(Box::new(part.into_iter().map(Ok)))?;
                return Ok(sorted);
            }
            sorted.add(Box::new(Lines::of(put_away(&part, scratch)?)))?;
        }
    }

    fn add(&mut self, part: Box<dyn Iterator<Item = io::Result<Entry>>>) -> io::Result<()> {
        self.parts.push(part.peekable());
        self.look_at(self.parts.len() - 1)
    }

    /// Takes note of what comes next in a part.
    fn look_at(&mut self, number: usize) -> io::Result<()> {
        let Some(part) = self.parts.get_mut(number) else { return Ok(()) };
        match part.peek() {
            Some(Ok(entry)) => self.next.push(Reverse((entry.path.clone(), number))),
            Some(Err(_)) => {
                part.next().transpose()?;
            }
            None => {}
        }
        Ok(())
    }

    fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let Some(Reverse((_, number))) = self.next.pop() else { return Ok(None) };
        let entry = self.parts.get_mut(number).and_then(Iterator::next).transpose()?;
        self.look_at(number)?;
        Ok(entry)
    }
}

impl Iterator for Sorted {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}

/// Writes a part to a file without a name.
fn put_away(part: &[Entry], scratch: &Path) -> io::Result<File> {
    let file = held::create(scratch)?;
    held::remove(scratch)?;
    let mut to = BufWriter::new(file);
    for entry in part {
        journal::write(&mut to, &entry.path, entry.known)?;
    }
    to.flush()?;
    let mut file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::hashes::journal::Known;

    proptest! {
        #[test]
        fn all_lines_come_in_order(
            paths in prop::collection::vec(prop::collection::vec(1_u8..=255, 1..20), 0..60),
            limit in 1_usize..2000,
        ) {
            let home = tempfile::tempdir().unwrap();
            let mut lines = Vec::new();
            for (number, path) in (0..).zip(&paths) {
                journal::write(&mut lines, path, Known::Earlier(number)).unwrap();
            }
            std::fs::write(home.path().join("journal"), lines).unwrap();
            let lines = Lines::of(File::open(home.path().join("journal")).unwrap());
            let sorted = Sorted::in_parts(lines, &home.path().join("scratch"), limit).unwrap();
            let mut found: Vec<_> = sorted.map(|entry| entry.map(|entry| (entry.path, entry.known)).unwrap()).collect();
            prop_assert!(found.is_sorted_by(|(one, _), (other, _)| one <= other));
            let number = |(_, known): &(Vec<u8>, Known)| match known { Known::Earlier(number) => *number, _ => u32::MAX };
            found.sort_by_key(number);
            let expected: Vec<_> = paths.into_iter().zip((0..).map(Known::Earlier)).collect();
            prop_assert_eq!(found, expected);
            prop_assert!(!home.path().join("scratch").exists());
        }
    }
}
