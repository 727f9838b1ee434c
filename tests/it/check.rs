//! `ringsync check`: it finds what rsync finds, and writes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringsync::event::EntryEvent;
use ringsync::event::{Mode, Reporter, itemize};
use ringsync::{Config, Stop};
use rustix::fs::FileType;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::changed::{changed_trees, files, link, mirror, unmoved};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise, sparse, xattr};
use crate::support::user::{ALICE, as_alice, give_tree};
use crate::support::{ENGINES, Ran, assert_equal, finish, program, run, scratch, sync_with};

tests![
    equal_trees_are_equal,
    it_finds_what_rsync_finds: [Need::Root, Need::Tool("rsync"), Need::Tool("setfacl")],
    sync_reports_the_same_changes: [Need::Root, Need::Tool("setfacl")],
    where_rsync_is_imprecise_it_is_not: [Need::Root],
    nothing_is_written: [Need::Root, Need::Tool("setfacl")],
    two_runs_say_the_same_of_hard_links,
    names_apart_in_the_source_must_not_be_one_file,
    contents_are_compared_to_the_last_byte,
    extra_directories_are_listed_with_all_that_is_in_them,
    what_can_not_be_read_is_no_difference_and_no_equality: [Need::Root, Need::Tool("setpriv")],
    options_leave_things_out: [Need::Root],
    single_files_are_compared,
    a_root_that_can_not_be_used_exits_3,
    a_signal_ends_it,
    the_report_has_a_form_for_programs,
    checksum_makes_sync_copy_what_differs_in_contents_alone,
];

fn check_command(engine: &str, options: &[&str], source: &Path, destination: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["check", "--engine", engine]).args(options).arg(source).arg(destination);
    command
}

fn check(engine: &str, options: &[&str], source: &Path, destination: &Path) -> Ran {
    run(check_command(engine, options, source, destination))
}

/// The itemised lines, without the summary.
fn lines(ran: &Ran) -> BTreeSet<String> {
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.pop();
    let set: BTreeSet<String> = lines.iter().map(ToString::to_string).collect();
    assert_eq!(set.len(), lines.len(), "no line twice: {lines:#?}");
    set
}

fn set<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(String::from).into()
}

fn rsync_lines(options: &[&str], source: &Path, destination: &Path) -> BTreeSet<String> {
    let mut command = Command::new("rsync");
    // In nanoseconds, and with all names known before the leader of a hard link is chosen.
    command.args(["-aHAXin", "--delete", "--modify-window=-1", "--no-inc-recursive"]).args(options);
    command.arg(source.join("")).arg(destination.join(""));
    run(command).exits(0).out.lines().map(String::from).collect()
}

fn equal_trees_are_equal() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            for index in 0..3000 {
                file(source.join(format!("d{}/e{}/f{index}", index % 3, index % 7)), noise(index, 50));
            }
            file(source.join("large"), noise(1, 9 << 20));
            symlink("large", source.join("symlink")).unwrap();
            node(source.join("fifo"), FileType::Fifo, (0, 0));
            link(source.join("large"), source.join("d0/link"));
            file(source.join("small"), "small");
            link(source.join("small"), source.join("d0/small link"));
        });
        let entries = walkdir::WalkDir::new(&source).into_iter().count();
        for options in [&[][..], &["-c"]] {
            let ran = check(engine, options, &source, &destination).exits(0);
            assert_eq!(entries, 3031);
            assert!(ran.out.starts_with("3,031 equal; "), "{ran:?}");
            assert_eq!((ran.out.lines().count(), ran.err.as_str()), (1, ""));
        }
        let summary = check(engine, &["-c", "--json"], &source, &destination).exits(0).summary();
        assert_eq!(summary["bytes"], 3000 * 50 + (9 << 20) + 5, "each inode is read once");
        assert_eq!(check(engine, &["-q"], &source, &destination).exits(0).out, "");
    }
}

