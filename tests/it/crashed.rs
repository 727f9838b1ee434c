//! A store survives what kills a run, and what takes its file system down, at any moment: what was promised is there, and each
//! snapshot with a name is whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::snapshots::{name_of, names, snapshot, source, take};
use crate::support::chance::Chance;
use crate::support::mount::Image;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise};
use crate::support::{assert_equal, await_of, finish, is_long, run, scratch, tool};

tests![
    a_crash_at_any_moment_of_ext4: [Need::FileSystem("ext4"), Need::Tool("xfs_io")],
    a_crash_at_any_moment_of_xfs: [Need::FileSystem("xfs"), Need::Tool("xfs_io")],
    what_a_crash_has_emptied_is_not_taken_for_the_source: [Need::FileSystem("ext4"), Need::Tool("xfs_io")],
    a_kill_at_any_moment_on_ext4: [Need::FileSystem("ext4")],
    a_kill_at_any_moment_on_xfs: [Need::FileSystem("xfs")],
    a_kill_at_any_moment_on_btrfs: [Need::FileSystem("btrfs")],
    a_kill_at_any_moment_on_tmpfs: [Need::Root],
];

/// A source that changes, and what it was at each time.
struct History {
    home: tempfile::TempDir,
    source: PathBuf,
    round: u64,
    /// What the runs that came to their end have said they have taken: names, and the rounds.
    promised: BTreeMap<String, u64>,
}

impl History {
    fn new() -> Self {
        let home = scratch();
        let source = source(home.path());
        for number in 0..150 {
            file(source.join(format!("many/{}/{number}", number % 5)), noise(number, 3000));
        }
        History { source, home, round: 0, promised: BTreeMap::new() }
    }

    fn state(&self, round: u64) -> PathBuf {
        self.home.path().join(format!("state-{round}"))
    }

    /// Changes the source: some files, a large one in part, a directory's name.
    fn go_on(&mut self) {
        self.round += 1;
        let (round, source) = (self.round, &self.source);
        file(source.join("round"), round.to_string());
        file(source.join("large"), [noise(1, 5 << 20), noise(round, 1 << 20)].concat());
        for number in 0..20 {
            let number = (round * 7 + number * 3) % 150;
            file(source.join(format!("many/{}/{number}", number % 5)), noise(round + number, 3000));
        }
        fs::remove_dir_all(source.join(format!("new-{}", round - 1))).ok();
        for number in 0..30 {
            file(source.join(format!("new-{round}/{number}")), noise(number, 2000));
        }
        tool("cp", &["-a".as_ref(), source.as_os_str(), self.state(round).as_os_str()]);
    }

    /// Whether all that was promised is there, and each snapshot is what the source was in some round.
    fn check(&self, store: &Path) {
        if !store.exists() {
            assert!(self.promised.is_empty());
            return;
        }
        let names = names(store);
        for name in self.promised.keys() {
            assert!(names.contains(name), "{name} was promised: {names:?}");
        }
        for name in &names {
            let taken = store.join(name);
            let round = fs::read_to_string(taken.join("round")).unwrap().parse().unwrap();
            assert!(self.promised.get(name).is_none_or(|promised| *promised == round));
            assert_equal(&self.state(round), &taken);
        }
        if let Ok(latest) = fs::canonicalize(store.join("latest")) {
            assert!(names.iter().any(|name| latest.ends_with(name)), "{}", latest.display());
        }
    }

