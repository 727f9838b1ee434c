//! Stores whose record is lost or damaged, and the snapshots of other programs: `snapshot rebuild` and `snapshot adopt`.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use crate::schema::assert_lines_described;
use crate::snapshots::{directories, inode, list, name_of, names, snapshot, source, take};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, modified, snapshot as tree_of};
use crate::support::{Ran, assert_equal, program_with, run, scratch, tool};

tests![
    a_lost_record_is_made_again,
    what_can_be_read_of_a_record_is_kept,
    a_newer_record_is_not_made_again,
    what_is_no_store_gets_no_record,
    trees_of_rsnapshot_are_adopted,
    trees_of_rsync_time_backup_are_adopted,
    trees_of_the_nightly_script_are_adopted,
    what_can_not_be_adopted_is_refused: [Need::Root],
    what_is_adopted_comes_before_what_was_taken,
    directories_that_are_named_are_taken_in_alone,
    what_vanishes_ends_no_count: [Need::Tool("strace")],
    an_adoption_that_is_killed_is_gone_on_with: [Need::Tool("strace")],
];

fn rebuild(store: &Path, options: &[&str], code: i32) -> Ran {
    let mut command = snapshot(&[&"rebuild", &store]);
    command.args(options);
    run(command).exits(code)
}

fn adopt(paths: &[&Path], options: &[&str], code: i32) -> Ran {
    let mut command = snapshot(&[&"adopt", &"--timezone=UTC"]);
    command.args(paths).args(options);
    run(command).exits(code)
}

fn latest(store: &Path) -> String {
    fs::read_link(store.join("latest")).unwrap().to_str().unwrap().to_owned()
}

fn a_lost_record_is_made_again() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let first = name_of(&take(&source, &store, &[], 0));
    take(&source, &store, &["--name=kept"], 0);
    let last = name_of(&take(&source, &store, &[], 0));
    let before = list(&store);
    // The named one was the second; the time of its manifest tells, to the second.
    modified(store.join(format!(".ringsync/manifests/{last}.b3")), 0, 0);
    for lost in ["snapshots.jsonl", ""] {
        let lost = store.join(".ringsync").join(lost);
        if lost.is_dir() {
            fs::remove_dir_all(lost).unwrap()
        } else {
            fs::remove_file(lost).unwrap()
        }
        fs::remove_file(store.join("latest")).unwrap();
        let trees = tree_of(&store);
        let ran = rebuild(&store, &["-n"], 0);
        assert_eq!(ran.out.lines().filter(|line| line.starts_with("would add ")).count(), 3, "{}", ran.out);
        assert!(tree_of(&store) == trees, "a dry run writes nothing");
        let ran = rebuild(&store, &[], 0);
        assert!(ran.out.contains(&format!("added {first}: 25 entries, ")), "{}", ran.out);
        let records = list(&store);
        assert_lines_described(&records);
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|record| record["rebuilt"] == true && record["complete"] == true));
        for record in &before {
            let again = records.iter().find(|again| again["name"] == record["name"]).unwrap();
            for field in ["entries", "bytes", "named", "several"] {
                assert_eq!(again[field], record[field], "{field} of {again}");
            }
        }
        assert_eq!(fs::metadata(store.join(".ringsync")).unwrap().mode() & 0o777, 0o700);
        let text = run(snapshot(&[&"list", &store])).exits(0).out;
        assert!(text.contains("  rebuilt\n") && text.contains("  named, rebuilt\n"), "{text}");
        assert_eq!(rebuild(&store, &[], 0).out, "nothing to add\n");
    }
    let next = name_of(&take(&source, &store, &[], 0));
    assert_eq!(inode(store.join(&next).join("d0/f0")), inode(store.join(&first).join("d0/f0")));
    assert_eq!(names(&store).last(), Some(&next));
}

