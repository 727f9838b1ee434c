//! Where two things are refused at once, or what is refused is a link or an ACL: nothing is more open than its source, the
//! contents are there, and each lack is told.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::process::Command;

use rustix::fs::FileType;

use crate::lacks::{bits, made, refused};
use crate::support::fuse::{Call, Effect, Fuse, Habit};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, xattr};
use crate::support::user::{ALICE, as_alice, give, give_tree, user};
use crate::support::{ENGINES, program_with, run, scratch, tool};

tests![
    a_file_is_no_wider_than_its_source_where_its_mode_is_refused_too: [
        Need::Root, Need::Tool("strace"), Need::Tool("setfacl")
    ],
    a_file_that_can_not_be_opened_to_its_owner_loses_its_attributes_alone: [
        Need::Root, Need::Tool("strace"), Need::Tool("setpriv")
    ],
    a_user_whose_group_is_refused_has_a_tighter_file: [
        Need::Root, Need::Tool("strace"), Need::Tool("setpriv")
    ],
    a_group_that_is_taken_and_not_kept_is_not_believed: [Need::Root, Need::Fuse, Need::Tool("strace")],
    an_acl_that_is_not_there_can_stay: [Need::Root, Need::Tool("strace")],
    an_inherited_acl_that_stays_grants_nothing: [Need::Root, Need::Tool("strace"), Need::Tool("setfacl")],
    hard_links_lost_beside_earlier_trees_are_an_error: [Need::Tool("strace")],
    what_a_user_closes_is_put_into_a_directory_of_roots: [Need::Root, Need::Tool("setpriv")],
    what_is_in_a_directory_that_can_not_be_closed_is_its_owners_alone: [
        Need::Root, Need::Tool("strace"), Need::Tool("setfacl")
    ],
    what_is_in_a_directory_of_another_group_is_its_owners_alone: [Need::Root, Need::Tool("strace")],
    an_acl_that_can_not_be_read_leaves_nothing_open: [Need::Root, Need::Tool("strace")],
    a_program_without_attributes_leaves_modes_as_they_are: [Need::Root, Need::Fuse],
    nobody_gets_in_by_another_acl_that_stays: [Need::Root, Need::Tool("strace"), Need::Tool("setfacl")],
    symlinks_that_lack_something_are_made_once: [Need::Root, Need::Tool("strace")],
    kinds_that_are_refused_as_invalid_name_their_option: [Need::Tool("strace")],
];

fn a_file_is_no_wider_than_its_source_where_its_mode_is_refused_too() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["acl", "group", "plain"] {
            file(source.join(name), "contents");
        }
        mode(source.join("acl"), 0o600);
        tool("setfacl", &["-m", "u:7:rwx,g::---,m::rwx", source.join("acl").to_str().unwrap()]);
        lchown(source.join("group"), None, Some(8)).unwrap();
        mode(source.join("group"), 0o640);
        mode(source.join("plain"), 0o640);
        let injected = [
            "inject=fchmod,fchmodat:error=EPERM",
            "inject=fsetxattr,setxattr:error=EOPNOTSUPP",
            "inject=fchown,fchownat:error=EPERM",
        ];
        refused(&injected, engine, &[], &source, &destination).exits(23);
        let found = ["acl", "group", "plain"].map(|name| bits(destination.join(name)));
        assert_eq!(found, [0o600, 0o600, 0o640], "{engine}");
        let again = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
    }
}

/// Runs a mirror as alice, who is in the groups as well that `groups` says, with some calls refused.
fn as_alice_in(home: &std::path::Path, groups: &str, injected: &[&str], engine: &str) {
    give_tree(home, ALICE);
    lchown(home.join("src/f"), None, groups.strip_prefix("--groups=").map(|id| id.parse().unwrap())).unwrap();
    let mut command = user(ALICE);
    if groups != "--clear-groups" {
        command = Command::new("setpriv");
        command.args([format!("--reuid={ALICE}"), format!("--regid={ALICE}")]).args([groups, "--"]);
    }
    let refusing = program_with(injected);
    command.arg(refusing.get_program()).args(refusing.get_args());
    command.args(["sync", "--engine", engine]).args([home.join("src"), home.join("dst")]);
    let ran = run(command).exits(23);
    assert_eq!(fs::read_to_string(home.join("dst/f")).unwrap(), "contents", "{}", ran.err);
}

