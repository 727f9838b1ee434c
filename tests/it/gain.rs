//! Promise 4, its second half: nobody gains. Root mirrors trees of which others own a part, and afterwards, and at any
//! moment before, no file runs as root that is not root's, and nobody reads or deletes what they could not before.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FileType;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise};
use crate::support::user::{ALICE, give};
use crate::support::{
    ENGINES, Ran, assert_equal, assert_no_litter, program, program_with, run, scratch, sync_with, tool,
    while_rewritten,
};

tests![
    in_place_writes_to_nothing_that_grants_more: [Need::Root, Need::Tool("setfacl"), Need::Tool("setcap"), Need::FileSystem("ext4"), Need::FileSystem("xfs")],
    a_setuid_file_never_holds_what_another_user_wrote: [Need::Root],
    a_full_disk_leaves_no_setuid_file_half_rewritten: [Need::Root],
    a_partial_file_is_used_only_as_it_was_left: [Need::Root, Need::Tool("setfacl"), Need::Tool("setcap"), Need::Tool("prlimit"), Need::FileSystem("ext4")],
    a_private_directory_with_a_litter_name_stays: [Need::Root],
    names_made_with_another_key_are_not_litter: [Need::Root],
    what_the_source_calls_like_litter_is_kept: [Need::Root],
    a_run_without_a_key_leaves_what_it_does_not_know: [Need::Root, Need::Tool("strace")],
    setuid_does_not_pass_to_a_chosen_owner: [Need::Root],
    without_its_acl_a_file_gets_what_its_group_had: [Need::Root, Need::Tool("setfacl"), Need::FileSystem("ext4"), Need::FileSystem("xfs")],
    an_open_directory_is_closed_before_anything_is_written: [Need::Root, Need::Tool("strace"), Need::Tool("setfacl")],
    new_roots_are_no_more_open_than_the_source: [Need::Tool("strace")],
    a_planted_secret_is_not_given_away: [Need::Root, Need::Tool("setfacl"), Need::Tool("strace")],
    a_planted_directory_is_not_given_away: [Need::Root],
    who_loses_a_file_does_not_go_on_writing_to_it: [Need::Root],
    a_node_is_made_where_nobody_else_can_exchange_it: [Need::Root, Need::Tool("strace")],
];

