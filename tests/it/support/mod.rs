//! What the tests stand on: a place to work in, the program, trees as values, file systems to mount.

pub mod attacker;
pub mod chance;
pub mod changed;
pub mod fuse;
pub mod mapping;
pub mod mount;
pub mod needs;
pub mod tree;
pub mod user;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Both engines: the core of the suite runs on each. Where io_uring is forbidden the fallback alone is tested, which a
/// line tells, and which fails `engines::the_ring_engine_runs` when nothing may be skipped.
pub static ENGINES: LazyLock<Vec<&'static str>> = LazyLock::new(|| match needs::Need::Uring.missing() {
    None => vec!["uring", "threads"],
    Some(what) => {
        eprintln!("skipped: everything on the uring engine: needs {what}");
        vec!["threads"]
    }
});

/// Whether nothing may be skipped, and what takes minutes is run as well.
pub fn everything() -> bool {
    std::env::var_os("RINGSYNC_TEST_ALL").is_some_and(|value| value == "1")
}

/// Whether the series that take longest are run in full, as `.ci/long` does.
pub fn is_long() -> bool {
    std::env::var_os("RINGSYNC_TEST_LONG").is_some_and(|value| value == "1")
}

/// Where the program keeps its key.
pub const STATE: &str = "RINGSYNC_STATE_DIR";

/// Runs this process's tests in another one, so that the program's key is the tests' own and not the user's.
pub fn with_state_of_its_own() -> ! {
    let state = tempfile::Builder::new().prefix("ringsync-test-state-").tempdir().expect("a directory");
    let tests = std::env::current_exe().expect("this binary");
    let mut command = Command::new(tests);
    let status = command.args(std::env::args_os().skip(1)).env(STATE, state.path()).status();
    drop(state);
    std::process::exit(status.expect("the tests").code().unwrap_or(1))
}

/// The program's key, with which temporary names can be made.
pub fn key() -> [u8; 32] {
    let state = PathBuf::from(std::env::var_os(STATE).expect("the state directory"));
    if !state.join("key").exists() {
        let home = scratch();
        std::fs::create_dir(home.path().join("src")).expect("a directory");
        sync_with("threads", &[], &home.path().join("src"), &home.path().join("dst")).exits(0);
    }
    std::fs::read(state.join("key")).expect("a key").try_into().expect("32 bytes")
}

/// Bytes, and inodes, that the largest tests take.
const ROOM: u64 = 4 << 30;
const INODES: u64 = 400_000;

/// A directory of the test's own, on a tmpfs where the machine has one: creating thousands of files is quick there.
/// It goes when it is dropped.
pub fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let roomy = rustix::fs::statvfs(shared).is_ok_and(|stat| {
        let inodes = stat.f_files == 0 || stat.f_favail >= INODES;
        inodes && stat.f_bavail * stat.f_frsize >= ROOM
    });
    let place = if roomy { shared.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("ringsync-test-").tempdir_in(place).expect("a scratch directory")
}

/// The same on a disk, for what is too large for memory.
pub fn scratch_on_disk() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ringsync-test-").tempdir_in("/var/tmp").expect("a scratch directory")
}

/// Tells another thread that a test, or a part of it, is over, also when it failed.
pub struct AtEnd<'a>(pub &'a std::sync::atomic::AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Does a step again and again in another thread while `work` is done, also if that fails.
pub fn meanwhile<R>(mut step: impl FnMut() + Send, work: impl FnOnce() -> R) -> R {
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                step();
            }
        });
        let _end = AtEnd(&over);
        work()
    })
}

/// Writes another beginning to a file again and again while `work` is done, so that no run gets a copy of one state.
pub fn while_rewritten<R>(path: &Path, work: impl FnOnce() -> R) -> R {
    let file = std::fs::File::options().write(true).open(path).expect("a file to write to");
    let mut number = 0_u64;
    let rewrite = || {
        number += 1;
        std::os::unix::fs::FileExt::write_all_at(&file, &number.to_le_bytes(), 0).expect("a write");
    };
    meanwhile(rewrite, work)
}

/// The program under test. `RINGSYNC_TEST_PROGRAM` names it where another user runs the tests, who can't get at what cargo
/// has built.
pub fn program() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_ringsync"));
    std::env::var_os("RINGSYNC_TEST_PROGRAM").map_or_else(built, PathBuf::from)
}

/// The program, with some of its system calls delayed, refused or deadly: expressions of strace(1), `inject=…`.
pub fn program_with(injected: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    command.args(injected.iter().flat_map(|inject| ["-e", inject]));
    // Cargo sets it, and the loader looks in each of its directories, with calls that would be counted.
    command.arg(program()).env_remove("LD_LIBRARY_PATH");
    command
}