fn a_file_that_can_not_be_opened_to_its_owner_loses_its_attributes_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        file(home.path().join("src/f"), "contents");
        xattr(home.path().join("src/f"), "user.a", b"1");
        let injected =
            ["inject=fchmod,fchmodat:error=EPERM", "inject=fsetxattr,setxattr,lsetxattr:error=EACCES"];
        as_alice_in(home.path(), "--clear-groups", &injected, engine);
    }
}

fn a_user_whose_group_is_refused_has_a_tighter_file() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        file(home.path().join("src/f"), "contents");
        mode(home.path().join("src/f"), 0o640);
        as_alice_in(home.path(), "--groups=8", &["inject=fchown,fchownat:error=EPERM"], engine);
        assert_eq!(bits(home.path().join("dst/f")), 0o600);
    }
}

/// The user is refused, and the group then set without an error.
fn a_group_that_is_taken_and_not_kept_is_not_believed() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::Owner(0));
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        file(source.join("f"), "contents");
        lchown(source.join("f"), Some(7), Some(8)).unwrap();
        mode(source.join("f"), 0o640);
        let injected = ["inject=fchown,fchownat:error=EPERM:when=1+2"];
        refused(&injected, engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        assert_eq!(bits(destination.join("f")), 0o600, "{engine}");
    }
}

/// Some programs behind FUSE refuse to remove what they do not have.
fn an_acl_that_is_not_there_can_stay() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/f"), "contents");
        node(source.join("d/fifo"), FileType::Fifo, (0, 0));
        fs::create_dir(&destination).unwrap();
        for name in [&source, &destination] {
            mode(name, 0o777);
        }
        let injected = ["inject=fremovexattr,removexattr:error=EPERM"];
        refused(&injected, engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "contents");
    }
}

fn an_inherited_acl_that_stays_grants_nothing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("f"), "contents");
        file(source.join("d/f"), "contents");
        fs::create_dir(&destination).unwrap();
        for name in [&source, &destination] {
            mode(name, 0o777);
        }
        tool("setfacl", &["-d", "-m", "u:7:rwx", destination.to_str().unwrap()]);
        let injected = ["inject=fremovexattr,removexattr:error=EPERM"];
        let ran = refused(&injected, engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        for name in ["f", "d/f"] {
            assert_eq!(fs::read_to_string(destination.join(name)).unwrap(), "contents", "{}", ran.err);
        }
        let found = || ["f", "d", "d/f"].map(|name| bits(destination.join(name)) & 0o077);
        assert_eq!(found(), [0, 0, 0], "{engine}");
        // The ACL is still there: a mode would open its mask.
        let again = refused(&[], engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        assert_eq!(found(), [0, 0, 0], "{engine}: {}", again.out);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
        assert!(again.err.contains("0600, since an ACL of it lets others in"), "{}", again.err);
        tool("setfacl", &["-R", "-b", destination.to_str().unwrap()]);
        refused(&[], engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
        assert_eq!(found(), [0o044, 0o055, 0o044], "{engine}");
    }
}

fn hard_links_lost_beside_earlier_trees_are_an_error() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, older, newer) = (home.path().join("src"), home.path().join("1"), home.path().join("2"));
        file(source.join("f"), "contents");
        fs::hard_link(source.join("f"), source.join("g")).unwrap();
        refused(&[], engine, &[], &source, &older).exits(0);
        let injected = ["inject=linkat:error=EOPNOTSUPP"];
        let ran = refused(&injected, engine, &["--link-dest=../1"], &source, &newer).exits(23);
        assert!(ran.err.contains("one more name of") && ran.err.contains("--no-hard-links"), "{}", ran.err);
    }
}

