//! What is mirrored: filter rules as rsync has them, .gitignore files as git has them, lists of paths, sizes.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, noise, snapshot};
use crate::support::{ENGINES, everything, finish, program, run, scratch, sync_with};

tests![
    patterns_match_what_they_match_in_rsync: [Need::Tool("rsync")],
    files_of_rules_hold_where_they_are: [Need::Tool("rsync")],
    rules_come_from_files_and_from_standard_input: [Need::Tool("rsync")],
    what_is_no_rule_is_a_usage_error,
    a_file_of_rules_that_can_not_be_read_costs_its_directory,
    excluded_directories_are_not_read: [Need::Tool("strace")],
    git_ignores_the_same: [Need::Tool("git")],
    listed_paths_are_mirrored_with_the_directories_on_the_way: [Need::Tool("rsync")],
    listed_paths_that_are_not_there_are_errors,
    lists_are_taken_at_their_word,
    sizes_have_limits: [Need::Tool("rsync")],
    other_file_systems_are_left_alone: [Need::Root, Need::Tool("rsync")],
    a_single_file_may_be_excluded,
    a_line_of_a_list_is_bounded,
];

/// Names that patterns may take for something else.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "foo", "foo.c", "foo.o", "foo.txt", "Foo", "bar", "bar.o", "baz", "a", "b", "ab", "abc", "a-b", "a b", "x1", "x2",
    "x10", "xa", "a[b", "a]b", "[ab]", "a*b", "a?b", "a\\b", "a\\*b", "*", "?", "[", "]", "\\", "-", "^", "!",
    "#hash", ";semi", ".hidden", "..two", "a.b.c", "foo bar", "foo_bar", "grün", "+plus", "- minus", "tab\tbed", "~",
    "foo~", "dir/foo", "dir/foo.o", "dir/bar/foo", "dir/bar/baz/foo", "dir/bar/baz/deep.c", "dir/sub.d/x", "dir2/foo",
    "dir2/a", "foodir/x", "foodir/foo/x", "foodir/bar/foo", "src/a/b/c/d", "src/a/b/x.c", "src/a/x.c", "src/x.c",
    "src/.git/x", "build/out.o", "build/deep/out.o", "deep/build/out.o", "tmp/cache/x", "cache/x",
    "x/cache/y/cache/z", "[d]/x", "a/.", "é/è",
];

/// Each is given alone, as `--exclude`.
#[rustfmt::skip]
const PATTERNS: &[&str] = &[
    "foo", "foo/", "/foo", "/foo/", "foo.o", "*.o", "/*.o", "*", "/*", "*/", "/*/", "**", "/**", "***", "?", "??",
    "???", "*o", "f*", "f*o", "*o*", "fo?", "?oo", "[f]oo", "[!f]oo", "[^f]oo", "[fF]oo", "[a-f]oo", "[A-Z]oo",
    "[a-z]*", "[[:upper:]]*", "[[:alpha:]]", "[[:digit:]]", "x[0-9]", "x[[:digit:]]", "x[[:digit:]]*", "x[0-9][0-9]",
    "[]]", "[]a]", "[a]]", "a[]]b", "a[[]b", "[[]ab]", "a\\[b", "\\[ab\\]", "a\\]b*", "a\\*b", "a\\?b*", "a\\*",
    "a\\\\b", "a\\\\b*", "a\\b", "\\*", "\\?*", "\\", "\\\\", "[\\]]", "[\\\\]", "[a-]*", "[-a]*", "a[-]b", "a[!a]b",
    "a[^a-z]b", "[", "[a", "a[", "a[b", "[]", "[!]", "[[:nothing:]]", "[[:alpha:]", "foo*", "foo?", "foo.*", "foo.?",
    "*.*", "*.?", ".*", "..*", "[.]*", "dir", "dir/", "/dir", "/dir/", "dir/foo", "/dir/foo", "dir/*", "/dir/*",
    "dir/*/", "dir/**", "/dir/**", "dir/***", "/dir/***", "dir***", "dir**", "foo***", "foo/***", "*/foo", "/*/foo",
    "**/foo", "/**/foo", "**foo", "*foo", "bar/foo", "r/foo", "ar/foo", "bar/*", "b*/foo", "*/*/foo", "/*/*/foo",
    "*/*/*/foo", "dir/*/foo", "dir/**/foo", "/dir/**/foo", "dir/**foo", "dir**foo", "dir*foo", "src/**/x.c",
    "src/**.c", "src/*.c", "/src/*/*.c", "src/a/**", "a/**", "a/***", "**/a/**", "**/b/**", "**/b/", "**/b/c",
    "b/c/d", "b/c", "a/b/c/", "/src/a/b", "src/*/b", "src/**/b/", "*.git", ".git", ".git/", "/.git", "**/.git/***",
    "*/.git/", "build", "/build", "build/", "**/build/", "build/*.o", "/build/**.o", "cache", "cache/", "/cache/",
    "cache/*", "cache/**", "x/cache", "**/cache/*", "x/**/cache", "[d]", "\\[d\\]", "\\[d\\]*", "[[]d]/", "foo bar",
    "foo_bar", "foo?bar", "foo[ _]bar", "foo[_-b]bar", "gr?n", "gr??n", "gr[ü]n", "grü*", "é", "é/è", "?/?", "??/??",
    "*/è", "#hash", ";semi", "!", "!*", "^", "[!^]", "[^!]", "~", "*~", "tab\tbed", "tab*bed", "tab[[:space:]]bed",
    "tab[[:blank:]]*", "[[:punct:]]", "[[:punct:]]*", "/", "//foo", "/dir//foo", "dir//", "./foo", "dir/./foo", "*/",
    "**/", "/**/", "?/", "[a-c]", "[c-a]", "[a-a]", "[--0]", "a[/]b", "dir[/]foo", "dir?foo", "dir[!a]foo", "a.*.c",
    "a.*c", "a?b?c", "*b*", "**b**", "*-*", "[a-b]*", "a**", "a**b", "a***b",
];

