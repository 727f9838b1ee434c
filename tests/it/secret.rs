//! What a mode, a private directory or an ACL keeps secret stays so, whatever others plant, exchange and rename in what is
//! theirs of the two trees, of a tree of backups, and of an older mirror. Each of these was once a way to root's secrets.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::FileType;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise};
use crate::support::user::{ALICE, give, user};
use crate::support::{
    AtEnd, ENGINES, assert_equal, assert_no_litter, await_of, finish, program, program_with, run, scratch,
    sync_with, tool, while_rewritten,
};

tests![
    no_file_becomes_setuid_for_its_size_and_time: [Need::Root],
    what_was_renamed_into_a_sticky_directory_is_not_given_away: [Need::Root],
    nothing_in_a_planted_directory_is_opened_unread: [Need::Root],
    what_a_planted_directory_holds_below_is_known_too: [Need::Root],
    a_shared_mirror_that_stays_as_open_is_not_read,
    what_is_not_given_away_is_no_obstacle_to_deleting,
    what_others_own_below_a_planted_directory_stays_theirs: [Need::Root],
    a_first_copy_that_was_killed_in_a_setgid_tree_is_not_read: [Need::Tool("strace")],
    a_directory_in_a_shared_one_is_taken_from_its_owner: [Need::Root],
    a_directory_that_was_taken_stays_suspect: [Need::Root],
    a_user_s_files_go_in_nobody_else_s_directory: [Need::Root, Need::Tool("setpriv")],
    new_entries_have_no_acl_of_others: [Need::Root, Need::Tool("setfacl")],
    what_new_files_inherit_may_change_meanwhile: [Need::Root, Need::Tool("setfacl")],
    a_new_directory_that_was_exchanged_is_taken_first: [Need::Root, Need::Tool("strace")],
    backups_are_as_private_as_what_they_were: [Need::Root],
    a_backup_of_another_user_is_not_replaced: [Need::Root],
    nodes_among_the_backups_are_not_exchanged: [Need::Root],
    an_older_mirror_gives_no_secret_away: [Need::Root],
    what_is_written_beside_has_no_acl_of_others: [Need::Root, Need::Tool("setfacl")],
    a_mixture_takes_no_backup_s_place: [Need::Root],
    two_runs_lose_no_old_version: [Need::Tool("strace")],
    a_node_s_directory_is_litter_with_the_staged_one: [Need::Root, Need::Tool("strace")],
];

const SECRET: &str = "root's secret\n";

/// SRC and DST, each with a directory of alice's in it.
struct Trees {
    home: tempfile::TempDir,
}

impl Trees {
    fn new() -> Trees {
        let trees = Trees { home: scratch() };
        mode(trees.home.path(), 0o755);
        for root in ["src", "dst"] {
            fs::create_dir_all(trees.at(root).join("alice")).unwrap();
            give(trees.at(root).join("alice"), ALICE);
        }
        trees
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    /// A file of alice's in SRC.
    fn theirs(&self, path: &str, contents: &str) {
        let path = self.at("src/alice").join(path);
        let above = path.parent().unwrap();
        if !above.exists() {
            fs::create_dir(above).unwrap();
            give(above, ALICE);
        }
        file(&path, contents);
        give(&path, ALICE);
    }

    fn sync(&self, engine: &str, options: &[&str]) -> crate::support::Ran {
        let ran = sync_with(engine, options, &self.at("src"), &self.at("dst"));
        assert!(matches!(ran.code, Some(0 | 23)), "{ran:#?}");
        ran
    }

    /// Requires that alice can't get at a file: by itself, or by a directory on the way.
    #[track_caller]
    fn assert_secret(&self, path: &str) {
        let path = self.at(path);
        if !fs::read(&path).is_ok_and(|bytes| bytes == SECRET.as_bytes()) {
            return; // it is another file by now
        }
        let ways = path.ancestors().take_while(|above| *above != self.home.path());
        let mut bits = ways.enumerate().map(|(depth, path)| {
            let found = fs::metadata(path).unwrap();
            let needed = if depth == 0 { 0o4 } else { 0o1 };
            let group = found.gid() == ALICE && found.mode() & needed << 3 != 0;
            let mut acl = [0_u8; 512];
            let has_acl = rustix::fs::lgetxattr(path, "system.posix_acl_access", &mut acl).is_ok();
            found.uid() == ALICE || found.mode() & needed != 0 || group || has_acl
        });
        assert!(!bits.all(|open| open), "{} can be read", path.display());
    }
}

fn no_file_becomes_setuid_for_its_size_and_time() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        // Her bytes in a file of root's, as --no-owner makes them.
        trees.theirs("evil", "alice's bytes!");
        modified(trees.at("src/alice/evil"), 1_000_000, 0);
        trees.sync(engine, &["--no-owner", "--no-group"]);
        assert_eq!(fs::metadata(trees.at("dst/alice/evil")).unwrap().uid(), 0);
        mode(trees.at("dst/alice/evil"), 0o755);
        file(trees.at("src/alice/su"), "root's program");
        mode(trees.at("src/alice/su"), 0o6755);
        modified(trees.at("src/alice/su"), 1_000_000, 0);
        fs::rename(trees.at("dst/alice/evil"), trees.at("dst/alice/su")).unwrap();
        trees.sync(engine, &[]);
        let found = fs::metadata(trees.at("dst/alice/su")).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o6755));
        assert_eq!(fs::read(trees.at("dst/alice/su")).unwrap(), b"root's program");
    }
}

