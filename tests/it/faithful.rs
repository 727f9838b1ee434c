//! Promise 1: after a sync without an error the destination equals the source.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::FileType;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise, sparse, xattr};
use crate::support::user::{ALICE, as_alice, give};
use crate::support::{
    ENGINES, assert_equal, assert_no_litter, program, rsync_finds, run, scratch, sync_with, tool,
};

tests![
    contents_modes_times_and_symlinks,
    names_are_bytes,
    everything_that_root_can_keep: [Need::Root, Need::Tool("setfacl"), Need::Tool("setcap"), Need::Tool("rsync")],
    everything_on_ext4: [Need::FileSystem("ext4"), Need::Tool("setfacl"), Need::Tool("setcap"), Need::Tool("rsync")],
    everything_on_xfs: [Need::FileSystem("xfs"), Need::Tool("setfacl"), Need::Tool("setcap"), Need::Tool("rsync")],
    everything_on_btrfs: [Need::FileSystem("btrfs"), Need::Tool("setfacl"), Need::Tool("setcap"), Need::Tool("rsync")],
    hard_links_across_directories,
    holes_stay_holes,
    room_beyond_the_end_hides_no_holes: [Need::FileSystem("ext4"), Need::FileSystem("xfs"), Need::FileSystem("btrfs")],
    small_files_are_not_asked_for_holes: [Need::Tool("strace")],
    an_inherited_acl_does_not_stay: [Need::Tool("setfacl")],
    a_setgid_directory_does_not_choose_the_group: [Need::Root],
    options_leave_things_out: [Need::Root],
    without_privilege_the_owner_is_the_user: [Need::Root, Need::Tool("setpriv")],
    a_umask_changes_nothing,
    acls_stay_where_a_file_system_shows_them_twice: [Need::FileSystem("xfs"), Need::Tool("setfacl")],
    an_acl_does_not_lock_out_the_other_attributes: [Need::Root, Need::Tool("setpriv"), Need::Tool("setfacl")],
    a_file_never_replaces_a_device_by_name: [Need::Root],
    files_of_sys_have_contents,
    files_of_proc_have_contents,
    a_single_file_goes_to_a_name_or_into_a_directory,
];

/// Contents of all sizes around the limits of buffers and parts, modes, times with nanoseconds, symlinks.
fn plain_tree(root: &Path) {
    for (index, size) in
        [0, 1, 4095, 65535, 65536, 65537, 262_145, 4 << 20, (8 << 20) + 1, 13 << 20].iter().enumerate()
    {
        file(root.join(format!("sizes/{size}")), noise(index as u64, *size));
    }
    for bits in [0o000, 0o400, 0o644, 0o755, 0o777, 0o1777, 0o2755, 0o4755, 0o6711] {
        let path = root.join(format!("modes/{bits:o}"));
        file(&path, "x");
        mode(&path, bits);
    }
    fs::create_dir_all(root.join("empty/inner")).unwrap();
    fs::create_dir(root.join("sticky")).unwrap();
    mode(root.join("sticky"), 0o1777);
    symlink("sizes/1", root.join("relative")).unwrap();
    symlink("/nowhere/at/all", root.join("dangling")).unwrap();
    symlink("..", root.join("empty/up")).unwrap();
    symlink("a".repeat(1000), root.join("long")).unwrap();
    for (index, name) in ["sizes/0", "relative", "empty/inner", "modes/644", "empty"].iter().enumerate() {
        modified(root.join(name), 1_000_000_000 - index as i64 * 300_000_000, 123_456_789 + index as i64);
    }
}

