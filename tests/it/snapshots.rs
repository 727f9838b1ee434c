//! Snapshots: what is taken is whole, shares what did not change, and goes only by rules.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::schema::assert_lines_described;
use crate::support::mount::{Image, Mount};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, noise, xattr};
use crate::support::user::{ALICE, give_tree, program_of_alice};
use crate::support::{Ran, assert_equal, await_of, finish, program, program_with, run, scratch, tool};

tests![
    what_did_not_change_is_one_more_hard_link,
    several_sources_lie_under_their_own_names,
    a_change_of_shape_is_refused,
    a_source_that_is_gone_makes_no_snapshot,
    what_can_not_be_read_makes_it_partial: [Need::Root, Need::Tool("setpriv")],
    a_full_disk_makes_none_and_the_next_one_goes_on: [Need::Root],
    a_kill_at_any_moment_leaves_whole_snapshots_alone,
    one_run_at_a_time_is_at_work,
    names_are_taken_once_and_go_only_by_name,
    rules_decide_what_goes,
    more_than_half_goes_only_if_told_to,
    read_only_directories_are_no_hindrance: [Need::Root, Need::Tool("setpriv")],
    a_newer_record_is_refused_and_nothing_is_changed,
    what_was_not_flushed_before_a_new_start_is_compared,
    what_nobody_can_use_leaves_nothing_behind,
    a_store_of_somebody_else_is_refused: [Need::Root],
    a_removal_makes_few_calls_besides: [Need::Tool("strace")],
    what_is_mounted_in_a_snapshot_stays: [Need::Root],
    a_snapshot_that_can_not_be_renamed_keeps_no_other: [Need::Root],
    a_full_disk_can_be_pruned: [Need::FileSystem("ext4")],
    what_can_not_be_listed_keeps_no_other: [Need::Root, Need::Tool("setpriv")],
    a_snapshot_out_of_reach_is_not_forgotten,
    what_a_killed_run_had_written_down_is_known,
    a_second_kill_loses_nothing_either: [Need::Tool("strace")],
    two_runs_never_share_a_lock: [Need::Tool("strace")],
    lines_of_json_are_as_described,
    whole_and_durable_on_ext4: [Need::FileSystem("ext4")],
];

pub fn snapshot(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(program());
    command.arg("snapshot").args(arguments.iter().map(|argument| argument.as_ref()));
    command
}

pub fn take(source: &Path, store: &Path, options: &[&str], code: i32) -> Ran {
    let mut command = snapshot(&[&"take", &source, &store]);
    command.args(options);
    run(command).exits(code)
}

/// The name of the snapshot that a run has taken.
pub fn name_of(ran: &Ran) -> String {
    let line = ran.out.lines().find(|line| line.starts_with("snapshot ")).unwrap();
    line["snapshot ".len()..].split(':').next().unwrap().to_owned()
}

/// What `list` tells of each.
pub fn list(store: &Path) -> Vec<serde_json::Value> {
    run(snapshot(&[&"list", &"--json", &store])).exits(0).json()
}

pub fn names(store: &Path) -> Vec<String> {
    list(store).iter().map(|record| record["name"].as_str().unwrap().to_owned()).collect()
}

/// The directories of a store that are no files of its own.
pub fn directories(store: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| !path.is_symlink() && !path.ends_with(".ringsync"));
    found.sort();
    found
}

/// What is ours in a store that nobody is at work in.
pub fn assert_tidy(store: &Path) {
    let mut own: Vec<_> =
        fs::read_dir(store.join(".ringsync")).unwrap().map(|own| own.unwrap().file_name()).collect();
    own.sort();
    assert_eq!(own, ["doomed", "lock", "manifests", "nothing", "snapshots.jsonl"]);
    assert_eq!(fs::read_dir(store.join(".ringsync/doomed")).unwrap().count(), 0);
}