    /// Takes a snapshot, and does something to it at a moment. Takes note of what it promises.
    fn take_until(
        &mut self,
        store: &Path,
        moment: Duration,
        interrupt: impl FnOnce(&mut std::process::Child),
    ) {
        let mut command = snapshot(&[&"take", &self.source, &store]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < moment && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        interrupt(&mut child);
        let ran = finish(child, Duration::from_secs(60));
        if ran.code == Some(0) {
            self.promised.insert(name_of(&ran), self.round);
        }
    }

    /// How long a run takes that nothing interrupts.
    fn first(&mut self, store: &Path) -> Duration {
        self.go_on();
        let begun = Instant::now();
        let name = name_of(&take(&self.source, store, &[], 0));
        self.promised.insert(name, self.round);
        begun.elapsed()
    }

    /// Forgets all but the newest snapshots, which a prune leaves.
    fn prune(&mut self, store: &Path) {
        run(snapshot(&[&"prune", &"--keep-last=4", &"--yes", &store])).exits(0);
        let left = names(store);
        assert_eq!(left.len().min(4), left.len());
        self.promised.retain(|name, _| left.contains(name));
    }
}

fn crashes(kind: &str) {
    let mut history = History::new();
    let image = Image::new(kind, "400M", &[]);
    let duration = {
        let mount = image.mount();
        history.first(&mount.path().join("store"))
    };
    let mut chance = Chance::new();
    for round in 0..if is_long() { 100 } else { 8 } {
        history.go_on();
        let mount = image.mount();
        let store = mount.path().join("store");
        history.check(&store);
        if round % 5 == 4 {
            history.prune(&store);
        }
        // At any moment, or right after it has promised.
        let moment = if round % 2 == 0 { duration.mul_f64(chance.next()) } else { Duration::from_secs(60) };
        // What is not on the disk by then never comes there, the log of the file system included.
        let point = mount.path().to_path_buf();
        history.take_until(&store, moment, |_| {
            tool("xfs_io", &["-x", "-c", "shutdown", point.to_str().unwrap()]);
        });
    }
    let mount = image.mount();
    let store = mount.path().join("store");
    history.check(&store);
    history.first(&store);
    history.check(&store);
}

/// A file that was written before a crash may have its size and time, and nothing in it.
fn what_a_crash_has_emptied_is_not_taken_for_the_source() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("large"), noise(1, 20 << 20));
    for number in 0..80 {
        file(source.join(format!("more/{number}")), noise(number, 1 << 20));
    }
    let image = Image::new("ext4", "400M", &[]);
    let left = {
        let mount = image.mount();
        let store = mount.path().join("store");
        let mut command = snapshot(&[&"take", &"--bwlimit=20M", &source, &store]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let left = store.join(".ringsync/incomplete/large");
        await_of(&mut child, "the large file is there", || left.exists());
        // Has the log written, and not the contents of other files.
        fs::File::create(mount.path().join("other")).and_then(|other| other.sync_all()).unwrap();
        tool("xfs_io", &["-x", "-c", "shutdown", mount.path().to_str().unwrap()]);
        child.kill().unwrap();
        child.wait().unwrap();
        left
    };
    let mount = image.mount();
    let [ours, theirs] =
        [source.join("large"), left].map(|path| (fs::metadata(&path).unwrap(), fs::read(path).unwrap()));
    assert_eq!((ours.0.len(), ours.0.modified().unwrap()), (theirs.0.len(), theirs.0.modified().unwrap()));
    assert_ne!(ours.1, theirs.1, "its contents were lost");
    let store = mount.path().join("store");
    // A run that can't begin does not make it believed.
    take(&home.path().join("missing"), &store, &[], 3);
    assert_equal(&source, &store.join(name_of(&take(&source, &store, &[], 0))));
}

fn kills(store: &Path) {
    let mut history = History::new();
    let duration = history.first(store);
    let mut chance = Chance::new();
    for round in 0..if is_long() { 100 } else { 10 } {
        history.go_on();
        let moment = duration.mul_f64(chance.next() * 1.2);
        history.take_until(store, moment, |child| child.kill().unwrap());
        history.check(store);
        if round % 10 == 9 {
            history.prune(store);
        }
    }
    history.first(store);
    history.check(store);
    assert!(!store.join(".ringsync/broken-off").exists());
}

fn kills_on(kind: &str) {
    let image = Image::new(kind, "400M", &[]);
    let mount = image.mount();
    kills(&mount.path().join("store"));
}

fn a_crash_at_any_moment_of_ext4() {
    crashes("ext4");
}

fn a_crash_at_any_moment_of_xfs() {
    crashes("xfs");
}

fn a_kill_at_any_moment_on_ext4() {
    kills_on("ext4");
}

fn a_kill_at_any_moment_on_xfs() {
    kills_on("xfs");
}

fn a_kill_at_any_moment_on_btrfs() {
    kills_on("btrfs");
}

fn a_kill_at_any_moment_on_tmpfs() {
    let home = scratch();
    kills(&home.path().join("store"));
}
