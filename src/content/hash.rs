//! BLAKE3 of one file, made from segments that several threads hash apart. Each segment is a whole subtree of BLAKE3's
//! tree; merged in the tree's own order they give the hash that `b3sum` prints.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{Hash, Hasher};

/// Bytes of a segment: a power of two, so that each full segment is a subtree of its own (`max_subtree_len`).
pub(crate) const SEGMENT: u64 = 4 << 20;

/// A hasher for the segment of a file that starts at `offset`, a multiple of [`SEGMENT`].
pub(crate) fn segment_hasher(offset: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    hasher
}

/// The segments' values, collected in any order. Neighbours are merged as soon as both are there, so that no more values are
/// held than segments are under way, and a few for each level of the tree.
pub(crate) struct SegmentHashes {
    size: u64,
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    /// By level, 0 for segments, and place in the level.
    subtrees: HashMap<(u32, u64), ChainingValue>,
    /// The hash of a file that is no more than one segment: its tree has no subtrees to merge.
    whole: Option<Hash>,
}

impl SegmentHashes {
    /// For a file of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        SegmentHashes { size, values: Mutex::default() }
    }

    /// Puts in the value of the segment at `offset`.
    pub(crate) fn put(&self, offset: u64, hasher: &Hasher) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if self.size <= SEGMENT {
            values.whole = Some(hasher.finalize());
            return;
        }
        let (mut level, mut place, mut value) = (0, offset / SEGMENT, hasher.finalize_non_root());
        // The two halves of the whole tree stay apart: they are merged in another way.
        while (2 << level) < self.size.div_ceil(SEGMENT)
            && let Some(other) = values.subtrees.remove(&(level, place ^ 1))
        {
            let (left, right) = if place & 1 == 0 { (value, other) } else { (other, value) };
            value = merge_subtrees_non_root(&left, &right, Mode::Hash);
            (level, place) = (level + 1, place / 2);
        }
        values.subtrees.insert((level, place), value);
    }

    /// The file's hash, once every segment is in.
    pub(crate) fn finish(&self) -> Option<Hash> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if self.size <= SEGMENT {
            return values.whole;
        }
        let subtrees = whole_subtrees(self.size.div_ceil(SEGMENT));
        let values: Vec<ChainingValue> =
            subtrees.iter().map(|place| values.subtrees.get(place).copied()).collect::<Option<_>>()?;
        let (first, rest) = values.split_first()?;
        let right = rest.iter().rev().copied();
        let right = right.reduce(|right, left| merge_subtrees_non_root(&left, &right, Mode::Hash))?;
        Some(merge_subtrees_root(first, &right, Mode::Hash))
    }
}

/// The subtrees, from the left to the right, of a file with `segments` segments (more than one), when all that can be merged
/// are merged: each as large a power of two as there are segments left, the first one not all of them (BLAKE3's paper,
/// 2.1).
fn whole_subtrees(segments: u64) -> Vec<(u32, u64)> {
    let mut subtrees = Vec::new();
    let mut at = 0;
    while at < segments {
        let left = if at == 0 { segments - 1 } else { segments - at };
        let level = left.ilog2();
        subtrees.push((level, at >> level));
        at += 1 << level;
    }
    subtrees
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_any_order_give_the_ordinary_hash() {
        let mut data = vec![0_u8; 5 * SEGMENT as usize + 3];
        blake3::Hasher::new().finalize_xof().fill(&mut data);
        let segment = SEGMENT as usize;
        for size in [
            1,
            segment - 1,
            segment,
            segment + 1,
            2 * segment,
            2 * segment + 1,
            3 * segment,
            3 * segment + 1,
            4 * segment - 1,
            4 * segment,
            5 * segment,
            data.len(),
        ] {
            let segments = SegmentHashes::new(size as u64);
            let mut offsets: Vec<usize> = (0..size).step_by(segment).collect();
            offsets.reverse();
            for offset in offsets {
                let mut hasher = segment_hasher(offset as u64);
                hasher.update(&data[offset..size.min(offset + segment)]);
                assert_eq!(segments.finish(), None, "a segment is missing");
                segments.put(offset as u64, &hasher);
            }
            assert_eq!(segments.finish(), Some(blake3::hash(&data[..size])), "{size} bytes");
        }
    }
}
