//! Promise 5: what a manifest says is what is there. `b3sum` and `ringsync` read each other's manifests and find the
//! same; what is wrong, missing, extra or malformed is named; no path leads out of the directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringsync::manifest::{LINE_LIMIT, Writer, format_line};
use rustix::fs::{FileType, inotify};
use rustix::process::{Pid, Signal, kill_process};

use crate::engines::refusing;
use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, node, noise, sparse};
use crate::support::{ENGINES, Ran, finish, meanwhile, program, run, scratch, tool};

tests![
    b3sum_accepts_our_manifests: [Need::Tool("b3sum")],
    we_accept_the_manifests_of_b3sum: [Need::Tool("b3sum")],
    we_print_what_b3sum_prints: [Need::Tool("b3sum")],
    wrong_and_missing_files_are_named,
    extra_files_are_named_when_asked_for,
    malformed_lines_are_named_and_hide_nothing,
    names_that_are_no_text_are_checked,
    all_sizes_are_hashed_whole,
    large_files_that_are_wrong_are_found,
    no_path_leads_out_of_the_directory,
    without_openat2_no_path_leads_out_either,
    swapped_symlinks_lead_nowhere,
    fifos_and_other_nodes_fail_at_once,
    no_device_is_opened: [Need::Root],
    what_never_answers_fails_after_the_time_out: [Need::Fuse],
    too_many_that_never_answer_end_the_run: [Need::Fuse],
    a_file_in_proc_that_never_ends_fails: [Need::Root],
    paths_longer_than_the_kernel_takes_are_checked,
    an_error_on_reading_fails_its_file: [Need::FileSystem("ext4"), Need::Tool("findmnt"), Need::Tool("losetup")],
    what_cannot_be_used_is_refused,
    standard_input_is_read_as_it_comes,
    a_signal_ends_it,
    a_signal_ends_it_while_it_waits_for_input,
    memory_does_not_grow_with_the_manifest,
];

/// `ringsync verify --engine ENGINE ARGUMENTS` in a directory.
fn verify_in<A: AsRef<OsStr>>(home: &Path, engine: &str, arguments: &[A]) -> Ran {
    run(command(home, engine, arguments))
}

fn command<A: AsRef<OsStr>>(home: &Path, engine: &str, arguments: &[A]) -> Command {
    let mut command = Command::new(program());
    command.current_dir(home).args(["verify", "--engine", engine]).args(arguments);
    command
}

/// The lines of its output, sorted: files end in any order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// A manifest of these files and what they hold.
fn manifest_of(path: &Path, files: &[(&str, &[u8])]) {
    let lines = files.iter().flat_map(|(name, data)| format_line(Path::new(name), &blake3::hash(data)));
    fs::write(path, lines.collect::<Vec<u8>>()).unwrap();
}

/// Names that need care, all of them UTF-8.
const NAMES: [&str; 10] = [
    "plain",
    "two\nlines",
    "\n",
    "back\\slash",
    "\\n",
    " spaces  at both ends ",
    "carriage\rreturn\r",
    "gr\u{fc}n \u{1f980}",
    "tab\tand \u{1b}[2J",
    "deep/er/file",
];

fn b3sum_accepts_our_manifests() {
    let home = scratch();
    let mut writer = Writer::create(&home.path().join("sums")).unwrap();
    for (index, name) in NAMES.iter().enumerate() {
        let data = noise(index as u64, index * 1000);
        file(home.path().join(name), &data);
        writer.add(Path::new(name), &blake3::hash(&data)).unwrap();
    }
    writer.finish().unwrap();
    let mut command = Command::new("b3sum");
    command.current_dir(home.path()).args(["--check", "sums"]);
    let ran = run(command).exits(0);
    assert_eq!(ran.out.matches(": OK\n").count(), NAMES.len(), "{ran:?}");
}

fn b3sum(home: &Path, names: &[&str]) -> String {
    let mut command = Command::new("b3sum");
    command.current_dir(home).arg("--").args(names);
    run(command).exits(0).out
}

