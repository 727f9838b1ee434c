//! `--safe-links`, `--copy-unsafe-links`: whether a symlink may lead out of what is copied, by its text alone (rsync(1)).

/// Whether a symlink with this target is unsafe, which lies in `depth` directories below the top of what is copied. So is one that
/// is absolute, or empty, or has `..` after any other name, which may be one of another symlink; and one with more `..` than there
/// are directories above it. rsync takes a `..` at the end for unsafe as well, unless it is all there is.
pub(crate) fn is_unsafe(target: &[u8], depth: usize) -> bool {
    if target.is_empty() || target.starts_with(b"/") {
        return true;
    }
    let (mut rest, mut ups) = (target, 0);
    while let Some(below) = rest.strip_prefix(b"../") {
        let slashes = below.iter().take_while(|&&byte| byte == b'/').count();
        (rest, ups) = (&below[slashes..], ups + 1);
    }
    ups += usize::from(target == b"..");
    ups > depth || target.ends_with(b"/..") || rest.windows(4).any(|bytes| bytes == b"/../")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_by_its_text_is_unsafe() {
        for (target, depth, expected) in [
            ("", 3, true),
            ("/", 3, true),
            ("/in/the/tree", 3, true),
            (".", 0, false),
            ("a", 0, false),
            ("./a", 0, false),
            ("a/b/c/", 0, false),
            ("..", 0, true),
            ("..", 1, false),
            ("../", 0, true),
            ("../", 1, false),
            ("../a", 0, true),
            ("../a", 1, false),
            ("../../a", 1, true),
            ("../../a", 2, false),
            ("../../", 2, false),
            ("..//..///../a", 2, true),
            ("..//..///../a", 3, false),
            // However many directories there are: the name before may be a symlink, or so it is read.
            ("../..", 3, true),
            ("a/..", 3, true),
            ("a/../b", 3, true),
            ("./../a", 3, true),
            ("../a/../b", 3, true),
            ("../a/..", 3, true),
            // Names that begin or end like it.
            ("...", 0, false),
            ("..a/b", 0, false),
            ("a/..b", 0, false),
            ("a..", 0, false),
            ("a../b", 0, false),
        ] {
            assert_eq!(is_unsafe(target.as_bytes(), depth), expected, "{target} in {depth}");
        }
    }
}
