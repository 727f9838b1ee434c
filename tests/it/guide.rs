//! docs/guide.md and the examples in README.md: what they tell people to type works, and prints what they show.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

use crate::support::needs::{Need, on_path, tests};
use crate::support::tree::{file, mode};
use crate::support::{program, run, scratch, tool};

tests![
    the_guide_can_be_followed: [Need::Tool("bash"), Need::Tool("flock")],
    timers_start_the_script_of_the_guide,
    the_script_needs_nothing_of_its_environment: [Need::Tool("bash"), Need::Tool("flock")],
    what_failed_in_part_is_kept_under_another_name: [Need::Tool("bash"), Need::Tool("flock")],
    old_snapshots_go_and_no_others: [Need::Tool("bash"), Need::Tool("flock")],
    a_disk_that_is_nearly_full_is_cleared_first: [Need::Tool("bash"), Need::Tool("flock")],
    read_only_directories_go_too: [Need::Tool("bash"), Need::Tool("flock")],
    examples_can_be_parsed: [Need::Tool("bash")],
    blocks_and_figures_are_told_apart,
];

const GUIDE: &str = include_str!("../../docs/guide.md");

/// A fenced block.
struct Block<'a> {
    language: &'a str,
    text: String,
    /// The line in which it begins.
    line: usize,
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (index, line) in document.lines().enumerate() {
        match (line.strip_prefix("```"), blocks.last_mut()) {
            (Some(""), _) if open => open = false,
            (Some(language), _) => {
                assert!(!open, "a fence within a fence, in line {}", index + 1);
                open = true;
                blocks.push(Block { language, text: String::new(), line: index + 1 });
            }
            (None, Some(block)) if open => block.text += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(!open, "the last fence is open");
    blocks
}

/// Lines without what differs from run to run. Their order is that in which entries are done, which is chance.
fn settled(text: &str) -> Vec<String> {
    let figures = [
        (r" at [0-9.,]+ [KMGi]*B/s", ""), // only what takes longer has a rate
        (r"; [0-9.]+ s\b", "; TIME"),
        (r"in [0-9.]+ (milli)?seconds?\b", "in TIME"),
        (r"20[0-9]{2}-[0-9]{2}-[0-9]{2}_[0-9]{6}\.[0-9]{3}", "SNAPSHOT"),
    ];
    let mut text = text.to_owned();
    for (figure, name) in figures {
        text = Regex::new(figure).expect("an expression").replace_all(&text, name).into_owned();
    }
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    lines.sort_unstable();
    lines
}

/// Bash in a directory that is also its home, with the program on its path; what a terminal would show.
fn bash(script: &str, home: &Path) -> crate::support::Ran {
    let programs = program().parent().expect("a directory").to_path_buf();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path: OsString =
        std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&inherited)))
            .expect("a path");
    let mut command = Command::new("bash");
    command.args(["--norc", "-euo", "pipefail", "-c", &format!("exec 2>&1\n{script}")]);
    command.current_dir(home).env("PATH", path).env("HOME", home).env("LC_ALL", "C.UTF-8");
    run(command)
}

