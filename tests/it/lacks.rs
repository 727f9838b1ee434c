//! What the destination refuses of metadata costs that metadata: contents and all the rest are there, nothing is more open
//! than its source, each lack is named with the option that leaves it out, and no later run copies anything again for it.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::Path;

use rustix::fs::FileType;

use crate::schema::assert_described;
use crate::support::fuse::{Call, Effect, Fuse, Habit};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise, xattr};
use crate::support::user::ALICE;
use crate::support::{ENGINES, Ran, assert_no_litter, program, program_with, run, scratch, sync_with, tool};

tests![
    what_holds_no_acls_gets_the_files: [Need::Root, Need::Tool("setfacl")],
    an_owner_that_is_refused_costs_the_owner: [Need::Root, Need::Tool("strace")],
    a_mode_that_is_refused_costs_the_mode: [Need::Tool("strace")],
    a_time_that_is_refused_costs_the_time: [Need::Tool("strace")],
    earlier_trees_are_linked_to_all_the_same: [Need::Root, Need::Tool("strace")],
    an_attribute_that_is_refused_costs_the_attribute: [Need::FileSystem("ext4")],
    attributes_refused_for_any_reason_cost_themselves: [Need::Root, Need::Tool("strace")],
    what_a_program_does_not_have_is_no_failing_disk: [Need::Root, Need::Fuse],
    a_disk_that_fails_is_no_refusal: [Need::Root, Need::Tool("strace")],
    an_attribute_that_is_no_failing_disk_costs_itself: [Need::Root, Need::Tool("strace")],
    one_kind_of_refusal_is_a_handful_of_lines: [Need::Root, Need::Tool("strace")],
    root_of_a_user_namespace_is_as_a_user_without_privilege: [Need::Root, Need::Tool("unshare")],
    root_without_the_capability_is_as_a_user_without_privilege: [Need::Root, Need::Tool("setpriv")],
    root_that_is_nobody_there_is_as_a_user_without_privilege: [Need::Root, Need::Fuse, Need::Tool("strace")],
    without_modes_new_files_follow_the_umask_and_others_keep_theirs,
    symlinks_and_nodes_refused_by_access_name_an_option: [Need::Root, Need::Tool("strace")],
    a_backup_directory_that_stays_open_has_closed_backups: [Need::Root, Need::Tool("strace")],
    symlinks_can_be_left_out,
    times_of_directories_can_be_left_alone,
];

/// Mirrors with some calls refused: expressions of strace(1).
pub fn refused(injected: &[&str], engine: &str, options: &[&str], source: &Path, destination: &Path) -> Ran {
    let mut command = program_with(injected);
    command.args(["sync", "--json", "--engine", engine]).args(options).arg(source).arg(destination);
    let ran = run(command);
    assert_described(&ran, &[]);
    ran
}

/// How many entries a run has made, replaced and linked.
pub fn made(ran: &Ran) -> u64 {
    let summary = ran.summary();
    ["created", "updated", "linked"].iter().map(|name| summary[name].as_u64().unwrap()).sum()
}