/// All of what a file holds that was opened before.
fn held(mut file: &File) -> Vec<u8> {
    use std::io::Seek;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// What gives `d/file` to somebody whom the source does not grant it.
type Grant = fn(&Path);

/// A reader who opened the old file keeps it, and sees nothing of the new one.
fn in_place_writes_to_nothing_that_grants_more() {
    let grants: [(&str, Grant); 9] = [
        ("setuid", |path| mode(path, 0o4700)),
        ("setgid", |path| mode(path, 0o2700)),
        ("readable by all", |path| mode(path, 0o604)),
        ("writable by all", |path| mode(path, 0o602)),
        ("readable by the group", |path| mode(path, 0o640)),
        ("another user's", |path| give(path, ALICE)),
        ("another group's", |path| std::os::unix::fs::chown(path, None, Some(ALICE)).unwrap()),
        ("an ACL", |path| drop(tool("setfacl", &["-m", "u:65534:r", path.to_str().unwrap()]))),
        ("a capability", |path| drop(tool("setcap", &["cap_net_raw+ep", path.to_str().unwrap()]))),
    ];
    for &engine in ENGINES.iter() {
        for place in [Place::Memory, Place::Disk("ext4"), Place::Disk("xfs")] {
            let home = place.make();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            for (name, grant) in grants {
                let [from, to] = [&source, &destination].map(|root| root.join(name));
                file(&from, noise(1, 70_000));
                mode(&from, 0o600);
                file(&to, "the old contents");
                mode(&to, 0o600);
                grant(&to);
            }
            file(source.join("right"), noise(2, 70_000));
            file(destination.join("right"), "the old contents");
            mode(source.join("right"), 0o640);
            mode(destination.join("right"), 0o600);
            let open = |name: &str| File::open(destination.join(name)).unwrap();
            let before: Vec<_> = grants.iter().map(|(name, _)| (name, open(name))).collect();
            let right = open("right");
            sync_with(engine, &["--inplace"], &source, &destination).exits(0);
            assert_equal(&source, &destination);
            for (name, before) in before {
                assert_eq!(held(&before), b"the old contents", "{name}");
            }
            assert_eq!(held(&right), noise(2, 70_000), "what is right already is rewritten where it is");
        }
    }
}

/// Where a tree lies.
enum Place {
    Memory,
    Disk(&'static str),
}

enum Home {
    Memory(tempfile::TempDir),
    Disk(Mount),
}

impl Place {
    fn make(&self) -> Home {
        match self {
            Place::Memory => Home::Memory(scratch()),
            Place::Disk(kind) => Home::Disk(Mount::new(kind, "400M")),
        }
    }
}

impl Home {
    fn path(&self) -> &Path {
        match self {
            Home::Memory(home) => home.path(),
            Home::Disk(mount) => mount.path(),
        }
    }
}

/// The source changes all the time, so that the copy fails in the end; what was to be rewritten is watched meanwhile, and the
/// run may be killed.
fn a_setuid_file_never_holds_what_another_user_wrote() {
    for &engine in ENGINES.iter() {
        for (bits, kills) in [(0o4755, false), (0o2755, false), (0o6755, true)] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            let (from, to) = (source.join("prog"), destination.join("prog"));
            file(&from, noise(1, 20 << 20));
            give(&from, ALICE);
            mode(&from, 0o755);
            file(&to, "root's program");
            mode(&to, bits);
            let mut command = Command::new(program());
            command.args(["sync", "--inplace", "--bwlimit", "100M", "--engine", engine]);
            command.arg(&source).arg(&destination).stderr(Stdio::piped()).stdout(Stdio::piped());
            while_rewritten(&from, || {
                let mut child = command.spawn().unwrap();
                let mut looks = 0;
                while child.try_wait().unwrap().is_none() {
                    let found = File::open(&to).unwrap();
                    let stat = found.metadata().unwrap();
                    let theirs = held(&found) != b"root's program";
                    assert!(!theirs || stat.mode() & 0o6000 == 0, "{:o} with their bytes", stat.mode());
                    looks += 1;
                    if kills && looks == 50 {
                        child.kill().unwrap();
                    }
                }
                assert!(looks > 10, "the run was seen at work");
                assert!(!kills || looks >= 50, "the run was killed");
            });
            let stat = fs::metadata(&to).unwrap();
            assert_eq!((stat.mode() & 0o7777, stat.uid()), (bits, 0));
            assert_eq!(fs::read(&to).unwrap(), b"root's program");
        }
    }
}

fn a_full_disk_leaves_no_setuid_file_half_rewritten() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        file(source.join("prog"), noise(1, 12 << 20));
        give(source.join("prog"), ALICE);
        let small = Mount::new("tmpfs", "8M");
        let to = small.path().join("prog");
        file(&to, "root's program");
        mode(&to, 0o4755);
        sync_with(engine, &["--inplace"], &source, small.path()).exits(11);
        assert_eq!(fs::read(&to).unwrap(), b"root's program");
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o4755);
    }
}

/// Breaks off a copy of `src/large`, and returns what is left of it.
fn break_off(engine: &str, source: &Path, destination: &Path) -> PathBuf {
    let mut command = Command::new("prlimit");
    command.arg("--fsize=10485760").arg(program());
    command.args(["sync", "-q", "--partial", "--engine", engine]).arg(source).arg(destination);
    run(command).exits(23);
    litter_in(destination).pop().expect("what was written")
}

fn litter_in(directory: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.to_string_lossy().contains("/.ringsync-")).collect()
}

