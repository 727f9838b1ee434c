//! Another user who owns a directory in each tree, and plants in them what root's runs might take for their own: files of
//! root's under the names of copies, of what broke off and of litter, setuid files, ACLs, links. They look all the
//! time for what they have gained.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, XattrFlags};

use crate::hostile::{duration, stamps};
use crate::support::attacker::Attacker;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified};
use crate::support::user::{ALICE, give};
use crate::support::{ENGINES, program, run, scratch};

tests![
    what_another_user_plants_gains_them_nothing: [Need::Root, Need::Tool("setpriv")],
];

const SECRET: &[u8] = b"SECRET, and root's alone";
/// What the attacker writes, in a file of the same size.
const MINE: &[u8] = b"mine, mine, mine, and...";
/// A program of root's, of the same size again.
const PROGRAM: &[u8] = b"#!/bin/true  # of root's";
/// Files of theirs in SRC.
const NAMES: [&str; 8] = ["f0", "f1", "f2", "f3", "f4", "f5", "large", "prog"];
/// What is root's in their directory of DST.
const ROOTS: [&str; 5] = ["secret", "rootprog", "readable", "private", "private too"];
/// Files of more bytes are copied by parts, and by --partial can be gone on with.
const LARGE: usize = 9 << 20;

/// What the attacker does, until they are killed.
pub fn attack(place: &Path) -> ! {
    let mut attack =
        Plants { place, chance: 88_172_645_463_325_252, seen: Vec::new(), looks: 0, exchanges: 0 };
    loop {
        attack.change_source();
        attack.rename_in_destination();
        attack.look();
    }
}

struct Plants<'a> {
    place: &'a Path,
    chance: u64,
    /// Temporary names that were seen.
    seen: Vec<OsString>,
    looks: u64,
    /// Names in DST that were exchanged.
    exchanges: u64,
}