pub fn bits(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn what_holds_no_acls_gets_the_files() {
    for &engine in ENGINES.iter() {
        let mount = Mount::ramfs();
        let home = scratch();
        let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
        file(source.join("d/f"), noise(1, 5000));
        mode(source.join("d/f"), 0o660);
        // Its group has less than its mode shows, for that is the mask.
        tool("setfacl", &["-m", "u:7:rw,g::---", source.join("d/f").to_str().unwrap()]);
        mode(source.join("d"), 0o755);
        tool("setfacl", &["-m", "u:7:---,d:u:7:r", source.join("d").to_str().unwrap()]);
        let ran = sync_with(engine, &["--json"], &source, &destination).exits(23);
        assert_eq!(fs::read(destination.join("d/f")).unwrap(), noise(1, 5000));
        assert_eq!((bits(destination.join("d/f")), bits(destination.join("d"))), (0o600, 0o700));
        let line = |path: &str, name: &str| {
            let path = destination.join(path);
            format!("set extended attribute of {}: system.posix_acl_{name} of", path.display())
        };
        for line in [line("d/f", "access"), line("d", "access"), line("d", "default")] {
            assert!(ran.err.contains(&line), "{line}: {}", ran.err);
        }
        assert!(ran.err.contains("(os error 95) (--no-acls leaves ACLs alone)"), "{}", ran.err);
        let again = sync_with(engine, &["--json"], &source, &destination).exits(23);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
        file(source.join("d/f"), "new contents");
        sync_with(engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read(destination.join("d/f")).unwrap(), b"new contents");
        sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
        assert_no_litter(mount.path());
    }
}

fn an_owner_that_is_refused_costs_the_owner() {
    for (&engine, errno) in
        ENGINES.iter().flat_map(|engine| ["EPERM", "EINVAL", "EDQUOT"].map(|errno| (engine, errno)))
    {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("private/f"), "contents");
        file(source.join("private/setuid"), "contents");
        symlink("f", source.join("private/link")).unwrap();
        node(source.join("private/fifo"), FileType::Fifo, (0, 0));
        for name in ["private", "private/f", "private/setuid", "private/link", "private/fifo"] {
            lchown(source.join(name), Some(7), Some(8)).unwrap();
        }
        mode(source.join("private/f"), 0o640);
        mode(source.join("private/setuid"), 0o6755);
        mode(source.join("private"), 0o770);
        let injected = [format!("inject=fchown,fchownat:error={errno}")];
        let injected: Vec<&str> = injected.iter().map(String::as_str).collect();
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read(destination.join("private/f")).unwrap(), b"contents");
        assert_eq!(fs::read_link(destination.join("private/link")).unwrap(), Path::new("f"));
        let found = ["private", "private/f", "private/setuid", "private/fifo"]
            .map(|name| bits(destination.join(name)));
        // The group that they have instead is none that the source gave anything to.
        assert_eq!(found, [0o700, 0o600, 0o755, 0o600], "{engine} {errno}");
        assert!(ran.err.contains("/private/") && ran.err.contains(": 7:8: "), "{}", ran.err);
        assert!(
            ran.err.contains("(--no-owner with --no-group leaves owners and groups alone)"),
            "{}",
            ran.err
        );
        let again = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
        let left_out =
            refused(&injected, engine, &["--no-owner", "--no-group"], &source, &destination).exits(0);
        assert_eq!(left_out.summary()["bytes"].as_u64(), Some(0), "{}", left_out.out);
    }
}

fn a_mode_that_is_refused_costs_the_mode() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/f"), "contents");
        file(destination.join("d/old"), "old");
        file(source.join("d/old"), "new contents");
        mode(source.join("d/f"), 0o604);
        mode(source.join("d"), 0o750);
        mode(destination.join("d/old"), 0o600);
        let injected = ["inject=fchmod,fchmodat:error=EOPNOTSUPP"];
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        for (name, contents) in [("d/f", "contents"), ("d/old", "new contents")] {
            assert_eq!(fs::read_to_string(destination.join(name)).unwrap(), contents);
            assert_eq!(bits(destination.join(name)) & !bits(source.join(name)) & 0o077, 0, "{name}");
        }
        assert!(
            ran.err.contains(": 0750: ") && ran.err.contains("(--no-perms leaves modes alone)"),
            "{}",
            ran.err
        );
        let again = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
        let left_out = refused(&injected, engine, &["--no-perms"], &source, &destination).exits(0);
        assert_eq!(made(&left_out), 0, "{}", left_out.out);
    }
}

