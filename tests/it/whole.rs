//! Promise 2: whole files only, whatever kills the run, and no litter in the end.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::chance::Chance;
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, file, mode, modified, noise, snapshot};
use crate::support::{
    ENGINES, assert_equal, assert_no_litter, key, program, program_with, run, scratch, sync_with,
};

tests![
    a_kill_leaves_old_files_or_new_ones_on_tmpfs,
    a_kill_leaves_old_files_or_new_ones_on_ext4: [Need::FileSystem("ext4")],
    a_kill_leaves_old_files_or_new_ones_on_xfs: [Need::FileSystem("xfs")],
    a_kill_leaves_old_files_or_new_ones_on_btrfs: [Need::FileSystem("btrfs")],
    a_slow_directory_is_not_staged_to_its_end: [Need::Tool("strace")],
    a_staged_directory_is_litter_until_it_has_its_name: [Need::Tool("strace")],
    a_run_that_breaks_off_keeps_what_a_staged_directory_has: [Need::Root],
    litter_of_a_killed_run_is_removed_and_nothing_else: [Need::Tool("strace")],
    a_directory_that_gives_way_is_never_lost_on_tmpfs: [Need::Root, Need::Tool("strace")],
    a_directory_that_gives_way_is_never_lost_on_ext4: [Need::FileSystem("ext4"), Need::Tool("strace")],
    a_directory_that_gives_way_is_never_lost_on_xfs: [Need::FileSystem("xfs"), Need::Tool("strace")],
    where_there_is_no_exchange_two_renames_do: [Need::Tool("strace")],
    what_can_not_be_moved_is_emptied_where_it_is: [Need::Root],
    a_file_gives_way_to_a_directory_at_once: [Need::Tool("strace")],
    an_empty_directory_gives_way_at_once: [Need::Tool("strace")],
];

/// Files small and large, in directories that are staged and some that are not, with metadata that tells the
/// generations apart.
fn build(source: &Path, generation: u64) {
    for index in 0..240 {
        let size = if index % 80 == 7 { 9 << 20 } else { 500 * index as usize % 70_000 };
        let path = source.join(format!("d{}/file{index}", index % 20));
        file(&path, noise(index + 1000 * generation, size));
        mode(&path, 0o600 + 0o044 * generation as u32);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(1000 + generation as u32), None).unwrap();
        }
        modified(&path, 1_000_000 + generation as i64, index as i64);
        if index % 5 == 0 {
            file(source.join(format!("d{}/inner/file{index}", index % 20)), noise(index + generation, 3000));
        }
    }
    std::os::unix::fs::symlink(format!("target{generation}"), source.join("d0/link")).unwrap();
    fs::hard_link(source.join("d1/file1"), source.join("d2/second name")).unwrap();
}

/// Each name is the old file or the new one, and absent only where there was no old one.
fn assert_old_or_new(old: &BTreeMap<PathBuf, Node>, new: &BTreeMap<PathBuf, Node>, destination: &Path) {
    let have = snapshot(destination);
    let gone = old.keys().find(|path| !have.contains_key(*path));
    assert!(gone.is_none(), "{gone:?} was there");
    for (path, node) in have {
        let temporary =
            path.components().any(|part| part.as_os_str().to_string_lossy().starts_with(".ringsync-"));
        if node.kind == "directory" || temporary {
            continue;
        }
        // The other name of a hard link may be missing still.
        let is = |other: Option<&Node>| {
            other.is_some_and(|other| Node { links: other.links.clone(), ..node.clone() } == *other)
        };
        assert!(
            is(old.get(&path)) || is(new.get(&path)),
            "{}: {node:?} is neither {:?} nor {:?}",
            path.display(),
            old.get(&path),
            new.get(&path)
        );
    }
}

/// So many runs are killed while they make a tree, and as many while they change one.
const KILLS: usize = 25;

/// Moments by chance within the time that a run takes, as far as is known.
struct Moments {
    chance: Chance,
    whole: Duration,
}

impl Moments {
    /// Kills a mirror at a random moment. `false`: it was done before that, and the next moments are earlier.
    fn kill(&mut self, engine: &str, source: &Path, destination: &Path) -> bool {
        let mut command = Command::new(program());
        let clone = if self.chance.next() < 0.3 { "auto" } else { "never" };
        command.args(["sync", "-q", "--engine", engine, "--reflink", clone]).arg(source).arg(destination);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(self.whole.mul_f64(self.chance.next()));
        child.kill().ok();
        let killed = child.wait().unwrap().code().is_none();
        if !killed {
            self.whole = self.whole.mul_f64(0.9);
        }
        killed
    }