fn we_accept_the_manifests_of_b3sum() {
    let home = scratch();
    for (index, name) in NAMES.iter().enumerate() {
        file(home.path().join(name), noise(index as u64, index * 1000));
    }
    fs::write(home.path().join("sums"), b3sum(home.path(), &NAMES)).unwrap();
    for &engine in ENGINES.iter() {
        for arguments in [&["sums"][..], &["sums", "."]] {
            let ran = verify_in(home.path(), engine, arguments).exits(0);
            assert_eq!(ran.out.matches(": OK\n").count(), NAMES.len(), "{ran:?}");
            assert!(ran.err.contains("10 files checked, 10 right"), "{}", ran.err);
            let ran = verify_in(home.path(), engine, &[arguments, &["-q"]].concat()).exits(0);
            assert_eq!((ran.out, ran.err), (String::new(), String::new()));
        }
        verify_in(home.path(), engine, &["sums", ".", "--strict", "-q"]).exits(0);
    }
}

fn we_print_what_b3sum_prints() {
    let home = scratch();
    for (index, name) in NAMES.iter().enumerate() {
        file(home.path().join(name), noise(index as u64, 10));
    }
    fs::write(home.path().join("sums"), b3sum(home.path(), &NAMES)).unwrap();
    fs::write(home.path().join("two\nlines"), "else").unwrap();
    fs::remove_file(home.path().join("back\\slash")).unwrap();
    fs::remove_file(home.path().join("plain")).unwrap();
    fs::create_dir(home.path().join("plain")).unwrap();
    for options in [&["--check"][..], &["--check", "--quiet"]] {
        let mut check = Command::new("b3sum");
        check.current_dir(home.path()).args(options).arg("sums");
        let theirs = run(check).exits(1).out;
        let quiet: &[&str] = if options.len() > 1 { &["-q"] } else { &[] };
        let ours = verify_in(home.path(), "auto", &[&["sums"], quiet].concat()).exits(23).out;
        assert_eq!(sorted(&ours), sorted(&theirs));
    }
}

fn wrong_and_missing_files_are_named() {
    let home = scratch();
    file(home.path().join("tree/right"), "right");
    file(home.path().join("tree/wrong"), "other");
    file(home.path().join("tree/empty"), "");
    file(home.path().join("tree/longer"), "abcd");
    manifest_of(
        &home.path().join("sums"),
        &[
            ("right", b"right"),
            ("wrong", b"wrong"),
            ("missing", b""),
            ("none/such", b""),
            ("right/below", b""),
            ("empty", b""),
            ("longer", b"abc"),
            ("right", b"right"),
            ("right", b"wrong"),
        ],
    );
    for &engine in ENGINES.iter() {
        let ran = verify_in(home.path(), engine, &["sums", "tree"]).exits(23);
        let missing = "FAILED (No such file or directory (os error 2))";
        assert_eq!(
            sorted(&ran.out),
            [
                "empty: OK",
                "longer: FAILED",
                &format!("missing: {missing}"),
                &format!("none/such: {missing}"),
                "right/below: FAILED (Not a directory (os error 20))",
                "right: FAILED",
                "right: OK",
                "right: OK",
                "wrong: FAILED",
            ]
        );
        assert!(ran.err.contains("3 wrong, 2 missing, 1 unreadable"), "{}", ran.err);
        let ran = verify_in(home.path(), engine, &["sums", "tree", "--json", "-q"]).exits(23);
        let lines = ran.json();
        let wrong = lines.iter().find(|line| line["path"] == "wrong").unwrap();
        assert_eq!(wrong["result"], "mismatch");
        assert_eq!(wrong["blake3"], blake3::hash(b"other").to_hex().as_str());
        assert_eq!(lines.iter().find(|line| line["path"] == "missing").unwrap()["result"], "missing");
        assert!(lines.iter().all(|line| line["result"] != "ok"));
        let summary = ran.summary();
        assert_eq!((summary["right"].as_u64(), summary["checked"].as_u64()), (Some(3), Some(9)));
    }
}

