//! What `--delete` must not cost, found by trying to lose something: each test is named by what was lost.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, snapshot};
use crate::support::user::{ALICE, as_alice, give_tree};
use crate::support::{
    ENGINES, assert_equal, assert_no_litter, program, program_with, run, scratch, sync_with, tool,
};

tests![
    a_directory_in_the_way_under_existing,
    a_directory_whose_successor_can_not_be_made,
    a_directory_in_the_way_with_something_that_stays,
    a_directory_in_the_way_of_a_single_file,
    backups_of_the_same_run,
    what_was_to_be_kept_in_the_destination_itself,
    a_source_that_backups_would_overwrite,
    a_limit_that_can_not_be_checked: [Need::Root, Need::Tool("setpriv")],
    another_file_system_under_a_name_of_the_source: [Need::Root],
    a_part_of_the_source_mounted_in_the_destination: [Need::Root],
    what_rules_in_the_destination_protect,
    what_rules_about_whole_paths_protect,
    patterns_of_a_directorys_own_rules_reach_above_it,
    a_literal_exclamation_mark,
    the_runs_own_manifest_and_log,
    backups_that_lie_in_what_is_deleted,
    permissions_of_a_directory_that_stays: [Need::Root, Need::Tool("setpriv")],
    check_knows_what_stays_in_extra_directories,
    a_file_with_a_path_below_it_in_the_list,
    a_directory_that_a_killed_run_set_aside: [Need::Tool("strace")],
    a_mirror_linked_to_its_own_source,
];

fn trees(home: &Path) -> (PathBuf, PathBuf) {
    let (source, destination) = (home.join("src"), home.join("dst"));
    fs::create_dir_all(&source).unwrap();
    fs::create_dir_all(&destination).unwrap();
    (source, destination)
}

fn a_directory_in_the_way_under_existing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = trees(home.path());
        file(source.join("name"), "new");
        file(destination.join("name/precious"), "old");
        sync_with(engine, &["--delete", "--existing"], &source, &destination).exits(0);
        assert_eq!(fs::read(destination.join("name")).unwrap(), b"new");
        assert_no_litter(&destination);
    }
}

fn a_directory_whose_successor_can_not_be_made() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = trees(home.path());
        file(source.join("name"), "new");
        file(destination.join("name/precious"), "old");
        let before = snapshot(&destination);
        // On a tmpfs no file can be cloned.
        let ran = sync_with(engine, &["--delete", "--reflink=always"], &source, &destination).exits(23);
        assert!(ran.err.contains("clone "), "{}", ran.err);
        assert_eq!(
            snapshot(&destination).get(Path::new("name/precious")),
            before.get(Path::new("name/precious"))
        );
        assert_no_litter(&destination);
    }
}

fn a_directory_in_the_way_with_something_that_stays() {
    for &engine in ENGINES.iter() {
        for options in [&["--delete", "--exclude=keep"][..], &["--delete", "-b"]] {
            let home = scratch();
            let (source, destination) = trees(home.path());
            file(source.join("name"), "new");
            for name in ["name/keep", "name/other", "name/deep/keep"] {
                file(destination.join(name), name);
            }
            let before = snapshot(&destination);
            let dry = [options, &["-n", "-v"]].concat();
            let told = sync_with(engine, &dry, &source, &destination).exits(23);
            assert!(!told.out.contains("deleted   name"), "{}", told.out);
            let ran = sync_with(engine, options, &source, &destination).exits(23);
            assert!(ran.err.contains("a directory that is not empty is in the way"), "{}", ran.err);
            assert!(snapshot(&destination).keys().eq(before.keys()));
        }
    }
}

fn a_directory_in_the_way_of_a_single_file() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("name"), "new");
    file(destination.join("name/precious"), "old");
    let ran = sync_with("threads", &["--delete"], &source.join("name"), &destination).exits(23);
    assert!(ran.err.contains("in the way"), "{}", ran.err);
    assert!(destination.join("name/precious").exists());
}

fn backups_of_the_same_run() {
    for &engine in ENGINES.iter() {
        for options in [&["-b", "--delete-excluded"][..], &["-b", "--delete", "--include=*"]] {
            let home = scratch();
            let (source, destination) = trees(home.path());
            file(source.join("file"), "new and longer");
            file(destination.join("file"), "old");
            file(destination.join("extra/file"), "x");
            sync_with(engine, options, &source, &destination).exits(0);
            assert_eq!(fs::read(destination.join("file~")).unwrap(), b"old", "{options:?}");
            assert_eq!(fs::read(destination.join("extra/file~")).unwrap(), b"x", "{options:?}");
        }
    }
}

fn what_was_to_be_kept_in_the_destination_itself() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("file"), "new and longer");
    file(destination.join("file"), "old");
    symlink("dst", home.path().join("link")).unwrap();
    let by_link = format!("--backup-dir={}", home.path().join("link").display());
    for option in ["--backup-dir=.", "--backup-dir=../dst", &by_link] {
        let ran = sync_with("threads", &[option, "--delete"], &source, &destination).exits(3);
        assert!(ran.err.contains("it is DST itself"), "{}", ran.err);
    }
    assert_eq!(fs::read(destination.join("file")).unwrap(), b"old");
}

