//! What a run says beside its errors: how much was shared, what is no news, and what stays although nobody would think so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::changed::mirror;
use crate::support::fuse::{Call, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified};
use crate::support::{ENGINES, Ran, await_of, finish, program, rsync, scratch, sync_with};

tests![
    the_summary_tells_how_many_files_were_linked,
    directories_that_an_earlier_tree_has_are_no_news: [Need::Root, Need::Tool("rsync")],
    what_stays_below_a_mount_point_is_told_once: [Need::Root],
    what_vanishes_is_no_failure: [Need::Fuse],
];

fn the_summary_tells_how_many_files_were_linked() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, older) = mirror(home.path(), |source| {
            for name in ["a", "b", "dir/c", "dir/d"] {
                file(source.join(name), name);
            }
            fs::hard_link(source.join("a"), source.join("further")).unwrap();
            symlink("a", source.join("link")).unwrap();
        });
        file(source.join("dir/d"), "changed");
        file(source.join("new"), "new");
        let sync = |options: &[&str], name: &str| {
            sync_with(engine, &[&["--link-dest=../dst"], options].concat(), &source, &home.path().join(name))
                .exits(0)
        };
        let dry = sync(&["-n"], "new");
        assert!(dry.out.contains("; linked 4 of 6 files; "), "{}", dry.out);
        let ran = sync(&["--log-file", home.path().join("log").to_str().unwrap()], "new");
        assert!(ran.out.contains("; linked 4 of 6 files; "), "{}", ran.out);
        let log = fs::read_to_string(home.path().join("log")).unwrap();
        assert!(log.contains("; linked 4 of 6 files; "), "{log}");
        let json = sync(&["--json"], "json").summary();
        assert_eq!(json["link_dest"], serde_json::json!({ "linked": 4, "files": 6 }));
        // What is there already could not have been linked.
        file(source.join("one more"), "x");
        let again = sync(&[], "new");
        assert!(again.out.contains("; linked 0 of 1 file; "), "{}", again.out);
        assert_eq!(sync(&["--json"], "new").summary()["link_dest"]["files"], 0);
        let without = sync_with(engine, &["--json"], &source, &older).exits(0);
        assert!(without.summary().get("link_dest").is_none(), "{}", without.out);
    }
}

/// The lines of an itemised list that are about directories, in the order of paths, but for DST's own top, which rsync compares
/// with what it has just made.
fn directories(list: &str) -> Vec<&str> {
    let is_wanted = |line: &&str| line.get(1..2) == Some("d") && !line.ends_with(" ./");
    let mut lines: Vec<&str> = list.lines().filter(is_wanted).collect();
    lines.sort_by_key(|line| line.get(12..).unwrap_or_default().to_owned());
    lines
}

fn directories_that_an_earlier_tree_has_are_no_news() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, _) = mirror(home.path(), |source| {
            for name in ["same/deep/file", "touched/file", "opened/file", "changed/file"] {
                file(source.join(name), name);
            }
        });
        file(source.join("changed/file"), "another");
        file(source.join("new/file"), "new");
        mode(source.join("opened"), 0o700);
        modified(source.join("touched"), 1_000_000, 5);
        modified(source.join("changed"), 1_000_000, 5);
        let sync = |options: &[&str], name: &str| {
            let options = [&["--link-dest=../dst"], options].concat();
            sync_with(engine, &options, &source, &home.path().join(name)).exits(0)
        };
        let dry = sync(&["-n", "-i"], "ours");
        let log = home.path().join("log");
        let ours = sync(&["-i", "--log-file", log.to_str().unwrap()], "ours");
        let theirs = rsync(&["-i", "--link-dest=../dst"], &source, &home.path().join("theirs"));
        let wanted =
            ["cd..t...... changed/", "cd+++++++++ new/", "cd...p..... opened/", "cd..t...... touched/"];
        assert_eq!(directories(&ours.out), wanted, "{}", ours.out);
        assert_eq!(directories(&dry.out), wanted, "{}", dry.out);
        assert_eq!(directories(&theirs), wanted, "{theirs}");
        let log = fs::read_to_string(log).unwrap();
        let listed: Vec<&str> =
            log.lines().filter_map(|line| line.split_once("] ")).map(|(_, text)| text).collect();
        assert_eq!(directories(&listed.join("\n")), wanted, "{log}");
        let all = sync(&["-ii"], "all");
        assert!(all.out.contains("cd          same/deep/\n"), "{}", all.out);
        let json = sync(&["--json"], "json");
        assert_eq!(json.summary()["created"], 9, "{}", json.out);
    }
}