impl Plants<'_> {
    /// A number below `end` (xorshift64, Marsaglia).
    fn below(&mut self, end: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % end as u64) as usize
    }

    /// Changes a file of theirs in SRC.
    fn change_source(&mut self) {
        let name = NAMES[self.below(NAMES.len())];
        let path = self.place.join("src/theirs").join(name);
        let set = |bits| fs::set_permissions(&path, fs::Permissions::from_mode(bits)).ok();
        match self.below(12) {
            0 => drop(set([0o4755, 0o6755, 0o2755][self.below(3)])),
            1 => drop(set([0o600, 0o644, 0o755, 0o666][self.below(4)])),
            2 => {
                fs::write(path.with_file_name("new"), MINE).ok();
                fs::rename(path.with_file_name("new"), &path).ok();
            }
            // The time of root's files, whose size they have.
            3 | 4 => drop(set_time(&path)),
            5 => drop(give_acl(&path)),
            6 => drop(fs::hard_link(&path, path.with_file_name(format!("link{}", self.below(3))))),
            7 => drop(fs::remove_file(path.with_file_name(format!("link{}", self.below(3))))),
            8 => {
                let fifo = path.with_file_name("fifo");
                fs::remove_file(&fifo).ok();
                rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).ok();
            }
            9 => {
                // A directory of theirs that has the name of one of root's, or of litter.
                let name = self.some_name();
                fs::create_dir(path.with_file_name(&name)).ok();
                fs::write(path.with_file_name(&name).join("inside"), MINE).ok();
            }
            10 => {
                let name = self.some_name();
                fs::remove_dir_all(path.with_file_name(&name)).ok();
                fs::remove_file(path.with_file_name(&name)).ok();
            }
            _ => {
                let name = self.some_name();
                fs::write(path.with_file_name(name), MINE).ok();
            }
        }
    }

    /// A temporary name that was seen, or a name of root's.
    fn some_name(&mut self) -> OsString {
        let (roots, seen) = (self.below(ROOTS.len()), self.below(self.seen.len().max(1)));
        let litter = self.seen.get(seen).filter(|_| roots > 1);
        litter.cloned().unwrap_or_else(|| ROOTS[roots].into())
    }

    /// Renames what is in their directory of DST, also what is not theirs.
    fn rename_in_destination(&mut self) {
        let directory = self.place.join("dst/theirs");
        let mut names: Vec<OsString> =
            fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in &names {
            if name.as_bytes().starts_with(b".ringsync-") && !self.seen.contains(name) && self.seen.len() < 64
            {
                self.seen.push(name.clone());
            }
        }
        if names.is_empty() {
            return;
        }
        let from = directory.join(&names[self.below(names.len())]);
        let to = match self.below(4) {
            0 => directory.join(NAMES[self.below(NAMES.len())]),
            1 => directory.join(self.some_name()),
            2 => directory.join(ROOTS[self.below(ROOTS.len())]),
            _ => directory.join(&names[self.below(names.len())]),
        };
        match self.below(6) {
            0 => {
                let trap = directory.join("trap");
                let target = ["guarded", "guarded/file", "dst/theirs/secret"][self.below(3)];
                symlink(self.place.join(target), &trap).ok();
                rustix::fs::renameat_with(CWD, &trap, CWD, &to, RenameFlags::EXCHANGE).ok();
                fs::remove_file(&trap).ok();
            }
            // What a directory of theirs could lose is no loss: they never take a file's last name.
            1 | 2 => drop(rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE)),
            _ => {
                let exchanged = rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE);
                self.exchanges += u64::from(exchanged.is_ok());
            }
        }
    }

    /// Looks for a gain, everywhere they can.
    fn look(&mut self) {
        self.looks += 1;
        if self.looks.is_multiple_of(64) {
            let done = format!("{} {}", self.exchanges, self.seen.len());
            fs::write(self.place.join("at work/new"), done).ok();
            fs::rename(self.place.join("at work/new"), self.place.join("at work/done")).ok();
        }
        let places: &[&str] = match self.looks % 16 {
            0 => &["dst", "dst/closed", "kept", "kept/theirs", "kept/closed", "."],
            1 => &["dst/theirs/private", "dst/theirs/private too", "dst/theirs/f0", "dst/theirs/f1"],
            _ => &["dst/theirs"],
        };
        for directory in places {
            let directory = self.place.join(directory);
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                look_at(self.place, &entry.path());
            }
        }
    }
}

/// Whether a file has what it must not have for them; leaves word of it.
fn look_at(place: &Path, path: &Path) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return };
    let mut file = File::from(file);
    let Ok(stat) = file.metadata() else { return };
    if !stat.is_file() {
        return;
    }
    let mut bytes = [0; 24];
    let length = file.read(&mut bytes).unwrap_or(0);
    let bytes = &bytes[..length];
    let runs_as_root = is_root_s(&stat) && bytes.starts_with(&MINE[..5]);
    // What could be read before the run was root's program alone.
    if bytes.starts_with(&SECRET[..6]) || runs_as_root {
        let above = path.parent().and_then(|above| fs::metadata(above).ok());
        let above = above.map(|above| format!("{:o} {}", above.mode(), above.uid()));
        let bytes = String::from_utf8_lossy(bytes);
        let what = format!("{} {:o} {} {bytes} in {above:?}", path.display(), stat.mode(), stat.uid());
        fs::write(place.join("caught").join(format!("{}", stat.ino())), what).ok();
    }
}

/// Whether a program runs as root, or with root's group.
fn is_root_s(stat: &fs::Metadata) -> bool {
    stat.uid() == 0 && stat.mode() & 0o4000 != 0 || stat.gid() == 0 && stat.mode() & 0o2000 != 0
}

