//! The line that shows how far a run is, on a terminal as people have it: one line that fits, and nothing left behind.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise};
use crate::support::{program, run, scratch, tool};

tests![
    one_line_fits_and_leaves_nothing_behind: [Need::Tool("tmux"), Need::Tool("bash")],
    the_end_leaves_nothing_behind: [Need::Tool("tmux"), Need::Tool("bash")],
    a_run_in_the_background_draws_nothing: [Need::Tool("tmux"), Need::Tool("bash")],
    a_dumb_terminal_gets_lines: [Need::Tool("script")],
    output_that_nobody_reads_holds_up_no_signal: [Need::Tool("tmux"), Need::Tool("bash")],
];

/// Nothing takes as long.
const LIMIT: Duration = Duration::from_secs(60);

/// A terminal with a shell in it, of a server of its own.
struct Terminal<'a> {
    home: &'a Path,
}

impl<'a> Terminal<'a> {
    fn new(home: &'a Path, columns: u16) -> Self {
        let terminal = Terminal { home };
        let shell = "env PS1='$ ' LC_ALL=C.UTF-8 bash --norc --noprofile -i";
        terminal.tmux(&["new-session", "-d", "-x", &columns.to_string(), "-y", "24", shell]);
        terminal.wait(|rows| rows.iter().any(|row| row.starts_with('$')), "a prompt");
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.home.join("socket")).args(["-f", "/dev/null", "-u"]).args(arguments);
        command.current_dir(self.home).env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        let ran = run(command).exits(0);
        ran.out
    }

    /// Types a line.
    fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.tmux(&["send-keys", "Enter"]);
    }

    fn rows(&self) -> Vec<String> {
        self.tmux(&["capture-pane", "-p"]).lines().map(|row| row.trim_end().to_owned()).collect()
    }

    /// Waits until what is shown is as wanted, and returns it.
    #[track_caller]
    fn wait(&self, wanted: impl Fn(&[String]) -> bool, what: &str) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let rows = self.rows();
            if wanted(&rows) {
                return rows;
            }
            assert!(begun.elapsed() < LIMIT, "{what}: {rows:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.home.join("socket")).arg("kill-server");
        run(command);
    }
}

/// The percentages that are shown.
fn shown(rows: &[String]) -> Vec<u64> {
    let number = |row: &String| row.split(" %").next()?.split_whitespace().next_back()?.parse().ok();
    rows.iter().filter(|row| row.contains(" %  ")).filter_map(number).collect()
}

/// One file, and a run that copies it at this rate.
fn run_at(rate: &str, home: &Path) -> String {
    file(home.join("src/large"), noise(1, 40 << 20));
    format!("{} sync --bwlimit {rate} src dst", program().display())
}

/// So slow that no run comes to its end by itself.
const SLOW: &str = "400K";

fn one_line_fits_and_leaves_nothing_behind() {
    let home = scratch();
    let run = run_at(SLOW, home.path());
    let terminal = Terminal::new(home.path(), 80);
    terminal.enter(&run);
    // Of one file it is the bytes that are counted, and so the time that is left.
    let is_under_way = |rows: &[String]| shown(rows).iter().any(|percent| *percent > 0);
    let rows = terminal.wait(is_under_way, "a display");
    assert_eq!(shown(&rows).len(), 1, "{rows:#?}");
    let line = rows.iter().find(|row| row.contains(" %  ")).unwrap();
    assert!(line.contains(" of 40.00 MiB, ") && line.ends_with(" left"), "{line}");
    for (columns, other) in [("40", "60"), ("30", "50"), ("120", "40")] {
        for columns in [other, columns] {
            terminal.tmux(&["resize-window", "-x", columns]);
        }
        let most: usize = columns.parse().unwrap();
        let before = shown(&terminal.rows()).first().copied().unwrap_or_default();
        let goes_on = |rows: &[String]| {
            let now = shown(rows);
            now.len() == 1 && now[0] > before && rows.iter().filter(|row| row.ends_with(" left")).count() == 1
        };
        let rows = terminal.wait(goes_on, "one line after a resize");
        assert!(rows.iter().all(|row| row.chars().count() <= most), "{rows:#?}");
    }
    terminal.tmux(&["send-keys", "C-z"]);
    let rows = terminal.wait(|rows| rows.iter().any(|row| row.contains("Stopped")), "a stop");
    assert_eq!(shown(&rows), [0; 0], "nothing is left of the line: {rows:#?}");
    terminal.enter("fg");
    terminal.wait(|rows| !shown(rows).is_empty(), "the line again");
    terminal.tmux(&["send-keys", "C-c"]);
    let rows = terminal.wait(|rows| rows.iter().any(|row| row.contains("interrupted: ")), "the end");
    assert_eq!(shown(&rows), [0; 0], "{rows:#?}");
    assert!(!rows.iter().any(|row| row.ends_with(" left")), "{rows:#?}");
}

