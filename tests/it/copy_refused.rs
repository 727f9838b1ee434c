//! What `ringsync copy` refuses, before it writes anything, and what it does not take.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use ringsync::event::Silent;
use ringsync::{Config, Delete, Outcome, Paths, Separator, Stop};

use crate::copy::{assert_same, contents, copy, plant, tool, words};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, snapshot};
use crate::support::{ENGINES, program, run, scratch};

tests![
    a_manifest_among_the_sources_is_refused,
    two_sources_of_one_name_are_refused,
    a_source_without_a_name_is_refused,
    what_would_be_read_and_written_is_refused,
    a_second_view_of_the_directory_is_refused: [Need::Root],
    the_directory_must_exist_unless_it_is_to_be_made,
    nothing_is_deleted_and_no_list_is_taken,
    help_has_the_options_of_sync,
];

fn a_manifest_among_the_sources_is_refused() {
    let home = scratch();
    plant(home.path());
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("dst")).unwrap();
    let sources = words(&["one/a", "one/dir", "two/e"]);
    for manifest in ["one/dir/sub/sums", "one/dir/sums", "one/a", "two/e", "dst/a", "dst/e", "dst/dir"] {
        let before = snapshot(home.path());
        let ran = copy("auto", &["--manifest", manifest], home.path(), &sources, "dst").exits(3);
        assert!(ran.err.contains(&format!("write manifest {manifest}: ")), "{}", ran.err);
        assert_eq!(snapshot(home.path()), before, "{manifest}");
    }
    fs::create_dir(at("dst/dir")).unwrap();
    let ran = copy("auto", &["--manifest=dst/dir/c"], home.path(), &sources, "dst").exits(3);
    assert!(ran.err.contains("one/dir has a file of this name"), "{}", ran.err);
    copy("auto", &["--manifest=dst/dir/sums"], home.path(), &sources, "dst").exits(0);
    copy("auto", &["--manifest=one/sums"], home.path(), &sources, "dst").exits(0);
}

/// Requires a refusal that says all of `parts`, and that nothing was written.
#[track_caller]
fn refused(home: &Path, sources: &[&str], into: &str, parts: &[&str]) {
    let before = snapshot(home);
    let ran = copy("auto", &["--mkpath"], home, sources, into).exits(3);
    for part in parts {
        assert!(ran.err.contains(part), "{sources:?}: {part:?} is not in {}", ran.err);
    }
    assert_eq!(snapshot(home), before, "{sources:?} {into}");
}

fn two_sources_of_one_name_are_refused() {
    let home = scratch();
    plant(home.path());
    file(home.path().join("two/a"), "another");
    refused(
        home.path(),
        &["one/a", "one/b", "two/a"],
        "dst",
        &["use source two/a: ", "one/a has the same name"],
    );
    refused(home.path(), &["one/a", "one/b", "./one/a"], "dst", &["./one/a", "one/a has the same name"]);
    refused(home.path(), &["one/a", "one/a"], "dst", &["use source one/a: it is named twice"]);
    refused(home.path(), &["one/dir/", "two/dir"], "dst", &["two/dir: one/dir has the same name"]);
}

fn a_source_without_a_name_is_refused() {
    let home = scratch();
    plant(home.path());
    for source in [".", "..", "/", "./", "one/.", "one/..", "one/../", "//"] {
        refused(home.path(), &["one/a", source], "dst", &[source, "it has no name of its own"]);
    }
}

fn what_would_be_read_and_written_is_refused() {
    let home = scratch();
    plant(home.path());
    file(home.path().join("one/dir/dir/x"), "x");
    file(home.path().join("one/dir/dir/dir/y"), "y");
    symlink("one/dir", home.path().join("link")).unwrap();
    let table: &[(&[&str], &str, &[&str])] = &[
        (&["one"], "one", &["use source one: it is the directory to copy into, one"]),
        (&["two/e", "one"], "one/dir", &["use source one: it holds", "one/dir"]),
        (&["one"], "link", &["use source one: it holds", "link"]),
        (&["one"], "one/dir/new/er", &["use source one: it holds", "one/dir/new/er"]),
        (&["one/a"], "one", &["use source one/a: it lies in", "one"]),
        (&["two/e", "one/dir"], "one", &["use source one/dir: it lies in"]),
        (&["link/c"], "one/dir", &["use source link/c: it lies in", "one/dir"]),
        // In the place of itself, and in that of another one.
        (&["one/dir/dir"], "one", &["one/dir/dir: it lies where one/dir/dir is to be copied to, one/dir"]),
        (
            &["two/dir2", "one/dir/c", "one/dir/dir"],
            "one",
            &["one/dir/c: it lies where one/dir/dir", "one/dir"],
        ),
    ];
    for (sources, into, parts) in table {
        refused(home.path(), sources, into, parts);
    }
    // What lies in DIR, where nothing is written, is as good as any other source; and so is a link to DIR.
    for &engine in ENGINES.iter() {
        copy(engine, &[], home.path(), &["one/dir/c", "one/dir/sub", "link"], "one").exits(0);
        assert!(home.path().join("one/sub/d").exists() && home.path().join("one/link").is_symlink());
    }
}

