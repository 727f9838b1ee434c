//! `ringsync copy SRC... DIR`: it copies what `cp -a` and `rsync -aHAX` copy, and refuses what would read what it writes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::FileType;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, differences, file, mode, modified, node, noise, snapshot, xattr};
use crate::support::user::{ALICE, give, program_of_alice};
use crate::support::{ENGINES, Ran, assert_equal, assert_no_litter, finish, program, run, scratch};

tests![
    it_copies_what_cp_and_rsync_copy: [Need::Root, Need::Tool("rsync")],
    a_second_run_copies_what_changed,
    options_are_those_of_sync,
    rules_see_what_they_see_in_rsync: [Need::Tool("rsync")],
    git_ignores_what_is_named_too: [Need::Tool("git")],
    each_source_has_its_own_file_system: [Need::Root, Need::Tool("rsync")],
    a_dry_run_makes_nothing,
    a_manifest_lists_paths_in_the_directory,
    reports_are_of_one_run,
    a_missing_source_costs_itself_alone: [Need::Tool("rsync")],
    what_fails_is_named_as_the_user_named_it: [Need::Root, Need::Tool("setpriv")],
    thousands_of_sources_need_few_descriptors: [Need::Tool("prlimit")],
    a_broken_off_copy_is_gone_on_with: [Need::Tool("prlimit")],
    a_hanging_source_is_given_up: [Need::Fuse],
    a_signal_ends_it_and_another_run_completes_it,
];

/// `ringsync copy --engine ENGINE OPTIONS SRC... DIR`, from `home`.
pub fn copy<S: AsRef<OsStr>>(engine: &str, options: &[&str], home: &Path, sources: &[S], into: &str) -> Ran {
    let mut command = Command::new(program());
    command.args(["copy", "--engine", engine]).args(options).args(sources).arg(into);
    command.current_dir(home);
    run(command)
}

pub fn tool<S: AsRef<OsStr>>(name: &str, options: &[&str], home: &Path, sources: &[S], into: &str) -> Ran {
    let mut command = Command::new(name);
    command.args(options).args(sources).arg(into).current_dir(home);
    run(command)
}

/// What a directory holds; it itself is nobody's copy.
pub fn contents(directory: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = snapshot(directory);
    nodes.remove(Path::new(""));
    nodes
}

#[track_caller]
pub fn assert_same(theirs: &Path, ours: &Path, what: &str) {
    let found = differences(&contents(theirs), &contents(ours));
    assert!(found.is_empty(), "{what}: {found:#?}");
}

/// Files of all kinds in `one`, `two` and `two/deep`, some of them one inode.
pub fn plant(home: &Path) {
    let at = |name: &str| home.join(name);
    for name in [
        "one/a",
        "one/b",
        "one/dir/c",
        "one/dir/sub/d",
        "two/e",
        "two/dir2/f",
        "two/deep/g",
        "two/deep/dir3/h",
    ] {
        file(at(name), name);
    }
    file(at("one/large"), noise(1, 9 << 20));
    fs::create_dir_all(at("two/empty")).unwrap();
    for (from, to) in [("one/a", "one/dir/a2"), ("one/a", "two/a3"), ("two/deep/g", "two/dir2/g2")] {
        fs::hard_link(at(from), at(to)).unwrap();
    }
    symlink("dir", at("one/to-directory")).unwrap();
    symlink("nowhere", at("two/dangling")).unwrap();
    symlink("../../one/a", at("two/deep/to-file")).unwrap();
    fs::hard_link(at("two/dangling"), at("two/dir2/dangling2")).unwrap();
    node(at("two/fifo"), FileType::Fifo, (0, 0));
    fs::hard_link(at("two/fifo"), at("one/dir/fifo2")).unwrap();
    let raw = OsStr::from_bytes(b"raw\xff\xfe");
    file(home.join("one").join(raw), "not UTF-8");
    file(home.join("two/deep").join(OsStr::from_bytes(b"dir\xff")).join(raw), "nor this");
    xattr(at("one/b"), "user.key", b"value");
    xattr(at("two/dir2"), "user.key", b"of a directory");
    mode(at("one/b"), 0o4711);
    mode(at("one/dir"), 0o2750);
    for (index, name) in ["two/dangling", "two/e", "one/dir/sub", "one/dir", "two/empty"].iter().enumerate() {
        modified(at(name), 1_000_000_000 + index as i64, 123_456_789);
    }
}

