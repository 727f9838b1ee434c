//! What an entry keeps, a switch each: what is left alone stays as it is and is no difference, and all else is kept.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FileType;

use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, xattr};
use crate::support::user::{ALICE, as_alice, give, give_tree, program_of_alice};
use crate::support::{ENGINES, Ran, program, run, scratch, sync_with, tool};

tests![
    owner_and_group_are_kept_apart: [Need::Root],
    a_user_keeps_the_groups_that_are_theirs: [Need::Root],
    acls_and_attributes_are_kept_apart: [Need::Root, Need::Tool("setfacl")],
    without_acls_a_capability_is_kept: [Need::Root, Need::Tool("setfacl")],
    devices_and_specials_are_left_out_apart: [Need::Root],
    times_of_symlinks_are_left_alone,
    files_are_run_as_in_the_source,
    a_file_that_can_be_run_now_is_nobody_else_s: [Need::Root],
    new_entries_get_what_the_default_acl_grants: [Need::Root, Need::Tool("setfacl")],
    new_directories_inherit_setgid,
    owners_are_mapped: [Need::Root],
    mapped_owners_lose_setuid: [Need::Root],
    a_map_that_can_not_be_understood_is_refused,
    a_user_gives_nothing_away_by_a_map: [Need::Root],
];

/// `ringsync sync -n` and `ringsync check` find nothing to do.
fn assert_settled(engine: &str, options: &[&str], source: &Path, destination: &Path) {
    let ran = sync_with(engine, &[&["-n", "-i"], options].concat(), source, destination).exits(0);
    assert_eq!(ran.out.lines().count(), 1, "{options:?}: {}", ran.out);
    check(engine, options, source, destination).exits(0);
}

fn check(engine: &str, options: &[&str], source: &Path, destination: &Path) -> Ran {
    let mut check = Command::new(program());
    check.args(["check", "--engine", engine]).args(options).arg(source).arg(destination);
    run(check)
}

/// Permissions, with setuid, setgid and sticky.
fn permissions(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.uid(), stat.gid())
}

/// The names of an entry's attributes.
fn attributes(path: impl AsRef<Path>) -> Vec<String> {
    let mut list = vec![0; 4096];
    let length = rustix::fs::llistxattr(path.as_ref(), &mut list[..]).unwrap();
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    names
}

/// Two places for trees.
fn places(home: &Path) -> (PathBuf, PathBuf) {
    (home.join("src"), home.join("dst"))
}

/// The lines of `-i` in `check`, less the last one.
fn letters(ran: &Ran) -> Vec<String> {
    ran.out.lines().filter(|line| line.contains(" file") || line.contains(" d/")).map(String::from).collect()
}

fn owner_and_group_are_kept_apart() {
    for &engine in ENGINES.iter() {
        for (options, expected, line) in [
            (&[][..], (7, 8), ".f....og... file"),
            (&["--no-group"], (7, 0), ".f....o.... file"),
            (&["--no-owner"], (0, 8), ".f.....g... file"),
            (&["--no-o", "--no-g"], (0, 0), ""),
        ] {
            let home = scratch();
            let (source, destination) = places(home.path());
            file(source.join("file"), "x");
            symlink("x", source.join("link")).unwrap();
            fs::create_dir(source.join("dir")).unwrap();
            for name in ["file", "link", "dir"] {
                lchown(source.join(name), Some(7), Some(8)).unwrap();
            }
            sync_with(engine, options, &source, &destination).exits(0);
            for name in ["file", "link", "dir"] {
                assert_eq!(owner(destination.join(name)), expected, "{options:?} {name}");
            }
            assert_settled(engine, options, &source, &destination);
            // What is there is mended, and named.
            chown(destination.join("file"), Some(0), Some(0)).unwrap();
            let found = letters(&check(engine, options, &source, &destination)).join("\n");
            assert_eq!(found, line, "{options:?}");
            sync_with(engine, options, &source, &destination).exits(0);
            assert_eq!(owner(destination.join("file")), expected, "{options:?}");
        }
    }
}

