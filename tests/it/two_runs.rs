//! Two runs into one DST at once: each name holds a whole file, neither takes or removes what the other is at work on, and the
//! next run finds both done. `--lock` keeps runs apart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation};

use crate::support::chance::Chance;
use crate::support::fuse::{Call, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, differences, file, modified, node, noise, snapshot};
use crate::support::{
    ENGINES, Ran, assert_equal, assert_no_litter, await_of, finish, is_long, program, run, scratch, sync_with,
};

tests![
    two_runs_at_once_leave_what_one_would_on_tmpfs: [Need::Root],
    two_runs_at_once_leave_what_one_would_on_ext4: [Need::FileSystem("ext4")],
    a_run_leaves_what_another_one_is_at_work_on: [Need::Fuse],
    what_is_left_beside_a_run_that_is_done_is_removed_by_the_next: [Need::Fuse],
    a_lock_keeps_runs_apart: [Need::Fuse],
    a_lock_ends_with_its_run_however_that_ends: [Need::Fuse],
    a_run_that_waits_for_a_lock_can_be_interrupted,
    a_lock_is_on_the_directory_and_leaves_nothing,
];

/// A tree as a value.
type Tree = BTreeMap<PathBuf, Node>;

const LIMIT: Duration = Duration::from_secs(120);