fn a_time_that_is_refused_costs_the_time() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/f"), "contents");
        symlink("f", source.join("d/link")).unwrap();
        for name in ["d/f", "d"] {
            modified(source.join(name), 1_000_000_000, 5);
        }
        let injected = ["inject=utimensat:error=EPERM"];
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "contents");
        for text in [
            ": 2001-09-09T01:46:40.000000005Z: Operation not permitted",
            "(--no-times leaves times alone)",
            "(--omit-dir-times leaves the times of directories alone)",
        ] {
            assert!(ran.err.contains(text), "{text}: {}", ran.err);
        }
        let again = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
        let left_out = refused(&injected, engine, &["--no-times"], &source, &destination).exits(0);
        assert_eq!(made(&left_out), 0, "no time can tell, so that contents did");
        file(source.join("d/f"), "CONTENTS");
        refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "CONTENTS", "of the same size");
    }
}

/// Files of an earlier tree lack what a copy would lack as well.
fn earlier_trees_are_linked_to_all_the_same() {
    for (&engine, call) in ENGINES.iter().flat_map(|engine| {
        ["fchown,fchownat", "fchmod,fchmodat", "utimensat", "fsetxattr,setxattr"].map(|call| (engine, call))
    }) {
        let home = scratch();
        let (source, older, newer) = (home.path().join("src"), home.path().join("1"), home.path().join("2"));
        for name in ["d/f", "d/changed"] {
            file(source.join(name), "contents");
            lchown(source.join(name), Some(7), Some(8)).unwrap();
            modified(source.join(name), 1_000_000_000, 5);
            xattr(source.join(name), "user.a", b"1");
        }
        mode(source.join("d/f"), 0o6755);
        let injected = [format!("inject={call}:error=EPERM")];
        let injected: Vec<&str> = injected.iter().map(String::as_str).collect();
        refused(&injected, engine, &[], &source, &older).exits(23);
        file(source.join("d/changed"), "Contents");
        let ran = refused(&injected, engine, &["--link-dest=../1"], &source, &newer).exits(23);
        let inode = |tree: &Path, name: &str| fs::metadata(tree.join(name)).unwrap().ino();
        assert_eq!(inode(&older, "d/f"), inode(&newer, "d/f"), "{call}: {}", ran.out);
        assert_ne!(inode(&older, "d/changed"), inode(&newer, "d/changed"));
        assert_eq!(fs::read_to_string(newer.join("d/changed")).unwrap(), "Contents");
        let again = refused(&injected, engine, &["--link-dest=../1"], &source, &newer).exits(23);
        assert_eq!(made(&again), 0, "{call}: {}", again.out);
        assert_eq!(inode(&older, "d/f"), inode(&newer, "d/f"));
    }
}

/// What does not fit into an inode of ext4.
fn an_attribute_that_is_refused_costs_the_attribute() {
    for &engine in ENGINES.iter() {
        let mount = Mount::new("ext4", "64M");
        let home = scratch();
        let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
        file(source.join("f"), "contents");
        xattr(source.join("f"), "user.large", &noise(1, 20_000));
        xattr(source.join("f"), "user.small", b"1");
        let ran = sync_with(engine, &["--json"], &source, &destination).exits(23);
        assert!(ran.err.contains("user.large of 20000 bytes: "), "{}", ran.err);
        let value = |name: &str| rustix::fs::getxattr(destination.join("f"), name, &mut [0_u8; 8]);
        assert_eq!((value("user.small"), value("user.large")), (Ok(1), Err(rustix::io::Errno::NODATA)));
        let again = sync_with(engine, &["--json"], &source, &destination).exits(23);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
    }
}

fn attributes_refused_for_any_reason_cost_themselves() {
    let errors = ["EPERM", "EACCES", "EINVAL", "EOPNOTSUPP", "ENOSYS", "ERANGE", "ENOSPC", "E2BIG", "EDQUOT"];
    for (&engine, errno) in ENGINES.iter().flat_map(|engine| errors.map(|errno| (engine, errno))) {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("f"), "contents");
        xattr(source.join("f"), "user.a", b"1");
        let injected = [format!("inject=fsetxattr,setxattr,lsetxattr:error={errno}")];
        let injected: Vec<&str> = injected.iter().map(String::as_str).collect();
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("f")).unwrap(), "contents", "{errno}");
        assert!(ran.err.contains("user.a of 1 byte: "), "{}", ran.err);
        let again = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
    }
}

