//! What is restored is not believed: a store that is damaged, or another user's, and a destination that is the store.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::FileType;

use crate::look_back::{at, snapshot, source, take};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, node, noise};
use crate::support::user::{ALICE, give_tree, program_of_alice};
use crate::support::{Ran, assert_equal, run, scratch};

tests![
    what_was_damaged_in_the_store_is_found,
    what_cannot_be_read_again_is_no_match: [Need::Root, Need::Tool("setpriv")],
    what_is_left_alone_is_no_mismatch,
    nothing_in_a_store_is_waited_for,
    nothing_is_restored_into_the_store,
    a_full_disk_is_not_taken_for_damage: [Need::Root],
    a_last_line_that_is_cut_off_is_told,
    what_is_named_needs_no_line,
    what_differs_is_told_by_path,
    a_list_has_local_times,
];

fn what_was_damaged_in_the_store_is_found() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let name = take(&source, &store);
    let manifest = store.join(format!(".ringsync/manifests/{name}.b3"));
    fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    let line = |path: &str| format!("{}  {path}\n", blake3::hash(&fs::read(source.join(path)).unwrap()));
    fs::write(&manifest, line("d0/f3") + &line("d1/f1")).unwrap();
    run(snapshot(&[&"restore", &"--verify", &store, &to])).exits(0);
    fs::write(store.join(&name).join("d1/f1"), noise(77, 1000)).unwrap();
    fs::remove_dir_all(&to).unwrap();
    let ran = run(snapshot(&[&"restore", &"--verify", &store, &to])).exits(23);
    assert!(ran.err.contains("d1/f1") && ran.err.contains("damaged in the store"), "{}", ran.err);
    assert!(!ran.err.contains("d0/f3"), "{}", ran.err);
    let ran = run(snapshot(&[&"restore", &"--mkpath", &"--verify", &store, &"d1", &to.join("x")])).exits(23);
    assert!(ran.err.contains("x/d1/f1"), "{}", ran.err);
    // Hashes that can't be read are no reason to believe, nor to have written nothing.
    fs::remove_file(&manifest).unwrap();
    fs::create_dir(&manifest).unwrap();
    fs::remove_dir_all(&to).unwrap();
    let ran = run(snapshot(&[&"restore", &"--verify", &store, &to])).exits(23);
    assert!(ran.err.contains("read manifest") && to.join("d1/f1").exists(), "{}", ran.err);
}

fn what_cannot_be_read_again_is_no_match() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    mode(home.path(), 0o755);
    let name = take(&source, &store);
    let manifest = store.join(format!(".ringsync/manifests/{name}.b3"));
    fs::write(&manifest, format!("{}  d0/f3\n", blake3::hash(b"other"))).unwrap();
    give_tree(&store, ALICE);
    fs::create_dir(&to).unwrap();
    give_tree(&to, ALICE);
    let mut command = program_of_alice();
    command.args(["snapshot", "restore", "--verify", "--chmod=F000"]).args([&store, &to]);
    let ran = run(command).exits(23);
    assert!(ran.err.contains("d0/f3") && ran.err.contains("Permission denied"), "{}", ran.err);
}

fn what_is_left_alone_is_no_mismatch() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let name = take(&source, &store);
    file(to.join("d0/f3"), "mine");
    for option in ["--exclude=f3", "--ignore-existing", "--max-size=999"] {
        run(snapshot(&[&"restore", &"--verify", &option, &store, &to])).exits(0);
        assert_eq!(fs::read_to_string(to.join("d0/f3")).unwrap(), "mine", "{option}");
    }
    fs::write(store.join(&name).join("d1/f1"), noise(77, 1000)).unwrap();
    fs::remove_file(to.join("d1/f1")).unwrap();
    let ran = run(snapshot(&[&"restore", &"--verify", &"--exclude=f3", &store, &to])).exits(23);
    assert!(ran.err.contains("d1/f1") && !ran.err.contains("d0/f3"), "{}", ran.err);
}

