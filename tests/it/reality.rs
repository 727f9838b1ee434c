//! Real trees, judged by rsync.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::support::mount::{Image, Mount};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, node};
use crate::support::{ENGINES, assert_equal, rsync_finds, scratch, sync_with};

tests![
    real_trees_on_tmpfs: [Need::Root, Need::Tool("rsync")],
    real_trees_on_ext4: [Need::FileSystem("ext4"), Need::Tool("rsync")],
    real_trees_on_xfs: [Need::FileSystem("xfs"), Need::Tool("rsync")],
    real_trees_on_btrfs: [Need::FileSystem("btrfs"), Need::Tool("rsync")],
    listings_that_tell_no_types: [Need::FileSystem("ext4")],
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

/// A directory of ext4 made without `filetype` lists names alone: each has to be looked up.
fn listings_that_tell_no_types() {
    let image = Image::new("ext4", "64M", &["-O", "^filetype"]);
    let mount = image.mount();
    for engine in ENGINES.iter() {
        let (source, destination) = (mount.path().join("src"), mount.path().join(engine));
        std::fs::create_dir_all(source.join("dir/below")).unwrap();
        file(source.join("dir/below/file"), "contents");
        std::os::unix::fs::symlink("dir", source.join("link")).unwrap();
        node(source.join("fifo"), FileType::Fifo, (0, 0));
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        file(destination.join("dir/extra/file"), "x");
        sync_with(engine, &["--delete"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        std::fs::remove_dir_all(&source).unwrap();
    }
}
