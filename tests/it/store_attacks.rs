//! What runs on a store, or others who may write to it, could do to snapshots that are in it.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::FileType;

use crate::snapshots::{assert_tidy, directories, list, name_of, names, snapshot, take};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise};
use crate::support::user::{ALICE, give, give_tree, program_of_alice};
use crate::support::{Ran, assert_equal, await_of, finish, program_with, run, scratch};

tests![
    nothing_is_reached_through_a_link_in_what_is_ours,
    what_others_put_to_what_is_ours_is_refused: [Need::Root],
    a_store_that_everybody_may_write_to_is_refused: [Need::Root, Need::Tool("setpriv")],
    nothing_waits_for_a_fifo,
    a_run_that_can_not_begin_removes_no_record: [Need::Tool("strace")],
    what_is_no_directory_is_no_snapshot,
    the_record_counts_by_its_numbers,
    a_record_without_its_last_end_is_whole,
    a_disk_without_an_inode_is_pruned: [Need::Root],
    what_a_stranger_has_put_there_is_no_snapshot: [Need::Root],
    what_a_stranger_has_put_there_is_not_linked_to: [Need::Root, Need::Tool("setpriv")],
    what_was_planted_as_broken_off_is_not_believed: [Need::Root, Need::Tool("setpriv")],
    a_snapshot_that_is_not_there_is_told,
    a_name_is_no_longer_than_its_manifest_can_be,
    a_clock_before_1970_is_no_reason_not_to_back_up: [Need::Tool("faketime")],
    what_has_no_hash_is_not_vouched_for,
    what_is_missing_of_a_whole_source_is_named: [Need::Root, Need::Tool("setpriv")],
    a_count_never_leaves_its_tree: [Need::Root],
    a_dry_run_refuses_what_is_no_snapshot,
    what_lies_about_hinders_no_removal,
    a_store_of_roots_that_others_get_into_is_told: [Need::Root],
    a_snapshot_without_its_link_is_one: [Need::Tool("strace")],
    what_could_not_be_flushed_is_told_with_what_went: [Need::Tool("strace")],
    what_the_disk_has_not_taken_is_not_linked_to: [Need::Tool("strace")],
    what_was_broken_off_does_not_fill_a_store: [Need::Root],
    what_rules_release_makes_room_for_hashes: [Need::FileSystem("btrfs")],
    nothing_is_restored_into_a_mounted_part_of_the_store: [Need::Root],
];

fn prune(store: &Path, options: &[&str], code: i32) -> Ran {
    let mut command = snapshot(&[&"prune", &store]);
    command.args(options);
    run(command).exits(code)
}

/// A source of one file, and a store with this number of snapshots of it.
fn stored(home: &Path, count: usize) -> (PathBuf, PathBuf, Vec<String>) {
    let (source, store) = (home.join("src"), home.join("store"));
    file(source.join("d/f"), "contents");
    let names = (0..count).map(|_| name_of(&take(&source, &store, &[], 0))).collect();
    (source, store, names)
}

fn nothing_is_reached_through_a_link_in_what_is_ours() {
    let ours = [
        "doomed",
        "manifests",
        "nothing",
        "incomplete",
        "broken-off",
        "journal",
        "lock",
        "snapshots.new",
        "pending.new",
        "snapshots.jsonl",
        "sorting",
        "clone-from",
    ];
    for name in ours {
        let home = scratch();
        let (source, store, _) = stored(home.path(), 2);
        let victim = home.path().join("victim");
        let place = store.join(".ringsync").join(name);
        let kept = fs::read(&place).ok();
        fs::remove_dir_all(&place).ok();
        fs::remove_file(&place).ok();
        match name {
            "doomed" | "manifests" | "nothing" | "incomplete" | "broken-off" => {
                file(victim.join("precious.b3"), "contents");
            }
            _ => file(&victim, "contents"),
        }
        symlink(&victim, &place).unwrap();
        let ran = run(snapshot(&[&"take", &source, &store])).exits(3);
        assert!(ran.err.contains(name), "{name}: {}", ran.err);
        prune(&store, &["--keep-last=1", "--yes"], 3);
        let precious = if victim.is_dir() { victim.join("precious.b3") } else { victim };
        assert_eq!(fs::read_to_string(precious).unwrap(), "contents", "{name}");
        assert_eq!(directories(&store).len(), 2, "{name}");
        fs::remove_file(&place).unwrap();
        if let Some(text) = kept {
            file(&place, text);
        }
        take(&source, &store, &[], 0);
    }
}

