//! Promise 2: whole files only, whatever kills the run, and no litter in the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, file, mode, modified, noise, snapshot};
use crate::support::{ENGINES, assert_equal, assert_no_litter, key, program, run, scratch, sync_with};

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

/// Numbers by chance from a seed that is printed; `RINGSYNC_TEST_SEED` brings it back (SplitMix64).
struct Chance(u64);

impl Chance {
    fn new() -> Chance {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let given = std::env::var("RINGSYNC_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        eprintln!("RINGSYNC_TEST_SEED={seed}");
        Chance(seed)
    }

    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

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
    use std::os::unix::fs::MetadataExt;
    let (prefix, chance) = (".ringsync-", "0123456789abcdef");
    let mut proof = blake3::Hasher::new_keyed(&key());
    proof.update(&fs::metadata(directory).unwrap().ino().to_le_bytes());
    proof.update(prefix.as_bytes()).update(chance.as_bytes());
    format!("{prefix}{chance}{}", &proof.finalize().to_hex()[..16])
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
