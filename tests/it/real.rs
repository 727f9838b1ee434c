//! File systems that people have behind FUSE, mounted by their own programs: what these refuse, drop or number in a way of
//! their own costs that property, is told, and nothing is copied again for it.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise, xattr};
use crate::support::{ENGINES, Ran, program, run, scratch, sync_with, tool};

/// Where OpenSSH's server of files is on Debian and its relatives.
const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

tests![
    names_with_numbers_of_their_own_are_links_all_the_same: [Need::Fuse, Need::Tool("mergerfs")],
    what_ntfs_does_not_list_is_there:
        [Need::Fuse, Need::Tool("ntfs-3g"), Need::Tool("mkntfs"), Need::Tool("setfacl")],
    a_symlink_on_sshfs_leaves_the_time_of_its_target:
        [Need::Fuse, Need::Tool("sshfs"), Need::Tool(SFTP_SERVER)],
    what_exfat_has_not_is_named_with_its_option:
        [Need::Fuse, Need::Tool("mount.exfat-fuse"), Need::Tool("mkfs.exfat"), Need::Tool("losetup")],
    a_full_exfat_costs_what_does_not_fit:
        [Need::Fuse, Need::Tool("mount.exfat-fuse"), Need::Tool("mkfs.exfat"), Need::Tool("losetup")],
    a_capability_outlives_what_is_written_late:
        [Need::Fuse, Need::Tool("fuse-overlayfs"), Need::Tool("setcap")],
];

fn sync(engine: &str, options: &[&str], source: &Path, destination: &Path, code: i32) -> Ran {
    sync_with(engine, &[&["--json"], options].concat(), source, destination).exits(code)
}

/// How many entries a run has made, replaced and linked, and how many it has mended.
fn done(ran: &Ran) -> (u64, u64) {
    let summary = ran.summary();
    let of = |name: &str| summary[name].as_u64().unwrap();
    (of("created") + of("updated") + of("linked"), of("metadata"))
}

fn bits(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn run_doctor(source: &Path, destination: &Path) -> Ran {
    let mut command = std::process::Command::new(program());
    command.arg("doctor").arg(source).arg(destination);
    run(command)
}

/// Names below a directory that a run has left behind.
fn litter(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().contains("ringsync-") {
                found.push(entry.path());
            } else if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            }
        }
    }
    found
}

fn names_with_numbers_of_their_own_are_links_all_the_same() {
    for (&engine, contents) in ENGINES.iter().zip(["one", "two"]) {
        let home = scratch();
        let (source, branch) = (home.path().join("src"), home.path().join("branch"));
        fs::create_dir(&branch).unwrap();
        let mount = Mount::of_program("mergerfs", &["-o", "minfreespace=1M", branch.to_str().unwrap()]);
        let destination = mount.path().join("dst");
        file(source.join("d/a"), contents);
        for name in ["b", "c"] {
            fs::hard_link(source.join("d/a"), source.join("d").join(name)).unwrap();
        }
        assert!(!run_doctor(&source, &destination).out.contains("--no-hard-links"));
        sync(engine, &[], &source, &destination, 0);
        let links = || fs::metadata(branch.join("dst/d/a")).unwrap().nlink();
        assert_eq!(links(), 3);
        assert_eq!(done(&sync(engine, &[], &source, &destination, 0)), (0, 0));
        fs::write(source.join("d/a"), contents.to_uppercase()).unwrap();
        sync(engine, &["--backup-dir=../old"], &source, &destination, 0);
        for name in ["a", "b", "c"] {
            let found = fs::read_to_string(branch.join("dst/d").join(name)).unwrap();
            assert_eq!(found, contents.to_uppercase(), "{name}");
            let old = fs::read_to_string(branch.join("old/d").join(name)).unwrap();
            assert_eq!(old, contents, "{name}");
        }
        assert_eq!(links(), 3);
        assert_eq!(litter(&destination), Vec::<PathBuf>::new());
    }
}

