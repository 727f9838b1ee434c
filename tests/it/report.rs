//! What scripts read of a run: itemised lines and formats, which are rsync's; the log; figures; progress on a pipe.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::FileType;

use crate::support::changed::{changed_trees, files, link, mirror, unmoved};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, node, noise};
use crate::support::{ENGINES, Ran, assert_equal, program, run, scratch, sync_with};

tests![
    a_new_copy_is_itemised_as_rsync_does_it: [Need::Root, Need::Tool("rsync"), Need::Tool("setfacl")],
    changes_are_itemised_as_rsync_does_it: [Need::Root, Need::Tool("rsync"), Need::Tool("setfacl")],
    names_of_one_file_are_itemised_as_rsync_does_it: [Need::Tool("rsync")],
    twice_itemised_shows_what_is_right: [Need::Root, Need::Tool("rsync")],
    formats_are_those_of_rsync: [Need::Root, Need::Tool("rsync")],
    an_escape_without_a_meaning_is_named,
    the_log_has_a_line_for_every_change_and_error,
    a_log_that_can_not_be_opened_stops_the_run_before_it_begins,
    a_log_that_can_not_be_written_is_told_once,
    numbers_have_units_for_people: [Need::Tool("script")],
    h_alone_asks_for_help,
    progress_goes_to_a_pipe_when_asked_for,
    the_display_can_be_turned_off: [Need::Tool("script")],
];

/// A run's lines but for the summary, sorted.
fn lines(ran: &Ran) -> Vec<String> {
    let mut lines: Vec<String> = ran.out.lines().map(String::from).collect();
    lines.pop();
    lines.sort_unstable();
    lines
}

/// What rsync prints, sorted. It compares times in nanoseconds, and knows all names before it makes a hard link.
fn rsync(options: &[&str], source: &Path, destination: &Path) -> Vec<String> {
    let out = crate::support::rsync(&[&["--no-inc-recursive"], options].concat(), source, destination);
    let mut lines: Vec<String> = out.lines().map(String::from).collect();
    lines.retain(|line| !line.starts_with("created directory "));
    lines.sort_unstable();
    lines
}

/// Which name of a file leads is settled by chance: each line without it, and without the name itself.
fn of_links(lines: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let (letters, name) = line.split_at(12);
        let name = name.split([' ', '/']).filter(|part| part.parse::<u32>().is_err() && *part != "dir");
        let name: Vec<&str> = name.take_while(|part| *part != "=>" && *part != "->").collect();
        *counts.entry(format!("{letters}{}", name.join(" "))).or_default() += 1;
    }
    counts
}

#[track_caller]
fn assert_same(found: &[String], expected: &[String], what: &str) {
    let missed: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let invented: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(missed.is_empty() && invented.is_empty(), "{what}\n-{missed:#?}\n+{invented:#?}");
    assert_eq!(found, expected, "{what}");
}

fn is_of_links(line: &str) -> bool {
    [" h ", " hl ", " hp ", "/h "].iter().any(|part| line.contains(part))
}

fn a_new_copy_is_itemised_as_rsync_does_it() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, _) = changed_trees(home.path());
        for options in [&["-in"][..], &["-i"]] {
            let theirs = rsync(options, &source, &home.path().join("theirs"));
            let ours = lines(&sync_with(engine, options, &source, &home.path().join("ours")).exits(0));
            let (our_links, ours): (Vec<_>, Vec<_>) = ours.into_iter().partition(|line| is_of_links(line));
            let (their_links, theirs): (Vec<_>, Vec<_>) =
                theirs.into_iter().partition(|line| is_of_links(line));
            assert_same(&ours, &theirs, &format!("{options:?}"));
            assert_eq!(of_links(&our_links), of_links(&their_links));
            assert!(ours.len() > 50 && our_links.len() > 30, "{ours:#?} {our_links:#?}");
        }
    }
}

