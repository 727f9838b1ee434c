//! A kernel that lacks newer calls, and a sandbox that forbids them: a run does the same work without them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::engines::refusing;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, differences, file, mode, modified, node, noise, snapshot, sparse, xattr};
use crate::support::{ENGINES, Ran, assert_no_litter, is_long, program_with, run, scratch, sync_with, tool};

tests![
    each_newer_call_may_be_refused: [Need::Root, Need::Tool("setfacl")],
    many_newer_calls_may_be_refused: [Need::Root, Need::Tool("setfacl")],
    what_nothing_stands_in_for_is_told,
    a_lock_that_can_not_be_had_is_told,
    what_can_not_be_asked_for_is_not_taken_for_none: [Need::Root, Need::Tool("setfacl")],
    threads_that_can_not_be_had_are_told: [Need::Tool("strace")],
];

/// fchmodat2(2), of Linux 6.6.
const FCHMODAT2: i64 = 452;
/// setxattrat(2), getxattrat(2), listxattrat(2) and removexattrat(2), of Linux 6.13.
const XATTRS_AT: [i64; 4] = [463, 464, 465, 466];
const OTHERS: [i64; 10] = [
    libc::SYS_openat2,
    libc::SYS_renameat2,
    libc::SYS_copy_file_range,
    libc::SYS_preadv2,
    libc::SYS_faccessat2,
    libc::SYS_close_range,
    libc::SYS_memfd_create,
    libc::SYS_fadvise64,
    libc::SYS_syncfs,
    libc::SYS_lseek,
];
/// What a sandbox forbids that knows file systems without them.
const FORBIDDEN: [i64; 5] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_flock,
    libc::SYS_fallocate,
];
/// As a kernel that does not know a call says it, or one of its flags, and as a sandbox does.
const ERRORS: [i32; 3] = [libc::ENOSYS, libc::EINVAL, libc::EPERM];

const OPTIONS: [&[&str]; 4] = [
    &["--delete"],
    &["--delete", "--link-dest=../earlier"],
    &["--delete", "--backup-dir=../kept", "--lock"],
    &["--delete", "--inplace", "--partial", "--fsync", "--mkpath"],
];

/// A source of entries of all kinds, two states of it, and the mirrors of the older one.
struct Place {
    home: tempfile::TempDir,
    /// What DST and the backups are without a refusal, for each list of options.
    expected: Vec<Outcome>,
}

/// What a run leaves: trees, and the blocks of the file that has holes.
#[derive(Debug, PartialEq)]
struct Outcome {
    trees: Vec<BTreeMap<PathBuf, Node>>,
    blocks: u64,
    shares: bool,
}

