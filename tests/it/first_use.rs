//! What somebody meets who takes snapshots for the first time: what is easily done wrong is refused or said, and what is printed
//! tells what to do.

use std::fs;
use std::path::{Path, PathBuf};

use crate::look_back::{at, snapshot, source, take};
use crate::schema::assert_lines_described;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode};
use crate::support::user::program_of_alice;
use crate::support::{Ran, assert_equal, await_of, finish, run, scratch};

tests![
    swapped_arguments_are_refused,
    what_has_other_files_becomes_no_store,
    a_snapshot_that_is_asked_for_goes_or_the_run_fails,
    a_lost_record_costs_no_copy_and_is_said,
    another_source_is_told,
    directories_are_counted_apart,
    a_run_that_is_stopped_says_what_comes_next,
    words_of_other_programs_get_the_command,
    a_snapshot_in_place_of_a_store_is_told,
    a_day_names_its_newest_snapshot,
    times_have_one_grammar,
    what_can_not_be_told_is_not_well: [Need::Root, Need::Tool("setpriv")],
];

/// A home with a source, a store of one snapshot of it, and that one's name.
fn taken() -> (tempfile::TempDir, PathBuf, PathBuf, String) {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let name = take(&source, &store);
    (home, source, store, name)
}

fn inode(path: impl AsRef<Path>) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
}

fn refused(arguments: &[&dyn AsRef<std::ffi::OsStr>], said: &str) -> Ran {
    let ran = run(snapshot(arguments)).exits(3);
    assert!(ran.err.contains(said), "{}", ran.err);
    ran
}

fn swapped_arguments_are_refused() {
    let (home, source, store, name) = taken();
    let other = home.path().join("other");
    for option in ["-n", "-q"] {
        refused(&[&"take", &option, &store, &source], "is a store of snapshots itself");
        refused(&[&"take", &option, &store, &other], "is a store of snapshots itself");
        refused(&[&"take", &option, &store.join(&name).join("d0"), &other], "lies in a snapshot");
        refused(&[&"take", &option, &source, &store.join("latest/d0"), &other], "swapped?");
    }
    fs::remove_dir_all(store.join(".ringsync")).unwrap();
    refused(&[&"take", &store, &other], "is a store of snapshots itself");
    assert!(!other.exists() && !source.join(".ringsync").exists());
}

fn what_has_other_files_becomes_no_store() {
    let home = scratch();
    let (source, full) = (source(home.path()), home.path().join("full"));
    fs::create_dir_all(full.join("lost+found")).unwrap();
    fs::create_dir(full.join("photos")).unwrap();
    for option in ["-n", "-q"] {
        refused(&[&"take", &option, &source, &full], "it is no store, and has other files (photos)");
    }
    assert!(!full.join(".ringsync").exists() && !full.join("latest").exists());
    run(snapshot(&[&"take", &"--allow-other-files", &source, &full])).exits(0);
    take(&source, &full);
    // A disk of its own has a directory from the start.
    let empty = home.path().join("empty");
    fs::create_dir_all(empty.join("lost+found")).unwrap();
    take(&source, &empty);
}

fn a_snapshot_that_is_asked_for_goes_or_the_run_fails() {
    let (_home, source, store, first) = taken();
    let last = take(&source, &store);
    let named = |name: &str| format!("--name={name}");
    for option in ["-n", "--yes"] {
        refused(&[&"prune", &option, &store, &named(&last)], "is the newest complete snapshot");
        refused(&[&"prune", &option, &store, &named(&first), &named(&last)], "which always stays");
    }
    let ran = run(snapshot(&[&"prune", &"-n", &store, &named(&first)])).exits(0);
    assert_eq!(ran.out, format!("would remove {first}\n"));
    let ran = run(snapshot(&[&"prune", &store, &named(&first)])).exits(0);
    assert_eq!(ran.out, format!("removed {first}\n"));
}