/// A store may be another user's, who puts what never ends in the place of files.
fn nothing_in_a_store_is_waited_for() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let name = take(&source, &store);
    let fifo = |path: &Path| {
        fs::remove_file(path).ok();
        node(path, FileType::Fifo, (0, 0));
    };
    fifo(&store.join(format!(".ringsync/manifests/{name}.b3")));
    run(snapshot(&[&"versions", &store, &"d0/f3"])).exits(0);
    let ran = run(snapshot(&[&"restore", &"--verify", &store, &to])).exits(23);
    assert!(ran.err.contains("no regular file"), "{}", ran.err);
    fifo(&store.join(".ringsync/lock"));
    run(snapshot(&[&"status", &store])).exits(0);
    fifo(&store.join(".ringsync/snapshots.jsonl"));
    for command in [&["list"][..], &["status"], &["versions"], &["diff"]] {
        let mut arguments = snapshot(&[&command[0], &store]);
        match command[0] {
            "versions" => drop(arguments.arg("d0")),
            "diff" => drop(arguments.args([&name, "latest"])),
            _ => {}
        }
        let ran = run(arguments).exits(3);
        assert!(ran.err.contains("no regular file"), "{}", ran.err);
    }
}

fn nothing_is_restored_into_the_store() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let first = take(&source, &store);
    file(source.join("d0/f3"), "new");
    take(&source, &store);
    symlink(store.join("latest/d1"), home.path().join("way")).unwrap();
    let from = at(&store, &first);
    for to in ["store", "store/latest", "store/latest/d0", "store/new/dir", "way", "way/new"] {
        for path in [&[][..], &["d0/f3"]] {
            let mut command = snapshot(&[&"restore", &"--mkpath", &from]);
            command.args(path).arg(home.path().join(to));
            let ran = run(command).exits(3);
            assert!(ran.err.contains("into the store itself"), "{to}: {}", ran.err);
        }
    }
    let mut command = snapshot(&[&"restore", &"..", &"d0/f3", &"."]);
    command.current_dir(store.join(&first));
    run(command).exits(3);
    assert_eq!(fs::read(store.join(&first).join("d0/f3")).unwrap(), noise(3, 1000));
}

fn a_full_disk_is_not_taken_for_damage() {
    let home = scratch();
    let (source, store) = (home.path().join("src"), home.path().join("store"));
    file(source.join("large"), noise(1, 4 << 20));
    take(&source, &store);
    let small = Mount::new("tmpfs", "1m");
    file(small.path().join("large"), "old");
    let ran = run(snapshot(&[&"restore", &"--verify", &store, &small.path()])).exits(11);
    assert!(ran.err.contains("No space left") && !ran.err.contains("it is not what"), "{}", ran.err);
    assert_eq!(fs::read_to_string(small.path().join("large")).unwrap(), "old");
}

/// Takes the second half of the record's last line away. Returns all of that.
fn cut(store: &Path) -> String {
    let record = store.join(".ringsync/snapshots.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    let (rest, last) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(&record, format!("{rest}\n{}", &last[..last.len() / 2])).unwrap();
    last.into()
}

fn a_last_line_that_is_cut_off_is_told() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let all = [0, 1, 2].map(|number| {
        file(source.join("d0/f3"), format!("contents {number}"));
        take(&source, &store)
    });
    let last = cut(&store);
    let told = |ran: Ran| {
        assert!(ran.err.contains("line 3, the last one, is cut off"), "{ran:#?}");
        assert!(ran.err.contains("`snapshot rebuild`"), "{ran:#?}");
        ran
    };
    let lines = told(run(snapshot(&[&"list", &"--json", &store])).exits(0)).json();
    let names: Vec<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(
        (names, &lines[2]["event"]),
        (all.each_ref().map(|name| &**name).to_vec(), &"unrecorded".into())
    );
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.starts_with("NOT OK: ") && ran.out.contains("damaged record"), "{}", ran.out);
    for from in [store.clone(), at(&store, &all[2]).into()] {
        fs::remove_dir_all(&to).ok();
        told(run(snapshot(&[&"restore", &from, &to])).exits(0));
        assert_equal(&source, &to);
    }
    // What its run had written down tells all of it.
    let pending = store.join(".ringsync/pending.json");
    file(&pending, format!("{last}\n"));
    assert_eq!(run(snapshot(&[&"list", &"--json", &store])).exits(0).err, "");
    run(snapshot(&[&"status", &store])).exits(0);
    fs::remove_file(&pending).unwrap();
    // A note, and no hindrance; the next snapshot links to it.
    told(run(snapshot(&[&"prune", &"-n", &"--keep-last=9", &store])).exits(0));
    told(run(snapshot(&[&"take", &"-n", &source, &store])).exits(0));
    let ran = told(run(snapshot(&[&"take", &source, &store])).exits(0));
    assert!(ran.err.contains("1 snapshot has no record"), "{}", ran.err);
    let inode = |root: &Path| fs::metadata(root.join("d0/f3")).unwrap().ino();
    assert_eq!(inode(&store.join("latest")), inode(&store.join(&all[2])));
    let ran = run(snapshot(&[&"rebuild", &store])).exits(0);
    assert!(ran.out.starts_with(&format!("added {}: ", all[2])), "{}", ran.out);
    run(snapshot(&[&"status", &store])).exits(0);
}