impl Place {
    fn new() -> Place {
        let home = scratch();
        let source = home.path().join("src");
        older(&source);
        for mirror in ["old", "earlier"] {
            sync_with("auto", &[], &source, &home.path().join(mirror)).exits(0);
        }
        newer(&source);
        let mut place = Place { home, expected: Vec::new() };
        for options in OPTIONS {
            place.begin();
            let (source, destination) = (place.at("src"), place.at("dst"));
            sync_with("auto", options, &source, &destination).exits(0);
            crate::support::assert_equal(&source, &destination);
            let outcome = place.outcome();
            place.expected.push(outcome);
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// DST has the older state again.
    fn begin(&self) {
        for name in ["dst", "kept"] {
            fs::remove_dir_all(self.at(name)).ok();
        }
        tool("cp", &["-a".as_ref(), self.at("old").as_os_str(), self.at("dst").as_os_str()]);
    }

    fn outcome(&self) -> Outcome {
        let stat = |path: &str| fs::metadata(self.at(path));
        let trees = ["dst", "kept"].map(|name| self.at(name)).into_iter().filter(|tree| tree.exists());
        let inode = |path: &str| stat(path).map(|stat| stat.ino()).ok();
        assert_no_litter(self.home.path());
        let tree = |path: PathBuf| {
            let mut nodes = snapshot(&path);
            // A tree of backups has directories of this run.
            let own = nodes.values_mut().filter(|node| node.kind == "directory" && path.ends_with("kept"));
            own.for_each(|node| node.modified = (0, 0));
            nodes
        };
        Outcome {
            trees: trees.map(tree).collect(),
            blocks: stat("dst/sparse").unwrap().blocks(),
            shares: inode("dst/d/f1") == inode("earlier/d/f1"),
        }
    }

    /// Does the same work where calls are refused.
    fn check(&self, calls: &[i64], errno: i32, engine: &str) {
        // Each call and error has half of the lists, unless there is time.
        let turn = calls.iter().sum::<i64>() as usize + errno as usize;
        let lists = OPTIONS.iter().zip(&self.expected).enumerate();
        for (_, (options, expected)) in lists.filter(|(list, _)| is_long() || (list + turn).is_multiple_of(2))
        {
            // No lock can be had there.
            let options: Vec<&&str> = options
                .iter()
                .filter(|option| **option != "--lock" || !calls.contains(&libc::SYS_flock))
                .collect();
            self.begin();
            let (source, destination) = (self.at("src"), self.at("dst"));
            let mut arguments: Vec<&OsStr> = ["sync", "--engine", engine].map(OsStr::new).into();
            arguments.extend(options.iter().map(|option| OsStr::new(**option)));
            arguments.extend([source.as_os_str(), destination.as_os_str()]);
            let ran = refusing(calls, errno, &arguments);
            assert_eq!(ran.code, Some(0), "{calls:?} refused with {errno}: {ran:#?}");
            let found = self.outcome();
            let what = format!("{calls:?} refused with {errno}, {engine}, {options:?}");
            for (found, expected) in found.trees.iter().zip(&expected.trees) {
                assert_eq!(differences(expected, found), Vec::<String>::new(), "{what}");
            }
            assert!(found == *expected, "{what}");
        }
    }
}

/// The engines, as far as their rings are not refused.
fn engines(calls: &[i64]) -> impl Iterator<Item = &'static str> {
    let has_ring = !calls.iter().any(|call| FORBIDDEN[..3].contains(call));
    ENGINES.iter().map(move |engine| if has_ring { engine } else { "auto" })
}

fn older(source: &Path) {
    for number in 0..8 {
        file(source.join(format!("d/f{number}")), noise(number, 3000));
    }
    file(source.join("large"), noise(9, 9 << 20));
    file(source.join("deep/er/f"), "deep");
    file(source.join("gone/a/f"), "gone");
    file(source.join("becomes a directory"), "file");
    file(source.join("becomes a file/f"), "directory");
    file(source.join("changes"), "old");
    symlink("one", source.join("symlink")).unwrap();
    fs::hard_link(source.join("d/f2"), source.join("d/link")).unwrap();
    old_times(source);
}

fn newer(source: &Path) {
    fs::remove_dir_all(source.join("gone")).unwrap();
    fs::remove_file(source.join("becomes a directory")).unwrap();
    file(source.join("becomes a directory/f"), "directory");
    fs::remove_dir_all(source.join("becomes a file")).unwrap();
    file(source.join("becomes a file"), "file");
    file(source.join("changes"), "newer");
    file(source.join("large"), [noise(9, 8 << 20), noise(10, (1 << 20) + 1)].concat());
    fs::remove_file(source.join("symlink")).unwrap();
    symlink("two", source.join("symlink")).unwrap();
    sparse(source.join("sparse"), 30 << 20, &[(5 << 20, &noise(1, 100_000)), (20 << 20, b"data")]);
    node(source.join("fifo"), FileType::Fifo, (0, 0));
    node(source.join("socket"), FileType::Socket, (0, 0));
    node(source.join("character"), FileType::CharacterDevice, (1, 3));
    node(source.join("block"), FileType::BlockDevice, (7, 200));
    file(source.join("first"), "hard link");
    fs::hard_link(source.join("first"), source.join("deep/er/link")).unwrap();
    fs::hard_link(source.join("fifo"), source.join("fifo too")).unwrap();
    fs::hard_link(source.join("symlink"), source.join("symlink too")).unwrap();
    for name in ["d/f3", "symlink", "fifo"] {
        lchown(source.join(name), Some(7), Some(8)).unwrap();
    }
    mode(source.join("d/f4"), 0o4711);
    mode(source.join("d"), 0o2750);
    xattr(source.join("d/f3"), "user.a", b"1");
    xattr(source.join("d"), "user.b", b"2");
    xattr(source.join("symlink"), "trusted.c", b"3");
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr(source.join("d/f6"), "security.capability", &capability);
    file(source.join("new/dir/f"), "new");
    file(source.join("new/large"), noise(11, 9 << 20));
    let acl = |rules: &str, name: &str| tool("setfacl", &["-m", rules, source.join(name).to_str().unwrap()]);
    acl("u:7:r--,g:9:rw-", "changes");
    acl("u:7:r--", "new/dir/f");
    acl("u:7:r-x,d:u:7:rwx", "deep/er");
    old_times(source);
}

/// Times to the nanosecond, directories last.
fn old_times(source: &Path) {
    for entry in walkdir::WalkDir::new(source).contents_first(true) {
        modified(entry.unwrap().path(), 1_000_000_000, 123_456_789);
    }
}

fn each_newer_call_may_be_refused() {
    let place = Place::new();
    let calls = [FCHMODAT2].into_iter().chain(XATTRS_AT).chain(OTHERS).chain(FORBIDDEN);
    for (number, call) in calls.enumerate() {
        for (turn, &errno) in ERRORS.iter().enumerate() {
            let engines: Vec<_> = engines(&[call]).collect();
            // They take turns.
            place.check(&[call], errno, engines[(number + turn) % engines.len()]);
        }
    }
}

fn many_newer_calls_may_be_refused() {
    let place = Place::new();
    let newest = [&[FCHMODAT2][..], &XATTRS_AT].concat();
    let all = [&newest[..], &OTHERS, &FORBIDDEN].concat();
    for calls in [newest, all] {
        for (&errno, engine) in
            ERRORS.iter().flat_map(|errno| engines(&calls).map(move |engine| (errno, engine)))
        {
            place.check(&calls, errno, engine);
        }
    }
}

/// statx(2) is older than io_uring: without it nothing begins.
fn what_nothing_stands_in_for_is_told() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("f"), "new");
    file(destination.join("extra"), "extra");
    for errno in ERRORS {
        let arguments = ["sync".as_ref(), "--delete".as_ref(), source.as_os_str(), destination.as_os_str()];
        let ran: Ran = refusing(&[libc::SYS_statx], errno, &arguments).exits(3);
        assert!(ran.err.contains("use source "), "{}", ran.err);
        assert_eq!(fs::read_dir(&destination).unwrap().count(), 1);
    }
}

