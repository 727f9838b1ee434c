//! `ringsync rsync …` does what `rsync …` does: one command line is run with both, each over a tree of its own, and the
//! trees, the standard output and the exit codes are compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, differences, file, mode, modified, node, snapshot, xattr};
use crate::support::{Ran, is_long, program, run, scratch};

tests![
    paths_mean_what_they_mean_to_rsync: [Need::Tool("rsync")],
    options_are_read_as_rsync_reads_them: [Need::Tool("rsync")],
    what_is_kept_is_what_letters_say: [Need::Root, Need::Tool("rsync")],
    times_are_whole_seconds: [Need::Tool("rsync")],
    what_is_deleted_is_what_rsync_deletes: [Need::Tool("rsync")],
    what_cvs_leaves_out_is_left_out: [Need::Tool("rsync")],
    what_goes_is_told_as_rsync_tells_it: [Need::Tool("rsync")],
    other_trees_are_used_as_rsync_uses_them: [Need::Tool("rsync")],
    a_list_is_what_rsync_lists: [Need::Tool("rsync")],
    numbers_are_shown_as_rsync_shows_them: [Need::Tool("rsync")],
    progress_is_told_on_standard_error,
    symlinks_are_followed_as_rsync_follows_them: [Need::Tool("rsync")],
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

fn what_goes_is_told_as_rsync_tells_it() {
    let plant = |home: &Path| {
        plant(home);
        for name in [
            "dst/dir/extra",
            "dst/a/in/the/way",
            "dst/more/kept",
            "dst/more/gone",
            "dst/more/sub/kept",
            "dst/old~",
        ] {
            file(home.join(name), name);
        }
    };
    for arguments in [
        "-ai --delete-after src/ dst",
        "-ai --delete --max-delete=2 --exclude=a src/ dst",
        "-ai --delete --max-delete=0 --exclude=a src/ dst",
        "-ai --delete --max-delete=-1 --exclude=a src/ dst",
        "-ai --delete --max-delete=100 src/ dst",
        "-ain --delete --max-delete=1 --exclude=a src/ dst",
        "-ai --delete --filter=P_kept src/ dst",
        "-ai --delete-delay --exclude=kept src/ dst",
        "-ai --force --exclude=a src/ dst",
        "-ai --delete --existing src/ dst",
        "-ai --delete --ignore-existing src/ dst",
        "-aiu --delete src/ dst",
        "-av --delete --exclude=a src/ dst",
    ] {
        both(plant, &arguments.split(' ').collect::<Vec<_>>(), Told::Lines);
    }
    for arguments in [
        "-a --delete-before src/ dst",
        "-a --delete --max-delete=1 src/ dst",
        "-a --force src/ dst",
        "-a src/ dst",
        "-a --no-force src/ dst",
        "-ab --delete --exclude=a src/ dst",
        "-ab --delete --backup-dir=../kept --exclude=a src/ dst",
        "-a --delete-before --delete-after src/ dst",
    ] {
        both(plant, &arguments.split(' ').collect::<Vec<_>>(), Told::Nothing);
    }
}

fn other_trees_are_used_as_rsync_uses_them() {
    // Trees whose names are of one length have equal times.
    let plant = |home: &Path| {
        for tree in ["src", "alt", "has"] {
            for name in ["same", "mode", "dir/deep", "dir/sub/deeper"] {
                file(home.join(tree).join(name), name);
            }
            symlink("same", home.join(tree).join("link")).unwrap();
        }
        for (path, text) in [
            ("src/only", "only here"),
            ("two/only", "only here"),
            ("src/size", "longer than there"),
            ("alt/size", "there"),
            ("src/new", "new"),
            ("later/same", "same"),
            ("has/other", "stays"),
        ] {
            file(home.join(path), text);
        }
        symlink("a", home.join("src/elsewhere")).unwrap();
        symlink("b", home.join("alt/elsewhere")).unwrap();
        mode(home.join("src/mode"), 0o600);
        mode(home.join("alt/mode"), 0o644);
        file(home.join("has/same"), "other");
        fs::create_dir(home.join("dst")).unwrap();
    };
    let mut number = 0;
    for kind in ["compare", "copy", "link"] {
        for others in [
            "../alt",
            "../two ../alt",
            "../alt ../two",
            "../later",
            "../later ../alt",
            "../missing ../alt",
            "../src/only",
        ] {
            let others: Vec<String> = others.split(' ').map(|tree| format!("--{kind}-dest={tree}")).collect();
            for letters in ["-ai", "-aii", "-av", "-aci", "-ai --size-only", "-rlpti"] {
                for destination in ["dst", "has"] {
                    number += 1;
                    if number % 5 != 0 && !is_long() {
                        continue;
                    }
                    let words = letters.split(' ').chain(others.iter().map(String::as_str));
                    let words: Vec<&str> = words.chain(["src/", destination]).collect();
                    both(plant, &words, Told::Lines);
                }
            }
        }
    }
    for arguments in [
        "-a --link-dest=../alt --copy-dest=../two src/ dst",
        "-a --compare-dest=../alt --link-dest=../two src/ dst",
        "-a --link-dest=alt/../../alt src dst",
        "-a --compare-dest=../alt src/same dst",
    ] {
        both(plant, &arguments.split(' ').collect::<Vec<_>>(), Told::Nothing);
    }
    let many: Vec<String> = (0..21).map(|_| "--link-dest=../alt".to_owned()).collect();
    let words: Vec<&str> = many.iter().map(String::as_str).chain(["-a", "src/", "dst"]).collect();
    both(plant, &words, Told::Nothing);
}

fn what_cvs_leaves_out_is_left_out() {
    let plant = |home: &Path| {
        let names = [
            "a.o",
            "keep",
            "x~",
            "core",
            "core.c",
            "#x#",
            "tags",
            "mine",
            "sub/mine",
            "sub/b.old",
            ".git/x",
            "x$",
            "_$y",
        ];
        for name in names.iter().chain(&["sub/.git", "CVS/Root", "sub/keep.bak", "sub/deep/local"]) {
            file(home.join("src").join(name), name);
        }
        file(home.join("src/.cvsignore"), "mine\n");
        file(home.join("src/sub/.cvsignore"), "! keep.*  local");
        for name in ["dst/core", "dst/gone/a.o", "dst/sub/extra", "dst/sub/b.old"] {
            file(home.join(name), name);
        }
    };
    for arguments in [
        "-aC src/ dst",
        "-aC --delete src/ dst",
        "-aC --delete --delete-excluded src/ dst",
        "-a --include=core -C src/ dst",
        "-a --filter=:C src/ dst",
        "-a -f-C -f+_core src/ dst",
        "-a -f+_core -f-C --exclude=keep src/ dst",
        "-a -f:C -f-C --delete src/ dst",
        "-a -f:C_.cvsignore src/ dst",
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

fn numbers_are_shown_as_rsync_shows_them() {
    let plant = |home: &Path| {
        for (name, size) in [("none", 0), ("some", 999), ("more", 1000), ("most", 12_345_678)] {
            let sparse = fs::File::create(home.join(name)).unwrap();
            sparse.set_len(size).unwrap();
        }
    };
    for option in ["--no-v", "-h", "-hh", "-hhh", "--no-h", "--human-readable"] {
        both(plant, &["--list-only", option, "none", "some", "more", "most"], Told::Lines);
    }
}

fn progress_is_told_on_standard_error() {
    let home = scratch();
    plant(home.path());
    let copy = |options: &[&str], destination: &str| {
        let mut command = Command::new(program());
        command.args(["rsync", "-a"]).args(options).args(["src/", destination]).current_dir(home.path());
        run(command).exits(0)
    };
    for option in ["--progress", "-P"] {
        let ran = copy(&[option], option.trim_matches('-'));
        assert!(ran.err.contains(" entries") && ran.out.is_empty(), "{ran:?}");
    }
    assert_eq!(copy(&["--progress", "--no-progress"], "quiet").err, "");
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

/// Symlinks of all kinds, in SRC and in DST.
fn plant_links(home: &Path) {
    plant(home);
    file(home.join("outside/file"), "outside");
    file(home.join("dst/real/deep/old"), "of before");
    for (target, name) in [
        ("dir", "src/to-dir"),
        ("dir/b", "src/to-file"),
        ("../a", "src/dir/up"),
        ("../../outside", "src/dir/sub/inside-of-all"),
        ("dir/../a", "src/embedded"),
        ("real/deep", "dst/dir"),
        ("a", "link-to-nothing"),
    ] {
        symlink(target, home.join(name)).unwrap();
    }
}

fn symlinks_are_followed_as_rsync_follows_them() {
    for arguments in [
        "-aL to-src new",
        "-aL to-src dst",
        "-rL one to-src/a dst",
        "-aL src/to-file new",
        "-aL src/link new/",
        "-aL link-to-nothing one dst",
        "-rlk to-src dst",
        "-rk src/ new",
        "-ak src/ new",
        "-a --copy-unsafe-links src/ new",
        "-r --copy-unsafe-links src/ new",
        "-a --copy-unsafe-links src new",
        "-a --safe-links src/ new",
        "-a --safe-links src new",
        "-ak --safe-links src/ new",
        "-rlK src/ dst",
        "-rlpK src/dir dst",
        "-rlK --delete --exclude=/real src/ dst",
        "-a --insecure-links src/ dst",
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        both(plant_links, &arguments, Told::Nothing);
    }
    // Of the line's own symlinks all but one lead somewhere in it.
    let unlike = |home: &Path| {
        plant(home);
        file(home.join("outside"), "outside");
        symlink("../outside", home.join("src/out")).unwrap();
    };
    both(unlike, &["-aL", "--copy-unsafe-links", "src/", "new"], Told::Nothing);
    let home = scratch();
    unlike(home.path());
    let mut command = Command::new(program());
    command.args(["rsync", "-aL", "src/", "new"]).current_dir(home.path());
    let ran = run(command).exits(23);
    assert!(ran.err.contains("leads out of SRC (--copy-unsafe-links"), "{}", ran.err);
    assert!(home.path().join("new/dir/b").exists());
}
