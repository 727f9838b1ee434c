//! When a run deletes, and what it deletes where something fails: `--delete-before`, `--ignore-errors`, `--force`, and rsync's own
//! rules under `ringsync rsync`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::changed::mirror;
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, noise, snapshot};
use crate::support::user::{ALICE, as_alice, give_tree, program_of_alice};
use crate::support::{ENGINES, Ran, assert_equal, program, run, scratch, sync_with};

tests![
    what_is_deleted_before_makes_room: [Need::Root],
    a_mirror_becomes_exact_before_and_after,
    the_guards_hold_before_too,
    a_dry_run_tells_what_goes_before,
    rules_protect_before_too,
    an_unread_directory_protects_what_is_beneath_before_too: [Need::Root, Need::Tool("setpriv")],
    errors_that_are_ignored_protect_nothing: [Need::Root, Need::Tool("setpriv")],
    an_error_stops_all_deletions_of_rsync: [Need::Root, Need::Tool("setpriv"), Need::Tool("rsync")],
    a_directory_makes_way_by_force,
    what_is_deleted_up_to_a_limit_is_what_rsync_deletes: [Need::Tool("rsync")],
];

fn what_is_deleted_before_makes_room() {
    const SIZE: usize = 5 << 20;
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        file(source.join("dir/new"), noise(1, SIZE));
        let disk = Mount::new("tmpfs", "8m");
        let destination = disk.path().join("dst");
        file(destination.join("dir/old"), noise(2, SIZE));
        sync_with(engine, &["--delete"], &source, &destination).exits(11);
        assert!(destination.join("dir/old").exists() && !destination.join("dir/new").exists());
        sync_with(engine, &["--delete-before"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

/// Trees of which the destination has more, at each level.
fn build(home: &Path) -> (PathBuf, PathBuf) {
    let (source, destination) = mirror(home, |source| {
        for name in ["a", "dir/b", "dir/sub/c", "other/d"] {
            file(source.join(name), name);
        }
    });
    for name in ["extra", "dir/extra", "dir/sub/extra/deep/1", "dir/sub/extra/2", "more/x", "more/y"] {
        file(destination.join(name), name);
    }
    file(source.join("new/e"), "e");
    (source, destination)
}

fn a_mirror_becomes_exact_before_and_after() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = build(home.path());
        // A directory in the way of a file goes after all.
        fs::remove_file(destination.join("a")).unwrap();
        file(destination.join("a/in the way"), "x");
        let ran = sync_with(engine, &["--delete-before", "--json"], &source, &destination).exits(0);
        // Nine that are extra, and two in the way.
        assert_eq!(ran.summary()["deleted"], 11, "{}", ran.out);
        assert_equal(&source, &destination);
        let again = sync_with(engine, &["--delete-before", "--json"], &source, &destination).exits(0);
        assert_eq!(again.summary()["deleted"], 0);
    }
}

fn the_guards_hold_before_too() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = build(home.path());
        let extra = ["extra", "dir/extra", "dir/sub/extra/deep/1", "more/y"];
        let ran = sync_with(engine, &["--delete-before", "--max-delete=8"], &source, &destination).exits(25);
        assert!(ran.err.contains("nothing is deleted: it would be 9,"), "{}", ran.err);
        assert!(extra.iter().all(|name| destination.join(name).exists()));
        assert!(destination.join("new/e").exists(), "the rest is copied all the same");
        sync_with(engine, &["--delete-before", "--max-delete=9"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        let empty = home.path().join("empty");
        fs::create_dir(&empty).unwrap();
        sync_with(engine, &["--delete-before"], &empty, &destination).exits(25);
        assert!(destination.join("dir/b").exists());
    }
}

fn a_dry_run_tells_what_goes_before() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = build(home.path());
        let before = snapshot(&destination);
        let preview = sync_with(engine, &["--delete-before", "-n", "-i"], &source, &destination).exits(0);
        assert_eq!(snapshot(&destination), before);
        let done = sync_with(engine, &["--delete-before", "-i"], &source, &destination).exits(0);
        let deleted = |ran: &Ran| {
            let mut lines: Vec<String> =
                ran.out.lines().filter(|line| line.starts_with("*deleting")).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(deleted(&preview), deleted(&done));
        assert_eq!(deleted(&done).len(), 9);
    }
}

fn rules_protect_before_too() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = build(home.path());
        file(destination.join("other/.rules"), "P kept\n");
        file(destination.join("other/kept"), "by a rule that only DST has");
        file(source.join("dir/hidden"), "hidden");
        file(destination.join("dir/hidden"), "hidden before");
        let options = ["--delete-before", "--exclude=extra", "--filter=: .rules", "--exclude=hidden"];
        sync_with(engine, &options, &source, &destination).exits(0);
        for name in ["extra", "dir/extra", "dir/sub/extra/2", "other/kept", "dir/hidden"] {
            assert!(destination.join(name).exists(), "{name}");
        }
        assert!(!destination.join("more").exists());
        let options = ["--delete-before", "--delete-excluded", "--exclude=hidden"];
        sync_with(engine, &options, &source, &destination).exits(0);
        assert!(!destination.join("dir/hidden").exists() && !destination.join("extra").exists());
    }
}