/// No half done file gets its name then.
fn a_disk_that_fails_is_no_refusal() {
    for (&engine, call) in ENGINES
        .iter()
        .flat_map(|engine| ["utimensat", "fsetxattr,setxattr,lsetxattr"].map(|call| (engine, call)))
    {
        let (home, mount) = (scratch(), Mount::new("tmpfs", "16M"));
        let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
        file(source.join("f"), "contents");
        xattr(source.join("f"), "user.a", b"1");
        fs::create_dir(&destination).unwrap();
        refused(&[&format!("inject={call}:error=EIO")], engine, &[], &source, &destination).exits(23);
        assert!(!destination.join("f").exists(), "{call}");
        assert_no_litter(&destination);
    }
}

/// CIFS answers so where an attribute is too large. Here an overlay stands for it.
fn an_attribute_that_is_no_failing_disk_costs_itself() {
    for &engine in ENGINES.iter() {
        let (home, lower) = (scratch(), scratch());
        let mount = Mount::overlay(lower.path(), home.path());
        let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
        file(source.join("f"), "contents");
        xattr(source.join("f"), "user.a", b"1");
        let injected = ["inject=fsetxattr,setxattr,lsetxattr:error=EIO"];
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("f")).unwrap(), "contents", "{}", ran.err);
        assert!(ran.err.contains("user.a of 1 byte: Input/output error"), "{}", ran.err);
        let again = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
    }
}

/// It answers with EIO to whatever it does not know.
fn what_a_program_does_not_have_is_no_failing_disk() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        file(source.join("d/f"), "contents");
        lchown(source.join("d/f"), Some(7), Some(8)).unwrap();
        mode(source.join("d/f"), 0o640);
        xattr(source.join("d/f"), "user.a", b"1");
        for call in [Call::Setattr, Call::Setxattr] {
            fuse.spoil(call, "", Effect::Fail(libc::EIO), usize::MAX);
        }
        let ran = sync_with(engine, &["--json"], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "contents", "{}", ran.err);
        assert_eq!(bits(destination.join("d/f")) & 0o077, 0);
        for lack in ["user.a of 1 byte: Input/output error", ": 7:8: Input/output error", "--no-times"] {
            assert!(ran.err.contains(lack), "{lack}: {}", ran.err);
        }
        let again = sync_with(engine, &["--json"], &source, &destination).exits(23);
        assert_eq!(made(&again), 0, "{}", again.out);
    }
}

fn one_kind_of_refusal_is_a_handful_of_lines() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..50 {
        file(source.join(format!("f{index}")), "contents");
        lchown(source.join(format!("f{index}")), Some(ALICE), None).unwrap();
    }
    let mut command = program_with(&["inject=fchown,fchownat:error=EPERM"]);
    command.arg("sync").arg(&source).arg(&destination);
    let ran = run(command).exits(23);
    assert_eq!(ran.err.lines().count(), 4, "{}", ran.err);
    let last = "ringsync: set owners: Operation not permitted (os error 1): the same for 47 more entries";
    assert_eq!(ran.err.lines().last(), Some(last));
    assert!(ran.out.contains("51 created") && ran.out.contains("; 50 errors"), "{}", ran.out);
}

/// Files of root's and of another user's, with what only root sets.
fn owned(home: &Path) -> std::path::PathBuf {
    let source = home.join("src");
    for name in ["d/theirs", "d/setuid", "d/ours"] {
        file(source.join(name), "contents");
    }
    for name in ["d/theirs", "d/setuid"] {
        lchown(source.join(name), Some(7), Some(8)).unwrap();
        xattr(source.join(name), "user.a", b"1");
        xattr(source.join(name), "trusted.a", b"1");
    }
    mode(source.join("d/setuid"), 0o6755);
    source
}