fn extra_files_are_named_when_asked_for() {
    let home = scratch();
    let tree = home.path().join("tree");
    file(tree.join("a/known"), "x");
    file(tree.join("b/known"), "x");
    manifest_of(&tree.join("sums"), &[("./a//known", b"x"), ("b/../b/known", b"x")]);
    let strict = ["tree/sums", "tree", "--strict"];
    for &engine in ENGINES.iter() {
        verify_in(home.path(), engine, &strict).exits(0);
    }
    file(tree.join("a/extra\n"), "");
    file(tree.join("known"), "x");
    file(tree.join("c/d/sums"), "a name like the manifest's is no excuse");
    symlink("known", tree.join("link")).unwrap();
    symlink("a", tree.join("directory-link")).unwrap();
    node(tree.join("fifo"), FileType::Fifo, (0, 0));
    fs::create_dir(tree.join("empty")).unwrap();
    for &engine in ENGINES.iter() {
        let ran = verify_in(home.path(), engine, &strict).exits(23);
        let extra: Vec<&str> = sorted(&ran.out).into_iter().filter(|line| line.ends_with("EXTRA")).collect();
        assert_eq!(extra, ["\\a/extra\\n: EXTRA", "c/d/sums: EXTRA", "known: EXTRA"]);
        assert!(ran.err.contains("2 right, 3 extra"), "{}", ran.err);
        verify_in(home.path(), engine, &["tree/sums", "tree"]).exits(0);
    }
    // A directory that can't be named is not one without extra files.
    let ran = verify_in(home.path(), "auto", &["tree/sums", "--strict"]).exits(1);
    assert!(ran.err.contains("DIR"), "{}", ran.err);
}

fn malformed_lines_are_named_and_hide_nothing() {
    let home = scratch();
    file(home.path().join("a"), "x");
    let hash = blake3::hash(b"x").to_hex();
    let long = format!("{hash}  {}", "n".repeat(3 * LINE_LIMIT));
    for (line, why) in [
        ("", "the line is empty"),
        ("nonsense", "too short"),
        (hash.as_str(), "too short"),
        (&format!("{hash}  "), "too short"),
        (&format!("{hash} a"), "too short"),
        (&format!("{hash} *a"), "two spaces"),
        (&format!("{}  a", hash.to_uppercase()), "lower-case"),
        (&format!("\u{feff}{hash}  a"), "lower-case"),
        (&format!("\\{hash}  a\\tb"), "escape"),
        (&format!("{hash}  a\0b"), "NUL"),
        (&long, "longer than 65536 bytes"),
    ] {
        let why_line = if line == format!("{hash} a") { "too short" } else { why };
        fs::write(home.path().join("sums"), format!("{hash}  a\n{line}\n{hash}  a\n")).unwrap();
        for &engine in ENGINES.iter() {
            let ran = verify_in(home.path(), engine, &["sums"]).exits(23);
            assert_eq!(ran.out, "a: OK\na: OK\n", "{why}");
            let message = ran.err.lines().find(|line| line.starts_with("ringsync: sums: line 2: "));
            assert!(message.is_some_and(|message| message.contains(why_line)), "{why}: {}", ran.err);
        }
    }
    fs::write(home.path().join("sums"), format!("{hash}  a\r\n")).unwrap();
    let ran = verify_in(home.path(), "auto", &["sums", "--json"]).exits(23);
    assert_eq!(ran.json()[1]["path"], "a\r", "a carriage return is the name's");
    fs::write(home.path().join("sums"), format!("{hash}  a")).unwrap();
    verify_in(home.path(), "auto", &["sums"]).exits(0);
    fs::write(home.path().join("sums"), "").unwrap();
    verify_in(home.path(), "auto", &["sums"]).exits(0);
}