fn what_can_be_read_of_a_record_is_kept() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let all = [(); 4].map(|()| name_of(&take(&source, &store, &[], 0)));
    let path = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1] = "{\"format\":1,\"seq";
    lines.insert(3, "\u{0}\u{0}");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let ran = take(&source, &store, &[], 3);
    assert!(ran.err.contains("`snapshot rebuild` makes the record again"), "{}", ran.err);
    let manifests = tree_of(&store.join(".ringsync/manifests"));
    let ran = rebuild(&store, &[], 0);
    assert!(
        ran.err.contains("line 2 is not a snapshot's") && ran.err.contains("line 4 is not"),
        "{}",
        ran.err
    );
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    assert!(ran.out.contains(&format!("added {}: ", all[1])), "{}", ran.out);
    assert!(tree_of(&store.join(".ringsync/manifests")) == manifests);
    let records = list(&store);
    assert_eq!(names(&store), all);
    let rebuilt: Vec<bool> = records.iter().map(|record| record["rebuilt"] == true).collect();
    assert_eq!(rebuilt, [false, true, false, false]);
    let sequence: Vec<u64> = records.iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequence, [1, 2, 3, 4]);
    assert_eq!(latest(&store), all[3]);
}

fn a_newer_record_is_not_made_again() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    take(&source, &store, &[], 0);
    let path = store.join(".ringsync/snapshots.jsonl");
    let newer =
        format!("garbage\n{}", fs::read_to_string(&path).unwrap().replace("\"format\":1", "\"format\":2"));
    fs::write(&path, &newer).unwrap();
    let ran = rebuild(&store, &[], 3);
    assert!(ran.err.contains("use a newer ringsync"), "{}", ran.err);
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}

fn what_is_no_store_gets_no_record() {
    let home = scratch();
    let source = source(home.path());
    let ran = rebuild(&source, &[], 3);
    assert!(ran.err.contains("it is no store"), "{}", ran.err);
    rebuild(&home.path().join("missing"), &[], 3);
    assert_eq!(adopt(&[&source], &[], 0).out, "nothing to adopt\n");
    assert!(!source.join(".ringsync").exists());
    // What is not ours stays out of the record of a store.
    let store = home.path().join("store");
    take(&source, &store, &[], 0);
    for name in ["lost+found", "incomplete", "daily.0", ".hidden", "mine"] {
        fs::create_dir(store.join(name)).unwrap();
    }
    let ran = rebuild(&store, &[], 0);
    assert_eq!(ran.out, "nothing to add\n");
    assert!(ran.err.contains("`adopt` takes daily.0 over"), "{}", ran.err);
    assert!(ran.err.contains("it is empty, and its name is no time"), "{}", ran.err);
    // What may be one of ours is never the newest.
    let newest = latest(&store);
    file(store.join("mine/f"), "contents");
    for _ in 0..2 {
        rebuild(&store, &[], 0);
        assert_eq!((names(&store), latest(&store)), (vec!["mine".into(), newest.clone()], newest.clone()));
        fs::remove_file(store.join(".ringsync/snapshots.jsonl")).unwrap();
    }
    let next = name_of(&take(&source, &store, &[], 0));
    assert_eq!(inode(store.join(&next).join("d0/f0")), inode(store.join(&newest).join("d0/f0")));
}

/// Makes trees that share what did not change, each with one more file.
fn trees(home: &Path, around: &Path, names: &[&str]) {
    let source = match home.join("src") {
        there if there.exists() => there,
        _ => source(home),
    };
    for (number, name) in names.iter().enumerate() {
        let tree = around.join(name);
        match number.checked_sub(1) {
            None => tool("cp", &["-a".as_ref(), source.as_os_str(), tree.as_os_str()]),
            Some(before) => {
                tool("cp", &["-al".as_ref(), around.join(names[before]).as_os_str(), tree.as_os_str()])
            }
        };
        if number > 0 {
            file(tree.join(format!("new{number}")), "contents");
        }
    }
}