fn what_was_renamed_into_a_sticky_directory_is_not_given_away() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        for root in ["src", "dst"] {
            fs::create_dir(trees.at(root).join("tmp")).unwrap();
            mode(trees.at(root).join("tmp"), 0o1777);
        }
        file(trees.at("dst/tmp/x"), SECRET);
        mode(trees.at("dst/tmp/x"), 0o600);
        file(trees.at("src/tmp/x"), "alice's bytes\n");
        give(trees.at("src/tmp/x"), ALICE);
        for root in ["src", "dst"] {
            modified(trees.at(root).join("tmp/x"), 1_000_000, 0);
        }
        trees.sync(engine, &[]);
        trees.assert_secret("dst/tmp/x");
        assert_equal(&trees.at("src"), &trees.at("dst"));
    }
}

/// A private directory of root's has the name of one of alice's. Its files are left alone, fail, or look right.
fn nothing_in_a_planted_directory_is_opened_unread() {
    for &engine in ENGINES.iter() {
        for options in [
            &["--update"][..],
            &["--ignore-existing"],
            &["--no-owner", "--no-group"],
            &["--size-only"],
            &[],
            &["--existing"],
        ] {
            let trees = Trees::new();
            file(trees.at("dst/alice/pub/f"), SECRET);
            file(trees.at("dst/alice/pub/sub/f"), SECRET);
            mode(trees.at("dst/alice/pub"), 0o700);
            trees.theirs("pub/f", "alice's bytes\n");
            if options.is_empty() {
                trees.theirs("pub/sub", "a file in a directory's place");
            } else {
                trees.theirs("pub/sub/f", "alice's bytes\n");
            }
            for path in ["src/alice/pub/f", "dst/alice/pub/f"] {
                modified(trees.at(path), 1_000_000, 0);
            }
            for _ in 0..2 {
                trees.sync(engine, options);
                trees.assert_secret("dst/alice/pub/f");
                trees.assert_secret("dst/alice/pub/sub/f");
            }
        }
    }
}

/// It has one of alice's names, and so has what is in it, which only the directory above keeps from her.
fn what_a_planted_directory_holds_below_is_known_too() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        file(trees.at("dst/alice/pub/sub/secret"), SECRET);
        mode(trees.at("dst/alice/pub"), 0o700);
        fs::create_dir(trees.at("src/alice/pub")).unwrap();
        give(trees.at("src/alice/pub"), ALICE);
        trees.theirs("pub/sub/f", "alice's bytes\n");
        for path in ["src/alice/pub/sub", "dst/alice/pub/sub"] {
            mode(trees.at(path), 0o755);
            give(trees.at(path), 0);
        }
        for _ in 0..2 {
            trees.sync(engine, &[]);
            let above = fs::metadata(trees.at("dst/alice/pub")).unwrap();
            assert_eq!((above.uid(), above.mode() & 0o777), (0, 0o700), "{engine}");
        }
    }
}