fn a_lost_record_costs_no_copy_and_is_said() {
    let (home, source, store, first) = taken();
    let second = take(&source, &store);
    fs::remove_dir_all(store.join(".ringsync")).unwrap();
    let told = "2 snapshots have no record, and prune does not see them: `ringsync snapshot rebuild ";
    let ran = run(snapshot(&[&"take", &"-n", &"-v", &source, &store])).exits(0);
    assert!(ran.out.contains("d0/f3") && ran.out.contains(" linked"), "{}", ran.out);
    let ran = run(snapshot(&[&"take", &"-q", &source, &store])).exits(0);
    assert!(ran.err.contains(told) && ran.out.is_empty(), "{}{}", ran.out, ran.err);
    assert_eq!(inode(store.join("latest/d0/f3")), inode(store.join(&second).join("d0/f3")));
    let ran = run(snapshot(&[&"prune", &store, &"--keep-last=5"])).exits(0);
    assert!(ran.err.contains(told), "{}", ran.err);
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.starts_with("NOT OK: ") && ran.out.contains("snapshots without a record"), "{}", ran.out);
    let lines = run(snapshot(&[&"status", &"--json", &store])).exits(23).json();
    assert_lines_described(&lines);
    assert_eq!(lines[0]["unrecorded"], 2);
    run(snapshot(&[&"rebuild", &store])).exits(0);
    run(snapshot(&[&"status", &store])).exits(0);
    let ran = run(snapshot(&[&"take", &source, &store])).exits(0);
    assert!(!ran.err.contains("no record"), "{}", ran.err);
    let to = home.path().join("to");
    run(snapshot(&[&"restore", &at(&store, &first), &to])).exits(0);
    assert_equal(&source, &to);
}

fn what_can_not_be_told_is_not_well() {
    let (home, _source, store, _) = taken();
    mode(home.path(), 0o755);
    mode(&store, 0o755);
    let mut command = program_of_alice();
    command.args(["snapshot", "status"]).arg(&store);
    let ran = run(command).exits(3);
    assert!(ran.out.is_empty() && ran.err.contains("can't be told"), "{}{}", ran.out, ran.err);
    mode(&store, 0o777);
    let ran = run(snapshot(&[&"status", &store])).exits(23);
    assert!(ran.out.starts_with("NOT OK: ") && ran.out.contains("take refuses the store"), "{}", ran.out);
    file(store.join(".ringsync/broken"), "");
}

fn another_source_is_told() {
    let (_home, source, store, first) = taken();
    let told = format!("the snapshot before was taken of {}, and this run", source.display());
    let quiet = |source: &Path, options: &[&str]| {
        let mut command = snapshot(&[&"take", &"-q", &"--min-entries=1", &source, &store]);
        command.args(options).current_dir(source);
        run(command).exits(0).err
    };
    for same in [&*source, Path::new("."), Path::new("../src")] {
        assert_eq!(quiet(&source, &[]), "", "{}", same.display());
        let mut command = snapshot(&[&"take", &"-q", &same, &store]);
        command.current_dir(&source);
        assert_eq!(run(command).exits(0).err, "", "{}", same.display());
    }
    let text = run(snapshot(&[&"list", &store])).exits(0).out;
    assert!(!text.contains("  of "), "{text}");
    let part = source.join("d0");
    assert!(quiet(&part, &["-n"]).contains(&told));
    assert!(quiet(&part, &[]).contains(&told));
    assert_eq!(quiet(&part, &[]), "");
    let text = run(snapshot(&[&"list", &store])).exits(0).out;
    let of = |name: &str| text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap().to_owned();
    assert!(of(&first).ends_with(&format!("  of {}", source.display())), "{text}");
    assert!(text.ends_with(&format!("  of {}\n", part.display())), "{text}");
}