fn a_user_keeps_the_groups_that_are_theirs() {
    for (engine, options, expected) in
        ENGINES.iter().flat_map(|engine| [(engine, &[][..], 4711), (engine, &["--no-group"], ALICE)])
    {
        let home = scratch();
        mode(home.path(), 0o755);
        let (source, destination) = places(home.path());
        file(source.join("file"), "x");
        chown(source.join("file"), Some(7), Some(4711)).unwrap();
        fs::create_dir(&destination).unwrap();
        give(&destination, ALICE);
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={ALICE}"), format!("--regid={ALICE}"), "--groups=4711".into()]);
        command.args(["--", program().to_str().unwrap(), "sync", "--engine", engine]).args(options);
        command.arg(source.join("file")).arg(&destination);
        run(command).exits(0);
        assert_eq!(owner(destination.join("file")), (ALICE, expected), "{options:?}");
    }
}

/// A file and a directory with an ACL and attributes, and a mode whose group permissions are a mask.
fn with_acl(source: &Path) {
    file(source.join("d/file"), "x");
    for name in ["d", "d/file"] {
        let path = source.join(name);
        xattr(&path, "user.a", b"1");
        tool("setfacl", &["-m", "u:7:rwx,g::---,m::rwx", path.to_str().unwrap()]);
    }
    tool("setfacl", &["-d", "-m", "u:7:rwx", source.join("d").to_str().unwrap()]);
}

fn acls_and_attributes_are_kept_apart() {
    const ACCESS: &str = "system.posix_acl_access";
    const DEFAULT: &str = "system.posix_acl_default";
    for &engine in ENGINES.iter() {
        for (options, of_directory, of_file, bits) in [
            (&[][..], &[DEFAULT, ACCESS, "user.a"][..], &[ACCESS, "user.a"][..], 0o070),
            (&["--no-acls"], &["user.a"], &["user.a"], 0),
            (&["--no-xattrs"], &[DEFAULT, ACCESS], &[ACCESS], 0o070),
            (&["--no-A", "--no-X"], &[], &[], 0),
        ] {
            let home = scratch();
            let (source, destination) = places(home.path());
            with_acl(&source);
            sync_with(engine, options, &source, &destination).exits(0);
            let sorted = |names: &[&str]| {
                let mut names: Vec<_> = names.iter().map(|name| name.to_string()).collect();
                names.sort();
                names
            };
            assert_eq!(attributes(destination.join("d")), sorted(of_directory), "{options:?}");
            assert_eq!(attributes(destination.join("d/file")), sorted(of_file), "{options:?}");
            for name in ["d", "d/file"] {
                assert_eq!(permissions(destination.join(name)) & 0o070, bits, "{options:?} {name}");
            }
            assert_settled(engine, options, &source, &destination);
        }
        // What is left alone is neither removed nor a difference; the rest is mended, and named.
        for (options, line, stays) in [
            (&["--no-acls"][..], ".f........x d/file", ACCESS),
            (&["--no-xattrs"], ".f.......a. d/file", "user.b"),
        ] {
            let home = scratch();
            let (source, destination) = places(home.path());
            file(source.join("d/file"), "x");
            sync_with(engine, options, &source, &destination).exits(0);
            let there = destination.join("d/file");
            xattr(&there, "user.b", b"1");
            tool("setfacl", &["-m", "u:7:r,m::r", there.to_str().unwrap()]);
            assert_eq!(letters(&check(engine, options, &source, &destination).exits(23)), [line]);
            sync_with(engine, options, &source, &destination).exits(0);
            assert_eq!(attributes(&there), [stays], "{options:?}");
            assert_settled(engine, options, &source, &destination);
        }
    }
}