fn what_is_named_needs_no_line() {
    let home = scratch();
    let (source, store, to) = (source(home.path()), home.path().join("store"), home.path().join("to"));
    let first = take(&source, &store);
    file(source.join("d0/f3"), "kept");
    run(snapshot(&[&"take", &"--name=kept", &source, &store])).exits(0);
    cut(&store);
    let lines = run(snapshot(&[&"list", &"--json", &store])).exits(0).json();
    assert_eq!((lines.len(), &lines[1]["name"]), (2, &"kept".into()), "latest leads to it");
    let ran = run(snapshot(&[&"restore", &at(&store, "kept"), &to])).exits(0);
    assert!(ran.err.contains("is cut off"), "{}", ran.err);
    assert_equal(&source, &to);
    // After the next one it is known by its manifest alone, and no directory without one is taken for a snapshot.
    let last = take(&source, &store);
    fs::create_dir(store.join("other")).unwrap();
    let lines = run(snapshot(&[&"list", &"--json", &store])).exits(0).json();
    let names: Vec<&str> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kept", &first, &last]);
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.contains("without a record"), "{}", ran.out);
    run(snapshot(&[&"restore", &at(&store, "kept"), &to])).exits(0);
    let ran = run(snapshot(&[&"rebuild", &store])).exits(0);
    assert!(ran.out.starts_with("added kept: "), "{}", ran.out);
}

fn what_differs_is_told_by_path() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let first = take(&source, &store);
    for number in 0..300 {
        file(source.join(format!("d{}/e{}/n{number}", number % 5, number % 7)), "new");
    }
    fs::remove_dir_all(source.join("d1/e3")).unwrap();
    fs::remove_file(source.join("d2/f2")).unwrap();
    file(source.join("d0/f3"), "changed");
    let second = take(&source, &store);
    for (from, to) in [(&first, &second), (&second, &first)] {
        let ran = run(snapshot(&[&"diff", &"--jobs=4", &store, from, to])).exits(23);
        let (entries, _) = ran.out.trim_end().rsplit_once('\n').unwrap();
        let paths: Vec<&Path> = entries.lines().map(|line| Path::new(&line[12..])).collect();
        assert!(paths.len() > 250 && paths.is_sorted(), "{}", ran.out);
        let lines = run(snapshot(&[&"diff", &"--json", &"--jobs=4", &store, from, to])).exits(23).json();
        let entries = lines.iter().filter(|line| line["event"] == "file");
        let paths: Vec<&Path> = entries.map(|line| Path::new(line["path"].as_str().unwrap())).collect();
        assert!(paths.len() > 250 && paths.is_sorted());
        assert_eq!(lines.last().unwrap()["event"], "summary");
    }
}

fn a_list_has_local_times() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let name = take(&source, &store);
    let line = run(snapshot(&[&"list", &"--json", &store])).exits(0).json().remove(0);
    let started: jiff::Timestamp = line["started"].as_str().unwrap().parse().unwrap();
    let there = started + jiff::SignedDuration::from_hours(5);
    let mut command = snapshot(&[&"list", &store]);
    let ran = run({
        command.env("TZ", "XXX-5");
        command
    })
    .exits(0);
    let lines: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["SNAPSHOT", "LOCAL", "TIME", "AGE", "ENTRIES", "NEW", "SHARED", "ALL"]);
    let time = there.strftime("%F %H:%M").to_string();
    let (day, minute) = time.split_once(' ').unwrap();
    assert_eq!((lines[1][0], lines[1][1], lines[1][2], lines[1][4]), (&*name, day, minute, "s"));
    fs::remove_dir_all(store.join(".ringsync")).unwrap();
    let ran = run(snapshot(&[&"list", &store])).exits(0);
    assert!(ran.out.contains(" s ") && ran.out.contains("without a record"), "{}", ran.out);
}