fn raw(path: &[u8]) -> OsString {
    OsStr::from_bytes(path).into()
}

pub fn words(names: &[&str]) -> Vec<OsString> {
    names.iter().map(OsString::from).collect()
}

fn it_copies_what_cp_and_rsync_copy() {
    let home = scratch();
    plant(home.path());
    let absolute = home.path().join("two/dir2").into_os_string();
    let lists: Vec<Vec<OsString>> = vec![
        words(&["one/a"]),
        words(&["one/a", "one/b", "two/e"]),
        words(&["one/dir"]),
        words(&["one/dir", "two/dir2", "two/empty"]),
        words(&["one/a", "one/dir", "two/a3", "two/fifo", "two/dangling", "one/large"]),
        words(&["one/to-directory", "two/dangling", "two/deep/to-file"]),
        words(&["one", "two"]),
        words(&["./one//a", "two/../two/e", "two/deep/dir3", "two/dir2"]),
        vec![raw(b"one/raw\xff\xfe"), raw(b"two/deep/dir\xff"), raw(b"two/dir2"), raw(b"two/deep/g")],
        vec!["one/dir".into(), absolute, "two/fifo".into(), "two/dangling".into()],
    ];
    for list in &lists {
        let into = |name: &str| {
            let path = home.path().join(name);
            fs::remove_dir_all(&path).ok();
            fs::create_dir(&path).unwrap();
            path
        };
        let (cp, rsync) = (into("of-cp"), into("of-rsync"));
        tool("cp", &["-a"], home.path(), list, "of-cp").exits(0);
        tool("rsync", &["-aHAX", "--modify-window=-1"], home.path(), list, "of-rsync/").exits(0);
        assert_same(&cp, &rsync, "the two agree");
        for &engine in ENGINES.iter() {
            let ours = into("ours");
            copy(engine, &[], home.path(), list, "ours").exits(0);
            assert_same(&cp, &ours, &format!("{engine}: {list:?}"));
            let again = copy(engine, &["--json"], home.path(), list, "ours").exits(0);
            assert_eq!(again.summary()["unchanged"], contents(&ours).len(), "{list:?}: {}", again.out);
            assert_no_litter(&ours);
        }
    }
}

fn a_second_run_copies_what_changed() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        plant(home.path());
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("dst")).unwrap();
        file(at("dst/mine"), "stays");
        file(at("dst/dir/mine"), "stays, too");
        modified(at("dst"), 1_000_000, 0);
        // A slash at the end changes nothing, not even for a symlink.
        let sources = words(&["one/dir/", "one/a", "two/e", "one/to-directory/"]);
        copy(engine, &[], home.path(), &sources, "dst").exits(0);
        assert!(fs::symlink_metadata(at("dst/to-directory")).unwrap().is_symlink());
        let (other_mode, other_owner) =
            (fs::metadata(at("dst")).unwrap().mode(), fs::metadata(at("dst")).unwrap().uid());
        file(at("one/dir/c"), "changed");
        file(at("one/dir/new"), "new");
        fs::remove_file(at("two/e")).unwrap();
        symlink("elsewhere", at("two/e")).unwrap();
        symlink("dst", at("to-dst")).unwrap();
        let ran = copy(engine, &["-v"], home.path(), &sources, "to-dst/").exits(0);
        let mut lines: Vec<&str> = ran.out.lines().collect();
        lines.pop();
        lines.sort_unstable();
        assert_eq!(lines, ["created   dir/new", "metadata  dir/", "updated   dir/c", "updated   e"]);
        assert_eq!(fs::read(at("dst/dir/c")).unwrap(), b"changed");
        assert_eq!(fs::read(at("dst/mine")).unwrap(), b"stays");
        assert_eq!(fs::read(at("dst/dir/mine")).unwrap(), b"stays, too");
        let now = fs::metadata(at("dst")).unwrap();
        assert_eq!(
            (now.mode(), now.uid()),
            (other_mode, other_owner),
            "the directory itself is not mirrored"
        );
    }
}

