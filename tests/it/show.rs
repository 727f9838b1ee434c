//! What a run shows: lines, JSON, the display on a terminal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;

use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise};
use crate::support::{ENGINES, program, run, scratch, sync_with};

tests![
    without_flags_one_line_ends_the_run,
    quiet_shows_errors_alone,
    verbose_shows_a_line_an_entry,
    control_characters_are_escaped,
    json_holds_every_entry,
    a_path_that_is_not_text_has_its_bytes,
    stats_add_up,
    a_terminal_gets_a_display_and_a_pipe_does_not: [Need::Tool("script")],
    a_display_does_not_hide_a_full_output: [Need::Tool("script")],
    a_reader_that_goes_away_does_not_stop_the_mirror,
    help_names_every_option,
];

fn without_flags_one_line_ends_the_run() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("a/file"), "12345");
        let ran = sync_with(engine, &[], &source, &destination).exits(0);
        assert!(ran.out.starts_with("3 created; 5 B"), "{}", ran.out);
        assert_eq!((ran.out.lines().count(), ran.err.as_str()), (1, ""));
        let again = sync_with(engine, &[], &source, &destination).exits(0);
        assert!(again.out.starts_with("3 unchanged; "), "{}", again.out);
    }
}

/// SRC and DST, where a directory that is not empty is in the way of SRC's file of that name, which fails.
fn with_one_in_the_way(home: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (source, destination) = (home.join("src"), home.join("dst"));
    file(source.join(name), "x");
    file(destination.join(name).join("full"), "x");
    (source, destination)
}

fn quiet_shows_errors_alone() {
    let home = scratch();
    let (source, destination) = with_one_in_the_way(home.path(), "name");
    let ran = sync_with("auto", &["-q"], &source, &destination).exits(23);
    assert_eq!((ran.out.as_str(), ran.err.lines().count()), ("", 1));
}

fn verbose_shows_a_line_an_entry() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("a/file"), "x");
    let ran = sync_with("auto", &["-v"], &source, &destination).exits(0);
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.pop();
    lines.sort_unstable();
    assert_eq!(lines, ["created   ./", "created   a/", "created   a/file"]);
    assert_eq!(sync_with("auto", &["-v"], &source, &destination).exits(0).out.lines().count(), 1);
    let all = sync_with("auto", &["-vv"], &source, &destination).exits(0);
    assert!(all.out.contains("unchanged a/file\n"), "{}", all.out);
}

fn control_characters_are_escaped() {
    let home = scratch();
    let (source, destination) = with_one_in_the_way(home.path(), "\x1b[2Jevil\nringsync: fine");
    file(source.join("good\r"), "x");
    let ran = sync_with("auto", &["-v"], &source, &destination).exits(23);
    assert!(ran.err.contains("\\u{1b}[2Jevil\\nringsync: fine: "), "{}", ran.err);
    assert!(ran.out.contains("created   good\\r\n"), "{}", ran.out);
    let both = ran.out + &ran.err;
    assert!(!both.contains(|c: char| c.is_control() && c != '\n'));
}

fn json_holds_every_entry() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = with_one_in_the_way(home.path(), "name");
        file(source.join("a/file"), "12345");
        fs::hard_link(source.join("a/file"), source.join("a/link")).unwrap();
        let ran = sync_with(engine, &["--json"], &source, &destination).exits(23);
        let lines = ran.json();
        assert_eq!(lines[0]["event"], "start");
        assert_eq!(lines[0]["engine"], engine);
        let entry =
            |path: &str| lines.iter().find(|line| line["path"] == path).unwrap_or_else(|| panic!("{path}"));
        let (one, other) = (entry("a/file"), entry("a/link"));
        let (created, linked) = if one["action"] == "created" { (one, other) } else { (other, one) };
        assert_eq!((created["action"].as_str(), created["bytes"].as_u64()), (Some("created"), Some(5)));
        assert_eq!((linked["action"].as_str(), linked["bytes"].as_u64()), (Some("linked"), Some(0)));
        assert_eq!(created["blake3"], blake3::hash(b"12345").to_hex().as_str());
        assert_eq!(entry("name")["action"], "failed");
        assert_eq!(entry("name")["error"]["operation"], "create");
        assert!(entry("name")["error"]["message"].as_str().unwrap().contains("not empty"));
        assert_eq!(entry("a")["type"], "directory");
        let summary = ran.summary();
        assert_eq!((summary["exit_code"].as_u64(), summary["outcome"].as_str()), (Some(23), Some("failed")));
        assert_eq!((summary["linked"].as_u64(), summary["failed"].as_u64()), (Some(1), Some(1)));
    }
}