fn start(options: &[&str], source: &Path, destination: &Path) -> Child {
    let mut command = Command::new(program());
    command.args(["sync", "-j2"]).args(options).arg(source).arg(destination);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Many small files, some large ones, and one of each other kind.
fn plant(source: &Path) {
    for number in 0..400 {
        file(source.join(format!("d{}/s{}/f{number}", number % 5, number % 3)), noise(number, 2000));
    }
    for number in 0..3 {
        file(source.join(format!("large{number}")), noise(number, 17 << 20));
    }
    for number in 0..10 {
        let first = source.join(format!("d{}/s{}/f{number}", number % 5, number % 3));
        fs::hard_link(first, source.join(format!("d0/link{number}"))).unwrap();
        std::os::unix::fs::symlink(format!("f{number}"), source.join(format!("d1/symlink{number}"))).unwrap();
    }
    node(source.join("d2/fifo"), FileType::Fifo, (0, 0));
}

/// A number below `end`.
fn below(chance: &mut Chance, end: usize) -> usize {
    (chance.next() * end as f64) as usize
}

/// Makes a mirror an older state of its source: files that are missing or others, and some that are too many.
fn age(destination: &Path, chance: &mut Chance) {
    for number in 0..400_u64 {
        let path = destination.join(format!("d{}/s{}/f{number}", number % 5, number % 3));
        match below(chance, 6) {
            0 => fs::remove_file(&path).unwrap(),
            1 => {
                fs::remove_file(&path).unwrap();
                file(&path, noise(number + 1000, 1500));
                modified(&path, 1_000_000, 0);
            }
            2 => file(path.with_extension("extra"), "extra"),
            3 => file(path.with_extension("more").join("extra"), "extra"),
            _ => {}
        }
    }
    fs::remove_file(destination.join("large1")).unwrap();
    file(destination.join("large2"), noise(77, 17 << 20));
}

fn two_runs_at_once_leave_what_one_would_on_tmpfs() {
    two_runs_at_once(Mount::new("tmpfs", "1G").path());
}

fn two_runs_at_once_leave_what_one_would_on_ext4() {
    two_runs_at_once(Mount::new("ext4", "1G").path());
}

fn two_runs_at_once(place: &Path) {
    let home = scratch();
    let source = home.path().join("src");
    plant(&source);
    let lists: &[&[&str]] = &[
        &["--delete"],
        &["--delete", "--partial"],
        &["--delete", "--backup-dir=../kept"],
        &["--delete", "--inplace"],
        &["--delete", "--engine=threads", "--fsync"],
        &["--delete", "--backup-dir=../kept", "--inplace", "--partial"],
        &["--delete", "--no-atomic"],
        &["--delete", "--timeout=60"],
    ];
    let mut chance = Chance::of(16);
    let mut killed = 0;
    for round in 0..if is_long() { 20 * lists.len() } else { 2 * lists.len() } {
        let destination = place.join(format!("dst{round}"));
        let options = lists[round % lists.len()];
        if round >= lists.len() {
            sync_with("auto", &[], &source, &destination).exits(0);
            age(&destination, &mut chance);
        }
        let old = if destination.exists() { snapshot(&destination) } else { BTreeMap::new() };
        let others = lists[below(&mut chance, lists.len())];
        let mut first = start(options, &source, &destination);
        let second = start(others, &source, &destination);
        // One of them is killed now and then, once it has begun.
        let dies = below(&mut chance, 3) == 0;
        if dies {
            await_end_or(&mut first, || destination.join("d0").exists());
            first.kill().ok();
        }
        let ran = [finish(first, LIMIT), finish(second, LIMIT)];
        killed += usize::from(ran[0].code.is_none());
        ran.iter().for_each(explained);
        if ran.iter().all(|ran| ran.code == Some(0)) {
            assert_equal_but_for_directory_times(&source, &destination);
        }
        let may_mix =
            options.iter().chain(others).any(|option| ["--no-atomic", "--inplace"].contains(option));
        assert_whole_files((&source, &old), &destination, may_mix);
        if !may_mix {
            assert_backups_are_old((&source, &old), &place.join("kept"));
        }
        sync_with("auto", &["--delete"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(place);
        fs::remove_dir_all(&destination).unwrap();
        fs::remove_dir_all(place.join("kept")).ok();
    }
    assert!(killed > 0, "no run was killed in the middle of its work");
}

/// A directory in which both runs were at work may have a time of its own.
fn assert_equal_but_for_directory_times(source: &Path, destination: &Path) {
    let [from, to] = [source, destination].map(|tree| {
        let mut nodes = snapshot(tree);
        nodes.values_mut().filter(|node| node.kind == "directory").for_each(|node| node.modified = (0, 0));
        nodes
    });
    assert_eq!(differences(&from, &to), Vec::<String>::new());
}

/// Waits until something is so, or the child has ended.
fn await_end_or(child: &mut Child, is_so: impl Fn() -> bool) {
    while child.try_wait().unwrap().is_none() && !is_so() {
        std::thread::yield_now();
    }
}

/// Each code is one that the documentation gives, and what the other run brought about is named.
fn explained(ran: &Ran) {
    let known = [
        "the hard link's first name was replaced during the run",
        "it was replaced during the run",
        "No such file or directory",
        "a directory that is not empty is in the way",
        "nothing is deleted in it until the next run: names that were mirrored have vanished since",
    ];
    match ran.code {
        None | Some(0) => {}
        Some(23 | 24) => {
            let told: Vec<&str> = ran.err.lines().collect();
            assert!(!told.is_empty(), "{ran:#?}");
            // What the other one has deleted is deleted.
            assert!(!told.iter().any(|line| line.contains("list destination directory")), "{ran:#?}");
            assert!(told.iter().all(|line| known.iter().any(|known| line.contains(known))), "{ran:#?}");
        }
        _ => panic!("{ran:#?}"),
    }
}

/// Whatever became of the runs, no name of the source holds anything but an old or a new file. What is written where it is may
/// be a mixture after a kill: it has the size of one of the two.
fn assert_whole_files((source, old): (&Path, &Tree), destination: &Path, may_mix: bool) {
    let (from, to) = (snapshot(source), snapshot(destination));
    for (path, node) in to.iter().filter(|(path, node)| node.kind == "file" && from.contains_key(*path)) {
        let size = fs::metadata(destination.join(path)).unwrap().len();
        let is_new = node.contents == from[path].contents;
        let is_old = old.get(path).is_some_and(|old| old.contents == node.contents);
        let is_mixed = may_mix && (size == 1500 || size == 17 << 20);
        assert!(is_new || is_old || is_mixed, "{}: {node:?}", path.display());
    }
}

/// Nothing was taken for old that one of the runs had put in place.
fn assert_backups_are_old((source, old): (&Path, &Tree), kept: &Path) {
    let backups = if kept.exists() { snapshot(kept) } else { BTreeMap::new() };
    let from = snapshot(source);
    for (path, node) in backups.iter().filter(|(_, node)| node.kind == "file") {
        let had = old.get(path).is_some_and(|old| old.contents == node.contents);
        // A name that the other run has made a file of its own becomes a link, and then that file is a backup.
        let is_new = from.get(path).is_some_and(|new| new.links.is_none() && new.contents == node.contents);
        assert!(had || !is_new, "a backup of a new file: {}", path.display());
    }
}

/// Two files that can be held up, one in a directory that is new, the other over 8 MiB in one that is there, and one that is
/// copied at once.
fn slow_and_quick(trees: &[PathBuf]) {
    for tree in trees {
        file(tree.join("new/slow"), noise(1, 5000));
        file(tree.join("d/slow"), noise(2, 10 << 20));
        file(tree.join("d/quick"), "quick");
    }
}

/// One run is held up in the middle of a file; the other one comes to the end meanwhile.
fn a_run_leaves_what_another_one_is_at_work_on() {
    let lists: &[&[&str]] =
        &[&["--delete"], &["--delete", "--partial"], &["--delete", "--backup-dir=../kept"]];
    for (options, dies) in lists.iter().flat_map(|options| [(options, false), (options, true)]) {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        slow_and_quick(&[fuse.path().join("src"), source.clone()]);
        file(destination.join("d/slow"), "old");
        file(destination.join("d/extra"), "extra");
        fuse.hold(Call::Read, "slow");
        fuse.hold(Call::Read, "slow");
        let mut slow = start(options, &fuse.path().join("src"), &destination);
        await_of(&mut slow, "both files are being read", || fuse.held() == 2);
        let at_work = unfinished(&destination);
        assert!(!at_work.is_empty());
        let ran = sync_with("auto", options, &source, &destination).exits(0);
        assert_eq!(unfinished(&destination), at_work, "{}", ran.err);
        assert_eq!(fs::read(destination.join("d/slow")).unwrap(), noise(2, 10 << 20));
        assert!(!destination.join("d/extra").exists());
        if dies {
            slow.kill().unwrap();
        }
        fuse.release();
        explained(&finish(slow, LIMIT));
        sync_with("auto", options, &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(home.path());
    }
}

/// What is not done in a tree.
fn unfinished(tree: &Path) -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    for entry in walkdir::WalkDir::new(tree).into_iter().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".ringsync-") {
            names.insert(entry.into_path());
        }
    }
    names
}

/// A source of which a run does not come to the end before it is let go.
struct Held {
    fuse: Fuse,
}

impl Held {
    fn new() -> Held {
        let fuse = Fuse::new();
        file(fuse.path().join("src/slow"), noise(1, 5000));
        fuse.hold(Call::Read, "slow");
        Held { fuse }
    }

    fn source(&self) -> PathBuf {
        self.fuse.path().join("src")
    }

    /// A run that has begun, and goes on when the source is let go.
    fn start(&self, options: &[&str], destination: &Path) -> Child {
        let mut child = start(options, &self.source(), destination);
        await_of(&mut child, "the file is being read", || self.fuse.held() > 0);
        child
    }
}

fn a_lock_keeps_runs_apart() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (other, destination) = (home.path().join("src"), home.path().join("dst"));
        file(other.join("mine"), "mine");
        let held = Held::new();
        let first = held.start(&["--lock"], &destination);
        let ran = sync_with(engine, &["--lock"], &other, &destination).exits(3);
        assert!(
            ran.err.contains("it is locked, by another run with --lock or another program (flock(2))"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("(--wait waits for its end)"), "{}", ran.err);
        // Nothing was written, and what writes nothing needs no lock.
        assert!(!destination.join("mine").exists());
        sync_with(engine, &["--lock", "-n"], &other, &destination).exits(0);
        // One that does not ask for it does not heed it, nor does one in a directory below.
        sync_with(engine, &[], &other, &destination).exits(0);
        sync_with(engine, &["--lock"], &other, &destination.join("below")).exits(0);
        // `copy` locks its directory.
        let mut copy = Command::new(program());
        copy.args(["copy", "--lock"]).arg(other.join("mine")).arg(&destination);
        let ran = run(copy).exits(3);
        assert!(ran.err.contains("it is locked, by another run with --lock"), "{}", ran.err);
        // One that waits has the directory when the other is done.
        let waiting = start(&["--lock", "--wait", "--delete"], &other, &destination);
        held.fuse.release();
        finish(first, LIMIT).exits(0);
        finish(waiting, LIMIT).exits(0);
        assert_equal(&other, &destination);
    }
}