fn options_are_those_of_sync() {
    let home = scratch();
    plant(home.path());
    let at = |name: &str| home.path().join(name);
    let sources = words(&["one/dir", "one/large", "two/e", "two/dangling"]);
    for &engine in ENGINES.iter() {
        for options in [
            &["--fsync", "--verify"][..],
            &["--no-atomic"],
            &["--inplace", "--partial"],
            &["--reflink=never", "-j1", "--depth=1"],
            &["--checksum"],
        ] {
            fs::create_dir(at("dst")).unwrap();
            for _ in 0..2 {
                copy(engine, options, home.path(), &sources, "dst").exits(0);
            }
            let found = differences(&contents(&at("one/dir")), &contents(&at("dst/dir")));
            assert!(found.is_empty(), "{options:?}: {found:?}");
            assert_eq!(fs::read(at("dst/large")).unwrap(), noise(1, 9 << 20));
            assert_no_litter(&at("dst"));
            fs::remove_dir_all(at("dst")).unwrap();
        }
        fs::create_dir(at("dst")).unwrap();
        file(at("dst/e"), "older");
        modified(at("dst/e"), 1, 0);
        let options = ["--chmod=D700,F640", "--existing", "--no-times"];
        copy(engine, &options, home.path(), &sources, "dst").exits(0);
        assert_eq!(fs::metadata(at("dst/e")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(contents(&at("dst")).len(), 1);
        copy(engine, &["--chmod=D700,F640", "--no-hard-links"], home.path(), &sources, "dst").exits(0);
        assert_eq!(fs::metadata(at("dst/dir")).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(at("dst/dir/c")).unwrap().mode() & 0o7777, 0o640);
        fs::remove_dir_all(at("dst")).unwrap();
    }
}

fn rules_see_what_they_see_in_rsync() {
    let home = scratch();
    plant(home.path());
    let at = |name: &str| home.path().join(name);
    for name in [
        ".rules",
        ".rsync-filter",
        "one/.rules",
        "one/.rsync-filter",
        "one/dir/.rules",
        "two/dir2/.rsync-filter",
    ] {
        let text = if name.starts_with("one/.") { "- c\n- b\n- /dir/sub\n" } else { "- f\n- e\n- d\n" };
        file(at(name), text);
    }
    let sources = words(&["one/dir", "one/b", "one/large", "two/e", "two/dir2", "one/to-directory"]);
    let lists: &[&[&str]] = &[
        &["--exclude=b"],
        &["--exclude=/b"],
        &["--exclude=/one"],
        &["--exclude=/dir"],
        &["--exclude=dir/"],
        &["--exclude=/dir/c"],
        &["--exclude=/c"],
        &["--exclude=dir/sub"],
        &["--exclude=*/sub"],
        &["--exclude=one/b"],
        &["--include=/dir2/***", "--exclude=*"],
        &["--include=*/", "--include=d", "--exclude=*"],
        &["--exclude=to-directory/"],
        &["--exclude=to-directory"],
        &["--filter=dir-merge .rules"],
        &["--filter=dir-merge,n .rules"],
        &["--max-size=1M"],
        &["--min-size=8"],
    ];
    // Files of rules above the sources: of several places rsync reads them for the first alone.
    let above: &[&[&str]] = &[&["--filter=dir-merge /.rules"], &["-F"], &["-FF"], &["-F", "--exclude=b"]];
    let plain = ["-rltD", "--modify-window=-1"];
    let lists = lists.iter().map(|options| (options, &sources[..]));
    for (options, sources) in lists.chain(above.iter().map(|options| (options, &sources[..3]))) {
        for directory in ["ours", "theirs"] {
            fs::remove_dir_all(at(directory)).ok();
            fs::create_dir(at(directory)).unwrap();
        }
        tool("rsync", &[&plain[..], options].concat(), home.path(), sources, "theirs/").exits(0);
        copy("threads", options, home.path(), sources, "ours").exits(0);
        let names = |directory: &str| contents(&at(directory)).into_keys().collect::<Vec<_>>();
        assert_eq!(names("ours"), names("theirs"), "{options:?}");
    }
    fs::remove_dir_all(at("ours")).unwrap();
    copy("threads", &["-F", "--mkpath"], home.path(), &sources, "ours").exits(0);
    let gone = ["dir/c", "dir/sub", "dir2/f"].map(|name| at("ours").join(name).exists());
    assert_eq!(gone, [false; 3], "here they hold for all");
    assert!(at("ours/e").exists() && at("ours/b").exists(), "and not for what is named");
}

fn git_ignores_what_is_named_too() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    for name in ["repo/build/out", "repo/src/main.c", "repo/src/main.o", "repo/notes", "repo/deep/build/x"] {
        file(at(name), name);
    }
    file(at("repo/.gitignore"), "*.o\n/build/\n");
    crate::support::tool("git", &[OsStr::new("init"), "-q".as_ref(), at("repo").as_os_str()]);
    fs::create_dir(at("dst")).unwrap();
    let sources = words(&["repo/build", "repo/src", "repo/notes", "repo/deep"]);
    for &engine in ENGINES.iter() {
        copy(engine, &["--gitignore"], home.path(), &sources, "dst").exits(0);
        let names: Vec<PathBuf> = contents(&at("dst")).into_keys().collect();
        let expected =
            ["deep", "deep/build", "deep/build/x", "notes", "src", "src/main.c"].map(PathBuf::from);
        assert_eq!(names, expected);
    }
}

fn each_source_has_its_own_file_system() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    for name in ["one/here", "one/mnt/hidden", "mounted/hidden"] {
        file(at(name), name);
    }
    let (_inner, _outer) = (Mount::tmpfs_at(&at("one/mnt"), "1M"), Mount::tmpfs_at(&at("mounted"), "1M"));
    for name in ["one/mnt/elsewhere", "mounted/file", "mounted/inner/hidden"] {
        file(at(name), name);
    }
    let _innermost = Mount::tmpfs_at(&at("mounted/inner"), "1M");
    file(at("mounted/inner/elsewhere"), "x");
    let sources = words(&["one", "mounted", "mounted/inner/elsewhere"]);
    for &engine in ENGINES.iter() {
        for directory in ["ours", "theirs"] {
            fs::create_dir(at(directory)).unwrap();
        }
        copy(engine, &["-x"], home.path(), &sources, "ours").exits(0);
        tool("rsync", &["-aHAXx", "--modify-window=-1"], home.path(), &sources, "theirs/").exits(0);
        assert_same(&at("theirs"), &at("ours"), engine);
        assert!(at("ours/mounted/file").exists() && !at("ours/one/mnt/elsewhere").exists());
        for directory in ["ours", "theirs"] {
            fs::remove_dir_all(at(directory)).unwrap();
        }
    }
}