fn without_acls_a_capability_is_kept() {
    // cap_net_raw=ep, as capabilities(7) has it.
    const RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for &engine in ENGINES.iter() {
        for (options, expected) in [(&["--no-acls"][..], 1), (&["--no-xattrs"], 0)] {
            let home = scratch();
            let (source, destination) = places(home.path());
            file(source.join("program"), "x");
            chown(source.join("program"), Some(7), Some(8)).unwrap();
            xattr(source.join("program"), "security.capability", &RAW);
            sync_with(engine, options, &source, &destination).exits(0);
            let found = attributes(destination.join("program"));
            assert_eq!(found.len(), expected, "{options:?} {found:?}");
            assert_settled(engine, options, &source, &destination);
        }
    }
}

fn devices_and_specials_are_left_out_apart() {
    for &engine in ENGINES.iter() {
        for (options, expected) in [
            (&[][..], &["device", "fifo", "socket"][..]),
            (&["--no-devices"], &["fifo", "socket"]),
            (&["--no-specials"], &["device"]),
            (&["--no-devices", "--no-specials"], &[]),
        ] {
            let home = scratch();
            let (source, destination) = places(home.path());
            fs::create_dir(&source).unwrap();
            node(source.join("device"), FileType::CharacterDevice, (1, 3));
            node(source.join("fifo"), FileType::Fifo, (0, 0));
            node(source.join("socket"), FileType::Socket, (0, 0));
            let ran = sync_with(engine, &[options, &["--json"]].concat(), &source, &destination).exits(0);
            let mut found: Vec<_> =
                fs::read_dir(&destination).unwrap().map(|e| e.unwrap().file_name()).collect();
            found.sort();
            assert_eq!(found, expected, "{options:?}");
            // What was left out is told.
            let skipped = ran.out.lines().find(|line| line.contains("\"skipped\":")).unwrap_or_default();
            assert!(skipped.contains(&format!("\"skipped\":{}", 3 - expected.len())), "{skipped}");
            assert_settled(engine, options, &source, &destination);
        }
    }
}

fn times_of_symlinks_are_left_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = places(home.path());
        file(source.join("file"), "x");
        symlink("file", source.join("link")).unwrap();
        for name in ["file", "link"] {
            modified(source.join(name), 1_000_000, 5);
        }
        sync_with(engine, &["-J"], &source, &destination).exits(0);
        let of = |name: &str| fs::symlink_metadata(destination.join(name)).unwrap().mtime();
        assert_eq!(of("file"), 1_000_000);
        assert_ne!(of("link"), 1_000_000);
        assert_settled(engine, &["--omit-link-times"], &source, &destination);
        check(engine, &[], &source, &destination).exits(23);
    }
}

fn files_are_run_as_in_the_source() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = places(home.path());
        // Mode in the source, mode that is there (0: nothing), and that it has with -E and without.
        let table = [
            ("now", 0o755, 0o640, 0o750, 0o640),
            ("no more", 0o644, 0o711, 0o600, 0o711),
            ("as before", 0o700, 0o744, 0o744, 0o744),
            ("never", 0o600, 0o604, 0o604, 0o604),
            ("new", 0o750, 0, 0o750, 0o750),
        ];
        for (options, with) in [(&["--no-perms"][..], false), (&["--no-perms", "-E"], true)] {
            for updated in [false, true] {
                for root in [&source, &destination] {
                    fs::remove_dir_all(root).ok();
                }
                for (name, of_source, there, ..) in table {
                    file(source.join(name), "x");
                    mode(source.join(name), of_source);
                    modified(source.join(name), 1_000_000, 0);
                    if there > 0 {
                        file(destination.join(name), if updated { "other" } else { "x" });
                        mode(destination.join(name), there);
                        modified(destination.join(name), 1_000_000, 0);
                    }
                }
                sync_with(engine, options, &source, &destination).exits(0);
                for (name, _, _, run, left) in table {
                    let expected = if with { run } else { left };
                    let found = permissions(destination.join(name));
                    assert_eq!(found, expected, "{options:?} {name} {found:o}");
                }
                assert_settled(engine, options, &source, &destination);
            }
        }
        // The letter.
        mode(destination.join("now"), 0o600);
        let found = check(engine, &["--no-perms", "-E"], &source, &destination).exits(23);
        assert!(found.out.contains(".f...p..... now"), "{}", found.out);
        check(engine, &["--no-perms"], &source, &destination).exits(0);
    }
}