/// A source of which alice can't list one directory, and a destination that has more there and elsewhere.
fn unlisted(home: &Path) -> (PathBuf, PathBuf) {
    mode(home, 0o777);
    let (source, destination) = mirror(home, |source| {
        for name in ["closed/file", "closed/sub/file", "open/file"] {
            file(source.join(name), name);
        }
    });
    for name in ["closed/extra", "closed/sub/extra", "open/extra", "extra"] {
        file(destination.join(name), name);
    }
    give_tree(home, ALICE);
    mode(source.join("closed"), 0);
    (source, destination)
}

fn an_unread_directory_protects_what_is_beneath_before_too() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = unlisted(home.path());
        let ran = as_alice(&["sync", "--delete-before", "--engine", engine], &source, &destination).exits(23);
        for name in ["closed/file", "closed/extra", "closed/sub/extra"] {
            assert!(destination.join(name).exists(), "{name}: {}", ran.err);
        }
        assert!(!destination.join("open/extra").exists() && !destination.join("extra").exists());
        assert_eq!(ran.err.matches("closed").count(), 1, "it is told once: {}", ran.err);
    }
}

fn errors_that_are_ignored_protect_nothing() {
    for &engine in ENGINES.iter() {
        for when in ["--delete", "--delete-before"] {
            let home = scratch();
            let (source, destination) = unlisted(home.path());
            let words = ["sync", when, "--ignore-errors", "--filter=P /closed/file", "--engine", engine];
            let ran = as_alice(&words, &source, &destination).exits(23);
            for name in ["closed/extra", "closed/sub", "open/extra", "extra"] {
                assert!(!destination.join(name).exists(), "{when}: {name}: {}", ran.err);
            }
            assert!(destination.join("closed/file").exists(), "{when}: a rule protects it");
        }
    }
}

fn an_error_stops_all_deletions_of_rsync() {
    for options in [
        "-a --delete-before",
        "-a --delete-after",
        "-a --delete-after --ignore-errors",
        "-a --delete-before --ignore-errors",
    ] {
        let trees = [true, false].map(|is_ours| {
            let home = scratch();
            let (source, destination) = unlisted(home.path());
            let mut command = match is_ours {
                true => {
                    let mut command = program_of_alice();
                    command.arg("rsync");
                    command
                }
                false => {
                    let mut command = crate::support::user::user(ALICE);
                    command.arg("rsync");
                    command
                }
            };
            command.args(options.split(' ')).arg(source.join("")).arg(destination.join(""));
            let ran = run(command).exits(23);
            let told = ran.out.contains("IO error encountered -- skipping file deletion");
            (snapshot(&destination).into_keys().collect::<Vec<_>>(), told)
        });
        assert_eq!(trees[0], trees[1], "{options}");
    }
}

fn a_directory_makes_way_by_force() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |path: &str| home.path().join(path);
        file(at("src/dir/f"), "a file");
        file(at("dst/dir/f/x/y"), "in its way");
        file(at("dst/extra"), "stays");
        sync_with(engine, &[], &at("src"), &at("dst")).exits(23);
        sync_with(engine, &["--force"], &at("src"), &at("dst")).exits(0);
        assert_eq!(fs::read_to_string(at("dst/dir/f")).unwrap(), "a file");
        assert!(at("dst/extra").exists(), "nothing else is deleted");
        // Several sources, and one file alone.
        file(at("into/src/dir/f/x"), "in its way");
        file(at("into/f/x"), "in its way");
        let mut command = Command::new(program());
        command.args(["copy", "--force", "--engine", engine]).args([at("src"), at("src/dir/f"), at("into")]);
        run(command).exits(0);
        assert_eq!(fs::read_to_string(at("into/src/dir/f")).unwrap(), "a file");
        assert_eq!(fs::read_to_string(at("into/f")).unwrap(), "a file");
        file(at("one/x"), "in its way");
        fs::remove_file(at("dst/dir/f")).unwrap();
        file(at("dst/dir/f/x"), "in its way");
        sync_with(engine, &["--force"], &at("src/dir/f"), &at("dst/dir")).exits(0);
        assert_eq!(fs::read_to_string(at("dst/dir/f")).unwrap(), "a file");
    }
}

/// Which ones go, and which stay, is rsync's choice.
fn what_is_deleted_up_to_a_limit_is_what_rsync_deletes() {
    for limit in -1..11 {
        for when in ["--delete", "--delete-after"] {
            let option = format!("--max-delete={limit}");
            let [ours, theirs] = [true, false].map(|is_ours| {
                let home = scratch();
                let (source, destination) = build(home.path());
                let mut command = Command::new(if is_ours { program() } else { "rsync".into() });
                command.args(is_ours.then_some("rsync"));
                command.args(["-ai", when, &option]).arg(source.join("")).arg(destination.join(""));
                let ran = run(command);
                let mut lines: Vec<String> = ran.out.lines().map(str::to_owned).collect();
                lines.retain(|line| !line.starts_with(".d"));
                lines.sort();
                let told = ran.err.lines().next().unwrap_or_default().to_owned();
                (snapshot(&destination).into_keys().collect::<Vec<_>>(), ran.code, lines, told)
            });
            assert_eq!(ours, theirs, "{when} {option}");
        }
    }
}