fn names_that_are_no_text_are_checked() {
    let home = scratch();
    let name = OsStr::from_bytes(b"\xff\xfe\n\\");
    fs::create_dir(home.path().join("tree")).unwrap();
    fs::write(home.path().join("tree").join(name), "x").unwrap();
    let mut writer = Writer::create(&home.path().join("sums")).unwrap();
    writer.add(Path::new(name), &blake3::hash(b"x")).unwrap();
    writer.finish().unwrap();
    for &engine in ENGINES.iter() {
        verify_in(home.path(), engine, &["sums", "tree", "--strict", "-q"]).exits(0);
        let ran = verify_in(home.path(), engine, &["sums", "tree", "--json"]).exits(0);
        assert_eq!(ran.json()[1]["path_bytes"], "//4KXA==");
        let output = command(home.path(), engine, &["sums", "tree"]).output().unwrap();
        assert_eq!(output.stdout, b"\\\xff\xfe\\n\\\\: OK\n");
    }
}

fn all_sizes_are_hashed_whole() {
    let home = scratch();
    let part = 4 << 20;
    let mut writer = Writer::create(&home.path().join("sums")).unwrap();
    let sizes = [0, 1, 65_536, 65_537, part, 2 * part, 2 * part + 1, 3 * part, 4 * part, 21_000_000];
    for size in sizes {
        let (name, data) = (format!("tree/{size}"), noise(size as u64, size));
        file(home.path().join(&name), &data);
        writer.add(Path::new(&name), &blake3::hash(&data)).unwrap();
    }
    sparse(home.path().join("tree/sparse"), 40 << 20, &[(5 << 20, b"data"), (30 << 20, b"more")]);
    let data = fs::read(home.path().join("tree/sparse")).unwrap();
    writer.add(Path::new("tree/sparse"), &blake3::hash(&data)).unwrap();
    writer.finish().unwrap();
    for &engine in ENGINES.iter() {
        for options in [&[][..], &["-j", "1"], &["-j", "5", "--depth", "1"], &["-j", "1", "--depth", "1"]] {
            let arguments = [&["sums", "--json"], options].concat();
            let summary = verify_in(home.path(), engine, &arguments).exits(0).summary();
            assert_eq!(summary["right"], sizes.len() as u64 + 1);
            let bytes = sizes.iter().sum::<usize>() + (40 << 20);
            assert_eq!(summary["bytes"], bytes as u64);
        }
    }
    // Files without a size have contents all the same.
    manifest_of(&home.path().join("sums"), &[("/proc/version", &fs::read("/proc/version").unwrap())]);
    for &engine in ENGINES.iter() {
        verify_in(home.path(), engine, &["sums"]).exits(0);
    }
}

fn large_files_that_are_wrong_are_found() {
    let home = scratch();
    let data = noise(1, 17 << 20);
    manifest_of(&home.path().join("sums"), &[("large", &data)]);
    let large = home.path().join("large");
    for damage in ["first byte", "last byte", "a byte more", "a byte less"] {
        fs::write(&large, &data).unwrap();
        let file = fs::File::options().write(true).open(&large).unwrap();
        let end = data.len() as u64;
        match damage {
            "first byte" => file.write_all_at(&[!data[0]], 0).unwrap(),
            "last byte" => file.write_all_at(&[!data[data.len() - 1]], end - 1).unwrap(),
            "a byte more" => file.set_len(end + 1).unwrap(),
            _ => file.set_len(end - 1).unwrap(),
        }
        for &engine in ENGINES.iter() {
            let ran = verify_in(home.path(), engine, &["sums"]).exits(23);
            assert_eq!(ran.out, "large: FAILED\n", "{damage}");
        }
    }
}

/// What leads out of `tree` in any way, and what only looks like it. All of it would be right outside.
fn plant(home: &Path) {
    file(home.join("tree/inside/file"), "x");
    file(home.join("outside/file"), "x");
    symlink("../outside", home.join("tree/up")).unwrap();
    symlink(home.join("outside/file"), home.join("tree/file")).unwrap();
    symlink("inside", home.join("tree/within")).unwrap();
    let absolute = home.join("outside/file");
    manifest_of(
        &home.join("sums"),
        &[
            ("../outside/file", b"x"),
            ("inside/../../outside/file", b"x"),
            (absolute.to_str().unwrap(), b"x"),
            ("up/file", b"x"),
            ("file", b"x"),
            ("within/file", b"x"),
            ("inside/../inside/./file", b"x"),
        ],
    );
}