/// Others may write to the mirror as they may to the source: nothing is opened to them, so size and time tell what to do.
fn a_shared_mirror_that_stays_as_open_is_not_read() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |path: &str| home.path().join(path);
        file(at("src/d/e/f"), "alice's bytes\n");
        node(at("src/d/e/p"), FileType::Fifo, (0, 0));
        for shared in ["src", "src/d", "src/d/e"] {
            mode(at(shared), 0o2775);
        }
        sync_with(engine, &[], &at("src"), &at("dst")).exits(0);
        fs::write(at("dst/d/e/f"), "ALICE'S BYTES\n").unwrap();
        let time = fs::metadata(at("src/d/e/f")).unwrap();
        modified(at("dst/d/e/f"), time.mtime(), time.mtime_nsec());
        let ran = sync_with(engine, &["--json"], &at("src"), &at("dst")).exits(0);
        assert_eq!(ran.json().len(), 2, "{}", ran.out);
        assert_eq!(fs::read(at("dst/d/e/f")).unwrap(), b"ALICE'S BYTES\n", "it was not read");
    }
}

/// A directory of SRC is opened to a group, and loses an entry, in a tree that the group may write to.
fn what_is_not_given_away_is_no_obstacle_to_deleting() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |path: &str| home.path().join(path);
        file(at("src/shared/project/file"), "x");
        file(at("src/shared/project/old"), "x");
        mode(at("src/shared"), 0o2775);
        mode(at("src/shared/project"), 0o2755);
        sync_with(engine, &[], &at("src"), &at("dst")).exits(0);
        fs::remove_file(at("src/shared/project/old")).unwrap();
        mode(at("src/shared/project"), 0o2775);
        let ran = sync_with(engine, &["--delete"], &at("src"), &at("dst")).exits(23);
        assert!(ran.err.contains("is not given SRC's owner and mode"), "{}", ran.err);
        assert!(!at("dst/shared/project/old").exists(), "{}", ran.err);
        sync_with(engine, &["--delete"], &at("src"), &at("dst")).exits(0);
        assert_equal(&at("src"), &at("dst"));
    }
}

/// In a directory of root's that alice has renamed there is one of hers, and in that one another of root's.
fn what_others_own_below_a_planted_directory_stays_theirs() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        file(trees.at("dst/alice/pub/hers/roots/secret"), SECRET);
        give(trees.at("dst/alice/pub/hers"), ALICE);
        mode(trees.at("dst/alice/pub"), 0o700);
        fs::create_dir_all(trees.at("src/alice/pub/hers")).unwrap();
        give(trees.at("src/alice/pub"), ALICE);
        give(trees.at("src/alice/pub/hers"), ALICE);
        for _ in 0..2 {
            trees.sync(engine, &[]);
            let above = fs::metadata(trees.at("dst/alice/pub")).unwrap();
            assert_eq!((above.uid(), above.mode() & 0o777), (0, 0o700), "{engine}");
        }
    }
}

/// New directories there are setgid from the beginning, and were not taken from anybody.
fn a_first_copy_that_was_killed_in_a_setgid_tree_is_not_read() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |path: &str| home.path().join(path);
        file(at("src/d/e/a"), "the same bytes");
        file(at("src/d/e/b/c"), "the same bytes");
        fs::create_dir(at("dst")).unwrap();
        for path in ["src", "dst", "src/d", "src/d/e"] {
            mode(at(path), 0o2755);
        }
        // The directories are there, and none has its mode yet.
        let mut command = program_with(&["inject=fchmod,fchmodat:signal=KILL:when=1"]);
        command.args(["sync", "-q", "-j1", "--engine", engine]).args([at("src"), at("dst")]);
        assert_eq!(run(command).code, None, "killed");
        assert_eq!(fs::metadata(at("dst/d")).unwrap().mode() & 0o7777, 0o3700);
        file(at("dst/d/e/a"), "THE SAME BYTES");
        let time = fs::metadata(at("src/d/e/a")).unwrap();
        mode(at("dst/d/e/a"), time.mode() & 0o7777);
        modified(at("dst/d/e/a"), time.mtime(), time.mtime_nsec());
        sync_with(engine, &[], &at("src"), &at("dst")).exits(0);
        assert_eq!(fs::read(at("dst/d/e/a")).unwrap(), b"THE SAME BYTES", "size and time tell enough");
    }
}

