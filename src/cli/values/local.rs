//! Paths on the command line. What rsync and scp take for a place on another machine is refused: it would become a
//! directory of that name here, and its user would believe in a copy that lies elsewhere.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

use ringsync::Escaped;

/// Reads a path that names no other machine.
pub(crate) fn local() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| if is_remote(&path) { Err(refusal(&path)) } else { Ok(path) })
}

/// Whether a colon comes before the first slash: `host:path`, `user@host:path`, `host::module`, `rsync://host/path`.
/// rsync(1) tells remote paths in the same way.
pub(crate) fn is_remote(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().find(|byte| matches!(byte, b':' | b'/')) == Some(&b':')
}

fn refusal(path: &Path) -> String {
    let shown = Escaped::path(path);
    format!(
        "a colon before the first slash names another machine, and ringsync copies on this one alone; a local file \
         of this name is written ./{shown}, or as an absolute path"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_before_the_first_slash_names_a_machine() {
        for path in [
            "host:path",
            "host:",
            "user@host:/path",
            "host::module/path",
            "rsync://host/path",
            "[::1]:path",
            ":path",
        ] {
            assert!(is_remote(Path::new(path)), "{path}");
        }
        for path in ["path", "./a:b", "a/b:c", "/a:b", "/", ".", "", "../a:b", "-"] {
            assert!(!is_remote(Path::new(path)), "{path}");
        }
    }
}
