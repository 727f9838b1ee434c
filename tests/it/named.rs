//! What the user names beside SRC and DST: backups, a manifest, a log, a trace. No symlink that somebody else has planted
//! leads them astray, and what they tell of a private tree stays private.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};

use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode};
use crate::support::user::{ALICE, give};
use crate::support::{AtEnd, ENGINES, Ran, program, run, scratch, sync_with};

tests![
    no_symlink_in_a_tree_leads_what_is_named_out_of_it: [Need::Root],
    a_last_symlink_must_be_roots_or_the_users_own: [Need::Root],
    a_directory_that_turns_into_a_symlink_leads_nowhere: [Need::Root],
    root_does_not_write_to_files_of_others: [Need::Root],
    what_tells_of_a_private_tree_is_private: [Need::Root],
    devices_and_pipes_take_a_log: [Need::Tool("sh")],
    a_file_takes_the_place_of_a_symlink_and_not_of_what_it_leads_to: [Need::Root],
    another_users_fifo_keeps_nobody_waiting: [Need::Root, Need::Tool("sh")],
    no_symlink_of_another_user_is_on_the_way_to_what_is_named: [Need::Root],
    the_destination_is_reached_from_held_directories: [Need::Root],
];

/// Options that take a file to write to.
const FILES: [&str; 3] = ["--manifest", "--log-file", "--trace"];

/// Source, destination, and what must not be written to, outside of both.
fn trees(home: &Path) -> (std::path::PathBuf, std::path::PathBuf, std::path::PathBuf) {
    let at = |name: &str| home.join(name);
    file(at("s/file"), "new");
    file(at("d/file"), "older");
    file(at("d/sub/other"), "x");
    file(at("out/victim"), "untouched");
    give(at("d"), ALICE);
    give(at("d/sub"), ALICE);
    (at("s"), at("d"), at("out"))
}

fn untouched(out: &Path) {
    let names: Vec<_> = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["victim"]);
    assert_eq!(fs::read(out.join("victim")).unwrap(), b"untouched");
}

fn refused(ran: Ran, named: &[&str]) {
    let ran = ran.exits(3);
    assert!(named.iter().all(|part| ran.err.contains(part)), "{}", ran.err);
}

fn no_symlink_in_a_tree_leads_what_is_named_out_of_it() {
    for &engine in ENGINES.iter() {
        // Whosever they are: root may have copied them there.
        for by_alice in [true, false] {
            let home = scratch();
            let (source, destination, out) = trees(home.path());
            let plant = |target: &str, name: &str| {
                symlink(target, destination.join(name)).unwrap();
                if by_alice {
                    give(destination.join(name), ALICE);
                }
            };
            plant("../out/victim", "planted");
            plant("../out", "bdir");
            plant("..", "sub/up");
            let before = fs::read(destination.join("file")).unwrap();
            for option in FILES {
                for name in ["planted", "bdir/victim", "bdir/new", "sub/up/../out/victim", "sub/../planted"] {
                    let option = format!("{option}={}", destination.join(name).display());
                    let ran = sync_with(engine, &["-q", &option], &source, &destination);
                    refused(ran, &["is a symlink, and none is followed in SRC or DST"]);
                    untouched(&out);
                }
            }
            let deep = destination.join("bdir/deep").display().to_string();
            for directory in ["bdir", "./bdir", "bdir/deep", "sub/up/out", "sub/../bdir", &deep] {
                let option = format!("--backup-dir={directory}");
                let ran = sync_with(engine, &[&option], &source, &destination);
                refused(ran, &["back up ", "is a symlink, and none is followed"]);
                untouched(&out);
            }
            assert_eq!(fs::read(destination.join("file")).unwrap(), before);
            // What is no symlink does.
            for option in ["--backup-dir=sub/new/b", "--backup-dir=../beside"] {
                file(destination.join("file"), format!("old {option}"));
                sync_with(engine, &[option], &source, &destination).exits(0);
            }
            let kept = |at: &Path| fs::read_to_string(at).unwrap();
            assert_eq!(kept(&destination.join("sub/new/b/file")), "old --backup-dir=sub/new/b");
            assert_eq!(kept(&home.path().join("beside/file")), "old --backup-dir=../beside");
        }
    }
}