fn a_directory_in_a_shared_one_is_taken_from_its_owner() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        for root in ["src", "dst"] {
            fs::create_dir(trees.at(root).join("shared")).unwrap();
            mode(trees.at(root).join("shared"), 0o777);
        }
        file(trees.at("src/shared/private/f"), SECRET);
        mode(trees.at("src/shared/private"), 0o700);
        file(trees.at("dst/shared/private/mine"), "alice's");
        give(trees.at("dst/shared/private"), ALICE);
        trees.sync(engine, &[]);
        trees.assert_secret("dst/shared/private/f");
        assert_eq!(fs::metadata(trees.at("dst/shared/private")).unwrap().uid(), 0);
    }
}

/// A run takes a directory from alice, and fails with a file in it. The next one must not take it for root's.
fn a_directory_that_was_taken_stays_suspect() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        file(trees.at("src/d/x"), noise(1, 20 << 20));
        give(trees.at("src/d/x"), ALICE);
        file(trees.at("dst/d/x"), SECRET);
        mode(trees.at("dst/d/x"), 0o600);
        give(trees.at("dst/d"), ALICE);
        let source = trees.at("src/d/x");
        while_rewritten(&source, || {
            sync_with(engine, &["--bwlimit", "100M"], &trees.at("src"), &trees.at("dst")).exits(23);
        });
        let found = fs::metadata(trees.at("dst/d")).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o077), (0, 0), "it is closed until a run has no error");
        file(&source, "alice's bytes\n");
        for path in ["src/d/x", "dst/d/x"] {
            modified(trees.at(path), 1_000_000, 0);
        }
        trees.sync(engine, &[]);
        trees.assert_secret("dst/d/x");
        assert_equal(&trees.at("src"), &trees.at("dst"));
    }
}

/// Who is not root can't take a directory from its owner, and puts nothing private there.
fn a_user_s_files_go_in_nobody_else_s_directory() {
    const BOB: u32 = 1234;
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o777);
        let at = |name: &str| home.path().join(name);
        file(at("src/private/f"), SECRET);
        mode(at("src/private"), 0o700);
        fs::create_dir_all(at("dst/private")).unwrap();
        for path in ["src", "src/private", "src/private/f"] {
            give(at(path), BOB);
        }
        mode(at("dst"), 0o777);
        mode(at("dst/private"), 0o777);
        give(at("dst/private"), ALICE);
        fs::copy(program(), at("ringsync")).unwrap();
        let mut command = user(BOB);
        command.arg(at("ringsync")).args(["sync", "--engine", engine]).arg(at("src")).arg(at("dst"));
        let ran = run({
            command.env(crate::support::STATE, at("state"));
            command
        });
        assert_eq!(ran.code, Some(23), "{ran:#?}");
        assert!(!at("dst/private/f").exists());
    }
}

fn new_entries_have_no_acl_of_others() {
    for &engine in ENGINES.iter() {
        for options in [&["--no-acls", "--no-xattrs"][..], &[]] {
            let trees = Trees::new();
            file(trees.at("src/alice/f"), SECRET);
            file(trees.at("src/alice/d/g"), SECRET);
            node(trees.at("src/alice/fifo"), FileType::Fifo, (0, 0));
            for (path, bits) in [("f", 0o640), ("d", 0o750), ("d/g", 0o640), ("fifo", 0o660)] {
                mode(trees.at("src/alice").join(path), bits);
            }
            tool("setfacl", &["-d", "-m", "u:65534:rwx", trees.at("dst/alice").to_str().unwrap()]);
            trees.sync(engine, options);
            for path in ["f", "d", "d/g", "fifo"] {
                let path = trees.at("dst/alice").join(path);
                let found = rustix::fs::getxattr(&path, c"system.posix_acl_access", &mut [0_u8; 256]);
                assert!(found.is_err(), "{options:?} {}", path.display());
            }
        }
    }
}

