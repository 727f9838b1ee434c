//! Promise 2: whole files only, whatever kills the run, and no litter in the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, file, modified, noise, snapshot};
use crate::support::{ENGINES, assert_equal, assert_no_litter, program, run, scratch, sync_with};

tests![
    a_kill_leaves_old_files_or_new_ones_on_tmpfs,
    a_kill_leaves_old_files_or_new_ones_on_ext4: [Need::FileSystem("ext4")],
    a_kill_leaves_old_files_or_new_ones_on_xfs: [Need::FileSystem("xfs")],
    a_kill_leaves_old_files_or_new_ones_on_btrfs: [Need::FileSystem("btrfs")],
    a_slow_directory_is_not_staged_to_its_end: [Need::Tool("strace")],
    a_staged_directory_is_litter_until_it_has_its_name: [Need::Tool("strace")],
    a_run_that_breaks_off_keeps_what_a_staged_directory_has: [Need::Root],
    litter_of_a_killed_run_is_removed_and_nothing_else: [Need::Tool("strace")],
];

fn build(source: &Path, generation: u64) {
    for index in 0..400 {
        let size = if index % 40 == 0 { 9 << 20 } else { 500 * index as usize % 70_000 };
        let path = source.join(format!("d{}/file{index}", index % 20));
        file(&path, noise(index + 1000 * generation, size));
        modified(&path, 1_000_000 + generation as i64, index as i64);
    }
    let link = source.join("d0/link");
    fs::remove_file(&link).ok();
    std::os::unix::fs::symlink(format!("target{generation}"), link).unwrap();
}

/// Each name is absent, the old file or the new one.
fn assert_old_or_new(old: &BTreeMap<PathBuf, Node>, new: &BTreeMap<PathBuf, Node>, destination: &Path) {
    for (path, node) in snapshot(destination) {
        let temporary =
            path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(".ringsync-"));
        if node.kind == "directory" || temporary {
            continue;
        }
        assert!(
            old.get(&path) == Some(&node) || new.get(&path) == Some(&node),
            "{}: {node:?} is neither {:?} nor {:?}",
            path.display(),
            old.get(&path),
            new.get(&path)
        );
    }
}

fn kill_again_and_again(place: &Path) {
    let (source, destination) = (place.join("src"), place.join("dst"));
    build(&source, 0);
    let none = BTreeMap::new();
    let first = snapshot(&source);
    for turn in 0..6 {
        kill_after(
            Duration::from_millis(4 + 9 * turn),
            ENGINES[turn as usize % ENGINES.len()],
            &source,
            &destination,
        );
        if destination.exists() {
            assert_old_or_new(&none, &first, &destination);
        }
        fs::remove_dir_all(&destination).ok();
    }
    sync_with("auto", &[], &source, &destination).exits(0);
    build(&source, 1);
    let second = snapshot(&source);
    for turn in 0..10 {
        kill_after(
            Duration::from_millis(4 + 7 * turn),
            ENGINES[turn as usize % ENGINES.len()],
            &source,
            &destination,
        );
        assert_old_or_new(&first, &second, &destination);
    }
    sync_with("auto", &[], &source, &destination).exits(0);
    assert_equal(&source, &destination);
    assert_no_litter(&destination);
}

/// Runs a mirror and kills it; the moment is not chosen, and the assertions hold for any.
fn kill_after(moment: Duration, engine: &str, source: &Path, destination: &Path) {
    let mut command = Command::new(program());
    command.args(["sync", "-q", "--engine", engine]).arg(source).arg(destination);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(moment);
    child.kill().ok();
    child.wait().unwrap();
}

fn a_kill_leaves_old_files_or_new_ones_on_tmpfs() {
    kill_again_and_again(scratch().path());
}

fn a_kill_leaves_old_files_or_new_ones_on_ext4() {
    kill_again_and_again(Mount::new("ext4", "600M").path());
}

fn a_kill_leaves_old_files_or_new_ones_on_xfs() {
    kill_again_and_again(Mount::new("xfs", "600M").path());
}