/// What takes root to make: owners, special files, ACLs, capabilities, attributes of all kinds.
fn root_tree(root: &Path) {
    plain_tree(root);
    file(root.join("owned/file"), "theirs");
    std::os::unix::fs::chown(root.join("owned"), Some(1234), Some(2345)).unwrap();
    std::os::unix::fs::chown(root.join("owned/file"), Some(65534), Some(100)).unwrap();
    mode(root.join("owned/file"), 0o6755);
    symlink("file", root.join("owned/link")).unwrap();
    std::os::unix::fs::lchown(root.join("owned/link"), Some(1), Some(2)).unwrap();
    node(root.join("fifo"), FileType::Fifo, (0, 0));
    node(root.join("socket"), FileType::Socket, (0, 0));
    node(root.join("char"), FileType::CharacterDevice, (1, 3));
    node(root.join("block"), FileType::BlockDevice, (7, 200));
    mode(root.join("fifo"), 0o7777);
    std::os::unix::fs::chown(root.join("char"), Some(3), Some(4)).unwrap();
    file(root.join("acl/file"), "shared");
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    tool("setfacl", &["-m", "u:1234:rw,g:100:r,m::r", &path("acl/file")]);
    tool("setfacl", &["-m", "u:1:rwx", "-m", "d:u:2:rx,d:g::---", &path("acl")]);
    file(root.join("capable"), "#!/bin/true");
    mode(root.join("capable"), 0o755);
    tool("setcap", &["cap_net_raw,cap_net_admin+ep", &path("capable")]);
    xattr(root.join("acl/file"), "user.comment", b"two\0parts");
    xattr(root.join("acl"), "user.empty", b"");
    xattr(root.join("relative"), "trusted.on.a.symlink", b"yes");
    xattr(root.join("fifo"), "trusted.on.a.fifo", b"yes");
    xattr(root.join("capable"), "trusted.many", &noise(1, 2000));
    modified(root.join("owned/link"), 5, 6);
    modified(root.join("owned"), 7, 8);
    modified(root.join("fifo"), -1, 999_999_999);
    modified(root.join("acl"), 4_000_000_000, 1);
}

fn contents_modes_times_and_symlinks() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        plain_tree(&source);
        if !rustix::process::geteuid().is_root() {
            mode(source.join("modes/0"), 0o400); // what can't be read can't be compared either
        }
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

fn names_are_bytes() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let names: [&[u8]; 8] =
            [b"new\nline", b"\xff\xfe", b"-rf", b" ", b"\x1b[2J", b".hidden", "ünï".as_bytes(), &[b'n'; 255]];
        for name in names {
            let name = std::ffi::OsStr::from_bytes(name);
            file(source.join(name), name.as_bytes());
            file(source.join("directory").join(name).join(name), name.as_bytes());
            symlink(name, source.join("directory").join(name).join("link")).unwrap();
        }
        sync_with(engine, &["-v"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        // And once more in the place of other contents: the temporary name must fit beside 255 bytes.
        for name in names {
            file(source.join(std::ffi::OsStr::from_bytes(name)), b"changed");
        }
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn everything(place: &Path) {
    let source = place.join("src");
    fs::create_dir(&source).unwrap();
    root_tree(&source);
    for &engine in ENGINES.iter() {
        let destination = place.join(engine);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(rsync_finds(&source, &destination), "");
        let again = sync_with(engine, &["--json"], &source, &destination).exits(0);
        assert_eq!(again.json().len(), 2, "start and summary alone: {}", again.out);
    }
}

fn everything_that_root_can_keep() {
    everything(scratch().path());
}

fn everything_on_ext4() {
    everything(Mount::new("ext4", "600M").path());
}

fn everything_on_xfs() {
    everything(Mount::new("xfs", "400M").path());
}

fn everything_on_btrfs() {
    everything(Mount::new("btrfs", "400M").path());
}

fn hard_links_across_directories() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for group in 0..20 {
            let first = source.join(format!("d{}/first{group}", group % 3));
            file(&first, noise(group, 1000 * group as usize));
            for name in 0..12 {
                let link = source.join(format!("e{}/f/link{group}-{name}", name % 5));
                fs::create_dir_all(link.parent().unwrap()).unwrap();
                fs::hard_link(&first, link).unwrap();
            }
        }
        file(home.path().join("outside"), "one name is not in the tree");
        fs::hard_link(home.path().join("outside"), source.join("inside")).unwrap();
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(fs::metadata(destination.join("inside")).unwrap().nlink(), 1);

        // A name that left its group, one that joined another, and a group with new contents.
        fs::remove_file(source.join("e0/f/link1-0")).unwrap();
        file(source.join("e0/f/link1-0"), "alone now");
        fs::remove_file(source.join("e1/f/link2-1")).unwrap();
        fs::hard_link(source.join("d0/first3"), source.join("e1/f/link2-1")).unwrap();
        file(source.join("d1/first4"), "new contents for all");
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        let quiet = sync_with(engine, &["--json"], &source, &destination).exits(0);
        assert_eq!(quiet.json().len(), 2, "{}", quiet.out);

        sync_with(engine, &["--no-hard-links"], &source, &home.path().join("apart")).exits(0);
        assert_eq!(fs::metadata(home.path().join("apart/d0/first0")).unwrap().nlink(), 1);
    }
}

