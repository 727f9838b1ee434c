//! `--compare-dest` and `--copy-dest`: what other trees have, and what becomes of it, as in rsync.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FileType;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise, snapshot};
use crate::support::{ENGINES, assert_equal, assert_no_litter, run, scratch, sync_with, tool};

tests![
    new_entries_come_as_with_rsync: [Need::Root, Need::Tool("rsync")],
    what_is_there_already_is_treated_as_with_rsync: [Need::Root, Need::Tool("rsync")],
    the_first_tree_that_has_the_same_wins: [Need::Tool("rsync")],
    contents_come_from_the_other_tree_and_not_from_the_source,
    what_is_copied_from_another_tree_is_cloned_where_that_works: [Need::FileSystem("xfs")],
    a_file_that_goes_from_the_mirror_is_backed_up_and_told,
    what_is_left_out_is_in_no_manifest,
    kinds_of_trees_are_not_mixed,
    a_tree_that_is_missing_is_told_of,
];

/// Two other trees, `a` and `b`, and a source that differs from them in each way.
fn build(home: &Path) -> PathBuf {
    let at = |path: &str| home.join(path);
    for (path, contents, seconds) in [
        ("src/same", "xx", 1000),
        ("a/same", "xx", 1000),
        ("src/content", "xx", 1000),
        ("a/content", "yy", 1000),
        ("src/mode", "xx", 1000),
        ("a/mode", "xx", 1000),
        ("src/time", "xx", 2000),
        ("a/time", "xx", 1000),
        ("src/size", "xxx", 1000),
        ("a/size", "xx", 1000),
        ("src/new", "n", 1000),
        ("src/empty", "", 1000),
        ("a/empty", "", 1000),
        ("src/d/deep", "deep", 1000),
        ("a/d/deep", "deep", 1000),
        ("src/e/only b", "only b", 1000),
        ("b/e/only b", "only b", 1000),
        ("src/names", "names", 1000),
        ("a/names", "names", 1000),
    ] {
        file(at(path), contents);
        modified(at(path), seconds, 0);
    }
    mode(at("src/mode"), 0o600);
    for tree in ["src", "a"] {
        fs::hard_link(at(tree).join("names"), at(tree).join("names too")).unwrap();
        node(at(tree).join("fifo"), FileType::Fifo, (0, 0));
        modified(at(tree).join("fifo"), 1000, 0);
    }
    for (path, target, seconds) in [
        ("src/link", "t", 1000),
        ("a/link", "t", 1000),
        ("src/elsewhere", "t", 1000),
        ("a/elsewhere", "u", 1000),
        ("src/later", "t", 2000),
        ("a/later", "t", 1000),
    ] {
        symlink(target, at(path)).unwrap();
        modified(at(path), seconds, 0);
    }
    for directory in ["src/d", "a/d", "src/e", "b/e", "src", "a", "b"] {
        modified(at(directory), 1000, 0);
    }
    at("src")
}

/// What a directory holds, and whether each file is the same inode as in one of the other trees.
fn told(home: &Path, destination: &Path) -> BTreeMap<PathBuf, String> {
    let nodes = snapshot(destination).into_iter().map(|(path, node)| {
        let inode = |at: &Path| fs::symlink_metadata(at.join(&path)).ok().map(|found| found.ino());
        let shared = ["a", "b"].map(|tree| inode(&home.join(tree)) == inode(destination));
        (path, format!("{node:?} {shared:?}"))
    });
    nodes.collect()
}