fn set_time(path: &Path) -> rustix::io::Result<()> {
    let time = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives themselves a file by its ACL (linux/posix_acl_xattr.h), which the copy is to have as well.
fn give_acl(path: &Path) -> rustix::io::Result<()> {
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 6, ALICE), (4, 0, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    rustix::fs::lsetxattr(path, "system.posix_acl_access", &acl, XattrFlags::empty())
}

/// What root has in the attacker's directory, held so that it is known whether it still has a name.
struct Precious {
    name: String,
    held: File,
}

fn prepare(home: &Path) -> Vec<Precious> {
    let at = |name: &str| home.join(name);
    mode(home, 0o755);
    for name in NAMES {
        let mut bytes = MINE.to_vec();
        if name == "large" {
            bytes = MINE.repeat(LARGE / MINE.len());
        }
        file(at("src/theirs").join(name), bytes);
    }
    // Of root's, in the attacker's directory of SRC, and in one that is closed to all others.
    file(at("src/theirs/root's"), SECRET);
    mode(at("src/theirs/root's"), 0o600);
    file(at("src/closed/file"), SECRET);
    mode(at("src/closed"), 0o700);
    file(at("guarded/file"), SECRET);
    mode(at("guarded"), 0o700);
    fs::create_dir_all(at("dst/theirs")).unwrap();
    fs::create_dir(at("caught")).unwrap();
    fs::create_dir(at("at work")).unwrap();
    fs::create_dir(at("kept")).unwrap();
    for (name, bytes, bits) in
        [("secret", SECRET, 0o600), ("rootprog", PROGRAM, 0o4755), ("readable", PROGRAM, 0o644)]
    {
        let path = at("dst/theirs").join(name);
        file(&path, bytes);
        mode(&path, bits);
        modified(&path, 1_000_000, 0);
    }
    for (name, bits) in [("private", 0o700), ("private too", 0o1700)] {
        file(at("dst/theirs").join(name).join("precious"), SECRET);
        // Not one that a run made: it has a directory in it.
        fs::create_dir(at("dst/theirs").join(name).join("inner")).unwrap();
        mode(at("dst/theirs").join(name), bits);
    }
    for directory in ["src/theirs", "dst/theirs", "caught", "at work"] {
        give(at(directory), ALICE);
    }
    for name in NAMES {
        let path = at("src/theirs").join(name);
        give(path, ALICE);
    }
    for entry in walkdir::WalkDir::new(at("guarded")).contents_first(true) {
        modified(entry.unwrap().path(), 1_000_000, 0);
    }
    let precious = ["private", "private too"].map(|name| {
        let held = File::open(at("dst/theirs").join(name).join("precious")).unwrap();
        Precious { name: name.into(), held }
    });
    precious.into()
}

/// The options of a turn, in which nothing is deleted.
const OPTIONS: [&[&str]; 16] = [
    &[],
    &["--inplace"],
    &["--partial"],
    &["--backup"],
    &["--backup-dir=../kept"],
    &["--chown=root:root"],
    &["--no-acls", "--no-xattrs"],
    &["--no-owner", "--no-group"],
    &["--inplace", "--backup"],
    &["--partial", "--verify", "--fsync"],
    &["--no-atomic"],
    &["--size-only"],
    &["--checksum"],
    &["--inplace", "--no-owner", "--no-group", "--no-acls", "--no-xattrs"],
    &["--link-dest=../older"],
    &["--manifest=../sums", "--ignore-times"],
];
/// For an attacker who has seen no temporary name yet, on a machine that has other work: there is one for a while.
const SLOW: &[&str] = &["--partial", "--ignore-times", "--bwlimit=4M"];
/// Those that delete as well.
const DELETING: [&[&str]; 3] =
    [&["--delete"], &["--delete", "--backup-dir=../kept"], &["--delete", "--backup"]];

/// A mirror, which is killed once in a while.
fn run_once(home: &Path, turn: usize, options: &[&str]) {
    // As it may have been before: open to all.
    fs::remove_file(home.join("dst/closed/file")).ok();
    mode(home.join("dst/closed"), 0o755);
    let mut command = Command::new(program());
    command.current_dir(home.join("dst"));
    command.args(["sync", "--reflink=never", "--engine", ENGINES[turn % ENGINES.len()]]).args(options);
    command.arg(home.join("src")).arg(home.join("dst"));
    if turn % 4 != 3 {
        let ran = run(command);
        assert!(matches!(ran.code, Some(0 | 23 | 24)), "{options:?} {ran:#?}");
        return;
    }
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(turn as u64 / 4 % 20));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn what_another_user_plants_gains_them_nothing() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    let precious = prepare(home.path());
    fs::create_dir_all(at("dst/closed")).unwrap();
    fs::create_dir_all(at("older/theirs")).unwrap();
    stamps(&at("guarded")); // looking at it moves the times of the last access once
    let guarded = stamps(&at("guarded"));
    let mut attacker = Attacker::start("plant", home.path());
    let begun = Instant::now();
    let mut turn = 0;
    let caught = || -> Vec<String> {
        let found = fs::read_dir(at("caught")).unwrap().map(|entry| entry.unwrap().path());
        found.map(|path: PathBuf| fs::read_to_string(path).unwrap()).collect()
    };
    // At first nothing is deleted.
    let (whole, most) = (duration(), 3 * OPTIONS.len());
    let is_late = || begun.elapsed() > whole + SLOWEST;
    while begun.elapsed() < whole.mul_f64(0.75) || turn < most || !was_at_work(home.path()) && !is_late() {
        let options = if begun.elapsed() > whole { SLOW } else { OPTIONS[turn % OPTIONS.len()] };
        run_once(home.path(), turn, options);
        turn += 1;
        assert_eq!(caught(), [""; 0], "turn {turn}: {options:?}");
    }
    for Precious { name, held } in &precious {
        assert_eq!(held.metadata().unwrap().nlink(), 1, "what was in {name} was deleted");
    }
    attacker.stop();
    assert!(was_at_work(home.path()), "{:?}", fs::read_to_string(at("at work/done")));
    for root in ["dst", "kept"] {
        assert_no_gain(&at(root));
    }
    attacker = Attacker::start("plant", home.path());
    while begun.elapsed() < whole || turn < most + 2 * DELETING.len() {
        run_once(home.path(), turn, DELETING[turn % DELETING.len()]);
        turn += 1;
        assert_eq!(caught(), [""; 0], "turn {turn}, which deletes");
    }
    attacker.stop();
    let now = stamps(&at("guarded"));
    let touched: Vec<_> = guarded.iter().filter(|(path, stamps)| now.get(*path) != Some(*stamps)).collect();
    assert!(now.len() == guarded.len() && touched.is_empty(), "{touched:#?}");
    for root in ["dst", "kept"] {
        assert_no_gain(&at(root));
    }
}