/// Several rules, where the first that matches decides.
const LISTS: &[&[&str]] = &[
    &["--include=*/", "--include=*.c", "--exclude=*"],
    &["--include=foo", "--exclude=f*"],
    &["--exclude=f*", "--include=foo"],
    &["--include=/dir/", "--include=/dir/foo", "--exclude=*"],
    &["--include=dir/***", "--exclude=*"],
    &["--exclude=+ foo", "--exclude=foo*"],
    &["--include=- foo", "--include=*"],
    &["--exclude=foo", "--exclude=!", "--exclude=bar"],
    &["--filter=- *.o", "--filter=+ foo*", "--filter=- *"],
    &["--filter=-! */"],
    &["--filter=-! dir/***"],
    &["--filter=-_foo_bar"],
    &["--filter=exclude foo"],
    &["--filter=exclude,! */"],
    &["--filter=include *.c", "--filter=hide *.*"],
    &["--filter=H foo*", "--filter=S foo.c"],
    &["--filter=S foo.c", "--filter=H foo*"],
    &["--filter=P *.o", "--filter=R *"],
    &["--filter=-s *.o"],
    &["--filter=-r *.o"],
    &["--filter=-sr *.o"],
    &["--filter=-p *.o"],
    &["--filter=- foo", "--filter=clear", "--filter=- bar"],
    &["--filter=- foo", "--filter=!", "--filter=- bar"],
    &["-f", "- /foo", "-f", "- /dir/bar/"],
];

fn plant(root: &Path) {
    for name in NAMES {
        let path = root.join(name);
        if fs::symlink_metadata(&path).is_err() && !path.is_dir() {
            match name.ends_with("/.") {
                true => fs::create_dir_all(path).unwrap(),
                false if NAMES.iter().any(|other| other.starts_with(&format!("{name}/"))) => {
                    fs::create_dir_all(path).unwrap();
                }
                false => file(path, *name),
            }
        }
    }
    file(root.join(OsStr::from_bytes(b"raw\xff\xfe")), "not UTF-8");
    symlink("foo", root.join("link.o")).unwrap();
    symlink("dir", root.join("linkdir")).unwrap();
}

/// What would be mirrored to an empty directory.
fn ours(options: &[OsString], source: &Path, destination: &Path) -> BTreeSet<String> {
    let mut command = Command::new(program());
    command.args(["sync", "-n", "-v", "--engine", "threads"]).args(options).arg(source).arg(destination);
    let ran = run(command).exits(0);
    let lines = ran.out.lines().filter_map(|line| line.strip_prefix("created   "));
    lines.map(|line| line.replace("\\t", "\t").replace("\\\\", "\\")).filter(|line| line != "./").collect()
}