fn directories_are_counted_apart() {
    let (_home, source, store, _) = taken();
    let ran = run(snapshot(&[&"take", &source, &store])).exits(0);
    assert!(ran.out.starts_with("11 linked, 4 directories; "), "{}", ran.out);
    file(source.join("d0/f3"), "new");
    let ran = run(snapshot(&[&"take", &source, &store])).exits(0);
    assert!(ran.out.starts_with("1 created, 10 linked, 4 directories; "), "{}", ran.out);
}

fn a_run_that_is_stopped_says_what_comes_next() {
    let (_home, source, store, _) = taken();
    file(source.join("big"), vec![7; 8 << 20]);
    let mut command = snapshot(&[&"take", &"--bwlimit=1M", &source, &store]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    await_of(&mut child, "the run has begun", || store.join(".ringsync/incomplete/d0").exists());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let ran = finish(child, std::time::Duration::from_secs(60)).exits(20);
    assert!(ran.err.contains("no snapshot: the next run goes on with what was written"), "{}", ran.err);
}

fn words_of_other_programs_get_the_command() {
    let home = scratch();
    let said = |words: &[&str], text: &str| {
        let mut command = std::process::Command::new(crate::support::program());
        command.args(words).current_dir(home.path());
        let ran = run(command).exits(1);
        assert!(ran.err.contains(text), "{words:?}: {}", ran.err);
    };
    said(&["snapshot", "forget", "store"], "ringsync snapshot prune STORE");
    said(&["snapshot", "backup", "a", "b"], "ringsync snapshot take SRC STORE");
    said(&["snapshot", "check", "store"], "restore --verify");
    said(&["restore", "store", "to"], "ringsync snapshot restore");
    said(
        &["snapshot", "list", "-n", "store"],
        "snapshot list has no -n, which is an option of snapshot take",
    );
    said(&["snapshot", "take", "src"], "ringsync snapshot take [OPTIONS] SRC... STORE");
    said(&["snapshot", "restore", "src"], "ringsync snapshot restore [OPTIONS] STORE[@NAME] [PATH]... DST");
    for command in ["take", "restore", "list"] {
        let ran = run(snapshot(&[&command, &"-h"])).exits(0);
        assert!(ran.out.contains(&format!("Usage: ringsync snapshot {command} ")), "{}", ran.out);
    }
}

fn a_snapshot_in_place_of_a_store_is_told() {
    let (home, _source, store, name) = taken();
    let to = home.path().join("to");
    let write = format!("it is a snapshot, and no store: write {}@{name}", store.display());
    refused(&[&"restore", &store.join("latest"), &"d0", &to], &write);
    refused(&[&"restore", &store.join(&name), &to], &write);
    refused(&[&"list", &store.join(&name)], &write);
    // A path as it was, from the top.
    run(snapshot(&[&"restore", &"--mkpath", &store, &"/d0/f3", &to])).exits(0);
    assert!(to.join("f3").exists());
}

fn a_day_names_its_newest_snapshot() {
    let (home, source, store, first) = taken();
    file(source.join("more"), "x");
    take(&source, &store);
    let to = home.path().join("to");
    run(snapshot(&[&"restore", &at(&store, &first[..10]), &to])).exits(0);
    assert!(to.join("more").exists() || to.join("d0").exists());
    refused(&[&"restore", &at(&store, "2001-01-01"), &to], "there is no snapshot 2001-01-01");
    refused(&[&"restore", &at(&store, &first[..9]), &to], "there is no snapshot");
}

fn times_have_one_grammar() {
    let (_home, _source, store, _) = taken();
    for age in ["1d12h", "2w", "90min", "90", "1y"] {
        run(snapshot(&[&"status", &store, &"--max-age", &age])).exits(0);
    }
    let ran = run(snapshot(&[&"status", &store, &"--max-age=90m"])).exits(1);
    assert!(ran.err.contains("write min for minutes"), "{}", ran.err);
    run(snapshot(&[&"prune", &store, &"--keep-within=1w2d"])).exits(0);
}
