//! Sources that a process stores to through a mapping: the kernel does not tell of most of these stores. What is copied is a
//! state all the same, and what comes after the copy comes with the next run.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use crate::support::mapping::Mapping;
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::file;
use crate::support::{ENGINES, assert_equal, assert_no_litter, meanwhile, scratch, sync_with};

tests![
    what_is_stored_to_all_the_time_is_no_copy_in_memory: [Need::Root, Need::Tool("xfs_io")],
    what_is_stored_to_all_the_time_is_no_copy_on_ext4: [Need::FileSystem("ext4"), Need::Tool("xfs_io")],
    what_is_stored_to_all_the_time_is_no_copy_on_xfs: [Need::FileSystem("xfs"), Need::Tool("xfs_io")],
    what_is_stored_to_all_the_time_is_no_copy_on_btrfs: [Need::FileSystem("btrfs"), Need::Tool("xfs_io")],
    what_is_stored_after_a_copy_comes_with_the_next_on_ext4: [Need::FileSystem("ext4"), Need::Tool("xfs_io")],
    what_is_stored_after_a_copy_comes_with_the_next_on_xfs: [Need::FileSystem("xfs"), Need::Tool("xfs_io")],
    what_is_stored_after_a_copy_comes_with_the_next_on_btrfs: [Need::FileSystem("btrfs"), Need::Tool("xfs_io")],
    a_clone_is_one_state_on_btrfs: [Need::FileSystem("btrfs"), Need::Tool("xfs_io")],
    a_clone_is_one_state_on_xfs: [Need::FileSystem("xfs"), Need::Tool("xfs_io")],
];

/// One that a single task copies, and one that is cut in parts.
const SIZES: [usize; 2] = [4 << 20, 24 << 20];

/// Whether all bytes are alike, or the newer ones stand before the older. The last page may be stored to first.
fn is_state(bytes: &[u8]) -> bool {
    let mut runs = bytes[..bytes.len() - 4096].to_vec();
    runs.dedup();
    match runs[..] {
        [_] => true,
        [newer, older] => newer == older.wrapping_add(1),
        _ => false,
    }
}

/// Does something while `mapping` is stored to without a pause.
fn while_stored<R>(mapping: &mut Mapping, work: impl FnOnce() -> R) -> R {
    let mut byte = 1_u8;
    let step = || {
        byte = byte.wrapping_add(1);
        mapping.begin_to_store(byte);
    };
    meanwhile(step, work)
}

fn what_is_stored_to_all_the_time_is_no_copy_in_memory() {
    no_copy(Mount::new("tmpfs", "100M").path(), &SIZES);
    no_copy(Mount::ramfs().path(), &SIZES[..1]);
}

fn what_is_stored_to_all_the_time_is_no_copy_on_ext4() {
    no_copy(Mount::new("ext4", "200M").path(), &SIZES[1..]);
}

fn what_is_stored_to_all_the_time_is_no_copy_on_xfs() {
    no_copy(Mount::new("xfs", "400M").path(), &SIZES[1..]);
}

fn what_is_stored_to_all_the_time_is_no_copy_on_btrfs() {
    no_copy(Mount::new("btrfs", "400M").path(), &SIZES[1..]);
}