/// The owner of the directory renames a file of root's to the name of what was left.
fn a_partial_file_is_used_only_as_it_was_left() {
    let plants: [(&str, Grant); 7] = [
        ("setuid", |path| mode(path, 0o4700)),
        ("readable", |path| mode(path, 0o644)),
        ("sticky", |path| mode(path, 0o1600)),
        ("another user's", |path| give(path, ALICE)),
        ("two names", |path| fs::hard_link(path, path.with_file_name("other name")).unwrap()),
        ("a capability", |path| drop(tool("setcap", &["cap_net_raw+ep", path.to_str().unwrap()]))),
        ("a symlink", |path| {
            fs::rename(path, path.with_file_name("moved")).unwrap();
            symlink("moved", path).unwrap();
        }),
    ];
    for &engine in ENGINES.iter() {
        for (what, plant) in plants {
            let home = Mount::new("ext4", "100M");
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            file(source.join("large"), noise(1, 20 << 20));
            let partial = break_off(engine, &source, &destination);
            assert_eq!(fs::metadata(&partial).unwrap().mode() & 0o7777, 0o600);
            fs::remove_file(&partial).unwrap();
            file(&partial, "a file of root's");
            mode(&partial, 0o600);
            let planted = File::open(&partial).unwrap();
            plant(&partial);
            sync_with(engine, &["--partial"], &source, &destination).exits(0);
            assert_eq!(held(&planted), b"a file of root's", "{what}: it was written to");
            let [new, old] = [fs::metadata(destination.join("large")), planted.metadata()];
            assert_ne!(new.unwrap().ino(), old.unwrap().ino(), "{what}");
            assert_eq!(fs::read(destination.join("large")).unwrap(), noise(1, 20 << 20));
        }
        // As it was left, it is gone on with.
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("large"), noise(1, 20 << 20));
        let partial = File::open(break_off(engine, &source, &destination)).unwrap();
        sync_with(engine, &["--partial"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(
            partial.metadata().unwrap().ino(),
            fs::metadata(destination.join("large")).unwrap().ino(),
            "the same file"
        );
    }
}

/// Someone who has seen a name in a directory of theirs can give it to anything in there.
fn a_private_directory_with_a_litter_name_stays() {
    for &engine in ENGINES.iter() {
        // What a run itself leaves so goes: in a setgid directory it is setgid.
        for (bits, stays) in [
            (0o700, true),
            (0o755, true),
            (0o1755, true),
            (0o1770, true),
            (0o5700, true),
            (0o1700, false),
            (0o3700, false),
        ] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            file(source.join("file"), "x");
            fs::create_dir_all(&destination).unwrap();
            let litter = destination.join(crate::whole::litter_name(&destination));
            file(litter.join("precious"), "root's");
            mode(&litter, bits);
            sync_with(engine, &[], &source, &destination).exits(0);
            assert_eq!(litter.join("precious").exists(), stays, "{bits:o}");
            assert_eq!(litter.exists(), stays, "{bits:o}");
        }
    }
}

fn names_made_with_another_key_are_not_litter() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    fs::create_dir_all(&destination).unwrap();
    let name = crate::whole::litter_name(&destination);
    file(destination.join(&name), "theirs");
    let other = home.path().join("another state");
    let mut command = Command::new(program());
    command.args(["sync", "-q"]).arg(&source).arg(&destination).env(crate::support::STATE, &other);
    run(command).exits(0);
    assert!(destination.join(&name).exists(), "made with a key that this run does not have");
    modified(&destination, 1_000_000, 0);
    sync_with("auto", &[], &source, &destination).exits(0);
    assert!(!destination.join(&name).exists());
}

/// A user saw a name in a directory of theirs in DST, and calls a file of theirs in SRC so.
fn what_the_source_calls_like_litter_is_kept() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir_all(&destination).unwrap();
        let name = crate::whole::litter_name(&destination);
        file(source.join(&name), "a user's");
        sync_with(engine, &[], &source, &destination).exits(0);
        let inode = fs::metadata(destination.join(&name)).unwrap().ino();
        // The directory is looked through for litter again.
        modified(&destination, 1_000_000, 0);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_eq!(fs::metadata(destination.join(&name)).unwrap().ino(), inode, "removed and copied again");
        assert_equal(&source, &destination);
    }
}

fn a_run_without_a_key_leaves_what_it_does_not_know() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    let state = home.path().join("state");
    file(&state, "no directory");
    file(source.join("file"), "new contents");
    file(destination.join("file"), "old");
    let sync = |before: &[&str]| {
        let mut words = before.iter().map(ToString::to_string).collect::<Vec<_>>();
        words.push(program().to_str().unwrap().into());
        let mut command = Command::new(words.remove(0));
        command.args(words).args(["sync", "-v"]).arg(&source).arg(&destination);
        run({
            command.env(crate::support::STATE, &state);
            command
        })
    };
    let kill = "inject=rename,renameat,renameat2:signal=KILL:when=1";
    assert_eq!(sync(&["strace", "-f", "-qq", "-o", "/dev/null", "-e", kill]).code, None);
    let litter = litter_in(&destination);
    assert_eq!(litter.len(), 1);
    let ran: Ran = sync(&[]).exits(0);
    assert!(ran.err.contains("what a killed run leaves can't be told"), "{ran:?}");
    assert_eq!(litter_in(&destination), litter, "nobody knows whose it is");
    assert_eq!(fs::read(destination.join("file")).unwrap(), b"new contents");
}

