//! How a path is written as JSON.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A path as JSON has it: `path`, and where its bytes are not UTF-8 also `path_bytes`, in base64 (RFC 4648).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JsonPath {
    /// The path as text; what is not UTF-8 became U+FFFD.
    pub path: String,
    /// All its bytes in base64, where the text lacks some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_bytes: Option<String>,
}

impl JsonPath {
    /// How `path` is written.
    pub fn new(path: &Path) -> Self {
        let bytes = path.as_os_str().as_bytes();
        let path_bytes = std::str::from_utf8(bytes).is_err().then(|| STANDARD.encode(bytes));
        JsonPath { path: path.to_string_lossy().into_owned(), path_bytes }
    }

    /// The path that was written. `None`: its bytes are not base64.
    pub fn to_path(&self) -> Option<PathBuf> {
        match &self.path_bytes {
            Some(bytes) => Some(OsString::from_vec(STANDARD.decode(bytes).ok()?).into()),
            None => Some(PathBuf::from(&self.path)),
        }
    }

    /// The text, and where that is not all the bytes in base64.
    pub(crate) fn parts(&self) -> (&str, Option<&str>) {
        (&self.path, self.path_bytes.as_deref())
    }
}