fn no_path_leads_out_of_the_directory() {
    let home = scratch();
    plant(home.path());
    let absolute = home.path().join("outside/file");
    for &engine in ENGINES.iter() {
        let ran = verify_in(home.path(), engine, &["sums", "tree"]).exits(23);
        let (out, symlink) = ("FAILED (it leads out of the directory)", "FAILED (a symlink is in the way)");
        let mut expected = vec![
            format!("../outside/file: {out}"),
            format!("inside/../../outside/file: {out}"),
            format!("{}: {out}", absolute.display()),
            format!("up/file: {symlink}"),
            format!("file: {symlink}"),
            format!("within/file: {symlink}"),
            "inside/../inside/./file: OK".into(),
        ];
        expected.sort();
        assert_eq!(sorted(&ran.out), expected);
        // Without a directory paths lead wherever they lead, and DIR itself may be a symlink.
        verify_in(&home.path().join("tree"), engine, &["../sums"]).exits(0);
    }
    symlink("tree", home.path().join("to-tree")).unwrap();
    manifest_of(&home.path().join("sums"), &[("inside/file", b"x")]);
    verify_in(home.path(), "auto", &["sums", "to-tree/", "--strict"]).exits(0);
}

fn without_openat2_no_path_leads_out_either() {
    let home = scratch();
    plant(home.path());
    let (sums, tree) = (home.path().join("sums"), home.path().join("tree"));
    for engine in ENGINES.iter() {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let arguments: [&OsStr; 5] =
                ["verify".as_ref(), "--engine".as_ref(), engine.as_ref(), sums.as_ref(), tree.as_ref()];
            let ran = refusing(&[libc::SYS_openat2], errno, &arguments).exits(23);
            let right: Vec<&str> = ran.out.lines().filter(|line| line.ends_with(": OK")).collect();
            assert_eq!(right, ["inside/../inside/./file: OK"], "{ran:?}");
            assert_eq!(ran.out.matches("it leads out of the directory").count(), 3, "{ran:?}");
        }
    }
}

/// Another process exchanges a directory for a symlink while checks run. What lies outside is never taken for what
/// should be inside.
fn swapped_symlinks_lead_nowhere() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    let names: Vec<String> = (0..40).map(|index| format!("a/b/file{index}")).collect();
    for name in &names {
        file(at("tree").join(name), "mine");
        file(at("secret").join(&name[2..]), "secret");
    }
    (0..300).for_each(|index| file(at("secret").join(format!("only-there{index}")), "secret"));
    symlink(at("secret"), at("trap")).unwrap();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"secret"[..])).collect();
    manifest_of(&at("sums"), &files);
    let exchange = || {
        use rustix::fs::{CWD, RenameFlags};
        rustix::fs::renameat_with(CWD, at("tree/a"), CWD, at("trap"), RenameFlags::EXCHANGE).ok();
    };
    meanwhile(exchange, || {
        let begun = Instant::now();
        let (mut runs, mut met) = (0, 0);
        while runs < 400 && (runs < 20 || met == 0 || begun.elapsed() < Duration::from_secs(2)) {
            let ran = verify_in(home.path(), ENGINES[runs % ENGINES.len()], &["sums", "tree", "--strict"]);
            assert!(ran.code == Some(23) && !ran.out.contains(": OK"), "a secret was read: {ran:#?}");
            assert!(!ran.out.contains("only-there"), "a secret was listed: {ran:#?}");
            met += ran.out.matches("a symlink is in the way").count();
            runs += 1;
        }
        assert!(met > 0, "never met the symlink in {runs} runs");
    });
}

fn fifos_and_other_nodes_fail_at_once() {
    let home = scratch();
    node(home.path().join("fifo"), FileType::Fifo, (0, 0));
    node(home.path().join("socket"), FileType::Socket, (0, 0));
    fs::create_dir(home.path().join("directory")).unwrap();
    file(home.path().join("file"), "");
    manifest_of(
        &home.path().join("sums"),
        &[("fifo", b""), ("socket", b""), ("directory", b""), (".", b""), ("file", b"")],
    );
    for &engine in ENGINES.iter() {
        for arguments in [&["sums"][..], &["sums", "."]] {
            let ran = verify_in(home.path(), engine, arguments).exits(23);
            assert_eq!(
                sorted(&ran.out),
                [
                    ".: FAILED (Is a directory (os error 21))",
                    "directory: FAILED (Is a directory (os error 21))",
                    "fifo: FAILED (it is not a regular file)",
                    "file: OK",
                    "socket: FAILED (it is not a regular file)",
                ]
            );
        }
    }
}