fn what_stays_below_a_mount_point_is_told_once() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            for name in ["file", "mnt/one", "mnt/dir/two", "empty/x"] {
                file(source.join(name), name);
            }
        });
        fs::remove_file(destination.join("empty/x")).unwrap();
        let _mounts = ["mnt", "empty"].map(|name| Mount::tmpfs_at(&source.join(name), "1M"));
        let told = |options: &[&str]| {
            let ran = sync_with(engine, options, &source, &destination).exits(0);
            let is_told = |line: &&str| line.contains(" keeps what it has ");
            ran.err.lines().filter(is_told).map(str::to_owned).collect::<Vec<_>>()
        };
        let line = format!(
            "ringsync: {} keeps what it has (2 entries), since -x does not read it in SRC",
            destination.join("mnt").display()
        );
        for options in [&["-x", "--delete"][..], &["-x", "--delete", "-n"], &["-x", "--delete", "--json"]] {
            assert_eq!(told(options), [line.as_str()], "{options:?}");
        }
        assert!(told(&["-x"]).is_empty() && told(&["-x", "--delete", "-q"]).is_empty());
        assert!(Path::new(&destination.join("mnt/dir/two")).exists());
    }
}

/// A run from a source of which a file and a directory vanish after they were listed.
fn with_losses(engine: &str, options: &[&str]) -> Ran {
    let (fuse, home) = (Fuse::new(), scratch());
    let source = fuse.path().join("src");
    for name in ["a/f", "moved/deep/f", "moved/g", "vanishes"] {
        file(source.join(name), name);
    }
    fuse.hold(Call::Readdir, "a");
    let mut command = Command::new(program());
    command.args(["sync", "--engine", engine]).args(options).arg(&source).arg(home.path().join("dst"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    await_of(&mut child, "the first directory is listed", || fuse.held() > 0);
    fs::rename(source.join("moved"), fuse.path().join("moved")).unwrap();
    fs::remove_file(source.join("vanishes")).unwrap();
    fuse.release();
    finish(child, Duration::from_secs(60)).exits(24)
}

fn what_vanishes_is_no_failure() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let log = home.path().join("log");
        let ran = with_losses(engine, &["-v", "--log-file", log.to_str().unwrap()]);
        let told = ": it vanished from SRC during the run";
        assert_eq!(ran.err.lines().filter(|line| line.ends_with(told)).count(), 2, "{}", ran.err);
        let closing = ran.out.lines().last().unwrap();
        assert!(closing.contains(", 2 vanished;"), "{closing}");
        assert!(!closing.contains("error") && !closing.contains("failed"), "{closing}");
        assert!(
            ran.out.contains("vanished  moved/\n") && ran.out.contains("vanished  vanishes\n"),
            "{}",
            ran.out
        );
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains(told) && !log.contains("error"), "{log}");
        let ran = with_losses(engine, &["--json"]);
        let summary = ran.summary();
        let counts = ["vanished", "failed", "errors", "skipped"].map(|key| summary[key].as_u64());
        assert_eq!(counts, [Some(2), Some(0), Some(0), Some(0)], "{}", ran.out);
        assert_eq!(ran.out.matches(r#""action":"vanished""#).count(), 2, "{}", ran.out);
        assert!(!ran.out.contains(r#""event":"error""#), "{}", ran.out);
    }
}