fn room_beyond_the_end_hides_no_holes() {
    for kind in ["tmpfs", "ext4", "xfs", "btrfs"] {
        let mount = Mount::new(kind, "400M");
        let source = mount.path().join("src");
        fs::create_dir(&source).unwrap();
        // A file, its size, and the bytes of data at its start.
        for (name, size, data) in
            [("small", 100 << 10, 20 << 10), ("tiny", 32 << 10, 4 << 10), ("large", 20 << 20, 1 << 20)]
        {
            let path = source.join(name);
            sparse(&path, size, &[(0, &noise(1, data))]);
            let file = fs::File::options().write(true).open(&path).unwrap();
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, size, 2 * size).unwrap();
            drop(file);
            assert!(fs::metadata(&path).unwrap().blocks() * 512 >= size, "{kind}: the room hides the hole");
        }
        tool("sync", &["-f", mount.path().to_str().unwrap()]);
        for &engine in ENGINES.iter() {
            let destination = mount.path().join(engine);
            sync_with(engine, &["--reflink=never"], &source, &destination).exits(0);
            tool("sync", &["-f", mount.path().to_str().unwrap()]);
            assert_equal(&source, &destination);
            for (name, data) in [("small", 20 << 10), ("tiny", 4 << 10), ("large", 1 << 20)] {
                let takes = fs::metadata(destination.join(name)).unwrap().blocks() * 512;
                assert!(takes <= data + (4 << 10), "{kind}, {engine}, {name}: {takes}");
            }
        }
    }
}

/// They are read and written with one call each.
fn small_files_are_not_asked_for_holes() {
    let home = scratch();
    let source = home.path().join("src");
    for size in [1, 4096, 10_000, 64 << 10] {
        file(source.join(format!("file{size}")), noise(size as u64, size));
    }
    let log = home.path().join("calls");
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=lseek", "-o"]).arg(&log).arg(program());
    command.args(["sync", "--engine=threads"]).arg(&source).arg(home.path().join("dst"));
    run(command).exits(0);
    let calls = fs::read_to_string(&log).unwrap();
    assert!(!calls.contains("SEEK_HOLE") && !calls.contains("SEEK_DATA"), "{calls}");
}

fn holes_stay_holes() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir(&source).unwrap();
        let piece = noise(7, 10_000);
        sparse(source.join("all hole"), 3 << 20, &[]);
        sparse(source.join("small"), 1 << 20, &[(300_000, &piece)]);
        sparse(source.join("end"), 40 << 20, &[((40 << 20) - 10_000, &piece)]);
        sparse(source.join("start"), 40 << 20, &[(0, &piece)]);
        sparse(
            source.join("islands"),
            100 << 20,
            &[(5 << 20, &piece), ((50 << 20) - 5000, &piece), (99 << 20, b"!")],
        );
        sparse(source.join("huge"), 1 << 40, &[(1 << 39, &piece), ((1 << 40) - 4096, &piece[..4096])]);
        sync_with(engine, &[], &source, &destination).exits(0);
        for name in ["all hole", "small", "end", "start", "islands", "huge"] {
            let (from, to) = (source.join(name), destination.join(name));
            let blocks = |path: &Path| fs::metadata(path).unwrap().blocks();
            assert!(blocks(&to) <= blocks(&from) + 16, "{name}: {} became {}", blocks(&from), blocks(&to));
        }
        for tree in [&source, &destination] {
            let huge = fs::File::open(tree.join("huge")).unwrap();
            let mut middle = vec![0; piece.len()];
            std::os::unix::fs::FileExt::read_exact_at(&huge, &mut middle, 1 << 39).unwrap();
            assert!(middle == piece);
            assert_eq!(huge.metadata().unwrap().len(), 1 << 40);
            fs::remove_file(tree.join("huge")).unwrap(); // reading all of it would take hours
        }
        modified(&source, 1, 1);
        modified(&destination, 1, 1);
        assert_equal(&source, &destination);
    }
}