    /// Measures a run that comes to its end.
    fn measure(&mut self, source: &Path, destination: &Path) {
        let begun = Instant::now();
        sync_with("auto", &["--reflink", "never"], source, destination).exits(0);
        self.whole = begun.elapsed();
    }
}

fn kill_again_and_again(place: &Path) {
    let [old, new, destination] = ["old", "new", "dst"].map(|name| place.join(name));
    build(&old, 0);
    build(&new, 1);
    let (first, second) = (snapshot(&old), snapshot(&new));
    let mut moments = Moments { chance: Chance::new(), whole: Duration::ZERO };
    moments.measure(&old, &destination);
    let mut killed = 0;
    for turn in 0.. {
        assert!(turn < 20 * KILLS, "runs end before they can be killed");
        fs::remove_dir_all(&destination).ok();
        killed += usize::from(moments.kill(ENGINES[turn % ENGINES.len()], &old, &destination));
        if destination.exists() {
            assert_old_or_new(&BTreeMap::new(), &first, &destination);
        }
        if turn % 5 == 4 {
            complete(&old, &destination);
        }
        if killed == KILLS {
            break;
        }
    }
    complete(&old, &destination);
    // From one generation to the other and back, each run from where the last one was killed.
    file(destination.join("d3/.ringsync-0123456789abcdef0123456789abcdef"), "a user's");
    moments.measure(&new, &destination);
    let mut killed = 0;
    for turn in 0.. {
        assert!(turn < 20 * KILLS, "runs end before they can be killed");
        let source = if turn % 2 == 0 { &old } else { &new };
        killed += usize::from(moments.kill(ENGINES[turn / 2 % ENGINES.len()], source, &destination));
        assert_old_or_new(&first, &second, &destination);
        if killed == KILLS {
            break;
        }
    }
    let kept = destination.join("d3/.ringsync-0123456789abcdef0123456789abcdef");
    sync_with("auto", &[], &new, &destination).exits(0);
    assert_eq!(fs::read(&kept).unwrap(), b"a user's");
    fs::remove_file(&kept).unwrap();
    complete(&new, &destination);
}