fn what_others_put_to_what_is_ours_is_refused() {
    let home = scratch();
    let (source, store, _) = stored(home.path(), 2);
    for (name, is_directory) in [("doomed", true), ("journal", false), ("manifests/x.b3", false)] {
        let place = store.join(".ringsync").join(name);
        fs::remove_dir_all(&place).ok();
        if is_directory {
            fs::create_dir(&place).unwrap();
        } else {
            file(&place, "theirs");
        }
        give(&place, ALICE);
        let ran = take(&source, &store, &[], 3);
        assert!(ran.err.contains("it is another user's"), "{}", ran.err);
        prune(&store, &["--keep-last=1"], 3);
        run(snapshot(&[&"rebuild", &store])).exits(3);
        assert!(place.exists());
        fs::remove_dir(&place).or_else(|_| fs::remove_file(&place)).unwrap();
    }
    take(&source, &store, &[], 0);
}

/// Who may write to it may put something there, also where they can't remove what others have.
fn a_store_that_everybody_may_write_to_is_refused() {
    let home = scratch();
    let (source, store, _) = stored(home.path(), 2);
    for open in [store.clone(), store.join(".ringsync")] {
        for bits in [0o777, 0o1777, 0o1707] {
            mode(&open, bits);
            let ran = take(&source, &store, &[], 3);
            assert!(ran.err.contains("everybody may write to it"), "{}", ran.err);
            prune(&store, &["--keep-last=1"], 3);
            run(snapshot(&[&"rebuild", &store])).exits(3);
        }
        mode(&open, 0o700);
    }
    take(&source, &store, &[], 0);
    // What a group may write to is closed before anything is done there.
    give_tree(home.path(), ALICE);
    mode(home.path(), 0o755);
    mode(store.join(".ringsync"), 0o770);
    let mut command = program_of_alice();
    command.args(["snapshot", "prune", "--keep-last=1", "--yes"]).arg(&store);
    run(command).exits(0);
    assert_eq!(fs::metadata(store.join(".ringsync")).unwrap().mode() & 0o777, 0o700);
}

fn nothing_waits_for_a_fifo() {
    let home = scratch();
    let (source, store, _) = stored(home.path(), 1);
    // Each with a run that would wait, and whether it goes on without the file.
    let cases = [
        ("lock", "take", 3),
        ("lock", "prune", 3),
        ("lock", "rebuild", 3),
        ("journal", "take", 0),
        ("snapshots.new", "take", 0),
        ("pending.new", "take", 0),
        ("snapshots.jsonl", "rebuild", 3),
        ("pending.json", "rebuild", 3),
    ];
    for (name, word, code) in cases {
        let place = store.join(".ringsync").join(name);
        let kept = fs::read(&place).ok();
        fs::remove_file(&place).ok();
        node(&place, FileType::Fifo, (0, 0));
        let command = match word {
            "take" => snapshot(&[&word, &source, &store]),
            "prune" => snapshot(&[&word, &"--keep-last=9", &store]),
            _ => snapshot(&[&word, &store]),
        };
        let ran = run(command);
        assert_eq!(ran.code, Some(code), "{name}, {word}: {}", ran.err);
        if code == 3 {
            assert!(ran.err.contains("no regular file"), "{name}, {word}: {}", ran.err);
            fs::remove_file(&place).unwrap();
            if let Some(text) = kept {
                file(&place, text);
            }
        }
    }
}