pub fn inode(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

pub fn source(home: &Path) -> PathBuf {
    let source = home.join("src");
    for number in 0..20 {
        file(source.join(format!("d{}/f{number}", number % 3)), noise(number, 1000));
    }
    mode(source.join("d0/f0"), 0o640);
    symlink("d0/f0", source.join("link")).unwrap();
    fs::hard_link(source.join("d0/f0"), source.join("d1/again")).unwrap();
    source
}

fn what_did_not_change_is_one_more_hard_link() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    xattr(source.join("d0/f3"), "user.a", b"1");
    let first = store.join(name_of(&take(&source, &store, &[], 0)));
    assert_equal(&source, &first);
    file(source.join("d0/f3"), "new");
    mode(source.join("d1/f1"), 0o600);
    fs::remove_file(source.join("d2/f2")).unwrap();
    let second = store.join(name_of(&take(&source, &store, &[], 0)));
    assert_equal(&source, &second);
    assert_eq!(inode(first.join("d0/f0")), inode(second.join("d0/f0")));
    assert_eq!(inode(second.join("d1/again")), inode(second.join("d0/f0")));
    for changed in ["d0/f3", "d1/f1"] {
        assert_ne!(inode(first.join(changed)), inode(second.join(changed)), "{changed}");
    }
    assert!(first.join("d2/f2").exists(), "the older one has what it had");
    assert_eq!(fs::read_link(store.join("latest")).unwrap(), Path::new(second.file_name().unwrap()));
    let records = list(&store);
    let bytes = |number: usize, key| records[number][format!("bytes{key}")].as_u64().unwrap();
    assert_eq!((bytes(0, "_linked"), bytes(0, "_cloned")), (0, 0));
    assert_eq!((bytes(1, "_copied"), bytes(1, "_cloned")), (3 + 1000, 0));
    // Another name of one file is the one thing that is shared with none before.
    let again = fs::metadata(source.join("d1/again")).unwrap().len();
    assert_eq!(bytes(1, "_linked"), bytes(1, "") - 3 - 1000 - again);
    let table = run(snapshot(&[&"list", &store])).exits(0).out;
    let columns: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(columns[0], ["SNAPSHOT", "LOCAL", "TIME", "AGE", "ENTRIES", "NEW", "SHARED", "ALL"]);
    assert_eq!(columns[2][6..10], ["1003", "B", "16.60", "KiB"], "{table}");
    assert_eq!((&records[0]["sequence"], &records[1]["sequence"]), (&1.into(), &2.into()));
    assert_eq!(records[1]["entries"], 24);
    assert_tidy(&store);
}

fn several_sources_lie_under_their_own_names() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    file(home.path().join("one"), "alone");
    let both = || {
        let one = home.path().join("one");
        name_of(&run(snapshot(&[&"take", &source, &one, &store])).exits(0))
    };
    let (first, second) = (store.join(both()), store.join(both()));
    assert_equal(&source, &second.join("src"));
    assert_eq!(inode(first.join("one")), inode(second.join("one")));
    assert_eq!(fs::read_to_string(second.join("one")).unwrap(), "alone");
    let below = |root: &Path| walkdir::WalkDir::new(root).min_depth(1).into_iter().count() as u64;
    assert_eq!(list(&store).pop().unwrap()["entries"].as_u64(), Some(below(&second)));
    // A file alone.
    let store = home.path().join("of-a-file");
    let taken = store.join(name_of(&take(&home.path().join("one"), &store, &[], 0)));
    assert_eq!(fs::read_to_string(taken.join("one")).unwrap(), "alone");
    assert_eq!(list(&store).pop().unwrap()["entries"].as_u64(), Some(1));
}

fn a_change_of_shape_is_refused() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    take(&source, &store, &[], 0);
    let other = home.path().join("other");
    fs::create_dir(&other).unwrap();
    let ran = run(snapshot(&[&"take", &source, &other, &store])).exits(3);
    assert!(ran.err.contains("of one source"), "{}", ran.err);
    assert_eq!(directories(&store).len(), 1);
}

