//! What is restored is not believed: a store that is damaged, or another user's, and a destination that is the store.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::FileType;

use crate::look_back::{at, snapshot, source, take};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, node, noise};
use crate::support::user::{ALICE, give_tree, program_of_alice};
use crate::support::{run, scratch};

tests![
    what_was_damaged_in_the_store_is_found,
    what_cannot_be_read_again_is_no_match: [Need::Root, Need::Tool("setpriv")],
    what_is_left_alone_is_no_mismatch,
    nothing_in_a_store_is_waited_for,
    nothing_is_restored_into_the_store,
    a_full_disk_is_not_taken_for_damage: [Need::Root],
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