fn a_file_that_can_be_run_now_is_nobody_else_s() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = places(home.path());
        for root in [&source, &destination] {
            file(root.join("program"), "x");
            modified(root.join("program"), 1_000_000, 0);
        }
        mode(source.join("program"), 0o755);
        mode(destination.join("program"), 0o6644);
        sync_with(engine, &["--no-perms", "-E"], &source, &destination).exits(0);
        assert_eq!(permissions(destination.join("program")), 0o755);
    }
}

fn new_entries_get_what_the_default_acl_grants() {
    for (engine, (acl, of_file, of_program)) in ENGINES.iter().flat_map(|engine| {
        [
            ("u::7,g::7,o:7", 0o666, 0o777),
            ("u::7,g::7,o:5", 0o664, 0o775),
            ("u::7,g::5,o:0", 0o640, 0o750),
            ("u::7,u:7:7,g::7,m:5,o:0", 0o640, 0o750),
            ("", 0o600, 0o700),
        ]
        .map(|row| (engine, row))
    }) {
        let home = scratch();
        let (source, around) = (home.path().join("src"), home.path().join("around"));
        file(source.join("dir/file"), "x");
        file(source.join("program"), "x");
        for (name, bits) in [("", 0o777), ("dir", 0o777), ("dir/file", 0o666), ("program", 0o4777)] {
            mode(source.join(name), bits);
        }
        fs::create_dir(&around).unwrap();
        if !acl.is_empty() {
            tool("setfacl", &["-d", "-m", acl, around.to_str().unwrap()]);
        }
        let options = ["--no-perms", "--no-acls"];
        let destination = around.join("dst");
        let mut command = Command::new("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh", program().to_str().unwrap(), "sync"]);
        command.args(["--engine", engine]).args(options).arg(&source).arg(&destination);
        run(command).exits(0);
        for (name, expected) in
            [("", of_program), ("dir", of_program), ("dir/file", of_file), ("program", of_program)]
        {
            let found = permissions(destination.join(name));
            assert_eq!(found, expected, "{acl} {name} {found:o}");
        }
        assert_settled(engine, &options, &source, &destination);
    }
}

fn new_directories_inherit_setgid() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, around) = (home.path().join("src"), home.path().join("around"));
        file(source.join("a/b/file"), "x");
        mode(source.join("a"), 0o1755);
        fs::create_dir(&around).unwrap();
        mode(&around, 0o2755);
        let destination = around.join("dst");
        sync_with(engine, &["--no-perms"], &source, &destination).exits(0);
        for name in ["", "a", "a/b"] {
            let found = permissions(destination.join(name));
            assert_eq!(found, 0o2755, "{name} {found:o}");
        }
        assert_eq!(permissions(destination.join("a/b/file")) & 0o7000, 0);
        assert_settled(engine, &["--no-perms"], &source, &destination);
    }
}