fn a_source_that_backups_would_overwrite() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("file"), "good");
    file(destination.join("src/file"), "old");
    let ran = sync_with("threads", &["--delete", "--backup-dir=.."], &source, &destination).exits(3);
    assert!(ran.err.contains("SRC lies inside it"), "{}", ran.err);
    assert_eq!(fs::read(source.join("file")).unwrap(), b"good");
}

fn a_limit_that_can_not_be_checked() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o755);
        let (source, destination) = trees(home.path());
        file(source.join("file"), "x");
        for name in ["private/1", "private/2", "private/3", "extra", "file"] {
            file(destination.join(name), name);
        }
        mode(destination.join("private"), 0);
        give_tree(&source, ALICE);
        give_tree(&destination, ALICE);
        let words = ["sync", "--delete", "--max-delete=1", "--engine", engine];
        let ran = as_alice(&words, &source, &destination).exits(25);
        assert!(ran.err.contains("it can't be told how much it would be: list destination"), "{}", ran.err);
        assert!(destination.join("private/3").exists() && destination.join("extra").exists());
    }
}

fn another_file_system_under_a_name_of_the_source() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = trees(home.path());
        file(source.join("mnt/file"), "x");
        fs::create_dir(destination.join("mnt")).unwrap();
        let mount = Mount::tmpfs_at(&destination.join("mnt"), "1M");
        file(destination.join("mnt/precious"), "x");
        sync_with(engine, &["--delete", "-x"], &source, &destination).exits(0);
        assert!(destination.join("mnt/precious").exists());
        let mut check = Command::new(program());
        check.args(["check", "-x"]).arg(&source).arg(&destination);
        assert!(!run(check).out.contains("deleting"));
        drop(mount);
    }
}

fn a_part_of_the_source_mounted_in_the_destination() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("other/file"), "precious");
    file(source.join("mnt/new"), "x");
    fs::create_dir(destination.join("mnt")).unwrap();
    tool("mount", &[Path::new("--bind"), &source.join("other"), &destination.join("mnt")]);
    let ran = sync_with("threads", &["--delete"], &source, &destination);
    tool("umount", &[&destination.join("mnt")]);
    let ran = ran.exits(3);
    assert!(ran.err.contains("a part of SRC is mounted inside DST"), "{}", ran.err);
    assert!(source.join("other/file").exists() && !source.join("other/new").exists());
}

fn what_rules_in_the_destination_protect() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = trees(home.path());
        file(source.join("dir/file"), "x");
        for name in ["dir/keep", "dir/go", "gone/keep", "gone/go", "keep"] {
            file(destination.join(name), name);
        }
        file(destination.join("dir/.rsync-filter"), "P keep\nP .rsync-filter\n");
        file(destination.join("gone/.rsync-filter"), "P keep\nP .rsync-filter\n");
        sync_with(engine, &["-F", "--delete"], &source, &destination).exits(0);
        for (name, stays) in
            [("dir/keep", true), ("gone/keep", true), ("dir/go", false), ("gone/go", false), ("keep", false)]
        {
            assert_eq!(destination.join(name).exists(), stays, "{name}");
        }
        // Rules that can't be read may protect anything.
        file(destination.join("dir/.rsync-filter"), "nonsense\n");
        file(destination.join("dir/more"), "x");
        sync_with(engine, &["-F", "--delete"], &source, &destination).exits(23);
        assert!(destination.join("dir/more").exists() && destination.join("dir/keep").exists());
    }
}

fn what_rules_about_whole_paths_protect() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("file"), "x");
    file(destination.join("file"), "x");
    file(destination.join("keep"), "x");
    file(destination.join("go"), "x");
    let rule = format!("--filter=P/ {}", destination.canonicalize().unwrap().join("keep").display());
    sync_with("threads", &["--delete", &rule], &source, &destination).exits(0);
    assert!(destination.join("keep").exists() && !destination.join("go").exists());
}

fn patterns_of_a_directorys_own_rules_reach_above_it() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("dir/.rsync-filter"), "P dir/keep\n- dir/out\n- /anchored\n");
    for name in ["dir/out", "dir/in", "dir/anchored", "dir/sub/anchored"] {
        file(source.join(name), name);
    }
    file(destination.join("dir/keep"), "x");
    file(destination.join("dir/go"), "x");
    sync_with("threads", &["-F", "--delete"], &source, &destination).exits(0);
    for (name, there) in [
        ("dir/keep", true),
        ("dir/go", false),
        ("dir/out", false),
        ("dir/in", true),
        ("dir/anchored", false),
        ("dir/sub/anchored", true),
    ] {
        assert_eq!(destination.join(name).exists(), there, "{name}");
    }
}

fn a_literal_exclamation_mark() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join(".rules"), "a\n!\n");
    for name in ["a", "!", "b"] {
        file(source.join(name), name);
    }
    sync_with("threads", &["--filter=:- .rules"], &source, &destination).exits(0);
    let there = |name: &str| destination.join(name).exists();
    assert!(!there("a") && !there("!") && there("b"));
}