fn a_last_symlink_must_be_roots_or_the_users_own() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination, out) = trees(home.path());
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("shared")).unwrap();
        mode(at("shared"), 0o777);
        let link = |target: &str, name: &str, planted: bool| {
            symlink(target, at("shared").join(name)).unwrap();
            if planted {
                give(at("shared").join(name), ALICE);
            }
        };
        link("../out/victim", "planted", true);
        link("../out", "way", true);
        link("../own", "own", false);
        link("planted", "chain", false);
        fs::create_dir(at("own")).unwrap();
        for option in FILES {
            for name in ["planted", "chain", "way/victim", "way/new"] {
                let option = format!("{option}={}", at("shared").join(name).display());
                let ran = sync_with(engine, &["-q", &option], &source, &destination);
                refused(
                    ran,
                    &[&format!("is a symlink of another user (uid {ALICE})"), "name what it leads to"],
                );
                untouched(&out);
            }
            // Root's own is followed, as a directory on the way and as the last name.
            file(at("own/last"), "");
            symlink("../own/last", at("shared/last")).unwrap();
            for name in ["own/through", "last"] {
                let option = format!("{option}={}", at("shared").join(name).display());
                sync_with(engine, &["-q", &option], &source, &destination).exits(0);
            }
            for name in ["last", "through"] {
                let text = fs::read_to_string(at("own").join(name)).unwrap();
                assert!(is_of_a_run_without_changes(option, &text), "{option} {name}: {text}");
            }
            assert!(fs::symlink_metadata(at("shared/last")).unwrap().is_symlink());
            assert!(fs::symlink_metadata(at("own/through")).unwrap().is_file());
            fs::remove_file(at("shared/last")).unwrap();
            fs::remove_file(at("own/through")).unwrap();
        }
        for option in ["--backup-dir", "--link-dest"] {
            let option = format!("{option}={}", at("shared/way").display());
            refused(sync_with(engine, &[&option], &source, &destination), &[&format!("uid {ALICE}")]);
        }
        untouched(&out);
    }
}

/// Whether one of `FILES` tells of one run, of which the only file was right already.
fn is_of_a_run_without_changes(option: &str, text: &str) -> bool {
    match option {
        "--manifest" => text == format!("{}  file\n", blake3::hash(b"new")),
        "--log-file" => text.lines().count() == 2 && text.contains("] 2 unchanged; "),
        "--trace" => {
            let events: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
            events.iter().any(|event| event["cat"] == "entry")
        }
        other => panic!("what {other} writes is not known"),
    }
}

/// Another user turns a directory of DST into a symlink and back, all the time.
fn a_directory_that_turns_into_a_symlink_leads_nowhere() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination, out) = trees(home.path());
        symlink("../out", destination.join("sub2")).unwrap();
        give(destination.join("sub2"), ALICE);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let (one, two) = (destination.join("sub"), destination.join("sub2"));
                while !over.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let end = AtEnd(&over);
            for turn in 0..40 {
                let (option, name) = [
                    ("--manifest", "victim"),
                    ("--log-file", "victim"),
                    ("--trace", "victim"),
                    ("--backup-dir", ""),
                ][turn % 4];
                file(destination.join("file"), format!("old {turn}"));
                let option = format!("{option}={}", destination.join("sub").join(name).display());
                let ran = sync_with(engine, &["-q", &option], &source, &destination);
                assert!(matches!(ran.code, Some(0 | 3 | 23)), "{ran:?}");
                untouched(&out);
            }
            drop(end);
            swapper.join().unwrap();
        });
    }
}