fn changes_are_itemised_as_rsync_does_it() {
    for &engine in ENGINES.iter() {
        for options in [&["-in"][..], &["-i"], &["-ic"]] {
            let homes = [scratch(), scratch()];
            let [(source, ours), (same_source, theirs)] = [&homes[0], &homes[1]].map(|home| {
                let (source, destination) = changed_trees(home.path());
                fs::remove_dir_all(destination.join("f to full")).unwrap();
                (source, destination)
            });
            let mut theirs = rsync(options, &same_source, &theirs);
            let mut ours = lines(&sync_with(engine, options, &source, &ours).exits(0));
            for lines in [&mut theirs, &mut ours] {
                lines.retain(|line| !is_of_links(line));
            }
            // Where an ACL makes the mode differ, rsync says so only of what it would do.
            let mask = ".f...p...a. mask";
            assert!(ours.iter().any(|line| line == mask), "{ours:#?}");
            theirs.iter_mut().filter(|line| *line == ".f.......a. mask").for_each(|line| *line = mask.into());
            // What somebody loses, and what becomes setuid, is copied anew.
            for (mended, anew) in
                [(".f....o.... owner", ">f....o.... owner"), (".f...p..... setuid", ">f...p..... setuid")]
            {
                theirs.iter_mut().filter(|line| *line == mended).for_each(|line| *line = anew.into());
            }
            theirs.sort_unstable();
            assert_same(&ours, &theirs, &format!("{options:?}"));
            assert!(ours.len() > 40, "{ours:#?}");
        }
    }
}

fn names_of_one_file_are_itemised_as_rsync_does_it() {
    for &engine in ENGINES.iter() {
        let homes = [scratch(), scratch()];
        let changed = |home: &Path| {
            let (source, destination) = mirror(home, |source| {
                for group in ["h contents", "h size"] {
                    file(source.join(format!("{group} 1")), group);
                    link(source.join(format!("{group} 1")), source.join(format!("{group} 2")));
                    link(source.join(format!("{group} 1")), source.join(format!("{group} 3")));
                }
            });
            file(destination.join("h size 1"), "another size");
            unmoved(destination.join("h size 1"));
            file(destination.join("h contents 1"), "H CONTENTS");
            (source, destination)
        };
        let [(source, ours), (same_source, theirs)] = [&homes[0], &homes[1]].map(|home| changed(home.path()));
        let theirs = rsync(&["-i"], &same_source, &theirs);
        let found = lines(&sync_with(engine, &["-i"], &source, &ours).exits(0));
        assert_eq!(of_links(&found), of_links(&theirs));
        let is_link = |line: &&String| line.starts_with("hf") && line.contains(" => h ");
        assert_eq!(found.iter().filter(is_link).count(), 4, "{found:#?}");
        assert_equal(&source, &ours);
    }
}

fn twice_itemised_shows_what_is_right() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            files(source, &["file", "dir/file", "changed"]);
            symlink("file", source.join("symlink")).unwrap();
            node(source.join("fifo"), FileType::Fifo, (0, 0));
            node(source.join("device"), FileType::CharacterDevice, (1, 3));
            file(source.join("h 1"), "h");
            link(source.join("h 1"), source.join("h 2"));
            symlink("x", source.join("hl 1")).unwrap();
            link(source.join("hl 1"), source.join("hl 2"));
        });
        mode(destination.join("changed"), 0o600);
        for options in [&["-iin"][..], &["-ivvn"]] {
            let found = lines(&sync_with(engine, options, &source, &destination).exits(0));
            let expected = rsync(&["-iin"], &source, &destination);
            assert_eq!(of_links(&found), of_links(&expected));
            assert_eq!(found.len(), 12, "{found:#?}");
        }
        assert_eq!(
            lines(&sync_with(engine, &["-i"], &source, &destination).exits(0)),
            [".f...p..... changed"]
        );
        let again = sync_with(engine, &["-i"], &source, &destination).exits(0);
        assert_eq!(lines(&again), [""; 0], "nothing is left to do");
    }
}