fn paths_longer_than_the_kernel_takes_are_checked() {
    use rustix::fs::{CWD, Mode, OFlags};
    let home = scratch();
    let root = home.path().join("tree");
    fs::create_dir(&root).unwrap();
    let open = |within: &std::os::fd::OwnedFd, name: &str| {
        rustix::fs::openat(within, name, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap()
    };
    let mut directory = rustix::fs::openat(CWD, &root, OFlags::DIRECTORY, Mode::empty()).unwrap();
    let (mut path, mut files) = (String::new(), Vec::new());
    for level in 0..60 {
        let name = format!("{level:04}-{}", "n".repeat(200));
        rustix::fs::mkdirat(&directory, &name, Mode::RWXU).unwrap();
        directory = open(&directory, &name);
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = rustix::fs::openat(&directory, "file", flags, Mode::RUSR | Mode::WUSR).unwrap();
        rustix::io::write(&file, b"x").unwrap();
        path += &format!("{name}/");
        files.push(format!("{path}file"));
    }
    let listed: Vec<(&str, &[u8])> = files.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    let mut outcomes = Vec::new();
    for &engine in ENGINES.iter() {
        manifest_of(&home.path().join("sums"), &listed);
        outcomes.push(verify_in(home.path(), engine, &["sums", "tree", "--strict", "-q"]));
        manifest_of(&home.path().join("sums"), &listed[..59]);
        outcomes.push(verify_in(home.path(), engine, &["sums", "tree", "--strict", "-q"]));
    }
    // The paths are too long for whoever removes the scratch directory by path.
    tool("rm", &[Path::new("-rf"), &root]);
    for pair in outcomes.chunks(2) {
        assert_eq!((pair[0].code, pair[0].out.as_str()), (Some(0), ""), "{:?}", pair[0].err);
        assert_eq!(pair[1].code, Some(23));
        assert_eq!(pair[1].out, format!("{}: EXTRA\n", files[59]));
    }
}

/// The device ends before the file does: a loop device on a truncated image.
fn an_error_on_reading_fails_its_file() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    let mount = Mount::new("ext4", "64M");
    let (small, large) = (noise(1, 100_000), noise(2, 20 << 20));
    file(mount.path().join("small"), &small);
    file(mount.path().join("large"), &large);
    file(mount.path().join("fine"), "");
    manifest_of(&at("sums"), &[("small", &small), ("large", &large), ("fine", b"")]);
    tool("sync", &[OsStr::new("-f"), mount.path().as_os_str()]);
    verify_in(home.path(), "auto", &[at("sums").as_os_str(), mount.path().as_os_str()]).exits(0);
    let loops = tool("findmnt", &["-no", "SOURCE", mount.path().to_str().unwrap()]);
    let image = tool("losetup", &["-nO", "BACK-FILE", loops.trim()]);
    let image = fs::File::options().write(true).open(image.trim()).unwrap();
    image.set_len(9 << 20).unwrap();
    for &engine in ENGINES.iter() {
        for name in ["small", "large", "fine"] {
            drop_cache(&mount.path().join(name));
        }
        let arguments: [OsString; 2] = [at("sums").into(), mount.path().into()];
        let ran = verify_in(home.path(), engine, &arguments).exits(23);
        assert!(ran.out.contains("large: FAILED (Input/output error (os error 5))"), "{ran:?}");
        assert!(ran.out.contains("fine: OK"), "{ran:?}");
    }
}

