//! `--no-perms`: what keeps its mode, and what does not. Nobody gains by a mode that they chose before root came: no setuid bit
//! passes to other contents or another owner, and nobody reads what SRC keeps from them. No mode is left that no user chose.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified};
use crate::support::user::{ALICE, give};
use crate::support::{ENGINES, program, program_with, run, scratch, sync_with, tool};

tests![
    setuid_passes_to_no_other_contents_and_no_other_owner: [Need::Root],
    what_is_as_it_was_keeps_all_of_its_mode: [Need::Root],
    a_mode_that_others_chose_shows_them_nothing: [Need::Root],
    a_shared_tree_stays_shared,
    without_owners_nobody_gets_what_is_closed_to_them: [Need::Root],
    a_mark_of_a_killed_run_is_no_mode_to_keep: [Need::Root],
    a_mark_that_can_not_be_removed_is_an_error: [Need::Tool("strace")],
    the_mask_of_an_acl_that_goes_is_not_kept: [Need::Tool("setfacl")],
    the_mask_of_an_acl_of_the_destination_itself_stays: [Need::Tool("setfacl")],
    an_acl_follows_the_mode_that_is_kept: [Need::Tool("setfacl")],
];

/// Owner and mode.
fn found(path: impl AsRef<Path>) -> (u32, String) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.uid(), format!("{:o}", stat.mode() & 0o7777))
}

/// What `--no-perms` leaves to do and to differ: nothing.
fn assert_settled(engine: &str, options: &[&str], source: &Path, destination: &Path) {
    let ran = sync_with(engine, &[&["-i"], options].concat(), source, destination).exits(0);
    assert_eq!(ran.out.lines().count(), 1, "{options:?}: {}", ran.out);
    let mut check = Command::new(program());
    let options = options.iter().filter(|option| **option != "--inplace");
    check.args(["check", "--engine", engine]).args(options).arg(source).arg(destination);
    run(check).exits(0);
}

fn setuid_passes_to_no_other_contents_and_no_other_owner() {
    let table: [&[&str]; 6] = [
        &[],
        &["--chown", "0:0"],
        &["--no-owner", "--no-group"],
        &["--inplace"],
        &["-c"],
        &["--no-acls", "--no-xattrs"],
    ];
    for (&engine, more) in ENGINES.iter().flat_map(|engine| table.map(|more| (engine, more))) {
        let options = [&["--no-perms"], more].concat();
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["theirs/prog", "guarded/prog"] {
            file(source.join(name), "the source's program");
            mode(source.join(name), 0o755);
            file(destination.join(name), "what was there");
        }
        give(source.join("guarded/prog"), ALICE);
        for path in [source.join("theirs"), destination.join("theirs"), destination.join("theirs/prog")] {
            give(path, ALICE);
        }
        // The same contents, another owner.
        file(source.join("guarded/other"), "x");
        file(destination.join("guarded/other"), "x");
        for path in [&source, &destination] {
            modified(path.join("guarded/other"), 1_000_000, 0);
        }
        give(destination.join("guarded/other"), ALICE);
        mode(destination.join("theirs/prog"), 0o4777);
        mode(destination.join("guarded/prog"), 0o6755);
        mode(destination.join("guarded/other"), 0o6777);
        sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(found(destination.join("theirs/prog")), (0, "755".into()), "{options:?}");
        let owner =
            if more.is_empty() || more[0] != "--chown" && more[0] != "--no-owner" { ALICE } else { 0 };
        assert_eq!(found(destination.join("guarded/prog")), (owner, "755".into()), "{options:?}");
        let other = if options.contains(&"--no-owner") { (ALICE, "6777".into()) } else { (0, "644".into()) };
        assert_eq!(found(destination.join("guarded/other")), other, "{options:?}");
        assert_settled(engine, &options, &source, &destination);
    }
}

fn what_is_as_it_was_keeps_all_of_its_mode() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for root in [&source, &destination] {
            file(root.join("d/f"), "contents");
            modified(root.join("d/f"), 1_000_000, 0);
            give(root.join("d/f"), ALICE);
        }
        mode(destination.join("d/f"), 0o6777);
        mode(destination.join("d"), 0o3777);
        for options in
            [&["--no-perms"][..], &["--no-perms", "-c"], &["--no-perms", "--no-owner", "--no-group"]]
        {
            modified(destination.join("d/f"), if options.contains(&"-c") { 5 } else { 1_000_000 }, 0);
            sync_with(engine, options, &source, &destination).exits(0);
            assert_eq!(found(destination.join("d/f")), (ALICE, "6777".into()), "{options:?}");
            assert_eq!(found(destination.join("d")), (0, "3777".into()), "{options:?}");
        }
    }
}

