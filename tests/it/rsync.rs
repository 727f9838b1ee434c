//! `ringsync rsync …` does what `rsync …` does: one command line is run with both, each over a tree of its own, and the
//! trees, the standard output and the exit codes are compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, differences, file, mode, modified, node, snapshot, xattr};
use crate::support::{Ran, program, run, scratch};

tests![
    paths_mean_what_they_mean_to_rsync: [Need::Tool("rsync")],
    options_are_read_as_rsync_reads_them: [Need::Tool("rsync")],
    what_is_kept_is_what_letters_say: [Need::Root, Need::Tool("rsync")],
    times_are_whole_seconds: [Need::Tool("rsync")],
    what_is_deleted_is_what_rsync_deletes: [Need::Tool("rsync")],
    a_list_is_what_rsync_lists: [Need::Tool("rsync")],
    the_name_rsync_is_enough,
    what_is_not_to_be_had_is_refused,
];

/// No time that a test gives is later.
const LATEST: i64 = 1_600_000_000;

/// What is compared of two runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Trees and exit codes.
    Nothing,
    /// Standard output too, line by line in any order.
    Lines,
}

/// Runs one command line with rsync and with ringsync, each in a directory that `plant` has filled, and returns both.
#[track_caller]
pub fn both(plant: impl Fn(&Path), arguments: &[&str], told: Told) -> (Ran, Ran) {
    let home = scratch();
    let work = |name: &str, mut command: Command| {
        let place = home.path().join(name);
        fs::create_dir(&place).unwrap();
        plant(&place);
        age(&place);
        command.args(arguments).current_dir(&place);
        (place, run(command))
    };
    let (theirs, their_run) = work("theirs", Command::new("rsync"));
    let mut ours = Command::new(program());
    ours.arg("rsync");
    let (ours, our_run) = work("ours", ours);
    let what = format!("rsync {}\n{}\n{}", arguments.join(" "), their_run.err, our_run.err);
    assert_eq!(our_run.code, their_run.code, "{what}");
    let found = differences(&of(&theirs), &of(&ours));
    assert!(found.is_empty(), "{what}: {found:#?}");
    if told == Told::Lines {
        assert_eq!(lines(&our_run.out), lines(&their_run.out), "{what}");
    }
    (their_run, our_run)
}

/// A tree but for its own root, and for times that no option has set.
fn of(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = snapshot(root);
    nodes.remove(Path::new(""));
    let made_now = nodes.values_mut().filter(|node| node.modified.0 > LATEST);
    made_now.for_each(|node| node.modified = (0, 0));
    nodes
}

/// Gives everything below a directory times of long ago, the same ones in each place.
fn age(root: &Path) {
    for (path, _) in snapshot(root).into_iter().rev() {
        let name = path.as_os_str().len() as i64;
        modified(root.join(&path), LATEST - 1000 - name, 123_456_789);
    }
}

/// Lines in an order of their own, without those that count bytes.
fn lines(text: &str) -> Vec<&str> {
    let is_count = |line: &&str| line.starts_with("sent ") || line.starts_with("total size is ");
    let mut lines: Vec<&str> = text.lines().filter(|line| !is_count(line)).collect();
    lines.sort_unstable();
    lines
}

/// Directories and files under names that tests use.
fn plant(home: &Path) {
    for name in ["src/a", "src/dir/b", "src/dir/sub/c", "other/a", "other/dir/d", "dst/old", "one", "two"] {
        file(home.join(name), format!("{name} of some length"));
    }
    fs::create_dir(home.join("empty")).unwrap();
    symlink("a", home.join("src/link")).unwrap();
    symlink("src", home.join("to-src")).unwrap();
}