fn theirs(options: &[OsString], source: &Path, destination: &Path) -> BTreeSet<String> {
    let mut command = Command::new("rsync");
    command
        .args(["-rlnt", "-8", "--out-format=%n"])
        .args(options)
        .arg(source.join(""))
        .arg(destination.join(""));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options:?}: {said}");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    // It shows bytes that are no text as they are, and control characters and what looks like their escape in octal.
    let lines = lines.lines().filter(|line| *line != "./");
    lines
        .map(|line| {
            line.replace("\\#011", "\t").replace("\\#134", "\\").replace("\u{fffd}\u{fffd}", "\\xff\\xfe")
        })
        .collect()
}

/// Options with which the two programs do not mirror the same.
fn disagreements(
    lists: impl IntoIterator<Item = Vec<OsString>>,
    source: &Path,
    destination: &Path,
) -> Vec<String> {
    let disagreement = |options: Vec<OsString>| {
        let (ours, theirs) = (ours(&options, source, destination), theirs(&options, source, destination));
        let difference: Vec<_> = ours.symmetric_difference(&theirs).collect();
        (!difference.is_empty()).then(|| format!("{options:?}: {difference:?}"))
    };
    lists.into_iter().filter_map(disagreement).collect()
}

fn words(options: &[&str]) -> Vec<OsString> {
    options.iter().map(OsString::from).collect()
}

fn patterns_match_what_they_match_in_rsync() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    plant(&source);
    fs::create_dir(&destination).unwrap();
    assert!(ours(&[], &source, &destination).len() > 80, "names that could match");
    let mut lists: Vec<_> = LISTS.iter().map(|list| words(list)).collect();
    lists.extend(PATTERNS.iter().map(|pattern| words(&[&format!("--exclude={pattern}")])));
    if everything() {
        let only = |pattern| words(&["--include=*/", &format!("--include={pattern}"), "--exclude=*"]);
        lists.extend(PATTERNS.iter().map(only));
    }
    assert!(lists.len() >= 150);
    let wrong = disagreements(lists, &source, &destination);
    assert!(wrong.is_empty(), "{} lists:\n{}", wrong.len(), wrong.join("\n"));
}

fn files_of_rules_hold_where_they_are() {
    let home = scratch();
    let (source, destination) = (home.path().join("top/src"), home.path().join("dst"));
    fs::create_dir(&destination).unwrap();
    for directory in ["", "a/", "a/b/", "a/b/c/", "d/"] {
        for name in ["one.o", "two.c", "three", "four.x", "keep.o", "core"] {
            file(source.join(directory).join(name), name);
        }
    }
    file(home.path().join("top/.rsync-filter"), "- /src/d/core\n- core.none\n- /core\n");
    file(source.join(".rsync-filter"), "- *.o\n# a comment\n\n+ core\n- /a/three\n");
    file(source.join("a/.rsync-filter"), "+ keep.o\n- /two.c\n- b/four.x\n");
    file(source.join("a/b/.rsync-filter"), "!\n- core\n");
    file(source.join("d/.rsync-filter"), "- one.o\n");
    file(source.join("a/.ignore"), "three\n*.x\n");
    file(source.join("a/.words"), "-_one.o -_two.c !\n-_*.x");
    file(source.join("a/.wanted"), "three\n");
    let lists: &[&[&str]] = &[
        &["-F"],
        &["-FF"],
        &["--filter=: .rsync-filter"],
        &["--filter=:n .rsync-filter"],
        &["--filter=:e .rsync-filter"],
        &["--filter=dir-merge,en .rsync-filter"],
        &["--filter=:s .rsync-filter"],
        &["--filter=:r .rsync-filter"],
        &["--filter=:- .ignore"],
        &["--filter=:n- .ignore"],
        &["--filter=dir-merge,- .ignore"],
        &["--filter=:w .words"],
        &["--filter=:-w .words"],
        &["--filter=:+ .wanted", "--filter=-! */"],
        &["--filter=- three", "-F"],
        &["--filter=: .ignore.none"],
        &["-F", "--filter=: .words.none", "--exclude=four.x"],
        &["--filter=: ../.rsync-filter"],
        &["-F", "--filter=!", "--exclude=core"],
    ];
    let wrong = disagreements(lists.iter().map(|list| words(list)), &source, &destination);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let absolute = format!("--filter=-/ {}/a/three", source.canonicalize().unwrap().display());
    let wrong = disagreements([words(&[&absolute])], &source, &destination);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!ours(&words(&[&absolute]), &source, &destination).contains("a/three"));
}

