//! `ringsync bench`: every tool is measured on the same work and its copy checked, and nothing is left behind.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, snapshot};
use crate::support::{Ran, finish, program, run, scratch};

tests![
    every_tool_is_measured_and_reported: [Need::Tool("cp"), Need::Tool("rsync")],
    a_wrong_copy_and_a_failure_are_told_and_the_others_go_on,
    a_source_of_the_users_own_is_only_read: [Need::Tool("rsync")],
    a_signal_ends_the_tool_and_leaves_nothing,
    too_little_room_is_refused: [Need::Root],
    too_few_inodes_are_refused: [Need::Root],
    what_can_not_be_used_is_refused,
    cold_caches_are_measured: [Need::Root, Need::FileSystem("ext4"), Need::ColdCaches],
];

/// `ringsync bench --dir DIR`, in the working directory `home` and with only these tools.
fn bench_command(home: &Path, tools: &[&str]) -> Command {
    let mut command = Command::new(program());
    fs::create_dir_all(home.join("dir")).unwrap();
    command.current_dir(home).args(["bench", "--dir", "dir", "--tools", &tools.join(",")]);
    command
}

fn quick(home: &Path, tools: &[&str], options: &[&str]) -> Ran {
    let mut command = bench_command(home, tools);
    command.arg("--quick").args(options);
    run(command)
}

/// Has a script be the first program of that name on `command`'s PATH.
fn fake(command: &mut Command, home: &Path, name: &str, script: &str) {
    let bin = home.join("bin");
    file(bin.join(name), format!("#!/bin/sh\n{script}\n"));
    mode(bin.join(name), 0o755);
    let mut path = OsString::from(bin);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    command.env("PATH", path);
}

fn read_json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Case, scenario and tool of all results.
fn results(report: &Value) -> Vec<(String, &Value)> {
    let of = |cell: &'static str, value: &Value| value[cell].as_str().unwrap().to_string();
    let cells = report["cells"].as_array().unwrap().iter();
    let named = cells.flat_map(|cell| {
        let title = format!("{} {} {}", of("case", cell), of("scenario", cell), of("cache", cell));
        cell["results"].as_array().unwrap().iter().map(move |result| (title.clone(), result))
    });
    named.map(|(title, result)| (format!("{title} {}", of("tool", result)), result)).collect()
}

fn find<'a>(report: &'a Value, name: &str) -> &'a Value {
    let found = results(report).into_iter().find(|(title, _)| title == name);
    found.unwrap_or_else(|| panic!("no {name} in {report:#}")).1
}

#[track_caller]
fn assert_nothing_left(home: &Path) {
    let left: Vec<_> = fs::read_dir(home.join("dir")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

fn every_tool_is_measured_and_reported() {
    let home = scratch();
    let reports = ["--json", "j", "--csv", "c", "--svg", "s", "--html", "h", "--scale", "0.002"];
    let ran = quick(home.path(), &["rsync", "cp"], &reports).exits(0);
    assert_nothing_left(home.path());
    let report = read_json(home.path().join("j"));
    let all = results(&report);
    assert_eq!(all.len(), 5 * 3 * 3, "data sets, scenarios, tools");
    let names: BTreeSet<&String> = all.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), all.len());
    for (name, result) in &all {
        assert!(
            result["fault"].is_null() && result["runs"].as_array().unwrap().len() == 1,
            "{name}: {result}"
        );
        assert!(result["wall_seconds"]["median"].as_f64().unwrap() > 0.0, "{name}: {result}");
        assert!(result["runs"][0]["peak_bytes"].as_u64().unwrap() > 0, "{name}: {result}");
        assert_eq!(result["trust"], "too-few", "{name}");
        if name.ends_with(" ringsync") {
            assert_eq!(
                (&result["not_kept"], &result["times_ringsync"]),
                (&Value::from([""; 0]), &1.0.into())
            );
        }
    }
    assert_eq!(find(&report, "mixed fresh warm rsync")["not_kept"], Value::from(["hard links"]));
    let sparse = find(&report, "sparse fresh warm rsync")["not_kept"].to_string();
    assert_eq!(sparse, r#"["holes"]"#);
    assert!(report["cells"][2]["changed"].as_u64().unwrap() >= 1, "{}", report["cells"][2]);
    assert_eq!(report["machine"]["destination"]["kind"], report["machine"]["source"]["kind"]);
    assert!(report["machine"]["kernel"].as_str().unwrap().starts_with("Linux "));
    assert!(report["tools"].as_array().unwrap().iter().all(|tool| tool["version"].is_string()), "{report:#}");

    let csv = fs::read_to_string(home.path().join("c")).unwrap();
    assert_eq!(csv.lines().count(), 1 + all.len());
    assert!(csv.lines().all(|line| line.split(',').count() == 11), "no field here needs quotes\n{csv}");
    let (svg, html) = (home.path().join("s"), home.path().join("h"));
    let (svg, html) = (fs::read_to_string(svg).unwrap(), fs::read_to_string(html).unwrap());
    assert_well_formed(&svg);
    // Another tool may be as fast by chance.
    assert!(svg.matches("x 1.00 ?").count() >= 15, "a bar for ringsync in each");
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains(&svg));
    for word in ["small, fresh, warm: ", "sparse, changed, warm: ", "rsync", "cp: cp (GNU"] {
        assert!(ran.out.contains(word), "{word}: {ran:?}");
    }
}

