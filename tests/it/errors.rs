//! Promise 6: a file that fails costs that file, and the exit code tells.

use std::fs;
use std::path::Path;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, noise};
use crate::support::user::{ALICE, as_alice, give};
use crate::support::{ENGINES, assert_no_litter, assert_whole, meanwhile, program, run, scratch, sync_with};

tests![
    what_cannot_be_read_costs_itself_alone: [Need::Root, Need::Tool("setpriv")],
    what_cannot_be_made_costs_itself_alone: [Need::Root, Need::Tool("setpriv")],
    an_immutable_file_is_named: [Need::FileSystem("ext4"), Need::Tool("chattr")],
    a_full_disk_breaks_off: [Need::Root],
    a_file_system_out_of_inodes_breaks_off: [Need::Root],
    a_read_only_destination_ends_the_run: [Need::FileSystem("ext4")],
    usage_errors_exit_1,
    a_full_ext4_breaks_off: [Need::FileSystem("ext4")],
    an_attribute_that_does_not_fit_costs_itself_alone: [Need::FileSystem("ext4")],
    files_that_vanish_are_told_apart,
    messages_that_nobody_reads_do_not_end_the_run: [Need::Tool("bash")],
    a_file_size_limit_costs_the_large_file_alone: [Need::Tool("prlimit")],
    a_full_disk_for_the_log_is_told,
    scarce_descriptors_are_enough: [Need::Tool("prlimit")],
    too_many_links_become_copies_once: [Need::FileSystem("ext4")],
    what_is_in_the_way_stays_until_its_successor_is_there: [Need::Root, Need::Tool("setpriv")],
];

fn a_full_ext4_breaks_off() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..300 {
        file(source.join(format!("d{}/file{index}", index % 10)), noise(index, 100_000));
    }
    for &engine in ENGINES.iter() {
        let mount = Mount::new("ext4", "16M");
        let ran = sync_with(engine, &[], &source, &mount.path().join("dst")).exits(11);
        assert!(ran.err.contains("No space left on device"), "{}", ran.err);
        assert_whole(&source, &mount.path().join("dst"));
    }
}

fn an_attribute_that_does_not_fit_costs_itself_alone() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..50 {
        file(source.join(format!("file{index}")), "x");
    }
    crate::support::tree::xattr(source.join("file7"), "user.large", &noise(0, 20_000));
    let mount = Mount::new("ext4", "600M");
    for &engine in ENGINES.iter() {
        let destination = mount.path().join(engine);
        let ran = sync_with(engine, &[], &source, &destination).exits(23);
        assert!(ran.err.contains("set extended attribute of") && ran.err.contains("/file7: "), "{}", ran.err);
        assert_eq!(fs::read_to_string(destination.join("file7")).unwrap(), "x");
    }
}

/// Files come and go while mirrors run, until one is gone between listing and opening.
fn files_that_vanish_are_told_apart() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..3000 {
        file(source.join(format!("d{}/file{index}", index % 10)), "x");
    }
    let replace_all = || {
        for index in 0..3000 {
            let path = source.join(format!("d{}/file{index}", index % 10));
            fs::remove_file(&path).unwrap();
            fs::write(&path, "x").unwrap();
        }
    };
    let vanished = meanwhile(replace_all, || {
        (0..200).find_map(|turn| {
            let ran = sync_with(ENGINES[turn % ENGINES.len()], &[], &source, &destination);
            assert!(matches!(ran.code, Some(0 | 23 | 24)), "{ran:#?}");
            (ran.code == Some(24)).then_some(ran)
        })
    });
    let ran = vanished.expect("a file that vanished");
    assert!(ran.err.lines().all(|line| line.contains("vanished from SRC during the run")), "{}", ran.err);
}

fn messages_that_nobody_reads_do_not_end_the_run() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..500 {
            file(source.join(format!("file{index}")), "x");
            file(destination.join(format!("file{index}/full")), "x");
        }
        file(source.join("good/file"), "x");
        for tail in ["2>&1 | head -n 1 >/dev/null", "2>/dev/full", ">/dev/full 2>&1", ">&- 2>&-"] {
            let line = format!(
                "{{ {} sync -v --engine {engine} {} {} {tail}; }}",
                program().display(),
                source.display(),
                destination.display()
            );
            let mut command = std::process::Command::new("bash");
            command.args(["-o", "pipefail", "-c", &line]);
            run(command).exits(23);
            assert_eq!(fs::read(destination.join("good/file")).unwrap(), b"x");
        }
    }
}

