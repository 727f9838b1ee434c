//! The second run: only what changed, and nothing written where nothing did.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::FileType;

use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise, xattr};
use crate::support::user::as_alice;
use crate::support::{
    ENGINES, assert_equal, assert_no_litter, await_of, finish, program, scratch, sync_with,
};

tests![
    an_untouched_tree_is_not_written,
    metadata_is_mended_without_copying,
    changed_contents_are_copied,
    another_type_in_the_way_is_replaced: [Need::Root],
    a_directory_that_is_not_empty_stays,
    what_the_destination_has_beyond_stays,
    a_shared_inode_is_never_written_through,
    a_dry_run_writes_nothing_and_tells_all,
    a_dry_run_sees_what_is_in_the_way,
    without_atomic_the_result_is_the_same,
    two_runs_into_one_new_destination_merge,
    a_directory_that_another_run_has_made_and_that_stays_open_gets_nothing: [Need::Tool("strace")],
    a_directory_that_appears_while_it_is_made_counts_as_the_sources: [Need::Tool("strace")],
    a_directory_that_had_to_be_opened_gets_its_mode_back: [Need::Root, Need::Tool("setpriv")],
    read_only_directories_are_no_obstacle: [Need::Root, Need::Tool("setpriv")],
];

fn small_tree(root: &Path) {
    for index in 0..50 {
        file(
            root.join(format!("d{}/e{}/file{index}", index % 3, index % 7)),
            noise(index, 100 * index as usize),
        );
    }
    symlink("file0", root.join("d0/link")).unwrap();
    node(root.join("d0/fifo"), FileType::Fifo, (0, 0));
}

/// Every inode's time of change and of access: nothing can be written without moving the first.
fn traces(root: &Path) -> Vec<(std::path::PathBuf, i64, i64, u64)> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            (entry.into_path(), metadata.ctime(), metadata.ctime_nsec(), metadata.ino())
        })
        .collect()
}

fn an_untouched_tree_is_not_written() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        small_tree(&source);
        sync_with(engine, &[], &source, &destination).exits(0);
        let before = traces(home.path());
        let ran = sync_with(engine, &["--json", "-vv"], &source, &destination).exits(0);
        assert_eq!(traces(home.path()), before);
        let lines = ran.json();
        assert_eq!(ran.summary()["unchanged"], lines.len() - 2);
        assert!(lines[1..lines.len() - 1].iter().all(|line| line["action"] == "unchanged"));
    }
}

fn metadata_is_mended_without_copying() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        small_tree(&source);
        sync_with(engine, &[], &source, &destination).exits(0);
        let inode = |name: &str| fs::symlink_metadata(destination.join(name)).unwrap().ino();
        let before = [inode("d0/e0/file0"), inode("d1/e1/file1"), inode("d0/link")];
        mode(source.join("d0/e0/file0"), 0o711);
        xattr(source.join("d1/e1/file1"), "user.new", b"value");
        xattr(destination.join("d2/e2/file2"), "user.stray", b"value");
        modified(source.join("d0/link"), 12, 13);
        modified(source.join("d0"), 14, 15);
        mode(destination.join("d1"), 0o700);
        let ran = sync_with(engine, &["--json"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!([inode("d0/e0/file0"), inode("d1/e1/file1"), inode("d0/link")], before);
        assert_eq!((ran.summary()["metadata"].as_u64(), ran.summary()["bytes"].as_u64()), (Some(6), Some(0)));
    }
}

fn changed_contents_are_copied() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        small_tree(&source);
        sync_with(engine, &[], &source, &destination).exits(0);
        file(source.join("d0/e0/file0"), "longer than nothing");
        let same_size = fs::metadata(source.join("d1/e1/file1")).unwrap();
        file(source.join("d1/e1/file1"), noise(99, 100));
        assert_eq!(fs::metadata(source.join("d1/e1/file1")).unwrap().len(), same_size.len());
        fs::remove_file(source.join("d0/link")).unwrap();
        symlink("elsewhere", source.join("d0/link")).unwrap();
        file(source.join("new/file"), "new");
        let ran = sync_with(engine, &["--json"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
        let summary = ran.summary();
        assert_eq!((summary["updated"].as_u64(), summary["created"].as_u64()), (Some(3), Some(2)));
    }
}

fn another_type_in_the_way_is_replaced() {
    let make: [fn(&Path); 5] = [
        |path| file(path, "contents"),
        |path| symlink("target", path).unwrap(),
        |path| node(path, FileType::Fifo, (0, 0)),
        |path| node(path, FileType::CharacterDevice, (1, 3)),
        |path| fs::create_dir(path).unwrap(),
    ];
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&destination).unwrap();
        for (from, make_source) in make.iter().enumerate() {
            for (to, make_destination) in make.iter().enumerate() {
                make_source(&source.join(format!("{from}-{to}")));
                make_destination(&destination.join(format!("{from}-{to}")));
            }
        }
        file(source.join("4-0/inner"), "in a directory where a file was");
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