/// alice owns the directory, and changes what new files in it get once there is the first one.
fn what_new_files_inherit_may_change_meanwhile() {
    for &engine in ENGINES.iter() {
        for grant in ["chmod g+s", "setfacl -d -m u:65534:rwx"] {
            let trees = Trees::new();
            for index in 0..1500 {
                let path = trees.at(&format!("src/alice/f{index}"));
                file(&path, SECRET);
                mode(path, 0o640);
            }
            let (done, directory) = (AtomicBool::new(false), trees.at("dst/alice"));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        if fs::read_dir(&directory).unwrap().next().is_some() {
                            let words: Vec<&str> = grant.split(' ').collect();
                            tool(words[0], &[&words[1..], &[directory.to_str().unwrap()]].concat());
                            break;
                        }
                    }
                });
                let _end = AtEnd(&done);
                trees.sync(engine, &[]);
            });
            for entry in fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap()) {
                let found = entry.metadata().unwrap();
                assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (0, 0, 0o640), "{grant}");
                let acl = rustix::fs::getxattr(entry.path(), c"system.posix_acl_access", &mut [0_u8; 256]);
                assert!(acl.is_err(), "{grant}");
            }
        }
    }
}

/// Between making a directory and opening it, its name is given to one of alice's. Nothing is put in that while it is hers.
fn a_new_directory_that_was_exchanged_is_taken_first() {
    for &engine in ENGINES.iter() {
        // One that is filled under a temporary name, and one that is not.
        for files in [3, 3000] {
            // On a busy machine the exchange may come late.
            let exchanged = (0..20).any(|_| exchange_a_new_directory(engine, files));
            assert!(exchanged, "no directory was exchanged in time");
        }
    }
}

/// Returns whether it was exchanged before it was opened.
fn exchange_a_new_directory(engine: &str, files: usize) -> bool {
    let trees = Trees::new();
    for index in 0..files {
        file(trees.at(&format!("src/alice/private/f{index}")), SECRET);
    }
    mode(trees.at("src/alice/private"), 0o700);
    let mine = trees.at("mine");
    fs::create_dir(&mine).unwrap();
    give(&mine, ALICE);
    let inode = fs::metadata(&mine).unwrap().ino();
    let (done, directory) = (AtomicBool::new(false), trees.at("dst/alice"));
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let found = fs::read_dir(&directory).unwrap().next();
                let Some(path) = found.map(|entry| entry.unwrap().path()) else { continue };
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                // It may have got its own name in this moment.
                if rustix::fs::renameat_with(rustix::fs::CWD, &path, rustix::fs::CWD, &mine, flags).is_ok() {
                    break;
                }
            }
        });
        let _end = AtEnd(&done);
        let mut command = program_with(&["inject=mkdirat:delay_exit=300000:when=1"]);
        command.args(["sync", "-q", "--engine", engine]);
        command.arg(trees.at("src")).arg(trees.at("dst"));
        run(command)
    });
    assert!(matches!(ran.code, Some(0 | 23)), "{ran:#?}");
    let theirs = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
    let Some(theirs) = theirs.into_iter().find(|entry| entry.metadata().unwrap().ino() == inode) else {
        return false;
    };
    if fs::read_dir(theirs.path()).unwrap().next().is_some() {
        let found = theirs.metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o077), (0, 0), "it was taken before it was filled");
        return true;
    }
    ran.code == Some(23)
}

fn backups_are_as_private_as_what_they_were() {
    for &engine in ENGINES.iter() {
        // Open already, alice's, and not there yet.
        for place in ["open", "alice's", "new"] {
            let trees = Trees::new();
            for (root, contents) in [("src", "new"), ("dst", SECRET)] {
                file(trees.at(root).join("alice/private/f"), contents);
                mode(trees.at(root).join("alice/private"), 0o700);
                mode(trees.at(root), 0o700);
            }
            if place != "new" {
                fs::create_dir_all(trees.at("kept/alice/private")).unwrap();
                give(trees.at("kept/alice"), ALICE);
            }
            if place == "alice's" {
                give(trees.at("kept/alice/private"), ALICE);
            }
            trees.sync(engine, &["--backup-dir=../kept"]);
            assert_eq!(fs::read(trees.at("kept/alice/private/f")).unwrap(), SECRET.as_bytes());
            mode(trees.at("dst"), 0o755);
            trees.assert_secret("kept/alice/private/f");
            let top = fs::metadata(trees.at("kept")).unwrap().mode() & 0o077;
            assert!(place != "new" || top == 0, "{top:o}");
        }
    }
}

