//! What close(2) says counts: a file system that tells of a failed write only then, as NFS and CIFS do, and FUSE may.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise};
use crate::support::{ENGINES, assert_equal, assert_no_litter, program, run, scratch, sync_with};

tests![
    a_write_that_fails_at_close_costs_the_new_file: [Need::Fuse],
    a_file_rewritten_in_place_does_not_look_right: [Need::Fuse],
    a_manifest_that_fails_at_close_leaves_the_old_one: [Need::Fuse],
    a_log_or_trace_that_fails_at_close_is_told: [Need::Fuse],
    a_backup_that_fails_at_close_keeps_the_old_file: [Need::Fuse],
    where_closing_says_nothing_it_is_not_asked: [Need::Tool("strace")],
];

/// Errors of close(2), with the exit code and the text of each.
const ERRORS: [(i32, i32, &str); 2] =
    [(libc::EDQUOT, 11, "Disk quota exceeded"), (libc::EIO, 23, "Input/output error")];

/// What there is below a directory, temporary names included.
fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn a_write_that_fails_at_close_costs_the_new_file() {
    for &engine in ENGINES.iter() {
        for (errno, code, text) in ERRORS {
            for size in [10, 9 << 20] {
                for options in [&[][..], &["--no-atomic"], &["--verify"]] {
                    let (fuse, home) = (Fuse::new(), scratch());
                    let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
                    for (name, old) in [("new", None), ("replaced", Some("old"))] {
                        fs::remove_dir_all(&source).ok();
                        file(source.join(name), noise(1, size));
                        fs::create_dir_all(&destination).unwrap();
                        old.iter().for_each(|old| file(destination.join(name), old));
                        fuse.spoil(Call::Flush, "", Effect::Fail(errno), usize::MAX);
                        let ran = sync_with(engine, options, &source, &destination).exits(code);
                        assert!(ran.err.contains("write ") && ran.err.contains(text), "{}", ran.err);
                        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
                        fuse.release();
                        match old {
                            None => assert_eq!(names(&destination), [""; 0], "{options:?}"),
                            Some(old) => {
                                assert_eq!(names(&destination), [name]);
                                assert_eq!(fs::read(destination.join(name)).unwrap(), old.as_bytes());
                            }
                        }
                        sync_with(engine, options, &source, &destination).exits(0);
                        assert_equal(&source, &destination);
                        fs::remove_dir_all(&destination).unwrap();
                    }
                }
            }
        }
    }
}

fn a_file_rewritten_in_place_does_not_look_right() {
    for &engine in ENGINES.iter() {
        for size in [300_000, 9 << 20] {
            let (fuse, home) = (Fuse::new(), scratch());
            let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
            file(source.join("file"), noise(1, size));
            file(destination.join("file"), noise(2, size));
            fuse.spoil(Call::Flush, "", Effect::Fail(libc::EIO), usize::MAX);
            let ran = sync_with(engine, &["--inplace"], &source, &destination).exits(23);
            assert!(ran.err.contains("Input/output error"), "{}", ran.err);
            fuse.release();
            let modified = |root: &Path| fs::metadata(root.join("file")).unwrap().modified().unwrap();
            assert_ne!(modified(&source), modified(&destination), "the next run is to see it");
            sync_with(engine, &["--inplace"], &source, &destination).exits(0);
            assert_equal(&source, &destination);
        }
    }
}

fn a_manifest_that_fails_at_close_leaves_the_old_one() {
    for &engine in ENGINES.iter() {
        for (errno, code, text) in ERRORS {
            let (fuse, home) = (Fuse::new(), scratch());
            let (source, manifest) = (home.path().join("src"), fuse.path().join("sums"));
            file(source.join("file"), "x");
            file(&manifest, "old");
            fuse.spoil(Call::Flush, "", Effect::Fail(errno), usize::MAX);
            let options = ["--manifest", manifest.to_str().unwrap()];
            let ran = sync_with(engine, &options, &source, &home.path().join("dst")).exits(code);
            assert!(ran.err.contains("write manifest") && ran.err.contains(text), "{}", ran.err);
            fuse.release();
            assert_eq!(fs::read(&manifest).unwrap(), b"old");
            assert_no_litter(fuse.path());
        }
    }
}

fn a_log_or_trace_that_fails_at_close_is_told() {
    for option in ["--log-file", "--trace"] {
        for (errno, _, text) in ERRORS {
            let (fuse, home) = (Fuse::new(), scratch());
            let (source, path) = (home.path().join("src"), fuse.path().join("report"));
            file(source.join("file"), "x");
            fuse.spoil(Call::Flush, "report", Effect::Fail(errno), usize::MAX);
            let options = [option, path.to_str().unwrap()];
            let ran = sync_with("threads", &options, &source, &home.path().join("dst")).exits(23);
            assert!(ran.err.contains(path.to_str().unwrap()) && ran.err.contains(text), "{}", ran.err);
            assert_equal(&source, &home.path().join("dst"));
        }
    }
}

fn a_backup_that_fails_at_close_keeps_the_old_file() {
    for &engine in ENGINES.iter() {
        let (fuse, home) = (Fuse::new(), scratch());
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("file"), "new and longer");
        file(destination.join("file"), "old");
        fuse.spoil(Call::Flush, "", Effect::Fail(libc::EIO), usize::MAX);
        let backups = fuse.path().join("backups");
        let options = ["--backup-dir", backups.to_str().unwrap()];
        let ran = sync_with(engine, &options, &source, &destination).exits(23);
        assert!(ran.err.contains("back up"), "{}", ran.err);
        assert_eq!(fs::read(destination.join("file")).unwrap(), b"old");
        fuse.release();
        sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(fs::read(backups.join("file")).unwrap(), b"old");
    }
}

fn where_closing_says_nothing_it_is_not_asked() {
    let home = scratch();
    let source = home.path().join("src");
    for index in 0..100 {
        file(source.join(format!("file{index}")), "x");
    }
    let log = home.path().join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=fcntl,fstatfs,dup,dup2,dup3", "-o"]).arg(&log).arg(program());
    command.args(["sync", "--engine=threads"]).arg(&source).arg(home.path().join("dst"));
    run(command).exits(0);
    let calls = fs::read_to_string(&log).unwrap();
    // Each thread asks of what file system it is.
    let asked = calls.lines().filter(|line| line.contains("F_DUPFD") || line.contains("fstatfs"));
    assert!(asked.count() < 80, "{calls}");
}
