//! Sources that move while they are read, with all that a copy can be made with, and what such a copy must never be: an old
//! state by its time, or open to more than what was read.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::live::{CHANGE_START, GROW, SIZES, count, each};
use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, noise};
use crate::support::{ENGINES, assert_equal, assert_no_litter, meanwhile, program, run, scratch, sync_with};

tests![
    what_grows_is_kept_with_all_that_a_copy_can_be_made_with: [Need::Fuse],
    what_changes_is_taken_with_all_that_a_copy_can_be_made_with: [Need::Fuse],
    what_grew_by_being_written_anew_is_not_taken_for_the_old_one: [Need::Fuse],
    what_was_read_never_gets_the_mode_of_what_came_later: [Need::Fuse],
    a_mixture_runs_as_nobody_else: [Need::Fuse],
    what_is_written_in_place_is_for_those_who_had_the_file: [Need::Fuse],
    a_file_without_a_size_has_no_contents_for_a_moment,
    names_of_a_file_that_grows_stay_one_file,
];

/// The ways in which a copy is made and looked at, each with what grows and with what changes.
const WAYS: [&[&str]; 7] = [
    &["--partial"],
    &["--inplace"],
    &["--inplace", "--partial"],
    &["--verify"],
    &["--link-dest=../earlier"],
    &["--checksum"],
    &["--no-atomic", "--fsync", "--trust-append"],
];

/// A case for each way, with a mirror that is older and a manifest.
fn each_way(case: impl Fn(&Fuse, &[&str], &Path, &Path, &Path)) {
    for (number, way) in WAYS.iter().enumerate() {
        each(&SIZES[2..], |fuse, engine, _, source, destination| {
            let engine = format!("--engine={engine}");
            let home = destination.with_extension(number.to_string());
            let (source, destination) = (source.join(number.to_string()), home.join("dst"));
            let sums = home.join("sums");
            for tree in ["dst", "earlier"] {
                file(home.join(tree).join("f"), noise(9, 150_000));
            }
            let manifest = format!("--manifest={}", sums.display());
            case(fuse, &[&["--json", &engine, &manifest], *way].concat(), &source, &destination, &sums);
            assert_eq!(fs::read(home.join("earlier/f")).unwrap(), noise(9, 150_000));
            assert_no_litter(&home);
        });
    }
}

/// Requires that a manifest has the hashes of what is there.
fn assert_listed(sums: &Path, destination: &Path) {
    let mut verify = Command::new(program());
    verify.arg("verify").arg(sums).arg(destination);
    run(verify).exits(0);
}

fn what_grows_is_kept_with_all_that_a_copy_can_be_made_with() {
    each_way(|fuse, options, source, destination, sums| {
        let bytes = noise(1, 20 << 20);
        file(source.join("f"), &bytes);
        fuse.spoil(Call::Read, "f", GROW, usize::MAX);
        let ran = sync_with("auto", options, source, destination).exits(0);
        fuse.release();
        assert_eq!(count(&ran, "grew"), 1, "{options:?}");
        assert_eq!(fs::read(destination.join("f")).unwrap(), bytes, "{options:?}");
        assert_listed(sums, destination);
        let ran = sync_with("auto", options, source, destination).exits(0);
        assert_eq!((count(&ran, "grew"), count(&ran, "updated")), (0, 1), "{options:?}");
        assert_equal(source, destination);
    });
}

fn what_changes_is_taken_with_all_that_a_copy_can_be_made_with() {
    each_way(|fuse, options, source, destination, sums| {
        let bytes = noise(1, 20 << 20);
        file(source.join("f"), &bytes);
        fuse.spoil(Call::Read, "f", Effect::Change(CHANGE_START), usize::MAX);
        let taking = [options, &["--take-changing"]].concat();
        let ran = sync_with("auto", &taking, source, destination).exits(0);
        fuse.release();
        assert_eq!(count(&ran, "changing"), 1, "{options:?}");
        assert_eq!(fs::read(destination.join("f")).unwrap()[1..], bytes[1..], "{options:?}");
        assert!(fs::read_to_string(sums).unwrap().contains("# changing: f\n"), "{options:?}");
        assert_listed(sums, destination);
        let ran = sync_with("auto", options, source, destination).exits(0);
        assert_eq!((count(&ran, "changing"), count(&ran, "updated")), (0, 1), "{options:?}");
        assert_equal(source, destination);
    });
}

/// What begins a file that was emptied and written anew, longer, was never there at the old file's time.
fn what_grew_by_being_written_anew_is_not_taken_for_the_old_one() {
    each(&SIZES, |fuse, engine, size, source, destination| {
        let old = noise(1, size);
        file(source.join("f"), &old);
        modified(source.join("f"), 1_000_000, 0);
        let anew: fn(&mut Vec<u8>) = |bytes| *bytes = noise(2, bytes.len() + 1000);
        fuse.spoil(Call::Read, "f", Effect::Change(anew), 1);
        let ran = sync_with(engine, &["--json"], source, destination).exits(0);
        fuse.release();
        assert_eq!(count(&ran, "grew"), 1);
        file(source.join("f"), &old);
        modified(source.join("f"), 1_000_000, 0);
        sync_with(engine, &[], source, destination).exits(0);
        assert_equal(source, destination);
    });
}

