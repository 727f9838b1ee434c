//! Other users: root mirrors a tree whose owner swaps its entries, in both trees, for symlinks that lead to what is
//! root's alone. And what someone may have planted in DST, mount points, and names and numbers that coincide.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, RenameFlags};

use crate::support::attacker::Attacker;
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise};
use crate::support::user::{ALICE, give, give_tree};
use crate::support::{
    AtEnd, ENGINES, Ran, assert_equal, assert_no_litter, everything, program, scratch, sync_with, tool,
};

tests![
    another_user_who_swaps_entries_gains_nothing: [Need::Root, Need::Tool("setpriv")],
    what_is_planted_is_never_written_through: [Need::Root],
    a_fifo_or_a_device_in_a_files_place_never_hangs: [Need::Root],
    mount_points_in_both_trees_are_crossed: [Need::Root],
    hard_links_across_a_mount_point_are_copied: [Need::Root],
    names_like_our_temporary_ones_are_copied,
    inode_numbers_of_two_file_systems_may_coincide: [Need::FileSystem("ext4")],
    a_planted_file_is_never_made_setuid: [Need::Root, Need::Tool("setcap")],
    a_planted_directory_is_not_taken_for_what_was_replaced: [Need::Root],
];

const SECRET: &[u8] = b"SECRET, and root's alone";
/// Names in the directories that are fought for.
const NAMES: u64 = 24;

/// How long the attack lasts.
pub fn duration() -> Duration {
    let given =
        std::env::var("RINGSYNC_HOSTILE_SECONDS").ok().map(|seconds| seconds.parse().expect("seconds"));
    Duration::from_secs(given.unwrap_or(if everything() { 60 } else { 5 }))
}

/// What the attacker's process does until it is killed: exchange, change and rename what is theirs, in an order that is
/// never the same against that of the runs.
pub fn attack(place: &Path) -> ! {
    let at = |name: &str| place.join(name);
    let mut number = 0_u64;
    loop {
        number += 1;
        let name = number % NAMES;
        for root in ["src", "dst"] {
            let swap = |inner: &str, trap: &str| {
                exchange(&at(&format!("{root}/{inner}")), &at(&format!("traps/{root}-{trap}")))
            };
            match number % 5 {
                0 => swap("a", "directory"),
                1 => swap("a/b", "inner"),
                2 => swap(&format!("a/b/file{name}"), "file"),
                3 => swap(&format!("a/b/file{name}"), "fifo"),
                _ => swap(&format!("a/b/file{name}"), "hard-link"),
            }
        }
        if number.is_multiple_of(3) {
            // Theirs to change, so that there is always something to do; refused where a symlink leads to root's.
            let path = at(&format!("src/a/b/file{}", number / 3 % NAMES));
            fs::set_permissions(
                &path,
                std::os::unix::fs::PermissionsExt::from_mode(0o600 + (number % 64) as u32),
            )
            .ok();
            if number.is_multiple_of(4) && fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
                fs::write(&path, format!("mine {number}")).ok();
            }
        }
        if number.is_multiple_of(6) {
            lure(&at("dst/a"), &at("guarded/a"), number % 4);
        }
        if number.is_multiple_of(7) {
            swap_temporary_names(&at("dst/a/b"), &at("traps/dst-file"));
            swap_temporary_names(&at("dst/a"), &at("traps/dst-inner"));
        }
    }
}

/// Has something in a directory that is to be deleted, and exchanges it with symlinks to what is root's.
fn lure(directory: &Path, guarded: &Path, number: u64) {
    let (tree, inner) = (directory.join(format!("tree{number}")), directory.join(format!("inner{number}")));
    fs::create_dir_all(tree.join("b")).ok();
    for name in ["b/file0", "b/file1", "file1"] {
        fs::write(tree.join(name), "mine").ok();
    }
    for symlink_to in [guarded.to_path_buf(), guarded.join("b")] {
        symlink(symlink_to, &inner).ok();
        exchange(&tree.join("b"), &inner);
        exchange(&tree, &inner);
        exchange(&tree, &inner);
    }
}

/// Puts a trap in the place of what a run is just making, or left.
fn swap_temporary_names(directory: &Path, trap: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(b".ringsync-") {
            exchange(&entry.path(), trap);
        }
    }
}