fn a_lock_that_can_not_be_had_is_told() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("f"), "new");
    for errno in ERRORS {
        let arguments = ["sync".as_ref(), "--lock".as_ref(), source.as_os_str(), destination.as_os_str()];
        let ran = refusing(&[libc::SYS_flock], errno, &arguments).exits(3);
        assert!(ran.err.contains("it can't be locked: "), "{}", ran.err);
        assert!(!destination.join("f").exists());
    }
}

/// Attributes that nobody may list, or read, may be anything: an ACL among them keeps others out.
fn what_can_not_be_asked_for_is_not_taken_for_none() {
    let lists = [libc::SYS_listxattr, libc::SYS_llistxattr, libc::SYS_flistxattr, XATTRS_AT[2]];
    let reads = [libc::SYS_getxattr, libc::SYS_lgetxattr, libc::SYS_fgetxattr, XATTRS_AT[1]];
    let sets: [&[i64]; 4] = [&[libc::SYS_flistxattr], &lists, &reads, &[lists, reads].concat()];
    let home = scratch();
    let source = home.path().join("src");
    for name in ["d/acl", "d/plain"] {
        file(source.join(name), name);
        mode(source.join(name), 0o600);
    }
    mode(source.join("d"), 0o700);
    for name in ["d", "d/acl"] {
        tool("setfacl", &["-m", "u:5:r-x", source.join(name).to_str().unwrap()]);
    }
    // What is made inherits an ACL there, of which nobody can be told either.
    let inherits = home.path().join("inherits");
    fs::create_dir(&inherits).unwrap();
    tool("setfacl", &["-m", "d:u:9:rwx,d:g::rwx", inherits.to_str().unwrap()]);
    let places = ["new", "old", "inherits/new"].map(|name| home.path().join(name));
    for (set, options) in sets.iter().flat_map(|set| [None, Some("--no-xattrs")].map(|option| (set, option)))
    {
        for (place, engine) in places.iter().zip(["auto", "threads", "auto"]) {
            fs::remove_dir_all(place).ok();
            if place.ends_with("old") {
                sync_with("auto", &[], &source, place).exits(0);
                file(source.join("d/acl"), "changed");
            }
            let mut arguments: Vec<&OsStr> = ["sync", "--engine", engine].map(OsStr::new).into();
            arguments.extend(options.map(OsStr::new));
            arguments.extend([source.as_os_str(), place.as_os_str()]);
            let ran = refusing(set, libc::ENOSYS, &arguments);
            let what = format!("{set:?} {options:?} {}: {ran:#?}", place.display());
            assert!(ran.code == Some(23) || options.is_some() && ran.code == Some(0), "{what}");
            for name in ["d", "d/acl", "d/plain"] {
                let acl = |tree: &Path| {
                    let facl =
                        tool("getfacl", &["--omit-header", "--absolute-names", tree.to_str().unwrap()]);
                    facl.lines().map(str::to_owned).collect::<Vec<_>>()
                };
                let (given, wanted) = (acl(&place.join(name)), acl(&source.join(name)));
                // The ACL of SRC, or nothing for anybody but the owner.
                let is_closed = fs::metadata(place.join(name)).unwrap().mode() & 0o077 == 0;
                assert!(given == wanted || is_closed, "{name}: {given:?} {wanted:?} {what}");
            }
            assert_eq!(
                fs::read(place.join("d/acl")).unwrap(),
                fs::read(source.join("d/acl")).unwrap(),
                "{what}"
            );
        }
    }
}

fn threads_that_can_not_be_had_are_told() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("f"), "new");
    for (errno, remedy) in [("EPERM", "have it allow clone3"), ("EAGAIN", "ulimit -u")] {
        let injected = format!("inject=clone3:error={errno}");
        let mut command = program_with(&[&injected]);
        command.arg("sync").args([&source, &destination]);
        let ran = run(command).exits(3);
        assert!(ran.err.starts_with("ringsync: start a thread: ") && ran.err.contains(remedy), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(!destination.exists());
    }
    let injected = "inject=clone3:error=ENOSYS";
    let mut command = program_with(&[injected]);
    command.arg("sync").args([&source, &destination]);
    run(command).exits(0);
}
