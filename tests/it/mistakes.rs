//! What is easily typed by mistake is an error that says what to write, before anything is written.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::needs::tests;
use crate::support::tree::{file, noise, snapshot};
use crate::support::{ENGINES, Ran, program, run, scratch};

tests![
    another_machine_is_a_usage_error,
    a_local_file_with_a_colon_has_a_way_to_be_named,
    several_sources_for_sync_get_copy,
    one_dash_gets_the_other,
    options_of_other_commands_get_a_reason,
    a_dash_is_never_called_a_value,
    times_have_units,
    numbers_that_are_none_are_told_in_words,
    a_missing_source_is_named,
    a_manifest_of_another_place_is_told_in_a_line,
    a_reference_that_is_mistyped_is_told_under_quiet,
    the_closing_line_is_for_people,
];

/// The program in a directory, with these words.
fn ringsync(home: &Path, words: &str) -> Ran {
    let mut command = Command::new(program());
    command.args(words.split(' ')).current_dir(home);
    run(command)
}

#[track_caller]
fn refused(home: &Path, words: &str, code: i32, text: &str) {
    let before = snapshot(home);
    let ran = ringsync(home, words).exits(code);
    assert!(ran.err.contains(text), "{words}: {}", ran.err);
    assert_eq!(ran.out, "", "{words}");
    assert_eq!(snapshot(home), before, "{words}: nothing is written");
}

fn another_machine_is_a_usage_error() {
    let home = scratch();
    file(home.path().join("src/file"), "x");
    file(home.path().join("dst/file"), "x");
    file(home.path().join("sums"), "");
    for place in ["host:path", "host:", "user@host:path", "host::module", "rsync://host/path", "[::1]:path"] {
        for words in [
            format!("sync src {place}"),
            format!("sync {place} dst"),
            format!("sync -n src {place}"),
            format!("copy src {place} dst"),
            format!("copy --mkpath src {place}"),
            format!("check src {place}"),
            format!("check {place} dst"),
            format!("verify sums {place}"),
            format!("verify {place}"),
            format!("sync --backup-dir {place} src dst"),
            format!("sync --link-dest={place} src dst"),
            format!("sync --files-from {place} src dst"),
            format!("sync --manifest {place} src dst"),
            format!("bench --dir {place}"),
            format!("man {place}"),
        ] {
            refused(home.path(), &words, 1, &format!("written ./{place}, or as an absolute path"));
        }
    }
}

fn a_local_file_with_a_colon_has_a_way_to_be_named() {
    let home = scratch();
    file(home.path().join("host:path/file"), "x");
    ringsync(home.path(), "sync ./host:path ./other:path").exits(0);
    assert_eq!(fs::read(home.path().join("other:path/file")).unwrap(), b"x");
    let absolute = format!("{0}/host:path {0}/third:path", home.path().display());
    ringsync(home.path(), &format!("sync {absolute}")).exits(0);
    // A colon after the first slash, and elsewhere than in a place, is a colon.
    file(home.path().join("dir/a:b"), "x");
    ringsync(home.path(), "sync --exclude a:b --log-file 12:00.log dir dst").exits(0);
    assert!(home.path().join("12:00.log").exists() && !home.path().join("dst/a:b").exists());
}