/// Runs a mirror twice that has no error and tells once that root is limited; the second one changes nothing.
fn as_limited_root(wrapper: &[&str], engine: &str, source: &Path, destination: &Path, why: &str) {
    let run_once = || {
        let mut command = std::process::Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(program()).args(["sync", "--engine", engine]);
        command.arg(source).arg(destination);
        run(command).exits(0)
    };
    let ran = run_once();
    assert_eq!(ran.err.lines().filter(|line| line.contains(why)).count(), 1, "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    let stat = fs::metadata(destination.join("d/setuid")).unwrap();
    assert_ne!(stat.uid(), 7);
    assert_eq!(stat.mode() & 0o7777, 0o755, "setuid was for another user");
    assert_eq!(fs::read_to_string(destination.join("d/theirs")).unwrap(), "contents");
    let again = run_once();
    assert!(again.out.starts_with("5 unchanged"), "{}", again.out);
}

fn root_of_a_user_namespace_is_as_a_user_without_privilege() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = owned(home.path());
        let wrapper = ["unshare", "--user", "--map-root-user"];
        as_limited_root(&wrapper, engine, &source, &home.path().join("dst"), "root of a user namespace");
        let value = |name: &str| rustix::fs::getxattr(home.path().join("dst/d/theirs"), name, &mut [0_u8; 8]);
        assert_eq!((value("user.a"), value("trusted.a")), (Ok(1), Err(rustix::io::Errno::NODATA)));
    }
}

fn root_without_the_capability_is_as_a_user_without_privilege() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = owned(home.path());
        let wrapper = ["setpriv", "--inh-caps=-chown", "--bounding-set=-chown"];
        as_limited_root(&wrapper, engine, &source, &home.path().join("dst"), "CAP_CHOWN");
    }
}

/// As a server with `root_squash` has it, which takes root for nobody or, with `anonuid`, for somebody.
fn root_that_is_nobody_there_is_as_a_user_without_privilege() {
    for (&engine, user) in ENGINES.iter().flat_map(|engine| [65534, 1026].map(|user| (engine, user))) {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.get_into(Habit::Owner(user));
        let source = owned(home.path());
        for name in ["d/setuid", "d/theirs"] {
            rustix::fs::removexattr(source.join(name), "user.a").unwrap();
            xattr(source.join(name), "trusted.a", b"1");
        }
        file(source.join("d/private"), "contents");
        lchown(source.join("d/private"), Some(7), Some(8)).unwrap();
        mode(source.join("d/private"), 0o640);
        let injected = [
            "inject=fchown,fchownat:error=EPERM",
            "inject=setxattr,fsetxattr,lsetxattr,removexattr,fremovexattr:error=EPERM",
        ];
        let destination = fuse.path().join("dst");
        let ran = refused(&injected, engine, &[], &source, &destination).exits(0);
        assert_eq!(ran.err.lines().filter(|line| line.contains("root_squash")).count(), 1, "{}", ran.err);
        assert_eq!(bits(destination.join("d/setuid")), 0o755);
        assert_eq!(bits(destination.join("d/private")), 0o600, "its group is another one");
        let again = refused(&injected, engine, &[], &source, &destination).exits(0);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
    }
}

