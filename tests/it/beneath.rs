//! Promise 4: never outside the two trees.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::file;
use crate::support::{ENGINES, assert_equal, meanwhile, scratch, sync_with};

tests![
    overlapping_roots_are_refused,
    roots_that_overlap_through_a_bind_mount_are_refused: [Need::Root],
    roots_that_cannot_be_used_are_refused,
    the_roots_themselves_may_be_symlinks,
    planted_symlinks_are_never_written_through,
    swapped_directories_lead_nowhere,
];

/// Requires exit 3, and that nothing was written.
#[track_caller]
fn refused(source: &Path, destination: &Path) -> String {
    let before = crate::support::tree::snapshot(source);
    let ran = sync_with("auto", &["--mkpath"], source, destination).exits(3);
    assert!(before == crate::support::tree::snapshot(source), "something was written");
    assert_eq!(ran.out, "");
    ran.err
}

fn overlapping_roots_are_refused() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    file(at("tree/inner/file"), "x");
    file(at("tree-beside/file"), "x");
    symlink("tree", at("link")).unwrap();
    symlink("tree/inner", at("deep-link")).unwrap();
    for (source, destination, why) in [
        ("tree", "tree", "the same directory"),
        ("tree", "tree/", "the same directory"),
        ("tree/inner", "tree/inner/../inner", "the same directory"),
        ("tree", "link", "the same directory"),
        ("link", "tree", "the same directory"),
        ("tree", "tree/inner", "DST lies inside SRC"),
        ("tree", "tree/new", "DST lies inside SRC"),
        ("tree", "tree/new/and/deep", "DST lies inside SRC"),
        ("tree", "deep-link", "DST lies inside SRC"),
        ("tree", "deep-link/new", "DST lies inside SRC"),
        ("tree/inner", "tree", "SRC lies inside DST"),
        ("deep-link", "link", "SRC lies inside DST"),
        ("tree/inner/file", "tree/inner/file", "the same file"),
        ("tree/inner/file", "tree/inner", "the same file"),
    ] {
        let err = refused(&at(source), &at(destination));
        assert!(err.contains(why), "{source} to {destination}: {err}");
    }
    // A name that merely begins like the other's is another directory.
    sync_with("auto", &[], &at("tree"), &at("tree-beside")).exits(0);
    sync_with("auto", &[], &at("tree-beside/inner"), &at("tree-")).exits(0);
}

fn roots_that_overlap_through_a_bind_mount_are_refused() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    file(at("tree/inner/file"), "x");
    file(at("other/file"), "x");
    fs::create_dir(at("other/mountpoint")).unwrap();
    let inner = Mount::bind(&at("tree/inner"));
    let whole = Mount::bind(&at("tree"));
    for destination in [inner.path().to_path_buf(), inner.path().join("new"), whole.path().join("new")] {
        assert!(refused(&at("tree"), &destination).contains("DST lies inside SRC"));
    }
    assert!(refused(&at("tree"), whole.path()).contains("the same directory"));
    assert!(refused(inner.path(), &at("tree")).contains("SRC lies inside DST"));

    // SRC shows DST at a mount point of its own.
    crate::support::tool("mount", &[Path::new("--bind"), &at("tree"), &at("other/mountpoint")]);
    let result = std::panic::catch_unwind(|| refused(&at("other"), &at("tree")));
    crate::support::tool("umount", &[at("other/mountpoint")]);
    assert!(result.unwrap().contains("DST lies inside SRC"));
}

fn roots_that_cannot_be_used_are_refused() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    file(at("file"), "x");
    file(at("tree/file"), "x");
    symlink("nowhere", at("dangling")).unwrap();
    for (source, destination) in [
        ("missing", "dst"),
        ("dangling", "dst"),
        ("tree", "no/parent"),
        ("tree", "file"),
        ("tree", "file/below"),
        ("tree", "dangling"),
        ("file", "no/parent"),
    ] {
        let ran = sync_with("auto", &[], &at(source), &at(destination)).exits(3);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(!at("dst").exists() && !at("no").exists() && !at("nowhere").exists());
    }
}

fn the_roots_themselves_may_be_symlinks() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    file(at("tree/file"), "x");
    fs::create_dir(at("target")).unwrap();
    symlink("tree", at("source")).unwrap();
    symlink("target", at("destination")).unwrap();
    sync_with("auto", &[], &at("source/"), &at("destination")).exits(0);
    assert_equal(&at("tree"), &at("target"));
    assert!(fs::symlink_metadata(at("destination")).unwrap().is_symlink());
}

fn planted_symlinks_are_never_written_through() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("src/directory/file"), "new");
        file(at("src/name"), "new");
        file(at("outside/file"), "old");
        file(at("target"), "old");
        fs::create_dir(at("dst")).unwrap();
        symlink(at("outside"), at("dst/directory")).unwrap();
        symlink(at("target"), at("dst/name")).unwrap();
        sync_with(engine, &[], &at("src"), &at("dst")).exits(0);
        assert_equal(&at("src"), &at("dst"));
        assert_eq!(fs::read(at("outside/file")).unwrap(), b"old");
        assert_eq!(fs::read(at("target")).unwrap(), b"old");
    }
}

/// Another process exchanges directories for symlinks while mirrors run, in both trees. What lies outside is neither
/// copied nor touched.
fn swapped_directories_lead_nowhere() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    for index in 0..40 {
        file(at(&format!("src/a/b/file{index}")), "mine");
        file(at(&format!("secret/b/file{index}")), "secret");
        file(at(&format!("victim/b/file{index}")), "precious");
    }
    symlink(at("secret"), at("src-trap")).unwrap();
    fs::create_dir(at("dst")).unwrap();
    symlink(at("victim"), at("dst-trap")).unwrap();
    let before = crate::support::tree::snapshot(&at("victim"));
    let exchange_both = || {
        exchange(&at("src/a"), &at("src-trap"));
        exchange(&at("dst/a"), &at("dst-trap"));
    };
    meanwhile(exchange_both, || {
        let begun = Instant::now();
        let mut runs = 0;
        while begun.elapsed() < Duration::from_secs(4) || runs < 10 {
            let ran = sync_with(ENGINES[runs % ENGINES.len()], &[], &at("src"), &at("dst"));
            assert!(matches!(ran.code, Some(0 | 23 | 24)), "{ran:#?}");
            runs += 1;
        }
    });
    assert_eq!(crate::support::tree::snapshot(&at("victim")), before);
    for root in ["dst", "dst-trap"] {
        for entry in walkdir::WalkDir::new(at(root)).into_iter().flatten() {
            let secret = entry.file_type().is_file() && fs::read(entry.path()).unwrap() == b"secret";
            assert!(!secret, "{}", entry.path().display());
        }
    }
}

/// Exchanges two names, if both are there.
fn exchange(one: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags};
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).ok();
}