fn drop_cache(path: &Path) {
    let file = fs::File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

fn what_cannot_be_used_is_refused() {
    let home = scratch();
    file(home.path().join("file"), "x");
    manifest_of(&home.path().join("sums"), &[("file", b"x")]);
    for arguments in [
        &["none"][..],
        &["."],
        &["sums", "none"],
        &["sums", "file"],
        &["none", "."],
        &["sums", "none", "--strict"],
    ] {
        let ran = verify_in(home.path(), "auto", arguments).exits(3);
        assert_eq!((ran.out.as_str(), ran.err.lines().count()), ("", 1), "{ran:?}");
    }
    verify_in::<&str>(home.path(), "auto", &[]).exits(1);
    verify_in(home.path(), "auto", &["sums", "--jobs", "0"]).exits(1);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut full_output = command(home.path(), "auto", &["sums"]);
    let output = full_output.stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(23));
    assert!(String::from_utf8_lossy(&output.stderr).contains("write standard output: No space left"));
}

/// What has been read is checked before more has come.
fn standard_input_is_read_as_it_comes() {
    let home = scratch();
    file(home.path().join("a"), "x");
    let line = format_line(Path::new("a"), &blake3::hash(b"x"));
    for &engine in ENGINES.iter() {
        let mut command = command(home.path(), engine, &["-", ".", "--strict"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..3 {
            input.write_all(&line).unwrap();
            let mut answer = String::new();
            out.read_line(&mut answer).unwrap();
            assert_eq!(answer, "a: OK\n");
        }
        drop(input);
        finish(child, Duration::from_secs(20)).exits(0);
    }
}

fn a_signal_ends_it() {
    for (&engine, kind) in ENGINES.iter().zip([Signal::INT, Signal::TERM]) {
        let home = scratch();
        // Much to read, and little memory to hold it.
        sparse(home.path().join("large"), 2 << 40, &[]);
        file(home.path().join("small"), "x");
        manifest_of(&home.path().join("sums"), &[("small", b"x"), ("large", b"")]);
        let mut command = command(home.path(), engine, &["sums", "--json"]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..2 {
            out.read_line(&mut String::new()).unwrap();
        }
        kill_process(Pid::from_child(&child), kind).unwrap();
        let rest = std::thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
        finish(child, Duration::from_secs(20)).exits(20);
        let rest = rest.join().unwrap();
        let summary: serde_json::Value = serde_json::from_str(rest.last().unwrap()).unwrap();
        assert_eq!((&summary["outcome"], &summary["wrong"]), (&"interrupted".into(), &0.into()), "{rest:?}");
    }
}

fn a_signal_ends_it_while_it_waits_for_input() {
    let home = scratch();
    file(home.path().join("a"), "x");
    for &engine in ENGINES.iter() {
        let mut command = command(home.path(), engine, &["-", "--json"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&format_line(Path::new("a"), &blake3::hash(b"x"))).unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..2 {
            out.read_line(&mut String::new()).unwrap();
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let rest = std::thread::spawn(move || out.lines().map_while(Result::ok).last());
        finish(child, Duration::from_secs(20)).exits(20);
        let summary: serde_json::Value = serde_json::from_str(&rest.join().unwrap().unwrap()).unwrap();
        assert_eq!((&summary["event"], &summary["right"]), (&"summary".into(), &1.into()));
        drop(input);
    }
}

fn memory_does_not_grow_with_the_manifest() {
    let home = scratch();
    let name = format!("none/{}", "n".repeat(200));
    let line = format_line(Path::new(&name), &blake3::hash(b""));
    for &engine in ENGINES.iter() {
        let peak = |lines: usize| {
            let mut command = command(home.path(), engine, &["-", "-q"]);
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            for _ in 0..lines / 100 {
                input.write_all(&line.repeat(100)).unwrap();
            }
            // It waits for more, its work done but for what the channels hold.
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            drop(input);
            finish(child, Duration::from_secs(60)).exits(23);
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let (few, many) = (peak(20_000), peak(200_000));
        assert!(many < few + 16_000, "{few} KiB for 20,000 lines, {many} KiB for 200,000");
    }
}

/// To open one may already do something: a watchdog, a tape.
fn no_device_is_opened() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        file(home.path().join("dir/file"), "x");
        let device = home.path().join("dir/device");
        node(&device, FileType::CharacterDevice, (1, 3));
        manifest_of(&home.path().join("sums"), &[("device", b""), ("file", b"x")]);
        manifest_of(&home.path().join("paths"), &[("dir/device", b""), ("dir/file", b"x")]);
        let watcher = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watcher, &device, inotify::WatchFlags::OPEN).unwrap();
        for arguments in [&["sums", "dir"][..], &["sums", "dir", "--strict"], &["paths"]] {
            let ran = verify_in(home.path(), engine, arguments).exits(23);
            assert!(ran.out.contains("device: FAILED (it is not a regular file)\n"), "{ran:?}");
            assert!(ran.out.contains("file: OK\n"), "{ran:?}");
        }
        let mut events = [const { std::mem::MaybeUninit::uninit() }; 1024];
        let mut reader = inotify::Reader::new(&watcher, &mut events);
        assert!(reader.next().is_err(), "{engine} opened the device");
        fs::File::open(&device).unwrap();
        assert!(reader.next().is_ok(), "an open is seen");
    }
}

fn what_never_answers_fails_after_the_time_out() {
    for &engine in ENGINES.iter() {
        for call in [Call::Read, Call::Open] {
            for beneath in [true, false] {
                let (fuse, home) = (Fuse::new(), scratch());
                let names: Vec<String> = (0..20).map(|index| format!("file{index}")).collect();
                for name in &names {
                    file(fuse.path().join(name), name);
                }
                let directory = fuse.path().to_str().unwrap();
                let listed: Vec<String> = match beneath {
                    true => names.clone(),
                    false => names.iter().map(|name| format!("{directory}/{name}")).collect(),
                };
                let lines: Vec<(&str, &[u8])> =
                    listed.iter().zip(&names).map(|(path, name)| (path.as_str(), name.as_bytes())).collect();
                manifest_of(&home.path().join("sums"), &lines);
                fuse.spoil(call, "file7", Effect::Stall, usize::MAX);
                let directory = beneath.then_some(directory);
                let arguments: Vec<&str> = ["sums", "--timeout=1"].into_iter().chain(directory).collect();
                let ran = verify_in(home.path(), engine, &arguments).exits(30);
                let failed = format!("{}: FAILED (timed out: no progress for 1 s)", listed[7]);
                assert!(ran.out.lines().any(|line| line == failed), "{ran:?}");
                assert_eq!(ran.out.lines().filter(|line| line.ends_with(": OK")).count(), 19, "{ran:?}");
                fuse.release();
                verify_in(home.path(), engine, &arguments).exits(0);
            }
        }
    }
}

fn too_many_that_never_answer_end_the_run() {
    let (fuse, home) = (Fuse::new(), scratch());
    let names: Vec<String> = (0..80).map(|index| format!("file{index}")).collect();
    for name in &names {
        file(fuse.path().join(name), name);
    }
    let lines: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    manifest_of(&home.path().join("sums"), &lines);
    fuse.spoil(Call::Read, "", Effect::Stall, usize::MAX);
    let arguments = ["sums", "--timeout=1", fuse.path().to_str().unwrap()];
    let ran = verify_in(home.path(), "auto", &arguments).exits(30);
    assert!(ran.err.contains("verify sums: given up, since 64 files have timed out\n"), "{ran:?}");
    fuse.release();
}

fn a_file_in_proc_that_never_ends_fails() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        file(home.path().join("file"), "x");
        manifest_of(&home.path().join("sums"), &[("/proc/kmsg", b""), ("file", b"x")]);
        let ran = verify_in(home.path(), engine, &["sums", "--timeout=1"]);
        assert!(matches!(ran.code, Some(23 | 30)), "{ran:?}");
        assert!(ran.out.contains("/proc/kmsg: FAILED (") && ran.out.contains("file: OK\n"), "{ran:?}");
        // One that ends is what it is.
        let version = fs::read("/proc/version").unwrap();
        manifest_of(&home.path().join("sums"), &[("/proc/version", &version)]);
        verify_in(home.path(), engine, &["sums"]).exits(0);
    }
}