/// Exchanges two names, if both are there and the user may.
fn exchange(one: &Path, other: &Path) {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).ok();
}

/// All that a run could have changed of what it must not touch: mode, owner, names, and times, the last access
/// among them, which reading a file or listing a directory moves. Contents can't change without a trace in these.
pub fn stamps(root: &Path) -> BTreeMap<PathBuf, [i64; 10]> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap().into_path());
    let stamped = entries.map(|path| {
        let stat = fs::symlink_metadata(&path).unwrap();
        let read = (stat.atime(), stat.atime_nsec());
        let (mode, owner, group) = (stat.mode().into(), stat.uid().into(), stat.gid().into());
        let (modified, changed) = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
        let names = stat.nlink() as i64;
        let stamps =
            [mode, owner, group, names, modified.0, modified.1, changed.0, changed.1, read.0, read.1];
        (path, stamps)
    });
    stamped.collect()
}

/// The place of the attack: what is to be mirrored, the traps, and what is root's.
fn prepare(home: &Path) {
    let at = |name: &str| home.join(name);
    mode(home, 0o755);
    for index in 0..NAMES {
        let name = format!("a/b/file{index}");
        file(at("src").join(&name), format!("mine {index}"));
        file(at("guarded").join(&name), SECRET);
    }
    for name in ["b/file0", "file1"] {
        file(at("guarded").join(name), SECRET);
    }
    fs::hard_link(at("src/a/b/file1"), at("src/a/second name")).unwrap();
    fs::create_dir_all(at("traps")).unwrap();
    for root in ["src", "dst"] {
        symlink(at("guarded/a"), at(&format!("traps/{root}-directory"))).unwrap();
        symlink(at("guarded/a/b"), at(&format!("traps/{root}-inner"))).unwrap();
        symlink(at("guarded/a/b/file0"), at(&format!("traps/{root}-file"))).unwrap();
        node(at(&format!("traps/{root}-fifo")), FileType::Fifo, (0, 0));
        file(at(&format!("traps/{root}-hard-link")), "mine");
        fs::hard_link(at(&format!("traps/{root}-hard-link")), at(&format!("traps/{root}-other-name")))
            .unwrap();
    }
    for name in ["src", "traps"] {
        give_tree(&at(name), ALICE);
    }
    mode(at("guarded"), 0o700);
    // Read after this, their last access is a later one, also where not every access is noted.
    for entry in walkdir::WalkDir::new(at("guarded")).contents_first(true) {
        modified(entry.unwrap().path(), 1_000_000, 0);
    }
}

/// Requires that no byte of what is root's came into a tree.
fn assert_no_secret(root: &Path) {
    for entry in walkdir::WalkDir::new(root).into_iter().flatten().filter(|entry| entry.file_type().is_file())
    {
        let bytes = fs::read(entry.path()).unwrap();
        let found = bytes.windows(6).any(|bytes| bytes == &SECRET[..6]);
        assert!(!found, "{}", entry.path().display());
    }
}