fn a_file_size_limit_costs_the_large_file_alone() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("large"), noise(1, 3 << 20));
    file(source.join("larger"), noise(1, 20 << 20));
    file(source.join("small"), "x");
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        let mut command = std::process::Command::new("prlimit");
        command.arg("--fsize=1000000").arg(program()).args(["sync", "--engine", engine]);
        let ran = run({
            command.arg(&source).arg(&destination);
            command
        })
        .exits(23);
        assert!(ran.err.lines().all(|line| line.contains("File too large")), "{}", ran.err);
        assert_eq!(fs::read_dir(&destination).unwrap().count(), 1);
    }
}

fn a_full_disk_for_the_log_is_told() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    for option in ["--json", "-v"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = std::process::Command::new(program());
        command.args(["sync", option]).arg(&source).arg(&destination);
        let child = command.stdout(full).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let ran = crate::support::finish(child, std::time::Duration::from_secs(60)).exits(23);
        assert!(ran.err.contains("write standard output: No space left on device"), "{}", ran.err);
        assert_eq!(fs::read(destination.join("file")).unwrap(), b"x");
    }
}

fn scarce_descriptors_are_enough() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..500 {
        file(source.join(format!("d{}/e{}/f/file{index}", index % 60, index % 7)), noise(index, 3000));
    }
    file(source.join("large"), noise(1, 20 << 20));
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        let mut command = std::process::Command::new("prlimit");
        command.arg("--nofile=128:128").arg(program()).args(["sync", "--engine", engine]);
        let ran = run({
            command.arg(&source).arg(&destination);
            command
        });
        ran.exits(0);
        crate::support::assert_equal(&source, &destination);
    }
}

/// ext4 allows 65,000 names an inode; the source, on a tmpfs, has more.
fn too_many_links_become_copies_once() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("d0/first"), "shared");
    for index in 0..65_050 {
        let directory = source.join(format!("d{}", index % 20));
        if index < 20 {
            fs::create_dir_all(&directory).unwrap();
        }
        fs::hard_link(source.join("d0/first"), directory.join(index.to_string())).unwrap();
    }
    let mount = Mount::new("ext4", "200M");
    let destination = mount.path().join("dst");
    // One after the other: the copy becomes the first name of those that come after it.
    let ran = sync_with("auto", &["--json", "--jobs=1", "--depth=1"], &source, &destination).exits(23);
    assert!(ran.err.contains("one more name of d"), "{}", ran.err);
    assert_eq!(ran.summary()["errors"], 1, "{}", ran.err);
    let names =
        walkdir::WalkDir::new(&destination).into_iter().filter(|e| e.as_ref().unwrap().file_type().is_file());
    assert_eq!(names.count(), 65_051);
    let again = sync_with("auto", &["--json"], &source, &destination).exits(23);
    assert_eq!(again.summary()["bytes"], 0, "nothing is copied again: {}", again.out);
}

fn what_is_in_the_way_stays_until_its_successor_is_there() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o777);
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("name"), "unreadable");
        mode(source.join("name"), 0o000);
        fs::create_dir_all(destination.join("name")).unwrap();
        for path in [&destination, &destination.join("name")] {
            give(path, ALICE);
        }
        as_alice(&["sync", "--no-owner", "--engine", engine], &source, &destination).exits(23);
        assert!(destination.join("name").is_dir());
    }
}

fn what_cannot_be_read_costs_itself_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o777);
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["good", "unreadable", "closed/inner", "listed/inner", "searched/inner"] {
            file(source.join(name), name);
        }
        mode(source.join("unreadable"), 0o000);
        mode(source.join("closed"), 0o000);
        mode(source.join("listed"), 0o744); // names can be listed and not opened
        mode(source.join("searched"), 0o711); // the other way round
        let ran = as_alice(&["sync", "--no-owner", "--engine", engine], &source, &destination).exits(23);
        let mut lines: Vec<String> =
            ran.err.lines().map(|line| line.replace(&format!("{}/", source.display()), "")).collect();
        lines.sort();
        let denied = "Permission denied (os error 13)";
        assert_eq!(
            lines,
            [
                format!("ringsync: list source directory closed: {denied}"),
                format!("ringsync: list source directory searched: {denied}"),
                format!("ringsync: open source listed/inner: {denied}"),
                format!("ringsync: open source unreadable: {denied}"),
            ]
        );
        assert_eq!(fs::read(destination.join("good")).unwrap(), b"good");
        for absent in ["unreadable", "closed/inner", "listed/inner", "searched/inner"] {
            assert!(!destination.join(absent).exists(), "{absent}");
        }
        assert!(destination.join("closed").exists());
    }
}

