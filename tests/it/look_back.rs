//! Looking back into a store: what is restored is what was taken, and what is reported is right.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::schema::assert_lines_described;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, noise};
use crate::support::user::{ALICE, give_tree, program_of_alice};
use crate::support::{Ran, assert_equal, program, run, scratch};

tests![
    what_was_taken_is_restored,
    paths_are_restored_under_their_own_names,
    what_is_not_there_is_said_to_be_elsewhere,
    no_symlink_is_followed,
    a_partial_one_is_restored_and_said: [Need::Root, Need::Tool("setpriv")],
    a_store_without_a_record_is_restored_from,
    a_damaged_record_is_told_and_hinders_no_look,
    what_a_new_record_does_not_know_is_listed,
    the_one_that_latest_leads_to_needs_no_record,
    each_version_is_told_once,
    what_changed_is_itemised,
    names_of_one_inode_are_told_apart,
    a_store_is_well_or_not,
];

pub fn snapshot(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(program());
    command.arg("snapshot").args(arguments.iter().map(|argument| argument.as_ref()));
    command
}

/// Takes one, and returns its name.
pub fn take(source: &Path, store: &Path) -> String {
    name_of(&run(snapshot(&[&"take", &"--no-fsync", &source, &store])).exits(0))
}

fn name_of(ran: &Ran) -> String {
    let line = ran.out.lines().find(|line| line.starts_with("snapshot ")).unwrap();
    line["snapshot ".len()..].split(':').next().unwrap().to_owned()
}

pub fn source(home: &Path) -> PathBuf {
    let source = home.join("src");
    for number in 0..9 {
        file(source.join(format!("d{}/f{number}", number % 3)), noise(number, 1000));
    }
    mode(source.join("d0/f0"), 0o640);
    symlink("d0/f0", source.join("link")).unwrap();
    fs::hard_link(source.join("d0/f0"), source.join("d1/again")).unwrap();
    source
}

pub fn at(store: &Path, name: &str) -> String {
    format!("{}@{name}", store.display())
}

fn what_was_taken_is_restored() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("st@re"), home.path().join("to"));
    let first = take(&source, &store);
    let kept = home.path().join("kept");
    run(snapshot(&[&"restore", &store, &kept])).exits(0);
    assert_equal(&source, &kept);
    file(source.join("d0/f3"), "new");
    take(&source, &store);
    run(snapshot(&[&"restore", &at(&store, &first), &to])).exits(0);
    assert_equal(&kept, &to);
    assert_eq!(fs::metadata(to.join("d0/f0")).unwrap().nlink(), 2, "they are names of one inode again");
    file(to.join("mine"), "stays");
    let ran = run(snapshot(&[&"restore", &"-n", &"-i", &at(&store, "latest"), &to])).exits(0);
    assert!(ran.out.contains("d0/f3") && !ran.out.contains("mine"), "{}", ran.out);
    assert_equal(&kept.join("d0"), &to.join("d0"));
    run(snapshot(&[&"restore", &"--verify", &store, &to])).exits(0);
    assert_equal(&source.join("d0"), &to.join("d0"));
    assert_eq!(fs::read_to_string(to.join("mine")).unwrap(), "stays");
}

fn paths_are_restored_under_their_own_names() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    take(&source, &store);
    run(snapshot(&[&"restore", &"--mkpath", &store, &"d0/", &"./d1/f1", &to])).exits(0);
    assert_equal(&source.join("d0"), &to.join("d0"));
    assert_eq!(fs::read(to.join("f1")).unwrap(), noise(1, 1000));
    assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
    let lines = run(snapshot(&[&"restore", &"--json", &store, &"link", &to])).exits(0).json();
    assert_lines_described(&lines);
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("d0/f0"));
}