fn it_finds_what_rsync_finds() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = changed_trees(home.path());
        for options in [&[][..], &["-c"]] {
            let ran = check(engine, options, &source, &destination).exits(23);
            let (found, expected) = (lines(&ran), rsync_lines(options, &source, &destination));
            assert_eq!(ran.err, "");
            assert!(expected.len() > 70, "{expected:#?}");
            let missed: Vec<_> = expected.difference(&found).collect();
            let invented: Vec<_> = found.difference(&expected).collect();
            assert!(missed.is_empty() && invented.is_empty(), "{options:?}\n-{missed:#?}\n+{invented:#?}");
        }
        // And what a sync with --checksum leaves is equal, but for what only the destination has.
        fs::remove_dir_all(destination.join("f to full")).unwrap();
        sync_with(engine, &["-c"], &source, &destination).exits(0);
        let left = lines(&check(engine, &["-c"], &source, &destination).exits(23));
        assert!(left.iter().all(|line| line.starts_with("*deleting   ")), "{left:#?}");
        assert_eq!(left, rsync_lines(&["-c"], &source, &destination));
    }
}

/// What sync tells of its changes, in itemised form.
#[derive(Default)]
struct Itemised(BTreeSet<String>);

impl Reporter for Itemised {
    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        if event.action.is_change() {
            self.0.insert(itemize::line(directory, event));
        }
    }
}

fn sync_reports_the_same_changes() {
    for dry_run in [true, false] {
        let home = scratch();
        let (source, destination) = changed_trees(home.path());
        fs::remove_dir_all(destination.join("f to full")).unwrap();
        // Who leads a hard link is settled by chance in a sync, and what only the destination has is not its business. A file
        // that somebody loses, or that becomes setuid, is made anew; check names what differs as rsync does.
        let wanted = |line: &String| {
            let by_chance = line.contains("h ") || line.contains("hl ");
            let anew = line.ends_with("f....o.... owner") || line.ends_with("f...p..... setuid");
            !by_chance && !line.starts_with('*') && !anew
        };
        let compared = lines(&check("auto", &[], &source, &destination).exits(23));
        let expected: BTreeSet<String> = compared.into_iter().filter(wanted).collect();
        let mut config = Config::new(&source, &destination);
        config.mode = if dry_run { Mode::DryRun } else { Mode::Sync };
        config.details = true;
        let mut reporter = Itemised::default();
        ringsync::sync(&config, &mut reporter, &Stop::default()).unwrap().into_result().unwrap();
        let found: BTreeSet<String> = reporter.0.into_iter().filter(wanted).collect();
        assert_eq!(found, expected, "dry run: {dry_run}");
        assert!(found.len() > 30, "{found:#?}");
    }
}

/// rsync compares a block and a char device by their numbers alone, and a name that is to be a hard link with whatever
/// stands in its place.
fn where_rsync_is_imprecise_it_is_not() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            node(source.join("device"), FileType::CharacterDevice, (1, 3));
            file(source.join("one"), "x");
            link(source.join("one"), source.join("two"));
        });
        fs::remove_file(destination.join("device")).unwrap();
        node(destination.join("device"), FileType::BlockDevice, (1, 3));
        fs::remove_file(destination.join("two")).unwrap();
        symlink("x", destination.join("two")).unwrap();
        for name in ["device", "two", ""] {
            unmoved(destination.join(name));
        }
        let ran = check(engine, &[], &source, &destination).exits(23);
        assert_eq!(lines(&ran), set(["cDc........ device", "hf+++++++++ two => one"]));
    }
}

/// Times of every inode in two trees: nothing can be written without moving one, nor a file be read.
fn traces(root: &Path) -> Vec<(PathBuf, Vec<i64>)> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let of = entry.metadata().unwrap();
            let mut times = vec![of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
            // Listing a directory moves its time of access; this test lists them too.
            if of.is_file() {
                times.extend([of.atime(), of.atime_nsec()]);
            }
            (entry.into_path(), times)
        })
        .collect()
}

fn nothing_is_written() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = changed_trees(home.path());
        // What a killed run left is removed by the next sync, and not by a check.
        file(destination.join("dir/.ringsync-0123456789abcdef0123456789abcdef"), "litter");
        let before = traces(home.path());
        for options in [&[][..], &["-c"], &["-c", "--no-times", "--no-owner", "--no-group"]] {
            check(engine, options, &source, &destination).exits(23);
            assert_eq!(traces(home.path()), before, "{options:?}");
        }
    }
}

