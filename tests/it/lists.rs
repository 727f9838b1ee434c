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
    gitignore_files_in_any_encoding_mean_what_git_means: [Need::Tool("git")],
    rules_and_paths_may_have_a_mark_and_be_in_latin_1,
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
