//! BLAKE3 of one file, made from parts that several threads hash apart. Each part is a whole subtree of BLAKE3's
//! tree; merged in the tree's own order they give the hash that `b3sum` prints.

use std::sync::{Mutex, PoisonError};

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{Hash, Hasher};

/// Bytes of a part: a power of two, so that each full part is a subtree of its own (`max_subtree_len`).
pub(crate) const PART: u64 = 4 << 20;

/// A hasher for the part of a file that starts at `offset`, a multiple of [`PART`].
pub(crate) fn part_hasher(offset: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    hasher
}

/// The parts' values, collected in any order.
pub(crate) struct Parts {
    size: u64,
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    parts: Vec<Option<ChainingValue>>,
    /// The hash of a file that is no more than one part: its tree has no subtrees to merge.
    whole: Option<Hash>,
}

impl Parts {
    /// For a file of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        let parts = vec![None; size.div_ceil(PART) as usize];
        Parts { size, values: Mutex::new(Values { parts, whole: None }) }
    }

    /// Puts in the value of the part at `offset`.
    pub(crate) fn put(&self, offset: u64, hasher: &Hasher) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if self.size <= PART {
            values.whole = Some(hasher.finalize());
        } else if let Some(value) = values.parts.get_mut((offset / PART) as usize) {
            *value = Some(hasher.finalize_non_root());
        }
    }

    /// The file's hash, once every part is in.
    pub(crate) fn finish(&self) -> Option<Hash> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if self.size <= PART {
            return values.whole;
        }
        let values: Vec<ChainingValue> = values.parts.iter().copied().collect::<Option<_>>()?;
        let left = (left_subtree_len(self.size) / PART) as usize;
        Some(merge_subtrees_root(
            &merge(&values[..left], left as u64 * PART),
            &merge(&values[left..], self.size - left as u64 * PART),
            Mode::Hash,
        ))
    }
}

/// The value of a subtree of `length` bytes from those of its parts. Recursion is as deep as the tree: 44 at most.
fn merge(values: &[ChainingValue], length: u64) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let left = (left_subtree_len(length) / PART) as usize;
    let left_length = left as u64 * PART;
    merge_subtrees_non_root(
        &merge(&values[..left], left_length),
        &merge(&values[left..], length - left_length),
        Mode::Hash,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_any_order_give_the_ordinary_hash() {
        let mut data = vec![0_u8; 5 * PART as usize + 3];
        blake3::Hasher::new().finalize_xof().fill(&mut data);
        let part = PART as usize;
        for size in [
            1,
            part - 1,
            part,
            part + 1,
            2 * part,
            2 * part + 1,
            3 * part,
            4 * part - 1,
            4 * part,
            5 * part,
            data.len(),
        ] {
            let parts = Parts::new(size as u64);
            let mut offsets: Vec<usize> = (0..size).step_by(part).collect();
            offsets.reverse();
            for offset in offsets {
                let mut hasher = part_hasher(offset as u64);
                hasher.update(&data[offset..size.min(offset + part)]);
                assert_eq!(parts.finish(), None, "a part is missing");
                parts.put(offset as u64, &hasher);
            }
            assert_eq!(parts.finish(), Some(blake3::hash(&data[..size])), "{size} bytes");
        }
    }
}