/// As root with a directory of SRC's owner's, with one of its own, and with DST itself.
fn what_is_in_a_directory_that_can_not_be_closed_is_its_owners_alone() {
    for (&engine, (owner, closed)) in
        ENGINES.iter().flat_map(|engine| [(ALICE, "d"), (0, "d"), (0, "")].map(|case| (engine, case)))
    {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["d/f", "d/acl", "d/one", "d/sub/f", "open/f"] {
            file(source.join(name), "contents");
            mode(source.join(name), 0o644);
        }
        fs::hard_link(source.join("d/one"), source.join("open/other")).unwrap();
        tool("setfacl", &["-m", "u:7:r", source.join("d/acl").to_str().unwrap()]);
        symlink("f", source.join("d/link")).unwrap();
        file(destination.join("d/f"), "old");
        for name in ["", "d", "d/sub", "open"] {
            mode(source.join(name), 0o755);
        }
        for name in ["", "d"] {
            mode(destination.join(name), 0o755);
        }
        mode(source.join(closed), 0o700);
        for tree in [&source, &destination] {
            lchown(tree.join("d"), Some(owner), Some(owner)).unwrap();
        }
        let injected = ["inject=fchmod,fchmodat:error=EPERM"];
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        for name in ["d/f", "d/acl", "d/one", "d/sub/f", "open/f", "open/other"] {
            assert_eq!(
                fs::read_to_string(destination.join(name)).unwrap(),
                "contents",
                "{name}: {}",
                ran.err
            );
        }
        assert!(ran.err.contains(": 0700: Operation not permitted"), "{}", ran.err);
        if closed == "d" {
            for name in ["d/f", "d/acl", "d/one", "d/sub"] {
                assert_eq!(bits(destination.join(name)) & 0o077, 0, "{owner} {name}: {}", ran.err);
            }
            assert_eq!(fs::metadata(destination.join("d/one")).unwrap().nlink(), 1);
            assert!(ran.err.contains("/d/one: one of several names"), "{}", ran.err);
            assert_eq!(bits(destination.join("open/f")), 0o644);
        } else {
            // What was there, and can't be closed either, has closed contents.
            let found = ["open", "d/f", "d/sub"].map(|name| bits(destination.join(name)) & 0o077);
            assert_eq!(found, [0; 3], "{}", ran.err);
        }
        let again = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
        refused(&[], engine, &[], &source, &destination).exits(0);
        assert_eq!((bits(destination.join(closed)), bits(destination.join("d/f"))), (0o700, 0o644));
    }
}

/// The root of a disk that was mounted is most often root's, and open to the user.
fn what_a_user_closes_is_put_into_a_directory_of_roots() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o755);
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["f", "d/f", "sub/f"] {
            file(source.join(name), "contents");
            mode(source.join(name), 0o644);
        }
        mode(source.join("d"), 0o755);
        mode(source.join("sub"), 0o700);
        mode(&source, 0o700);
        give_tree(&source, ALICE);
        for name in ["", "sub"] {
            fs::create_dir(destination.join(name)).unwrap();
            mode(destination.join(name), 0o777);
        }
        let words = ["sync", "--engine", engine];
        let ran = as_alice(&words, &source, &destination).exits(23);
        for name in ["f", "d/f", "sub/f"] {
            let contents = fs::read_to_string(destination.join(name)).unwrap();
            assert_eq!(contents, "contents", "{name}: {}", ran.err);
        }
        // A new directory keeps others from what is in it.
        let found = ["f", "d", "sub/f"].map(|name| bits(destination.join(name)) & 0o077);
        assert_eq!(found, [0; 3], "{}", ran.err);
        assert!(ran.err.contains("--no-perms"), "{}", ran.err);
        file(source.join("d/f"), "new contents");
        give_tree(&source, ALICE);
        as_alice(&words, &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "new contents");
        let again = as_alice(&[&words[..], &["--json"]].concat(), &source, &destination).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
        // In somebody else's it would be theirs to exchange.
        give(destination.join("sub"), 1000);
        fs::remove_file(destination.join("sub/f")).unwrap();
        as_alice(&words, &source, &destination).exits(23);
        assert!(!destination.join("sub/f").exists());
    }
}

