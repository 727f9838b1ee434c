//! `--chmod` and `--chown`: modes and owners become what rsync makes of them, and stay so.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::FileType;

use crate::support::changed::{files, link, mirror, unmoved};
use crate::support::needs::{Need, tests};
use crate::support::tree::{differences, file, mode, node, snapshot};
use crate::support::{ENGINES, Ran, assert_equal, program, run, scratch, sync_with, tool};

tests![
    chmod_makes_of_modes_what_rsync_makes: [Need::Root, Need::Tool("rsync")],
    chmod_obeys_the_umask: [Need::Root, Need::Tool("rsync")],
    a_changed_mode_is_no_difference_afterwards: [Need::Root, Need::Tool("setfacl")],
    chown_gives_what_rsync_gives: [Need::Root, Need::Tool("rsync")],
    check_tells_what_sync_would_change: [Need::Root, Need::Tool("rsync")],
    setuid_that_is_asked_for_is_given: [Need::Root],
    an_owner_that_can_not_be_had_is_an_error_and_nothing_is_written: [Need::Root, Need::Tool("setpriv")],
    what_can_not_be_read_is_named,
];

/// Expressions of every kind. Those that rsync refuses are in the parser's own test.
const CHMOD: [&str; 56] = [
    "u+w",
    "go-rwx",
    "a=r",
    "=r",
    "+x",
    "-x",
    "-w",
    "+X",
    "a+X",
    "D755",
    "F644",
    "D2775,F664",
    "Dg+s,ug+w,Fo-w,+X",
    "0",
    "7777",
    "00644",
    "u+s",
    "g+s",
    "o+s",
    "a+s",
    "+s",
    "u+t",
    "+t",
    "u=s",
    "g=s",
    "=s",
    "=t",
    "u=t",
    "g=t",
    "a=s",
    "a=t",
    "o=st",
    "u=rwxs",
    "u=rwXst",
    "go=X",
    "D+x",
    "Fu+x",
    "g=u",
    "o=g",
    "u=o",
    "g-o",
    "g+u",
    "ug=o",
    "a=u",
    "=u",
    "-u",
    "u=rw,go=r",
    "u=",
    "=",
    "u+",
    "a-st",
    "-st",
    "a-x,+X",
    "u+x,g+X",
    "g=u,u=o",
    "u=rwx,g=rx,o=",
];

/// An entry of each type and with each of the bits that an expression may ask about.
fn source(home: &Path) -> std::path::PathBuf {
    let source = home.join("src");
    files(&source, &["plain", "setgid", "setuid", "read only", "all", "dir/inside", "open dir/inside"]);
    for (name, bits) in [("setgid", 0o2644), ("setuid", 0o4755), ("read only", 0o444), ("all", 0o7777)] {
        mode(source.join(name), bits);
    }
    mode(source.join("dir"), 0o1750);
    mode(source.join("open dir"), 0o6577);
    node(source.join("fifo"), FileType::Fifo, (0, 0));
    node(source.join("device"), FileType::CharacterDevice, (1, 3));
    symlink("plain", source.join("link")).unwrap();
    link(source.join("plain"), source.join("plain 2"));
    // rsync takes a time of the same second for the right one, be it that of the copy's making.
    walkdir::WalkDir::new(&source)
        .contents_first(true)
        .into_iter()
        .for_each(|at| unmoved(at.unwrap().path()));
    source
}

/// `sh -c 'umask UMASK; exec PROGRAM ...'`
fn with_umask(umask: &str, program: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-c", "umask $0; exec \"$@\"", umask]).arg(program).args(arguments);
    run(command)
}

fn same_as_rsync(umask: &str, options: &[&str], source: &Path, home: &Path) {
    let (ours, theirs, slashed) = (home.join("ours"), home.join("theirs"), source.join(""));
    let rsync = [&["-aHAX"], options, &[slashed.to_str().unwrap(), theirs.to_str().unwrap()]].concat();
    with_umask(umask, Path::new("rsync"), &rsync).exits(0);
    for &engine in ENGINES.iter() {
        let paths = [source.to_str().unwrap(), ours.to_str().unwrap()];
        let sync = [&["sync", "--json", "--engine", engine], options, &paths].concat();
        with_umask(umask, &program(), &sync).exits(0);
        let found = differences(&snapshot(&theirs), &snapshot(&ours));
        assert_eq!(found, [""; 0], "{options:?} {umask}");
        let again = with_umask(umask, &program(), &sync).exits(0).summary();
        let changed = ["created", "updated", "metadata", "linked"].map(|action| again[action].as_u64());
        assert_eq!(changed, [Some(0); 4], "{options:?} {umask}: a second run has nothing to do");
        fs::remove_dir_all(&ours).unwrap();
    }
    fs::remove_dir_all(&theirs).unwrap();
}

