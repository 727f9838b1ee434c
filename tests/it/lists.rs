//! Lists of rules and of paths in any encoding: bytes are bytes, a byte order mark is none of them, and lines may end as on
//! Windows. What .gitignore files mean is what git says.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::chance::Chance;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, snapshot};
use crate::support::{program, run, scratch, sync_with};

tests![
    a_rule_without_a_match_is_told_to_those_who_ask,
    a_rule_with_the_path_of_the_source_is_told_always,
    standard_input_is_named_once,
    gitignore_files_in_any_encoding_mean_what_git_means: [Need::Tool("git")],
    rules_and_paths_may_have_a_mark_and_be_in_latin_1,
    a_list_in_utf_16_is_refused,
    a_list_without_a_path_is_told,
];

/// Lines of .gitignore files, each in a directory of its own with all the names.
const LINES: &[&[u8]] = &[
    b"caf\xe9",
    b"caf\xc3\xa9",
    b"caf?",
    b"caf??",
    b"caf[\xe0-\xff]",
    b"caf[!a-z]",
    b"*\xe9",
    b"\xe9*",
    b"/sub/\xe9*",
    b"sub/**/\xe9",
    b"\\\xe9x",
    b"\xef\xbb\xbfa",
    b"\xef\xbb\xbf#a",
    b"\xef\xbb\xbf*\n!a",
    b"a\r\nsub/\r",
    b"a\r\r",
    b"a\t",
    b"a ",
    b"a\\ ",
    b"a \\",
    b"[[:alpha:]]",
    b"[[:digit:][:upper:]]*",
    b"[[:nothing:]]",
    b"[a",
    b"a]",
    b"[]a]",
    b"[^a]",
    b"a**/b",
    b"sub**/b",
    b"**/b",
    b"sub/**",
    b"sub/**/b",
    b"**",
    b"*/b",
    b"/*/",
    b"/",
    b"//a",
    b"!",
    b"!a",
    b"*\n!*/\n!*.c",
    b"sub/\n!sub/b",
    b"sub/*\n!sub/b",
    b"\\",
    b"a\\",
    b"\\a",
    b"\\#a",
    b"#a",
    b"\\!a",
    b"sub/dee",
    b"sub/deep",
    b"sub/deep/",
    b"deep/b",
    b"*.C",
    b"A",
];

const NAMES: &[&[u8]] = &[
    b"a",
    b"b",
    b"A",
    b"1",
    b"a.c",
    b"b.c",
    b"a ",
    b"a\t",
    b"a\r",
    b"#a",
    b"!a",
    b"a]",
    b"[a",
    b"\\",
    b"ab",
    b"caf\xe9",
    b"caf\xc3\xa9",
    b"cafe",
    b"caf",
    b"\xe9",
    b"\xe9x",
    b"sub/a",
    b"sub/b",
    b"sub/\xe9x",
    b"sub/deep/b",
    b"sub/deep/\xe9",
    b"sub/deeper/b",
    b"subx/b",
    b"subb/a",
    b"x/sub/b",
];

/// What a pattern may be made of.
const PIECES: &[&[u8]] = &[
    b"*", b"**", b"?", b"/", b"/**/", b"[ab]", b"[!a]", b"\\", b"!", b"a", b"b", b"sub", b"deep", b".c",
    b"\xe9", b"caf", b" ",
];