fn a_source_that_is_gone_makes_no_snapshot() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let first = name_of(&take(&source, &store, &[], 0));
    let (aside, few) = (home.path().join("aside"), home.path().join("few"));
    fs::rename(&source, &aside).unwrap();
    take(&source, &store, &[], 3);
    fs::create_dir(&source).unwrap();
    let ran = take(&source, &store, &[], 25);
    assert!(ran.err.contains(&format!("the source is empty, and snapshot {first} has 25")), "{}", ran.err);
    file(source.join("a"), "");
    let ran = take(&source, &store, &["--min-entries=50%"], 25);
    assert!(ran.err.contains("has 1 of the 13 entries that it must have"), "{}", ran.err);
    assert!(ran.err.contains("is it mounted? If it is to have no more, give --min-entries 1"), "{}", ran.err);
    assert_eq!((names(&store), directories(&store).len()), (vec![first.clone()], 1));
    assert_eq!(fs::read_link(store.join("latest")).unwrap(), Path::new(&first));
    assert_tidy(&store);
    take(&source, &store, &["--min-entries=1"], 0);
    // Without any snapshot an empty source is refused as well.
    fs::create_dir(&few).unwrap();
    take(&few, &home.path().join("another"), &[], 25);
}

fn what_can_not_be_read_makes_it_partial() {
    let home = scratch();
    let source = source(home.path());
    mode(home.path(), 0o755);
    let store = home.path().join("store");
    fs::create_dir(&store).unwrap();
    give_tree(&store, ALICE);
    give_tree(&source, ALICE);
    let taken = |code| {
        let mut command = program_of_alice();
        command.arg("snapshot").arg("take").arg(&source).arg(&store);
        run(command).exits(code)
    };
    let first = name_of(&taken(0));
    mode(source.join("d0/f3"), 0);
    file(source.join("d0/new"), "new");
    give_tree(&source, ALICE);
    let ran = taken(23);
    assert!(ran.out.contains("partial"), "{}", ran.out);
    let second = name_of(&ran);
    assert!(!store.join(&second).join("d0/f3").exists() && store.join(&second).join("d0/new").exists());
    mode(source.join("d0/f3"), 0o644);
    let third = name_of(&taken(0));
    assert_equal(&source, &store.join(&third));
    // What the partial one lacks is linked to the complete one before it.
    assert_eq!(inode(store.join(&first).join("d0/f6")), inode(store.join(&third).join("d0/f6")));
    let complete: Vec<bool> =
        list(&store).iter().map(|record| record["complete"].as_bool().unwrap()).collect();
    assert_eq!(complete, [true, false, true]);
}

fn a_full_disk_makes_none_and_the_next_one_goes_on() {
    let home = scratch();
    let source = home.path().join("src");
    for number in 0..6 {
        file(source.join(format!("f{number}")), noise(number, 1 << 20));
    }
    let mount = Mount::new("tmpfs", "4M");
    let store = mount.path().join("store");
    take(&source, &store, &[], 11);
    assert!(directories(&store).is_empty());
    let kept: Vec<u64> = (0..6)
        .filter_map(|number| fs::symlink_metadata(store.join(format!(".ringsync/incomplete/f{number}"))).ok())
        .map(|stat| stat.ino())
        .collect();
    assert!(kept.len() > 1, "what fits is there");
    tool("mount", &["-o".as_ref(), "remount,size=16M".as_ref(), mount.path().as_os_str()]);
    let taken = store.join(name_of(&take(&source, &store, &[], 0)));
    assert_equal(&source, &taken);
    let inodes: Vec<u64> = (0..6).map(|number| inode(taken.join(format!("f{number}")))).collect();
    assert!(kept.iter().all(|kept| inodes.contains(kept)), "it is not copied again");
    assert_tidy(&store);
}