fn rules_come_from_files_and_from_standard_input() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    plant(&source);
    fs::create_dir(&destination).unwrap();
    let rules = home.path().join("rules");
    let cases: &[(&str, &str)] = &[
        ("--exclude-from=", "foo\n; a comment\n# one more\n\n+ foo.c\nfoo.*\n"),
        ("--exclude-from=", "foo\n!\nbar\r\n- baz\n"),
        ("--include-from=", "dir/\ndir/foo\n- *\n"),
        ("--filter=merge ", "- foo\n# none\n; none\n+ dir/bar/\n- dir/*\n"),
        ("--filter=.- ", "foo\n- minus\n#hash\n"),
        ("--filter=.+ ", "*/\n*.c\n"),
        ("--filter=.w ", "-_foo -_bar\t+_baz\n-_*.o"),
        ("--filter=.s ", "- foo\n- *.o\n"),
    ];
    for (option, text) in cases {
        fs::write(&rules, text).unwrap();
        let mut options = words(&[&format!("{option}{}", rules.display())]);
        if *option == "--include-from=" || *option == "--filter=.+ " {
            options.push("--exclude=*".into());
        }
        let wrong = disagreements([options], &source, &destination);
        assert!(wrong.is_empty(), "{text:?}: {}", wrong.join("\n"));
    }
    fs::write(&rules, "- foo\0+ bar\0- *.o\0").unwrap();
    let merge = format!("--filter=. {}", rules.display());
    let wrong = disagreements([words(&["-0", &merge])], &source, &destination);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let piped = |option: &str| {
        let mut command = Command::new(program());
        command.args(["sync", "-n", "-v", option]).arg(&source).arg(&destination);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"foo\nbar\n").unwrap();
        finish(child, Duration::from_secs(60)).exits(0).out
    };
    assert!(!piped("--exclude-from=-").contains("created   foo\n"));
    assert!(piped("--exclude-from=-").contains("created   foo.c\n"));
    assert!(piped("--files-from=-").contains("created   foo\n"));
}

fn what_is_no_rule_is_a_usage_error() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    let refused = |options: &[&str], code: i32, why: &str| {
        let ran = sync_with("threads", options, &source, &destination).exits(code);
        assert!(ran.err.contains(why), "{options:?}: {}", ran.err);
        assert!(!destination.exists(), "nothing is begun");
    };
    refused(&["--filter=-z foo"], 1, "use filter rule -z foo: there is no modifier z");
    refused(&["--filter=foo"], 1, "use filter rule foo: there is no rule foo");
    refused(&["--filter=- "], 1, "exclude takes an argument");
    refused(&["--exclude-from=/nonexistent/rules"], 3, "read filter rules /nonexistent/rules: No such file");
    refused(&["--files-from=/nonexistent/list"], 3, "read list of paths /nonexistent/list: No such file");
    refused(&["--max-size=12x"], 1, "12x");
    let circle = home.path().join("circle");
    fs::write(&circle, format!("merge {}\n", circle.display())).unwrap();
    refused(&[&format!("--filter=merge {}", circle.display())], 3, "without end");
    fs::write(&circle, "../up\n").unwrap();
    refused(&[&format!("--files-from={}", circle.display())], 3, "leads up");
}

