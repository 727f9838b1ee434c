//! Makes a copy out of date: one file in a hundred gets other contents of the same size, and an older time. The copy is
//! changed and not the source, which may be the user's.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use walkdir::WalkDir;

use crate::bench::plan::go_on;
use ringsync::{Escaped, Stop};

/// One file in this many is changed.
const EACH: u64 = 100;
/// How much older it becomes.
const AGE: Duration = Duration::from_secs(3600);

/// Changes one in a hundred of the files in `copy` that are not empty, always the same ones, and tells how many.
pub(crate) fn change(copy: &Path, stop: &Stop) -> anyhow::Result<u64> {
    let (mut seen, mut changed) = (0, 0);
    for entry in WalkDir::new(copy).sort_by_file_name() {
        go_on(stop)?;
        let entry = entry.context("read the copy")?;
        if !entry.file_type().is_file() || entry.metadata().context("read the copy")?.len() == 0 {
            continue;
        }
        // One that may not be written to leaves its turn to the next.
        if seen >= changed * EACH {
            let done =
                spoil(entry.path()).with_context(|| format!("change {}", Escaped::path(entry.path())))?;
            changed += u64::from(done);
        }
        seen += 1;
    }
    Ok(changed)
}

/// Changes the first byte of a file, and its time; not if it is read-only.
fn spoil(path: &Path) -> io::Result<bool> {
    let file = match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        opened => opened?,
    };
    let before = file.metadata()?.modified()?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0)?;
    file.write_all_at(&[!byte[0]], 0)?;
    file.set_modified(before.checked_sub(AGE).unwrap_or(before))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_in_a_hundred_is_changed_and_older() {
        let home = tempfile::tempdir().unwrap();
        for index in 0..250 {
            fs::write(home.path().join(format!("{index:03}")), "same").unwrap();
        }
        fs::write(home.path().join("empty"), "").unwrap();
        let before = fs::metadata(home.path().join("000")).unwrap().modified().unwrap();
        assert_eq!(change(home.path(), &Stop::default()).unwrap(), 3);
        let other: Vec<String> = (0..250)
            .map(|index| format!("{index:03}"))
            .filter(|name| fs::read(home.path().join(name)).unwrap() != b"same")
            .collect();
        assert_eq!(other, ["000", "100", "200"]);
        assert_eq!(fs::metadata(home.path().join("000")).unwrap().modified().unwrap(), before - AGE);
        assert_eq!(fs::metadata(home.path().join("000")).unwrap().len(), 4);
    }

    #[test]
    fn nothing_can_be_changed_where_there_are_no_bytes() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("empty"), "").unwrap();
        assert_eq!(change(home.path(), &Stop::default()).unwrap(), 0);
    }
}