fn a_lock_ends_with_its_run_however_that_ends() {
    let home = scratch();
    let (other, destination) = (home.path().join("src"), home.path().join("dst"));
    file(other.join("mine"), "mine");
    let held = Held::new();
    let mut first = held.start(&["--lock", "--engine=threads"], &destination);
    first.kill().unwrap();
    held.fuse.release();
    first.wait().unwrap();
    sync_with("auto", &["--lock", "--delete"], &other, &destination).exits(0);
    sync_with("auto", &["--lock"], &other, &destination).exits(0);
    assert_equal(&other, &destination);
}

fn a_run_that_waits_for_a_lock_can_be_interrupted() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("mine"), "mine");
    fs::create_dir(&destination).unwrap();
    // Anybody who can open the directory can have the lock.
    let directory = fs::File::open(&destination).unwrap();
    rustix::fs::flock(&directory, FlockOperation::LockExclusive).unwrap();
    for options in [&["--lock", "--wait"][..], &["--lock", "--wait", "--timeout=1"]] {
        let child = start(options, &source, &destination);
        let process = rustix::process::Pid::from_child(&child);
        // Longer than its time-out: to wait for another run is no hang.
        std::thread::sleep(Duration::from_millis(1500));
        rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
        let ran = finish(child, LIMIT).exits(20);
        assert!(!destination.join("mine").exists(), "{}", ran.err);
        let told = format!("another run is at work in {}: waiting for its end", destination.display());
        assert_eq!(ran.err.matches(&told).count(), 1, "{}", ran.err);
    }
    drop(directory);
    sync_with("auto", &["--lock", "--wait"], &source, &destination).exits(0);
}