/// The directories are closed to others alike, and not to the same group.
fn what_is_in_a_directory_of_another_group_is_its_owners_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for (name, bits) in [("d", 0o770), ("open", 0o775)] {
            file(source.join(name).join("f"), "contents");
            file(destination.join(name).join("old"), "old");
            mode(source.join(name).join("f"), 0o664);
            for (tree, group) in [(&source, 8), (&destination, 9)] {
                lchown(tree.join(name), None, Some(group)).unwrap();
                mode(tree.join(name), bits);
            }
        }
        let injected = ["inject=fchmod,fchmodat:error=EPERM", "inject=fchown,fchownat:error=EPERM"];
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "contents", "{}", ran.err);
        assert_eq!(bits(destination.join("d/f")) & 0o077, 0, "{engine}: {}", ran.err);
        assert_eq!(bits(destination.join("open/f")) & 0o044, 0o044, "{engine}: {}", ran.err);
    }
}

fn an_acl_that_can_not_be_read_leaves_nothing_open() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/f"), "contents");
        mode(source.join("d/f"), 0o644);
        fs::create_dir_all(destination.join("d")).unwrap();
        for (name, bits) in [("src", 0o755), ("dst", 0o755), ("src/d", 0o700), ("dst/d", 0o755)] {
            mode(home.path().join(name), bits);
        }
        let injected = ["inject=getxattr,fgetxattr,lgetxattr:error=EACCES"];
        let ran = refused(&injected, engine, &[], &source, &destination);
        assert_eq!(bits(destination.join("d")), 0o700, "{}", ran.err);
        // It was closed at once, so that the file in it may have its mode.
        assert_eq!(bits(destination.join("d/f")), 0o644, "{}", ran.err);
    }
}

fn a_program_without_attributes_leaves_modes_as_they_are() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        file(source.join("d/f"), "contents");
        mode(source.join("d/f"), 0o644);
        fs::create_dir_all(destination.join("d")).unwrap();
        for name in ["", "d"] {
            mode(source.join(name), 0o755);
            mode(destination.join(name), 0o755);
        }
        fuse.spoil(Call::Listxattr, "", Effect::Fail(libc::EIO), usize::MAX);
        let ran = refused(&[], engine, &[], &source, &destination).exits(0);
        assert_eq!(["d", "d/f"].map(|name| bits(destination.join(name))), [0o755, 0o644], "{}", ran.err);
    }
}

/// Whom SRC's ACL names is among all others of the one that DST has.
fn nobody_gets_in_by_another_acl_that_stays() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for tree in [&source, &destination] {
            file(tree.join("f"), "contents");
            mode(tree.join("f"), 0o644);
            modified(tree.join("f"), 1_000_000, 0);
        }
        tool("setfacl", &["-m", "u:7:---", source.join("f").to_str().unwrap()]);
        tool("setfacl", &["-m", "u:8:r", destination.join("f").to_str().unwrap()]);
        let injected = ["inject=fsetxattr,setxattr,lsetxattr:error=ENOSPC"];
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(bits(destination.join("f")), 0o600, "{engine}: {}", ran.err);
        let again = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!((bits(destination.join("f")), made(&again)), (0o600, 0), "{}", again.out);
    }
}

fn symlinks_that_lack_something_are_made_once() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, older, newer) = (home.path().join("src"), home.path().join("1"), home.path().join("2"));
        fs::create_dir(&source).unwrap();
        symlink("nowhere", source.join("link")).unwrap();
        lchown(source.join("link"), Some(7), Some(8)).unwrap();
        let injected = ["inject=fchown,fchownat:error=EPERM"];
        refused(&injected, engine, &[], &source, &older).exits(23);
        let again = refused(&injected, engine, &[], &source, &older).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
        refused(&injected, engine, &["--link-dest=../1"], &source, &newer).exits(23);
        let inode = |tree: &std::path::Path| fs::symlink_metadata(tree.join("link")).unwrap().ino();
        assert_eq!(inode(&older), inode(&newer), "{engine}");
    }
}

fn kinds_that_are_refused_as_invalid_name_their_option() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir(&source).unwrap();
        symlink("nowhere", source.join("link")).unwrap();
        let ran = refused(&["inject=symlinkat:error=EINVAL"], engine, &[], &source, &destination).exits(23);
        assert!(ran.err.contains("--no-links"), "{}", ran.err);
    }
}