fn a_kill_at_any_moment_leaves_whole_snapshots_alone() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    take(&source, &store, &[], 0);
    for round in 0..30_u64 {
        file(source.join("d0/f3"), noise(round, 300_000));
        let mut child = snapshot(&[&"take", &source, &store]).spawn().unwrap();
        let moment = Duration::from_micros(round * 700);
        let begun = std::time::Instant::now();
        while begun.elapsed() < moment && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let latest = fs::canonicalize(store.join("latest")).unwrap();
        assert!(latest.join("d1/f1").exists(), "{}", latest.display());
    }
    let last = store.join(name_of(&take(&source, &store, &[], 0)));
    assert_equal(&source, &last);
    let listed: Vec<PathBuf> = names(&store).iter().map(|name| store.join(name)).collect();
    assert_eq!(directories(&store), listed, "each is recorded, in the order of time");
    for snapshot in listed {
        assert_eq!(fs::metadata(snapshot.join("d0/f3")).unwrap().len() % 1000, 0, "{}", snapshot.display());
        assert_eq!(fs::read_dir(snapshot.join("d0")).unwrap().count(), 7);
    }
    assert_tidy(&store);
}

fn one_run_at_a_time_is_at_work() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    take(&source, &store, &[], 0);
    let lock = fs::File::options().append(true).open(store.join(".ringsync/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ran = take(&source, &store, &[], 3);
    assert!(ran.err.contains("another run is at work in this store"), "{}", ran.err);
    run(snapshot(&[&"prune", &"--keep-last=1", &store])).exits(3);
    let waits = snapshot(&[&"take", &"--wait", &source, &store]).spawn().unwrap();
    drop(lock);
    finish(waits, Duration::from_secs(60)).exits(0);
    assert_eq!(names(&store).len(), 2);
}

fn names_are_taken_once_and_go_only_by_name() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    assert_eq!(name_of(&take(&source, &store, &["--name=before"], 0)), "before");
    let ran = take(&source, &store, &["--name=before"], 3);
    assert!(ran.err.contains("before is there already"), "{}", ran.err);
    for wrong in ["--name=../before", "--name=latest", "--name=.ringsync", "--name=2026-11-27_023000Z"] {
        take(&source, &store, &[wrong], 3);
    }
    for _ in 0..3 {
        take(&source, &store, &[], 0);
    }
    run(snapshot(&[&"prune", &"--yes", &"--keep-last=1", &store])).exits(0);
    assert_eq!((names(&store).len(), &*names(&store)[0]), (2, "before"));
    run(snapshot(&[&"prune", &"--name=nothing", &store])).exits(3);
    run(snapshot(&[&"prune", &"--name=before", &store])).exits(0);
    assert_eq!(directories(&store).len(), 1);
    // The newest complete one stays even then.
    let last = names(&store).remove(0);
    let ran = run(snapshot(&[&"prune", &"--yes", &format!("--name={last}"), &store])).exits(3);
    assert!(ran.err.contains(&format!("{last} is the newest complete snapshot")), "{}", ran.err);
    assert_eq!(names(&store), [last]);
}

/// Gives the snapshots of a store these times, in hours before now, the oldest first.
fn age(store: &Path, hours: &[i64]) {
    let path = store.join(".ringsync/snapshots.jsonl");
    let now = jiff::Timestamp::now();
    let lines: Vec<String> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .zip(hours)
        .map(|(line, hours)| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["started"] = (now - jiff::SignedDuration::from_hours(*hours)).to_string().into();
            format!("{record}\n")
        })
        .collect();
    fs::write(path, lines.concat()).unwrap();
}

fn rules_decide_what_goes() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    for _ in 0..6 {
        take(&source, &store, &[], 0);
    }
    age(&store, &[24 * 40, 24 * 3, 24 * 2, 1, 0, -48]);
    let all = names(&store);
    let rules = ["--keep-daily=3", "--timezone=UTC"];
    let ran = run({
        let mut command = snapshot(&[&"prune", &"-n", &store]);
        command.args(rules);
        command
    })
    .exits(0);
    assert_eq!(names(&store), all, "a dry run removes nothing");
    assert!(
        ran.out.contains(&format!("keep {}: ", all[5])) && ran.out.contains("ahead of the clock"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains(&format!("would remove {}\n", all[0])), "{}", ran.out);
    let mut command = snapshot(&[&"prune", &store]);
    command.args(rules);
    let ran = run(command).exits(0);
    assert!(ran.out.contains(&format!("removed {}\n", all[0])), "{}", ran.out);
    assert!(names(&store).contains(&all[5]) && names(&store).contains(&all[2]), "{}", ran.out);
    let listed: Vec<PathBuf> = names(&store).iter().map(|name| store.join(name)).collect();
    assert_eq!(directories(&store), listed);
    for kept in &listed {
        assert_equal(&source, kept);
    }
    assert_tidy(&store);
}