fn a_second_view_of_the_directory_is_refused() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    for name in ["tree/dst/x", "tree/other/y", "dir/z", "target/view/old"] {
        file(at(name), name);
    }
    let whole = Mount::bind(&at("tree"));
    let view = whole.path().to_str().unwrap();
    refused(
        home.path(),
        &["dir", view],
        "tree/dst",
        &[view, "it holds the directory to copy into, tree/dst"],
    );
    let inside = format!("{view}/dst");
    refused(home.path(), &[&inside], "tree/dst", &["it is the directory to copy into"]);
    let inside = format!("{view}/dst/x");
    refused(home.path(), &[&inside], "tree/dst", &["it lies in the directory to copy into"]);
    // The place that a source is to get shows what it holds.
    fs::create_dir(at("dst")).unwrap();
    fs::create_dir(at("dst/tree")).unwrap();
    crate::support::tool(
        "mount",
        &[OsStr::new("--bind"), at("tree/other").as_os_str(), at("dst/tree").as_os_str()],
    );
    let refusal = copy("auto", &[], home.path(), &["tree"], "dst");
    crate::support::tool("umount", &[at("dst/tree")]);
    let refusal = refusal.exits(3);
    assert!(refusal.err.contains("tree: it lies where tree is to be copied to, dst/tree"), "{}", refusal.err);
    assert!(!at("tree/other/other").exists());
}

fn the_directory_must_exist_unless_it_is_to_be_made() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        plant(home.path());
        let at = |name: &str| home.path().join(name);
        let before = snapshot(home.path());
        let sources = words(&["one/a", "two/a3", "one/dir"]);
        for (into, why) in [
            ("new", "new: it does not exist (--mkpath makes it)"),
            ("new/er", "new/er: it does not exist"),
            ("two/dangling", "two/dangling: two/dangling is a symlink to what does not exist"),
            ("two/e", "two/e: Not a directory"),
            ("two/e/new", "two/e/new: Not a directory"),
            ("two/fifo", "two/fifo: Not a directory"),
        ] {
            let ran = copy(engine, &[], home.path(), &sources, into).exits(3);
            assert!(ran.err.contains(&format!("use destination {why}")), "{}", ran.err);
            let made = ["--mkpath"];
            if !into.starts_with("new") {
                copy(engine, &made, home.path(), &sources, into).exits(3);
            }
            assert_eq!(snapshot(home.path()), before, "{into}");
        }
        copy(engine, &["--mkpath", "--fsync"], home.path(), &sources, "new/er").exits(0);
        fs::create_dir(at("theirs")).unwrap();
        tool("cp", &["-a"], home.path(), &sources, "theirs").exits(0);
        assert_same(&at("theirs"), &at("new/er"), engine);
        copy(engine, &["--mkpath", "-q"], home.path(), &sources, "new/er").exits(0);
        let alone = copy(engine, &[], home.path(), &words(&["one/a"]), "");
        assert_eq!(alone.code, Some(1), "{}", alone.err);
    }
}

fn nothing_is_deleted_and_no_list_is_taken() {
    let home = scratch();
    plant(home.path());
    file(home.path().join("dst/dir/mine"), "x");
    for option in
        ["--delete", "--delete-excluded", "--max-delete=1", "--files-from=one/a", "--allow-empty-source"]
    {
        let ran = copy("auto", &[option], home.path(), &["one/dir"], "dst").exits(1);
        assert!(ran.err.contains("error: copy has no --"), "{}", ran.err);
    }
    let (mut silent, stop) = (Silent, Stop::default());
    let mut config = Config::copy([home.path().join("one/dir")], home.path().join("dst"));
    config.delete = Some(Delete::default());
    ringsync::sync(&config, &mut silent, &stop).unwrap().into_result().unwrap();
    assert!(!home.path().join("dst/dir/mine").exists(), "beneath what is copied, nothing beside it");
    let before = contents(&home.path().join("dst"));
    config.delete = None;
    config.select.paths = Some(Paths::read(&home.path().join("one/a"), Separator::Line).unwrap());
    let refusal = ringsync::sync(&config, &mut silent, &stop).unwrap_err();
    assert!(refusal.to_string().contains("a list of paths is for one source"), "{refusal}");
    let config = Config::copy([""; 0], home.path().join("dst"));
    let refusal = ringsync::sync(&config, &mut silent, &stop).unwrap_err();
    assert!(refusal.to_string().contains("there is no source"), "{refusal}");
    assert_eq!(contents(&home.path().join("dst")), before);
    let config =
        Config::copy([home.path().join("one/dir"), home.path().join("two/e")], home.path().join("dst"));
    let summary = ringsync::sync(&config, &mut silent, &stop).unwrap();
    assert_eq!((summary.outcome, summary.totals.found), (Outcome::Done, 7));
}

fn help_has_the_options_of_sync() {
    let options = |command: &str| {
        let mut help = Command::new(program());
        help.args([command, "--help"]);
        let text = run(help).exits(0).out;
        let words =
            text.split_whitespace().map(|word| word.trim_matches(|c| ",.[]():".contains(c)).to_string());
        words.filter(|word| word.starts_with("--") && word.len() > 2).collect::<BTreeSet<_>>()
    };
    let not_here = [
        "--allow-empty-source",
        "--delete-before",
        "--delete-excluded",
        "--files-from",
        "--ignore-errors",
        "--max-delete",
        "--recursive",
    ];
    let mut expected = options("sync");
    for option in not_here {
        assert!(expected.remove(option), "{option}");
    }
    assert_eq!(options("copy"), expected, "--delete is named as missing");
    let mut help = Command::new(program());
    help.args(["copy", "--help"]);
    let text = run(help).exits(0).out;
    for part in ["A SRC that is a symlink is copied as one", "Nothing is deleted", "How files are written:"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}