/// Every element is ended, the innermost first.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("a tag that ends");
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap().trim_end_matches('/');
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, true) => {}
            (false, false) => open.push(name),
        }
    }
    assert!(open.is_empty() && svg.starts_with("<svg "), "{open:?}");
}

fn a_wrong_copy_and_a_failure_are_told_and_the_others_go_on() {
    let home = scratch();
    let mut command = bench_command(home.path(), &["cp", "xcp", "cpz"]);
    // The last argument is DST, the one before it SRC.
    let wrong = "for last; do before=$at at=$last; done; cp -aT \"$before\" \"$at\" && echo more >> \"$at/d00000/f000000\"";
    fake(&mut command, home.path(), "xcp", wrong);
    fake(&mut command, home.path(), "cpz", "echo it can not >&2; exit 9");
    command.args(["--cases", "small", "--scale", "0.001", "--runs", "2", "--json", "j", "--csv", "c"]);
    let ran = run(command).exits(23);
    assert_nothing_left(home.path());
    assert!(ran.out.contains("xcp       wrong: d00000/f000000: is of another size"), "{}", ran.out);
    assert!(ran.out.contains("cpz       failed: exit status: 9: it can not"), "{}", ran.out);
    let report = read_json(home.path().join("j"));
    assert_eq!(find(&report, "small fresh warm xcp")["fault"]["kind"], "wrong");
    assert_eq!(find(&report, "small fresh warm cpz")["fault"]["kind"], "failed");
    for name in ["xcp", "cpz"] {
        let result = find(&report, &format!("small fresh warm {name}"));
        assert!(result["wall_seconds"].is_null() && result["times_ringsync"].is_null(), "{result}");
    }
    for scenario in ["fresh", "noop", "changed"] {
        for tool in ["ringsync", "cp"] {
            let result = find(&report, &format!("small {scenario} warm {tool}"));
            assert_eq!(result["runs"].as_array().unwrap().len(), 2, "the uncounted one is left out");
        }
    }
    assert_eq!(results(&report).len(), 4 + 2 + 2, "what always copies everything can't update");
    assert!(
        fs::read_to_string(home.path().join("c")).unwrap().contains(",failed: exit status: 9: it can not\n")
    );
}

fn a_source_of_the_users_own_is_only_read() {
    let home = scratch();
    let source = home.path().join("-my files");
    for index in 0..150 {
        file(source.join(format!("d/{index}")), "contents");
        modified(source.join(format!("d/{index}")), 1_500_000_000, 5);
    }
    let before = snapshot(&source);
    let ran = quick(home.path(), &["cp", "rsync"], &["--json", "j", "--", "-my files"]).exits(0);
    assert_eq!(snapshot(&source), before);
    assert_nothing_left(home.path());
    let report = read_json(home.path().join("j"));
    assert_eq!(results(&report).len(), 3 * 3);
    assert_eq!(report["cells"][2]["changed"], 2, "{}", ran.out);
}