fn sorted(lines: &str) -> Vec<String> {
    let is_itemised = |line: &&str| {
        let mut letters = line.chars();
        letters.next().is_some_and(|y| ".>ch*".contains(y))
            && letters.next().is_some_and(|x| "fdLDS".contains(x))
    };
    // Which of several names comes first is the file system's choice.
    let is_one_name = |line: &&str| !line.contains("names");
    let lines = lines.lines().filter(is_itemised).filter(is_one_name);
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Requires that both programs make the same of a destination that holds what `before` puts there.
fn agree(home: &Path, options: &[&str], before: impl Fn(&Path), ours: impl Fn(&[String], &Path) -> String) {
    let source = home.join("src");
    let [mine, theirs] = ["mine", "theirs"].map(|name| home.join(name));
    for tree in [&mine, &theirs] {
        drop(fs::remove_dir_all(tree));
        before(tree);
    }
    for line in ["-ii", "-i"] {
        let preview: Vec<&str> = [&["-n", line][..], options].concat();
        let expected = sorted(&rsync(&preview, &source, &theirs));
        let words: Vec<String> = preview.iter().map(|&word| word.to_owned()).collect();
        assert_eq!(sorted(&ours(&words, &mine)), expected, "{options:?} {line}, a dry run");
    }
    let run: Vec<&str> = [&["-ii"][..], options].concat();
    let expected = sorted(&rsync(&run, &source, &theirs));
    let words: Vec<String> = run.iter().map(|&word| word.to_owned()).collect();
    assert_eq!(sorted(&ours(&words, &mine)), expected, "{options:?}");
    assert_eq!(told(home, &mine), told(home, &theirs), "{options:?}");
    assert_no_litter(&mine);
}

/// Mirrors with rsync, without attributes: 3.5.0 fails in a dry run that should copy those of a directory.
fn rsync(options: &[&str], source: &Path, destination: &Path) -> String {
    let mut command = Command::new("rsync");
    command.args(["-aH", "--modify-window=-1"]).args(options).arg(source.join("")).arg(destination.join(""));
    run(command).exits(0).out
}

/// The lines of `sync`.
fn sync(engine: &str, source: &Path) -> impl Fn(&[String], &Path) -> String {
    let (engine, source) = (engine.to_owned(), source.to_path_buf());
    move |options, destination| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let ran = sync_with(&engine, &options, &source, destination).exits(0);
        // It tells of a file that goes, and rsync of one that is right.
        let lists_all = options.contains(&"-ii");
        let lines = ran.out.lines().filter(|line| lists_all || !line.starts_with("*deleting"));
        lines.map(|line| line.replace("*deleting  ", ".f         ") + "\n").collect()
    }
}

fn new_entries_come_as_with_rsync() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = build(home.path());
        for options in [
            &["--copy-dest=../a"][..],
            &["--copy-dest=../a", "--copy-dest=../b"],
            &["--compare-dest=../a"],
            &["--compare-dest=../b", "--compare-dest=../a"],
            &["--copy-dest=../a", "--checksum"],
            &["--compare-dest=../a", "--size-only"],
        ] {
            agree(home.path(), options, |_| (), sync(engine, &source));
        }
    }
}

fn what_is_there_already_is_treated_as_with_rsync() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = build(home.path());
        let a_mirror = |tree: &Path| drop(tool("cp", &[Path::new("-a"), &home.path().join("a"), tree]));
        let others = |tree: &Path| {
            for name in ["same", "mode", "content", "size", "names"] {
                file(tree.join(name), "zz");
                modified(tree.join(name), 1000, 0);
            }
            modified(tree.join("same"), 3000, 0);
            symlink("t", tree.join("link")).unwrap();
        };
        for option in ["--compare-dest=../a", "--copy-dest=../a"] {
            agree(home.path(), &[option], a_mirror, sync(engine, &source));
            agree(home.path(), &[option], others, sync(engine, &source));
        }
    }
}

fn the_first_tree_that_has_the_same_wins() {
    let home = scratch();
    let at = |path: &str| home.path().join(path);
    for (tree, bits) in [("a", 0o664), ("b", 0o644), ("c", 0o644), ("src", 0o644)] {
        file(at(tree).join("f"), tree);
        // Of one size, so that what was taken tells from where.
        fs::write(at(tree).join("f"), &tree[..1]).unwrap();
        mode(at(tree).join("f"), bits);
        modified(at(tree).join("f"), 1000, 0);
    }
    let trees = ["--copy-dest=../a", "--copy-dest=../b", "--copy-dest=../c"];
    sync_with("threads", &trees, &at("src"), &at("mine")).exits(0);
    rsync(&trees, &at("src"), &at("theirs"));
    // The first one has another mode.
    assert_eq!(fs::read_to_string(at("theirs/f")).unwrap(), "b");
    assert_eq!(fs::read_to_string(at("mine/f")).unwrap(), "b");
    for tree in ["mine", "theirs"] {
        assert_eq!(fs::metadata(at(tree).join("f")).unwrap().mode() & 0o777, 0o644);
    }
}

fn contents_come_from_the_other_tree_and_not_from_the_source() {
    for &engine in ENGINES.iter() {
        for size in [2, 70_000, 20 << 20] {
            let home = scratch();
            let at = |path: &str| home.path().join(path);
            let (here, there) = (noise(1, size), noise(2, size));
            file(at("src/f"), &here);
            file(at("a/f"), &there);
            for tree in ["src", "a"] {
                modified(at(tree).join("f"), 1000, 7);
            }
            mode(at("src/f"), 0o640);
            mode(at("a/f"), 0o640);
            sync_with(engine, &["--copy-dest=../a"], &at("src"), &at("dst")).exits(0);
            assert_eq!(fs::read(at("dst/f")).unwrap(), there, "{size} bytes");
            sync_with(engine, &["--copy-dest=../a", "-c"], &at("src"), &at("dst")).exits(0);
            assert_eq!(fs::read(at("dst/f")).unwrap(), here, "{size} bytes, compared");
            assert_equal(&at("src"), &at("dst"));
        }
    }
}