/// Its program keeps ACLs and `trusted.*`, and does not list them.
fn what_ntfs_does_not_list_is_there() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, image) = (home.path().join("src"), home.path().join("image"));
        tool("truncate", &["-s", "16M", image.to_str().unwrap()]);
        tool("mkntfs", &["-F", "-q", "-f", image.to_str().unwrap()]);
        let mount = Mount::of_program("ntfs-3g", &["-o", "permissions,acl", image.to_str().unwrap()]);
        let destination = mount.path().join("dst");
        file(source.join("f"), "contents");
        modified(source.join("f"), 1_000_000_000, 0);
        modified(&source, 1_000_000_000, 0);
        mode(source.join("f"), 0o660);
        // The group has less than the mode shows, which is the mask.
        tool("setfacl", &["-m", "u:7:rw,g::---", source.join("f").to_str().unwrap()]);
        xattr(source.join("f"), "user.a", b"1");
        xattr(source.join("f"), "trusted.a", b"1");
        sync(engine, &[], &source, &destination, 0);
        let acl = tool("getfacl", &["-n", "-c", "-p", destination.join("f").to_str().unwrap()]);
        assert!(acl.contains("user:7:rw-") && acl.contains("group::---"), "{acl}");
        let value = |name: &str| rustix::fs::getxattr(destination.join("f"), name, &mut [0_u8; 8]);
        assert_eq!((value("user.a"), value("trusted.a")), (Ok(1), Ok(1)));
        assert_eq!(done(&sync(engine, &[], &source, &destination, 0)), (0, 0));
        assert_eq!(done(&sync(engine, &["--no-acls", "--no-xattrs"], &source, &destination, 0)).0, 0);
        assert_eq!(bits(destination.join("f")), 0o600, "what the ACL gives its group");
    }
}

fn a_symlink_on_sshfs_leaves_the_time_of_its_target() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, far, ssh) = (home.path().join("src"), home.path().join("far"), home.path().join("ssh"));
        fs::create_dir(&far).unwrap();
        fs::write(&ssh, format!("#!/bin/sh\nexec {SFTP_SERVER}\n")).unwrap();
        mode(&ssh, 0o755);
        let command = format!("ssh_command={}", ssh.display());
        let mount = Mount::of_program("sshfs", &["-o", &command, &format!("far:{}", far.display())]);
        let destination = mount.path().join("dst");
        file(source.join("a"), "contents");
        fs::hard_link(source.join("a"), source.join("b")).unwrap();
        modified(source.join("a"), 1_000_000_000, 0);
        symlink("a", source.join("link")).unwrap();
        symlink("nowhere", source.join("dangling")).unwrap();
        // Not the second in which they are copied.
        for name in ["link", "dangling"] {
            tool("touch", &["-h", "-d", "@1000000000", source.join(name).to_str().unwrap()]);
        }
        for options in [&[][..], &["--no-acls", "--no-xattrs"]] {
            let ran = sync(engine, options, &source, &destination, 23);
            assert_eq!(
                ran.err.matches("(--omit-link-times leaves the times of symlinks alone)").count(),
                2,
                "{}",
                ran.err
            );
            assert_eq!(fs::metadata(far.join("dst/a")).unwrap().mtime(), 1_000_000_000, "{engine}");
            assert_eq!(fs::read_link(far.join("dst/dangling")).unwrap(), Path::new("nowhere"));
            assert_eq!(fs::metadata(far.join("dst/a")).unwrap().nlink(), 2);
        }
        // Its times are whole seconds, and nothing tells the names of a hard link.
        for contents in ["Contents", "CONTENTS", "cONTENTS"] {
            fs::write(source.join("a"), contents).unwrap();
            modified(source.join("a"), 1_200_000_000, 0);
            sync(engine, &["--no-acls", "--no-xattrs", "--no-times"], &source, &destination, 0);
            let found = ["a", "b"].map(|name| fs::read_to_string(far.join("dst").join(name)).unwrap());
            assert_eq!(found, [contents; 2], "{engine}");
        }
        assert_eq!(litter(&far), Vec::<PathBuf>::new());
    }
}