/// It had to wait for a run that has taken a snapshot meanwhile.
fn a_run_that_can_not_begin_removes_no_record() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    file(source.join("f"), "contents");
    let mut waits = program_with(&["inject=flock:delay_enter=1500000:when=1"]);
    waits.args(["snapshot", "take", "--wait"]).args([&home.path().join("missing"), &store]);
    let mut waits = waits.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    await_of(&mut waits, "the lock is there", || store.join(".ringsync/lock").exists());
    let name = name_of(&take(&source, &store, &[], 0));
    finish(waits, Duration::from_secs(60)).exits(3);
    assert!(store.join(".ringsync/snapshots.jsonl").exists());
    assert_eq!(names(&store), [name]);
}

fn what_is_no_directory_is_no_snapshot() {
    for is_link in [false, true] {
        let home = scratch();
        let (_, store, all) = stored(home.path(), 3);
        let newest = store.join(&all[2]);
        fs::remove_dir_all(&newest).unwrap();
        if is_link {
            symlink("nowhere", &newest).unwrap();
        } else {
            file(&newest, "contents");
        }
        assert_eq!(names(&store), all[..2]);
        symlink("nowhere", store.join(".ringsync/doomed/0")).unwrap();
        prune(&store, &["--keep-last=1", "--yes"], 0);
        assert_eq!(names(&store), [&*all[1]]);
        assert!(store.join(&all[1]).join("d/f").exists());
        assert_eq!(fs::read_link(store.join("latest")).unwrap(), Path::new(&all[1]));
    }
}

/// Lines in another order, and twice.
fn the_record_counts_by_its_numbers() {
    let home = scratch();
    let (source, store, all) = stored(home.path(), 3);
    let record = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.reverse();
    fs::write(&record, lines.join("\n") + "\n").unwrap();
    assert_eq!(names(&store), all);
    fs::write(&record, format!("{text}{}\n{}\n", lines[0], lines[2])).unwrap();
    assert_eq!(names(&store), all);
    prune(&store, &["--keep-last=2"], 0);
    assert_eq!(names(&store), all[1..]);
    assert_eq!(directories(&store), [store.join(&all[1]), store.join(&all[2])]);
    take(&source, &store, &[], 0);
    assert_eq!(list(&store)[2]["sequence"], 4);
}

fn a_record_without_its_last_end_is_whole() {
    let home = scratch();
    let (_, store, all) = stored(home.path(), 2);
    let record = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.trim_end()).unwrap();
    assert_eq!(names(&store), all);
    prune(&store, &["--keep-last=1", "--yes"], 0);
    assert_eq!(directories(&store), [store.join(&all[1])]);
}

/// Makes files until there is no inode left.
fn fill_inodes(directory: &Path) {
    fs::create_dir(directory).unwrap();
    for number in 0.. {
        if fs::File::create(directory.join(number.to_string())).is_err() {
            break;
        }
    }
}

fn a_disk_without_an_inode_is_pruned() {
    let home = scratch();
    let point = home.path().join("mnt");
    fs::create_dir(&point).unwrap();
    let mount = Mount::tmpfs_at(&point, "40M,nr_inodes=200");
    let (source, store) = (home.path().join("src"), mount.path().join("store"));
    file(source.join("d/f"), "contents");
    let first = [(); 4].map(|()| name_of(&take(&source, &store, &[], 0)));
    fill_inodes(&mount.path().join("full"));
    prune(&store, &["--keep-last=2"], 0);
    assert_eq!(names(&store), first[2..]);
    fs::remove_dir_all(mount.path().join("full")).unwrap();
    // The newest one goes as well: there is room for another link when the first one has gone.
    take(&source, &store, &["--name=y"], 0);
    let last = name_of(&take(&source, &store, &[], 0));
    take(&source, &store, &["--name=x"], 0);
    let record = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let at = text.rfind("\"complete\":true").unwrap();
    fs::write(
        &record,
        text[..at].to_owned() + &text[at..].replace("\"complete\":true", "\"complete\":false"),
    )
    .unwrap();
    fill_inodes(&mount.path().join("full"));
    prune(&store, &["--name=y", "--name=x"], 0);
    assert_eq!(names(&store), [&*first[2], &*first[3], &*last]);
    assert_eq!(fs::read_link(store.join("latest")).unwrap(), Path::new(&last));
    fs::remove_dir_all(mount.path().join("full")).unwrap();
    fill_inodes(&mount.path().join("full"));
    let new = name_of(&take(&source, &store, &["--prune", "--keep-last=2", "--yes"], 0));
    assert_eq!(names(&store), [&*last, &*new]);
}