fn what_cannot_be_made_costs_itself_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o777);
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for name in ["good/file", "theirs/file", "theirs/second", "theirs/deep/er/file"] {
            file(source.join(name), name);
        }
        file(destination.join("theirs/old"), "root's"); // a directory of root's: not ours to write
        give(&destination, ALICE);
        let ran = as_alice(&["sync", "--no-owner", "--engine", engine], &source, &destination).exits(23);
        assert!(ran.err.lines().all(|line| line.contains("/dst/theirs")), "{}", ran.err);
        assert!(
            ran.err.contains("create") && ran.err.contains("/dst/theirs/file: Permission denied"),
            "{}",
            ran.err
        );
        assert_eq!(fs::read(destination.join("good/file")).unwrap(), b"good/file");
        assert!(!destination.join("theirs/file").exists());
    }
}

fn an_immutable_file_is_named() {
    let mount = Mount::new("ext4", "64M");
    for &engine in ENGINES.iter() {
        let (source, destination) = (mount.path().join("src"), mount.path().join(engine));
        file(source.join("file"), "new");
        file(source.join("other"), "new");
        file(destination.join("file"), "old!");
        let path = destination.join("file");
        crate::support::tool("chattr", &[Path::new("+i"), &path]);
        let ran = sync_with(engine, &[], &source, &destination);
        crate::support::tool("chattr", &[Path::new("-i"), &path]);
        let ran = ran.exits(23);
        assert!(ran.err.contains("/file: Operation not permitted"), "{}", ran.err);
        assert_eq!(fs::read(destination.join("file")).unwrap(), b"old!");
        assert_eq!(fs::read(destination.join("other")).unwrap(), b"new");
        assert_no_litter(&destination);
    }
}

fn a_full_disk_breaks_off() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        for index in 0..3000 {
            file(source.join(format!("small{index}")), noise(index, 20_000));
        }
        file(source.join("large"), noise(1000, 20 << 20));
        let mount = Mount::new("tmpfs", "9M");
        let destination = mount.path().join("dst");
        let ran = sync_with(engine, &[], &source, &destination).exits(11);
        assert!(ran.err.contains("No space left on device"), "{}", ran.err);
        assert!(ran.err.lines().count() < 200, "files in flight fail, but the others are not even tried");
        assert!(ran.out.starts_with("broken off: "), "{}", ran.out);
        assert_whole(&source, &destination);
    }
}

fn a_file_system_out_of_inodes_breaks_off() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        for index in 0..300 {
            file(source.join(format!("d{}/file{index}", index % 40)), "x");
        }
        let mount = Mount::new("tmpfs", "50M,nr_inodes=100");
        let ran = sync_with(engine, &[], &source, &mount.path().join("dst")).exits(11);
        assert!(ran.err.contains("No space left on device"), "{}", ran.err);
        assert_whole(&source, &mount.path().join("dst"));
    }
}

fn a_read_only_destination_ends_the_run() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("a/file"), "x");
    file(source.join("other"), "x");
    let mount = Mount::new("ext4", "32M");
    crate::support::tool("mount", &[Path::new("-o"), Path::new("remount,ro"), mount.path()]);
    for &engine in ENGINES.iter() {
        let ran = sync_with(engine, &[], &source, mount.path()).exits(11);
        assert!(ran.err.contains(": Read-only file system"), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
}

fn usage_errors_exit_1() {
    for arguments in [
        &["sync"][..],
        &["sync", "a"],
        &["sync", "a", "b", "--dept", "3"],
        &["snyc"],
        &[],
        &["sync", "a", "b", "-j0"],
    ] {
        let mut command = std::process::Command::new(program());
        command.args(arguments);
        let ran = run(command).exits(1);
        assert_eq!(ran.out, "");
        assert!(ran.err.contains("Usage") || ran.err.contains("--help"), "{}", ran.err);
    }
    let mut command = std::process::Command::new(program());
    command.args(["sync", "a", "b", "--dept", "3"]);
    assert!(run(command).err.contains("--depth"), "a typo is answered with what was meant");
}