/// Its owner hides a secret from the others, puts something else in its place when it has been read, and shows them that.
fn what_was_read_never_gets_the_mode_of_what_came_later() {
    each(&SIZES[..1], |fuse, engine, size, source, destination| {
        let secret = noise(1, size);
        file(source.join("f"), &secret);
        mode(source.join("f"), 0o600);
        fuse.spoil(Call::Read, "f", Effect::Mode(0o600), 1);
        fuse.change_after(2, "f", |bytes| bytes.fill(b'x'), 0o644);
        sync_with(engine, &[], source, destination).exits(0);
        fuse.release();
        let have = fs::metadata(destination.join("f")).unwrap().permissions().mode() & 0o777;
        assert_eq!(fs::read(source.join("f")).unwrap(), vec![b'x'; size]);
        assert!(fs::read(destination.join("f")).unwrap() != secret || have == 0o600, "{have:o}");
        sync_with(engine, &[], source, destination).exits(0);
        assert_equal(source, destination);
    });
}

fn a_mixture_runs_as_nobody_else() {
    each(&SIZES, |fuse, engine, size, source, destination| {
        file(source.join("f"), noise(1, size));
        mode(source.join("f"), 0o6755);
        fuse.spoil(Call::Read, "f", Effect::Change(CHANGE_START), usize::MAX);
        let ran = sync_with(engine, &["--take-changing", "--json"], source, destination).exits(0);
        fuse.release();
        assert_eq!(count(&ran, "changing"), 1);
        assert_eq!(fs::metadata(destination.join("f")).unwrap().permissions().mode() & 0o7777, 0o755);
        sync_with(engine, &[], source, destination).exits(0);
        assert_equal(source, destination);
    });
}

/// A reader who has DST's file open goes on seeing what was for them alone.
fn what_is_written_in_place_is_for_those_who_had_the_file() {
    each(&SIZES[1..], |fuse, engine, size, source, destination| {
        let old = noise(2, size);
        file(source.join("f"), noise(1, size));
        file(destination.join("f"), &old);
        for tree in [source, destination] {
            mode(tree.join("f"), 0o644);
        }
        let held = fs::File::open(destination.join("f")).unwrap();
        // From the first byte on it is its owner's.
        fuse.spoil(Call::Read, "f", Effect::Mode(0o600), usize::MAX);
        sync_with(engine, &["--inplace"], source, destination).exits(0);
        fuse.release();
        let mut seen = vec![0; size];
        held.read_exact_at(&mut seen, 0).unwrap();
        assert!(seen == old, "secrets were written to a file that others can read");
        assert_equal(source, destination);
    });
}

/// A file that is emptied and filled again and again, each time with other bytes: what is read of it while it has no size may be
/// of several times.
fn a_file_without_a_size_has_no_contents_for_a_moment() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("f"), "");
        let f = OpenOptions::new().write(true).open(source.join("f")).unwrap();
        let mut byte = 0_u8;
        let step = || {
            byte = byte.wrapping_add(1);
            f.write_all_at(&vec![byte; 3 << 20], 0).unwrap();
            f.set_len(0).unwrap();
        };
        meanwhile(step, || {
            for _ in 0..200 {
                fs::remove_dir_all(&destination).ok();
                let ran = sync_with(engine, &[], &source, &destination);
                if ran.code == Some(0) {
                    let mut copy = fs::read(destination.join("f")).unwrap();
                    copy.dedup();
                    assert!(copy.len() <= 1, "of several times: {copy:?}, {ran:?}");
                }
            }
        });
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn names_of_a_file_that_grows_stay_one_file() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("a/log"), noise(1, 4 << 20));
        for name in ["b/log", "c/log"] {
            fs::create_dir(source.join(name).parent().unwrap()).unwrap();
            fs::hard_link(source.join("a/log"), source.join(name)).unwrap();
        }
        let log = OpenOptions::new().append(true).open(source.join("a/log")).unwrap();
        meanwhile(
            || (&log).write_all(b"x").unwrap(),
            || {
                for _ in 0..20 {
                    let ran = sync_with(engine, &["--json"], &source, &destination).exits(0);
                    assert!(count(&ran, "grew") <= 1, "{}", ran.out);
                    let inode = |name: &str| fs::metadata(destination.join(name)).unwrap().ino();
                    assert_eq!([inode("a/log"); 2], [inode("b/log"), inode("c/log")], "{}", ran.out);
                }
            },
        );
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}