/// Where the package lies. `RINGSYNC_TEST_SOURCE` names a copy that another user can read.
pub fn source_root() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("RINGSYNC_TEST_SOURCE").map_or_else(built, PathBuf::from)
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Requires an exit code, and shows everything if it is another one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The lines of `--json`, parsed.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The last line of `--json`.
    pub fn summary(&self) -> serde_json::Value {
        let last = self.json().pop().expect("a summary");
        assert_eq!(last["event"], "summary");
        last
    }
}

/// `ringsync sync --engine ENGINE OPTIONS SRC DST`.
pub fn sync_with(engine: &str, options: &[&str], source: &Path, destination: &Path) -> Ran {
    let mut command = Command::new(program());
    command.args(["sync", "--engine", engine]).args(options).arg(source).arg(destination);
    run(command)
}

/// Runs a command to its end, which must come within two minutes: a hang is a failure, and is killed.
pub fn run(mut command: Command) -> Ran {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    finish(child.unwrap_or_else(|error| panic!("{command:?}: {error}")), Duration::from_secs(120))
}

/// Waits for a child that writes to pipes.
pub fn finish(mut child: Child, limit: Duration) -> Ran {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let out = std::thread::spawn(move || read(out));
    let err = std::thread::spawn(move || read(err));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child to wait for") {
            break status;
        }
        if begun.elapsed() > limit {
            child.kill().expect("a child to kill");
            panic!("the program hung: {:?}, {:?}", out.join(), err.join());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let (out, err) = (out.join().expect("output"), err.join().expect("messages"));
    Ran { code: status.code(), out, err }
}

/// Waits until something is so that a child brings about, for a minute at most. A child that ends before, or takes longer, is
/// a failure, and is killed.
#[track_caller]
pub fn await_of(child: &mut Child, what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        let ended = child.try_wait().expect("a child to wait for");
        if ended.is_some() || begun.elapsed() > Duration::from_secs(60) {
            child.kill().ok();
            child.wait().ok();
            panic!("{what}: it never came to that; the program ended by itself: {ended:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn read(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
    String::from_utf8(bytes).expect("messages are escaped, and so UTF-8")
}

/// Runs a tool that must succeed, and returns what it printed.
#[track_caller]
pub fn tool<A: AsRef<OsStr>>(name: &str, arguments: &[A]) -> String {
    let mut command = Command::new(name);
    command.args(arguments);
    run(command).exits(0).out
}

/// Mirrors with rsync, which keeps what ringsync keeps, and returns what it said.
pub fn rsync(options: &[&str], source: &Path, destination: &Path) -> String {
    let mut command = Command::new("rsync");
    command
        .args(["-aHAX", "--modify-window=-1"])
        .args(options)
        .arg(source.join(""))
        .arg(destination.join(""));
    run(command).exits(0).out
}

/// What rsync finds to do between two trees, contents compared: nothing, if they are equal.
pub fn rsync_finds(source: &Path, destination: &Path) -> String {
    let slash = |path: &Path| path.join("").into_os_string();
    let mut command = Command::new("rsync");
    command.args(["-aHAXn", "--itemize-changes", "--checksum", "--delete"]);
    command.arg(slash(source)).arg(slash(destination));
    let ran = run(command).exits(0);
    ran.out + &ran.err
}

/// Requires two trees to be equal in everything that is kept.
#[track_caller]
pub fn assert_equal(source: &Path, destination: &Path) {
    let differences = tree::differences(&tree::snapshot(source), &tree::snapshot(destination));
    let mut text = String::new();
    for difference in differences.iter().take(20) {
        writeln!(text, "  {difference}").expect("a string takes all");
    }
    assert!(differences.is_empty(), "{} differences:\n{text}", differences.len());
}

/// Requires that no temporary file was left anywhere below.
#[track_caller]
pub fn assert_no_litter(root: &Path) {
    let names: Vec<PathBuf> = tree::snapshot(root).into_keys().collect();
    let litter: Vec<&PathBuf> =
        names.iter().filter(|path| path.to_string_lossy().contains(".ringsync-")).collect();
    assert!(litter.is_empty(), "{litter:?}");
}

/// Requires that each file below `destination` is whole.
#[track_caller]
pub fn assert_whole(source: &Path, destination: &Path) {
    let (from, to) = (tree::snapshot(source), tree::snapshot(destination));
    assert_no_litter(destination);
    for (path, node) in to.iter().filter(|(_, node)| node.kind == "file") {
        assert_eq!(from.get(path), Some(node), "{}", path.display());
    }
}