/// A mirror that is killed once in a while, and so leaves litter for the next ones to delete.
fn run_under_attack(home: &Path, turn: usize) -> Option<Ran> {
    let mut command = Command::new(program());
    command
        .args(["sync", "--engine", ENGINES[turn % ENGINES.len()]])
        .args([home.join("src"), home.join("dst")]);
    command.args(match turn % 14 {
        1 => &["--inplace"][..],
        2 => &["--no-atomic"],
        3 => &["--partial", "--verify"],
        4 => &["--delete", "--link-dest=../older"],
        5 => &["--checksum", "--fsync"],
        6 => &["--inplace", "--no-times"],
        7 => &["--delete", "--backup-dir=../kept", "-F"],
        8 => &["-L", "--delete"],
        9 => &["-k", "--copy-unsafe-links"],
        10 => &["-L", "--copy-unsafe-links", "--inplace"],
        12 => &["-K", "--delete"],
        11 => &["--copy-unsafe-links", "--checksum", "--delete"],
        _ => &[],
    });
    if turn % 5 != 4 {
        return Some(crate::support::run(command));
    }
    let mut child =
        command.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(turn as u64 / 5 % 20));
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn another_user_who_swaps_entries_gains_nothing() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    prepare(home.path());
    sync_with("auto", &[], &at("src"), &at("dst")).exits(0);
    sync_with("auto", &[], &at("src"), &at("older")).exits(0);
    assert_eq!(fs::metadata(at("dst/a/b")).unwrap().uid(), ALICE, "theirs to attack");
    stamps(&at("guarded")); // looking at it moves the times of the last access once
    let guarded = stamps(&at("guarded"));
    let attacker = Attacker::start("exchange", home.path());
    let (begun, mut turn, mut disturbed) = (Instant::now(), 0, 0);
    while begun.elapsed() < duration() || turn < 40 {
        if let Some(ran) = run_under_attack(home.path(), turn) {
            assert!(matches!(ran.code, Some(0 | 23 | 24)), "{ran:#?}");
            disturbed += usize::from(ran.code != Some(0));
        }
        turn += 1;
    }
    attacker.stop();
    assert!(disturbed > 0, "nobody attacked");
    let now = stamps(&at("guarded"));
    let touched: Vec<_> = guarded.iter().filter(|(path, stamps)| now.get(*path) != Some(*stamps)).collect();
    assert!(now.len() == guarded.len() && touched.is_empty(), "{touched:#?}");
    assert_no_secret(&at("dst"));
    assert_no_secret(&at("traps"));
    assert_no_secret(&at("kept"));
}

/// Symlinks, FIFOs and hard links that lead elsewhere, where the copies belong.
fn what_is_planted_is_never_written_through() {
    for (&engine, options) in
        ENGINES.iter().flat_map(|engine| [(engine, &[][..]), (engine, &["--no-atomic"])])
    {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        let large = noise(1, 9 << 20);
        for index in 0..3 {
            file(at(&format!("src/directory{index}/file")), "new");
            for kind in ["symlink", "dangling", "hard-link", "same", "fifo"] {
                file(at(&format!("src/{kind}{index}")), if index == 0 { &large[..] } else { b"new" });
            }
        }
        file(at("guarded/directory/file"), "old");
        fs::create_dir(at("dst")).unwrap();
        for index in 0..3 {
            let dst = |kind: &str| at(&format!("dst/{kind}{index}"));
            for kind in ["symlink", "hard-link", "same"] {
                file(at(&format!("guarded/{kind}{index}")), if kind == "same" { "new" } else { "old" });
            }
            symlink(at("guarded/directory"), dst("directory")).unwrap();
            symlink(at(&format!("guarded/symlink{index}")), dst("symlink")).unwrap();
            symlink(at(&format!("guarded/new{index}")), dst("dangling")).unwrap();
            // Other contents; and the same ones, so that only metadata would be set.
            fs::hard_link(at(&format!("guarded/hard-link{index}")), dst("hard-link")).unwrap();
            fs::hard_link(at(&format!("guarded/same{index}")), dst("same")).unwrap();
            modified(dst("same"), 77, 0);
            modified(at(&format!("src/same{index}")), 77, 0);
            mode(at(&format!("src/same{index}")), 0o751);
            node(dst("fifo"), FileType::Fifo, (0, 0));
        }
        let guarded = crate::support::tree::snapshot(&at("guarded"));
        sync_with(engine, options, &at("src"), &at("dst")).exits(0);
        assert_equal(&at("src"), &at("dst"));
        assert_eq!(crate::support::tree::snapshot(&at("guarded")), guarded);
    }
}

/// A device that never ends and a FIFO that nobody writes to take turns in the place of files, in both trees.
fn a_fifo_or_a_device_in_a_files_place_never_hangs() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    for index in 0..NAMES {
        file(at(&format!("src/a/file{index}")), noise(index, 3000));
    }
    for root in ["src", "dst"] {
        // Reading /dev/zero would never end.
        node(at(&format!("{root}-device")), FileType::CharacterDevice, (1, 5));
        node(at(&format!("{root}-fifo")), FileType::Fifo, (0, 0));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u64.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                for root in ["src", "dst"] {
                    let trap = if number % 2 == 0 { "device" } else { "fifo" };
                    exchange(
                        &at(&format!("{root}/a/file{}", number % NAMES)),
                        &at(&format!("{root}-{trap}")),
                    );
                }
            }
        });
        let _end = AtEnd(&done);
        // Some of the runs make everything anew: then a file is opened as soon as it is known by name.
        let mut turns = 0..400;
        let disturbed = turns.any(|turn| {
            if turn % 3 > 0 {
                fs::remove_dir_all(at("dst")).ok();
            }
            let ran = sync_with(ENGINES[turn % ENGINES.len()], &[], &at("src"), &at("dst"));
            assert!(matches!(ran.code, Some(0 | 23 | 24)), "{ran:?}");
            turn >= 30 && ran.err.contains("its type changed during the run")
        });
        assert!(disturbed, "nothing was exchanged in the middle of a run");
    });
    sync_with("auto", &[], &at("src"), &at("dst")).exits(0);
    assert_equal(&at("src"), &at("dst"));
}