fn a_dry_run_makes_nothing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        plant(home.path());
        let at = |name: &str| home.path().join(name);
        let sources = words(&["one/a", "one/dir", "two/a3", "two/dangling"]);
        let dry = ["-n", "-v", "--mkpath"];
        let ran = copy(engine, &dry, home.path(), &sources, "new/dst").exits(0);
        assert!(!at("new").exists(), "{}", ran.out);
        let lines = |ran: &Ran| {
            let mut lines: Vec<String> = ran.out.lines().map(|line| line[10..].to_string()).collect();
            lines.pop();
            lines.sort_unstable();
            lines
        };
        let done = copy(engine, &["-v", "--mkpath"], home.path(), &sources, "new/dst").exits(0);
        assert_eq!(lines(&ran), lines(&done), "what would be done is what is done");
        file(at("one/dir/c"), "changed");
        let before = snapshot(&at("new"));
        let ran = copy(engine, &["-n", "-v"], home.path(), &sources, "new/dst").exits(0);
        assert_eq!(lines(&ran), ["dir/c"]);
        assert_eq!(snapshot(&at("new")), before);
    }
}

fn a_manifest_lists_paths_in_the_directory() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        plant(home.path());
        fs::create_dir(home.path().join("dst")).unwrap();
        let sources = words(&["one/a", "one/dir", "two/a3", "two/deep", "one/large"]);
        for manifest in ["sums", "dst/sums"] {
            copy(engine, &["--manifest", manifest], home.path(), &sources, "dst").exits(0);
            let text = fs::read(home.path().join(manifest)).unwrap();
            let files = contents(&home.path().join("dst"));
            let files = files.iter().filter(|(path, node)| node.kind == "file" && *path != Path::new("sums"));
            let mut expected: Vec<&[u8]> = files.map(|(path, _)| path.as_os_str().as_bytes()).collect();
            let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
            let mut found: Vec<&[u8]> = lines.map(|line| &line[66..]).collect();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected);
            let mut verify = Command::new(program());
            verify.args(["verify", "-q"]).arg(home.path().join(manifest)).arg(home.path().join("dst"));
            run(verify).exits(0);
        }
    }
}