fn a_signal_ends_the_tool_and_leaves_nothing() {
    for kind in [Signal::INT, Signal::TERM] {
        let home = scratch();
        let mut command = bench_command(home.path(), &["xcp"]);
        let pid = home.path().join("pid");
        let made = Command::new("mkfifo").arg(&pid).status().unwrap();
        assert!(made.success());
        // It tells that it runs, and what else does, and never ends.
        let hang = format!("[ $# = 1 ] && exit; sleep 1000 & echo $$ $! > '{}'; wait", pid.display());
        fake(&mut command, home.path(), "xcp", &hang);
        command.args(["--quick", "--cases", "small", "--scenarios", "fresh", "--json", "j"]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Opened for writing too, so that a bench that never comes to this does not hang the test here.
        let mut line = String::new();
        let opened = fs::File::options().read(true).write(true).open(&pid).unwrap();
        let reader = std::thread::spawn(move || {
            BufReader::new(opened.take(4096)).read_line(&mut line).unwrap();
            line
        });
        let pids = reader.join().unwrap();
        assert_eq!(fs::read_dir(home.path().join("dir")).unwrap().count(), 1);
        kill_process(Pid::from_child(&child), kind).unwrap();
        let ran = finish(child, Duration::from_secs(60)).exits(20);
        assert_nothing_left(home.path());
        for pid in pids.split_whitespace() {
            let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
            assert!(test_kill_process(pid).is_err(), "{pid:?} is still there");
        }
        let report = read_json(home.path().join("j"));
        assert_eq!(report["interrupted"], true);
        assert_eq!(find(&report, "small fresh warm ringsync")["runs"].as_array().unwrap().len(), 1);
        assert!(ran.out.contains("xcp       not measured"), "{}", ran.out);
    }
}

fn too_little_room_is_refused() {
    let home = scratch();
    fs::create_dir(home.path().join("dir")).unwrap();
    let mount = Mount::tmpfs_at(&home.path().join("dir"), "20M");
    let ran = quick(home.path(), &["cp"], &["--cases", "large"]).exits(3);
    assert!(ran.err.contains("for large, 20.00 MiB are free, ") && ran.err.contains("--scale"), "{ran:?}");
    assert_nothing_left(home.path());
    // Less fits.
    quick(home.path(), &["cp"], &["--cases", "large", "--scale", "0.001"]).exits(0);
    assert_nothing_left(home.path());
    drop(mount);
}

fn too_few_inodes_are_refused() {
    let home = scratch();
    fs::create_dir(home.path().join("dir")).unwrap();
    let mount = Mount::tmpfs_at(&home.path().join("dir"), "100M,nr_inodes=1000");
    let ran = quick(home.path(), &["cp"], &["--cases", "small"]).exits(3);
    assert!(
        ran.err.contains("it can take 99") && ran.err.contains("more files, 2,013 are needed"),
        "{ran:?}"
    );
    assert_nothing_left(home.path());
    drop(mount);
}

fn what_can_not_be_used_is_refused() {
    let home = scratch();
    file(home.path().join("file"), "x");
    let refused = |options: &[&str], code: i32, text: &str| {
        let mut command = Command::new(program());
        let ran = run({
            command.current_dir(home.path()).args(["bench", "--quick"]).args(options);
            command
        });
        let ran = ran.exits(code);
        assert!(ran.err.contains(text) && ran.out.is_empty(), "{options:?}: {ran:?}");
    };
    fs::create_dir_all(home.path().join("dir")).unwrap();
    refused(&[], 1, "--dir");
    refused(&["--dir", "none"], 3, "use directory none: No such file");
    refused(&["--dir", "file"], 3, "use directory file: it is none");
    refused(&["--dir", "dir", "none"], 3, "use source none: No such file");
    refused(&["--dir", "dir", "file"], 3, "use source file: it is not a directory");
    refused(&["--dir", "dir", "."], 3, "use source .: the copies would be made inside it");
    refused(&["--dir", "dir", "--tools", "nosuch"], 1, "nosuch");
    refused(&["--dir", "dir", "--cases", "small,nosuch"], 1, "nosuch");
    refused(&["--dir", "dir", "--scale", "0"], 1, "not a number from");
    refused(&["--dir", "dir", "--runs", "0"], 1, "not a number from 1 to 65535");
    refused(&["--dir", "dir", "--cases", "small", "file"], 1, "cannot be used with");
    refused(&["--dir", "dir", "--json", "no/such", "--cases", "large"], 3, "write report no/such");
    let mut command = bench_command(home.path(), &["syq"]);
    command.env("PATH", home.path().join("dir"));
    assert!(run(command).exits(3).err.contains("use tool syq: it is not on PATH"));
    if let Some(memory) = memory_directory() {
        refused(&["--dir", &memory, "--cold"], 3, "is always in memory");
    }
    assert_nothing_left(home.path());
}

/// A directory on a tmpfs, where the machine has one.
fn memory_directory() -> Option<String> {
    let shared = Path::new("/dev/shm");
    let kind = |path: &Path| rustix::fs::statfs(path).map(|stat| stat.f_type as u64);
    (kind(shared) == Ok(0x0102_1994)).then(|| shared.to_string_lossy().into_owned())
}

fn cold_caches_are_measured() {
    let mount = Mount::new("ext4", "200M");
    let home = mount.path();
    let mut command = bench_command(home, &["cp"]);
    command.args(["--quick", "--cold", "--cases", "small", "--scale", "0.001", "--json", "j"]);
    run(command).exits(0);
    assert_nothing_left(home);
    let report = read_json(home.join("j"));
    assert_eq!(results(&report).len(), 3 * 2 * 2);
    assert_eq!(report["machine"]["destination"]["kind"], "ext4");
    assert_eq!(find(&report, "small changed cold cp")["runs"].as_array().unwrap().len(), 1);
}
