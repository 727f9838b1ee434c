//! `--delete` between two trees that have nothing in common: swapped arguments, or another disk than was meant.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, snapshot};
use crate::support::{ENGINES, Ran, scratch, sync_with};

tests![
    two_trees_with_nothing_in_common_are_refused,
    a_dry_run_and_json_say_the_same,
    one_name_in_common_is_enough,
    what_is_not_deleted_is_no_sign,
    mounted_disks_are_no_sign: [Need::Root],
    what_both_disks_have_is_no_sign,
    nothing_of_it_is_about_other_runs,
];

/// Runs that must be refused, and leave everything as it was.
#[track_caller]
fn refused(engine: &str, options: &[&str], source: &Path, destination: &Path) -> Ran {
    let before = [source, destination].map(snapshot);
    let options = [&["--delete"], options].concat();
    let ran = sync_with(engine, &options, source, destination).exits(25);
    assert!(ran.err.contains("nothing is written or deleted, since "), "{}", ran.err);
    assert_eq!([source, destination].map(snapshot), before, "{options:?}");
    ran
}

fn two_trees_with_nothing_in_common_are_refused() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("new/file"), "x");
        for name in ["a", "b", "c", "d"] {
            file(destination.join(name).join("photo"), "precious");
        }
        fs::create_dir(destination.join("lost+found")).unwrap();
        let ran = refused(engine, &[], &source, &destination);
        assert!(
            ran.err.contains("of the 4 entries at its top that could be deleted none is in SRC ("),
            "{}",
            ran.err
        );
        assert!(ran.err.contains(", ...)") && ran.err.contains("--max-delete 100%"), "{}", ran.err);
        assert!(ran.out.starts_with("nothing done; "), "{}", ran.out);
        refused(engine, &["--max-delete=99%"], &source, &destination);
        refused(engine, &["--max-delete=1000"], &source, &destination);
        refused(engine, &["--delete-excluded", "--exclude=new"], &destination, &source);
        refused(engine, &["--timeout=20", "--engine=threads"], &source, &destination);
        let manifest = home.path().join("sums");
        refused(engine, &["--manifest", manifest.to_str().unwrap()], &source, &destination);
        assert!(!manifest.exists());
        sync_with(engine, &["--delete", "--max-delete=100%"], &source, &destination).exits(0);
        assert!(destination.join("new/file").exists() && !destination.join("a").exists());
    }
}

fn a_dry_run_and_json_say_the_same() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("new"), "x");
    file(destination.join("old"), "x");
    let ran = refused("auto", &["-n"], &source, &destination);
    assert!(
        ran.err.contains("the only entry at its top that could be deleted is not in SRC (old)"),
        "{}",
        ran.err
    );
    let log = home.path().join("log");
    let ran = refused("auto", &["--json", "--log-file", log.to_str().unwrap()], &source, &destination);
    let lines = ran.json();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&"start".into(), &"error".into()));
    assert_eq!(ran.summary()["outcome"], "deletion-refused");
    assert_eq!(ran.summary()["exit_code"], 25);
    assert!(fs::read_to_string(log).unwrap().contains("] error: delete from "));
}

fn one_name_in_common_is_enough() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("new"), "x");
        file(source.join("both"), "x");
        file(destination.join("old"), "x");
        fs::create_dir_all(destination.join("both")).unwrap();
        sync_with(engine, &["--delete"], &source, &destination).exits(0);
        assert!(!destination.join("old").exists());
        // A name that is hidden in the source shows as well that this is its mirror.
        let hidden = home.path().join("hidden");
        file(hidden.join("both/x"), "x");
        sync_with(engine, &["--delete", "--filter=H both"], &source, &hidden).exits(0);
        assert!(!hidden.join("both").exists());
        // So does a symlink that leads nowhere.
        symlink("nowhere", source.join("link")).unwrap();
        let linked = home.path().join("linked");
        file(linked.join("link"), "x");
        sync_with(engine, &["--delete"], &source, &linked).exits(0);
    }
}

fn what_is_not_deleted_is_no_sign() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        file(source.join("new"), "x");
        let first_run = |name: &str, kept: &[&str], options: &[&str]| {
            let destination = home.path().join(name);
            fs::create_dir(&destination).unwrap();
            kept.iter().for_each(|kept| file(destination.join(kept), "x"));
            sync_with(engine, &[&["--delete"], options].concat(), &source, &destination).exits(0);
            assert!(destination.join("new").exists());
            kept.iter().for_each(|kept| assert!(destination.join(kept).exists(), "{kept}"));
            fs::remove_dir_all(&destination).unwrap();
        };
        first_run("dst", &[], &[]);
        first_run("dst", &["keep"], &["--filter=P keep"]);
        first_run("dst", &["a.o", "dir/a.o"], &["--exclude=*.o", "--exclude=dir"]);
        first_run("dst", &[".rules", "keep"], &["--filter=P .rules", "--filter=P keep"]);
        first_run("dst", &["old/versions"], &["--backup-dir=old"]);
        first_run("dst", &["file~"], &["--backup"]);
        let log = home.path().join("dst/log");
        first_run("dst", &[], &["--log-file", log.to_str().unwrap()]);
        let rules = home.path().join("dst/.keep");
        fs::create_dir(home.path().join("dst")).unwrap();
        file(&rules, "P keep\nP .keep\n");
        file(home.path().join("dst/keep"), "x");
        sync_with(engine, &["--delete", "--filter=: .keep"], &source, &home.path().join("dst")).exits(0);
        assert!(rules.exists() && home.path().join("dst/keep").exists());
        // What a killed run left is the program's own.
        let left = home.path().join("left");
        fs::create_dir(&left).unwrap();
        file(left.join("other"), "x");
        refused(engine, &[], &source, &left);
    }
}

fn mounted_disks_are_no_sign() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("new"), "x");
    fs::create_dir_all(destination.join("disk")).unwrap();
    let disk = Mount::tmpfs_at(&destination.join("disk"), "1M");
    file(disk.path().join("file"), "x");
    refused("auto", &[], &source, &destination);
    sync_with("auto", &["--delete", "-x"], &source, &destination).exits(0);
    assert!(disk.path().join("file").exists());
}

fn what_both_disks_have_is_no_sign() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for tree in [&source, &destination] {
        fs::create_dir_all(tree.join("lost+found")).unwrap();
    }
    // A disk that was just made is to become a mirror, but nobody's source.
    file(source.join("new"), "x");
    refused("auto", &[], &destination, &source);
    sync_with("auto", &["--delete"], &source, &destination).exits(0);
    assert!(destination.join("new").exists());
    fs::rename(source.join("new"), source.join("renamed")).unwrap();
    refused("auto", &[], &source, &destination);
}

fn nothing_of_it_is_about_other_runs() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("new"), "x");
    file(destination.join("old"), "x");
    sync_with("auto", &[], &source, &destination).exits(0);
    fs::remove_file(destination.join("new")).unwrap();
    // One file, and a new destination.
    sync_with("auto", &["--delete"], &source.join("new"), &destination).exits(0);
    assert!(destination.join("old").exists() && destination.join("new").exists());
    sync_with("auto", &["--delete"], &source, &home.path().join("fresh")).exits(0);
    // An empty source has a guard of its own, and an option that lifts it.
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let ran = sync_with("auto", &["--delete"], &empty, &destination).exits(25);
    assert!(ran.err.contains("--allow-empty-source"), "{}", ran.err);
    sync_with("auto", &["--delete", "--allow-empty-source"], &empty, &destination).exits(0);
}