fn what_is_copied_from_another_tree_is_cloned_where_that_works() {
    const SIZE: i64 = 20 << 20;
    let disk = Mount::new("xfs", "400m");
    let home = disk.path();
    file(home.join("src/f"), noise(1, SIZE as usize));
    modified(home.join("src/f"), 1000, 0);
    sync_with("threads", &["--reflink=never"], &home.join("src"), &home.join("a")).exits(0);
    let used = || {
        rustix::fs::sync();
        let found = rustix::fs::statvfs(home).unwrap();
        ((found.f_blocks - found.f_bfree) * found.f_frsize).cast_signed()
    };
    let before = used();
    let options = ["--copy-dest=../a", "--reflink=never"];
    sync_with("threads", &options, &home.join("src"), &home.join("copied")).exits(0);
    assert!(used() - before >= SIZE, "it is not to be cloned");
    let before = used();
    sync_with("threads", &["--copy-dest=../a"], &home.join("src"), &home.join("cloned")).exits(0);
    assert!(used() - before < SIZE / 2, "{} bytes were taken", used() - before);
    for tree in ["copied", "cloned"] {
        assert_equal(&home.join("src"), &home.join(tree));
    }
}

fn a_file_that_goes_from_the_mirror_is_backed_up_and_told() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |path: &str| home.path().join(path);
        for tree in ["src", "a"] {
            file(at(tree).join("f"), "the same");
            modified(at(tree).join("f"), 1000, 0);
        }
        file(at("dst/f"), "another");
        let options = ["--compare-dest=../a", "-b", "--backup-dir=../old", "-v"];
        let preview: Vec<&str> = options.iter().copied().chain(["-n"]).collect();
        let ran = sync_with(engine, &preview, &at("src"), &at("dst")).exits(0);
        assert!(ran.out.contains("1 deleted"), "{}", ran.out);
        assert!(at("dst/f").exists(), "a dry run removes nothing");
        let ran = sync_with(engine, &options, &at("src"), &at("dst")).exits(0);
        assert!(ran.out.contains("1 deleted"), "{}", ran.out);
        assert!(!at("dst/f").exists());
        assert_eq!(fs::read_to_string(at("old/f")).unwrap(), "another");
    }
}

fn what_is_left_out_is_in_no_manifest() {
    let home = scratch();
    let at = |path: &str| home.path().join(path);
    for tree in ["src", "a"] {
        file(at(tree).join("same"), "the same");
        modified(at(tree).join("same"), 1000, 0);
    }
    file(at("src/new"), "new");
    let manifest = at("hashes");
    let option = format!("--manifest={}", manifest.display());
    sync_with("threads", &["--compare-dest=../a", &option], &at("src"), &at("dst")).exits(0);
    let hashes = fs::read_to_string(&manifest).unwrap();
    assert!(hashes.contains("new") && !hashes.contains("same"), "{hashes}");
}

fn kinds_of_trees_are_not_mixed() {
    let home = scratch();
    fs::create_dir(home.path().join("src")).unwrap();
    for pair in [
        ["--link-dest=a", "--copy-dest=b"],
        ["--copy-dest=a", "--compare-dest=b"],
        ["--compare-dest=a", "--link-dest=b"],
    ] {
        sync_with("threads", &pair, &home.path().join("src"), &home.path().join("dst")).exits(1);
    }
}

fn a_tree_that_is_missing_is_told_of() {
    let home = scratch();
    file(home.path().join("src/f"), "f");
    for (option, told) in
        [("--copy-dest=../no", "copied from it"), ("--compare-dest=../no", "compared with it")]
    {
        let ran =
            sync_with("threads", &[option], &home.path().join("src"), &home.path().join("dst")).exits(0);
        assert!(ran.err.contains(told), "{}", ran.err);
    }
    let ran = sync_with(
        "threads",
        &["--compare-dest=../src/f"],
        &home.path().join("src"),
        &home.path().join("dst"),
    );
    assert!(ran.exits(3).err.contains("--compare-dest"), "it names the option");
}