fn nothing_is_restored_into_a_mounted_part_of_the_store() {
    let home = scratch();
    let (source, store, all) = stored(home.path(), 1);
    file(source.join("d/f"), "other contents");
    take(&source, &store, &[], 0);
    let mount = Mount::bind(&store.join(&all[0]));
    for destination in [mount.path().to_path_buf(), mount.path().join("new"), mount.path().join("d")] {
        let ran = run(snapshot(&[&"restore", &store, &destination])).exits(3);
        assert!(ran.err.contains("into the store itself"), "{}", ran.err);
    }
    // Its parent has the store mounted in it.
    let around = mount.path().parent().unwrap();
    let ran = run(snapshot(&[&"restore", &store, &around])).exits(3);
    assert!(ran.err.contains("is mounted in the destination"), "{}", ran.err);
    assert_eq!(fs::read_to_string(store.join(&all[0]).join("d/f")).unwrap(), "contents");
    run(snapshot(&[&"restore", &store, &home.path().join("back")])).exits(0);
    assert_eq!(fs::read_to_string(home.path().join("back/d/f")).unwrap(), "other contents");
}

fn what_was_broken_off_does_not_fill_a_store() {
    let (home, mount) = (scratch(), Mount::new("tmpfs", "20M"));
    let (big, small, store) =
        (home.path().join("big"), home.path().join("small"), mount.path().join("store"));
    for number in 0..12 {
        file(small.join(format!("{number}")), noise(number, 1 << 20));
        file(big.join(format!("f{number}")), noise(20 + number, 1 << 20));
    }
    file(big.join("last"), noise(50, 4 << 20));
    let mut command = snapshot(&[&"take", &"--bwlimit=8M", &"--jobs=1", &big, &store]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let left = store.join(".ringsync/incomplete");
    let is_large = || {
        let entries = fs::read_dir(&left).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|stat| stat.blocks() * 512).sum::<u64>()
            > 9 << 20
    };
    await_of(&mut child, "most of it is written", is_large);
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = take(&small, &store, &[], 0);
    assert!(ran.err.contains("what earlier runs that were broken off had left was removed"), "{}", ran.err);
    assert_equal(&small, &store.join(name_of(&ran)));
    let manifest = store.join(".ringsync/manifests").join(name_of(&ran) + ".b3");
    assert_eq!(fs::read_to_string(manifest).unwrap().lines().count(), 12, "also of those of the first try");
    assert_tidy(&store);
}

fn what_a_stranger_has_put_there_is_no_snapshot() {
    let home = scratch();
    let (_, store, _) = stored(home.path(), 1);
    let theirs = store.join("2020-01-01_000000Z");
    file(theirs.join("f"), "theirs");
    give_tree(&theirs, ALICE);
    let added = || run(snapshot(&[&"rebuild", &"-n", &store])).exits(0);
    // Root's own of a source of theirs may look like that.
    assert!(added().out.contains("2020-01-01"));
    mode(&store, 0o1777);
    let ran = added();
    assert!(!ran.out.contains("2020-01-01") && ran.err.contains("it belongs to another user"), "{}", ran.err);
    mode(&store, 0o700);
    give(&store, ALICE + 1);
    assert!(!added().out.contains("2020-01-01"));
}