fn formats_are_those_of_rsync() {
    for &engine in ENGINES.iter() {
        let homes = [scratch(), scratch()];
        let build = |home: &Path| {
            let (source, destination) = mirror(home, |source| {
                files(source, &["new", "mode", "dir/contents", "dirs/time/file"]);
                symlink("a target", source.join("symlink")).unwrap();
                symlink("a target", source.join("symlink owner")).unwrap();
                node(source.join("device"), FileType::CharacterDevice, (1, 3));
                mode(source.join("mode"), 0o4754);
                lchown(source.join("new"), Some(7), Some(8)).unwrap();
            });
            for name in ["new", "symlink", "device"] {
                fs::remove_file(destination.join(name)).unwrap();
            }
            file(destination.join("dir/contents"), "longer than it was");
            mode(destination.join("mode"), 0o4600);
            modified(destination.join("dirs/time"), 1, 1);
            lchown(destination.join("symlink owner"), Some(7), None).unwrap();
            (source, destination)
        };
        let formats = [
            "%i|%n|%L|%l|%M|%o|%B|%U|%G|%%",
            "%n%L",
            "%M %n",
            "%8l|%-30n|%5o|%-12B|",
            "%i %f",
            "no escape at all",
        ];
        for format in formats {
            let trees = [&homes[0], &homes[1]].map(|home| {
                fs::remove_dir_all(home.path()).unwrap();
                fs::create_dir(home.path()).unwrap();
                build(home.path())
            });
            let [(source, ours), (same_source, theirs)] = &trees;
            let option = format!("--out-format={format}");
            let of_home = |line: &String| line.replace(homes[1].path().to_str().unwrap(), "HOME");
            let theirs = rsync(&[&option], same_source, theirs);
            let found = lines(&sync_with(engine, &[&option], source, ours).exits(0));
            if format.contains("%f") {
                let short = |line: &String, home: &Path| line.replace(&home.to_str().unwrap()[1..], "HOME");
                let ours: Vec<_> = found.iter().map(|line| short(line, homes[0].path())).collect();
                let theirs: Vec<_> = theirs.iter().map(|line| short(line, homes[1].path())).collect();
                assert_same(&ours, &theirs, format);
            } else {
                assert_same(&found, &theirs.iter().map(of_home).collect::<Vec<_>>(), format);
            }
            assert!(found.len() > 3, "{format}: {found:#?}");
        }
    }
}

fn an_escape_without_a_meaning_is_named() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    for (format, named) in [("%n %Z", "%Z"), ("%i %", "%"), ("%n%h", "%h"), ("%5%", "%5%")] {
        let ran = sync_with("auto", &["--out-format", format], &source, &destination).exits(1);
        assert!(ran.err.contains(&format!("unknown escape {named}\n")), "{}", ran.err);
    }
    assert!(!destination.exists());
}

/// The texts of a log, each line's beginning looked at and left out.
fn log_texts(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| {
            let (time, rest) = line.split_at(19);
            let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
            assert_eq!(shape, "9999/99/99 99:99:99", "{line}");
            let (process, text) = rest.strip_prefix(" [").unwrap().split_once("] ").unwrap();
            assert!(process.parse::<u32>().unwrap() > 0, "{line}");
            text.to_owned()
        })
        .collect()
}

fn the_log_has_a_line_for_every_change_and_error() {
    for &engine in ENGINES.iter() {
        for display in [&[][..], &["--json"], &["-q"], &["--out-format", "%n"]] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            files(&source, &["a/file", "evil\x1b[2J\n[1] all is well", "name"]);
            file(destination.join("name/full"), "x");
            unmoved(&destination);
            let log = home.path().join("log");
            let option = format!("--log-file={}", log.display());
            let options = [&[option.as_str()], display].concat();
            sync_with(engine, &options, &source, &destination).exits(23);
            let texts = log_texts(&log);
            assert_eq!(texts[0], format!("sync {} to {}", source.display(), destination.display()));
            assert!(texts.last().unwrap().starts_with("3 created, 1 metadata, 1 failed; "), "{texts:#?}");
            assert!(texts.last().unwrap().ends_with("; 1 error"), "{texts:#?}");
            for line in [
                ">f+++++++++ a/file",
                "cd+++++++++ a/",
                ">f+++++++++ evil\\u{1b}[2J\\n[1] all is well",
                &format!(
                    "error: create {}/name: a directory that is not empty is in the way",
                    destination.display()
                ),
            ] {
                assert!(texts.iter().any(|text| text == line), "{line}: {texts:#?}");
            }
            assert_eq!(texts.len(), 7, "{texts:#?}");
            fs::remove_dir_all(destination.join("name")).unwrap();
            sync_with(engine, &options, &source, &destination).exits(0);
            let more = log_texts(&log);
            assert_eq!(more[..texts.len()], texts, "a second run is appended");
            assert!(more.contains(&">f+++++++++ name".into()), "{more:#?}");
            assert!(more.last().unwrap().starts_with("1 created, 1 metadata, 3 unchanged; "), "{more:#?}");
        }
    }
}