fn the_guide_can_be_followed() {
    let home = scratch();
    let blocks = blocks(GUIDE);
    let mut compared = 0;
    for (index, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        let ran = bash(&block.text, home.path());
        assert_eq!(ran.code, Some(0), "line {}: {}\n{}", block.line, block.text, ran.out);
        if let Some(shown) = blocks.get(index + 1).filter(|next| next.language == "text") {
            let (told, found) = (settled(&shown.text), settled(&ran.out));
            assert_eq!(told, found, "what is shown in line {}, and what came", shown.line);
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared}");
    let shown = blocks.iter().filter(|block| block.language == "text").count();
    assert_eq!(compared, shown, "each output belongs to a command");
}

fn timers_start_the_script_of_the_guide() {
    let blocks = blocks(GUIDE);
    let text = |language: &str| {
        let of_it: Vec<&Block<'_>> = blocks.iter().filter(|block| block.language == language).collect();
        assert_eq!(of_it.len(), 1, "{language}");
        of_it[0].text.clone()
    };
    let start = "/usr/local/bin/nightly /srv /mnt/backup/nightly\n";
    assert!(text("ini").contains(&format!("ExecStart={start}")));
    assert!(text("crontab").ends_with(start));
    assert!(text("ini").contains("RequiresMountsFor=/srv /mnt/backup/nightly\n"));
    assert!(text("ini").contains("OnFailure=nightly-failed.service\n"));
    assert!(text("console").contains("$ sudo install -m 755 nightly ~/.cargo/bin/ringsync /usr/local/bin"));
    if on_path("systemd-analyze") {
        let home = scratch();
        let units = text("ini").replace("/usr/local/bin/nightly", "/bin/true");
        let names =
            ["nightly.service", "nightly-failed.service", "nightly.timer"].map(|name| home.path().join(name));
        let parts = units.split("# /etc/systemd/system/").skip(1);
        for (name, part) in names.iter().zip(parts) {
            let (first, rest) = part.split_once('\n').expect("a unit");
            assert!(name.ends_with(first));
            std::fs::write(name, rest).expect("a file to write");
        }
        let mut command = Command::new("systemd-analyze");
        command.arg("verify").args(&names);
        let ran = run(command);
        assert!(!ran.err.contains("nightly."), "{}", ran.err);
    }
}

/// The script of the guide, and the program, installed in a directory that stands for /usr/local/bin.
struct Nightly {
    home: tempfile::TempDir,
}

impl Nightly {
    fn new() -> Self {
        let home = scratch();
        let script = blocks(GUIDE).into_iter().find(|block| block.text.starts_with("cat > nightly"));
        let text = script.expect("the script").text;
        let text = text.split("<<'EOF'\n").nth(1).and_then(|text| text.split("\nEOF\n").next());
        let programs = home.path().join("programs");
        let script = text.expect("a script").replace("/usr/local/bin", programs.to_str().expect("text"));
        assert!(script.contains(&format!("PATH={}:", programs.display())));
        file(programs.join("nightly"), script);
        mode(programs.join("nightly"), 0o755);
        symlink(program(), programs.join("ringsync")).expect("a symlink");
        file(home.path().join("src/dir/file"), "x");
        fs::create_dir(home.path().join("snapshots")).expect("a directory");
        Nightly { home }
    }

    fn at(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    /// Runs it as a timer does: without any environment, and from the root of the file system.
    fn run(&self) -> crate::support::Ran {
        let mut command = Command::new("env");
        command.arg("-i").arg(self.at("programs/nightly")).arg(self.at("src")).arg(self.at("snapshots"));
        command.current_dir("/");
        run(command)
    }

    /// What is there, but for the script's own files.
    fn snapshots(&self) -> Vec<String> {
        let entries = fs::read_dir(self.at("snapshots")).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
        let mut names: Vec<_> =
            names.filter(|name| !["lock", "log", "latest"].contains(&name.as_str())).collect();
        names.sort_unstable();
        names
    }

    fn latest(&self) -> Option<String> {
        let target = fs::read_link(self.at("snapshots/latest")).ok()?;
        Some(target.into_os_string().into_string().expect("text"))
    }

    /// Puts another program in the place of ringsync.
    fn install(&self, name: &str, text: &str) {
        let program = self.at("programs").join(name);
        fs::remove_file(&program).ok();
        file(&program, format!("#!/bin/bash\n{text}\n"));
        mode(&program, 0o755);
    }
}

fn the_script_needs_nothing_of_its_environment() {
    let nightly = Nightly::new();
    for count in 1..3 {
        let ran = nightly.run().exits(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
        assert_eq!(nightly.snapshots().len(), count);
    }
    let latest = nightly.at("snapshots/latest");
    assert_eq!(fs::metadata(latest.join("dir/file")).expect("a file").nlink(), 2);
    // A run that breaks off leaves what it has to the next one, whatever that was.
    file(nightly.at("snapshots/incomplete/other"), "x");
    nightly.run().exits(0);
    assert!(!latest.join("other").exists() && latest.join("dir/file").exists());
    fs::remove_dir_all(nightly.at("src")).expect("a tree to remove");
    fs::create_dir(nightly.at("src")).expect("a directory");
    assert!(nightly.run().exits(3).out.contains("is empty: is it mounted?"));
}

/// Puts a program in the place of ringsync that leaves a snapshot, and this exit code.
fn exits_with(nightly: &Nightly, code: i32) {
    nightly.install("ringsync", &format!("mkdir -p \"${{@: -1}}\"; exit {code}"));
}

fn what_failed_in_part_is_kept_under_another_name() {
    let nightly = Nightly::new();
    nightly.run().exits(0);
    for (code, is_kept, is_whole) in
        [(23, true, false), (30, true, false), (24, true, true), (11, false, false), (20, false, false)]
    {
        let before = nightly.snapshots();
        exits_with(&nightly, code);
        nightly.run().exits(code);
        let new: Vec<_> = nightly.snapshots().into_iter().filter(|name| !before.contains(name)).collect();
        assert_eq!(new.len(), 1, "{code}: {new:?}");
        assert_eq!(new[0] != "incomplete", is_kept, "{code}: {new:?}");
        assert_eq!(new[0].ends_with("_some-failed"), is_kept && !is_whole, "{code}: {new:?}");
        assert_eq!(nightly.latest().as_ref() == Some(&new[0]), is_whole, "{code}: {new:?}");
        if !is_kept {
            fs::remove_dir(nightly.at("snapshots/incomplete")).expect("what was left");
        }
    }
}

fn old_snapshots_go_and_no_others() {
    let nightly = Nightly::new();
    let snapshot = |name: &str| file(nightly.at("snapshots").join(name).join("file"), "keep");
    let strange = [
        "2020-01-01_my-archive",
        "2020-01-01_000000.000.tar",
        "x2020-01-01_000000.000",
        "2020-01-01_000000.000_x",
    ];
    strange.into_iter().for_each(snapshot);
    // The clock was wrong: all others are newer than what is made now, and what latest names is the oldest.
    for index in 1..40 {
        let failed = if index % 5 == 0 { "_some-failed" } else { "" };
        snapshot(&format!("2099-01-{:02}_{index:06}.000{failed}", index % 28 + 1));
    }
    let oldest = "2000-01-01_000000.000";
    snapshot(oldest);
    symlink(oldest, nightly.at("snapshots/latest")).expect("a symlink");
    exits_with(&nightly, 23);
    nightly.run().exits(23);
    let left = nightly.snapshots();
    assert_eq!(nightly.latest().as_deref(), Some(oldest));
    assert!(left.iter().any(|name| name == oldest), "{left:?}");
    assert!(strange.iter().all(|name| left.iter().any(|left| left == name)), "{left:?}");
    let count = |is_of: &dyn Fn(&str) -> bool| left.iter().filter(|name| is_of(name)).count();
    assert_eq!(count(&|name| name.starts_with("2099")), 29, "{left:?}");
    let is_new = |name: &str| name.ends_with("_some-failed") && !name.starts_with("2099");
    assert_eq!(count(&is_new), 1, "what was just made stays: {left:?}");
    exits_with(&nightly, 24);
    nightly.run().exits(24);
    assert!(nightly.snapshots().contains(&nightly.latest().expect("a snapshot")));
}

fn a_disk_that_is_nearly_full_is_cleared_first() {
    let nightly = Nightly::new();
    for day in 10..30 {
        let name = format!("2020-01-{day}_000000.000");
        fs::create_dir(nightly.at("snapshots").join(name)).expect("a directory");
    }
    // A df that tells how full it is by how many snapshots there are, and a run that counts them.
    nightly.install("ringsync", "ls | grep -c ^2020 > ../seen; exit 11");
    for (most, left) in [(20, "20"), (15, "15"), (0, "6")] {
        let percent = format!("$(($(ls | grep -c ^2020) > {most} ? 97 : 60))");
        nightly.install("df", &format!("printf 'Use%%\\n %s%%\\n' {percent}"));
        nightly.run().exits(11);
        assert_eq!(fs::read_to_string(nightly.at("seen")).expect("a count").trim(), left);
    }
    assert!(nightly.snapshots().contains(&"2020-01-29_000000.000".into()), "the oldest went");
}

fn read_only_directories_go_too() {
    let nightly = Nightly::new();
    for day in 1..32 {
        let snapshot = nightly.at("snapshots").join(format!("2020-01-{day:02}_000000.000"));
        file(snapshot.join("closed/inner/file"), "x");
        mode(snapshot.join("closed/inner/file"), 0o444);
        for (name, bits) in [("closed/inner", 0), ("closed", 0o500), ("", 0o555)] {
            mode(snapshot.join(name), bits);
        }
    }
    let (ran, left) = (nightly.run(), nightly.snapshots());
    // Whatever came of it: so that the user who runs the test can remove what is left.
    tool("chmod", &["-R", "u+rwX", nightly.at("snapshots").to_str().expect("text")]);
    ran.exits(0);
    let has = |name: &str| left.iter().any(|left| left == name);
    assert!(!has("2020-01-01_000000.000") && !has("removing"), "{left:?}");
    assert_eq!(left.len(), 30, "{left:?}");
}

/// They name directories that are not there: that the options and their values are right is all that can be seen.
fn examples_can_be_parsed() {
    let home = scratch();
    let mut count = 0;
    let documents = [
        include_str!("../../README.md"),
        include_str!("../../docs/from-rsync.md"),
        include_str!("../../docs/reference.md"),
        include_str!("../../docs/filters.md"),
    ];
    for block in documents.into_iter().flat_map(blocks).filter(|block| block.language == "sh") {
        for line in block.text.lines().filter(|line| line.starts_with("ringsync ")) {
            // What follows a help that is asked for is not looked at, so it is asked for at the end.
            let words = line.split(" # ").next().unwrap_or(line).split(" > ").next().unwrap_or(line);
            let ran = bash(&format!("{words} --help"), home.path());
            assert!(ran.code == Some(0) && ran.out.contains("Usage: ringsync "), "{line}: {ran:#?}");
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
    let wrong = bash("ringsync sync --max-size=much SRC DST --help", home.path());
    assert_eq!(wrong.code, Some(1), "a wrong value is seen: {wrong:#?}");
}

fn blocks_and_figures_are_told_apart() {
    let found = blocks("a\n```sh\nls\n```\n\n```text\nb\n\nc\n```\n");
    let found: Vec<_> = found.iter().map(|block| (block.language, block.text.as_str(), block.line)).collect();
    assert_eq!(found, [("sh", "ls\n", 2), ("text", "b\n\nc\n", 6)]);
    assert_eq!(settled("2 created; 5 B at 1.20 KiB/s; 0.01 s"), settled("2 created; 5 B; 12.00 s"));
    assert_ne!(settled("2 created; 5 B at 9 B/s; 0.01 s"), settled("3 created; 5 B at 9 B/s; 0.01 s"));
    assert_ne!(settled("1 created; 0.01 s; 1 error"), settled("1 created; 0.01 s"));
}