/// What it hides is not known: nothing of it is mirrored, rather than what was not to be.
fn a_file_of_rules_that_can_not_be_read_costs_its_directory() {
    for &engine in ENGINES.iter() {
        for (rules, why) in [("-z foo\n", "there is no modifier z"), (": nested\n", "merges others")] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("dst"));
            file(source.join("bad/secret"), "x");
            file(source.join("bad/.rsync-filter"), rules);
            file(source.join("good/file"), "x");
            let ran = sync_with(engine, &["-F"], &source, &destination).exits(23);
            assert!(ran.err.contains("src/bad/.rsync-filter") && ran.err.contains(why), "{}", ran.err);
            assert!(!destination.join("bad/secret").exists());
            assert!(destination.join("good/file").exists());
            // Nor is a symlink followed: it may lead out of the tree.
            fs::remove_file(source.join("bad/.rsync-filter")).unwrap();
            symlink("/etc/passwd", source.join("bad/.rsync-filter")).unwrap();
            let ran = sync_with(engine, &["-F"], &source, &destination).exits(23);
            assert!(ran.err.contains("bad/.rsync-filter") && !ran.err.contains("root:"), "{}", ran.err);
            assert!(!destination.join("bad/secret").exists());
        }
    }
}

fn excluded_directories_are_not_read() {
    let home = scratch();
    let (source, destination, trace) =
        (home.path().join("src"), home.path().join("dst"), home.path().join("trace"));
    file(source.join("wanted/file"), "x");
    file(source.join("left-out/file"), "x");
    let mut command = Command::new("strace");
    command.args(["-f", "-e", "trace=openat,openat2,statx,chdir", "-o"]).arg(&trace).arg(program());
    command.args(["sync", "--engine", "threads", "--exclude=left-out"]).arg(&source).arg(&destination);
    run(command).exits(0);
    let trace = fs::read_to_string(&trace).unwrap();
    assert!(trace.contains("\"wanted\""), "what is opened is seen");
    let opened = trace.lines().filter(|line| line.contains("\"left-out\"")).count();
    assert_eq!(opened, 0, "neither opened nor looked at");
    assert!(!destination.join("left-out").exists());
}

fn git_ignores_the_same() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    let names = [
        "a.o",
        "keep.o",
        "a.c",
        "build/x",
        "build/keep/y",
        "sub/a.o",
        "sub/build",
        "sub/deep/a.log",
        "sub/deep/b.log",
        "sub/deep/debug.log",
        "x/logs/a",
        "logs/b",
        "deep/x/logs/c",
        "spaced name",
        "trailing ",
        "#hash",
        "!bang",
        "foo/bar",
        "foo/baz",
        "a/foo/bar",
        "doc/frotz",
        "a/doc/frotz",
        "q1",
        "q2",
        "star/a/b/c",
        "star/b",
        "[x]",
        "only/dir/f",
        "tmp",
        "info.x",
        "sub/info.x",
        "nested/a.o",
        "nested/n.txt",
    ];
    for name in names {
        file(source.join(name), name);
    }
    file(
        source.join(".gitignore"),
        "# comment\n*.o\n!keep.o\nbuild/\nlogs/\n!important\nspaced\\ name\ntrailing\\ \n\\#hash\n\\!bang\nfoo/*\n\
         !foo/baz\ndoc/frotz\nq[1]\nstar/**/c\n\\[x\\]\n/tmp\n",
    );
    file(source.join("sub/.gitignore"), "*.log\n!debug.log\n/build\n!a.o\n");
    file(source.join("only/.gitignore"), "*\n!.gitignore\n");
    let git = |directory: &Path, arguments: &[&str]| {
        let mut command = Command::new("git");
        // Nobody's own settings.
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", home.path());
        command.current_dir(directory).args(arguments).output().unwrap()
    };
    git(&source, &["init", "-q"]);
    git(&source.join("nested"), &["init", "-q"]);
    file(source.join(".git/info/exclude"), "info.x\n");
    let mut command = Command::new(program());
    command.env("HOME", home.path()).env_remove("XDG_CONFIG_HOME");
    command.args(["sync", "--gitignore", "--exclude=.git"]).arg(&source).arg(&destination);
    run(command).exits(0);
    let ignored =
        |name: &str| git(&source, &["check-ignore", "-q", "--no-index", name]).status.code() == Some(0);
    let mut both = [0, 0];
    for name in names.into_iter().filter(|name| !name.starts_with("nested/")) {
        let ours = !destination.join(name).exists();
        assert_eq!(ours, ignored(name), "{name}");
        both[usize::from(ours)] += 1;
    }
    assert!(both[0] > 8 && both[1] > 8, "{both:?}");
    assert!(destination.join("nested/a.o").exists(), "a repository within has rules of its own");
    // From a subdirectory the rules above hold too.
    let (part, copy) = (source.join("sub"), home.path().join("part"));
    sync_with("threads", &["--gitignore"], &part, &copy).exits(0);
    assert!(copy.join("a.o").exists() && !copy.join("build").exists() && !copy.join("info.x").exists());
}