fn more_than_half_goes_only_if_told_to() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    for _ in 0..3 {
        take(&source, &store, &[], 0);
    }
    let ran = run(snapshot(&[&"prune", &"--keep-last=1", &store])).exits(3);
    assert!(ran.err.contains("2 of 3 snapshots would go"), "{}", ran.err);
    assert_eq!(directories(&store).len(), 3);
    let ran = run(snapshot(&[&"prune", &store])).exits(1);
    assert!(ran.err.contains("what is to stay?"), "{}", ran.err);
    run(snapshot(&[&"prune", &"--yes", &"--keep-last=1", &store])).exits(0);
    assert_eq!(directories(&store).len(), 1);
}

fn read_only_directories_are_no_hindrance() {
    let home = scratch();
    let source = source(home.path());
    mode(home.path(), 0o755);
    let store = home.path().join("store");
    fs::create_dir(&store).unwrap();
    for path in [&source, &store] {
        give_tree(path, ALICE);
    }
    for closed in ["d0", "d1", ""] {
        mode(source.join(closed), 0o555);
    }
    let alice = |arguments: &[&str]| {
        let mut command = program_of_alice();
        command.arg("snapshot").args(arguments);
        command
    };
    let (from, to) = (source.to_str().unwrap(), store.to_str().unwrap());
    for _ in 0..2 {
        run(alice(&["take", from, to])).exits(0);
    }
    run(alice(&["prune", "--keep-last=1", to])).exits(0);
    assert_eq!(directories(&store).len(), 1);
    assert_equal(&source, &directories(&store)[0]);
    assert_tidy(&store);
}

fn what_was_not_flushed_before_a_new_start_is_compared() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let record = store.join(".ringsync/snapshots.jsonl");
    let takes = |options: &[&str]| {
        let ran = take(&source, &store, options, 0);
        let told = ran.err.contains("was taken with --no-fsync, and the machine has been started anew");
        (store.join(name_of(&ran)), told)
    };
    let (first, _) = takes(&["--no-fsync"]);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(list(&store)[0]["unflushed"], boot.trim());
    // A crash has taken its contents, and left all else.
    let damaged = first.join("d1/f4");
    let time = fs::metadata(&damaged).unwrap().modified().unwrap();
    fs::write(&damaged, [0; 1000]).unwrap();
    fs::File::options().write(true).open(&damaged).unwrap().set_modified(time).unwrap();
    let (second, told) = takes(&["--no-fsync"]);
    assert!(!told && inode(second.join("d1/f4")) == inode(&damaged), "the machine runs on");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace(boot.trim(), "another")).unwrap();
    let (third, told) = takes(&[]);
    assert!(told);
    assert_equal(&source, &third);
    assert_eq!(inode(third.join("d1/f1")), inode(first.join("d1/f1")));
    assert!(list(&store)[2].get("unflushed").is_none());
    assert!(!takes(&[]).1, "it is said once");
}

fn a_newer_record_is_refused_and_nothing_is_changed() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    take(&source, &store, &[], 0);
    let path = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    for (wrong, said, listed) in [
        (text.replace("\"format\":1", "\"format\":2"), "format 2", 3),
        ("nonsense\n".into(), "line 1", 0),
        (text.replace("\"name\":\"", "\"name\":\"../"), "names no directory", 0),
    ] {
        fs::write(&path, &wrong).unwrap();
        for (arguments, code) in [(["list", "--json"], listed), (["prune", "--keep-last=1"], 3)] {
            let ran = run(snapshot(&[&arguments[0], &arguments[1], &store])).exits(code);
            assert!(ran.err.contains(said), "{}", ran.err);
        }
        take(&source, &store, &[], 3);
        assert_eq!(fs::read_to_string(&path).unwrap(), wrong);
    }
    // A line without an end was being written.
    fs::write(&path, format!("{text}{{\"format\":1,\"se")).unwrap();
    assert_eq!(names(&store).len(), 1);
}