fn an_inherited_acl_does_not_stay() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, parent) = (home.path().join("src"), home.path().join("parent"));
        plain_tree(&source);
        mode(source.join("modes/0"), 0o400);
        fs::create_dir(&parent).unwrap();
        tool("setfacl", &["-m", "d:u:1234:rwx,d:g::rwx,d:o::rwx", parent.to_str().unwrap()]);
        let destination = parent.join("dst");
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn a_setgid_directory_does_not_choose_the_group() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, parent) = (home.path().join("src"), home.path().join("parent"));
        plain_tree(&source);
        fs::create_dir(&parent).unwrap();
        std::os::unix::fs::chown(&parent, None, Some(4321)).unwrap();
        mode(&parent, 0o2775);
        sync_with(engine, &[], &source, &parent.join("dst")).exits(0);
        assert_equal(&source, &parent.join("dst"));
    }
}

fn options_leave_things_out() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("file"), "x");
    std::os::unix::fs::chown(source.join("file"), Some(1234), Some(1234)).unwrap();
    xattr(source.join("file"), "user.comment", b"x");
    modified(source.join("file"), 1, 1);
    node(source.join("fifo"), FileType::Fifo, (0, 0));
    let options = [
        "--no-owner",
        "--no-group",
        "--no-acls",
        "--no-xattrs",
        "--no-times",
        "--no-devices",
        "--no-specials",
    ];
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        sync_with(engine, &options, &source, &destination).exits(0);
        let metadata = fs::metadata(destination.join("file")).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
        assert!(metadata.mtime() > 1);
        let mut none = [0_u8; 64];
        assert!(rustix::fs::lgetxattr(destination.join("file"), "user.comment", &mut none[..]).is_err());
        assert!(!destination.join("fifo").exists());
    }
}

fn without_privilege_the_owner_is_the_user() {
    let home = scratch();
    mode(home.path(), 0o777);
    let source = home.path().join("src");
    plain_tree(&source);
    for name in ["modes/0", "modes/400", "modes/644", "modes/4755", "modes/2755", "modes/6711"] {
        std::os::unix::fs::chown(source.join(name), Some(1234), Some(1234)).unwrap();
    }
    mode(source.join("modes/644"), 0o444);
    xattr(source.join("modes/644"), "user.comment", b"on a file that can't be written");
    for name in ["modes/0", "modes/400", "modes/4755", "modes/6711"] {
        fs::remove_file(source.join(name)).unwrap(); // can't be read, or loses its setuid: tested below
    }
    file(source.join("setuid"), "x");
    mode(source.join("setuid"), 0o4755);
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        let ran = as_alice(&["sync", "--engine", engine], &source, &destination).exits(0);
        assert_eq!(ran.err, "", "not an error");
        let metadata = |name: &str| fs::metadata(destination.join(name)).unwrap();
        assert_eq!((metadata("modes/644").uid(), metadata("modes/644").gid()), (ALICE, ALICE));
        assert_eq!(metadata("modes/644").mode() & 0o7777, 0o444);
        assert_eq!(
            metadata("setuid").mode() & 0o7777,
            0o755,
            "setuid of someone else's file is not ours to give"
        );
        let mut value = [0_u8; 64];
        let length =
            rustix::fs::lgetxattr(destination.join("modes/644"), "user.comment", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"on a file that can't be written");
    }
}

fn a_umask_changes_nothing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        plain_tree(&source);
        mode(source.join("modes/0"), 0o400);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "umask 0277 && exec \"$@\"", "sh"]).arg(crate::support::program());
        command.args(["sync", "--engine", engine]).arg(&source).arg(&destination);
        crate::support::run(command).exits(0);
        assert_equal(&source, &destination);
    }
}