fn listed_paths_are_mirrored_with_the_directories_on_the_way() {
    let home = scratch();
    let (source, list) = (home.path().join("src"), home.path().join("list"));
    plant(&source);
    let cases: &[(&[u8], &[&str])] = &[
        (b"foo\ndir/bar/foo\n/src/x.c\n./baz\n# none\n; none\n\n", &[]),
        (b"foo\r\ndir\r\n", &[]),
        (b"dir\nsrc/a/b\n", &["-r"]),
        (b"dir\nsrc/\nlink.o\n", &["-r", "--exclude=*.o"]),
        (b"dir/bar\ndir\n", &["-r"]),
        (b"foo\0dir/foo\0", &["--from0"]),
        (b"foo\0- minus\0raw\xff\xfe\0", &["-0"]),
        (b"dir/bar/baz/foo\ndir/foo\n", &["--exclude=baz"]),
    ];
    for (text, options) in cases {
        for &engine in ENGINES.iter() {
            fs::write(&list, text).unwrap();
            let (ours, theirs) = (home.path().join("ours"), home.path().join("theirs"));
            let mut command = Command::new(program());
            command.args(["sync", "--engine", engine, "--files-from"]).arg(&list).args(*options);
            run({
                command.arg(&source).arg(&ours);
                command
            })
            .exits(0);
            let mut command = Command::new("rsync");
            command
                .args(["-aHAX", "--modify-window=-1"])
                .arg(format!("--files-from={}", list.display()))
                .args(*options);
            run({
                command.arg(&source).arg(&theirs);
                command
            })
            .exits(0);
            // It leaves the root's own metadata alone.
            let [ours_has, theirs_has] = [&ours, &theirs].map(|tree| {
                let mut tree = snapshot(tree);
                tree.remove(Path::new(""));
                tree
            });
            let what = format!("{} {options:?}", text.escape_ascii());
            assert!(
                ours_has.keys().eq(theirs_has.keys()),
                "{what}: {:?} {:?}",
                ours_has.keys(),
                theirs_has.keys()
            );
            assert_eq!(ours_has, theirs_has, "{what}");
            fs::remove_dir_all(&ours).unwrap();
            fs::remove_dir_all(&theirs).unwrap();
        }
    }
}

/// Where rsync would take the name for a comment, or look for the file elsewhere.
fn lists_are_taken_at_their_word() {
    let home = scratch();
    let (source, destination, list) =
        (home.path().join("src"), home.path().join("dst"), home.path().join("list"));
    for name in ["#hash", ";semi", "three", "d/one.o", "d/three", "d/four"] {
        file(source.join(name), name);
    }
    fs::write(&list, "#hash\0;semi\0").unwrap();
    sync_with("threads", &["-0", &format!("--files-from={}", list.display())], &source, &destination)
        .exits(0);
    assert!(destination.join("#hash").exists() && destination.join(";semi").exists());
    file(source.join("d/.rsync-filter"), ". more\n- one.o\n");
    file(source.join("d/more"), "- three\n");
    sync_with("threads", &["-F"], &source, &destination).exits(0);
    assert!(destination.join("d/four").exists() && destination.join("three").exists());
    assert!(!destination.join("d/three").exists() && !destination.join("d/one.o").exists());
}

fn listed_paths_that_are_not_there_are_errors() {
    let home = scratch();
    let (source, destination, list) =
        (home.path().join("src"), home.path().join("dst"), home.path().join("list"));
    file(source.join("there"), "x");
    file(source.join("dir/file"), "x");
    symlink("dir", source.join("link")).unwrap();
    fs::write(&list, "missing\ndir/none\nthere/below\nlink/file\nthere\n").unwrap();
    let list = format!("--files-from={}", list.display());
    let ran = sync_with("threads", &[&list], &source, &destination).exits(23);
    for name in ["missing: No such file", "dir/none: No such file", "there: Not a dir", "link: Not a dir"] {
        assert!(
            ran.err.contains(&format!("find listed path {}/{name}", source.display())),
            "{name}: {}",
            ran.err
        );
    }
    assert!(!destination.join("link").exists() && !destination.join("dir/file").exists());
}