fn two_runs_say_the_same_of_hard_links() {
    let home = scratch();
    let (source, destination) = mirror(home.path(), |source| {
        for group in 0..60 {
            let first = source.join(format!("d{}/h{group} 0", group % 7));
            file(&first, noise(group, 10));
            for name in 1..20 {
                let to = source.join(format!("e{}/h{group} {name}", (group + name) % 11));
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                link(&first, to);
            }
        }
    });
    for (index, entry) in walkdir::WalkDir::new(&destination).sort_by_file_name().into_iter().enumerate() {
        let entry = entry.unwrap();
        if entry.file_type().is_file() && index % 3 == 0 {
            let contents = fs::read(entry.path()).unwrap();
            fs::remove_file(entry.path()).unwrap();
            if index % 2 == 0 {
                file(entry.path(), contents);
                unmoved(entry.path());
            }
        }
    }
    let mut all = BTreeSet::new();
    for &engine in ENGINES.iter() {
        for depth in ["1", "64"] {
            let ran = check(engine, &["--depth", depth, "-c"], &source, &destination).exits(23);
            all.insert(lines(&ran));
        }
    }
    assert_eq!(all.len(), 1, "whatever the order in which the names came");
    let lines = all.pop_first().unwrap();
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert!(count("hf+++++++++ ") > 150 && count("hf          ") > 150, "{lines:#?}");
}

fn names_apart_in_the_source_must_not_be_one_file() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            files(source, &["a", "b", "c1", "d1"]);
            link(source.join("c1"), source.join("c2"));
            link(source.join("d1"), source.join("d2"));
        });
        for (from, to) in [("a", "b"), ("c1", "d1"), ("c1", "d2")] {
            fs::remove_file(destination.join(to)).unwrap();
            link(destination.join(from), destination.join(to));
        }
        unmoved(&destination);
        let found = lines(&check(engine, &[], &source, &destination).exits(23));
        let is_one_of = |one: [&str; 2], other: [&str; 2]| {
            let (one, other) = (set(one), set(other));
            assert!(one.is_subset(&found) || other.is_subset(&found), "{found:#?}");
        };
        is_one_of([">f......... a"; 2], [">f......... b"; 2]);
        is_one_of([">f......... c2", "hf          c1 => c2"], [">f......... d2", "hf          d1 => d2"]);
        assert_eq!(found.len(), 3, "{found:#?}");
        // By contents it is plain who is wrong.
        let found = lines(&check(engine, &["-c"], &source, &destination).exits(23));
        assert_eq!(found, set([">fc........ b", ">fc........ d1"]));
    }
}

fn contents_are_compared_to_the_last_byte() {
    use std::os::unix::fs::FileExt;
    for &engine in ENGINES.iter() {
        let home = scratch();
        let sizes = [1, 4096, 65_536, 65_537, 262_144, 262_145, (8 << 20) + 1, 21 << 20];
        let (source, destination) = mirror(home.path(), |source| {
            for size in sizes {
                for place in ["same", "first", "last"] {
                    file(source.join(format!("{size} {place}")), noise(size as u64, size));
                }
            }
            sparse(source.join("holes"), 20 << 20, &[(9 << 20, b"data")]);
        });
        let change = |name: String, offset: u64, byte: u8| {
            let path = destination.join(name);
            let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let mut old = [0];
            file.read_exact_at(&mut old, offset).unwrap();
            file.write_all_at(&[old[0] ^ byte], offset).unwrap();
            unmoved(path);
        };
        for size in sizes {
            change(format!("{size} first"), 0, 1);
            change(format!("{size} last"), size as u64 - 1, 0x80);
        }
        check(engine, &[], &source, &destination).exits(0);
        let ran = check(engine, &["-c", "--stats"], &source, &destination).exits(23);
        for size in sizes {
            assert!(ran.out.contains(&format!(">fc........ {size} first\n")), "{size}: {}", ran.out);
            assert!(ran.out.contains(&format!(">fc........ {size} last\n")), "{size}: {}", ran.out);
        }
        assert_eq!(ran.out.matches(">fc........ ").count(), 2 * sizes.len());
        assert!(ran.out.contains("bytes compared"), "{}", ran.out);
    }
}