fn root_does_not_write_to_files_of_others() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination, _) = trees(home.path());
        let at = |name: &str| home.path().join(name);
        for option in ["--log-file", "--trace"] {
            file(at("theirs"), "theirs");
            give(at("theirs"), ALICE);
            let given = format!("{option}={}", at("theirs").display());
            let ran = sync_with(engine, &["-q", &given], &source, &destination);
            refused(ran, &[&format!("it belongs to another user (uid {ALICE})"), "/theirs: "]);
            assert_eq!(fs::read(at("theirs")).unwrap(), b"theirs");
            // A further name, in a directory of theirs, of what is root's.
            file(at("precious"), "precious");
            fs::hard_link(at("precious"), destination.join("link")).unwrap();
            let given = format!("{option}={}", destination.join("link").display());
            let ran = sync_with(engine, &["-q", &given], &source, &destination);
            refused(ran, &["it has further names"]);
            assert_eq!(fs::read(at("precious")).unwrap(), b"precious");
            fs::remove_file(destination.join("link")).unwrap();
            // A FIFO keeps nobody waiting.
            let fifo = destination.join("fifo");
            rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
            give(&fifo, ALICE);
            let given = format!("{option}={}", fifo.display());
            refused(sync_with(engine, &["-q", &given], &source, &destination), &[&format!("uid {ALICE}")]);
            fs::remove_file(fifo).unwrap();
        }
        // A log of one's own keeps its mode, and what it holds.
        file(at("log"), "first\n");
        mode(at("log"), 0o640);
        let given = format!("--log-file={}", at("log").display());
        sync_with(engine, &["-q", &given], &source, &destination).exits(0);
        assert!(fs::read_to_string(at("log")).unwrap().starts_with("first\n2"));
        assert_eq!(fs::metadata(at("log")).unwrap().mode() & 0o7777, 0o640);
    }
}

fn what_tells_of_a_private_tree_is_private() {
    for &engine in ENGINES.iter() {
        // The mode of SRC's root and its group, and what the files may be read by.
        for (root, group, wanted) in [
            (0o700, 0, 0o600),
            (0o755, 0, 0o644),
            (0o750, 0, 0o640),
            (0o750, ALICE, 0o600),
            (0o754, ALICE, 0o644),
            (0o777, 0, 0o644),
            (0o711, 0, 0o600),
        ] {
            let home = scratch();
            let (source, destination, _) = trees(home.path());
            std::os::unix::fs::chown(&source, None, Some(group)).unwrap();
            fs::set_permissions(&source, fs::Permissions::from_mode(root)).unwrap();
            let at = |name: &str| home.path().join(name);
            let options: Vec<String> =
                FILES.iter().map(|option| format!("{option}={}", at(&option[2..]).display())).collect();
            // It had another tree before.
            file(at("trace"), "older");
            mode(at("trace"), 0o644);
            let mut command = Command::new("sh");
            let line = "umask 022; exec \"$@\"";
            command.args(["-c", line, "sh"]).arg(program()).args(["sync", "--engine", engine, "-q"]);
            run({
                command.args(&options).arg(&source).arg(&destination);
                command
            })
            .exits(0);
            for option in FILES {
                let found = fs::metadata(at(&option[2..])).unwrap().mode() & 0o7777;
                assert_eq!(format!("{found:o}"), format!("{wanted:o}"), "{option} of {root:o}, {group}");
            }
        }
        // Of several sources the closest counts.
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("one"), "1");
        file(at("two"), "2");
        mode(at("two"), 0o600);
        fs::create_dir(at("into")).unwrap();
        let mut command = Command::new(program());
        let manifest = format!("--manifest={}", at("sums").display());
        command.args(["copy", "--engine", engine, "-q", &manifest]).args([at("one"), at("two"), at("into")]);
        run(command).exits(0);
        assert_eq!(fs::metadata(at("sums")).unwrap().mode() & 0o7777, 0o600);
    }
}

fn devices_and_pipes_take_a_log() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        file(home.path().join("s/file"), "x");
        let (source, destination) = (home.path().join("s"), home.path().join("d"));
        sync_with(engine, &["-q", "--log-file=/dev/null", "--trace=/dev/null"], &source, &destination)
            .exits(0);
        let ran = sync_with(engine, &["-q", "--log-file=/dev/stdout"], &source, &destination).exits(0);
        assert!(ran.out.contains("] sync "), "{ran:?}");
        let mut command = Command::new("sh");
        let line = "\"$@\" --log-file=/dev/fd/3 3>&1 | cat";
        command.args(["-c", line, "sh"]).arg(program()).args(["sync", "--engine", engine, "-q"]);
        command.arg(&source).arg(&destination);
        let ran = run(command).exits(0);
        assert!(ran.out.contains("] sync "), "{ran:?}");
    }
}