/// alice owns the directory of the backups as well, and gives one of root's in it the name of one of hers.
fn a_backup_of_another_user_is_not_replaced() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        trees.theirs("mine/f", "new");
        file(trees.at("dst/alice/mine/f"), "alice's old version");
        file(trees.at("kept/alice/mine/f"), "root's old version");
        for path in ["dst/alice/mine", "dst/alice/mine/f", "kept/alice"] {
            give(trees.at(path), ALICE);
        }
        mode(trees.at("kept/alice/mine"), 0o700);
        trees.sync(engine, &["--backup-dir=../kept"]);
        let found = fs::read_dir(trees.at("kept/alice/mine")).unwrap();
        let mut kept: Vec<_> =
            found.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
        kept.sort();
        assert_eq!(kept, ["alice's old version", "root's old version"]);
    }
}

/// Backups on another file system are copies; a FIFO has no descriptor by which it could be given its owner.
fn nodes_among_the_backups_are_not_exchanged() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        let other = Mount::new("tmpfs", "16M");
        for name in ["fifo", "link"] {
            trees.theirs(name, "new");
        }
        node(trees.at("dst/alice/fifo"), FileType::Fifo, (0, 0));
        std::os::unix::fs::symlink("old", trees.at("dst/alice/link")).unwrap();
        for name in ["fifo", "link"] {
            give(trees.at("dst/alice").join(name), ALICE);
        }
        let kept = other.path().join("kept");
        trees.sync(engine, &["--backup-dir", kept.to_str().unwrap()]);
        for name in ["fifo", "link"] {
            assert_eq!(fs::symlink_metadata(kept.join("alice").join(name)).unwrap().uid(), ALICE);
        }
        assert_no_litter(&kept);
    }
}

fn an_older_mirror_gives_no_secret_away() {
    for &engine in ENGINES.iter() {
        for options in
            [&["--no-owner", "--no-group"][..], &["--size-only", "--no-times", "--no-owner", "--no-group"]]
        {
            let trees = Trees::new();
            trees.theirs("pub/f", "alice's bytes\n");
            file(trees.at("older/alice/pub/f"), SECRET);
            mode(trees.at("older/alice/pub"), 0o700);
            give(trees.at("older/alice"), ALICE);
            for path in ["src/alice/pub/f", "older/alice/pub/f"] {
                modified(trees.at(path), 1_000_000, 0);
            }
            trees.sync(engine, &[options, &["--link-dest=../older"]].concat());
            trees.assert_secret("dst/alice/pub/f");
            assert_eq!(fs::read(trees.at("dst/alice/pub/f")).unwrap(), b"alice's bytes\n");
        }
    }
}

fn what_is_written_beside_has_no_acl_of_others() {
    for &engine in ENGINES.iter() {
        let trees = Trees::new();
        mode(trees.at("src"), 0o750);
        fs::create_dir(trees.at("logs")).unwrap();
        tool("setfacl", &["-d", "-m", "u:65534:rwx", trees.at("logs").to_str().unwrap()]);
        let options = ["sums", "log", "trace"].map(|name| trees.at("logs").join(name));
        let [sums, log, trace] = options.each_ref().map(|path| path.to_str().unwrap());
        trees.sync(engine, &["--manifest", sums, "--log-file", log, "--trace", trace]);
        for path in [sums, log, trace] {
            let acl = rustix::fs::getxattr(path, c"system.posix_acl_access", &mut [0_u8; 256]);
            assert!(acl.is_err() && fs::metadata(path).unwrap().mode() & 0o007 == 0, "{path}");
        }
    }
}