fn a_directory_that_is_not_empty_stays() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("name"), "a file");
        file(source.join("other"), "another");
        file(destination.join("name/precious"), "kept");
        let ran = sync_with(engine, &[], &source, &destination).exits(23);
        assert!(ran.err.contains("name: a directory that is not empty is in the way"), "{}", ran.err);
        assert_eq!(fs::read(destination.join("name/precious")).unwrap(), b"kept");
        assert_eq!(fs::read(destination.join("other")).unwrap(), b"another");
    }
}

fn what_the_destination_has_beyond_stays() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("a/file"), "x");
        file(destination.join("a/extra"), "kept");
        file(destination.join(".ringsync-looks-like-ours"), "kept");
        file(destination.join("a/.ringsync-0123456789abcdef0123456789abcdef"), "kept");
        sync_with(engine, &[], &source, &destination).exits(0);
        for name in ["a/extra", ".ringsync-looks-like-ours", "a/.ringsync-0123456789abcdef0123456789abcdef"] {
            assert_eq!(fs::read(destination.join(name)).unwrap(), b"kept", "{name}");
        }
    }
}

fn a_shared_inode_is_never_written_through() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("contents"), "new contents");
        file(source.join("mode"), "same");
        file(source.join("one"), "same size");
        file(source.join("two"), "SAME SIZE");
        file(home.path().join("elsewhere"), "old");
        fs::create_dir(&destination).unwrap();
        fs::hard_link(home.path().join("elsewhere"), destination.join("contents")).unwrap();
        fs::copy(source.join("mode"), home.path().join("shared")).unwrap();
        for name in ["mode", "one", "two"] {
            modified(source.join(name), 100, 0);
        }
        modified(home.path().join("shared"), 100, 0);
        mode(home.path().join("shared"), 0o600);
        fs::hard_link(home.path().join("shared"), destination.join("mode")).unwrap();
        // Two names of one inode for what are two files in the source, alike in all that a quick check sees.
        file(destination.join("one"), "same size");
        modified(destination.join("one"), 100, 0);
        fs::hard_link(destination.join("one"), destination.join("two")).unwrap();
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_eq!(fs::read(home.path().join("elsewhere")).unwrap(), b"old");
        assert_eq!(fs::metadata(home.path().join("shared")).unwrap().mode() & 0o777, 0o600);
        assert_ne!(
            fs::metadata(destination.join("one")).unwrap().ino(),
            fs::metadata(destination.join("two")).unwrap().ino()
        );
    }
}

fn a_dry_run_writes_nothing_and_tells_all() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        small_tree(&source);
        sync_with(engine, &[], &source, &destination).exits(0);
        file(source.join("new/deep/file"), "new");
        file(source.join("d0/e0/file0"), "changed");
        mode(source.join("d1/e1/file1"), 0o600);
        fs::hard_link(source.join("new/deep/file"), source.join("linked")).unwrap();
        let before = traces(&destination);
        let would = sync_with(engine, &["-n", "--json"], &source, &destination).exits(0);
        let fresh = sync_with(engine, &["-n", "--json"], &source, &home.path().join("fresh")).exits(0);
        assert_eq!(traces(&destination), before);
        assert!(!home.path().join("fresh").exists());
        let did = sync_with(engine, &["--json"], &source, &destination).exits(0);
        let made = sync_with(engine, &["--json"], &source, &home.path().join("fresh")).exits(0);
        for (dry, wet) in [(would, did), (fresh, made)] {
            let told = |ran: &crate::support::Ran| {
                let mut lines: Vec<String> = ran
                    .json()
                    .iter()
                    .filter(|line| line["event"] == "file" && line["type"] != "directory")
                    .map(|line| format!("{} {}", line["path"], line["bytes"]))
                    .collect();
                lines.sort();
                lines
            };
            assert_eq!(told(&dry).len(), told(&wet).len(), "{}\n{}", dry.out, wet.out);
            assert_eq!(dry.summary()["bytes"], wet.summary()["bytes"]);
        }
    }
}

fn a_dry_run_sees_what_is_in_the_way() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("full"), "x");
        file(source.join("empty"), "x");
        file(destination.join("full/file"), "x");
        fs::create_dir(destination.join("empty")).unwrap();
        let would = sync_with(engine, &["-n"], &source, &destination).exits(23);
        assert!(destination.join("empty").is_dir());
        let did = sync_with(engine, &[], &source, &destination).exits(23);
        assert_eq!(would.err, did.err);
        assert!(destination.join("empty").is_file());
    }
}

