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
        kill_after(Duration::from_millis(4 + 9 * turn), ENGINES[turn as usize % 2], &source, &destination);
        if destination.exists() {
            assert_old_or_new(&none, &first, &destination);
        }
        fs::remove_dir_all(&destination).ok();
    }
    sync_with("auto", &[], &source, &destination).exits(0);
    build(&source, 1);
    let second = snapshot(&source);
    for turn in 0..10 {
        kill_after(Duration::from_millis(4 + 7 * turn), ENGINES[turn as usize % 2], &source, &destination);
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

/// strace(1) kills the run right at its first rename: the temporary name is there, the final one is still the old file.
fn litter_of_a_killed_run_is_removed_and_nothing_else() {
    for engine in ENGINES {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("directory/file"), "new contents");
        file(destination.join("directory/file"), "old");
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "inject=rename,renameat,renameat2:signal=KILL:when=1",
        ]);
        command.arg(program()).args(["sync", "-q", "--engine", engine]).arg(&source).arg(&destination);
        assert_eq!(run(command).code, None, "killed");
        assert_eq!(fs::read(destination.join("directory/file")).unwrap(), b"old");
        let names = fs::read_dir(destination.join("directory")).unwrap().map(|entry| entry.unwrap().path());
        let litter: Vec<PathBuf> =
            names.filter(|path| path.to_string_lossy().contains("/.ringsync-")).collect();
        assert_eq!(litter.len(), 1, "{litter:?}");
        let copy = destination.join(litter[0].file_name().unwrap());
        fs::copy(&litter[0], &copy).unwrap();
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_eq!(fs::read(destination.join("directory/file")).unwrap(), b"new contents");
        assert!(!litter[0].exists(), "the next run removes it");
        assert!(copy.exists(), "a copy elsewhere is a user's file");
    }
}