fn a_kill_leaves_old_files_or_new_ones_on_btrfs() {
    kill_again_and_again(Mount::new("btrfs", "900M").path());
}

/// Runs a mirror that strace(1) kills right at its first rename.
fn kill_at_rename(engine: &str, source: &Path, destination: &Path) {
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=rename,renameat,renameat2:signal=KILL:when=1",
    ]);
    command.arg(program()).args(["sync", "-q", "--engine", engine]).arg(source).arg(destination);
    assert_eq!(run(command).code, None, "killed");
}

/// The temporary names in a directory.
fn litter_in(directory: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.to_string_lossy().contains("/.ringsync-")).collect()
}

/// A kill right at the first rename: the temporary name is there, the final one is still the old file.
fn litter_of_a_killed_run_is_removed_and_nothing_else() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("directory/file"), "new contents");
        file(destination.join("directory/file"), "old");
        kill_at_rename(engine, &source, &destination);
        assert_eq!(fs::read(destination.join("directory/file")).unwrap(), b"old");
        let litter = litter_in(&destination.join("directory"));
        assert_eq!(litter.len(), 1, "{litter:?}");
        let copy = destination.join(litter[0].file_name().unwrap());
        fs::copy(&litter[0], &copy).unwrap();
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_eq!(fs::read(destination.join("directory/file")).unwrap(), b"new contents");
        assert!(!litter[0].exists(), "the next run removes it");
        assert!(copy.exists(), "a copy elsewhere is a user's file");
    }
}

/// A new directory is filled under a temporary name: a kill leaves no half of it under its own.
fn a_staged_directory_is_litter_until_it_has_its_name() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..3 {
            file(source.join(format!("directory/file{index}")), noise(index, 2000));
        }
        file(destination.join("kept/.ringsync-mine/file"), "a user's");
        kill_at_rename(engine, &source, &destination);
        assert!(!destination.join("directory").exists());
        let litter = litter_in(&destination);
        assert_eq!(litter.len(), 1, "{litter:?}");
        // Under a tracer it may take so long that it was to get its name before it was full.
        assert!(litter[0].is_dir() && (1..=3).contains(&fs::read_dir(&litter[0]).unwrap().count()));
        sync_with(engine, &[], &source, &destination).exits(0);
        assert!(litter_in(&destination).is_empty());
        assert_eq!(fs::read(destination.join("kept/.ringsync-mine/file")).unwrap(), b"a user's");
        assert_equal(&source.join("directory"), &destination.join("directory"));
    }
}

/// A directory that takes long has its name before it is done: a kill does not cost the files that are.
fn a_slow_directory_is_not_staged_to_its_end() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..3 {
            file(source.join(format!("directory/file{index}")), noise(index, 3000));
        }
        // Each file's descriptor is given its time late, so that the first file alone takes longer than the limit; the
        // last of the three is killed before it has its name.
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=utimensat:delay_enter=300000"]);
        command.args(["-e", "inject=linkat:signal=KILL:when=1"]);
        command.arg(program()).args(["sync", "-q", "-j1", "--depth=1", "--engine", engine]);
        command.arg(&source).arg(&destination);
        assert_eq!(run(command).code, None, "killed at the first nameless file");
        assert!(litter_in(&destination).is_empty());
        assert_eq!(fs::read_dir(destination.join("directory")).unwrap().count(), 1);
        assert_old_or_new(&BTreeMap::new(), &snapshot(&source), &destination);
    }
}

/// A run that breaks off leaves what it has of a staged directory under the directory's own name.
fn a_run_that_breaks_off_keeps_what_a_staged_directory_has() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..3 {
        file(source.join(format!("directory/file{index}")), noise(index, 4 << 20));
    }
    let mount = Mount::new("tmpfs", "9M");
    let destination = mount.path().join("dst");
    sync_with("auto", &[], &source, &destination).exits(11);
    assert!(litter_in(&destination).is_empty());
    assert!(fs::read_dir(destination.join("directory")).unwrap().count() >= 1);
    assert_old_or_new(&BTreeMap::new(), &snapshot(&source), &destination);
}