fn what_is_not_there_is_said_to_be_elsewhere() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let first = take(&source, &store);
    fs::remove_file(source.join("d0/f3")).unwrap();
    take(&source, &store);
    let refused = |from: &str, path: &str, said: &str| {
        let ran = run(snapshot(&[&"restore", &from, &path, &to])).exits(3);
        assert!(ran.err.contains(said), "{}", ran.err);
        assert!(!to.exists());
    };
    let newest = store.to_str().unwrap();
    refused(newest, "d0/f3", &format!("the newest one that has it is {first}"));
    refused(newest, "never", "nor in any other");
    refused(newest, "../store", "no `..`");
    refused(newest, "/etc", "nor in any other");
    refused(newest, ".", "leave it out");
    refused(&at(&store, "never"), "d0", "there is no snapshot never");
    refused(&at(&store, "../src"), "d0", "No such file");
}

fn no_symlink_is_followed() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let outside = home.path().join("outside");
    file(outside.join("f1"), "secret");
    symlink(&outside, source.join("way")).unwrap();
    take(&source, &store);
    run(snapshot(&[&"restore", &store, &"way/f1", &to])).exits(3);
    // One that was planted in the destination is replaced, and nothing is written beyond it.
    fs::create_dir(&to).unwrap();
    symlink(&outside, to.join("d1")).unwrap();
    run(snapshot(&[&"restore", &store, &to]));
    assert_eq!(fs::read_to_string(outside.join("f1")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

fn a_partial_one_is_restored_and_said() {
    let home = scratch();
    let source = source(home.path());
    mode(home.path(), 0o755);
    let (store, to) = (home.path().join("store"), home.path().join("to"));
    for directory in [&store, &to] {
        fs::create_dir(directory).unwrap();
        give_tree(directory, ALICE);
    }
    give_tree(&source, ALICE);
    let alice = |arguments: &[&std::ffi::OsStr], code| {
        let mut command = program_of_alice();
        command.arg("snapshot").args(arguments);
        run(command).exits(code)
    };
    let taken = ["take".as_ref(), source.as_os_str(), store.as_os_str()];
    let first = name_of(&alice(&taken, 0));
    mode(source.join("d0/f3"), 0);
    let odd = OsStr::from_bytes(b"caf\xe9");
    file(source.join(odd), "x");
    mode(source.join(odd), 0);
    let elsewhere = format!("the newest earlier snapshot that has d0/f3 is {first}");
    let ran = alice(&taken, 23);
    assert!(ran.err.contains(&elsewhere), "{}", ran.err);
    assert!(ran.err.contains(r"no earlier snapshot has caf\xe9"), "{}", ran.err);
    // What is missing in an earlier one as well is not said to be there.
    let ran = alice(&taken, 23);
    assert!(ran.err.contains(&elsewhere), "{}", ran.err);
    let second = name_of(&ran);
    let ran = alice(&["restore".as_ref(), store.as_ref(), to.as_ref()], 23);
    assert!(ran.err.contains("is partial") && ran.err.contains("d0/f3"), "{}", ran.err);
    assert!(ran.err.contains(&format!("the newest complete one is {first}")), "{}", ran.err);
    assert!(ran.err.contains(&elsewhere), "{}", ran.err);
    assert!(to.join("d0/f6").exists() && !to.join("d0/f3").exists());
    let lines = alice(&["restore".as_ref(), "--json".as_ref(), store.as_ref(), to.as_ref()], 23).json();
    assert_lines_described(&lines);
    assert_eq!(lines.last().unwrap()["newest_complete"], *first);
    let missing = lines.last().unwrap()["missing"].as_array().unwrap().clone();
    let wanted = serde_json::json!({ "path": "d0/f3", "newest": first });
    assert!(missing.len() == 2 && missing.contains(&wanted), "{missing:#?}");
    // What it lacks lies elsewhere.
    let of = |path: &'static str, code| {
        let ran = alice(&["restore".as_ref(), store.as_ref(), path.as_ref(), to.as_ref()], code);
        assert_eq!(ran.err.contains("is partial"), code == 23, "{}", ran.err);
    };
    of("d1", 0);
    of("d0/f6", 0);
    of("d0", 23);
    let asked = at(&store, &second);
    alice(&["restore".as_ref(), asked.as_ref(), to.as_ref()], 0);
    let ran = run(snapshot(&[&"list", &store])).exits(0);
    assert!(ran.out.contains(&format!("\n  {elsewhere}\n")), "{}", ran.out);
    let lines = run(snapshot(&[&"list", &"--json", &store])).exits(0).json();
    assert_lines_described(&lines);
    let missing = lines[2]["missing"].as_array().unwrap();
    assert!(missing.iter().any(|missing| missing["path_bytes"] == "Y2Fm6Q=="), "{missing:#?}");
    assert!(lines[0].get("missing").is_none());
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.starts_with("NOT OK: ") && ran.out.contains("partial"), "{}", ran.out);
}

