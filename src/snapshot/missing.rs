//! What a partial snapshot lacks, and where it is: for the terminal, and as JSON.

use std::path::Path;

use serde::Serialize;

use ringsync::Escaped;
use ringsync::event::JsonPath;
use ringsync::store::look::Missing;

/// As many paths of a snapshot are told.
pub(super) const TOLD: usize = 10;

pub(super) fn elsewhere(missing: &Missing) -> String {
    let path = if missing.path.as_os_str().is_empty() { Path::new(".") } else { &missing.path };
    let path = Escaped::path(path);
    match &missing.newest {
        Some(name) => {
            format!("the newest earlier snapshot that has {path} is {}", Escaped::name(name.as_ref()))
        }
        None => format!("no earlier snapshot has {path}"),
    }
}

/// The same as JSON.
#[derive(Serialize)]
pub(super) struct MissingLine<'a> {
    #[serde(flatten)]
    path: JsonPath,
    newest: Option<&'a str>,
}

impl<'a> MissingLine<'a> {
    pub(super) fn new(missing: &'a Missing) -> Self {
        MissingLine { path: JsonPath::new(&missing.path), newest: missing.newest.as_deref() }
    }
}