fn trees_of_rsnapshot_are_adopted() {
    let home = scratch();
    let around = home.path().join("root");
    fs::create_dir(&around).unwrap();
    trees(home.path(), &around, &["weekly.0", "daily.1", "daily.0", "hourly.10"]);
    for (day, name) in ["weekly.0", "daily.1", "daily.0", "hourly.10"].iter().enumerate() {
        modified(around.join(name), 1_700_000_000 + 86_400 * day as i64, 5);
    }
    fs::create_dir(around.join("_delete.77")).unwrap();
    let newest = tree_of(&around.join("hourly.10"));
    let before = tree_of(&around);
    let ran = adopt(&[&around], &["-n"], 0);
    assert!(tree_of(&around) == before, "a dry run renames nothing");
    let told: Vec<&str> = ran.out.lines().map(|line| line.split(':').next().unwrap()).collect();
    let root = around.display();
    assert_eq!(told[0], format!("would adopt {root}/weekly.0 as 2023-11-14_221320Z"));
    assert_eq!(told[3], format!("would adopt {root}/hourly.10 as 2023-11-17_221320Z"));
    let ran = adopt(&[&around], &[], 0);
    assert_eq!(ran.out, "".to_owned() + &ran.out.replace("would adopt", "adopted"), "{}", ran.out);
    let expected = ["2023-11-14_221320Z", "2023-11-15_221320Z", "2023-11-16_221320Z", "2023-11-17_221320Z"];
    assert_eq!(names(&around), expected);
    assert_lines_described(&list(&around));
    assert!(tree_of(&around.join("latest/")) == newest, "as it was");
    assert!(around.join("_delete.77").is_dir());
    // The next one links to the newest.
    let source = home.path().join("src");
    let next = name_of(&take(&source, &around, &[], 0));
    assert_eq!(inode(around.join(&next).join("d0/f0")), inode(around.join(expected[0]).join("d0/f0")));
    assert_equal(&source, &around.join(&next));
    // Into a store that has snapshots: before these, by their times.
    let more = home.path().join("more");
    fs::create_dir(&more).unwrap();
    trees(home.path(), &more, &["night.1", "night.0"]);
    modified(more.join("night.1"), 1_600_000_000, 0);
    modified(more.join("night.0"), 1_600_000_000, 0);
    adopt(&[&around, &more.join("night.0"), &more.join("night.1/")], &[], 0);
    let found = names(&around);
    assert_eq!(found[..3], ["2020-09-13_122640Z", "2020-09-13_122640Z.001", expected[0]]);
    assert_eq!((found.len(), latest(&around)), (7, next));
    assert_eq!(fs::read_dir(&more).unwrap().count(), 0);
    assert_eq!(adopt(&[&around], &[], 0).out, "nothing to adopt\n");
}

fn trees_of_rsync_time_backup_are_adopted() {
    let home = scratch();
    let around = home.path().join("root");
    fs::create_dir(&around).unwrap();
    trees(home.path(), &around, &["2024-01-31-023000", "2024-07-31-023000"]);
    symlink("2024-01-31-023000", around.join("latest")).unwrap();
    file(around.join("backup.marker"), "");
    file(around.join("backup.inprogress"), "1");
    let options = ["--timezone=Europe/Berlin"];
    let mut command = snapshot(&[&"adopt", &around]);
    command.args(options);
    run(command).exits(0);
    assert_eq!(names(&around), ["2024-01-31_013000Z", "2024-07-31_003000Z"]);
    let complete: Vec<bool> = list(&around).iter().map(|record| record["complete"] == true).collect();
    assert_eq!(complete, [true, false], "its run has not come to its end");
    assert_eq!(latest(&around), "2024-07-31_003000Z");
    assert!(around.join("backup.marker").exists());
}