fn reports_are_of_one_run() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        plant(home.path());
        fs::create_dir(home.path().join("dst")).unwrap();
        let sources = words(&["one/a", "one/dir", "two/a3", "nowhere/x", "two/dangling"]);
        let ran = copy(engine, &["--json"], home.path(), &sources, "dst").exits(23);
        let lines = ran.json();
        let count = |event: &str| lines.iter().filter(|line| line["event"] == event).count();
        assert_eq!((count("start"), count("error"), count("summary")), (1, 1, 1));
        let paths =
            lines.iter().filter(|line| line["event"] == "file").map(|line| line["path"].as_str().unwrap());
        let mut paths: Vec<PathBuf> = paths.map(|path| path.trim_end_matches('/').into()).collect();
        paths.sort_unstable();
        let made: Vec<PathBuf> = contents(&home.path().join("dst")).into_keys().collect();
        assert_eq!(paths, made);
        assert_eq!(ran.summary()["found"], made.len());
        assert_eq!(ran.summary()["linked"], 2);
    }
}

fn a_missing_source_costs_itself_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        plant(home.path());
        let at = |name: &str| home.path().join(name);
        let sources = words(&["one/nothing", "one/a", "nowhere/at/all", "one/b/c", "two/e"]);
        for directory in ["ours", "theirs", "none"] {
            fs::create_dir(at(directory)).unwrap();
        }
        let theirs = tool("rsync", &["-aHAX", "--modify-window=-1"], home.path(), &sources, "theirs/");
        let ours = copy(engine, &["-q"], home.path(), &sources, "ours");
        assert_eq!((ours.code, theirs.code), (Some(23), Some(23)));
        assert_same(&at("theirs"), &at("ours"), engine);
        let mut lines: Vec<&str> = ours.err.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "ringsync: SRC nowhere/at/all does not exist",
                "ringsync: SRC one/nothing does not exist",
                "ringsync: use source one/b/c: Not a directory (os error 20)",
            ]
        );
        copy(engine, &[], home.path(), &words(&["nothing", "one/none"]), "none").exits(23);
        assert!(contents(&at("none")).is_empty());
    }
}