fn what_exfat_has_not_is_named_with_its_option() {
    for &engine in ENGINES.iter() {
        let (home, mount) = (scratch(), Mount::exfat());
        let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
        file(source.join("d/f"), "contents");
        fs::hard_link(source.join("d/f"), source.join("d/g")).unwrap();
        lchown(source.join("d/f"), Some(7), Some(8)).unwrap();
        xattr(source.join("d/f"), "user.a", b"1");
        for index in 0..5 {
            symlink("f", source.join(format!("d/link{index}"))).unwrap();
        }
        node(source.join("d/fifo"), FileType::Fifo, (0, 0));
        let ran = sync(engine, &[], &source, &destination, 23);
        for text in [
            "/dst/d/fifo: a FIFO: Input/output error (os error 5) (--no-specials leaves",
            ": a symlink: Function not implemented (os error 38) (--no-links leaves symlinks out)",
            "make symlinks: Function not implemented (os error 38): the same for 2 more entries",
            "(--no-hard-links makes copies of hard links)",
            "(--no-owner with --no-group leaves owners and groups alone)",
            "(--no-perms leaves modes alone)",
            "(--no-xattrs leaves attributes alone)",
        ] {
            assert!(ran.err.contains(text), "{text}: {}", ran.err);
        }
        for name in ["f", "g"] {
            assert_eq!(fs::read_to_string(destination.join("d").join(name)).unwrap(), "contents");
        }
        assert_eq!(done(&sync(engine, &[], &source, &destination, 23)), (0, 0));
        let doctor = run_doctor(&source, &mount.path().join("dst"));
        for option in [
            "--no-acls",
            "--no-xattrs",
            "--no-owner",
            "--no-group",
            "--no-perms",
            "--no-links",
            "--no-hard-links",
            "--no-devices",
            "--no-specials",
        ] {
            assert!(doctor.out.contains(&format!("\n  {option} ")), "{option}: {}", doctor.out);
        }
        assert!(!doctor.out.contains("--no-times"), "{}", doctor.out);
        let all = [
            "--no-owner",
            "--no-group",
            "--no-perms",
            "--no-acls",
            "--no-xattrs",
            "--no-links",
            "--no-hard-links",
            "--no-devices",
            "--no-specials",
        ];
        assert_eq!(done(&sync(engine, &all, &source, &destination, 0)), (0, 0));
        fs::write(source.join("d/f"), "CONTENTS").unwrap();
        modified(source.join("d/f"), 1_000_000_000, 0);
        sync(engine, &[&all[..], &["--delete"]].concat(), &source, &destination, 0);
        assert_eq!(fs::read_to_string(destination.join("d/g")).unwrap(), "CONTENTS");
        let mut check = std::process::Command::new(program());
        check.arg("check").args(all).arg(&source).arg(&destination);
        run(check).exits(0);
        assert_eq!(litter(mount.path()), Vec::<PathBuf>::new());
    }
}

/// A file that is given its size has all of its room at once there, or none, whatever others hold.
fn a_full_exfat_costs_what_does_not_fit() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..5 {
        file(source.join(format!("m{index}/middle")), noise(index, 3_700_000));
    }
    file(source.join("l/large"), noise(9, 16_000_000));
    for index in 0..220 {
        file(source.join(format!("d{}/tiny{index}", index % 20)), noise(index, 5000));
    }
    let some = ["--no-owner", "--no-group", "--no-perms", "--no-acls", "--no-xattrs"];
    for &engine in ENGINES.iter() {
        for more in [&[][..], &["--jobs=1", "--depth=1"]] {
            let mount = Mount::exfat();
            let destination = mount.path().join("dst");
            for _ in 0..2 {
                let ran = sync(engine, &[&some[..], more].concat(), &source, &destination, 11);
                assert!(ran.err.contains("/l/large: ") || ran.err.contains("/middle: "), "{}", ran.err);
                let full = ran.err.lines().filter(|line| line.contains("No space left on device"));
                assert!(full.clone().all(|line| line.contains(" bytes are missing for it")), "{}", ran.err);
                let has = |place: String| destination.join(place).exists();
                for index in 0..220 {
                    let place = format!("d{}/tiny{index}", index % 20);
                    assert!(has(place), "{engine} {more:?}: tiny{index}: {}", ran.err);
                }
            }
            assert_eq!(litter(mount.path()), Vec::<PathBuf>::new());
        }
    }
}

/// What is written takes a capability away, and reaches what lies below only when the file is flushed.
fn a_capability_outlives_what_is_written_late() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| home.path().join(name));
        for directory in [&lower, &upper, &work] {
            fs::create_dir(directory).unwrap();
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        let mount = Mount::of_program("fuse-overlayfs", &["-o", &options]);
        let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
        file(source.join("f"), "contents");
        mode(source.join("f"), 0o755);
        tool("setcap", &["cap_net_raw+ep", source.join("f").to_str().unwrap()]);
        sync(engine, &[], &source, &destination, 0);
        assert!(tool("getcap", &[upper.join("dst/f")]).contains("cap_net_raw"));
        assert_eq!(done(&sync(engine, &[], &source, &destination, 0)), (0, 0));
    }
}