fn what_nobody_can_use_leaves_nothing_behind() {
    let home = scratch();
    let source = source(home.path());
    take(&source, &source, &[], 3);
    take(&source, &source.join("store"), &[], 3);
    assert!(!source.join(".ringsync").exists() && !source.join("store").exists());
    let store = home.path().join("store");
    fs::create_dir(&store).unwrap();
    let ran = run(snapshot(&[&"list", &store])).exits(3);
    assert!(ran.err.contains("it is no store"), "{}", ran.err);
}

fn a_store_of_somebody_else_is_refused() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    fs::create_dir(&store).unwrap();
    give_tree(&store, ALICE);
    let ran = take(&source, &store, &[], 3);
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0, "nothing is left");
    assert!(ran.err.contains("it belongs to another user"), "{}", ran.err);
    give_tree(&store, 0);
    mode(&store, 0o777);
    take(&source, &store, &[], 3);
    mode(&store, 0o755);
    fs::remove_dir_all(store.join(".ringsync")).ok();
    symlink(home.path(), store.join(".ringsync")).unwrap();
    let ran = take(&source, &store, &[], 3);
    assert!(ran.err.contains("it is no directory"), "{}", ran.err);
    assert!(!home.path().join("lock").exists());
    fs::remove_file(store.join(".ringsync")).unwrap();
    mode(&store, 0o775);
    let ran = take(&source, &store, &[], 0);
    assert!(ran.err.contains("others can write to the store"), "{}", ran.err);
}

fn whole_and_durable_on_ext4() {
    let home = scratch();
    let source = source(home.path());
    let image = Image::new("ext4", "64M", &[]);
    let mount = image.mount();
    let store = mount.path().join("store");
    let taken = [take(&source, &store, &[], 0), take(&source, &store, &["--no-fsync"], 0)];
    for ran in taken {
        assert_equal(&source, &store.join(name_of(&ran)));
    }
    run(snapshot(&[&"prune", &"--keep-last=1", &store])).exits(0);
    assert_eq!(directories(&store).len(), 1);
    assert_equal(&source, &directories(&store)[0]);
}

/// Threads that remove are not woken for each directory, and no other one hears of each.
fn a_removal_makes_few_calls_besides() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    for number in 0..800 {
        file(source.join(format!("{}/{number}/f", number % 8)), "contents");
    }
    for _ in 0..3 {
        take(&source, &store, &["--no-fsync"], 0);
    }
    let counts = home.path().join("counts");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&counts).arg(program());
    command.args(["snapshot", "prune", "--keep-last=1", "--yes"]).arg(&store);
    run(command).exits(0);
    let text = fs::read_to_string(&counts).unwrap();
    let calls = |call: &str| -> u64 {
        let line = text.lines().find(|line| line.ends_with(&format!(" {call}")));
        line.map_or(0, |line| line.split_whitespace().nth(3).unwrap().parse().unwrap())
    };
    assert!(calls("unlinkat") >= 2 * 2 * 800, "{text}");
    assert!(calls("futex") < 800, "{text}");
}

fn what_is_mounted_in_a_snapshot_stays() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let first = name_of(&take(&source, &store, &[], 0));
    take(&source, &store, &[], 0);
    let precious = home.path().join("precious");
    file(precious.join("d/f"), "contents");
    let point = store.join(&first).join("d0");
    tool("mount", &["--bind".as_ref(), precious.as_os_str(), point.as_os_str()]);
    let pruned = run(snapshot(&[&"prune", &"--keep-last=1", &store]));
    let mounted = store.join(".ringsync/doomed/0/d0");
    tool("umount", &[&mounted]);
    assert!(pruned.err.contains("mounted"), "{}", pruned.err);
    let pruned = pruned.exits(23);
    assert_eq!(fs::read_to_string(precious.join("d/f")).unwrap(), "contents", "{}", pruned.out);
    run(snapshot(&[&"prune", &"--keep-last=1", &store])).exits(0);
    assert_tidy(&store);
}