fn several_sources_for_sync_get_copy() {
    let home = scratch();
    file(home.path().join("a/file"), "x");
    for words in ["sync a b c", "sync a b c d", "check a b c", "sync --delete a b c"] {
        let ran = ringsync(home.path(), words).exits(1);
        for part in ["takes one SRC and one DST, and 'c' is one more", "ringsync copy SRC... DIR", "quotes"] {
            assert!(ran.err.contains(part), "{words}: {}", ran.err);
        }
    }
    let ran = ringsync(home.path(), "sync -a a b c").exits(1);
    assert!(ran.err.starts_with("error: leave out -a"), "{}", ran.err);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

fn one_dash_gets_the_other() {
    let home = scratch();
    file(home.path().join("src/file"), "x");
    file(home.path().join("dst/file"), "x");
    for (words, right) in [
        ("sync -delete src dst", "--delete"),
        ("sync -dry-run src dst", "--dry-run"),
        ("sync -jobs 4 src dst", "--jobs"),
        ("sync -json src dst", "--json"),
        ("sync -fsync src dst", "--fsync"),
        ("sync -filter x src dst", "--filter"),
        ("sync -max-delete=5 --delete src dst", "--max-delete"),
        ("check -checksum src dst", "--checksum"),
        ("copy -mkpath src dst", "--mkpath"),
        ("verify -strict sums dst", "--strict"),
    ] {
        refused(home.path(), words, 1, &format!("has one dash, and needs two: {right}\n"));
    }
    refused(home.path(), "sync -archive src dst", 1, "leave out --archive");
}

fn options_of_other_commands_get_a_reason() {
    let home = scratch();
    for (words, reason) in [
        ("check -v a b", "check has no -v: it shows each difference already"),
        ("check -n a b", "check has no -n: it writes nothing"),
        ("check --delete a b", "check has no --delete: it deletes nothing, and shows what only DST has"),
        ("check --fsync a b", "check has no --fsync, which is an option of sync"),
        ("copy --delete a b", "copy has no --delete: it deletes nothing; sync --delete"),
        ("copy --files-from x a b", "copy has no --files-from: a list of paths is for one SRC"),
        ("copy -a a b", "leave out -a: ringsync always does"),
        ("verify -c sums", "verify has no -c: it checks in any case"),
        ("verify -v sums", "verify has no -v: it names each file already"),
    ] {
        let err = ringsync(home.path(), words).exits(1).err;
        assert!(err.starts_with(&format!("error: {reason}")), "{words}: {err}");
        assert!(!err.contains("tip: "), "{words}: {err}");
    }
}

fn a_dash_is_never_called_a_value() {
    let home = scratch();
    for words in [
        "sync -Q a b",
        "check -Q a b",
        "verify -Q a",
        "copy -Q a b",
        "bench -Q",
        "man -Q",
        "sync --delte a b",
    ] {
        let err = ringsync(home.path(), words).exits(1).err;
        assert!(!err.contains("as a value"), "{words}: {err}");
    }
}

fn times_have_units() {
    let home = scratch();
    file(home.path().join("src/file"), "x");
    for time in ["20", "20s", "5m", "1h"] {
        ringsync(home.path(), &format!("sync --timeout {time} src dst")).exits(0);
        ringsync(home.path(), &format!("sync --modify-window {time} src dst")).exits(0);
    }
    ringsync(home.path(), "sync -@ -1 src dst").exits(0);
    for time in ["5x", "five", "1.5h", "m", "5m30s"] {
        refused(
            home.path(),
            &format!("sync --timeout {time} src dst"),
            1,
            "not a time: a number of seconds, or one with a unit",
        );
        refused(home.path(), &format!("sync -@ {time} src dst"), 1, "not a time: ");
    }
    refused(home.path(), "sync --timeout 0 src dst", 1, "it takes 1 s at least");
}

fn numbers_that_are_none_are_told_in_words() {
    let home = scratch();
    for (words, text) in [
        ("sync -j many a b", "not a number from 1 to 64"),
        ("sync -j 0 a b", "not a number from 1 to 64"),
        ("sync --depth x a b", "not a number from 1 to 1024"),
        ("sync --delete --max-delete few a b", "neither a number of entries nor a share from 0% to 100%"),
        ("sync --delete --max-delete 101% a b", "neither a number of entries nor a share"),
        ("bench --dir . --runs x", "not a number from 1 to 65535"),
    ] {
        refused(home.path(), words, 1, text);
    }
}

fn a_missing_source_is_named() {
    let home = scratch();
    fs::create_dir(home.path().join("dst")).unwrap();
    symlink("gone", home.path().join("link")).unwrap();
    for (words, code, text) in [
        ("sync nothing dst", 3, "ringsync: SRC nothing does not exist\n"),
        ("sync no/thing new", 3, "ringsync: SRC no/thing does not exist\n"),
        ("check nothing dst", 3, "ringsync: SRC nothing does not exist\n"),
        ("check dst nothing", 3, "ringsync: DST nothing does not exist\n"),
        ("verify sums", 3, "ringsync: the manifest sums does not exist\n"),
        ("sync link dst", 3, "ringsync: use source link: it is a symlink to what does not exist\n"),
        ("sync dst link", 3, "ringsync: use destination link: link is a symlink to what does not exist\n"),
        (
            "sync dst link/new",
            3,
            "ringsync: use destination link/new: link is a symlink to what does not exist\n",
        ),
    ] {
        refused(home.path(), words, code, text);
    }
    let ran = ringsync(home.path(), "copy nothing dst").exits(23);
    assert_eq!(ran.err, "ringsync: SRC nothing does not exist\n");
}

fn a_manifest_of_another_place_is_told_in_a_line() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        for index in 0..2000 {
            file(home.path().join(format!("src/d{}/file{index}", index % 9)), "x");
        }
        let verify = |words: &str| ringsync(home.path(), &format!("verify --engine {engine} {words}"));
        ringsync(home.path(), "sync --manifest sums src dst").exits(0);
        let ran = verify("sums").exits(23);
        let advice = "none of the 2,000 files of sums is in the working directory: name the directory that its paths \
            start at, ringsync verify sums DIR";
        assert_eq!((ran.out.as_str(), ran.err.lines().count()), ("", 2), "{}", ran.err);
        assert!(ran.err.contains(advice), "{}", ran.err);
        assert!(ran.err.contains("2,000 missing"), "{}", ran.err);
        let ran = verify("-q sums dst/d1").exits(23);
        assert!(
            ran.err.contains("of sums is in dst/d1: its paths start at another directory"),
            "{}",
            ran.err
        );
        verify("-q sums dst").exits(0);
        let json = verify("--json sums").exits(23).json();
        assert_eq!(json.iter().filter(|line| line["result"] == "missing").count(), 2000, "JSON has each");
        // One that is there shows that the others are missing.
        fs::create_dir(home.path().join("d1")).unwrap();
        fs::copy(home.path().join("dst/d1/file1"), home.path().join("d1/file1")).unwrap();
        assert_eq!(verify("sums").exits(23).out.lines().count(), 2000);
        // Nor is a single file a sign.
        file(
            home.path().join("one"),
            fs::read_to_string(home.path().join("sums")).unwrap().lines().next().unwrap(),
        );
        fs::remove_dir_all(home.path().join("d1")).unwrap();
        assert!(verify("one").exits(23).out.contains("FAILED (No such file"));
    }
}

