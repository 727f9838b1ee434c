//! docs/guide.md and the examples in README.md: what they tell people to type works, and prints what they show.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::support::needs::{Need, on_path, tests};
use crate::support::tree::file;
use crate::support::{program, run, scratch};

tests![
    the_guide_can_be_followed: [Need::Tool("bash")],
    timers_start_what_the_guide_says,
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
        (r"20[0-9]{2}-[0-9]{2}-[0-9]{2}_[0-9]{6}Z(\.[0-9]{3})?", "SNAPSHOT"),
        (r"[0-9]+ (s|min|h) old\b", "AGE"),
        (r"SNAPSHOT +20[0-9-]{8} [0-9:]{5} +[0-9]+ (s|min|h|days)\b", "SNAPSHOT BEGUN AGE"),
        (r" {2,}", " "), // a table is as wide as its names
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

fn timers_start_what_the_guide_says() {
    let blocks = blocks(GUIDE);
    let text = |language: &str| {
        let of_it: Vec<&Block<'_>> = blocks.iter().filter(|block| block.language == language).collect();
        assert_eq!(of_it.len(), 1, "{language}");
        of_it[0].text.clone()
    };
    let units = text("ini");
    let start =
        units.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/ringsync ")).unwrap();
    let crontab = text("crontab");
    let line = crontab.lines().last().and_then(|line| line.strip_prefix("30 2 * * *  ")).expect("a line");
    assert!(line.ends_with(&format!("; /usr/local/bin/ringsync {start}")), "{line}");
    assert!(units.contains("\nExecStartPre=mountpoint /mnt/backup\n"), "what is not mounted is a failure");
    assert!(!text("crontab").contains('%'), "cron takes it for the end of a line");
    assert!(units.contains("RequiresMountsFor=/srv /mnt/backup\n"));
    assert!(units.contains("OnFailure=nightly-failed.service\n"));
    assert!(text("console").contains("$ sudo install -m 755 ~/.cargo/bin/ringsync /usr/local/bin"));
    // A disk that is not mounted is said, and nothing is written beneath.
    let home = scratch();
    fs::create_dir(home.path().join("mnt")).expect("a directory");
    let place = home.path().join("mnt");
    let line = line.replace("/mnt/backup", &place.display().to_string());
    let line = line.replace("/usr/local/bin/ringsync", "echo not reached:");
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    let ran = run(command).exits(1);
    assert_eq!(ran.out, format!("{} is not mounted: no snapshot\n", place.display()));
    // As a timer does: without any environment, and from the root of the file system.
    file(home.path().join("srv/file"), "x");
    let start = start.replace("/srv /mnt/backup", &format!("{0}/srv {0}/mnt", home.path().display()));
    for _ in 0..2 {
        let mut command = Command::new("env");
        command.arg("-i").arg(program()).args(start.split(' ')).current_dir("/");
        let ran = run(command).exits(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    }
    assert_eq!(fs::metadata(home.path().join("mnt/srv/latest/file")).expect("a file").nlink(), 2);
    if on_path("systemd-analyze") {
        let units =
            units.replace("/usr/local/bin/ringsync", "/bin/true").replace("=mountpoint ", "=/bin/true ");
        let names =
            ["nightly.service", "nightly-failed.service", "nightly.timer"].map(|name| home.path().join(name));
        let parts = units.split("# /etc/systemd/system/").skip(1);
        for (name, part) in names.iter().zip(parts) {
            let (first, rest) = part.split_once('\n').expect("a unit");
            assert!(name.ends_with(first));
            fs::write(name, rest).expect("a file to write");
        }
        let mut command = Command::new("systemd-analyze");
        command.arg("verify").args(&names);
        let ran = run(command);
        assert!(!ran.err.contains("nightly."), "{}", ran.err);
    }
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