/// A mount of the test's own at a place within a tree.
fn mount_within(point: &Path) -> Mount {
    fs::create_dir_all(point).unwrap();
    Mount::tmpfs_at(point, "64M")
}

fn mount_points_in_both_trees_are_crossed() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let _from = mount_within(&source.join("a/from"));
        let to = mount_within(&destination.join("b/to"));
        let inner = fs::metadata(to.path()).unwrap().dev();
        for name in ["a/from/deep/er/file", "a/from/large", "b/to/deep/er/file", "b/to/large", "beside"] {
            file(source.join(name), noise(1, if name.ends_with("large") { 9 << 20 } else { 100 }));
        }
        fs::hard_link(source.join("a/from/large"), source.join("a/from/deep/second")).unwrap();
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        file(source.join("b/to/deep/er/file"), "another one");
        file(destination.join("b/to/large"), "another one");
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
        assert_eq!(fs::metadata(destination.join("b/to/deep/er/file")).unwrap().dev(), inner);
    }
}

/// Two names of one file, of which one belongs on another file system: link(2) can't do that.
fn hard_links_across_a_mount_point_are_copied() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let _to = mount_within(&destination.join("b/to"));
        file(source.join("a/first"), "shared");
        for name in ["a/second", "b/to/third", "b/to/fourth"] {
            fs::create_dir_all(source.join(name).parent().unwrap()).unwrap();
            fs::hard_link(source.join("a/first"), source.join(name)).unwrap();
        }
        let ran = sync_with(engine, &[], &source, &destination).exits(23);
        assert!(ran.err.contains("(--no-hard-links makes copies of hard links)"), "{}", ran.err);
        for name in ["a/first", "a/second", "b/to/third", "b/to/fourth"] {
            assert_eq!(fs::read(destination.join(name)).unwrap(), b"shared", "{name}");
        }
        // Whichever name came first, the one beside it is linked to it, and the two on the other side are copies.
        let inode = |name: &str| fs::metadata(destination.join(name)).unwrap().ino();
        let (here, there) = (["a/first", "a/second"], ["b/to/third", "b/to/fourth"]);
        let leads_there = inode(there[0]) == inode(there[1]);
        let (linked, copied) = if leads_there { (there, here) } else { (here, there) };
        assert_eq!(inode(linked[0]), inode(linked[1]));
        assert!(copied.into_iter().all(|name| inode(name) != inode(linked[0])), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        // Another name may lead now, and the copies beside it be linked to it; nothing is copied again.
        let again = sync_with(engine, &["--json"], &source, &destination).exits(23).summary();
        assert_eq!((&again["created"], &again["updated"]), (&0.into(), &0.into()), "{again}");
    }
}

fn names_like_our_temporary_ones_are_copied() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in [".ringsync-", ".ringsync-0123456789abcdef0123456789abcdef", ".ringsync-mine"] {
            file(source.join(name), name);
            file(source.join("directory").join(name), name);
            file(source.join(format!("inner/{name}/file")), name);
        }
        for contents in ["first", "changed"] {
            file(source.join(".ringsync-mine"), contents);
            sync_with(engine, &[], &source, &destination).exits(0);
            assert_equal(&source, &destination);
        }
    }
}