/// Killed while a file is rewritten where it is: what is left is no old version.
fn a_mixture_takes_no_backup_s_place() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let old = noise(2, 30 << 20);
        file(source.join("f"), noise(1, 30 << 20));
        file(destination.join("f"), &old);
        let mut command = Command::new(program());
        command.args(["sync", "-q", "--inplace", "--backup", "--bwlimit", "20M", "--engine", engine]);
        command.arg(&source).arg(&destination).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        await_of(&mut child, "old and new bytes in one file", || {
            destination.join("f~").exists() && fs::read(destination.join("f")).is_ok_and(|bytes| bytes != old)
        });
        child.kill().unwrap();
        finish(child, Duration::from_secs(20));
        sync_with(engine, &["--inplace", "--backup"], &source, &destination).exits(0);
        assert!(fs::read(destination.join("f~")).unwrap() == old, "the old version is kept");
        assert!(fs::read(destination.join("f")).unwrap() == fs::read(source.join("f")).unwrap());
        let mut names = [0_u8; 512];
        let length = rustix::fs::listxattr(destination.join("f"), &mut names[..]).unwrap();
        assert!(!names[..length].windows(8).any(|name| name == b"ringsync"), "and the mark goes");
        // A change of the finished file is an old version again.
        file(source.join("f"), "newer");
        sync_with(engine, &["--inplace", "--backup"], &source, &destination).exits(0);
        assert!(fs::read(destination.join("f~")).unwrap() == noise(1, 30 << 20));
    }
}

/// The second one compares what is old still, while the first one replaces it. That takes its time for each name, so that they
/// meet.
fn two_runs_lose_no_old_version() {
    let mut met = 0;
    for &engine in ENGINES.iter() {
        for options in [&["--backup"][..], &["--backup-dir=../kept"]] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            for index in 0..600 {
                file(source.join(format!("f{index}")), format!("new {index}, and longer"));
                file(destination.join(format!("f{index}")), format!("old {index}"));
            }
            let kept = |index: u32| match options {
                ["--backup"] => destination.join(format!("f{index}~")),
                _ => home.path().join("kept").join(format!("f{index}")),
            };
            let start = |mut command: Command| {
                command
                    .args(["sync", "--json", "--engine", engine])
                    .args(options)
                    .arg(&source)
                    .arg(&destination);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            };
            let slow = "inject=rename,renameat,renameat2,linkat:delay_enter=3000";
            let mut first = start(program_with(&[slow]));
            await_of(&mut first, "a backup", || (0..600).any(|index| kept(index).exists()));
            let updated = [first, start(Command::new(program()))].map(|child| {
                let ran = finish(child, Duration::from_secs(60)).exits(0);
                ran.summary()["updated"].as_u64().unwrap()
            });
            assert!(updated.iter().all(|&count| count > 0), "each replaces some: {updated:?}");
            met += updated.iter().sum::<u64>() - 600;
            for index in 0..600 {
                assert_eq!(fs::read_to_string(kept(index)).unwrap(), format!("old {index}"), "{options:?}");
                let new = fs::read_to_string(destination.join(format!("f{index}"))).unwrap();
                assert_eq!(new, format!("new {index}, and longer"), "{options:?}");
            }
        }
    }
    assert!(met > 0, "both had the same file to replace");
}

fn a_node_s_directory_is_litter_with_the_staged_one() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir_all(source.join("leaf")).unwrap();
        node(source.join("leaf/fifo"), FileType::Fifo, (0, 0));
        mode(source.join("leaf/fifo"), 0o644);
        fs::create_dir(&destination).unwrap();
        let mut command = program_with(&["inject=fchmodat:signal=KILL:when=1"]);
        command.args(["sync", "-q", "--engine", engine]).arg(&source).arg(&destination);
        assert_eq!(run(command).code, None, "killed before the node has its mode");
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
        let left = walkdir::WalkDir::new(&destination).into_iter().map(|entry| entry.unwrap());
        let permissions = left.map(|entry| entry.metadata().unwrap().permissions().mode() & 0o1000);
        assert!(permissions.into_iter().all(|bits| bits == 0), "no mark is left");
    }
}
