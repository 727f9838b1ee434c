//! Attributes of SRC that can't be read cost themselves: the contents are there, what could not be read is named, and nobody
//! gets in whom an ACL may have kept out.

use std::fs;
use std::process::Command;

use crate::lacks::{bits, made, refused};
use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, xattr};
use crate::support::{ENGINES, program, run, scratch, sync_with, tool};

tests![
    an_attribute_that_can_not_be_read_costs_itself: [Need::Tool("strace"), Need::Tool("setfacl")],
    attributes_that_can_not_be_listed_cost_themselves: [Need::Fuse],
    what_can_not_be_read_in_full_is_backed_up: [Need::Fuse],
    check_and_dry_runs_tell_what_can_not_be_read: [Need::Fuse],
    earlier_trees_are_linked_to_without_what_can_not_be_read: [Need::Tool("strace")],
];

const UNREADABLE: &str = "inject=getxattr,fgetxattr,lgetxattr:error=";

fn an_attribute_that_can_not_be_read_costs_itself() {
    for (&engine, errno) in ENGINES.iter().flat_map(|engine| ["EIO", "EACCES"].map(|errno| (engine, errno))) {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["d/acl", "d/plain"] {
            file(source.join(name), "contents");
            mode(source.join(name), 0o644);
        }
        xattr(source.join("d/plain"), "user.a", b"1");
        mode(source.join("d"), 0o755);
        for name in ["d/acl", "d"] {
            tool("setfacl", &["-m", "u:7:---", source.join(name).to_str().unwrap()]);
        }
        mode(&source, 0o700);
        let injected = format!("{UNREADABLE}{errno}");
        let ran = refused(&[&injected], engine, &[], &source, &destination).exits(23);
        for name in ["d/acl", "d/plain"] {
            assert_eq!(fs::read_to_string(destination.join(name)).unwrap(), "contents", "{}", ran.err);
        }
        let found = ["d", "d/acl", "d/plain"].map(|name| bits(destination.join(name)));
        assert_eq!(found, [0o700, 0o600, 0o644], "{engine} {errno}: {}", ran.err);
        for (name, attribute) in
            [("d", "system.posix_acl_access"), ("d/acl", "system.posix_acl_access"), ("d/plain", "user.a")]
        {
            let told = format!("read extended attributes of {}: {attribute}: ", source.join(name).display());
            assert!(ran.err.contains(&told), "{told}: {}", ran.err);
        }
        assert!(ran.err.contains("(--no-xattrs leaves attributes alone)"), "{}", ran.err);
        let again = refused(&[&injected], engine, &[], &source, &destination).exits(23);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
        assert_eq!(again.err.matches("read extended attributes of").count(), 3, "{}", again.err);
        // Without attributes the mask in the mode is not to be told from the group's own.
        let other = home.path().join("other");
        let ran = refused(&[&injected], engine, &["--no-acls", "--no-xattrs"], &source, &other).exits(23);
        assert_eq!(["d", "d/acl"].map(|name| bits(other.join(name))), [0o705, 0o604], "{}", ran.err);
        assert!(ran.err.contains("which tells what its group may do"), "{}", ran.err);
        // Who leaves modes alone, or the file, does not miss it.
        refused(&[&injected], engine, &["--no-acls", "--no-xattrs", "--no-perms"], &source, &other).exits(0);
        let options = ["--no-acls", "--no-xattrs", "--max-size=1"];
        let ran = refused(&[&injected], engine, &options, &source, &other).exits(23);
        assert!(!ran.err.contains("d/acl"), "{}", ran.err);
        refused(&[], engine, &[], &source, &destination).exits(0);
        assert_eq!(bits(destination.join("d/acl")), 0o644);
        assert_eq!(rustix::fs::getxattr(destination.join("d/plain"), "user.a", &mut [0_u8; 8]), Ok(1));
    }
}