fn no_copy(place: &Path, sizes: &[usize]) {
    let home = scratch();
    for (&engine, &size) in ENGINES.iter().flat_map(|engine| sizes.iter().map(move |size| (engine, size))) {
        let source = place.join(format!("{engine}{size}"));
        let destination = home.path().join(format!("{engine}{size}"));
        file(source.join("db"), vec![0; size]);
        let mut mapping = Mapping::new(&source.join("db"));
        let sums = home.path().join("sums");
        let take = ["--json", "--take-changing", "--manifest", sums.to_str().unwrap()];
        while_stored(&mut mapping, || {
            // Another process may keep the one that stores from it for the moment a copy takes.
            let refused = (0..400).any(|_| {
                file(destination.join("db"), "old");
                let ran = sync_with(engine, &[], &source, &destination);
                let copy = fs::read(destination.join("db")).unwrap();
                if ran.code == Some(0) {
                    assert!(is_state(&copy), "a mixture: {ran:?}");
                    return false;
                }
                let ran = ran.exits(23);
                assert!(ran.err.contains("db: it changed while it was being read"), "{}", ran.err);
                assert_eq!(copy, b"old");
                true
            });
            assert!(refused, "no copy was disturbed");
            let taken = (0..400).any(|_| {
                file(destination.join("db"), "old");
                let ran = sync_with(engine, &take, &source, &destination).exits(0);
                assert_eq!(fs::metadata(destination.join("db")).unwrap().len(), size as u64);
                let is_marked = ran.summary()["changing"] == 1;
                assert_eq!(ran.out.contains(r#""live":"changing""#), is_marked);
                assert_eq!(fs::read_to_string(&sums).unwrap().contains("# changing: db\n"), is_marked);
                is_marked
            });
            assert!(taken, "no copy was disturbed");
        });
        drop(mapping);
        assert_no_litter(&destination);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn what_is_stored_after_a_copy_comes_with_the_next_on_ext4() {
    comes_with_the_next(Mount::new("ext4", "100M").path());
}

fn what_is_stored_after_a_copy_comes_with_the_next_on_xfs() {
    comes_with_the_next(Mount::new("xfs", "400M").path());
}

fn what_is_stored_after_a_copy_comes_with_the_next_on_btrfs() {
    comes_with_the_next(Mount::new("btrfs", "200M").path());
}

/// The page is dirty already when the copy is made: what is stored to it then moved no time, if it was not written out.
fn comes_with_the_next(place: &Path) {
    let home = scratch();
    let lists: &[&[&str]] = &[&[], &["--inplace"], &["-c"], &["--reflink=never"]];
    for (&engine, (number, options)) in
        ENGINES.iter().flat_map(|engine| lists.iter().enumerate().map(move |list| (engine, list)))
    {
        let source = place.join(format!("{engine}{number}"));
        let destinations: [PathBuf; 2] =
            [place, home.path()].map(|place| place.join(format!("{engine}{number}.copy")));
        file(source.join("db"), vec![0; 300_000]);
        let mut mapping = Mapping::new(&source.join("db"));
        for byte in 2..5 {
            for destination in &destinations {
                sync_with(engine, options, &source, destination).exits(0);
                let copy = fs::read(destination.join("db")).unwrap();
                assert!(copy.iter().all(|&found| found == byte - 1), "{options:?}, {byte}");
            }
            mapping.store(byte);
        }
        drop(mapping);
        for destination in &destinations {
            // All times are compared as well.
            sync_with(engine, options, &source, destination).exits(0);
            assert_equal(&source, destination);
        }
    }
}

fn a_clone_is_one_state_on_btrfs() {
    one_state(Mount::new("btrfs", "800M").path());
}

fn a_clone_is_one_state_on_xfs() {
    one_state(Mount::new("xfs", "800M").path());
}

/// The file system makes a clone while nobody writes: it is a state even where no second reading could find the same.
fn one_state(place: &Path) {
    for (&engine, size) in ENGINES.iter().flat_map(|engine| SIZES.map(|size| (engine, size))) {
        let [source, destination] =
            ["src", "dst"].map(|name| place.join(format!("{engine}{size}")).join(name));
        file(source.join("db"), vec![0; size]);
        file(source.join("log"), "");
        let log = OpenOptions::new().append(true).open(source.join("log")).unwrap();
        let mut line = 0_u64;
        let mut mapping = Mapping::new(&source.join("db"));
        let append = || {
            for _ in 0..1000 {
                line += 1;
                std::io::Write::write_all(&mut &log, &line.to_le_bytes()).unwrap();
            }
        };
        while_stored(&mut mapping, || {
            meanwhile(append, || {
                for options in
                    [&["--reflink=always", "--json"][..], &["--reflink=always", "--json", "--verify"]]
                {
                    for _ in 0..5 {
                        let ran = sync_with(engine, options, &source, &destination).exits(0);
                        assert_eq!(ran.summary()["changing"], 0);
                        assert!(is_state(&fs::read(destination.join("db")).unwrap()), "a mixture");
                        let [copy, log] =
                            [&destination, &source].map(|tree| fs::read(tree.join("log")).unwrap());
                        assert!(log.starts_with(&copy), "no state");
                    }
                }
            });
        });
        drop(mapping);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        fs::remove_dir_all(place.join(format!("{engine}{size}"))).unwrap();
    }
}