fn a_log_that_can_not_be_opened_stops_the_run_before_it_begins() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    let log = home.path().join("none/log");
    let ran = sync_with("auto", &["--log-file", log.to_str().unwrap()], &source, &destination).exits(3);
    assert!(
        ran.err.starts_with(&format!("ringsync: use log file {}: No such file", log.display())),
        "{ran:?}"
    );
    assert!(!destination.exists());
    // It is the user's own file, and a symlink of the user's may lead to it.
    symlink("log", home.path().join("link")).unwrap();
    let link = home.path().join("link");
    sync_with("auto", &["--log-file", link.to_str().unwrap()], &source, &destination).exits(0);
    assert_eq!(log_texts(&home.path().join("log")).len(), 4);
}

fn a_log_that_can_not_be_written_is_told_once() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..3000 {
            file(source.join(format!("d{}/a name of some length {index}", index % 30)), "x");
        }
        let ran = sync_with(engine, &["--log-file=/dev/full"], &source, &destination).exits(23);
        assert_eq!(ran.err, "ringsync: write /dev/full: No space left on device (os error 28)\n");
        assert_equal(&source, &destination);
    }
}

/// Runs a command line in a terminal, and returns what that shows.
fn on_terminal(line: &str) -> String {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", line, "/dev/null"]).env("TERM", "xterm");
    run(command).exits(0).out
}

fn numbers_have_units_for_people() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), noise(1, 1_572_864));
    let shown = |options: &[&str]| {
        fs::remove_dir_all(&destination).ok();
        sync_with("auto", options, &source, &destination).exits(0).out
    };
    let plain = shown(&["--stats"]);
    assert!(plain.starts_with("2 created; 1.50 MiB"), "{plain}");
    assert!(plain.contains("size of files              1572864\n"), "{plain}");
    for human in [&["-h", "--stats"][..], &["--no-human-readable", "--human-readable", "--stats"]] {
        let human = shown(human);
        assert!(human.starts_with("2 created; 1.50 MiB"), "{human}");
        assert!(human.contains("size of files             1.50 MiB\n"), "{human}");
    }
    let command = |options: &str| {
        fs::remove_dir_all(&destination).ok();
        on_terminal(&format!(
            "{} sync {options} {} {}",
            program().display(),
            source.display(),
            destination.display()
        ))
    };
    assert!(command("").contains("2 created; 1.50 MiB"));
    let plain = command("--no-human-readable");
    assert!(plain.contains("2 created; 1572864 B") && !plain.contains("MiB"), "{plain:?}");
}

fn h_alone_asks_for_help() {
    let help = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments);
        run(command).exits(0).out
    };
    assert_eq!(help(&["sync", "-h"]), help(&["sync", "--help"]));
    assert!(help(&["sync", "--help"]).contains("--human-readable"));
}

fn progress_goes_to_a_pipe_when_asked_for() {
    for &engine in ENGINES.iter() {
        for option in ["--progress", "-P"] {
            for more in [&[][..], &["--json"], &["-q"]] {
                let home = scratch();
                let (source, destination) = (home.path().join("src"), home.path().join("dst"));
                files(&source, &["one", "two"]);
                let ran = sync_with(engine, &[&[option], more].concat(), &source, &destination).exits(0);
                let last = ran.err.lines().last().unwrap();
                assert!(last.starts_with("ringsync: 3 of 3 entries, 6 B of 6 B, "), "{ran:?}");
                assert!(!ran.err.contains('\x1b'));
                let quiet =
                    sync_with(engine, &[&[option, "--no-progress"], more].concat(), &source, &destination);
                assert_eq!(quiet.exits(0).err, "");
            }
        }
    }
}

fn the_display_can_be_turned_off() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..1000 {
        file(source.join(format!("d{}/file{index}", index % 30)), noise(index, 20_000));
    }
    let command = |option: &str| {
        fs::remove_dir_all(&destination).ok();
        let (source, destination) = (source.display(), destination.display());
        on_terminal(&format!("{} sync {option} {source} {destination}", program().display()))
    };
    assert!(command("-q --progress").contains("entries,"), "asked for it is shown");
    let off = command("--no-progress");
    assert!(!off.contains("entries,") && !off.contains('\x1b'), "{off:?}");
    assert!(off.contains("1,031 created; "), "{off:?}");
}