fn extra_directories_are_listed_with_all_that_is_in_them() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| files(source, &["dir/file", "name"]));
        for index in 0..700 {
            file(destination.join(format!("extra/f{index}")), "");
            file(destination.join(format!("dir/f{index}")), "");
        }
        let deep: PathBuf = std::iter::repeat_n("deep", 300).collect();
        fs::create_dir_all(destination.join("extra").join(&deep)).unwrap();
        fs::remove_file(destination.join("name")).unwrap();
        file(destination.join("name/in the way/file"), "");
        let ran = check(engine, &["--no-times"], &source, &destination).exits(23);
        let found = lines(&ran);
        assert_eq!(found.len(), 1 + 700 + 700 + 300 + 1 + 2, "{}", ran.out);
        assert!(found.contains("*deleting   extra/") && found.contains("*deleting   dir/f699"));
        assert!(found.contains(&format!("*deleting   extra/{}/", deep.display())));
        assert!(found.is_superset(&set([
            "*deleting   name/in the way/",
            "*deleting   name/in the way/file",
            ">f+++++++++ name"
        ])));
    }
}

fn what_can_not_be_read_is_no_difference_and_no_equality() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o755);
        let (source, destination) = mirror(home.path(), |source| {
            files(source, &["file", "same", "unlisted/a", "unlisted/b", "closed/a", "hidden/a", "open/a"]);
        });
        for extra in ["unlisted/extra", "closed/extra", "hidden/extra", "open/extra"] {
            file(destination.join(extra), "");
            unmoved(destination.join(extra).parent().unwrap());
        }
        give_tree(home.path(), ALICE);
        // Not to be listed, but entered; not to be entered; the same of the destination.
        for (name, bits) in [("unlisted", 0o300), ("closed", 0o000), ("file", 0o000)] {
            mode(source.join(name), bits);
            mode(destination.join(name), bits);
        }
        mode(destination.join("unlisted"), 0o700);
        mode(destination.join("hidden"), 0o300);
        let ran = as_alice(&["check", "-c", "--engine", engine], &source, &destination).exits(23);
        assert_eq!(lines(&ran), set([".d...p..... unlisted/", "*deleting   open/extra"]), "{ran:#?}");
        for message in [
            format!("list source directory {}: Perm", source.join("unlisted").display()),
            format!("list source directory {}: Perm", source.join("closed").display()),
            format!("open destination {}: Perm", destination.join("hidden").display()),
            format!("open source {}: Perm", source.join("file").display()),
        ] {
            assert!(ran.err.contains(&message), "{message}\n{}", ran.err);
        }
    }
}

fn options_leave_things_out() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            files(source, &["owner", "xattr", "link", "time"]);
            link(source.join("link"), source.join("link 2"));
            node(source.join("fifo"), FileType::Fifo, (0, 0));
        });
        lchown(destination.join("owner"), Some(7), Some(8)).unwrap();
        xattr(destination.join("xattr"), "user.a", b"1");
        fs::remove_file(destination.join("link 2")).unwrap();
        file(destination.join("link 2"), "link");
        unmoved(destination.join("link 2"));
        modified(destination.join("time"), 1, 1);
        fs::remove_file(destination.join("fifo")).unwrap();
        unmoved(&destination);
        let table = [
            (&["--no-owner", "--no-group"][..], ".f....og... owner"),
            (&["--no-xattrs"], ".f........x xattr"),
            (&["--no-hard-links"], "hf          link 2 => link"),
            (&["--no-times"], ">f..t...... time"),
            (&["--no-specials"], "cS+++++++++ fifo"),
        ];
        let all = set(table.map(|(_, line)| line));
        assert_eq!(lines(&check(engine, &[], &source, &destination).exits(23)), all);
        for (options, line) in table {
            let found = lines(&check(engine, options, &source, &destination).exits(23));
            assert_eq!(found, all.difference(&set([line])).cloned().collect(), "{options:?}");
        }
        check(engine, &table.map(|(options, _)| options).concat(), &source, &destination).exits(0);
    }
}

fn single_files_are_compared() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| files(source, &["a", "b"]));
        check(engine, &["-c"], &source.join("a"), &destination).exits(0);
        check(engine, &[], &source.join("a"), &destination.join("a")).exits(0);
        let ran = check(engine, &["-c"], &source.join("a"), &destination.join("b")).exits(23);
        assert_eq!(lines(&ran), set([">fc........ a"]));
    }
}