/// As a user who may not read all, nor open the working directory, which absolute paths don't need.
fn what_fails_is_named_as_the_user_named_it() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        plant(home.path());
        let at = |name: &str| home.path().join(name);
        mode(home.path(), 0o755);
        for directory in ["dst", "closed", "cwd"] {
            fs::create_dir(at(directory)).unwrap();
        }
        give(at("dst"), ALICE);
        file(at("closed/file"), "x");
        for path in ["two/deep/dir3/h", "closed", "cwd", "two/e", "two/empty"] {
            mode(at(path), 0o000);
        }
        let mut command = program_of_alice();
        command.args(["copy", "-q", "--no-owner", "--no-group", "--engine", engine]).current_dir(at("cwd"));
        let named = |name: &str| format!("{}/one/../{name}", home.path().display());
        for name in ["two/deep", "two/e", "two/empty", "two/a3", "closed/file"] {
            command.arg(named(name));
        }
        command.arg(at("dst"));
        let ran = run(command).exits(23);
        for (operation, name) in [
            ("open source", "two/deep/dir3/h"),
            ("open source", "two/e"),
            ("list source directory", "two/empty"),
            ("use source", "closed/file"),
        ] {
            let line = format!("ringsync: {operation} {}: Permission denied", named(name));
            assert!(ran.err.contains(&line), "{line}\n{}", ran.err);
        }
        assert_eq!(ran.err.lines().count(), 4, "{}", ran.err);
        assert!(at("dst/a3").exists() && at("dst/deep/g").exists() && at("dst/empty").is_dir());
    }
}

/// Files and directories in one directory, and as many that lie apart, each linked to one in the other half.
fn thousands_of_sources_need_few_descriptors() {
    const SOURCES: usize = 2500;
    for &engine in ENGINES.iter() {
        let home = scratch();
        let mut sources = Vec::new();
        for index in 0..SOURCES {
            let (near, far) = (format!("near/n{index}"), format!("far/{index}/f{index}"));
            let path = |name: &str| if index % 5 == 0 { format!("{name}/file") } else { name.to_string() };
            file(home.path().join(path(&near)), index.to_string());
            fs::create_dir_all(home.path().join(path(&far)).parent().unwrap()).unwrap();
            fs::hard_link(home.path().join(path(&near)), home.path().join(path(&far))).unwrap();
            sources.extend([near, far]);
        }
        fs::create_dir(home.path().join("dst")).unwrap();
        let bounded = |options: &[&str]| {
            let mut command = Command::new("prlimit");
            command.arg("--nofile=256:256").arg(program()).args(["copy", "--json", "--engine", engine]);
            command.args(options).args(&sources).arg("dst").current_dir(home.path());
            run(command).exits(0).summary()
        };
        let first = bounded(&[]);
        assert_eq!((&first["linked"], &first["errors"]), (&SOURCES.into(), &0.into()), "{first}");
        assert_eq!(contents(&home.path().join("dst")).len(), 2 * SOURCES + 2 * SOURCES / 5);
        for index in [0, 1, SOURCES - 1] {
            let path =
                |name: String| home.path().join(if index % 5 == 0 { format!("{name}/file") } else { name });
            let (near, far) = (path(format!("dst/n{index}")), path(format!("dst/f{index}")));
            assert_eq!(fs::metadata(near).unwrap().ino(), fs::metadata(far).unwrap().ino());
        }
        let again = bounded(&["--exclude=*.o"]);
        assert_eq!(again["unchanged"], 2 * SOURCES + 2 * SOURCES / 5, "{again}");
    }
}