fn chmod_makes_of_modes_what_rsync_makes() {
    let home = scratch();
    let source = source(home.path());
    for chmod in CHMOD {
        same_as_rsync("022", &[&format!("--chmod={chmod}")], &source, home.path());
    }
    same_as_rsync("022", &["--chmod=D755", "--chmod", "-w", "--chmod=Fo=g"], &source, home.path());
}

fn chmod_obeys_the_umask() {
    let home = scratch();
    let source = source(home.path());
    for umask in ["077", "002", "000"] {
        for chmod in ["+w", "=rw", "-rwx", "+X", "=u", "+u", "a+w", "+st"] {
            same_as_rsync(umask, &[&format!("--chmod={chmod}")], &source, home.path());
        }
    }
}

fn a_changed_mode_is_no_difference_afterwards() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |root| {
            files(root, &["plain", "acl", "dir/file", "linked"]);
            link(root.join("linked"), root.join("linked 2"));
            let acl =
                |name: &str, entry: &str| tool("setfacl", &["-m", entry, root.join(name).to_str().unwrap()]);
            acl("acl", "u:7:rwx");
            acl("dir", "u:7:rwx,d:u:7:rwx");
            mode(root.join("linked"), 0o640);
        });
        let before = snapshot(&source);
        let options = ["--chmod=D711,Fg-w,o=,u+x", "--json"];
        // What has its mode mended, and what is made with it, become the same.
        let fresh = home.path().join("fresh");
        for to in [&destination, &fresh] {
            sync_with(engine, &options, &source, to).exits(0);
            let again = sync_with(engine, &options, &source, to).exits(0).summary();
            let changed = ["created", "updated", "metadata", "linked"].map(|action| again[action].as_u64());
            assert_eq!(changed, [Some(0); 4]);
            let mut command = Command::new(program());
            command.args(["check", "--engine", engine, options[0]]).arg(&source).arg(to);
            run(command).exits(0);
        }
        assert_equal(&destination, &fresh);
        let bits = |name: &str| fs::metadata(fresh.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((bits("plain"), bits("dir"), bits("linked 2")), (0o740, 0o710, 0o740));
        let acl = tool("getfacl", &["-cn", fresh.join("acl").to_str().unwrap()]);
        assert!(acl.contains("user:7:rwx\t") && acl.contains("mask::r-x"), "{acl}");
        assert_eq!(differences(&before, &snapshot(&source)), [""; 0]);
    }
}

/// Takes setuid and setgid from the files of a tree: rsync passes them on to a chosen owner, and we do not (gain.rs).
fn without_set_id(root: &Path) {
    for entry in walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap()) {
        let found = entry.metadata().unwrap();
        if found.is_file() {
            mode(entry.path(), found.mode() & 0o1777);
        }
    }
}

fn chown_gives_what_rsync_gives() {
    let home = scratch();
    let source = source(home.path());
    without_set_id(&source);
    lchown(source.join("plain"), Some(3), Some(4)).unwrap();
    lchown(source.join("link"), Some(3), Some(4)).unwrap();
    for owner in ["12", "12:34", ":34", "12:", "daemon", "daemon:sys", ":sys", "daemon:007"] {
        same_as_rsync("022", &[&format!("--chown={owner}")], &source, home.path());
    }
    same_as_rsync("022", &["--chown", "12:34", "--chmod=a=rw,Fu+s,D700"], &source, home.path());
}

fn check_tells_what_sync_would_change() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = source(home.path());
        without_set_id(&source);
        let destination = home.path().join("dst");
        sync_with(engine, &[], &source, &destination).exits(0);
        let options = ["--chown=12:34", "--chmod=Du-w,Fa+x"];
        let mut rsync = Command::new("rsync");
        rsync.args(["-aHAXin", "--no-inc-recursive", "--modify-window=-1"]).args(options);
        let expected = run({
            rsync.arg(source.join("")).arg(&destination);
            rsync
        });
        let check = |code| {
            let mut command = Command::new(program());
            command.args(["check", "--engine", engine]).args(options).arg(&source).arg(&destination);
            run(command).exits(code)
        };
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(String::from).collect();
            lines.sort();
            lines
        };
        let found = check(23).out;
        let (lines, _) = found.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(sorted(lines), sorted(&expected.exits(0).out));
        sync_with(engine, &options, &source, &destination).exits(0);
        check(0);
    }
}