fn trees_of_the_nightly_script_are_adopted() {
    let home = scratch();
    let around = home.path().join("root");
    fs::create_dir(&around).unwrap();
    let made =
        ["2026-01-30", "2026-01-31_023000.123", "2026-02-01_023000.000_some-failed", "2026-02-02_023000.9"];
    trees(home.path(), &around, &made);
    symlink(made[1], around.join("latest")).unwrap();
    fs::create_dir(around.join("incomplete")).unwrap();
    adopt(&[&around], &[], 0);
    assert_eq!(names(&around), ["2026-01-30_000000Z", "2026-01-31_023000Z", "2026-02-01_023000Z"]);
    let complete: Vec<bool> = list(&around).iter().map(|record| record["complete"] == true).collect();
    assert_eq!(complete, [true, true, false]);
    assert!(around.join(made[3]).is_dir() && around.join("incomplete").is_dir(), "not its names");
}

fn what_can_not_be_adopted_is_refused() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    file(home.path().join("daily.3"), "");
    let disk = Mount::new("tmpfs", "2M");
    fs::create_dir(disk.path().join("daily.0")).unwrap();
    for (path, why) in [
        (source.clone(), "its name tells no time"),
        (home.path().join("daily.3"), "it is no directory"),
        (home.path().join("daily.4"), "does not exist"),
        (disk.path().join("daily.0"), "it lies on another file system than the store"),
    ] {
        let ran = adopt(&[&store, &path], &[], 3);
        assert!(ran.err.contains(why), "{}", ran.err);
        assert!(!store.exists());
    }
    fs::create_dir_all(home.path().join("rs/daily.0")).unwrap();
    let ran = adopt(&[&store, &home.path().join("rs")], &[], 3);
    assert!(
        ran.err.contains("directories in it do: name these, ") && ran.err.contains("/rs/*"),
        "{}",
        ran.err
    );
    adopt(&[&home.path().join("missing")], &[], 3);
    let name = name_of(&take(&source, &store, &[], 0));
    let ran = adopt(&[&store, &store.join(&name)], &[], 3);
    assert!(ran.err.contains("it is a snapshot of this store already"), "{}", ran.err);
    assert!(disk.path().join("daily.0").is_dir());
}

fn an_adoption_that_is_killed_is_gone_on_with() {
    let home = scratch();
    let made = ["2024-01-29-023000", "2024-01-30_023000.500_some-failed", "2024-01-31-023000"];
    let mut killed = 0;
    for number in 1..=7 {
        let (around, store) =
            (home.path().join(format!("from{number}")), home.path().join(format!("to{number}")));
        fs::create_dir(&around).unwrap();
        trees(home.path(), &around, &made);
        let mut command = program_with(&[&format!("inject=renameat:signal=KILL:when={number}")]);
        command.args(["snapshot", "adopt", "--timezone=UTC"]).arg(&store);
        command.args(made.map(|name| around.join(name)));
        killed += u32::from(run(command).code != Some(0));
        let rest: Vec<_> = made.iter().map(|name| around.join(name)).filter(|path| path.exists()).collect();
        let mut paths = vec![&*store];
        paths.extend(rest.iter().map(|path| &**path));
        adopt(&paths, &[], 0);
        assert_eq!(names(&store), ["2024-01-29_023000Z", "2024-01-30_023000Z", "2024-01-31_023000Z"]);
        assert_eq!((directories(&store).len(), latest(&store)), (3, "2024-01-31_023000Z".into()));
        assert!(store.join("latest/new2").exists());
        let complete: Vec<bool> = list(&store).iter().map(|record| record["complete"] == true).collect();
        assert_eq!(complete, [true, false, true], "{number}");
    }
    assert!(killed >= 5, "{killed}");
}