/// How much longer than planned the attacker may take to see a temporary name, on a machine that has other work.
const SLOWEST: Duration = Duration::from_secs(120);

/// Whether the attacker has exchanged names, and has seen temporary ones.
fn was_at_work(home: &Path) -> bool {
    let done = fs::read_to_string(home.join("at work/done")).unwrap_or_default();
    let counts =
        done.split_once(' ').map(|(exchanges, seen)| (exchanges.parse::<u64>(), seen.parse::<u64>()));
    matches!(counts, Some((Ok(1..), Ok(1..))))
}

/// Requires that no file of theirs runs as root, and that secrets are root's alone: by themselves, or by a directory above
/// them that only root may enter.
fn assert_no_gain(root: &Path) {
    for entry in walkdir::WalkDir::new(root).into_iter().flatten().filter(|entry| entry.file_type().is_file())
    {
        let (path, stat) = (entry.path(), entry.metadata().unwrap());
        let bytes = fs::read(path).unwrap();
        if is_root_s(&stat) {
            assert_eq!(bytes, PROGRAM, "{} {:o} runs as root", path.display(), stat.mode());
        }
        if bytes.starts_with(&SECRET[..6]) {
            let is_root_alone = |path: &Path| {
                fs::metadata(path).is_ok_and(|stat| stat.uid() == 0 && stat.mode() & 0o077 == 0)
            };
            let mut ways = path.ancestors().take_while(|above| above.starts_with(root));
            assert!(ways.any(is_root_alone), "{} {:o} {}", path.display(), stat.mode(), stat.uid());
        }
    }
}