fn a_mode_that_others_chose_shows_them_nothing() {
    let table: [&[&str]; 5] =
        [&[], &["--inplace"], &["-c"], &["--chmod", "F600"], &["--no-acls", "--no-xattrs"]];
    for (&engine, more) in ENGINES.iter().flat_map(|engine| table.map(|more| (engine, more))) {
        let options = [&["--no-perms"], more].concat();
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        // Their own, and what is root's and they have renamed.
        for owner in [ALICE, 0] {
            let (secret, private) = (format!("theirs/secret{owner}"), format!("theirs/private{owner}"));
            file(source.join(&secret), "SECRET");
            mode(source.join(&secret), 0o600);
            file(source.join(&private).join("s"), "SECRET");
            mode(source.join(&private).join("s"), 0o644);
            mode(source.join(&private), 0o700);
            file(destination.join(&secret), "planted");
            mode(destination.join(&secret), 0o666);
            fs::create_dir(destination.join(&private)).unwrap();
            mode(destination.join(&private), 0o777);
            give(destination.join(&secret), owner);
            give(destination.join(&private), owner);
        }
        give(source.join("theirs"), ALICE);
        give(destination.join("theirs"), ALICE);
        sync_with(engine, &options, &source, &destination).exits(0);
        for owner in [ALICE, 0] {
            let of = |name: &str| found(destination.join(format!("theirs/{name}{owner}")));
            assert_eq!(of("secret"), (0, "600".into()), "{owner} {options:?}");
            assert_eq!(of("private"), (0, "700".into()), "{owner} {options:?}");
        }
        assert_settled(engine, &options, &source, &destination);
    }
}

/// Who shares a tree with others sets its modes so that all may write, and keeps them so.
fn a_shared_tree_stays_shared() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/f"), "new contents");
        mode(source.join("d/f"), 0o644);
        file(destination.join("d/f"), "old");
        mode(destination.join("d/f"), 0o664);
        mode(destination.join("d"), 0o2775);
        mode(&destination, 0o2775);
        sync_with(engine, &["--no-perms"], &source, &destination).exits(0);
        assert_eq!(found(destination.join("d/f")).1, "664");
        assert_eq!((found(destination.join("d")).1, found(&destination).1), ("2775".into(), "2775".into()));
        assert_settled(engine, &["--no-perms"], &source, &destination);
    }
}

fn without_owners_nobody_gets_what_is_closed_to_them() {
    for (&engine, more) in ENGINES.iter().flat_map(|engine| [&[][..], &["--no-perms"]].map(|m| (engine, m))) {
        let options = [&["--no-owner", "--no-group"], more].concat();
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["private", "open"] {
            file(source.join(name).join("s"), "SECRET");
            mode(source.join(name).join("s"), 0o644);
            fs::create_dir_all(destination.join(name)).unwrap();
            give(destination.join(name), ALICE);
        }
        mode(source.join("private"), 0o700);
        mode(destination.join("private"), 0o777);
        let ran = sync_with(engine, &options, &source, &destination).exits(23);
        assert!(ran.err.contains("private") && ran.err.contains("another user's"), "{}", ran.err);
        assert!(!destination.join("private/s").exists());
        assert!(destination.join("open/s").exists());
        // Whose DST is was chosen by who named it; and a directory may be its source's owner's.
        give(&destination, ALICE);
        sync_with(engine, &options, &source, &destination).exits(0);
        assert!(destination.join("private/s").exists());
        give(&destination, 0);
        give(source.join("private"), ALICE);
        sync_with(engine, &options, &source, &destination).exits(0);
    }
}