fn gitignore_files_in_any_encoding_mean_what_git_means() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    let mut chance = Chance::new();
    let mut made = || -> Vec<u8> {
        let count = 1 + (chance.next() * 5.0) as usize;
        (0..count)
            .flat_map(|_| PIECES[(chance.next() * PIECES.len() as f64) as usize].iter().copied())
            .collect()
    };
    let lines: Vec<Vec<u8>> =
        LINES.iter().map(|line| line.to_vec()).chain((0..100).map(|_| made())).collect();
    let mut asked = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let directory = PathBuf::from(number.to_string());
        for name in NAMES {
            let path = directory.join(OsStr::from_bytes(name));
            file(source.join(&path), "");
            asked.extend_from_slice(path.as_os_str().as_bytes());
            asked.push(0);
        }
        fs::write(source.join(&directory).join(".gitignore"), line).unwrap();
    }
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", home.path());
    git.current_dir(&source);
    git.args(["init", "-q"]).status().unwrap();
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", home.path());
    git.current_dir(&source).args(["check-ignore", "--no-index", "--stdin", "-z"]);
    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&asked));
    let ignored = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap().unwrap();
    let ignored: BTreeSet<&[u8]> = ignored.split(|&byte| byte == 0).collect();
    let mut command = Command::new(program());
    command.env("HOME", home.path()).env_remove("XDG_CONFIG_HOME");
    command.args(["sync", "--gitignore", "--exclude=.git"]).arg(&source).arg(&destination);
    run(command).exits(0);
    let mut wrong = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        for name in NAMES {
            let path = Path::new(&number.to_string()).join(OsStr::from_bytes(name));
            let is_ignored = ignored.contains(path.as_os_str().as_bytes());
            if destination.join(&path).exists() == is_ignored {
                wrong.push(format!("{}: {} git: {is_ignored}", line.escape_ascii(), name.escape_ascii()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ignored.len() > lines.len());
}

fn rules_and_paths_may_have_a_mark_and_be_in_latin_1() {
    let home = scratch();
    let (source, list) = (home.path().join("src"), home.path().join("list"));
    let names: [&[u8]; 5] = [b"a", b"b", b"caf\xe9", b"caf\xc3\xa9", b"\xef\xbb\xbfa"];
    for name in names {
        file(source.join(OsStr::from_bytes(name)), "x");
    }
    let left = |options: &[&str], text: &[u8]| -> Vec<String> {
        fs::write(&list, text).unwrap();
        let destination = tempfile::tempdir_in(home.path()).unwrap();
        sync_with("threads", options, &source, destination.path()).exits(0);
        let names = snapshot(destination.path()).into_keys();
        let names = names.filter(|path| path != Path::new("") && path != Path::new(".rules"));
        names.map(|path| path.as_os_str().as_bytes().escape_ascii().to_string()).collect()
    };
    let named = |option: &str| format!("{option}{}", list.display());
    let (excluded, included) = (named("--exclude-from="), named("--include-from="));
    let (merged, listed) = (named("--filter=merge "), named("--files-from="));
    let mark = "\\xef\\xbb\\xbfa";
    let rest = ["b", "caf\\xc3\\xa9", mark];
    assert_eq!(left(&[&excluded], b"\xef\xbb\xbfa\r\ncaf\xe9\r\n"), rest);
    assert_eq!(left(&[&merged], b"\xef\xbb\xbf- a\r\n- caf\xe9\r\n"), rest);
    assert_eq!(left(&[&included, "--exclude=*"], b"\xef\xbb\xbfa\ncaf\xe9\n"), ["a", "caf\\xe9"]);
    assert_eq!(left(&[&listed], b"\xef\xbb\xbfa\r\ncaf\xe9\r\n"), ["a", "caf\\xe9"]);
    assert_eq!(left(&[&listed], b"\xef\xbb\xbf# no path\nb\n"), ["b"]);
    // A list for machines has names alone.
    assert_eq!(left(&["-0", &listed], b"\xef\xbb\xbfa\0b\0"), ["b", mark]);
    assert_eq!(left(&["-0", &excluded], b"\xef\xbb\xbfa\0b\0"), ["a", "caf\\xc3\\xa9", "caf\\xe9"]);
    file(source.join(".rules"), "");
    fs::write(source.join(".rules"), b"\xef\xbb\xbf- a\r\n- caf\xe9\r\n").unwrap();
    assert_eq!(left(&["--filter=: .rules"], b""), rest);
}

fn a_rule_without_a_match_is_told_to_those_who_ask() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for name in ["a.o", "b.c", "dir/c.o", "dir/d.log"] {
        file(source.join(name), "x");
    }
    let rules = home.path().join("rules");
    fs::write(&rules, "# none\n*.o\n*.tmp\n- typo\\\n").unwrap();
    let from = rules.display().to_string();
    let told = |options: &[&str]| -> (Vec<String>, String) {
        let listed = format!("--exclude-from={from}");
        let options = [&["--include=*.c", "--exclude=/dri/", &listed, "--filter=P kept"], options].concat();
        let ran = sync_with("threads", &options, &source, &destination).exits(0);
        let lines = ran.err.lines().filter(|line| line.contains("matched nothing"));
        (lines.map(str::to_owned).collect(), ran.out)
    };
    let line = |rule: &str, origin: &str| {
        format!(
            "ringsync: the rule {rule} ({origin}) matched nothing, or only what an earlier rule had already decided"
        )
    };
    let all = [
        line("- /dri/", "--exclude"),
        line("- *.tmp", &from),
        line("- typo\\\\", &from),
        line("P kept", "--filter"),
    ];
    assert_eq!(told(&["-v"]).0, all);
    assert_eq!(told(&["-v", "-n"]).0, all);
    assert!(told(&[]).0.is_empty() && told(&["-q"]).0.is_empty());
    // One that protects has matched what it keeps, and nothing is asked of it without --delete.
    file(destination.join("kept"), "x");
    assert_eq!(told(&["-v", "--delete"]).0, all[..3]);
    assert_eq!(told(&["-v", "--delete", "--filter=clear"]).0.len(), 0);
    let (lines, out) = told(&["--json"]);
    assert!(lines.is_empty() && out.matches("matched nothing, or only").count() == 4, "{out}");
    let log = home.path().join("log");
    told(&["-v", "--log-file", log.to_str().unwrap()]);
    assert!(!fs::read_to_string(log).unwrap().contains("matched nothing"));
    // A long list does not flood anybody.
    fs::write(&rules, (0..500).map(|number| format!("no-{number}\n")).collect::<String>()).unwrap();
    let lines = told(&["-v"]).0;
    assert_eq!((lines.len(), lines[20].as_str()), (21, "ringsync: 482 more rules matched nothing"));
}

fn a_rule_with_the_path_of_the_source_is_told_always() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("cache/file"), "x");
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&source, &link).unwrap();
    let at = source.display().to_string();
    let told = |options: &[&str], source: &Path| -> Vec<String> {
        let ran = sync_with("threads", options, source, &destination).exits(0);
        let lines = ran.err.lines().filter(|line| line.contains("begins with the path of SRC"));
        lines.map(|line| line.rsplit_once(". Write ").unwrap().1.to_owned()).collect()
    };
    let exclude = format!("--exclude={at}/cache");
    assert_eq!(told(&[&exclude], &source), ["/cache"]);
    assert_eq!(told(&[&exclude, &format!("--filter=P {at}/")], &source), ["/cache", "/*"]);
    assert_eq!(told(&[&exclude], &link), ["/cache"], "by the path that a symlink leads to");
    assert_eq!(told(&[&format!("--exclude={}/cache", link.display())], &link), ["/cache"]);
    assert!(told(&[&exclude, "-q"], &source).is_empty());
    // It is told once, also to those who ask for rules without a match.
    let all = sync_with("threads", &["-v", &exclude], &source, &destination).exits(0);
    assert!(!all.err.contains("matched nothing"), "{}", all.err);
    let json = sync_with("threads", &["--json", &exclude], &source, &destination).exits(0);
    assert_eq!(json.out.matches(r#""event":"notice""#).count(), 1, "{}", json.out);
    for right in
        [format!("--filter=-/ {at}/cache"), format!("--exclude={at}s/cache"), "--exclude=/cache".into()]
    {
        assert!(told(&[&right], &source).is_empty(), "{right}");
    }
    // It is right where SRC holds such a path itself.
    fs::create_dir_all(source.join(at.trim_start_matches('/'))).unwrap();
    assert!(told(&[&exclude], &source).is_empty());
    // Of several sources the paths begin where they lie.
    fs::create_dir(home.path().join("several")).unwrap();
    let mut command = Command::new(program());
    command.arg("copy").arg(format!("--exclude={at}/cache")).arg(&source).arg(&link);
    let ran = run({
        command.arg(home.path().join("several"));
        command
    });
    assert!(ran.err.contains(". Write /src/cache\n"), "{ran:?}");
}

fn standard_input_is_named_once() {
    let home = scratch();
    file(home.path().join("src/file"), "x");
    for twice in [
        &["--exclude-from=-", "--files-from=-"][..],
        &["--exclude-from=-", "--exclude-from", "-"],
        &["--include-from=-", "--filter=. -"],
        &["--filter=merge -", "--filter=merge_-"],
        &["--exclude-from=-", "--files-from=/dev/stdin"],
        &["--exclude-from=/proc/self/fd/0", "--include-from=/dev/fd/0"],
        &["--filter=merge /dev/stdin", "--files-from=-"],
    ] {
        let ran = sync_with("threads", twice, &home.path().join("src"), &home.path().join("dst")).exits(1);
        assert!(ran.err.contains("standard input (-) can be read once"), "{twice:?}: {}", ran.err);
        assert!(ran.err.contains("Usage: ringsync sync ") && !ran.err.contains("<COMMAND>"), "{}", ran.err);
        assert!(!home.path().join("dst").exists());
    }
    let merging = home.path().join("merging");
    fs::write(&merging, "merge -\n").unwrap();
    let merge = format!("--filter=merge {}", merging.display());
    let ran = sync_with(
        "threads",
        &["--exclude-from=-", &merge],
        &home.path().join("src"),
        &home.path().join("dst"),
    );
    assert!(ran.exits(1).err.contains(": standard input was read already"));
    let merging_again = home.path().join("merging again");
    fs::write(&merging_again, "merge /dev/stdin\n").unwrap();
    let merge = format!("--filter=merge {}", merging_again.display());
    let paths = ["src", "dst"].map(|name| home.path().join(name));
    let ran = sync_with("threads", &["--exclude-from=-", &merge], &paths[0], &paths[1]).exits(1);
    assert!(ran.err.contains(": standard input was read already"), "{}", ran.err);
    for once in
        [&["--exclude-from=-", "--exclude=-", "--filter=- -"][..], &["--files-from=-", "--filter=: -"]]
    {
        sync_with("threads", once, &home.path().join("src"), &home.path().join("dst")).exits(0);
    }
}

fn a_list_in_utf_16_is_refused() {
    let home = scratch();
    let (source, destination, list) =
        (home.path().join("src"), home.path().join("dst"), home.path().join("list"));
    file(source.join("caf\u{e9}"), "x");
    let utf_16 = |text: &str, mark: &str, order: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("{mark}{text}").encode_utf16().flat_map(order).collect()
    };
    for order in [u16::to_le_bytes, u16::to_be_bytes] {
        for (text, mark) in [("caf\u{e9}\r\n", "\u{feff}"), ("caf\u{e9}\n", ""), ("\u{4e2d}\n", "\u{feff}")] {
            fs::write(&list, utf_16(text, mark, order)).unwrap();
            let named = list.display();
            for option in ["--exclude-from=", "--include-from=", "--filter=merge ", "--files-from="] {
                let ran =
                    sync_with("threads", &[&format!("{option}{named}")], &source, &destination).exits(3);
                assert!(
                    ran.err.ends_with(&format!("{named}: it is UTF-16: save it as UTF-8\n")),
                    "{}",
                    ran.err
                );
                assert!(!destination.exists());
            }
        }
    }
    fs::write(&list, "ab\0c\n").unwrap();
    let listed = format!("--files-from={}", list.display());
    let ran = sync_with("threads", &[&listed], &source, &destination).exits(3);
    assert!(ran.err.contains(&format!("{}: a path in it has a NUL byte", list.display())), "{}", ran.err);
}

fn a_list_without_a_path_is_told() {
    let home = scratch();
    let (source, list) = (home.path().join("src"), home.path().join("list"));
    file(source.join("a"), "x");
    let told = |text: &str, options: &[&str]| {
        fs::write(&list, text).unwrap();
        let listed = format!("--files-from={}", list.display());
        let options = [&[listed.as_str()], options].concat();
        let ran = sync_with("threads", &options, &source, &home.path().join("dst")).exits(0);
        ran.err.contains("the list of paths names none: nothing is mirrored")
    };
    assert!(told("", &[]) && told("# a\n\n", &[]) && told("", &["-0"]) && told("", &["--json"]));
    assert!(!told("a\n", &[]) && !told(".\n", &[]) && !told("", &["-q"]));
}