fn owners_are_mapped() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = places(home.path());
        file(source.join("dir/root"), "x");
        file(source.join("daemon"), "x"); // users 1 and 2 are those of every Debian
        file(source.join("bin"), "x");
        file(source.join("4711"), "x");
        symlink("x", source.join("4712")).unwrap();
        for (name, id) in [("daemon", 1), ("bin", 2), ("4711", 4711), ("4712", 4712)] {
            lchown(source.join(name), Some(id), Some(id)).unwrap();
        }
        let names = ["dir", "dir/root", "daemon", "bin", "4711", "4712"];
        let same = [0, 0, 1, 2, 4711, 4712];
        let table = [
            (&["--usermap=0:10,d*:11,4000-5000:12"][..], [10, 10, 11, 2, 12, 12], same),
            (&["--usermap=:daemon"], [0, 0, 1, 2, 1, 1], same),
            (&["--usermap=bin:3,*:4"], [4, 4, 4, 3, 4, 4], same),
            (&["--groupmap=root:5,[bd]*:6"], same, [5, 5, 6, 6, 4711, 4712]),
            (&["--usermap=*:7", "--chown=:8"], [7; 6], [8; 6]),
            (
                &["--usermap=1:2,2:1", "--groupmap=4711:0", "--no-perms"],
                [0, 0, 2, 1, 4711, 4712],
                [0, 0, 1, 2, 0, 4712],
            ),
        ];
        for (options, users, groups) in table {
            fs::remove_dir_all(&destination).ok();
            for _ in 0..2 {
                sync_with(engine, options, &source, &destination).exits(0);
                for ((name, user), group) in names.iter().zip(users).zip(groups) {
                    assert_eq!(owner(destination.join(name)), (user, group), "{options:?} {name}");
                }
                assert_settled(engine, options, &source, &destination);
                chown(destination.join("daemon"), Some(99), Some(99)).unwrap();
            }
        }
    }
}

fn mapped_owners_lose_setuid() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = places(home.path());
        for (name, id) in [("theirs", 7), ("other", 9)] {
            file(source.join(name), "x");
            chown(source.join(name), Some(id), Some(id)).unwrap();
            mode(source.join(name), 0o6755);
        }
        sync_with(engine, &["--usermap=7:0"], &source, &destination).exits(0);
        assert_eq!(permissions(destination.join("theirs")), 0o2755);
        assert_eq!(permissions(destination.join("other")), 0o6755);
        assert_settled(engine, &["--usermap=7:0"], &source, &destination);
    }
}

fn a_map_that_can_not_be_understood_is_refused() {
    let home = scratch();
    let (source, destination) = places(home.path());
    fs::create_dir(&source).unwrap();
    let own = format!("--chown={}", rustix::process::getuid().as_raw());
    let map = format!("--usermap=*:{}", rustix::process::getuid().as_raw());
    for (options, why) in [
        (&["--usermap=7"][..], "7 has no colon: FROM:TO"),
        (&["--usermap=7:"], "has nothing after its colon"),
        (&["--usermap=7:no such user"], "there is no user no such user"),
        (&["--groupmap=7:no such group"], "there is no group no such group"),
        (&["--groupmap=7x:0"], "7x: what begins with a digit is a number"),
        (&["--groupmap=9-7:0"], "the first number of a range is the lower one"),
        (&["--usermap=[a:0"], "a [ has no ]"),
        (&[&map, "--no-owner"], "--no-owner"),
    ] {
        let mut ringsync = Command::new(program());
        ringsync.arg("sync").args(options).arg(&source).arg(&destination);
        let ran = run(ringsync).exits(1);
        assert!(ran.err.contains(why), "{options:?}: {}", ran.err);
    }
    let ran = sync_with("auto", &[&map, &own], &source, &destination).exits(3);
    assert!(ran.err.contains("one owner for everything leaves nothing to map"), "{}", ran.err);
    assert!(!destination.exists());
}

fn a_user_gives_nothing_away_by_a_map() {
    let home = scratch();
    mode(home.path(), 0o777);
    let (source, destination) = places(home.path());
    file(source.join("file"), "x");
    give_tree(&source, 4711);
    let mut command = program_of_alice();
    command.args(["sync", "--usermap=*:0"]).arg(&source).arg(&destination);
    let ran = run(command).exits(1);
    assert!(ran.err.contains("only root gives files to user 0"), "{}", ran.err);
    assert!(!destination.exists());
    // To themselves, and to their group: that is what they have in any case.
    let maps = [format!("--usermap=*:{ALICE}"), format!("--groupmap=4711:{ALICE}")];
    as_alice(&["sync", &maps[0], &maps[1]], &source, &destination).exits(0);
    assert_eq!(owner(destination.join("file")), (ALICE, ALICE));
    as_alice(&["check", &maps[0], &maps[1]], &source, &destination).exits(0);
}