/// A member of the group that may write to a store puts a directory there that is called by a time, with a file like a new one.
fn what_a_stranger_has_put_there_is_not_linked_to() {
    for lost in [false, true] {
        let home = scratch();
        mode(home.path(), 0o755);
        let (source, store, _) = stored(home.path(), 1);
        let planted = store.join("2099-01-01_000000Z");
        for (tree, text) in [(&source, "mine"), (&planted, "evil")] {
            file(tree.join("d/new"), text);
            modified(tree.join("d/new"), 1_700_000_000, 1);
            give_tree(tree, ALICE);
        }
        give_tree(&store, ALICE);
        give(&planted, ALICE + 1);
        mode(&store, 0o770);
        if lost {
            fs::remove_dir_all(store.join(".ringsync")).unwrap();
            fs::remove_file(store.join("latest")).unwrap();
            symlink("2099-01-01_000000Z", store.join("latest")).unwrap();
        }
        let mut command = program_of_alice();
        command.args(["snapshot", "take"]).args([&source, &store]);
        let name = name_of(&run(command).exits(0));
        assert_eq!(fs::read_to_string(store.join(name).join("d/new")).unwrap(), "mine", "{lost}");
    }
}

/// Others could write to what is ours until now: what looks as if a run had been broken off may be theirs.
fn what_was_planted_as_broken_off_is_not_believed() {
    for place in ["incomplete", "broken-off/0"] {
        let home = scratch();
        mode(home.path(), 0o755);
        let (source, store, _) = stored(home.path(), 1);
        let planted = store.join(".ringsync").join(place);
        for (tree, text) in [(&source, "mine"), (&planted, "evil")] {
            file(tree.join("d/new"), text);
            modified(tree.join("d/new"), 1_700_000_000, 1);
        }
        give(&planted, ALICE + 1);
        // Root's own has the owner that it has in its source: it is compared by contents.
        let name = name_of(&take(&source, &store, &[], 0));
        assert_eq!(fs::read_to_string(store.join(name).join("d/new")).unwrap(), "mine", "{place}");
        // Another user's own is their own.
        file(planted.join("d/f"), "evil");
        give_tree(&store, ALICE);
        give_tree(&source, ALICE);
        give(&planted, ALICE + 1);
        let mut command = program_of_alice();
        command.args(["snapshot", "take"]).args([&source, &store]);
        let ran = run(command).exits(3);
        assert!(ran.err.contains("it is another user's"), "{}", ran.err);
        assert_eq!(fs::read_to_string(planted.join("d/f")).unwrap(), "evil");
    }
}

fn a_snapshot_that_is_not_there_is_told() {
    let home = scratch();
    let (source, store, _) = stored(home.path(), 1);
    take(&source, &store, &["--name=x"], 0);
    take(&source, &store, &[], 0);
    let told = "snapshot x is in the record, and not in the store any more";
    fs::rename(store.join("x"), home.path().join("moved")).unwrap();
    let ran = prune(&store, &["-n", "--keep-last=5"], 0);
    assert!(ran.err.contains(told), "{}", ran.err);
    let ran = take(&source, &store, &[], 0);
    assert!(ran.err.contains(told), "{}", ran.err);
    fs::rename(home.path().join("moved"), store.join("x")).unwrap();
    run(snapshot(&[&"rebuild", &store])).exits(0);
    let ran = take(&source, &store, &[], 0);
    assert!(!ran.err.contains("not in the store any more"), "{}", ran.err);
    assert_eq!(names(&store).len(), 5);
}

fn a_name_is_no_longer_than_its_manifest_can_be() {
    let home = scratch();
    let (source, store, _) = stored(home.path(), 1);
    for length in [252, 255] {
        let ran = take(&source, &store, &["--name", &"n".repeat(length)], 3);
        assert!(ran.err.contains("251 bytes at most"), "{}", ran.err);
        assert_tidy(&store);
    }
    take(&source, &store, &["--name", &"n".repeat(251)], 0);
    assert_tidy(&store);
}

fn a_clock_before_1970_is_no_reason_not_to_back_up() {
    let home = scratch();
    let (source, store, _) = stored(home.path(), 1);
    let mut command = std::process::Command::new("faketime");
    command.arg("1960-11-24").arg(crate::support::program()).args(["snapshot", "take"]);
    command.args([&source, &store]);
    run(command).exits(0);
    assert_eq!(names(&store).len(), 2);
}

