//! Any bytes may stand in a filter rule or a pattern: they are a rule or an error, and matching takes linear time.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libfuzzer_sys::fuzz_target;
use ringsync::Selection;

fuzz_target!(|bytes: &[u8]| {
    let (rule, path) = bytes.split_at(bytes.len() / 2);
    let text = OsStr::from_bytes(rule);
    let mut selection = Selection::default();
    // A rule that merges reads a file, whichever it is.
    if !rule.starts_with(b".") && !rule.starts_with(b"m") {
        selection.filter(text).ok();
    }
    selection.exclude(text).ok();
    for is_directory in [false, true] {
        selection.matches(OsStr::from_bytes(path).as_ref(), is_directory);
    }
});