fn a_mark_of_a_killed_run_is_no_mode_to_keep() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for (name, mark) in [("made", 0o1700), ("inherits", 0o3700), ("taken", 0o5700)] {
            file(source.join(name).join("f"), "contents");
            mode(source.join(name), 0o755);
            fs::create_dir_all(destination.join(name)).unwrap();
            mode(destination.join(name), mark);
        }
        sync_with(engine, &["--no-perms"], &source, &destination).exits(0);
        for name in ["made", "inherits", "taken"] {
            assert_eq!(found(destination.join(name)), (0, "755".into()), "{name}");
        }
        assert_settled(engine, &["--no-perms"], &source, &destination);
    }
}

fn a_mark_that_can_not_be_removed_is_an_error() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/f"), "contents");
        let refused = || {
            let mut command = program_with(&["inject=fchmod,fchmodat:error=EPERM"]);
            command.args(["sync", "--no-perms", "--engine", engine]).arg(&source).arg(&destination);
            run(command)
        };
        for _ in 0..2 {
            let ran = refused().exits(23);
            assert!(ran.err.contains("set mode of") && ran.err.contains("dst/d"), "{}", ran.err);
            assert_eq!(fs::read_to_string(destination.join("d/f")).unwrap(), "contents");
        }
        for path in [&destination, &destination.join("d")] {
            mode(path, 0o700);
        }
        refused().exits(0);
    }
}

fn the_mask_of_an_acl_that_goes_is_not_kept() {
    for (&engine, more) in
        ENGINES.iter().flat_map(|engine| [&[][..], &["--no-acls", "--no-xattrs"]].map(|m| (engine, m)))
    {
        let options = [&["--no-perms"], more].concat();
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let acl = "u::rw,g::-,u:7:rw,m::rw,o::-";
        for name in ["f", "same"] {
            file(source.join(name), "SECRET");
            mode(source.join(name), 0o600);
            file(destination.join(name), if name == "same" { "SECRET" } else { "old" });
            tool("setfacl", &["--set", acl, destination.join(name).to_str().unwrap()]);
        }
        for root in [&source, &destination] {
            modified(root.join("same"), 1_000_000, 0);
        }
        sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(found(destination.join("f")).1, "600", "{options:?}");
        // What keeps its ACL keeps its mask.
        let same = if more.is_empty() { "600" } else { "660" };
        assert_eq!(found(destination.join("same")).1, same, "{options:?}");
        assert_settled(engine, &options, &source, &destination);
    }
}

fn the_mask_of_an_acl_of_the_destination_itself_stays() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("f"), "contents");
        mode(&source, 0o750);
        fs::create_dir(&destination).unwrap();
        tool("setfacl", &["-m", "u:7:rwx", destination.to_str().unwrap()]);
        mode(&destination, 0o700);
        let ran = sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(23);
        assert_eq!(found(&destination).1, "700", "{}", ran.err);
        assert!(ran.err.contains("0700, since an ACL of it lets others in"), "{}", ran.err);
        assert_eq!(fs::read_to_string(destination.join("f")).unwrap(), "contents");
        tool("setfacl", &["-b", destination.to_str().unwrap()]);
        sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
        assert_eq!(found(&destination).1, "750");
    }
}

fn an_acl_follows_the_mode_that_is_kept() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["d/new", "d/there", "d/replaced"] {
            file(source.join(name), "contents");
            mode(source.join(name), 0o664);
            modified(source.join(name), 1_000_000, 0);
            tool("setfacl", &["-m", "u:7:rw", source.join(name).to_str().unwrap()]);
        }
        tool("setfacl", &["-m", "u:7:rwx", source.join("d").to_str().unwrap()]);
        file(destination.join("d/there"), "contents");
        file(destination.join("d/replaced"), "old");
        modified(destination.join("d/there"), 1_000_000, 0);
        mode(destination.join("d/there"), 0o640);
        mode(destination.join("d/replaced"), 0o600);
        mode(destination.join("d"), 0o700);
        chown(destination.join("d"), None, Some(fs::metadata(source.join("d")).unwrap().gid())).unwrap();
        sync_with(engine, &["--no-perms"], &source, &destination).exits(0);
        let modes = ["d", "d/new", "d/there", "d/replaced"].map(|name| found(destination.join(name)).1);
        assert_eq!(modes, ["700", "644", "640", "600"]);
        let acl = tool("getfacl", &["-cnp", destination.join("d/there").to_str().unwrap()]);
        assert!(acl.contains("user:7:rw-") && acl.contains("mask::r--"), "{acl}");
        assert_settled(engine, &["--no-perms"], &source, &destination);
    }
}