fn without_modes_new_files_follow_the_umask_and_others_keep_theirs() {
    for (&engine, options) in
        ENGINES.iter().flat_map(|engine| [&[][..], &["--inplace"]].map(|options| (engine, options)))
    {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["d/new", "d/replaced", "d/same", "old/f"] {
            file(source.join(name), "contents");
            mode(source.join(name), 0o4666);
        }
        mode(source.join("d"), 0o777);
        mode(source.join("old"), 0o700);
        file(destination.join("d/replaced"), "other contents");
        mode(destination.join("d/replaced"), 0o640);
        tool("cp", &["-p", source.join("d/same").to_str().unwrap(), destination.join("d").to_str().unwrap()]);
        mode(destination.join("d/same"), 0o604);
        fs::create_dir(destination.join("old")).unwrap();
        mode(destination.join("old"), 0o751);
        mode(destination.join("d"), 0o755);
        let words = [&["--no-perms", "--json"], options].concat();
        let ran = sync_with(engine, &words, &source, &destination).exits(0);
        let umask = rustix::process::umask(rustix::fs::Mode::empty());
        rustix::process::umask(umask);
        assert_eq!(bits(destination.join("d/new")), 0o666 & !umask.as_raw_mode());
        let found = ["d/replaced", "d/same", "old", "d"].map(|name| bits(destination.join(name)));
        assert_eq!(found, [0o640, 0o604, 0o751, 0o755], "{}", ran.out);
        let again = sync_with(engine, &words, &source, &destination).exits(0);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
        assert_eq!(fs::read_to_string(destination.join("d/replaced")).unwrap(), "contents");
    }
}

fn symlinks_can_be_left_out() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("f"), "contents");
        symlink("f", source.join("link")).unwrap();
        symlink("f", source.join("kept")).unwrap();
        fs::create_dir(&destination).unwrap();
        symlink("elsewhere", destination.join("kept")).unwrap();
        sync_with(engine, &["--no-links", "--delete"], &source, &destination).exits(0);
        assert!(destination.join("f").exists() && destination.join("link").symlink_metadata().is_err());
        assert_eq!(
            fs::read_link(destination.join("kept")).unwrap(),
            Path::new("elsewhere"),
            "SRC has the name"
        );
    }
}

fn times_of_directories_can_be_left_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/f"), "contents");
        for name in ["d/f", "d", ""] {
            modified(source.join(name), 1_000_000_000, 0);
        }
        sync_with(engine, &["-O"], &source, &destination).exits(0);
        let time = |name: &str| fs::metadata(destination.join(name)).unwrap().mtime();
        assert_eq!(time("d/f"), 1_000_000_000);
        assert!(time("d") > 1_000_000_000 && time("") > 1_000_000_000);
        let again = sync_with(engine, &["-O", "--json"], &source, &destination).exits(0);
        assert_eq!((made(&again), again.summary()["metadata"].as_u64()), (0, Some(0)), "{}", again.out);
    }
}

fn symlinks_and_nodes_refused_by_access_name_an_option() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("f"), "contents");
        symlink("f", source.join("link")).unwrap();
        node(source.join("fifo"), FileType::Fifo, (0, 0));
        let injected = ["inject=symlinkat,symlink,mknodat,mknod:error=EACCES"];
        let ran = refused(&injected, engine, &[], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("f")).unwrap(), "contents");
        for option in ["(--no-links leaves", "(--no-specials leaves"] {
            assert!(ran.err.contains(option), "{option}: {}", ran.err);
        }
    }
}

fn a_backup_directory_that_stays_open_has_closed_backups() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let kept = home.path().join("kept");
        file(source.join("d/f"), "new contents");
        file(destination.join("d/f"), "old");
        fs::create_dir_all(kept.join("d")).unwrap();
        for path in [source.join("d"), destination.join("d")] {
            mode(path, 0o700);
        }
        mode(kept.join("d"), 0o755);
        mode(destination.join("d/f"), 0o644);
        let injected = ["inject=fchmod,fchmodat:error=EPERM"];
        let backup_dir = format!("--backup-dir={}", kept.display());
        let ran = refused(&injected, engine, &[&backup_dir], &source, &destination).exits(23);
        assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "new contents");
        assert_eq!(fs::read_to_string(kept.join("d/f")).unwrap(), "old", "{}", ran.err);
        assert_eq!(bits(kept.join("d/f")) & 0o077, 0);
        assert!(ran.err.contains("(--no-perms leaves modes alone)"), "{}", ran.err);
    }
}
