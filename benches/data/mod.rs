//! What the benches mirror, and where.

use std::fs;
use std::path::Path;

use ringsync::event::Silent;
use ringsync::{Config, Stop};

const DIRECTORIES: usize = 100;
const FILES: usize = 100;

/// A place on a tmpfs, where the machine has one: no disk's mood is measured.
pub fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).unwrap()
}

/// Makes 10,000 files of up to 8 KB in 100 directories, and returns how many these are.
pub fn small_tree(root: &Path) -> u64 {
    for directory in 0..DIRECTORIES {
        let path = root.join(format!("d{directory}"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..FILES {
            fs::write(path.join(format!("f{file}")), vec![file as u8; 80 * file]).unwrap();
        }
    }
    (DIRECTORIES * FILES) as u64
}

/// Makes `destination` what `source` is.
pub fn mirror(source: &Path, destination: &Path) {
    let summary = ringsync::sync(&Config::new(source, destination), &mut Silent, &Stop::default()).unwrap();
    assert_eq!(summary.totals.errors, 0);
}
