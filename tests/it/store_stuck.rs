//! Snapshots of a source that hangs: `snapshot take --timeout`.

use std::fs;

use crate::snapshots::{inode, name_of, names, take};
use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, noise};
use crate::support::{assert_equal, scratch};

tests![
    a_source_that_hangs_makes_no_snapshot_and_the_next_run_goes_on: [Need::Fuse],
    a_source_that_hangs_at_its_top_is_given_up: [Need::Fuse],
    a_ring_takes_no_time_out_for_a_snapshot,
    a_mode_that_does_not_stick_is_not_told: [Need::Fuse],
];

const ALWAYS: usize = usize::MAX;

fn a_source_that_hangs_makes_no_snapshot_and_the_next_run_goes_on() {
    let (fuse, home) = (Fuse::new(), scratch());
    let (source, store) = (fuse.path().join("src"), home.path().join("store"));
    for number in 0..60 {
        file(source.join(format!("d{}/f{number}", number % 7)), noise(number, 2000));
    }
    let first = name_of(&take(&source, &store, &["--timeout=20"], 0));
    assert_equal(&source, &store.join(first));
    file(source.join("d3/stuck"), "stuck in what it holds");
    file(source.join("d4/new"), "new");
    fuse.spoil(Call::Read, "stuck", Effect::Stall, ALWAYS);
    // What hangs does not keep the store.
    for _ in 0..2 {
        let ran = take(&source, &store, &["--timeout=1"], 30);
        assert!(ran.err.contains("d3/stuck") && ran.err.contains("timed out"), "{}", ran.err);
        assert!(ran.err.contains("no snapshot: the next run goes on with what was written"), "{}", ran.err);
        assert_eq!(names(&store).len(), 1);
    }
    let left = inode(store.join(".ringsync/incomplete/d4/new"));
    fuse.release();
    let last = name_of(&take(&source, &store, &["--timeout=20"], 0));
    assert_equal(&source, &store.join(&last));
    assert_eq!(inode(store.join(last).join("d4/new")), left, "it was gone on with");
}

fn a_source_that_hangs_at_its_top_is_given_up() {
    for call in [Call::Getattr, Call::Readdir] {
        let (fuse, home) = (Fuse::new(), scratch());
        let (source, store) = (fuse.path().join("src"), home.path().join("store"));
        file(source.join("f"), "contents");
        fuse.spoil(call, "src", Effect::Stall, ALWAYS);
        let ran = take(&source, &store, &["--timeout=1"], 30);
        assert!(ran.err.contains("src") && ran.err.to_lowercase().contains("timed out"), "{}", ran.err);
        assert!(!store.join("latest").is_symlink());
        fuse.release();
        take(&source, &store, &[], 0);
    }
}

fn a_ring_takes_no_time_out_for_a_snapshot() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    file(source.join("f"), "contents");
    let ran = take(&source, &store, &["--timeout=5", "--engine=uring"], 3);
    assert!(ran.err.contains("time-out"), "{}", ran.err);
    assert!(!store.exists());
    take(&source, &store, &["--timeout=0"], 1);
}

/// There are file systems whose modes are what their mount says.
fn a_mode_that_does_not_stick_is_not_told() {
    let (fuse, home) = (Fuse::new(), scratch());
    let (source, store) = (home.path().join("src"), fuse.path().join("store"));
    file(source.join("f"), "contents");
    take(&source, &store, &["--clone=never"], 0);
    mode(store.join(".ringsync"), 0o755);
    fuse.spoil(Call::Setattr, ".ringsync", Effect::Fail(libc::EPERM), ALWAYS);
    for _ in 0..2 {
        let ran = take(&source, &store, &["--clone=never"], 0);
        assert!(!ran.err.contains("was open to others"), "{}", ran.err);
    }
    assert_eq!(names(&store).len(), 3);
    assert!(fs::metadata(store.join("latest/f")).is_ok());
}