fn a_lock_is_on_the_directory_and_leaves_nothing() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("mine"), "mine");
    sync_with("auto", &["--lock", "--delete"], &source, &destination).exits(0);
    assert_equal(&source, &destination);
    // A single file locks the directory around it.
    let directory = fs::File::open(&destination).unwrap();
    rustix::fs::flock(&directory, FlockOperation::LockExclusive).unwrap();
    sync_with("auto", &["--lock"], &source.join("mine"), &destination.join("other")).exits(3);
    sync_with("auto", &["--wait"], &source, &destination).exits(1);
    drop(directory);
    sync_with("auto", &["--lock"], &source.join("mine"), &destination.join("other")).exits(0);
    let names: BTreeSet<_> =
        fs::read_dir(&destination).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["mine", "other"].map(Into::into).into());
}

/// The other run is killed when this one is already done with the directory.
fn what_is_left_beside_a_run_that_is_done_is_removed_by_the_next() {
    for options in [&["--partial"][..], &["--partial", "--delete"], &["--delete", "--backup-dir=../kept"]] {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        slow_and_quick(&[fuse.path().join("src"), source.clone()]);
        fs::create_dir_all(destination.join("d")).unwrap();
        fuse.hold(Call::Read, "slow");
        fuse.hold(Call::Read, "slow");
        let mut slow = start(options, &fuse.path().join("src"), &destination);
        await_of(&mut slow, "both files are being read", || fuse.held() == 2);
        sync_with("auto", options, &source, &destination).exits(0);
        slow.kill().unwrap();
        fuse.release();
        slow.wait().unwrap();
        sync_with("auto", options, &source, &destination).exits(0);
        assert_no_litter(home.path());
        assert_equal(&source, &destination);
    }
}
