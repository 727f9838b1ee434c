//! What `snapshot take --prune` and `--keep-free` do where space is short, and what a wrong clock may not do.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::schema::assert_lines_described;
use crate::snapshots::{list, name_of, names, snapshot, take};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, noise, snapshot as tree_of};
use crate::support::{Ran, assert_equal, await_of, finish, run, scratch};

tests![
    a_wrong_clock_is_told_and_hinders_nothing,
    a_date_out_of_order_takes_no_place,
    take_and_prune_are_one_run,
    rules_and_prune_need_each_other,
    nothing_is_pruned_without_a_snapshot,
    what_rules_release_makes_room: [Need::Root],
    a_full_disk_is_told_with_what_would_help: [Need::Root],
    no_more_goes_than_space_takes: [Need::Root],
    removals_that_free_nothing_come_to_an_end: [Need::Root],
    a_dry_run_counts_what_would_be_taken: [Need::Root],
    a_dry_run_names_what_goes_for_want_of_room: [Need::Root],
    no_snapshot_is_taken_into_a_snapshot,
    a_disk_in_the_source_takes_snapshots: [Need::Root],
    what_is_ours_is_closed_to_others: [Need::Root],
    a_dry_run_tells_and_makes_nothing,
    a_dry_run_tells_what_would_be_pruned,
    a_source_that_vanishes_is_not_a_file_that_does: [Need::Root],
    a_disk_without_a_single_block_is_pruned: [Need::Root, Need::FileSystem("ext4")],
    what_a_killed_prune_has_left_makes_room: [Need::Root],
    one_of_several_sources_that_is_gone_makes_no_snapshot,
    a_record_made_again_lists_each_snapshot_once,
];

fn prune(store: &Path, options: &[&str], code: i32) -> Ran {
    let mut command = snapshot(&[&"prune", &store]);
    command.args(options);
    run(command).exits(code)
}

fn small_source(home: &Path) -> PathBuf {
    let source = home.join("src");
    file(source.join("d/f"), "contents");
    source
}

fn take_and_prune_are_one_run() {
    let home = scratch();
    let (source, store) = (small_source(home.path()), home.path().join("store"));
    let all = [(); 3].map(|()| name_of(&take(&source, &store, &[], 0)));
    let ran = take(&source, &store, &["--prune", "--keep-last=3"], 0);
    let last = name_of(&ran);
    assert!(ran.out.contains(&format!("removed {}\n", all[0])), "{}", ran.out);
    assert_eq!(names(&store), [&*all[1], &*all[2], &*last], "the new one counts");
    let lines = take(&source, &store, &["--prune", "--keep-last=3", "--json"], 0).json();
    assert_lines_described(&lines);
    let pruned = lines.iter().find(|line| line["event"] == "pruned").unwrap();
    assert_eq!(pruned["removed"], serde_json::json!([all[1]]));
    assert_eq!(lines.last().unwrap()["event"], "snapshot");
    // More than half: there is a snapshot, and nothing goes.
    let ran = take(&source, &store, &["--prune", "--keep-last=1"], 23);
    let guard = "4 snapshots would go, more than half: nothing is removed without --yes";
    assert!(ran.err.contains(&format!("3 of {guard}")), "{}", ran.err);
    assert_eq!(names(&store).len(), 4);
    let ran = prune(&store, &["-n", "--keep-last=1"], 0);
    assert!(ran.out.ends_with(&format!("\n3 of {guard}\n")), "{}", ran.out);
    assert!(!prune(&store, &["-n", "--keep-last=1", "--yes"], 0).out.contains("--yes"));
    take(&source, &store, &["--prune", "--keep-last=1", "--yes", "--timezone=UTC"], 0);
    assert_eq!(names(&store).len(), 1);
}