fn the_end_leaves_nothing_behind() {
    let home = scratch();
    let run = run_at("20M", home.path());
    let terminal = Terminal::new(home.path(), 80);
    terminal.enter(&run);
    let rows = terminal.wait(|rows| rows.iter().any(|row| row.contains("2 created; ")), "the end");
    assert_eq!(shown(&rows), [0; 0], "{rows:#?}");
    assert!(!rows.iter().any(|row| row.ends_with(" left")), "{rows:#?}");
}

fn a_run_in_the_background_draws_nothing() {
    let home = scratch();
    let run = run_at("10M", home.path());
    let terminal = Terminal::new(home.path(), 80);
    terminal.enter(&format!("{run} & wait"));
    let rows = terminal.wait(
        |rows| {
            assert_eq!(shown(rows), [0; 0], "{rows:#?}");
            rows.iter().any(|row| row.contains("2 created; "))
        },
        "the end",
    );
    assert_eq!(shown(&rows), [0; 0]);
}

/// What `ringsync sync -v a b | less` is like until somebody scrolls down.
fn output_that_nobody_reads_holds_up_no_signal() {
    let home = scratch();
    for index in 0..3000 {
        file(
            home.path().join(format!("src/a name that is rather long, for the pipe to be full {index}")),
            "x",
        );
    }
    let terminal = Terminal::new(home.path(), 80);
    let run = format!("{} sync -v src dst", program().display());
    terminal.enter(&format!("(echo $BASHPID > pid; exec {run}) | sleep 1000"));
    let pid = || std::fs::read_to_string(home.path().join("pid")).ok()?.trim().parse::<i32>().ok();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid()?)).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    };
    let kill = |signal: &str| drop(tool("kill", &[signal, &pid().expect("a process").to_string()]));
    // All is copied, and it waits for the pipe.
    let copied = || std::fs::read_dir(home.path().join("dst")).is_ok_and(|names| names.count() == 3000);
    wait_until(|| pid().is_some() && copied() && state() == Some('S'), "a full pipe");
    kill("-TSTP");
    wait_until(|| state() == Some('T'), "a stop");
    kill("-CONT");
    wait_until(|| state() == Some('S'), "it goes on");
    kill("-TERM");
    kill("-TERM");
    wait_until(|| matches!(state(), None | Some('Z')), "the end");
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn a_dumb_terminal_gets_lines() {
    let home = scratch();
    file(home.path().join("src/large"), noise(1, 20 << 20));
    let line = format!("{} sync --bwlimit 6M src dst", program().display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env("TERM", "dumb").current_dir(home.path());
    let out = run(command).exits(0).out;
    assert!(!out.contains('\x1b'), "{out:?}");
    let lines: Vec<&str> = out.lines().filter(|line| line.contains("MiB of 20.00 MiB")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.starts_with("ringsync: ")), "{out:?}");
    assert!(out.lines().last().unwrap().starts_with("2 created; "), "{out:?}");
}