/// What breaks off lies in DIR itself, whose other sources, from other directories, must not cost it.
fn a_broken_off_copy_is_gone_on_with() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("one/large"), noise(1, 30 << 20));
        file(at("two/small"), "small");
        file(at("three/small2"), "small");
        fs::create_dir(at("dst")).unwrap();
        let sources = words(&["one/large", "two/small", "three/small2"]);
        let left = || {
            contents(&at("dst"))
                .into_keys()
                .filter(|path| path.to_string_lossy().contains(".ringsync-"))
                .count()
        };
        for _ in 0..2 {
            let mut command = Command::new("prlimit");
            command.arg("--fsize=20971520").arg(program()).args([
                "copy",
                "-q",
                "--partial",
                "--engine",
                engine,
            ]);
            command.args(&sources).arg("dst").current_dir(home.path());
            run(command).exits(23);
            assert_eq!(left(), 1);
        }
        // Nobody goes on with it.
        copy(engine, &["--partial"], home.path(), &words(&["two/small"]), "dst").exits(0);
        assert_eq!(left(), 0);
        copy(engine, &["--partial"], home.path(), &sources, "dst").exits(0);
        assert_eq!(fs::read(at("dst/large")).unwrap(), noise(1, 30 << 20));
        assert_no_litter(&at("dst"));
    }
}

/// A source that does not answer costs itself; one that can't even be looked at, the run, before it begins.
fn a_hanging_source_is_given_up() {
    for (call, stuck) in [(Call::Read, "stuck"), (Call::Readdir, "stalled")] {
        let (fuse, home) = (Fuse::new(), scratch());
        plant(home.path());
        let from = |name: &str| fuse.path().join(name).into_os_string();
        for name in ["stuck", "beside", "stalled/file", "dir3/file"] {
            file(from(name), name);
        }
        fs::create_dir(home.path().join("dst")).unwrap();
        let mut sources = words(&["one/a", "two/a3", "one/dir"]);
        sources.extend(["stuck", "beside", "stalled", "dir3"].map(from));
        fuse.spoil(call, stuck, Effect::Stall, usize::MAX);
        let ran = copy("auto", &["-q", "--timeout=1"], home.path(), &sources, "dst").exits(30);
        assert!(
            ran.err.contains(&format!("{}: timed out", fuse.path().join(stuck).display())),
            "{}",
            ran.err
        );
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(fuse.spoiled(call) > 0, "it was stuck");
        fuse.release();
        let names = contents(&home.path().join("dst"));
        for done in ["a", "a3", "dir/c", "dir3/file", "beside"] {
            assert!(names.contains_key(Path::new(done)), "{done}: {:?}", names.keys());
        }
        copy("auto", &["-q"], home.path(), &sources, "dst").exits(0);
        assert!(home.path().join("dst/stuck").exists() && home.path().join("dst/stalled/file").exists());
    }
    let (fuse, home) = (Fuse::new(), scratch());
    file(fuse.path().join("silent"), "x");
    file(home.path().join("a"), "x");
    fuse.spoil(Call::Getattr, "silent", Effect::Stall, usize::MAX);
    let sources = ["a".into(), fuse.path().join("silent")];
    copy("auto", &["--timeout=1", "--mkpath"], home.path(), &sources, "dst").exits(30);
    assert!(!home.path().join("dst").exists());
    fuse.release();
}

fn a_signal_ends_it_and_another_run_completes_it() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let sources: Vec<String> = (0..40).map(|index| format!("of{index}/d{index}")).collect();
        for (index, source) in sources.iter().enumerate() {
            for name in 0..150 {
                file(home.path().join(source).join(name.to_string()), noise(index as u64, 20_000));
            }
        }
        fs::create_dir(home.path().join("dst")).unwrap();
        let mut command = Command::new(program());
        command
            .args(["copy", "--json", "--engine", engine])
            .args(&sources)
            .arg("dst")
            .current_dir(home.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let last = std::thread::spawn(move || out.lines().map_while(Result::ok).last());
        assert_eq!(finish(child, Duration::from_secs(20)).code, Some(20));
        assert!(last.join().unwrap().unwrap().contains("\"interrupted\""));
        assert_no_litter(&home.path().join("dst"));
        copy(engine, &[], home.path(), &sources, "dst").exits(0);
        for (index, source) in sources.iter().enumerate() {
            assert_equal(&home.path().join(source), &home.path().join(format!("dst/d{index}")));
        }
    }
}