fn another_users_fifo_keeps_nobody_waiting() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination, _) = trees(home.path());
        let fifo = home.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        give(&fifo, ALICE);
        for option in ["--files-from", "--exclude-from", "--include-from"] {
            let given = format!("{option}={}", fifo.display());
            refused(
                sync_with(engine, &[&given], &source, &destination),
                &["it is a fifo", &format!("uid {ALICE}")],
            );
        }
        let given = format!("--filter=merge {}", fifo.display());
        refused(
            sync_with(engine, &[&given], &source, &destination),
            &["it is a fifo", &format!("uid {ALICE}")],
        );
        let mut command = Command::new(program());
        command.args(["verify", "--engine", engine]).arg(&fifo).arg(&destination);
        refused(run(command), &["it is a fifo", &format!("uid {ALICE}")]);
        // One's own is waited for.
        lchown(&fifo, Some(0), Some(0)).unwrap();
        let mut command = Command::new("sh");
        let line = "echo file > \"$0\" & exec \"$@\" --files-from=\"$0\"";
        command.args(["-c", line]).arg(&fifo).arg(program()).args(["sync", "--engine", engine]);
        command.arg(&source).arg(&destination);
        run(command).exits(0);
        assert_eq!(fs::read(destination.join("file")).unwrap(), b"new");
    }
}

fn a_file_takes_the_place_of_a_symlink_and_not_of_what_it_leads_to() {
    for &engine in ENGINES.iter() {
        for by_alice in [true, false] {
            let home = scratch();
            let (source, destination, out) = trees(home.path());
            let from = source.join("file");
            let plant = |target: &str| {
                fs::remove_file(destination.join("link")).ok();
                symlink(target, destination.join("link")).unwrap();
                if by_alice {
                    give(destination.join("link"), ALICE);
                }
                destination.join("link")
            };
            for target in ["../out/victim", "../out/nothing"] {
                let link = plant(target);
                sync_with(engine, &[], &from, &link).exits(0);
                assert!(fs::symlink_metadata(&link).unwrap().is_file());
                assert_eq!(fs::read(&link).unwrap(), b"new");
                untouched(&out);
            }
            // Into a directory it leads only where nobody else can have turned it there.
            let link = plant("../out");
            let ran = sync_with(engine, &[], &from, &link).exits(0);
            if by_alice {
                assert!(fs::symlink_metadata(&link).unwrap().is_file(), "{ran:?}");
                plant("../out");
                refused(
                    sync_with(engine, &[], &from, &destination.join("link/")),
                    &[&format!("uid {ALICE}")],
                );
                untouched(&out);
            } else {
                assert_eq!(fs::read(out.join("file")).unwrap(), b"new");
                fs::remove_file(out.join("file")).unwrap();
                sync_with(engine, &[], &from, &destination.join("link/")).exits(0);
                assert_eq!(fs::read(out.join("file")).unwrap(), b"new");
                // What is no file is not meant to be replaced.
                let link = plant("/dev/null");
                refused(sync_with(engine, &[], &from, &link), &["it is a device, FIFO or socket"]);
            }
        }
    }
}

/// What a user names beside SRC, through a directory: options, and what is to lie there.
const NAMED: [(&str, &str); 9] = [
    ("--backup-dir=", ""),
    ("--link-dest=", ""),
    ("--manifest=", "sums"),
    ("--log-file=", "log"),
    ("--trace=", "trace"),
    ("--files-from=", "list"),
    ("--exclude-from=", "list"),
    ("--include-from=", "list"),
    ("--filter=merge ", "rules"),
];