fn the_runs_own_manifest_and_log() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = trees(home.path());
        file(source.join("file"), "x");
        fs::create_dir(destination.join("sub")).unwrap();
        let manifest = format!("--manifest={}", destination.join("sub/sums").display());
        let log = format!("--log-file={}", destination.join("log").display());
        for _ in 0..2 {
            let options = ["--delete", "--max-delete=0", &manifest, &log];
            sync_with(engine, &options, &source, &destination).exits(0);
            assert!(destination.join("sub/sums").exists() && destination.join("log").exists());
        }
        sync_with(engine, &["--delete"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn backups_that_lie_in_what_is_deleted() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = trees(home.path());
        file(destination.join("dir/kept/older"), "o");
        file(destination.join("dir/file"), "f");
        file(source.join("dir"), "x");
        file(source.join("other"), "x");
        sync_with(engine, &["--delete", "--backup-dir=dir/kept"], &source, &destination).exits(23);
        assert!(destination.join("dir/kept/older").exists() && destination.join("dir/file").exists());
        // Not through a symlink in DST, which would be extra itself: nothing is begun.
        let (source, destination) = trees(&home.path().join("second"));
        file(source.join("file"), "x");
        file(destination.join("file"), "x");
        file(destination.join("extra"), "x");
        fs::create_dir(home.path().join("elsewhere")).unwrap();
        symlink("../../elsewhere", destination.join("kept")).unwrap();
        sync_with(engine, &["--delete", "--backup-dir=kept"], &source, &destination).exits(3);
        assert!(destination.join("extra").exists() && destination.join("kept").is_symlink());
        assert_eq!(fs::read_dir(home.path().join("elsewhere")).unwrap().count(), 0);
        fs::remove_dir_all(home.path().join("elsewhere")).unwrap();
    }
}

fn permissions_of_a_directory_that_stays() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o755);
        let (source, destination) = trees(home.path());
        file(source.join("file"), "x");
        file(destination.join("file"), "x");
        file(destination.join("extra/keep"), "x");
        file(destination.join("extra/go"), "x");
        mode(destination.join("extra"), 0o500);
        give_tree(&source, ALICE);
        give_tree(&destination, ALICE);
        let words = ["sync", "--delete", "--exclude=keep", "--engine", engine];
        as_alice(&words, &source, &destination).exits(0);
        assert!(!destination.join("extra/go").exists() && destination.join("extra/keep").exists());
        assert_eq!(fs::metadata(destination.join("extra")).unwrap().mode() & 0o7777, 0o500);
    }
}

fn check_knows_what_stays_in_extra_directories() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("file"), "x");
    file(destination.join("file"), "x");
    file(destination.join("dir/keep"), "x");
    file(destination.join("dir/go"), "x");
    let options = ["--exclude=keep"];
    sync_with("threads", &["--delete", "--exclude=keep"], &source, &destination).exits(0);
    let mut check = Command::new(program());
    check.arg("check").args(options).arg(&source).arg(&destination);
    run(check).exits(0);
}

fn a_file_with_a_path_below_it_in_the_list() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("a"), "x");
    file(home.path().join("list"), "a\na/b\n");
    let list = format!("--files-from={}", home.path().join("list").display());
    let ran = sync_with("threads", &[&list], &source, &destination).exits(23);
    assert!(ran.err.contains("Not a directory") && destination.join("a").exists(), "{}", ran.err);
    // A list says nothing about what else there is.
    file(destination.join("other"), "x");
    let mut check = Command::new(program());
    check.arg("check").arg(list).arg(&source).arg(&destination);
    assert!(!run(check).out.contains("deleting"));
}

/// It has our kind of name and mode, and is not locked.
fn a_directory_that_a_killed_run_set_aside() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("large"), vec![7; 64 << 20]);
    file(destination.join("large/old/file"), "old");
    // Killed where it begins to remove what has lost its name.
    let mut command = program_with(&["inject=unlinkat:signal=KILL:when=1"]);
    command.args(["sync", "--delete", "--reflink=never"]).arg(&source).arg(&destination);
    assert_eq!(run(command).code, None, "killed");
    let names = fs::read_dir(&destination).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<_> =
        names.filter(|path| path.to_string_lossy().contains("/.replaced-by-ringsync-")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(fs::read(aside[0].join("large/old/file")).unwrap(), b"old");
    assert!(destination.join("large").is_file());
    sync_with("auto", &["--delete"], &source, &destination).exits(0);
    assert_equal(&source, &destination);
    assert_no_litter(&destination);
}

fn a_mirror_linked_to_its_own_source() {
    let home = scratch();
    let (source, destination) = trees(home.path());
    file(source.join("file"), "x");
    let ran = sync_with("threads", &["--link-dest=../src"], &source, &destination).exits(3);
    assert!(ran.err.contains("it is SRC"), "{}", ran.err);
    // The same option twice is no error.
    sync_with("threads", &["--delete", "--delete-after", "--delete"], &source, &destination).exits(0);
}