fn what_has_no_hash_is_not_vouched_for() {
    let home = scratch();
    let (source, store) = (crate::snapshots::source(home.path()), home.path().join("store"));
    let name = name_of(&take(&source, &store, &[], 0));
    let manifest = store.join(".ringsync/manifests").join(name + ".b3");
    let text = fs::read_to_string(&manifest).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let to = home.path().join("to");
    let restore = |code: i32, unknown: Option<usize>| {
        // Into a new destination, and one that has all.
        fs::remove_dir_all(&to).ok();
        for _ in 0..2 {
            let ran = run(snapshot(&[&"restore", &"--verify", &store, &to])).exits(code);
            let told = unknown.map(|count| format!("the store has none of them: {count}\n"));
            let is_told = told.as_ref().is_none_or(|told| ran.err.contains(told));
            assert!(is_told && ran.err.contains("has none of them") == told.is_some(), "{}", ran.err);
        }
    };
    restore(0, None);
    fs::write(&manifest, lines[..lines.len() - 3].join("\n") + "\n").unwrap();
    restore(0, Some(3));
    fs::write(&manifest, format!("garbage\n{}\n", lines[1..].join("\n"))).unwrap();
    restore(23, Some(1));
    fs::remove_file(&manifest).unwrap();
    restore(0, Some(lines.len()));
}

fn what_is_missing_of_a_whole_source_is_named() {
    let home = scratch();
    let (a, b, store) = (home.path().join("a"), home.path().join("b"), home.path().join("store"));
    file(a.join("f"), "contents");
    file(b.join("g"), "contents");
    mode(home.path(), 0o755);
    give_tree(home.path(), ALICE);
    let take_both = |code: i32| {
        let mut command = program_of_alice();
        command.args(["snapshot", "take", "--min-entries=1"]).args([&a, &b, &store]);
        run(command).exits(code)
    };
    let first = name_of(&take_both(0));
    let told = format!("the newest earlier snapshot that has a is {first}");
    mode(&a, 0o000);
    let ran = take_both(23);
    assert!(ran.err.contains(&told), "{}", ran.err);
    let listed = run(snapshot(&[&"list", &store])).exits(0);
    assert!(listed.out.contains("has a is") || listed.err.contains("has a is"), "{listed:?}");
    fs::rename(&a, home.path().join("gone")).unwrap();
    let ran = take_both(23);
    assert!(ran.err.contains(&told), "{}", ran.err);
}

/// Where a directory becomes a symlink while it is counted.
fn a_count_never_leaves_its_tree() {
    let home = scratch();
    let (_, store, all) = stored(home.path(), 1);
    let (outside, tree) = (home.path().join("outside"), store.join(&all[0]));
    for number in 0..50 {
        file(outside.join(format!("{number}")), "x");
        file(tree.join(format!("more/{number}/f")), "x");
    }
    symlink(&outside, tree.join("link")).unwrap();
    let exchange = || {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        renameat_with(CWD, tree.join("link"), CWD, tree.join("d"), RenameFlags::EXCHANGE).unwrap();
    };
    crate::support::meanwhile(exchange, || {
        for _ in 0..30 {
            fs::remove_file(store.join(".ringsync/snapshots.jsonl")).unwrap();
            let ran = run(snapshot(&[&"rebuild", &store]));
            assert!(ran.code == Some(0) || ran.code == Some(23), "{ran:?}");
            let entries = list(&store)[0]["entries"].as_u64().unwrap();
            assert!((103..110).contains(&entries), "{entries}");
        }
    });
}

fn a_dry_run_refuses_what_is_no_snapshot() {
    let home = scratch();
    let (_, store, _) = stored(home.path(), 1);
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for options in [&["-n"][..], &[]] {
        let ran = take(&empty, &store, options, 25);
        assert!(ran.err.contains("no snapshot: the source is empty"), "{}", ran.err);
    }
    take(&empty, &home.path().join("other"), &["-n"], 25);
    assert!(!home.path().join("other").exists());
}

fn what_lies_about_hinders_no_removal() {
    let home = scratch();
    let (_, store, all) = stored(home.path(), 3);
    file(store.join(".ringsync/nothing/litter"), "contents");
    prune(&store, &["--keep-last=2"], 0);
    assert_eq!(names(&store), all[1..]);
    assert_tidy(&store);
}