fn a_store_without_a_record_is_restored_from() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let first = take(&source, &store);
    file(source.join("d0/f3"), "new");
    take(&source, &store);
    fs::remove_dir_all(store.join(".ringsync")).unwrap();
    fs::create_dir(store.join("2026-other")).unwrap();
    run(snapshot(&[&"restore", &store, &to])).exits(0);
    assert_equal(&source, &to);
    run(snapshot(&[&"restore", &at(&store, &first), &to])).exits(0);
    assert_eq!(fs::read(to.join("d0/f3")).unwrap(), noise(3, 1000));
    let ran = run(snapshot(&[&"list", &store])).exits(0);
    assert_eq!(ran.out.matches("without a record").count(), 2, "{}", ran.out);
    assert!(ran.out.contains(&first), "{}", ran.out);
    let lines = run(snapshot(&[&"list", &"--json", &store])).exits(0).json();
    assert_lines_described(&lines);
    assert_eq!((lines.len(), &lines[0]["name"]), (2, &first.as_str().into()));
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.starts_with("NOT OK: ") && ran.out.contains("without a record"), "{}", ran.out);
    let lines = run(snapshot(&[&"status", &"--json", &store])).exits(23).json();
    assert_lines_described(&lines);
    assert_eq!(lines[0]["recorded"], false);
    assert!(!store.join(".ringsync").exists());
    run(snapshot(&[&"restore", &source, &to])).exits(3);
}

fn a_damaged_record_is_told_and_hinders_no_look() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let all = [0, 1, 2, 3].map(|number| {
        file(source.join("d0/f3"), format!("contents {number}"));
        take(&source, &store)
    });
    let record = store.join(".ringsync/snapshots.jsonl");
    let whole = fs::read_to_string(&record).unwrap();
    for damaged in [&[1][..], &[3], &[0, 2], &[0, 1, 2, 3]] {
        let line = |(number, line): (usize, &str)| match damaged.contains(&number) {
            true => "{\"format\":1,\"seq\n".to_owned(),
            false => format!("{line}\n"),
        };
        fs::write(&record, whole.lines().enumerate().map(line).collect::<String>()).unwrap();
        let told_of = |ran: Ran, damaged: &[usize]| {
            for number in damaged {
                let wanted = format!("snapshots.jsonl: line {} is not a snapshot's", number + 1);
                assert!(ran.err.contains(&wanted) && ran.err.contains("`snapshot rebuild`"), "{ran:#?}");
            }
            ran
        };
        let told = |ran| told_of(ran, damaged);
        let lines = told(run(snapshot(&[&"list", &"--json", &store])).exits(0)).json();
        assert_lines_described(&lines);
        let listed: Vec<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
        assert_eq!(listed, all, "{damaged:?}");
        let without = |line: &serde_json::Value| line["event"] == "unrecorded";
        assert_eq!(lines.iter().filter(|line| without(line)).count(), damaged.len());
        told(run(snapshot(&[&"restore", &store, &to])).exits(0));
        assert_equal(&source, &to);
        told(run(snapshot(&[&"restore", &at(&store, &all[1]), &to])).exits(0));
        assert_eq!(fs::read_to_string(to.join("d0/f3")).unwrap(), "contents 1");
        let ran = told(run(snapshot(&[&"versions", &store, &"d0/f3"])).exits(0));
        assert_eq!(ran.out.lines().count(), 1 + 4, "{}", ran.out);
        told(run(snapshot(&[&"diff", &store, &all[1], &"latest"])).exits(23));
        let ran = run(snapshot(&[&"status", &store])).exits(23);
        assert!(ran.out.starts_with("NOT OK: ") && ran.out.contains("damaged record"), "{}", ran.out);
        // What is changed needs all of it.
        let before = fs::read(&record).unwrap();
        let first = &damaged[..1];
        told_of(run(snapshot(&[&"take", &source, &store])).exits(3), first);
        told_of(run(snapshot(&[&"prune", &"--keep-last=1", &"--yes", &store])).exits(3), first);
        assert_eq!(fs::read(&record).unwrap(), before);
        assert_eq!(fs::read_dir(&store).unwrap().count(), 6);
    }
}