/// Wherever it lies, also where only root can have put it.
fn no_symlink_of_another_user_is_on_the_way_to_what_is_named() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("s/file"), "new");
        file(at("own/list"), "file\n");
        file(at("own/rules"), "- nothing\n");
        fs::create_dir(at("d")).unwrap();
        fs::create_dir(at("links")).unwrap();
        symlink("../own", at("links/alices")).unwrap();
        symlink("../own", at("links/roots")).unwrap();
        symlink("alices", at("links/chain")).unwrap();
        give(at("links/alices"), ALICE);
        let said = ["links/alices is a symlink of another user", "name what it leads to (--insecure-links"];
        for (option, name) in NAMED {
            let given = |link: &str| format!("{option}{}", at("links").join(link).join(name).display());
            for link in ["alices", "chain"] {
                refused(sync_with(engine, &["-q", &given(link)], &at("s"), &at("d")), &said);
                sync_with(engine, &["-q", "--insecure-links", &given(link)], &at("s"), &at("d")).exits(0);
            }
            sync_with(engine, &["-q", &given("roots")], &at("s"), &at("d")).exits(0);
        }
        let mut command = Command::new(program());
        command.args(["verify", "--engine", engine]).arg(at("links/alices/sums")).arg(at("d"));
        refused(run(command), &said);
        // DST, and the directory of a file.
        let ran = |words: &[&str], source: &str, destination: &str| {
            let mut command = Command::new(program());
            command.args(words).args(["--engine", engine]).arg(at(source)).arg(at(destination));
            run(command)
        };
        for (words, source, destination) in [
            (&["sync"][..], "s", "links/alices"),
            (&["sync"], "s", "links/chain/"),
            (&["sync"], "s", "links/alices/new"),
            (&["sync", "--mkpath"], "s", "links/alices/new/below"),
            (&["sync", "-n"], "s", "links/alices"),
            (&["copy"], "s", "links/alices"),
            (&["copy", "--mkpath"], "s", "links/alices/new/below"),
            (&["sync"], "s/file", "links/alices/"),
            (&["sync"], "s/file", "links/alices/file"),
            (&["sync", "--mkpath"], "s/file", "links/alices/new/file"),
        ] {
            let before = walkdir::WalkDir::new(at("own")).into_iter().count();
            let refusal = ran(words, source, destination).exits(3);
            assert!(refusal.err.contains("of another user"), "{words:?} {destination}: {}", refusal.err);
            assert_eq!(walkdir::WalkDir::new(at("own")).into_iter().count(), before, "{words:?}");
            ran(&[words, &["--insecure-links"]].concat(), source, destination).exits(0);
            ran(words, source, &destination.replace("alices", "roots").replace("chain", "roots")).exits(0);
        }
        // SRC is read with the rights of its reader, and what it is decides who may read the copy.
        ran(&["sync"], "links/alices", "copy").exits(0);
        assert_eq!(fs::read(at("copy/list")).unwrap(), b"file\n");
    }
}

/// Another user turns a directory on the way to DST into a symlink to what is root's, and back.
fn the_destination_is_reached_from_held_directories() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("s/file"), "new");
        file(at("out/d/victim"), "untouched");
        file(at("out/victim"), "untouched");
        fs::create_dir_all(at("theirs/way/d")).unwrap();
        symlink("../out", at("theirs/way2")).unwrap();
        for name in ["theirs", "theirs/way", "theirs/way/d", "theirs/way2"] {
            give(at(name), ALICE);
        }
        let swap = || {
            let (one, two) = (at("theirs/way"), at("theirs/way2"));
            rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
        };
        crate::support::meanwhile(swap, || {
            for turn in 0..40 {
                let (words, source, destination): (&[&str], _, _) = match turn % 5 {
                    0 => (&["sync", "--delete", "--max-delete=100%"], "s", "theirs/way/d"),
                    1 => (&["copy"], "s", "theirs/way/d"),
                    2 => (&["sync"], "s/file", "theirs/way/d"),
                    3 => (&["sync", "--mkpath"], "s/file", "theirs/way/new/file"),
                    _ => (&["copy", "--mkpath"], "s", "theirs/way/new/dir"),
                };
                let mut command = Command::new(program());
                command.args(words).args(["--engine", engine]).arg(at(source)).arg(at(destination));
                let ran = run(command);
                assert!(matches!(ran.code, Some(0 | 3 | 23)), "{ran:?}");
            }
        });
        let mut names: Vec<_> =
            walkdir::WalkDir::new(at("out")).into_iter().map(|entry| entry.unwrap().into_path()).collect();
        names.sort();
        assert_eq!(names, [at("out"), at("out/d"), at("out/d/victim"), at("out/victim")]);
    }
}