/// xfs shows an ACL a second time, as `trusted.SGI_ACL_FILE`: removing that would remove the ACL.
fn acls_stay_where_a_file_system_shows_them_twice() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("file"), "x");
    for arguments in [["-m", "u:1000:rwx"], ["-m", "d:u:1000:rwx"]] {
        let target = if arguments[1].starts_with("d:") { source.clone() } else { source.join("file") };
        tool("setfacl", &[arguments[0], arguments[1], target.to_str().unwrap()]);
    }
    let mount = Mount::new("xfs", "400M");
    for &engine in ENGINES.iter() {
        let destination = mount.path().join(engine);
        let acls = |root: &Path| {
            let list = |path: &Path| tool("getfacl", &["--omit-header", "--numeric", path.to_str().unwrap()]);
            list(root) + &list(&root.join("file"))
        };
        for _ in 0..3 {
            sync_with(engine, &[], &source, &destination).exits(0);
            assert_eq!(acls(&source), acls(&destination).replace(engine, "src"));
        }
        // And back: what another file system made of the ACL is no attribute of the file.
        let back = home.path().join(engine);
        sync_with(engine, &[], &destination, &back).exits(0);
        assert_equal(&source, &back);
    }
}

fn an_acl_does_not_lock_out_the_other_attributes() {
    let home = scratch();
    mode(home.path(), 0o777);
    let source = home.path().join("src");
    file(source.join("file"), "x");
    xattr(source.join("file"), "user.comment", b"value");
    tool("setfacl", &["-m", "u:5:r", source.join("file").to_str().unwrap()]);
    mode(source.join("file"), 0o444);
    for name in ["", "file"] {
        give(source.join(name), ALICE);
    }
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        as_alice(&["sync", "--engine", engine], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn a_file_never_replaces_a_device_by_name() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    file(at("file"), "new");
    file(at("target"), "old");
    node(at("null"), FileType::CharacterDevice, (1, 3));
    symlink("null", at("link to null")).unwrap();
    symlink("target", at("link")).unwrap();
    for name in ["null", "link to null"] {
        sync_with("auto", &[], &at("file"), &at(name)).exits(3);
    }
    use std::os::unix::fs::FileTypeExt;
    assert!(fs::metadata(at("null")).unwrap().file_type().is_char_device());
    // As with rsync, a symlink to a file is itself what is replaced.
    sync_with("auto", &[], &at("file"), &at("link")).exits(0);
    assert!(fs::symlink_metadata(at("link")).unwrap().is_file());
    assert_eq!(fs::read(at("link")).unwrap(), b"new");
    assert_eq!(fs::read(at("target")).unwrap(), b"old");
}

/// Their size is a page, whatever they hold.
fn files_of_sys_have_contents() {
    let source = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    let source = if source.exists() { source } else { Path::new("/sys/kernel/profiling") };
    let home = scratch();
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        sync_with(engine, &[], source, &destination).exits(0);
        assert_eq!(fs::read(&destination).unwrap(), fs::read(source).unwrap());
    }
}

fn files_of_proc_have_contents() {
    let home = scratch();
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        sync_with(engine, &[], Path::new("/proc/filesystems"), &destination).exits(0);
        assert_eq!(fs::read(&destination).unwrap(), fs::read("/proc/filesystems").unwrap());
    }
}

fn a_single_file_goes_to_a_name_or_into_a_directory() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("file"), "contents");
        modified(at("file"), 10, 11);
        fs::create_dir(at("directory")).unwrap();
        modified(at("directory"), 20, 21);
        symlink("file", at("link")).unwrap();
        sync_with(engine, &[], &at("file"), &at("copy")).exits(0);
        sync_with(engine, &[], &at("file"), &at("directory")).exits(0);
        sync_with(engine, &[], &at("link"), &at("linked")).exits(0);
        sync_with(engine, &["--mkpath"], &at("file"), &at("a/b/c")).exits(0);
        for name in ["copy", "directory/file", "linked", "a/b/c"] {
            let metadata = fs::symlink_metadata(at(name)).unwrap();
            assert!(metadata.is_file(), "{name}");
            assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (10, 11), "{name}");
            assert_eq!(fs::read(at(name)).unwrap(), b"contents", "{name}");
        }
        sync_with(engine, &[], &at("file"), &at("missing/copy")).exits(3);
        assert!(!at("missing").exists());
    }
}