/// Whatever the dates say: a directory that may be no snapshot is the oldest one, and what was taken keeps its order.
fn what_is_adopted_comes_before_what_was_taken() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    take(&source, &store, &[], 0);
    take(&source, &store, &["--name=kept"], 0);
    take(&source, &store, &[], 0);
    file(store.join("mine/f"), "contents");
    modified(store.join("mine"), 4_000_000_000, 0);
    // All that was taken is rebuilt.
    fs::remove_file(store.join(".ringsync/snapshots.jsonl")).unwrap();
    rebuild(&store, &[], 0);
    let taken = names(&store)[1..].to_vec();
    let last = taken[2].clone();
    let mut adopted: Vec<String> = Vec::new();
    // The second one is dated later than all, and the third one before the first.
    for (tree, time) in [("daily.0", 1_700_000_000), ("daily.1", 3_000_000_000), ("daily.2", 1_600_000_000)] {
        let tree = home.path().join(tree);
        file(tree.join("f"), "contents");
        modified(&tree, time, 0);
        let ran = adopt(&[&store, &tree], &[], 0);
        adopted.push(ran.out.rsplit(" as ").next().unwrap().split(':').next().unwrap().to_owned());
        adopted.sort();
        let order = [&["mine".into()], &adopted[..], &taken].concat();
        assert_eq!((names(&store), latest(&store)), (order, last.clone()));
    }
    assert_lines_described(&list(&store));
    // Nor does what was taken, and lost its record, become adopted.
    let record = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let (rest, _) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(&record, format!("{rest}\n")).unwrap();
    assert_eq!(adopt(&[&store], &[], 0).out, "nothing to adopt\n");
    rebuild(&store, &[], 0);
    assert_eq!((names(&store).last(), latest(&store)), (Some(&last), last.clone()));
}

fn directories_that_are_named_are_taken_in_alone() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let all = [(); 2].map(|()| name_of(&take(&source, &store, &[], 0)));
    let record = store.join(".ringsync/snapshots.jsonl");
    fs::remove_file(&record).unwrap();
    for name in ["mine/f", "other/f", "daily.0/f"] {
        file(store.join(name), "contents");
    }
    fs::create_dir(store.join("empty")).unwrap();
    for (names, why) in [
        (&["missing"][..], "there is no such directory"),
        (&["mine", "daily.0"], "`adopt` takes daily.0 over"),
        (&["../src"], "there is no such directory"),
    ] {
        let ran = rebuild(&store, names, 3);
        assert!(ran.err.contains(why), "{}", ran.err);
        assert!(!record.exists());
    }
    let lines = |ran: &Ran| ran.out.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
    let recorded = || -> Vec<String> {
        let text = fs::read_to_string(&record).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|line| line["name"].as_str().unwrap().to_owned()).collect()
    };
    let added: Vec<String> = lines(&rebuild(&store, &[&all[1]], 0));
    assert_eq!((added, recorded()), (vec![format!("added {}", all[1])], vec![all[1].clone()]));
    let ran = rebuild(&store, &["mine", "empty", "mine"], 0);
    let added: Vec<String> = lines(&ran);
    assert_eq!((added, ran.err), (vec!["added empty".into(), "added mine".to_owned()], String::new()));
    assert_eq!(recorded(), ["empty", "mine", &all[1]], "which may be none are the oldest");
    let ran = rebuild(&store, &["mine"], 3);
    assert!(ran.err.contains("it is a snapshot of this store already"), "{}", ran.err);
}

/// A file that goes between the listing of its directory and the look at it is one less.
fn what_vanishes_ends_no_count() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let name = name_of(&take(&source, &store, &[], 0));
    fs::remove_file(store.join(".ringsync/snapshots.jsonl")).unwrap();
    let (mut short, mut told) = (0, String::new());
    for number in 1..60 {
        let mut command = program_with(&[&format!("inject=newfstatat:error=ENOENT:when={number}")]);
        command.args(["snapshot", "rebuild", "-n"]).arg(&store);
        let ran = run(command);
        assert!(!ran.err.contains(&format!("store/{name}")), "{number}: {}", ran.err);
        short += usize::from(ran.out.contains(&format!("would add {name}: 24 entries")));
        told += &format!("{number}: {}{}", ran.out, ran.err);
    }
    assert!(short > 10, "{short} of the calls were for files: {told}");
}