fn a_reference_that_is_mistyped_is_told_under_quiet() {
    let home = scratch();
    file(home.path().join("src/file"), "x");
    let snapshots = home.path().join("snapshots");
    fs::create_dir(&snapshots).unwrap();
    // The first of a series, into a directory that a run before it has left unfinished.
    for _ in 0..2 {
        let ran = ringsync(home.path(), "sync -q --link-dest ../latest src snapshots/one").exits(0);
        assert_eq!(ran.err, "");
    }
    symlink("gone", snapshots.join("latest")).unwrap();
    let told = "ringsync: --link-dest ../latest does not exist, seen from DST, though there are other trees beside it: \
                nothing is linked to it\n";
    for options in ["-q", "-q -n"] {
        let words = format!("sync {options} --link-dest ../latest src snapshots/two");
        assert_eq!(ringsync(home.path(), &words).exits(0).err, told);
    }
    // Programs are told in the first line.
    let ran = ringsync(home.path(), "sync -q --json --link-dest ../latest src snapshots/two").exits(0);
    assert_eq!(ran.json()[0]["missing"], serde_json::json!([{"path": "snapshots/two/../latest"}]));
    assert_eq!(ran.err, "");
    let right = ringsync(home.path(), "sync -q --link-dest ../one src snapshots/three").exits(0);
    assert_eq!(right.err, "");
}

fn the_closing_line_is_for_people() {
    let home = scratch();
    file(home.path().join("src/file"), noise(1, 3 << 20));
    let ran = ringsync(home.path(), "sync --log-file log src dst").exits(0);
    assert!(ran.out.starts_with("2 created; 3.00 MiB"), "{}", ran.out);
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    assert!(log.lines().last().unwrap().contains("] 2 created; 3.00 MiB"), "{log}");
    let ran = ringsync(home.path(), "sync --no-human-readable src other").exits(0);
    assert!(ran.out.starts_with("2 created; 3145728 B"), "{}", ran.out);
    let ran = ringsync(home.path(), "check -c src dst").exits(0);
    assert!(ran.out.starts_with("2 equal; 3.00 MiB"), "{}", ran.out);
    let slow = ringsync(home.path(), "sync --bwlimit 12M src slow").exits(0);
    assert!(slow.out.contains(" at ") && slow.out.contains("MiB/s"), "{}", slow.out);
}