/// Two new file systems number their inodes alike: only the device tells them apart.
fn inode_numbers_of_two_file_systems_may_coincide() {
    for &engine in ENGINES.iter() {
        let (from, to) = (Mount::new("ext4", "64M"), Mount::new("ext4", "64M"));
        let build = |root: &Path| {
            for index in 0..30 {
                file(root.join(format!("d{}/file{index}", index % 5)), noise(index, 3000));
                if index % 3 == 0 {
                    fs::hard_link(
                        root.join(format!("d{}/file{index}", index % 5)),
                        root.join(format!("link{index}")),
                    )
                    .unwrap();
                }
            }
        };
        let number = |mount: &Mount, name: &str| fs::metadata(mount.path().join(name)).unwrap().ino();
        build(from.path());
        build(to.path());
        assert_eq!(number(&from, "d3/file8"), number(&to, "d3/file8"));
        // Other contents, times and links for the same numbers.
        for index in 0..30 {
            let path = from.path().join(format!("d{}/file{index}", index % 5));
            fs::write(&path, noise(100 + index, 3000)).unwrap();
            modified(path, 1000, 0);
        }
        fs::remove_file(from.path().join("link3")).unwrap();
        fs::hard_link(from.path().join("d1/file1"), from.path().join("link3")).unwrap();
        for _ in 0..2 {
            sync_with(engine, &[], from.path(), to.path()).exits(0);
            assert_equal(from.path(), to.path());
        }
        sync_with(engine, &[], &from.path().join("d1"), &to.path().join("d2")).exits(0);
        assert_equal_beneath(&from.path().join("d1"), &to.path().join("d2"));
    }
}

/// Requires that everything of one tree is in the other, which may have more.
fn assert_equal_beneath(source: &Path, destination: &Path) {
    for entry in fs::read_dir(source).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(fs::read(source.join(&name)).unwrap(), fs::read(destination.join(&name)).unwrap());
    }
}

/// A file of another user, of the size and time of one that is setuid, setgid, or has a capability, gets none of these: it
/// is made anew, from the source.
fn a_planted_file_is_never_made_setuid() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for (name, bits) in [("setuid", 0o4755), ("setgid", 0o2755), ("capable", 0o755)] {
            file(source.join(name), "the true program");
            mode(source.join(name), bits);
        }
        tool("setcap", &["cap_net_raw+ep", source.join("capable").to_str().unwrap()]);
        for name in ["setuid", "setgid", "capable"] {
            modified(source.join(name), 1_000_000, 0);
            file(destination.join(name), "another program!");
            mode(destination.join(name), 0o755);
            give(destination.join(name), ALICE);
            modified(destination.join(name), 1_000_000, 0);
        }
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

/// A directory with the name of one that holds what a run has replaced, but of another user, or open to others: it is a
/// user's, with all that is in it, and goes to the backups under its own path.
fn a_planted_directory_is_not_taken_for_what_was_replaced() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("name"), "newer");
        file(destination.join("name"), "old");
        let planted = |digit: u64| match digit {
            // Nobody else has the key.
            0 => ".replaced-by-ringsync-00000000000000000123456789abcdef".to_owned(),
            digit => crate::whole::made_name(".replaced-by-ringsync-", &destination, digit),
        };
        let name = |digit: u64| destination.join(planted(digit));
        for (digit, bits, owner) in
            [(0, 0o1700, 0), (1, 0o1700, ALICE), (2, 0o700, 0), (3, 0o1755, 0), (4, 0o1700, 0)]
        {
            file(name(digit).join("file"), "planted");
            file(name(digit).join("name/file"), "planted");
            mode(name(digit), bits);
            std::os::unix::fs::chown(name(digit), Some(owner), None).unwrap();
        }
        modified(&destination, 1, 1);
        let ran = sync_with(engine, &[], &source, &destination).exits(23);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(ran.err.contains(&planted(4)) && ran.err.contains("--delete removes it"), "{}", ran.err);
        for digit in 0..=4 {
            assert_eq!(name(digit).join("file").exists(), digit < 4, "only a successor is litter");
            assert!(name(digit).join("name/file").exists());
        }
        sync_with(engine, &["--delete", "--backup-dir=../kept"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        let kept = |path: &str| home.path().join("kept").join(path).exists();
        for digit in 0..=3 {
            assert!(kept(&format!("{}/name/file", planted(digit))), "{digit}");
            assert!(kept(&format!("{}/file", planted(digit))), "{digit}");
        }
        assert!(kept("name/file") && !kept(&planted(4)));
        fs::remove_dir_all(home.path().join("kept")).unwrap();
    }
}