fn a_path_that_is_not_text_has_its_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x");
    let ran = sync_with("auto", &["--json"], &source, &destination).exits(0);
    let lines = ran.json();
    let line = lines.iter().find(|line| line["type"] == "file").unwrap();
    assert_eq!(line["path"], "caf\u{fffd}");
    let bytes = line["path_bytes"].as_str().unwrap();
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(bytes).unwrap(), b"caf\xe9");
}

fn stats_add_up() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for index in 0..100 {
            file(source.join(format!("d{}/file{index}", index % 5)), noise(index, 1000));
        }
        file(source.join("large"), noise(0, 10 << 20));
        let ran = sync_with(engine, &["--stats"], &source, &destination).exits(0);
        let figure = |label: &str| {
            let line =
                ran.out.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("{label}"));
            line.trim_start_matches(label).trim().to_owned()
        };
        assert_eq!((figure("entries found"), figure("created")), ("107".into(), "107".into()));
        assert_eq!((figure("bytes copied"), figure("bytes hashed")), ("10585760".into(), "10585760".into()));
    }
}

fn a_terminal_gets_a_display_and_a_pipe_does_not() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..2000 {
        file(source.join(format!("d{}/file{index}", index % 30)), noise(index, 20_000));
    }
    file(destination.join("d0/file0/full"), "an error to show above");
    let line = format!("{} sync {} {}", program().display(), source.display(), destination.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    let on_terminal = run(command).exits(23).out;
    assert!(on_terminal.contains("entries,"), "the display: {on_terminal:?}");
    assert!(on_terminal.contains("d0/file0: a directory that is not empty is in the way"));
    let through_pipe = sync_with("auto", &[], &source, &destination).exits(23);
    assert!(!through_pipe.out.contains('\x1b') && !through_pipe.err.contains('\x1b'));
    assert_eq!(through_pipe.err.lines().count(), 1);
}

fn a_display_does_not_hide_a_full_output() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    file(destination.join("file"), "longer");
    let line =
        format!("{} check {} {} >/dev/full", program().display(), source.display(), destination.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    assert!(run(command).exits(23).out.contains("write standard output: No space left"));
}

fn a_reader_that_goes_away_does_not_stop_the_mirror() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for index in 0..3000 {
        file(source.join(format!("d{}/file{index}", index % 30)), "x");
    }
    let line = format!(
        "{{ {} sync -v {} {}; echo $? >&2; }} | head -n 1 >/dev/null",
        program().display(),
        source.display(),
        destination.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    assert!(
        run(command).exits(0).err.ends_with("tasks\n0\n"),
        "what is left is the engine and the exit code"
    );
    crate::support::assert_equal(&source, &destination);
}

fn help_names_every_option() {
    let help = |name: &str| {
        let mut command = Command::new(program());
        command.args([name, "--help"]);
        run(command).exits(0).out
    };
    let (sync, check) = (help("sync"), help("check"));
    let options = [
        "--dry-run",
        "--inplace",
        "--partial",
        "--fsync",
        "--verify",
        "--manifest",
        "--timeout",
        "--itemize-changes",
        "--out-format",
        "--log-file",
        "--human-readable",
        "--no-human-readable",
        "--progress",
        "--no-progress",
        "-P",
        "--bwlimit",
        "--checksum",
        "--mkpath",
        "--no-owner",
        "--no-group",
        "--no-acls",
        "--no-xattrs",
        "--no-hard-links",
        "--no-times",
        "--no-devices",
        "--no-specials",
        "--no-atomic",
        "--reflink",
        "--no-hash",
        "--verbose",
        "--quiet",
        "--stats",
        "--trace",
        "--json",
        "--engine",
        "--jobs",
        "--depth",
    ];
    for option in options {
        assert!(sync.contains(option), "{option} is not in --help");
        let of_writing = [
            "--dry-run",
            "--mkpath",
            "--no-atomic",
            "--inplace",
            "--partial",
            "--fsync",
            "--verify",
            "--manifest",
            "--timeout",
            "--reflink",
            "--no-hash",
            "--verbose",
            "--itemize-changes",
            "--out-format",
            "--log-file",
            "--human-readable",
            "--no-human-readable",
            "--progress",
            "--no-progress",
            "-P",
            "--bwlimit",
            "--trace",
        ];
        assert_eq!(check.contains(option), !of_writing.contains(&option), "{option} of check");
    }
}