/// Something may be mounted at the snapshot itself.
fn a_snapshot_that_can_not_be_renamed_keeps_no_other() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let all = [(); 3].map(|()| name_of(&take(&source, &store, &[], 0)));
    let point = store.join(&all[0]);
    let mount = Mount::tmpfs_at(&point, "1M");
    let pruned = run(snapshot(&[&"prune", &"--yes", &"--keep-last=1", &store])).exits(23);
    assert_eq!(pruned.out, format!("removed {}\n", all[1]), "{}", pruned.err);
    assert_eq!(names(&store), [&*all[0], &*all[2]]);
    drop(mount);
    assert!(point.join("d0/f0").exists());
    run(snapshot(&[&"prune", &"--keep-last=1", &store])).exits(0);
    assert_eq!(names(&store), [&*all[2]]);
    assert_tidy(&store);
}

fn a_full_disk_can_be_pruned() {
    let home = scratch();
    let source = home.path().join("src");
    let image = Image::new("ext4", "16M", &["-m", "0"]);
    let mount = image.mount();
    let store = mount.path().join("store");
    for number in 0..3 {
        file(source.join("f"), noise(number, 1 << 20));
        take(&source, &store, &[], 0);
    }
    let full = mount.path().join("full");
    let mut filler = fs::File::create(&full).unwrap();
    for size in [1 << 20, 4096, 1024] {
        while std::io::Write::write_all(&mut filler, &noise(9, size)).is_ok() {}
    }
    filler.sync_all().ok();
    run(snapshot(&[&"prune", &"-n", &"--keep-last=2", &store])).exits(0);
    run(snapshot(&[&"prune", &"--keep-last=2", &store])).exits(0);
    assert_eq!(directories(&store).len(), 2);
    assert_tidy(&store);
}

fn what_can_not_be_listed_keeps_no_other() {
    let home = scratch();
    mode(home.path(), 0o755);
    let (source, store) = (source(home.path()), home.path().join("store"));
    fs::create_dir(&store).unwrap();
    let alice = |arguments: &[&std::ffi::OsStr]| {
        let mut command = program_of_alice();
        command.arg("snapshot").args(arguments);
        run(command)
    };
    for path in [&source, &store] {
        give_tree(path, ALICE);
    }
    for closed in [false, true, false] {
        mode(source.join("d0"), if closed { 0o333 } else { 0o755 });
        alice(&["take".as_ref(), source.as_ref(), store.as_ref()]).exits(if closed { 23 } else { 0 });
    }
    let yes = ["prune", "--yes", "--keep-last=1"].map(std::ffi::OsStr::new);
    alice(&[&yes[..], &[store.as_os_str()]].concat()).exits(0);
    assert_eq!(directories(&store).len(), 1);
    assert_tidy(&store);
}

fn a_snapshot_out_of_reach_is_not_forgotten() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let first = name_of(&take(&source, &store, &[], 0));
    take(&source, &store, &[], 0);
    let (path, aside) = (store.join(&first), home.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    run(snapshot(&[&"prune", &"-n", &"--keep-last=1", &store])).exits(0);
    fs::rename(&aside, &path).unwrap();
    assert!(names(&store).contains(&first));
}