fn a_dry_run_tells_what_would_be_pruned() {
    let home = scratch();
    let (source, store) = (small_source(home.path()), home.path().join("store"));
    take(&source, &store, &["-n", "--prune", "--keep-last=2"], 0);
    assert!(!store.exists());
    let all = [(); 3].map(|()| name_of(&take(&source, &store, &[], 0)));
    let before = tree_of(&store);
    let ran = take(&source, &store, &["-n", "--prune", "--keep-last=3"], 0);
    assert!(ran.out.ends_with(&format!("would remove {}\n", all[0])), "{}", ran.out);
    let ran = take(&source, &store, &["-n", "--prune", "--keep-last=1"], 23);
    assert_eq!(ran.out.matches("would remove").count(), 3, "the new one stays: {}", ran.out);
    assert!(ran.err.contains("3 of 4 snapshots would go, more than half"), "{}", ran.err);
    let lines = take(&source, &store, &["-n", "--json", "--prune", "--keep-last=3"], 0).json();
    assert_lines_described(&lines);
    assert_eq!(lines.last().unwrap()["removed"], serde_json::json!([all[0]]));
    assert_eq!(lines.last().unwrap()["dry_run"], true);
    assert!(tree_of(&store) == before);
}

fn a_wrong_clock_is_told_and_hinders_nothing() {
    let home = scratch();
    let (source, store) = (small_source(home.path()), home.path().join("store"));
    let ran = take(&source, &store, &["--exclude=*.tmp"], 0);
    assert!(!ran.err.contains("the clock says"), "{}", ran.err);
    let record = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["options"], serde_json::json!(["--exclude=*.tmp"]));
    line.as_object_mut().unwrap().remove("options");
    line["started"] = "2999-01-01T00:00:00Z".into();
    fs::write(&record, format!("{line}\n")).unwrap();
    for ran in [
        run(snapshot(&[&"list", &store])).exits(0),
        take(&source, &store, &[], 0),
        take(&source, &store, &[], 0),
        prune(&store, &["--keep-last=1"], 0),
    ] {
        assert!(ran.err.contains(" is dated 2999-01-01T00:00:00Z: one of them is wrong"), "{}", ran.err);
    }
    let ahead: Vec<bool> = list(&store).iter().map(|line| line["ahead"] == true).collect();
    assert_eq!(ahead, [true, false]);
}

fn a_date_out_of_order_takes_no_place() {
    let home = scratch();
    let (source, store) = (small_source(home.path()), home.path().join("store"));
    let all = [(); 5].map(|()| name_of(&take(&source, &store, &[], 0)));
    let record = store.join(".ringsync/snapshots.jsonl");
    let mut text = String::new();
    for (line, day) in fs::read_to_string(&record).unwrap().lines().zip([10, 11, 3, 12, 13]) {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["started"] = format!("2026-01-{day:02}T02:30:00Z").into();
        text += &format!("{line}\n");
    }
    fs::write(&record, text).unwrap();
    let told = |daily: u32| {
        prune(&store, &["-n", "--yes", "--timezone=UTC", &format!("--keep-daily={daily}")], 0).out
    };
    let expected = |lines: [&str; 5]| -> String {
        all.iter().zip(lines).map(|(name, line)| line.replace('@', name) + "\n").collect()
    };
    let (gone, newest) = ("would remove @", "keep @: newest complete, daily");
    let wrong = "keep @: dated out of order, daily";
    assert_eq!(told(3), expected([gone, "keep @: daily", wrong, "keep @: daily", newest]));
    assert_eq!(told(2), expected([gone, gone, gone, "keep @: daily", newest]));
}

fn rules_and_prune_need_each_other() {
    let home = scratch();
    let (source, store) = (small_source(home.path()), home.path().join("store"));
    let ran = take(&source, &store, &["--prune"], 1);
    assert!(ran.err.contains("--prune takes at least one rule"), "{}", ran.err);
    for option in ["--keep-daily=3", "--keep-free=5%", "--yes", "--timezone=UTC"] {
        let ran = take(&source, &store, &[option], 1);
        assert!(ran.err.contains("--prune is not given"), "{}", ran.err);
    }
    take(&source, &store, &["--prune", "--keep-free=100%"], 1);
    let ran = take(&source, &store, &["--prune", "--keep-free=10"], 1);
    assert!(ran.err.contains("give a unit, as 10G"), "{}", ran.err);
    assert!(!store.exists());
}

