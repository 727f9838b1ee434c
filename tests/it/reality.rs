//! Real trees, judged by rsync.

use std::path::{Path, PathBuf};

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::{ENGINES, rsync_finds, scratch, sync_with};

tests![
    real_trees_on_tmpfs: [Need::Root, Need::Tool("rsync")],
    real_trees_on_ext4: [Need::FileSystem("ext4"), Need::Tool("rsync")],
    real_trees_on_xfs: [Need::FileSystem("xfs"), Need::Tool("rsync")],
    real_trees_on_btrfs: [Need::FileSystem("btrfs"), Need::Tool("rsync")],
];

/// The machine's own documentation and data, and the sources of the crates this program is built from.
fn real_trees() -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let registry = cargo.map(|cargo| cargo.join("registry/src"));
    let trees: Vec<PathBuf> = [Some(PathBuf::from("/usr/share")), registry]
        .into_iter()
        .flatten()
        .filter(|path| path.is_dir())
        .collect();
    assert!(!trees.is_empty(), "no real tree on this machine");
    trees
}

fn mirror_all(place: &Path, engines: &[&str]) {
    for (index, source) in real_trees().iter().enumerate() {
        for engine in engines {
            let destination = place.join(format!("{index}-{engine}"));
            sync_with(engine, &[], source, &destination).exits(0);
            assert_eq!(rsync_finds(source, &destination), "", "{} with {engine}", source.display());
            let again = sync_with(engine, &["--json"], source, &destination).exits(0);
            assert_eq!(again.json().len(), 2, "nothing is left to do");
        }
    }
}

fn real_trees_on_tmpfs() {
    mirror_all(scratch().path(), &ENGINES);
}

fn real_trees_on_ext4() {
    mirror_all(Mount::new("ext4", "6G").path(), &ENGINES[..1]);
}

fn real_trees_on_xfs() {
    mirror_all(Mount::new("xfs", "6G").path(), &ENGINES[..1]);
}

fn real_trees_on_btrfs() {
    mirror_all(Mount::new("btrfs", "6G").path(), &ENGINES[..1]);
}