fn sizes_have_limits() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for size in [0, 1, 999, 1000, 1001, 1023, 1024, 1025, 3000] {
        file(source.join(format!("f{size}")), noise(size, size as usize));
    }
    symlink("f3000", source.join("a symlink of some length")).unwrap();
    for options in [
        ["--max-size=1K", "--min-size=1"],
        ["--max-size=1kb", "--min-size=0"],
        ["--max-size=1k-1", "--min-size=1000"],
        ["--max-size=1G", "--min-size=1KiB+1"],
    ] {
        for &engine in ENGINES.iter() {
            sync_with(engine, &options, &source, &destination).exits(0);
            let theirs = home.path().join("theirs");
            let mut command = Command::new("rsync");
            command
                .args(["-a", "--modify-window=-1"])
                .args(options)
                .arg(source.join(""))
                .arg(theirs.join(""));
            run(command).exits(0);
            assert_eq!(snapshot(&destination), snapshot(&theirs), "{options:?}");
            fs::remove_dir_all(&destination).unwrap();
            fs::remove_dir_all(&theirs).unwrap();
        }
    }
}

fn other_file_systems_are_left_alone() {
    let home = scratch();
    let (source, destination, theirs) =
        (home.path().join("src"), home.path().join("dst"), home.path().join("theirs"));
    file(source.join("here"), "x");
    fs::create_dir_all(source.join("mnt")).unwrap();
    let mount = Mount::tmpfs_at(&source.join("mnt"), "1M");
    file(source.join("mnt/elsewhere"), "x");
    fs::set_permissions(source.join("mnt"), fs::Permissions::from_mode(0o751)).unwrap();
    for &engine in ENGINES.iter() {
        sync_with(engine, &["-x"], &source, &destination).exits(0);
        run({
            let mut command = Command::new("rsync");
            command.args(["-ax", "--modify-window=-1"]).arg(source.join("")).arg(theirs.join(""));
            command
        })
        .exits(0);
        assert_eq!(snapshot(&destination), snapshot(&theirs));
        assert!(destination.join("mnt").is_dir() && !destination.join("mnt/elsewhere").exists());
        fs::remove_dir_all(&destination).unwrap();
        fs::remove_dir_all(&theirs).unwrap();
    }
    drop(mount);
}

fn a_single_file_may_be_excluded() {
    let home = scratch();
    let (source, destination) = (home.path().join("a.o"), home.path().join("b"));
    file(&source, "x");
    sync_with("threads", &["--exclude=*.o"], &source, &destination).exits(0);
    assert!(!destination.exists());
    sync_with("threads", &["--exclude=*.c"], &source, &destination).exits(0);
    assert!(destination.exists());
}

fn a_line_of_a_list_is_bounded() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("a"), "a");
        file(source.join("b"), "b");
        let list = home.path().join("list");
        let given = format!("--files-from={}", list.display());
        for (separator, what, options) in [("\n", "line", &[][..]), ("\0", "path", &["-0"])] {
            let long = |length: usize| ["a", &"x".repeat(length), "b"].join(separator);
            file(&list, long((64 << 10) + 1));
            let ran =
                sync_with(engine, &[options, &[given.as_str()]].concat(), &source, &destination).exits(3);
            let wanted =
                format!("read list of paths {}: {what} 2 is longer than 65536 bytes", list.display());
            assert!(ran.err.contains(&wanted), "{ran:?}");
            file(&list, long(50_000_000));
            sync_with(engine, &[options, &[given.as_str()]].concat(), &source, &destination).exits(3);
            // The longest there may be is only a name that is not there; the last line needs no end.
            file(&list, long(64 << 10));
            sync_with(engine, &[options, &[given.as_str()]].concat(), &source, &destination).exits(23);
            assert_eq!(std::fs::read(destination.join("b")).unwrap(), b"b");
            std::fs::remove_dir_all(&destination).unwrap();
        }
        // Carriage returns end lines too, and the last byte of a piece may be anything.
        file(&list, format!("{}\r\nb\r", "#".repeat((64 << 10) - 1)));
        sync_with(engine, &[&given], &source, &destination).exits(0);
        assert!(destination.join("b").exists() && !destination.join("a").exists());
    }
}