fn attributes_that_can_not_be_listed_cost_themselves() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
        for name in ["d/f", "d/other"] {
            file(source.join(name), "contents");
            mode(source.join(name), 0o644);
        }
        mode(source.join("d"), 0o755);
        for subject in ["d", "f"] {
            fuse.spoil(Call::Listxattr, subject, Effect::Fail(libc::EACCES), usize::MAX);
        }
        let ran = sync_with(engine, &["--json"], &source, &destination).exits(23);
        for name in ["d/f", "d/other"] {
            assert_eq!(fs::read_to_string(destination.join(name)).unwrap(), "contents", "{}", ran.err);
        }
        let found = ["d", "d/f", "d/other"].map(|name| bits(destination.join(name)));
        assert_eq!(found, [0o700, 0o600, 0o644], "{}", ran.err);
        assert_eq!(ran.err.matches("read extended attributes of").count(), 2, "{}", ran.err);
        let again = sync_with(engine, &["--json"], &source, &destination).exits(23);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
        file(source.join("d/f"), "new contents");
        sync_with(engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "new contents");
    }
}

fn check_and_dry_runs_tell_what_can_not_be_read() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
        file(source.join("d/f"), "contents");
        let told = |options: &[&str]| {
            let mut command = Command::new(program());
            command.args(options).args(["--engine", engine]).arg(&source).arg(&destination);
            let ran = run(command);
            let about = |name| {
                let text =
                    format!("read extended attributes of {}: which it has: ", source.join(name).display());
                ran.err.matches(&text).count()
            };
            (ran.code, ["d", "d/f"].map(about))
        };
        fuse.spoil(Call::Listxattr, "nothing yet", Effect::Fail(libc::EACCES), usize::MAX);
        assert_eq!(told(&["sync"]), (Some(0), [0, 0]));
        for subject in ["d", "f"] {
            fuse.spoil(Call::Listxattr, subject, Effect::Fail(libc::EACCES), usize::MAX);
        }
        assert_eq!(told(&["sync"]), (Some(23), [1, 1]));
        // Nothing else differs, and then a mode does.
        for bits in [0o600, 0o640] {
            for words in [&["check"][..], &["sync", "-n"]] {
                assert_eq!(told(words), (Some(23), [1, 1]), "{words:?} {bits:o}");
            }
            mode(destination.join("d/f"), 0o640);
        }
    }
}

fn earlier_trees_are_linked_to_without_what_can_not_be_read() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        let [older, newer] = ["1", "2"].map(|name| home.path().join(name));
        file(source.join("f"), "contents");
        xattr(source.join("f"), "user.a", b"1");
        mode(&source, 0o700);
        let injected = format!("{UNREADABLE}EIO");
        refused(&[&injected], engine, &[], &source, &older).exits(23);
        let ran = refused(&[&injected], engine, &["--link-dest=../1"], &source, &newer).exits(23);
        assert!(ran.err.contains("src/f: user.a: "), "{}", ran.err);
        use std::os::unix::fs::MetadataExt;
        let inode = |tree: &std::path::Path| fs::metadata(tree.join("f")).unwrap().ino();
        assert_eq!(inode(&older), inode(&newer), "{}", ran.out);
    }
}

/// The new contents are there, and the old ones are kept, whatever of the old file's attributes can't be read.
fn what_can_not_be_read_in_full_is_backed_up() {
    for (&engine, errno) in
        ENGINES.iter().flat_map(|engine| [libc::EACCES, libc::EIO].map(|errno| (engine, errno)))
    {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        file(source.join("f"), "old");
        mode(source.join("f"), 0o644);
        sync_with(engine, &[], &source, &destination).exits(0);
        file(source.join("f"), "new contents");
        fuse.spoil(Call::Listxattr, "f", Effect::Fail(errno), usize::MAX);
        // On another file system, so that it is a copy.
        let backups = home.path().join("backups");
        let option = format!("--backup-dir={}", backups.display());
        let ran = sync_with(engine, &[&option], &source, &destination);
        assert_eq!(fs::read_to_string(destination.join("f")).unwrap(), "new contents", "{}", ran.err);
        assert_eq!(fs::read_to_string(backups.join("f")).unwrap(), "old", "{}", ran.err);
        assert_eq!(ran.code, Some(23), "{}", ran.err);
    }
}