fn setuid_that_is_asked_for_is_given() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |root| files(root, &["had", "asked for"]));
        for name in ["had", "asked for"] {
            lchown(source.join(name), Some(7), None).unwrap();
        }
        mode(source.join("had"), 0o6755);
        let mode_of = |name: &str| fs::metadata(destination.join(name)).unwrap().mode() & 0o7777;
        // What belongs to nobody in particular loses the source's bit, and not one that the user names.
        sync_with(engine, &["--no-owner", "--no-group"], &source, &destination).exits(0);
        assert_eq!((mode_of("had"), mode_of("asked for")), (0o2755, 0o644));
        sync_with(engine, &["--no-owner", "--no-group", "--chmod=Fu+s"], &source, &destination).exits(0);
        assert_eq!((mode_of("had"), mode_of("asked for")), (0o6755, 0o4644));
    }
}

/// Runs the program as a user of no privilege who is in one further group.
fn as_alice_of_33(arguments: &[&str], source: &Path, destination: &Path) -> Ran {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--groups=65534,33", "--"]).arg(program());
    run({
        command.args(arguments).arg(source).arg(destination);
        command
    })
}

fn an_owner_that_can_not_be_had_is_an_error_and_nothing_is_written() {
    let home = scratch();
    mode(home.path(), 0o777);
    let source = home.path().join("src");
    files(&source, &["file", "dir/file"]);
    let destination = home.path().join("dst");
    for (owner, why) in [
        ("0", "only root gives files to user 0"),
        ("root:33", "only root gives files to user 0"),
        ("65534:34", "gives files to group 34"),
        (":34", "gives files to group 34"),
    ] {
        for command in ["sync", "check"] {
            let ran = as_alice_of_33(&[command, "--chown", owner], &source, &destination).exits(1);
            assert!(ran.err.contains("--chown") && ran.err.contains(why), "{ran:#?}");
        }
    }
    assert!(!destination.exists());
    as_alice_of_33(&["sync", "--chown=65534:33"], &source, &destination).exits(0);
    let owner = |name: &str| {
        let metadata = fs::metadata(destination.join(name)).unwrap();
        (metadata.uid(), metadata.gid())
    };
    assert_eq!([owner(""), owner("file"), owner("dir"), owner("dir/file")], [(65534, 33); 4]);
    // A file of somebody else is made anew; a directory of theirs can't be, and that is said.
    lchown(destination.join("file"), Some(7), Some(33)).unwrap();
    as_alice_of_33(&["sync", "--chown=65534:33"], &source, &destination).exits(0);
    assert_eq!(owner("file"), (65534, 33));
    lchown(destination.join("dir"), Some(7), Some(33)).unwrap();
    mode(destination.join("dir"), 0o777);
    let ran = as_alice_of_33(&["sync", "--chown=65534:33"], &source, &destination).exits(23);
    assert!(ran.err.contains("set owner of") && ran.err.contains("dst/dir"), "{ran:#?}");
}

fn what_can_not_be_read_is_named() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "");
    // Of other owners a user without privilege is told first that they can't be given anything.
    let own = format!("--chown={}", rustix::process::getuid().as_raw());
    for (options, named) in [
        (&["--chmod=u+w,g+q,o+w"][..], "'g+q' is no change"),
        (&["--chmod="], "'' is no change"),
        (&["--chmod=F644", "--chmod", "-D"], "'-D' is no change"),
        (&["--chown=no such user"], "there is no user no such user"),
        (&["--chown", ":no such group"], "there is no group no such group"),
        (&["--chown=:"], "neither a user nor a group"),
        (&["--chown=4294967295"], "too large"),
        (&[&own, "--no-owner"], "--no-owner"),
    ] {
        for command in ["sync", "check"] {
            let mut ringsync = Command::new(program());
            ringsync.arg(command).args(options).arg(&source).arg(&destination);
            let ran = run(ringsync).exits(1);
            assert!(ran.err.contains(named), "{options:?} {ran:#?}");
        }
    }
    assert!(!destination.exists());
}