fn a_root_that_can_not_be_used_exits_3() {
    let home = scratch();
    let (source, destination) = mirror(home.path(), |source| files(source, &["file", "dir/file"]));
    let missing = home.path().join("missing");
    for (from, to) in [
        (&missing, &destination),
        (&source, &missing),
        (&source.join("file"), &missing),
        (&source, &destination.join("file")),
        (&source, &source),
        (&source, &source.join("dir")),
    ] {
        let ran = check("auto", &[], from, to).exits(3);
        assert_eq!((ran.out.as_str(), ran.err.lines().count()), ("", 1));
    }
    assert!(!missing.exists());
    let mut command = Command::new(program());
    command.args(["check", "--dry-run"]).arg(&source).arg(&destination);
    run(command).exits(1);
}

fn a_signal_ends_it() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        // Holes take no room, and minutes to read.
        let (source, destination) = mirror(home.path(), |source| sparse(source.join("large"), 1 << 40, &[]));
        let mut command = check_command(engine, &["-c", "--json"], &source, &destination);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let open_files = format!("/proc/{}/fd", child.id());
        let reads = || {
            let mut files = fs::read_dir(&open_files).unwrap().flatten();
            files.any(|file| fs::read_link(file.path()).is_ok_and(|path| path == destination.join("large")))
        };
        let begun = Instant::now();
        while !reads() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never began");
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = finish(child, Duration::from_secs(20)).exits(20);
        assert_eq!(ran.summary()["outcome"], "interrupted");
    }
}

fn the_report_has_a_form_for_programs() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| files(source, &["a\nb", "same", "missing"]));
        file(destination.join("a\nb"), "longer");
        file(destination.join("extra"), "");
        fs::remove_file(destination.join("missing")).unwrap();
        unmoved(&destination);
        let ran = check(engine, &["--json"], &source, &destination).exits(23);
        let lines = ran.json();
        assert_eq!((lines[0]["check"].as_bool(), lines[0]["dry_run"].as_bool()), (Some(true), Some(true)));
        for (path, action, itemized) in [
            ("a\nb", "updated", ">f.st......"),
            ("missing", "created", ">f+++++++++"),
            ("extra", "deleted", "*deleting  "),
        ] {
            let line = lines.iter().find(|line| line["path"] == path).unwrap();
            assert_eq!((line["action"].as_str(), line["itemized"].as_str()), (Some(action), Some(itemized)));
        }
        assert_eq!(lines.len(), 5, "{lines:?}");
        let summary = ran.summary();
        assert_eq!(
            (summary["outcome"].as_str(), summary["exit_code"].as_u64()),
            (Some("different"), Some(23))
        );
        assert_eq!((summary["deleted"].as_u64(), summary["unchanged"].as_u64()), (Some(1), Some(2)));
        let text = check(engine, &[], &source, &destination).exits(23).out;
        assert!(text.contains(">f.st...... a\\nb\n"), "{text}");
        assert!(text.contains("1 missing, 1 different, 1 extra, 2 equal; "), "{text}");
    }
}

fn checksum_makes_sync_copy_what_differs_in_contents_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            files(source, &["contents", "time", "same", "linked"]);
            link(source.join("linked"), source.join("linked 2"));
        });
        file(destination.join("contents"), "CONTENTS");
        unmoved(destination.join("contents"));
        modified(destination.join("time"), 1, 1);
        modified(destination.join("linked"), 1, 1);
        let inode = |name: &str| fs::metadata(destination.join(name)).unwrap().ino();
        let before = inode("time");
        let dry = sync_with(engine, &["-c", "-n", "--json"], &source, &destination).exits(0).summary();
        let ran = sync_with(engine, &["-c", "--json"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(inode("time"), before, "its time was mended in place");
        let summary = ran.summary();
        assert_eq!((summary["created"].as_u64(), summary["unchanged"].as_u64()), (Some(0), Some(2)));
        for action in ["created", "updated", "linked"] {
            assert_eq!(summary[action], dry[action], "{action}");
        }
        let action = |path: &str| ran.json().into_iter().find(|line| line["path"] == path).unwrap();
        assert_eq!(
            (action("contents")["action"].as_str(), action("time")["action"].as_str()),
            (Some("updated"), Some("metadata"))
        );
    }
}