fn without_atomic_the_result_is_the_same() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        small_tree(&source);
        file(source.join("large"), noise(1, 20 << 20));
        mode(source.join("d0/e0/file0"), 0o4755);
        sync_with(engine, &["--no-atomic"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        file(source.join("large"), noise(2, 21 << 20));
        sync_with(engine, &["--no-atomic"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

/// Not readable for its owner, in both trees: it is opened up for the run and must be closed again each time.
fn a_directory_that_had_to_be_opened_gets_its_mode_back() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o777);
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir_all(source.join("closed")).unwrap();
        mode(source.join("closed"), 0o311);
        for _ in 0..3 {
            // It can't be listed.
            as_alice(&["sync", "--engine", engine, "--no-owner", "--no-group"], &source, &destination)
                .exits(23);
            assert_eq!(fs::metadata(destination.join("closed")).unwrap().mode() & 0o777, 0o311);
        }
    }
}

fn read_only_directories_are_no_obstacle() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o777);
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("closed/inner/file"), "one");
        for name in ["closed/inner", "closed"] {
            mode(source.join(name), 0o555);
        }
        let words = ["sync", "--engine", engine, "--no-owner", "--no-group"];
        let sync = || as_alice(&words, &source, &destination).exits(0);
        sync();
        file(source.join("closed/inner/second"), "two");
        sync();
        assert_eq!(fs::read(destination.join("closed/inner/second")).unwrap(), b"two");
        assert_eq!(fs::metadata(destination.join("closed/inner")).unwrap().mode() & 0o777, 0o555);
    }
}

/// Both make the same directories at the same time, and fill them before they have a name.
fn two_runs_into_one_new_destination_merge() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        for index in 0..600 {
            file(source.join(format!("d{}/e{}/file{index}", index % 3, index % 20)), noise(index, 2000));
        }
        for index in 0..20 {
            symlink("file", source.join(format!("d{}/e{index}/link", index % 3))).unwrap();
        }
        (0..3).for_each(|index| mode(source.join(format!("d{index}/e7")), 0o2751));
        // Others may write to some, and so could have made them.
        mode(&source, 0o2775);
        (0..3).for_each(|index| mode(source.join(format!("d{index}")), 0o2775));
        for round in 0..12 {
            let destination = home.path().join(format!("dst{round}"));
            fs::create_dir(&destination).unwrap();
            let ran = std::thread::scope(|scope| {
                let mirror = || sync_with(engine, &["-q"], &source, &destination);
                let other = scope.spawn(mirror);
                [mirror(), other.join().unwrap()]
            });
            ran.into_iter().for_each(|ran| {
                assert_eq!((ran.err.as_str(), ran.code), ("", Some(0)), "round {round}");
            });
            assert_no_litter(&destination);
            sync_with(engine, &["-q"], &source, &destination).exits(0);
            assert_equal(&source, &destination);
        }
    }
}

/// Where others may write, a directory is opened to more users only if all that it holds was compared. One that another run
/// makes after this one has found nothing there is no reason to keep it closed.
fn a_directory_that_appears_while_it_is_made_counts_as_the_sources() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/e/f/file"), "contents"); // with a directory in it, `e` is made under its own name
        fs::create_dir_all(destination.join("d")).unwrap();
        for path in [&source, &destination, &source.join("d")] {
            mode(path, 0o2775);
        }
        mode(destination.join("d"), 0o700);
        let log = home.path().join("log");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=mkdirat", "-e", "inject=mkdirat:delay_enter=500000"]);
        command.arg("-o").arg(&log).arg(program()).args(["sync", "-q", "--engine", engine]);
        let mut child = command.arg(&source).arg(&destination).spawn().unwrap();
        let begins = || fs::read_to_string(&log).is_ok_and(|log| log.contains("mkdirat("));
        await_of(&mut child, "a directory that is about to be made", begins);
        fs::create_dir(destination.join("d/e")).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(fs::read_to_string(&log).unwrap().contains("EEXIST"), "it was found, not made");
        assert_equal(&source, &destination);
    }
}

/// The one that another run has made can't be closed as the source is: nothing is moved into it.
fn a_directory_that_another_run_has_made_and_that_stays_open_gets_nothing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("d/secret"), "contents");
        mode(source.join("d"), 0o700);
        fs::create_dir(&destination).unwrap();
        let log = home.path().join("log");
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-qq",
            "-e",
            "trace=renameat2,fchmod",
            "-e",
            "inject=renameat2:delay_enter=500000",
        ]);
        command.args(["-e", "inject=fchmod:error=EPERM", "-o"]).arg(&log).arg(program());
        command.args(["sync", "-q", "--engine", engine]).arg(&source).arg(&destination);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let begins = || fs::read_to_string(&log).is_ok_and(|log| log.contains("renameat2("));
        await_of(&mut child, "a directory that is about to get its name", begins);
        fs::create_dir(destination.join("d")).unwrap();
        mode(destination.join("d"), 0o755);
        let ran = finish(child, Duration::from_secs(60)).exits(23);
        let told = "dst/d: 0700 of a directory that another run has made meanwhile: what is in it is copied by the next run: \
                    Operation not permitted (os error 1) (--no-perms leaves modes alone)";
        assert!(ran.err.contains(told), "{}", ran.err);
        assert_eq!(fs::read_dir(destination.join("d")).unwrap().count(), 0);
        assert_no_litter(&destination);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}