fn paths_mean_what_they_mean_to_rsync() {
    for arguments in [
        "-a src dst",
        "-a src/ dst",
        "-a src/. dst",
        "-a src/dir/.. dst",
        "-a src new",
        "-a src/ new",
        "-a src new/",
        "-a src/ new/",
        "-a empty new",
        "-a empty/ new",
        "-a empty new/",
        "-a one new",
        "-a one new/",
        "-a one dst",
        "-a one two",
        "-a one two dst",
        "-a one two new",
        "-a one two src/a",
        "-a src other dst",
        "-a src/ other/ dst",
        "-a other/ src/ dst",
        "-a src/dir other/dir dst",
        "-a src/ one other dst",
        "-a src/ src/ src dst",
        "-a src/a other/ dst",
        "-a other/ src/a dst",
        "-a one src/ two other/ dst",
        "-a to-src dst",
        "-a to-src/ dst",
        "-a src/link new",
        "-rt to-src new",
        "-a src one",
        "-a src/a one/",
        "-a missing dst",
        "-a missing src one dst",
        "-a src no/such/place",
        "-a one no/such/place",
        "-a --mkpath src no/such/place",
        "-a --mkpath one no/such/place",
        "-a --mkpath one no/such/place/",
        "-a src/a/ dst",
        "src dst",
        "src/ one dst",
        "one new",
        "-an src new",
        "-an one two new",
    ] {
        both(plant, &arguments.split(' ').collect::<Vec<_>>(), Told::Nothing);
    }
}

fn options_are_read_as_rsync_reads_them() {
    for arguments in [
        "-rv -- src dst",
        "src -rv dst",
        "src dst -rvt",
        "-a --no-r src one dst",
        "--no-r -a src dst",
        "-a --no-l --no-t src dst",
        "--no-l -a src dst",
        "-essh -a src dst",
        "-ae ssh src dst",
        "-a --rsh=ssh --bwlimit 0 src dst",
        "-a --exclude=a --exclude b src dst",
        "-a --include=/src/dir/sub --exclude=/src/dir/* src dst",
        "-a -f -_a src/ dst",
        "-aWzzsS --no-W --block-size=700 --max-alloc=0 --numeric-ids --checksum-choice=md5 src dst",
        "-a --inc-recursive --no-i-r src dst",
        "--recurs src dst",
        "-aj src dst",
        "-a --archive=no src dst",
        "-a --exclude",
        "-a --timeout=soon src dst",
        "--delete src dst",
        "-a --delete-after --delete-during src dst",
        "-ab --suffix=/x src dst",
        "-ab --suffix= src dst",
        "-a --chmod=nonsense src dst",
        "",
        "-a",
    ] {
        let words: Vec<&str> = arguments.split(' ').filter(|word| !word.is_empty()).collect();
        // What rsync says where nothing is named is its help.
        let told = if words.len() < 2 { Told::Nothing } else { Told::Lines };
        both(plant, &words, told);
    }
}

fn what_is_kept_is_what_letters_say() {
    let plant = |home: &Path| {
        plant(home);
        let at = |name: &str| home.join(name);
        mode(at("src/a"), 0o640);
        mode(at("src/dir"), 0o2751);
        std::os::unix::fs::chown(at("src/dir/b"), Some(12), Some(34)).unwrap();
        fs::hard_link(at("src/a"), at("src/hard")).unwrap();
        xattr(at("src/dir/b"), "user.name", b"value");
        node(at("src/fifo"), rustix::fs::FileType::Fifo, (0, 0));
        file(at("dst/a"), "other");
        mode(at("dst/a"), 0o606);
    };
    for letters in [
        "-r", "-rt", "-rl", "-rp", "-rD", "-rog", "-rlt", "-rlpt", "-rlptD", "-rlptgoD", "-aH", "-aHAX",
        "-aO",
    ] {
        both(plant, &[letters, "src/", "dst"], Told::Nothing);
        both(plant, &[letters, "--no-t", "src/", "new"], Told::Nothing);
    }
    both(plant, &["-a", "--chmod=Dg+s,F640", "--chown=7:8", "src/", "dst"], Told::Nothing);
}