fn a_store_of_roots_that_others_get_into_is_told() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    file(source.join("f"), "contents");
    fs::create_dir(&store).unwrap();
    mode(&store, 0o755);
    let told = |ran: &Ran| ran.err.matches("others can get into the store").count();
    assert_eq!(told(&take(&source, &store, &[], 0)), 1);
    assert!(run(snapshot(&[&"status", &store])).exits(0).out.contains("others may get into the store"));
    mode(&store, 0o700);
    assert_eq!(told(&take(&source, &store, &[], 0)), 0);
    assert!(!run(snapshot(&[&"status", &store])).exits(0).out.contains("others may"));
}

/// On a file system that has no symlinks.
fn a_snapshot_without_its_link_is_one() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    file(source.join("f"), "contents");
    let without_links = |arguments: &[&Path]| {
        let mut command = program_with(&["inject=symlink,symlinkat:error=EPERM"]);
        command.arg("snapshot").args(arguments);
        run(command).exits(23)
    };
    let [first, second] = [(); 2].map(|()| {
        let ran = without_links(&[Path::new("take"), &source, &store]);
        assert!(ran.err.contains("latest"), "{}", ran.err);
        name_of(&ran)
    });
    assert_eq!(names(&store), [&*first, &*second]);
    assert_equal(&source, &store.join(&second));
    let ran = without_links(&[Path::new("prune"), Path::new("--keep-last=1"), &store]);
    assert!(ran.out.contains(&format!("removed {first}\n")), "{ran:?}");
    assert_eq!(names(&store), [second]);
}

fn what_could_not_be_flushed_is_told_with_what_went() {
    for (error, code) in [("EINVAL", 0), ("EIO", 23)] {
        let home = scratch();
        let (_, store, all) = stored(home.path(), 3);
        let mut command = program_with(&[&format!("inject=fsync:error={error}")]);
        command.args(["snapshot", "prune", "--keep-last=2"]).arg(&store);
        let ran = run(command).exits(code);
        assert!(ran.out.contains(&format!("removed {}\n", all[0])), "{ran:?}");
        assert_eq!(names(&store), all[1..]);
    }
}

/// The kernel tells once of what it could not write. What only its cache has is no snapshot, and no base of one.
fn what_the_disk_has_not_taken_is_not_linked_to() {
    let home = scratch();
    let (source, store, all) = stored(home.path(), 1);
    file(source.join("new"), noise(1, 100_000));
    let mut command = program_with(&["inject=syncfs:error=EIO"]);
    command.args(["snapshot", "take"]).args([&source, &store]);
    let ran = run(command);
    assert!(ran.code != Some(0) && ran.err.contains("Input/output error"), "{ran:?}");
    assert_eq!(names(&store), all);
    for left in ["incomplete", "broken-off", "journal"] {
        assert!(!store.join(".ringsync").join(left).exists(), "{left}");
    }
    let ran = take(&source, &store, &["--json"], 0);
    assert_eq!(
        ran.json().iter().find(|line| line["event"] == "summary").unwrap()["bytes"],
        100_000,
        "{ran:?}"
    );
    assert_equal(&source, &store.join(names(&store).pop().unwrap()));
    assert_tidy(&store);
}

/// A file system that has room for links, and for no file.
fn what_rules_release_makes_room_for_hashes() {
    let (home, mount) = (scratch(), Mount::new("btrfs", "400M"));
    let (source, store) = (home.path().join("src"), mount.path().join("store"));
    for number in 0..4 {
        file(source.join("f"), noise(number, 5 << 20));
        take(&source, &store, &[], 0);
    }
    let mut filler = fs::File::create(mount.path().join("full")).unwrap();
    for size in [1 << 20, 4096] {
        while std::io::Write::write_all(&mut filler, &noise(9, size)).is_ok() {}
    }
    filler.sync_all().ok();
    let ran = take(&source, &store, &["--clone=never", "--prune", "--keep-last=2", "--yes"], 0);
    assert_eq!(names(&store).len(), 2, "{ran:?}");
    assert_eq!(names(&store)[1], name_of(&ran));
    assert_tidy(&store);
}