fn what_a_new_record_does_not_know_is_listed() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let first = take(&source, &store);
    fs::remove_dir_all(store.join(".ringsync")).unwrap();
    let second = take(&source, &store);
    let ran = run(snapshot(&[&"list", &store])).exits(0);
    let lines: Vec<&str> = ran.out.lines().skip(1).collect();
    assert!(lines[0].starts_with(&first) && lines[0].ends_with("without a record"), "{}", ran.out);
    assert!(lines.len() == 2 && lines[1].starts_with(&second), "{}", ran.out);
    assert!(!lines[1].contains("without"), "{}", ran.out);
    assert_lines_described(&run(snapshot(&[&"list", &"--json", &store])).exits(0).json());
    run(snapshot(&[&"restore", &at(&store, &first), &to])).exits(0);
}

fn the_one_that_latest_leads_to_needs_no_record() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    run(snapshot(&[&"take", &"--no-fsync", &"--name=kept", &source, &store])).exits(0);
    fs::remove_dir_all(store.join(".ringsync")).unwrap();
    let ran = run(snapshot(&[&"list", &store])).exits(0);
    assert!(ran.out.lines().nth(1).unwrap().starts_with("kept "), "{}", ran.out);
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.contains("of unknown age"), "{}", ran.out);
    run(snapshot(&[&"restore", &at(&store, "kept"), &to])).exits(0);
    run(snapshot(&[&"restore", &store, &to])).exits(0);
    assert_equal(&source, &to);
    // No way out of the store.
    fs::remove_file(store.join("latest")).unwrap();
    symlink("../src", store.join("latest")).unwrap();
    run(snapshot(&[&"list", &store])).exits(3);
}

fn each_version_is_told_once() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let mut names = Vec::new();
    for contents in ["one", "one", "three", "one"] {
        // A second in which nothing changes leaves the inode as it is.
        if names.len() != 1 {
            file(source.join("d0/f3"), contents);
        }
        names.push(take(&source, &store));
    }
    let ran = run(snapshot(&[&"versions", &store, &"d0/f3"])).exits(0);
    let header = "SINCE                         SIZE  MODIFIED              BLAKE3        SNAPSHOTS\n";
    assert!(ran.out.starts_with(header) && ran.out.lines().count() == 3, "{}", ran.out);
    let digits = &blake3::hash(b"three").to_string()[..12];
    assert!(ran.out.contains(&format!("  {digits}  in {}", names[2])), "{}", ran.out);
    let lines = run(snapshot(&[&"versions", &"--json", &store, &"./d0/f3"])).exits(0).json();
    assert_lines_described(&lines);
    assert_eq!(lines[0]["snapshots"], serde_json::json!([names[0], names[1], names[3]]));
    assert_eq!(lines[1]["snapshots"], serde_json::json!([names[2]]));
    assert_eq!(lines[1]["blake3"], *blake3::hash(b"three").to_string());
    assert_eq!(lines[1]["size"], 5);
    let lines = run(snapshot(&[&"versions", &"--json", &store, &"link"])).exits(0).json();
    assert_eq!((lines.len(), &lines[0]["target"]), (1, &"d0/f0".into()));
    run(snapshot(&[&"versions", &store, &"d0"])).exits(0);
    let ran = run(snapshot(&[&"versions", &store, &"never"])).exits(23);
    assert!(ran.err.contains("no snapshot has never"), "{}", ran.err);
    run(snapshot(&[&"versions", &store, &"../src"])).exits(3);
}