fn times_are_whole_seconds() {
    let plant = |home: &Path| {
        plant(home);
        for name in ["a", "b"] {
            file(home.join("src").join(name), "as long as the other");
            file(home.join("dst").join(name), "of the same length..");
        }
    };
    let differing = |home: &Path| {
        plant(home);
        age(home);
    };
    // The names are of one length, and so are the times: nothing is copied.
    both(differing, &["-ai", "src/a", "src/b", "dst"], Told::Lines);
    both(differing, &["-ai", "-@-1", "src/a", "src/b", "dst"], Told::Lines);
    both(differing, &["-ac", "src/a", "src/b", "dst"], Told::Lines);
    both(differing, &["-aI", "src/a", "src/b", "dst"], Told::Lines);
}

fn what_is_deleted_is_what_rsync_deletes() {
    let plant = |home: &Path| {
        plant(home);
        for name in ["dst/src/extra", "dst/src/dir/extra/deep", "dst/dir/extra", "dst/a~", "dst/keep"] {
            file(home.join(name), name);
        }
    };
    for arguments in [
        "-a --delete src dst",
        "-a --delete src/ dst",
        "-a --delete empty/ dst",
        "-a --delete src one dst",
        "-a --del --exclude=keep src/ dst",
        "-a --delete-after --delete-excluded --exclude=keep src/ dst",
        "-a --delete-delay --filter P_keep src/ dst",
        "-ab --delete src/ dst",
        "-ab --delete --backup-dir=../kept src/ dst",
        "-a --delete src/ missing dst",
        "-a --delete missing src dst",
        "-a --delete src/ other/ dst",
        "-a --delete src/ other dst",
        "-a --delete src other/ one dst",
        "-a --delete src/dir other/dir dst",
        "-an --delete src/ dst",
    ] {
        both(plant, &arguments.split(' ').collect::<Vec<_>>(), Told::Nothing);
    }
}

fn a_list_is_what_rsync_lists() {
    for arguments in
        ["src", "src/", "-r src", "-r src/ one", "one two", "-r --exclude=b src", "--list-only -r src/ dst"]
    {
        both(plant, &arguments.split(' ').collect::<Vec<_>>(), Told::Lines);
    }
}

fn the_name_rsync_is_enough() {
    let home = scratch();
    plant(home.path());
    let link = home.path().join("rsync");
    symlink(program(), &link).unwrap();
    let mut command = Command::new(&link);
    command.args(["-a", "src/", "dst"]).current_dir(home.path());
    run(command).exits(0);
    assert!(home.path().join("dst/dir/b").exists());
    let mut command = Command::new(&link);
    command.arg("-VV");
    let told: serde_json::Value = serde_json::from_str(&run(command).exits(0).out).unwrap();
    assert_eq!(told["capabilities"]["xattrs"], true);
    let mut command = Command::new(&link);
    command.arg("--version");
    assert!(run(command).exits(0).out.starts_with("rsync  version 3."));
}

fn what_is_not_to_be_had_is_refused() {
    let home = scratch();
    plant(home.path());
    for (arguments, code, text) in [
        (&["-a", "host:src", "dst"][..], 4, "names another one"),
        (&["-a", "src", "rsync://host/module"], 4, "names another one"),
        (&["-a", "host::module", "dst"], 4, "names another one"),
        (&["--server", ".", "dst"], 4, "--server"),
        (&["--daemon"], 4, "--daemon"),
        (&["-a", "--write-batch=x", "src", "dst"], 4, "--write-batch"),
    ] {
        let mut command = Command::new(program());
        command.arg("rsync").args(arguments).current_dir(home.path());
        let ran = run(command).exits(code);
        assert!(ran.err.contains(text) && ran.out.is_empty(), "{ran:?}");
    }
    assert!(!home.path().join("dst/a").exists());
}
