//! Modes for what the destination does not keep: what kept others out is missing, so that the permission bits alone have to.

/// The mode of an entry whose group the destination does not keep: the group that it has instead gets no more than everybody.
pub(crate) fn without_group(mode: u32) -> u32 {
    mode & !0o070 | mode & (mode & 0o007) << 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strange_group_gets_no_more_than_everybody() {
        for (mode, expected) in [
            (0o640, 0o600),
            (0o644, 0o644),
            (0o775, 0o755),
            (0o770, 0o700),
            (0o604, 0o604),
            (0o2751, 0o2711),
            (0o745, 0o745),
        ] {
            assert_eq!(without_group(mode), expected, "{mode:o}");
        }
    }
}