/// The next run completes the mirror and removes what the killed ones left.
fn complete(source: &Path, destination: &Path) {
    sync_with("auto", &[], source, destination).exits(0);
    assert_equal(source, destination);
    assert_no_litter(destination);
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

/// A name that this program would give to something temporary in a directory, as someone knows who has seen one there.
pub fn litter_name(directory: &Path) -> String {
    made_name(".ringsync-", directory, 0x0123_4567_89ab_cdef)
}

/// The same with this beginning and this chance.
pub fn made_name(prefix: &str, directory: &Path, chance: u64) -> String {
    use std::os::unix::fs::MetadataExt;
    let chance = format!("{chance:016x}");
    let mut proof = blake3::Hasher::new_keyed(&key());
    proof.update(&fs::metadata(directory).unwrap().ino().to_le_bytes());
    proof.update(prefix.as_bytes()).update(chance.as_bytes());
    format!("{prefix}{chance}{}", &proof.finalize().to_hex()[..16])
}

/// Runs a mirror that strace(1) kills right at its first rename.
fn kill_at_rename(engine: &str, source: &Path, destination: &Path) {
    let mut command = program_with(&["inject=rename,renameat,renameat2:signal=KILL:when=1"]);
    command.args(["sync", "-q", "--engine", engine]).arg(source).arg(destination);
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
        let injected = ["inject=utimensat:delay_enter=300000", "inject=linkat:signal=KILL:when=1"];
        let mut command = program_with(&injected);
        command.args(["sync", "-q", "-j1", "--depth=1", "--engine", engine]);
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

/// A directory that gives way to something else, and what is around it.
fn build_replaced(home: &Path, successor: &str) -> (PathBuf, PathBuf) {
    let (source, destination) = (home.join("src"), home.join("dst"));
    match successor {
        "symlink" => {
            fs::create_dir_all(source.join("dir")).unwrap();
            std::os::unix::fs::symlink("new", source.join("dir/name")).unwrap();
        }
        "link" => {
            file(source.join("dir/leader"), "new");
            fs::hard_link(source.join("dir/leader"), source.join("dir/name")).unwrap();
        }
        _ => file(source.join("dir/name"), "new"),
    }
    file(source.join("dir/other"), "of both");
    file(destination.join("dir/other"), "of both");
    for (name, contents) in OLD {
        file(destination.join("dir").join(name), contents);
    }
    mode(destination.join("dir/name/b"), 0o750);
    (source, destination)
}

const OLD: [(&str, &str); 4] =
    [("name/a", "old a"), ("name/b/c", "old c"), ("name/b/d", "old d"), ("name/b/e/f", "old f")];

/// The system calls that change names or modes.
const NAMING: [&str; 14] = [
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlinkat",
    "mknodat",
    "unlink",
    "unlinkat",
    "rmdir",
    "fchmod",
    "fchmodat",
];

/// Runs `mirror` again and again on each engine with one more moment to be killed at, by strace(1): each call of each kind
/// that a thread makes, `needed` ones among them. `mirror` tells whether it was killed.
fn at_each_call(needed: &[&str], mut mirror: impl FnMut(&str, &str) -> bool) {
    for &engine in ENGINES.iter() {
        let mut killing = Vec::new();
        for call in NAMING {
            let inject = |number: &usize| format!("inject={call}:signal=KILL:when={number}");
            let kills = (1..).take_while(|number| mirror(&inject(number), engine)).count();
            killing.extend((kills > 0).then_some(call));
        }
        let all = needed.iter().all(|call| killing.contains(call));
        assert!(all, "strace kills the {engine} engine at {killing:?}");
    }
}

/// Runs a mirror that strace(1) kills. `false`: it came to its end.
fn kill_at(injected: &[&str], engine: &str, options: &[&str], source: &Path, destination: &Path) -> bool {
    let mut command = program_with(injected);
    command.args(["sync", "-q", "-j1", "--depth=1", "--engine", engine]).args(options);
    command.arg(source).arg(destination);
    run(command).code.is_none()
}

/// The old files that lie somewhere below a place, each with its path there.
fn old_files(place: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in
        walkdir::WalkDir::new(place).into_iter().flatten().filter(|entry| entry.file_type().is_file())
    {
        let text = fs::read_to_string(entry.path()).unwrap();
        if text.starts_with("old ") {
            found.entry(text).or_default().push(entry.path().strip_prefix(place).unwrap().to_path_buf());
        }
    }
    found
}

/// Killed at every call in turn: the name holds the old directory or the new entry, nothing old is lost, the next run
/// without `--delete` loses nothing either, and one with it brings all that is old to the backups, under its path. Where
/// calls are `refused` the name may hold nothing for a moment.
fn replace_and_kill(place: &Path, successor: &str, refused: &[&str]) {
    let turn = std::cell::Cell::new(0);
    at_each_call(&["mkdirat", "unlinkat"], |inject, engine| {
        let home = place.join(successor);
        fs::create_dir(&home).unwrap();
        let (source, destination) = build_replaced(&home, successor);
        let options = ["--delete", "--backup-dir=../kept"];
        let injected: Vec<&str> = refused.iter().copied().chain([inject]).collect();
        let killed = kill_at(&injected, engine, &options, &source, &destination);
        let name = destination.join("dir/name");
        let is_new = fs::symlink_metadata(&name).is_ok_and(|found| !found.is_dir());
        let is_there = is_new || name.is_dir();
        assert!(is_there || !refused.is_empty(), "{inject}: {:?}", snapshot(&home).keys());
        if is_new && successor != "symlink" {
            assert_eq!(fs::read(&name).unwrap(), b"new");
        }
        let all = |home: &Path| old_files(home).into_keys().collect::<Vec<_>>();
        let wanted: Vec<String> = OLD.iter().map(|(_, contents)| contents.to_string()).collect();
        assert_eq!(all(&home), wanted, "{inject}");
        // Every other time the next run does not delete. A copy would not do: the names fit their directories alone.
        turn.set(turn.get() + 1);
        if turn.get() % 2 == 0 {
            let ran = sync_with(engine, &[], &source, &destination);
            assert_eq!(all(&home), wanted, "{inject}, and then without --delete: {}", ran.err);
            assert_no_litter(&destination); // among the backups it stays until a run comes there
            let left = snapshot(&destination).into_keys();
            let aside =
                left.filter(|path| path.to_string_lossy().contains("replaced-by-ringsync")).count() > 0;
            assert_eq!(ran.err.contains("--delete removes it"), aside, "{}", ran.err);
        }
        sync_with(engine, &options, &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&home);
        for (path, contents) in OLD {
            let kept = home.join("kept/dir").join(path);
            assert_eq!(fs::read_to_string(&kept).ok().as_deref(), Some(contents), "{inject}");
        }
        // A kill may leave a directory of the backup tree its owner's alone.
        let bits = fs::metadata(home.join("kept/dir/name/b")).unwrap().mode() & 0o7777;
        assert!(bits == 0o750 || killed && bits == 0o700, "{inject}: {bits:o}");
        let kept = snapshot(&home.join("kept"));
        let odd = kept.keys().find(|path| path.to_string_lossy().contains("ringsync"));
        assert_eq!(odd, None, "{inject}");
        fs::remove_dir_all(&home).unwrap();
        killed
    });
}

fn a_directory_that_gives_way_is_never_lost_on_tmpfs() {
    let mount = Mount::new("tmpfs", "64M");
    for successor in ["file", "symlink", "link"] {
        replace_and_kill(mount.path(), successor, &[]);
    }
}

fn a_directory_that_gives_way_is_never_lost_on_ext4() {
    replace_and_kill(Mount::new("ext4", "64M").path(), "file", &[]);
}

fn a_directory_that_gives_way_is_never_lost_on_xfs() {
    replace_and_kill(Mount::new("xfs", "400M").path(), "file", &[]);
}

const NO_EXCHANGE: &str = "inject=renameat2:error=EINVAL";

/// Where names can't be exchanged the successor follows by a second rename.
fn where_there_is_no_exchange_two_renames_do() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = build_replaced(home.path(), "file");
        let mut command = program_with(&[NO_EXCHANGE]);
        command.args(["sync", "--delete", "--backup-dir=../kept", "--engine", engine]);
        run({
            command.arg(&source).arg(&destination);
            command
        })
        .exits(0);
        assert_equal(&source, &destination);
        for (path, contents) in OLD {
            assert_eq!(fs::read_to_string(home.path().join("kept/dir").join(path)).unwrap(), contents);
        }
    }
    replace_and_kill(scratch().path(), "file", &[NO_EXCHANGE]);
}