fn what_changed_is_itemised() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let first = take(&source, &store);
    file(source.join("d0/f3"), "new");
    fs::remove_file(source.join("d2/f2")).unwrap();
    file(source.join("added"), "");
    take(&source, &store);
    run(snapshot(&[&"diff", &store, &first, &first])).exits(0);
    let ran = run(snapshot(&[&"diff", &store, &first, &"latest"])).exits(23);
    for line in ["*deleting   d2/f2", ">f+++++++++ added"] {
        assert!(ran.out.contains(line), "{}", ran.out);
    }
    assert!(ran.out.lines().any(|line| line.starts_with(">f.st") && line.ends_with(" d0/f3")), "{}", ran.out);
    assert!(!ran.out.contains("d0/f0") && !ran.out.contains("again"), "{}", ran.out);
    // What is one inode is not what options ask for.
    let ran = run(snapshot(&[&"diff", &"--chmod=F600", &store, &first, &"latest"])).exits(23);
    assert!(ran.out.contains(" d0/f0\n") && ran.out.contains(" d0/f6\n"), "{}", ran.out);
    let lines = run(snapshot(&[&"diff", &"--json", &"-c", &store, &first, &"latest"])).exits(23).json();
    assert_lines_described(&lines);
    run(snapshot(&[&"diff", &store, &first, &"never"])).exits(3);
}

fn names_of_one_inode_are_told_apart() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    for name in ["joined", "other", "split", "stays"] {
        file(source.join(name), name);
    }
    let copy = |from: &str, to: &str| {
        fs::remove_file(source.join(to)).ok();
        let mut command = Command::new("cp");
        command.args(["-p"]).arg(source.join(from)).arg(source.join(to));
        run(command).exits(0);
    };
    let link = |from: &str, to: &str| {
        fs::remove_file(source.join(to)).ok();
        fs::hard_link(source.join(from), source.join(to)).unwrap();
    };
    copy("joined", "other");
    link("split", "half");
    link("stays", "too");
    let first = take(&source, &store);
    link("joined", "other");
    copy("split", "half");
    take(&source, &store);
    for (from, to) in [(&*first, "latest"), ("latest", &*first)] {
        for option in ["-O", "-Oc"] {
            let ran = run(snapshot(&[&"diff", &option, &store, &from, &to])).exits(23);
            let names: Vec<&str> = ran.out.lines().filter_map(|line| line.split(" ").nth(1)).collect();
            let told = |names: &[&str], one: &str, other: &str| {
                names.iter().filter(|name| [one, other].contains(name)).count()
            };
            assert_eq!(told(&names, "joined", "other"), 1, "{}", ran.out);
            assert_eq!(told(&names, "split", "half"), 1, "{}", ran.out);
            assert_eq!(told(&names, "stays", "too"), 0, "{}", ran.out);
        }
    }
}

fn a_store_is_well_or_not() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    run(snapshot(&[&"status", &store])).exits(3);
    let name = take(&source, &store);
    let ran = run(snapshot(&[&"status", &store])).exits(0);
    assert!(ran.out.starts_with(&format!("OK: snapshot {name}, ")), "{}", ran.out);
    let lines = run(snapshot(&[&"status", &"--json", &store])).exits(0).json();
    assert_lines_described(&lines);
    assert_eq!((&lines[0]["ok"], &lines[0]["at_work"]), (&true.into(), &false.into()));
    let lock = fs::File::options().append(true).open(store.join(".ringsync/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let ran = run(snapshot(&[&"status", &store])).exits(0);
    assert!(ran.out.contains("a run is at work"), "{}", ran.out);
    drop(lock);
    fs::create_dir(store.join(".ringsync/incomplete")).unwrap();
    mode(&store, 0o777);
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.contains("a run was broken off") && ran.out.contains("others may change"), "{}", ran.out);
    mode(&store, 0o755);
    let record = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let dated = |hours: i64| {
        let mut line: serde_json::Value = serde_json::from_str(&text).unwrap();
        line["started"] =
            (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string().into();
        fs::write(&record, format!("{line}\n")).unwrap();
    };
    dated(-30);
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.contains("too old"), "{}", ran.out);
    run(snapshot(&[&"status", &"--max-age=2d", &store])).exits(0);
    dated(5);
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.contains("dated ahead of the clock"), "{}", ran.out);
}