fn setuid_does_not_pass_to_a_chosen_owner() {
    // Options, and what becomes of a file of alice's with 6755.
    let table: [(&[&str], u32); 6] = [
        (&["--chown", "root:root"], 0o755),
        (&["--chown", "root"], 0o2755),
        (&["--chown", ":root"], 0o4755),
        (&["--chown", "root:root", "--chmod", "u+s"], 0o4755),
        (&["--chown", "65534:65534"], 0o6755),
        (&["--no-owner", "--no-group"], 0o755),
    ];
    for &engine in ENGINES.iter() {
        for (options, expected) in table {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            for name in ["prog", "there", "other"] {
                file(source.join(name), "alice's program");
                give(source.join(name), ALICE);
                mode(source.join(name), 0o6755);
                modified(source.join(name), 1_000_000, 0);
            }
            // One that has the right size and time, and the wrong bits from before.
            file(destination.join("there"), "alice's program");
            mode(destination.join("there"), 0o6755);
            modified(destination.join("there"), 1_000_000, 0);
            for turn in 0..2 {
                sync_with(engine, options, &source, &destination).exits(0);
                for name in ["prog", "there", "other"] {
                    let found = fs::metadata(destination.join(name)).unwrap().mode() & 0o7777;
                    assert_eq!(found, expected, "{options:?} {name} {turn}");
                }
            }
        }
    }
}

fn without_its_acl_a_file_gets_what_its_group_had() {
    // An ACL, and the mode without it.
    let table = [
        ("u::rw,g::-,u:65534:rw,m::rw,o::-", 0o600),
        ("u::rw,g::r,u:65534:rw,m::rw,o::-", 0o640),
        ("u::rw,g::rw,u:65534:rw,m::r,o::-", 0o640),
        ("u::rw,g::rwx,g:65534:rwx,m::rwx,o::r", 0o674),
    ];
    for &engine in ENGINES.iter() {
        for place in [Place::Memory, Place::Disk("ext4"), Place::Disk("xfs")] {
            let home = place.make();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            for (index, (acl, _)) in table.iter().enumerate() {
                file(source.join(format!("file{index}")), "x");
                fs::create_dir(source.join(format!("directory{index}"))).unwrap();
                for kind in ["file", "directory"] {
                    let path = source.join(format!("{kind}{index}"));
                    tool("setfacl", &["--set", acl, path.to_str().unwrap()]);
                }
                fs::hard_link(source.join(format!("file{index}")), source.join(format!("link{index}")))
                    .unwrap();
            }
            sync_with(engine, &["--no-acls", "--no-xattrs"], &source, &destination).exits(0);
            for (index, (acl, expected)) in table.iter().enumerate() {
                for kind in ["file", "directory", "link"] {
                    let found = fs::metadata(destination.join(format!("{kind}{index}"))).unwrap();
                    assert_eq!(found.mode() & 0o7777, *expected, "{kind} {acl}");
                }
            }
            let again =
                sync_with(engine, &["--no-acls", "--no-xattrs", "-i"], &source, &destination).exits(0);
            assert_eq!(changes(&again), [""; 0], "nothing is left to do");
            let mut check = Command::new(program());
            check
                .args(["check", "--no-acls", "--no-xattrs", "--engine", engine])
                .arg(&source)
                .arg(&destination);
            run(check).exits(0);
        }
    }
}

/// The lines of `-i`, without the one that closes a run.
fn changes(ran: &Ran) -> Vec<String> {
    let mut lines: Vec<String> = ran.out.lines().map(String::from).collect();
    lines.pop();
    lines
}

/// Runs a mirror that strace(1) kills at the first call by which a file gets its contents.
fn kill_at_write(engine: &str, options: &[&str], source: &Path, destination: &Path) {
    let mut command = program_with(&["inject=pwrite64,linkat:signal=KILL:when=1"]);
    command.args(["sync", "-q", "-j1", "--engine", engine, "--reflink=never"]);
    command.args(options).arg(source).arg(destination);
    assert_eq!(run(command).code, None, "killed");
}