fn nothing_is_pruned_without_a_snapshot() {
    let home = scratch();
    let (source, store) = (small_source(home.path()), home.path().join("store"));
    for _ in 0..4 {
        take(&source, &store, &[], 0);
    }
    fs::remove_dir_all(source.join("d")).unwrap();
    take(&source, &store, &["--prune", "--keep-last=3"], 25);
    assert_eq!(names(&store).len(), 4);
}

/// A store on a small disk, with these sizes of its snapshots in MiB, each of other contents.
fn on_a_small_disk(home: &Path, size: &str, sizes: &[usize]) -> (PathBuf, Mount, PathBuf) {
    let source = home.join("src");
    let mount = Mount::new("tmpfs", size);
    let store = mount.path().join("store");
    for (seed, size) in sizes.iter().enumerate() {
        file(source.join("f"), noise(seed as u64, size << 20));
        take(&source, &store, &[], 0);
    }
    (source, mount, store)
}

fn what_rules_release_makes_room() {
    let home = scratch();
    let (source, _mount, store) = on_a_small_disk(home.path(), "8M", &[2, 2, 2]);
    let before = names(&store);
    file(source.join("f"), noise(9, 3 << 20));
    let ran = take(&source, &store, &["--prune", "--keep-last=3"], 0);
    let last = name_of(&ran);
    assert_equal(&source, &store.join(&last));
    assert_eq!(names(&store), [&*before[1], &*before[2], &*last], "{}{}", ran.out, ran.err);
    // It is tried once: what rules name does not go, and the newest complete one neither.
    file(source.join("f"), noise(10, 7 << 20));
    let ran = take(&source, &store, &["--prune", "--keep-last=1", "--yes"], 11);
    assert_eq!(names(&store), [&*last], "{}", ran.err);
    assert_eq!(fs::read_link(store.join("latest")).unwrap(), Path::new(&last));
}