/// An overlay moves no directory of its lower layer.
fn what_can_not_be_moved_is_emptied_where_it_is() {
    for &engine in ENGINES.iter() {
        let mount = Mount::new("tmpfs", "64M");
        let at = |name: &str| mount.path().join(name);
        let (source, lower) = build_replaced(&at(""), "file");
        for name in ["upper", "work", "merged"] {
            fs::create_dir(at(name)).unwrap();
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=off",
            lower.display(),
            at("upper").display(),
            at("work").display()
        );
        let merged = at("merged");
        let text = |path: &Path| path.to_str().unwrap().to_string();
        crate::support::tool("mount", &["-t", "overlay", "-o", &options, "overlay", &text(&merged)]);
        let option = format!("--backup-dir={}", at("kept").display());
        let ran = sync_with(engine, &["--delete", &option], &source, &merged);
        let (has, wanted) = (snapshot(&merged), snapshot(&source));
        crate::support::tool("umount", &["--lazy", &text(&merged)]);
        ran.exits(0);
        assert!(has.keys().eq(wanted.keys()), "{:?}", has.keys());
        for (path, contents) in OLD {
            assert_eq!(fs::read_to_string(at("kept/dir").join(path)).unwrap(), contents);
        }
    }
}

/// A file gives way to a directory: its name holds the one or the other at every instant.
fn a_file_gives_way_to_a_directory_at_once() {
    at_each_call(&["mkdirat"], |inject, engine| {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("name/below"), "new");
        file(destination.join("name"), "old ");
        let options = ["--backup-dir=../kept"];
        let killed = kill_at(&[inject], engine, &options, &source, &destination);
        let found = fs::symlink_metadata(destination.join("name"));
        assert!(found.is_ok(), "{inject}");
        assert_eq!(old_files(home.path()).len(), 1, "{inject}");
        sync_with(engine, &options, &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(home.path());
        assert_eq!(fs::read(home.path().join("kept/name")).unwrap(), b"old ");
        killed
    });
}

/// Also without `--delete`.
fn an_empty_directory_gives_way_at_once() {
    at_each_call(&["renameat2"], |inject, engine| {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["file", "leader"] {
            file(source.join(name), "new");
            fs::create_dir_all(destination.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("new", source.join("symlink")).unwrap();
        fs::hard_link(source.join("leader"), source.join("link")).unwrap();
        for name in ["symlink", "link"] {
            fs::create_dir_all(destination.join(name)).unwrap();
        }
        let killed = kill_at(&[inject], engine, &[], &source, &destination);
        for name in ["file", "leader", "symlink", "link"] {
            assert!(fs::symlink_metadata(destination.join(name)).is_ok(), "{inject}: {name}");
        }
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        killed
    });
}