/// Killed after a snapshot got its name, and before it was recorded.
fn what_a_killed_run_had_written_down_is_known() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let both = [(); 2].map(|()| name_of(&take(&source, &store, &[], 0)));
    let (record, pending) = (store.join(".ringsync/snapshots.jsonl"), store.join(".ringsync/pending.json"));
    let text = fs::read_to_string(&record).unwrap();
    let (first, last) = text.split_once('\n').unwrap();
    fs::write(&pending, last).unwrap();
    fs::write(&record, format!("{first}\n")).unwrap();
    assert_eq!(names(&store), both);
    let third = name_of(&take(&source, &store, &[], 0));
    assert_eq!(names(&store), [&both[..], &[third]].concat());
    assert_eq!(list(&store)[2]["sequence"], 3);
    assert_tidy(&store);
    // It was not killed so late: there is no such snapshot.
    fs::write(&pending, last.replace(&both[1], "never-was").replace("\"sequence\":2", "\"sequence\":4"))
        .unwrap();
    assert_eq!(names(&store).len(), 3);
}

/// The run before was killed when its snapshot had its name and the record lacked it, and the next one is killed at each rename.
fn a_second_kill_loses_nothing_either() {
    let home = scratch();
    let source = source(home.path());
    for number in 1.. {
        let store = home.path().join(format!("store{number}"));
        let both = [(); 2].map(|()| name_of(&take(&source, &store, &[], 0)));
        let record = store.join(".ringsync/snapshots.jsonl");
        let text = fs::read_to_string(&record).unwrap();
        let (first, last) = text.split_once('\n').unwrap();
        fs::write(store.join(".ringsync/pending.json"), last).unwrap();
        fs::write(&record, format!("{first}\n")).unwrap();
        let mut command = program_with(&[&format!("inject=renameat,renameat2:signal=KILL:when={number}")]);
        command.args([&"snapshot" as &dyn AsRef<std::ffi::OsStr>, &"take", &source, &store]);
        let was_killed = run(command).code != Some(0);
        name_of(&take(&source, &store, &[], 0));
        let listed: Vec<PathBuf> = names(&store).iter().map(|name| store.join(name)).collect();
        assert_eq!(directories(&store), listed, "killed at rename {number}");
        assert!(both.iter().all(|name| listed.contains(&store.join(name))));
        assert_tidy(&store);
        if !was_killed {
            assert!(number > 4, "a run renames a pending record, a snapshot, a record and `latest`");
            break;
        }
    }
}

/// A run that can't begin removes what it has made, also the lock that another one waits for.
fn two_runs_never_share_a_lock() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let own = store.join(".ringsync");
    fs::create_dir_all(&own).unwrap();
    let locked = || {
        let lock = fs::File::create(own.join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        lock
    };
    let old = locked();
    // It has opened the lock that is about to go, and asks for it a while later.
    let mut waits = program_with(&["inject=flock:delay_enter=300000"]);
    let mut waits = waits.args(["snapshot", "take", "--wait"]).args([&source, &store]).spawn().unwrap();
    await_of(&mut waits, "open the lock", || openers(&own.join("lock")) > 1);
    fs::remove_file(own.join("lock")).unwrap();
    let new = locked();
    drop(old);
    await_of(&mut waits, "open the new lock", || openers(&own.join("lock")) > 1);
    assert!(directories(&store).is_empty());
    drop(new);
    finish(waits, Duration::from_secs(60)).exits(0);
    assert_eq!(directories(&store).len(), 1);
}

/// How many descriptors of all processes lead to a file.
fn openers(path: &Path) -> usize {
    let is_process =
        |name: &std::ffi::OsStr| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_process(&entry.file_name()));
    let descriptors =
        processes.flat_map(|process| fs::read_dir(process.path().join("fd")).into_iter().flatten());
    descriptors.flatten().filter(|link| fs::read_link(link.path()).is_ok_and(|target| target == path)).count()
}

fn lines_of_json_are_as_described() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let lines = [
        take(&source, &store, &["--json", "--name=first"], 0).json(),
        run(snapshot(&[&"list", &"--json", &store])).exits(0).json(),
        {
            fs::remove_dir_all(&source).unwrap();
            fs::create_dir(&source).unwrap();
            take(&source, &store, &["--json"], 25).json()
        },
    ]
    .concat();
    assert_lines_described(&lines);
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
    assert_eq!((of("snapshot"), of("no_snapshot"), of("summary")), (2, 1, 2));
}