fn an_open_directory_is_closed_before_anything_is_written() {
    // What the destination's directory has beyond the source's 0750 of root.
    let grants: [(&str, Grant, u32); 5] = [
        ("others", |path| mode(path, 0o755), 0o750),
        ("an owner", |path| std::os::unix::fs::chown(path, Some(ALICE), None).unwrap(), 0o5700),
        ("a group", |path| std::os::unix::fs::chown(path, None, Some(ALICE)).unwrap(), 0o700),
        ("an ACL", |path| drop(tool("setfacl", &["-m", "u:65534:rwx", path.to_str().unwrap()])), 0o700),
        ("nobody", |path| mode(path, 0o750), 0o750),
    ];
    for &engine in ENGINES.iter() {
        for (what, grant, expected) in grants {
            for below in ["", "a/b"] {
                let home = scratch();
                let (source, destination) = (home.path().join("src"), home.path().join("dst"));
                let (from, to) = (source.join(below), destination.join(below));
                file(from.join("secret"), noise(1, 3000));
                mode(from.join("secret"), 0o644);
                fs::create_dir_all(&to).unwrap();
                for path in [&from, &to] {
                    mode(path, 0o750);
                }
                grant(&to);
                kill_at_write(engine, &[], &source, &destination);
                let found = fs::metadata(&to).unwrap();
                assert_eq!((found.mode() & 0o7777, found.uid()), (expected, 0), "{what} {below:?}");
                let ran = sync_with(engine, &["-i"], &source, &destination).exits(0);
                assert!(ran.out.contains("secret"), "{ran:?}");
                assert_equal(&source, &destination);
                assert_no_litter(&destination);
            }
        }
        // A source with the mode of one that was taken.
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/file"), "x");
        node(source.join("d/fifo"), FileType::Fifo, (0, 0));
        mode(source.join("d"), 0o5700);
        sync_with(engine, &[], &source, &destination).exits(0);
        let again = sync_with(engine, &["-i"], &source, &destination).exits(0);
        assert_eq!(changes(&again), [""; 0], "it is right");
        assert_equal(&source, &destination);
        // What was taken away at first is a change that is told.
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/file"), "x");
        sync_with(engine, &[], &source, &destination).exits(0);
        mode(source.join("d"), 0o700);
        mode(destination.join("d"), 0o755);
        let told = |options: &[&str]| changes(&sync_with(engine, options, &source, &destination).exits(0));
        let foreseen = told(&["-n", "-i"]);
        assert_eq!(foreseen, [".d...p..... d/"]);
        assert_eq!(told(&["-i"]), foreseen);
        assert_eq!(told(&["-i"]), [""; 0]);
    }
}

fn new_roots_are_no_more_open_than_the_source() {
    for &engine in ENGINES.iter() {
        for bits in [0o700, 0o750, 0o755] {
            let home = scratch();
            let source = home.path().join("src");
            file(source.join("secret"), noise(1, 3000));
            mode(&source, bits);
            let destination = home.path().join("one/two/dst");
            kill_at_write(engine, &["--mkpath"], &source, &destination);
            let of = |path: &str| fs::metadata(home.path().join(path)).unwrap().mode() & 0o777;
            assert_eq!(of("one/two/dst"), 0o700, "nobody else enters it before it is done");
            for parent in ["one", "one/two"] {
                assert_eq!(of(parent) & !bits, 0, "{parent} has {:o} for {bits:o}", of(parent));
            }
            sync_with(engine, &[], &source, &destination).exits(0);
            assert_equal(&source, &destination);
        }
    }
}

/// Alice owns a directory in DST with secrets of root's in it. She gives one the name of a file of hers, and hers its size
/// and time, so that it looks like the copy.
fn a_planted_secret_is_not_given_away() {
    let secret = "root's secret";
    for &engine in ENGINES.iter() {
        for options in [&[][..], &["--inplace"], &["--size-only"], &["--checksum"], &["--no-atomic"]] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            for name in ["owner", "mode", "acl"] {
                file(source.join(name), "alice's bytes");
                file(destination.join(name), secret);
                mode(destination.join(name), 0o600);
                for root in [&source, &destination] {
                    modified(root.join(name), 1_000_000, 0);
                }
            }
            give(source.join("owner"), ALICE);
            mode(source.join("acl"), 0o600);
            tool("setfacl", &["-m", "u:65534:r", source.join("acl").to_str().unwrap()]);
            modified(source.join("acl"), 1_000_000, 0);
            node(source.join("fifo"), FileType::Fifo, (0, 0));
            node(destination.join("fifo"), FileType::Fifo, (0, 0));
            mode(destination.join("fifo"), 0o600);
            give(source.join("fifo"), ALICE);
            let fifo = fs::metadata(destination.join("fifo")).unwrap().ino();
            for root in [&source, &destination] {
                give(root, ALICE);
            }
            sync_with(engine, options, &source, &destination).exits(0);
            assert_equal(&source, &destination);
            for name in ["owner", "mode", "acl"] {
                assert_ne!(
                    fs::read(destination.join(name)).unwrap(),
                    secret.as_bytes(),
                    "{options:?} {name}"
                );
            }
            assert_ne!(fs::metadata(destination.join("fifo")).unwrap().ino(), fifo);
        }
        // Where nobody else can write, or it is the owner's own, owner and mode are set, and the file is not made anew.
        for owner in [0, ALICE] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            file(source.join("file"), "the same bytes");
            file(destination.join("file"), "the same bytes");
            for root in [&source, &destination] {
                modified(root.join("file"), 1_000_000, 0);
                give(root, owner);
                give(root.join("file"), owner);
            }
            mode(destination.join("file"), 0o600);
            let inode = fs::metadata(destination.join("file")).unwrap().ino();
            assert!(!reads(engine, &[], &source, &destination, "the same bytes"), "it is not read");
            assert_equal(&source, &destination);
            assert_eq!(fs::metadata(destination.join("file")).unwrap().ino(), inode);
            assert!(
                reads(engine, &["-c"], &source, &destination, "the same bytes"),
                "it would have been seen"
            );
        }
    }
}