fn a_full_disk_is_told_with_what_would_help() {
    let home = scratch();
    let (source, _mount, store) = on_a_small_disk(home.path(), "8M", &[1, 2, 2]);
    file(source.join("shared"), noise(7, 1 << 20));
    take(&source, &store, &[], 0);
    let before = names(&store);
    file(source.join("f"), noise(9, 5 << 20));
    let ran = take(&source, &store, &[], 11);
    assert!(
        ran.err.contains("there is no room: at least ") && ran.err.contains(" are missing"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("removing the 2 oldest snapshots would free 3."), "{}", ran.err);
    let ran = take(&source, &store, &["--prune", "--keep-last=1"], 11);
    assert!(ran.err.contains("pruning by these rules would free 3."), "{}", ran.err);
    assert_eq!(ran.err.matches("more than half").count(), 1, "{}", ran.err);
    assert_eq!(names(&store), before);
}

fn no_more_goes_than_space_takes() {
    let home = scratch();
    let sizes = [1; 12];
    let (_source, mount, store) = on_a_small_disk(home.path(), "14M", &sizes);
    let all = names(&store);
    let ran = prune(&store, &["-n", "--keep-free=4M"], 0);
    let would = |ran: &Ran| ran.out.lines().filter(|line| line.starts_with("would remove")).count();
    assert_eq!(would(&ran), 3, "{}", ran.out);
    assert!(ran.out.contains(&format!("keep {}: enough is free", all[4])), "{}", ran.out);
    assert!(ran.out.contains(&format!("keep {}: newest complete", all[11])), "{}", ran.out);
    assert!(ran.out.contains(&format!("keep {}: one of the 7 newest complete", all[5])), "{}", ran.out);
    assert_eq!(names(&store), all);
    let ran = prune(&store, &["--keep-free=4M"], 0);
    assert_eq!(ran.out.lines().count(), 3, "{}{}", ran.out, ran.err);
    assert_eq!(names(&store), all[3..]);
    // What rules name stays, and so do the 7 newest ones.
    let short = |options: &[&str]| {
        let ran = prune(&store, options, 23);
        assert!(ran.err.contains(" bytes are free there, and "), "{}", ran.err);
        assert!(ran.err.contains("are to be: what is left stays ("), "{}", ran.err);
    };
    short(&["--keep-free=90%", "--keep-last=8"]);
    assert_eq!(names(&store), all[4..]);
    short(&["--keep-free=90%", "--yes"]);
    assert_eq!(names(&store), all[5..]);
    assert!(fs::metadata(mount.path()).unwrap().is_dir());
    let ran = take(&home.path().join("src"), &store, &["--prune", "--keep-free=1K"], 0);
    assert!(!ran.out.contains("removed"), "{}", ran.out);
}

fn removals_that_free_nothing_come_to_an_end() {
    let home = scratch();
    let source = home.path().join("src");
    let mount = Mount::new("tmpfs", "8M");
    let store = mount.path().join("store");
    file(source.join("f"), noise(1, 1 << 20));
    for _ in 0..14 {
        take(&source, &store, &[], 0);
    }
    // Nothing but a name in each, and that of directories without blocks of their own.
    let ran = prune(&store, &["--keep-free=7900K", "--yes"], 23);
    assert!(ran.err.contains("the removal of three others freed nothing"), "{}", ran.err);
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert_eq!(names(&store).len(), 11);
    assert!(fs::metadata(store.join("latest/f")).unwrap().nlink() >= 11);
}

fn a_dry_run_names_what_goes_for_want_of_room() {
    let home = scratch();
    let (_source, _mount, full) = on_a_small_disk(home.path(), "20M", &[1; 17]);
    let shared = Mount::new("tmpfs", "8M");
    let same = shared.path().join("store");
    file(home.path().join("same/f"), noise(1, 1 << 20));
    for _ in 0..14 {
        take(&home.path().join("same"), &same, &[], 0);
    }
    for (store, options, count, why) in [
        (&full, &["--keep-free=95%"][..], 8, "half of all are gone"),
        (&full, &["--keep-free=95%", "--yes"], 2, "one of the 7 newest complete"),
        (&same, &["--keep-free=7900K", "--yes"], 3, "the removal of three others freed nothing"),
    ] {
        let told = prune(store, &[options, &["-n"]].concat(), 0).out;
        let foretold: Vec<&str> =
            told.lines().filter_map(|line| line.strip_prefix("would remove ")).collect();
        assert_eq!(foretold.len(), count, "{options:?}: {told}");
        assert!(told.lines().any(|line| line.ends_with(why)), "{options:?}: {told}");
        let ran = prune(store, options, 23); // it is never as much as was asked for
        let gone: Vec<&str> = ran.out.lines().filter_map(|line| line.strip_prefix("removed ")).collect();
        assert_eq!(gone, foretold, "{options:?}");
    }
}

/// What is taken needs room as well, and is one of the newest ones.
fn a_dry_run_counts_what_would_be_taken() {
    let home = scratch();
    for (sizes, free) in [(&[1; 12][..], "--keep-free=4M"), (&[1; 9], "--keep-free=60%")] {
        let (source, _mount, store) = on_a_small_disk(home.path(), "16M", sizes);
        file(source.join("f"), noise(99, 2 << 20));
        let removed = |ran: &Ran, word: &str| -> Vec<String> {
            ran.out.lines().filter_map(|line| line.strip_prefix(word)).map(String::from).collect()
        };
        let options = ["--prune", free, "--yes"];
        let code = if sizes.len() == 12 { 0 } else { 23 };
        let foretold = removed(&take(&source, &store, &[&["-n"], &options[..]].concat(), 0), "would remove ");
        let gone = removed(&take(&source, &store, &options, code), "removed ");
        assert_eq!(gone, foretold);
        assert!(gone.len() >= 3, "{gone:?}");
    }
}

fn no_snapshot_is_taken_into_a_snapshot() {
    let home = scratch();
    let source = small_source(home.path());
    let store = source.join("kept/store");
    fs::create_dir(source.join("kept")).unwrap();
    for options in [&[][..], &["--exclude=.ringsync"], &["--exclude=/kept/store/*"], &["-x"]] {
        for _ in 0..2 {
            let ran = take(&source, &store, options, 3);
            assert!(
                ran.err.contains(&format!("use store {}: it lies in SRC", store.display())),
                "{}",
                ran.err
            );
            assert!(ran.err.contains("snapshots would be taken into snapshots"), "{}", ran.err);
            assert!(!store.join(".ringsync").exists());
        }
        fs::create_dir_all(&store).unwrap();
        take(&source, &store, options, 3);
        fs::remove_dir(&store).unwrap();
    }
    for _ in 0..2 {
        let name = name_of(&take(&source, &store, &["--exclude=/kept/store"], 0));
        assert!(store.join(&name).join("d/f").exists() && !store.join(&name).join("kept/store").exists());
    }
    // The other way round.
    let around = home.path().join("around");
    file(around.join("src/f"), "contents");
    for inside in [around.join("src"), around.join("src/f"), around.clone()] {
        let ran = take(&inside, &around, &[], 3);
        assert!(ran.err.contains("SRC lies in it"), "{}", ran.err);
    }
    let several = run(snapshot(&[&"take", &source, &around.join("src"), &around])).exits(3);
    assert!(several.err.contains("SRC lies in it"), "{}", several.err);
    assert!(!around.join(".ringsync").exists());
}

fn a_disk_in_the_source_takes_snapshots() {
    let home = scratch();
    let source = small_source(home.path());
    fs::create_dir(source.join("disk")).unwrap();
    let disk = Mount::tmpfs_at(&source.join("disk"), "10M");
    let store = disk.path().join("store");
    take(&source, &store, &[], 3);
    for _ in 0..2 {
        let name = name_of(&take(&source, &store, &["-x"], 0));
        assert!(!store.join(name).join("disk/store").exists());
    }
    assert_eq!(names(&store).len(), 2);
}

fn what_is_ours_is_closed_to_others() {
    let home = scratch();
    let (source, store) = (small_source(home.path()), home.path().join("store"));
    take(&source, &store, &[], 0);
    mode(store.join(".ringsync"), 0o755);
    let ran = take(&source, &store, &[], 0);
    assert!(ran.err.contains(".ringsync in the store was open to others"), "{}", ran.err);
    assert_eq!(fs::metadata(store.join(".ringsync")).unwrap().mode() & 0o7777, 0o700);
    let ran = take(&source, &store, &[], 0);
    assert_eq!(ran.err, "");
    // A prune closes it as well, and a dry run does not.
    let bits = || fs::metadata(store.join(".ringsync")).unwrap().mode() & 0o7777;
    for (options, closed) in [(&["-n", "--keep-last=9"][..], 0o755), (&["--keep-last=9"], 0o700)] {
        mode(store.join(".ringsync"), 0o755);
        prune(&store, options, 0);
        assert_eq!(bits(), closed, "{options:?}");
    }
    // A group that is not root's.
    std::os::unix::fs::chown(&store, None, Some(1000)).unwrap();
    mode(&store, 0o770);
    for ran in [take(&source, &store, &[], 3), prune(&store, &["--keep-last=1"], 3)] {
        assert!(ran.err.contains("its group (gid 1000) may write to it"), "{}", ran.err);
        assert!(ran.err.contains("chmod g-w"), "{}", ran.err);
    }
    mode(&store, 0o750);
    take(&source, &store, &[], 0);
}

fn a_dry_run_tells_and_makes_nothing() {
    let home = scratch();
    let (source, store) = (small_source(home.path()), home.path().join("store"));
    file(source.join("g"), "more");
    let ran = take(&source, &store, &["-n", "-v"], 0);
    assert!(!store.exists());
    assert!(ran.out.contains("created   d/f\n") && ran.out.contains("dry run: 4 created"), "{}", ran.out);
    assert!(!ran.out.contains("snapshot "), "{}", ran.out);
    let first = name_of(&take(&source, &store, &[], 0));
    file(source.join("new"), "contents");
    file(source.join("g"), "other contents");
    // Somebody else may have the lock.
    let before = tree_of(&store);
    let lock = fs::File::open(store.join(".ringsync/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for _ in 0..2 {
        let ran = take(&source, &store, &["-n", "-vv"], 0);
        for line in ["linked    d/f", "created   new", "created   g"] {
            assert!(ran.out.lines().any(|told| told.starts_with(line)), "{line}: {}", ran.out);
        }
        assert!(ran.out.contains("dry run: 2 created, 1 linked, 2 directories"), "{}", ran.out);
    }
    let lines = take(&source, &store, &["-n", "--json"], 0).json();
    assert_lines_described(&lines);
    assert_eq!(lines.last().unwrap()["event"], "summary");
    assert!(tree_of(&store) == before);
    drop(lock);
    // What is refused is refused.
    take(&source, &home.path().join("no/store"), &["-n"], 3);
    take(&source, &store, &["-n", "--name=latest"], 3);
    take(&source, &store, &["--name=once"], 0);
    take(&source, &store, &["-n", "--name=once"], 3);
    take(&home.path().join("missing"), &store, &["-n"], 3);
    run(snapshot(&[&"take", &"-n", &source.join("d"), &source.join("g"), &store])).exits(3);
    assert_eq!(names(&store), [&*first, "once"]);
}

/// Runs `take`, slowly, and meanwhile something else.
fn take_while(source: &Path, store: &Path, options: &[&str], change: impl FnOnce()) -> Ran {
    let mut command = snapshot(&[&"take", &"--bwlimit=2M", &source, &store]);
    command.args(options).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let incomplete = store.join(".ringsync/incomplete");
    await_of(&mut child, "the run has begun", || {
        fs::read_dir(&incomplete).is_ok_and(|mut made| made.next().is_some())
    });
    change();
    finish(child, Duration::from_secs(60))
}

fn a_source_that_vanishes_is_not_a_file_that_does() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    file(source.join("d/large"), noise(1, 4 << 20));
    fs::create_dir(source.join("disk")).unwrap();
    for (number, (options, code)) in
        [(&["-x"][..], 0), (&["--exclude=/disk/"], 0), (&[], 23)].into_iter().enumerate()
    {
        let disk = Mount::tmpfs_at(&source.join("disk"), "1M");
        file(disk.path().join("f"), "contents");
        file(source.join("d/large"), noise(number as u64, 4 << 20));
        let ran = take_while(&source, &store, options, || drop(disk));
        assert_eq!(ran.code, Some(code), "{options:?}: {}", ran.err);
        assert_eq!(ran.err.contains("disk: what was mounted there has left"), code == 23, "{}", ran.err);
        let last = list(&store).pop().unwrap();
        assert_eq!((&last["complete"], &last["exit_code"]), (&(code == 0).into(), &code.into()));
    }
    file(source.join("d/large"), noise(76, 4 << 20));
    // Another directory in the place of SRC, and none.
    let away = home.path().join("away");
    let ran = take_while(&source, &store, &[], || {
        fs::rename(&source, &away).unwrap();
        fs::create_dir(&source).unwrap();
    });
    assert_eq!(ran.code, Some(23), "{}", ran.err);
    assert!(ran.err.contains("another directory has come in its place"), "{}", ran.err);
    assert_eq!(list(&store).pop().unwrap()["complete"], false);
    fs::remove_dir(&source).unwrap();
    fs::rename(&away, &source).unwrap();
    file(source.join("d/large"), noise(77, 4 << 20));
    let before = names(&store);
    let ran = take_while(&source, &store, &[], || fs::rename(&source, &away).unwrap());
    assert_eq!(ran.code, Some(25), "{}", ran.err);
    assert!(ran.err.contains("no snapshot: the source has vanished"), "{}", ran.err);
    assert!(!ran.err.contains("it has vanished during the run"), "it is told once: {}", ran.err);
    assert_eq!(names(&store), before);
}

/// Leaves not a single block of a small file system free.
fn fill(mount: &Mount) {
    let mut filler = fs::File::create(mount.path().join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[1; 4096]).is_ok_and(|written| written > 0) {}
    // What is less than that, where directories take it.
    for number in 0..100 {
        if fs::create_dir(mount.path().join(format!("more-{number}"))).is_err() {
            break;
        }
    }
}

fn a_disk_without_a_single_block_is_pruned() {
    for (kind, several) in [("tmpfs", false), ("ext4", false), ("ext4", true)] {
        let home = scratch();
        let source = home.path().join("src");
        let mount = Mount::new(kind, "32M");
        let store = mount.path().join("store");
        file(home.path().join("other/f"), "contents");
        let rules = ["--prune", "--keep-last=2", "--yes"];
        let taken = |rules: &[&str]| {
            let mut command = snapshot(&[&"take"]);
            command.args(rules).arg(&source);
            if several {
                command.arg(home.path().join("other"));
            }
            command.arg(&store);
            run(command).exits(0)
        };
        for night in 0..3 {
            file(source.join("f"), noise(night, 2 << 20));
            taken(if night == 2 { &[] } else { &rules });
        }
        fill(&mount);
        file(source.join("f"), noise(9, 1 << 20));
        let ran = taken(&rules);
        assert_eq!(list(&store).len(), 2, "{kind}: {}", ran.err);
        let latest = store.join("latest").canonicalize().unwrap();
        assert_equal(&source, &if several { latest.join("src") } else { latest });
    }
}

fn what_a_killed_prune_has_left_makes_room() {
    let home = scratch();
    let source = home.path().join("src");
    let mount = Mount::new("tmpfs", "16M");
    let store = mount.path().join("store");
    file(source.join("f"), noise(1, 1 << 20));
    take(&source, &store, &[], 0);
    file(store.join(".ringsync/doomed/0/left"), noise(2, 4 << 20));
    fill(&mount);
    file(source.join("f"), noise(3, 2 << 20));
    take(&source, &store, &[], 0);
    assert_equal(&source, &store.join("latest").canonicalize().unwrap());
}

fn one_of_several_sources_that_is_gone_makes_no_snapshot() {
    let home = scratch();
    let [one, other] = ["one", "other"].map(|name| home.path().join(name));
    let store = home.path().join("store");
    for number in 0..40 {
        file(one.join(number.to_string()), "contents");
    }
    file(other.join("f"), "contents");
    let take = |options: &[&str]| {
        let mut command = snapshot(&[&"take", &one, &other, &store]);
        command.args(options);
        run(command)
    };
    take(&[]).exits(0);
    fs::remove_file(other.join("f")).unwrap();
    let ran = take(&[]).exits(25);
    assert!(ran.err.contains("other is empty, and snapshot"), "{}", ran.err);
    assert_eq!(list(&store).len(), 1);
    take(&["--min-entries=3"]).exits(0);
    // By now it is nothing new.
    take(&[]).exits(0);
}

fn a_record_made_again_lists_each_snapshot_once() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    file(source.join("f"), "contents");
    take(&source, &store, &[], 0);
    let record = store.join(".ringsync/snapshots.jsonl");
    let line = fs::read_to_string(&record).unwrap();
    // What a take that was killed had written down, under a number that the record does not reach any more.
    fs::write(store.join(".ringsync/pending.json"), line.replace("\"sequence\":1", "\"sequence\":61"))
        .unwrap();
    assert_eq!(list(&store).len(), 1);
    take(&source, &store, &[], 0);
    assert_eq!(list(&store).len(), 2);
    assert!(!store.join(".ringsync/pending.json").exists());
}