/// Runs a mirror, and returns whether it reads these bytes by a system call of its own, as it does where the cache has them.
fn reads(engine: &str, options: &[&str], source: &Path, destination: &Path, bytes: &str) -> bool {
    let home = scratch();
    let log = home.path().join("log");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=pread64,preadv2,read", "-o"]).arg(&log);
    command
        .arg(program())
        .args(["sync", "-q", "--engine", engine])
        .args(options)
        .arg(source)
        .arg(destination);
    run(command).exits(0);
    fs::read_to_string(log).unwrap().contains(bytes)
}

fn a_planted_directory_is_not_given_away() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("theirs/d/file"), "alice's");
        for path in ["theirs", "theirs/d", "theirs/d/file"] {
            give(source.join(path), ALICE);
        }
        fs::create_dir_all(destination.join("theirs/d")).unwrap();
        give(destination.join("theirs"), ALICE);
        mode(destination.join("theirs/d"), 0o700);
        file(destination.join("theirs/d/private"), "root's secret");
        let ran = sync_with(engine, &[], &source, &destination).exits(23);
        assert!(ran.err.contains("theirs/d"), "{ran:?}");
        let found = fs::metadata(destination.join("theirs/d")).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o700));
        assert_eq!(fs::read(destination.join("theirs/d/file")).unwrap(), b"alice's", "the bytes are there");
        // With nothing of root's in it, it is.
        fs::remove_file(destination.join("theirs/d/private")).unwrap();
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

/// Alice has her file open, and SRC's has become root's.
fn who_loses_a_file_does_not_go_on_writing_to_it() {
    use std::io::Write;
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for root in [&source, &destination] {
            file(root.join("script"), "a script");
            modified(root.join("script"), 1_000_000, 0);
        }
        give(destination.join("script"), ALICE);
        let mut theirs = File::options().append(true).open(destination.join("script")).unwrap();
        sync_with(engine, &[], &source, &destination).exits(0);
        theirs.write_all(b", and a line of theirs").unwrap();
        assert_eq!(fs::read(destination.join("script")).unwrap(), b"a script");
        assert_equal(&source, &destination);
    }
}

/// What a node is given away by is not a name that the owner of its directory can exchange.
fn a_node_is_made_where_nobody_else_can_exchange_it() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir_all(&source).unwrap();
        fs::create_dir_all(&destination).unwrap();
        node(source.join("fifo"), FileType::Fifo, (0, 0));
        node(source.join("device"), FileType::CharacterDevice, (1, 3));
        give(source.join("fifo"), ALICE);
        let mut command = program_with(&["inject=fchownat:signal=KILL:when=1"]);
        command.args(["sync", "-q", "-j1", "--engine", engine]);
        command.arg(&source).arg(&destination);
        assert_eq!(run(command).code, None, "killed when it is given away");
        // The node is in a directory that is root's alone, and has no name elsewhere.
        let [home] = &litter_in(&destination)[..] else { panic!("{:?}", litter_in(&destination)) };
        let found = fs::symlink_metadata(home).unwrap();
        assert!(found.is_dir() && found.permissions().mode() & 0o077 == 0, "{}", home.display());
        assert_eq!(fs::read_dir(home).unwrap().count(), 1, "a node in {}", home.display());
        assert!(!destination.join("fifo").exists());
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}
