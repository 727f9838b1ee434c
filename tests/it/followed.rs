//! Symlinks that stand for what they lead to: in SRC (`-L`, `-k`, `--copy-unsafe-links`), left out (`--safe-links`), and in DST
//! (`-K`). None leads where the user who planted it could not go without us.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{differences, file, mode, snapshot};
use crate::support::user::{ALICE, give};
use crate::support::{ENGINES, Ran, assert_no_litter, meanwhile, program, rsync, run, scratch, sync_with};

tests![
    what_symlinks_lead_to_is_copied_as_rsync_does: [Need::Tool("rsync")],
    unsafe_symlinks_are_followed_or_left_out_as_rsync_does: [Need::Tool("rsync")],
    what_leads_out_or_to_nothing_is_an_error_of_that_name,
    circles_are_found,
    no_symlink_leads_into_the_destination,
    followed_directories_are_mirrored_exactly,
    a_list_leads_through_symlinks_that_are_followed,
    what_is_named_may_be_a_symlink_anywhere,
    another_file_system_is_a_mount_point_behind_a_symlink: [Need::Root],
    a_symlink_leads_its_owner_nowhere_new: [Need::Root],
    a_symlink_that_is_turned_elsewhere_leads_nowhere_else: [Need::Root],
    symlinks_of_dst_stand_for_directories: [Need::Tool("rsync")],
    no_kept_symlink_leads_out_of_dst_or_to_another_mirror,
    nothing_is_deleted_where_kept_symlinks_lead_but_what_is_extra_there,
    a_kept_symlink_is_nobody_elses: [Need::Root],
];

/// Requires two trees to hold the same; of times, those of directories are not asked for.
#[track_caller]
fn assert_like(expected: &Path, found: &Path) {
    let differences = differences(&snapshot(expected), &snapshot(found));
    assert!(differences.is_empty(), "{differences:#?}");
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

fn is_link(path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// A tree with symlinks of many kinds, all of which lead to something in it.
fn linked(src: &Path) {
    file(src.join("a/b/file"), "deep");
    file(src.join("top"), "top");
    fs::hard_link(src.join("top"), src.join("a/second")).unwrap();
    symlink("a/b/file", src.join("to-file")).unwrap();
    symlink("to-file", src.join("chain")).unwrap();
    symlink("a/b", src.join("to-dir")).unwrap();
    symlink("../../top", src.join("a/b/up")).unwrap();
    symlink("../to-dir/file", src.join("a/through")).unwrap();
}

fn what_symlinks_lead_to_is_copied_as_rsync_does() {
    for &engine in ENGINES.iter() {
        for option in ["-L", "-k"] {
            for more in [&[][..], &["--timeout=50"]] {
                if engine == "uring" && !more.is_empty() {
                    continue;
                }
                let home = scratch();
                let at = |name: &str| home.path().join(name);
                linked(&at("src"));
                rsync(&["--no-H", option], &at("src"), &at("expected"));
                let options = [&["--no-hard-links", option], more].concat();
                let ran = sync_with(engine, &options, &at("src"), &at("dst")).exits(0);
                assert_like(&at("expected"), &at("dst"));
                assert_eq!(is_link(at("dst/to-file")), option == "-k", "{ran:?}");
                assert!(fs::symlink_metadata(at("dst/to-dir")).unwrap().is_dir());
                let again =
                    sync_with(engine, &[&options[..], &["-i", "--delete"]].concat(), &at("src"), &at("dst"));
                assert_eq!(again.exits(0).out.lines().count(), 1, "only the summary");
                fs::write(at("src/a/b/file"), "changed, and longer").unwrap();
                sync_with(engine, &options, &at("src"), &at("dst")).exits(0);
                assert_eq!(read(at("dst/to-dir/file")), "changed, and longer");
                // Without the option they are symlinks again.
                sync_with(engine, &["--delete"], &at("src"), &at("dst")).exits(0);
                assert!(is_link(at("dst/to-dir")) && is_link(at("dst/to-file")));
            }
        }
    }
}

fn unsafe_symlinks_are_followed_or_left_out_as_rsync_does() {
    for &engine in ENGINES.iter() {
        for options in [&["--copy-unsafe-links"][..], &["--safe-links"], &["-k", "--copy-unsafe-links"]] {
            let home = scratch();
            let at = |name: &str| home.path().join(name);
            linked(&at("src"));
            file(at("out/file"), "outside");
            file(at("out/dir/inner"), "outside");
            symlink("../out/file", at("src/leaves")).unwrap();
            symlink("../../out/dir", at("src/a/leaves")).unwrap();
            symlink(at("src/top"), at("src/absolute")).unwrap();
            symlink("a/../top", at("src/embedded")).unwrap();
            symlink("../src/top", at("src/returns")).unwrap();
            rsync(&[&["--no-H"], options].concat(), &at("src"), &at("expected"));
            let options = [&["--no-hard-links"], options].concat();
            sync_with(engine, &options, &at("src"), &at("dst")).exits(0);
            assert_like(&at("expected"), &at("dst"));
            if options.contains(&"--safe-links") {
                // What has their names stays.
                file(at("dst/leaves"), "of before");
                sync_with(engine, &[&options[..], &["--delete"]].concat(), &at("src"), &at("dst")).exits(0);
                assert_eq!(read(at("dst/leaves")), "of before");
            } else {
                assert_eq!(read(at("dst/a/leaves/inner")), "outside");
            }
        }
    }
}

fn what_leads_out_or_to_nothing_is_an_error_of_that_name() {
    for &engine in ENGINES.iter() {
        for option in ["-L", "-k"] {
            let home = scratch();
            let at = |name: &str| home.path().join(name);
            linked(&at("src"));
            file(at("out/file"), "outside");
            symlink("../out/file", at("src/out-file")).unwrap();
            symlink("../out", at("src/out-dir")).unwrap();
            symlink("none", at("src/dangling")).unwrap();
            file(at("dst/out-dir/kept"), "of before");
            file(at("dst/dangling"), "of before");
            file(at("dst/extra"), "of before");
            file(at("dst/top"), "old");
            let ran = sync_with(engine, &[option, "--delete"], &at("src"), &at("dst")).exits(23);
            let said = |name: &str, why: &str| {
                let found = ran.err.lines().any(|line| line.contains(name) && line.contains(why));
                assert!(found, "{name}: {}", ran.err);
            };
            said("src/out-dir", "leads out of SRC (--copy-unsafe-links copies what lies there)");
            if option == "-L" {
                said("src/out-file", "leads out of SRC");
                said("src/dangling", "leads to nothing");
                assert_eq!(read(at("dst/dangling")), "of before");
                assert!(!at("dst/out-file").exists());
            } else {
                assert!(is_link(at("dst/out-file")) && is_link(at("dst/dangling")));
            }
            // All else is mirrored exactly.
            assert_eq!(read(at("dst/out-dir/kept")), "of before");
            assert!(!at("dst/extra").exists());
            assert_eq!(read(at("dst/to-dir/file")), "deep");
            fs::remove_file(at("src/dangling")).unwrap();
            let options = [option, "--delete", "--copy-unsafe-links"];
            sync_with(engine, &options, &at("src"), &at("dst")).exits(0);
            assert_eq!(read(at("dst/out-dir/file")), "outside");
            assert_eq!(read(at("dst/out-file")), "outside");
            assert!(!is_link(at("dst/out-file")) && !at("dst/out-dir/kept").exists());
        }
    }
}

fn circles_are_found() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        linked(&at("src"));
        symlink(".", at("src/here")).unwrap();
        symlink("..", at("src/a/above")).unwrap();
        symlink("../a", at("src/a/self")).unwrap();
        file(at("src/x/file"), "x");
        file(at("src/y/file"), "y");
        symlink("../y", at("src/x/to-y")).unwrap();
        symlink("../x", at("src/y/to-x")).unwrap();
        symlink("round", at("src/round")).unwrap();
        // By directories alone there is a way from outside back into SRC.
        symlink(home.path(), at("src/around")).unwrap();
        for option in ["-L", "-k"] {
            let options = [option, "--copy-unsafe-links"];
            let ran = sync_with(engine, &options, &at("src"), &at("dst")).exits(23);
            for name in ["src/here", "src/a/above", "src/a/self", "src/x/to-y/to-x", "src/y/to-x/to-y"] {
                let said = |line: &str| line.contains(name) && line.contains("lies in itself");
                assert!(ran.err.lines().any(said), "{name}: {}", ran.err);
            }
            assert!(
                ran.err.contains("src/around/src: it leads to a directory that it lies in itself"),
                "{}",
                ran.err
            );
            assert_eq!(read(at("dst/x/to-y/file")), "y");
            assert!(!at("dst/here/a").exists());
            fs::remove_dir_all(at("dst")).unwrap();
        }
    }
}

fn no_symlink_leads_into_the_destination() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("src/sub/file"), "x");
        file(at("dst/sub/old"), "x");
        symlink(at("dst"), at("src/to-dst")).unwrap();
        symlink("../../dst/sub", at("src/sub/below")).unwrap();
        symlink(home.path(), at("src/around")).unwrap();
        let ran = sync_with(engine, &["-L", "--copy-unsafe-links"], &at("src"), &at("dst")).exits(23);
        for name in ["src/to-dst", "src/sub/below", "src/around/dst"] {
            let said = |line: &str| line.contains(name) && line.contains("leads into DST");
            assert!(ran.err.lines().any(said), "{name}: {}", ran.err);
        }
        assert_eq!(read(at("dst/sub/file")), "x");
    }
}

fn followed_directories_are_mirrored_exactly() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("src/real/sub/file"), "one");
        fs::hard_link(at("src/real/sub/file"), at("src/real/sub/other")).unwrap();
        symlink("real", at("src/link")).unwrap();
        mode(at("src/real"), 0o750);
        sync_with(engine, &["-L"], &at("src"), &at("dst")).exits(0);
        for name in ["real", "link"] {
            let inode = |file: &str| fs::metadata(at("dst").join(name).join(file)).unwrap().ino();
            assert_eq!(inode("sub/file"), inode("sub/other"), "{name}");
            assert_eq!(fs::metadata(at("dst").join(name)).unwrap().mode() & 0o7777, 0o750);
            // A directory is in the way of a file, and something is extra.
            file(at("dst").join(name).join("sub/extra/x"), "x");
            fs::remove_file(at("dst").join(name).join("sub/other")).unwrap();
            file(at("dst").join(name).join("sub/other/x"), "x");
        }
        sync_with(engine, &["-L", "--delete"], &at("src"), &at("dst")).exits(0);
        for name in ["real", "link"] {
            assert!(!at("dst").join(name).join("sub/extra").exists());
            assert_eq!(read(at("dst").join(name).join("sub/other")), "one");
        }
        fs::remove_file(at("src/link")).unwrap();
        sync_with(engine, &["-L", "--delete"], &at("src"), &at("dst")).exits(0);
        assert!(!at("dst/link").exists() && at("dst/real/sub/file").exists());
        assert_no_litter(&at("dst"));
    }
}

fn a_list_leads_through_symlinks_that_are_followed() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        linked(&at("src"));
        file(at("src/a/b/unwanted"), "x");
        file(at("list"), "to-dir/file\nchain\n");
        let files = format!("--files-from={}", at("list").display());
        sync_with(engine, &["-L", &files], &at("src"), &at("dst")).exits(0);
        assert_eq!(read(at("dst/to-dir/file")), "deep");
        assert_eq!(read(at("dst/chain")), "deep");
        assert!(!at("dst/to-dir/unwanted").exists() && !at("dst/top").exists());
        // Of a file, nothing lies below.
        file(at("list"), "chain/file\n");
        let ran = sync_with(engine, &["-L", &files], &at("src"), &at("dst")).exits(23);
        assert!(ran.err.contains("find listed path") && ran.err.contains("Not a directory"), "{}", ran.err);
    }
}

fn copy_with(options: &[&str], source: &Path, directory: &Path) -> Ran {
    let mut command = Command::new(program());
    command.arg("copy").args(options).arg(source).arg(directory);
    run(command)
}

fn what_is_named_may_be_a_symlink_anywhere() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    linked(&at("real"));
    file(at("beside"), "beside");
    symlink("../beside", at("real/a/out")).unwrap();
    symlink(at("real"), at("named")).unwrap();
    fs::create_dir(at("dir")).unwrap();
    copy_with(&[], &at("named"), &at("dir")).exits(0);
    assert!(is_link(at("dir/named")));
    let ran = copy_with(&["-L"], &at("named"), &at("dir")).exits(23);
    assert!(ran.err.contains("named/a/out") && ran.err.lines().count() == 1, "{}", ran.err);
    assert_eq!(read(at("dir/named/a/b/up")), "top");
    assert_eq!(read(at("dir/named/to-dir/file")), "deep");
    copy_with(&["-L", "--copy-unsafe-links"], &at("named"), &at("dir")).exits(23);
    fs::remove_file(at("real/a/out")).unwrap();
    symlink("../../beside", at("real/a/out")).unwrap();
    copy_with(&["-L", "--copy-unsafe-links"], &at("named"), &at("dir")).exits(0);
    assert_eq!(read(at("dir/named/a/out")), "beside");
    // A file, and one that leads nowhere.
    symlink("beside", at("to-file")).unwrap();
    symlink("none", at("dangling")).unwrap();
    copy_with(&["-L"], &at("to-file"), &at("dir")).exits(0);
    assert!(!is_link(at("dir/to-file")) && read(at("dir/to-file")) == "beside");
    let ran = copy_with(&["-L"], &at("dangling"), &at("dir")).exits(23);
    assert!(ran.err.contains("leads to nothing"), "{}", ran.err);
}

fn another_file_system_is_a_mount_point_behind_a_symlink() {
    let mount = Mount::new("tmpfs", "4m");
    file(mount.path().join("dir/file"), "elsewhere");
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("src/file"), "here");
        symlink(mount.path().join("dir"), at("src/dir")).unwrap();
        symlink(mount.path().join("dir/file"), at("src/of-file")).unwrap();
        let options = ["-L", "--copy-unsafe-links", "-x"];
        sync_with(engine, &options, &at("src"), &at("dst")).exits(0);
        assert!(at("dst/dir").is_dir() && fs::read_dir(at("dst/dir")).unwrap().count() == 0);
        assert_eq!(read(at("dst/of-file")), "elsewhere");
        sync_with(engine, &options[..2], &at("src"), &at("dst")).exits(0);
        assert_eq!(read(at("dst/dir/file")), "elsewhere");
    }
}

fn a_symlink_leads_its_owner_nowhere_new() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o755);
        let at = |name: &str| home.path().join(name);
        // For all to read, in a directory that nobody else gets into.
        file(at("src/private/file"), "SECRET");
        file(at("src/private/dir/file"), "SECRET");
        mode(at("src/private"), 0o700);
        file(at("out/guarded/file"), "SECRET");
        mode(at("out/guarded"), 0o700);
        file(at("src/closed"), "SECRET");
        mode(at("src/closed"), 0o600);
        file(at("src/public/file"), "for all");
        file(at("src/hers/own"), "hers");
        mode(at("src/hers"), 0o700);
        mode(at("src/hers/own"), 0o600);
        give(at("src/hers"), ALICE);
        give(at("src/hers/own"), ALICE);
        let plant = |target: &str, name: &str, by: u32| {
            symlink(target, at("src/hers").join(name)).unwrap();
            give(at("src/hers").join(name), by);
        };
        plant("../private/file", "file", ALICE);
        plant("../private/dir", "dir", ALICE);
        plant("../closed", "closed", ALICE);
        plant("../private/../private/file", "by-way", ALICE);
        plant(at("out/guarded/file").to_str().unwrap(), "out", ALICE);
        // Root's own leads on through hers.
        symlink("hers/file", at("src/roots")).unwrap();
        plant("../public/file", "public", ALICE);
        plant("own", "of-hers", ALICE);
        plant("../private/file", "by-root", 0);
        let names = ["file", "dir", "closed", "by-way", "out"];
        for options in [&["-L", "--copy-unsafe-links"][..], &["-L"], &["-k", "--copy-unsafe-links"]] {
            let ran = sync_with(engine, options, &at("src"), &at("dst")).exits(23);
            for name in names.iter().filter(|name| at("src/hers").join(name).is_dir() || options[0] == "-L") {
                let line = ran.err.lines().find(|line| line.contains(&format!("src/hers/{name}:")));
                let why = if *name == "out" && options == ["-L"] {
                    "leads out of SRC"
                } else {
                    "could not read what it"
                };
                assert!(line.is_some_and(|line| line.contains(why)), "{name} {options:?}: {}", ran.err);
                assert!(fs::symlink_metadata(at("dst/hers").join(name)).is_err());
            }
            if options[0] == "-L" {
                assert!(ran.err.contains("src/roots:"), "{}", ran.err);
                assert_eq!(read(at("dst/hers/public")), "for all");
                assert_eq!(read(at("dst/hers/of-hers")), "hers");
                assert_eq!(read(at("dst/hers/by-root")), "SECRET");
            }
            fs::remove_dir_all(at("dst")).unwrap();
        }
        let options = ["-L", "--copy-unsafe-links", "--insecure-links"];
        sync_with(engine, &options, &at("src"), &at("dst")).exits(0);
        assert_eq!(read(at("dst/hers/dir/file")), "SECRET");
        assert_eq!(read(at("dst/hers/out")), "SECRET");
    }
}

/// Between the look and the opening, and whenever else, a symlink, and a directory on the way, are turned elsewhere.
fn a_symlink_that_is_turned_elsewhere_leads_nowhere_else() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o755);
        let at = |name: &str| home.path().join(name);
        file(at("src/public/file"), "for all");
        file(at("src/public/dir/file"), "for all");
        file(at("guarded/file"), "SECRET");
        file(at("guarded/dir/file"), "SECRET");
        file(at("guarded/public/file"), "SECRET");
        mode(at("guarded"), 0o700);
        fs::create_dir(at("src/hers")).unwrap();
        give(at("src/hers"), ALICE);
        let targets = ["../public", "../../guarded", "../hers/way2", "../public/dir"];
        let mut number = 0;
        let turn = || {
            number += 1;
            for (index, name) in ["way", "way2", "way3"].into_iter().enumerate() {
                // Nobody sees it before it is hers.
                let (new, name) = (at("new"), at("src/hers").join(name));
                let target = targets[(number + index) % targets.len()];
                symlink(if number % 3 == 0 { format!("{target}/file") } else { target.into() }, &new)
                    .unwrap();
                give(&new, ALICE);
                fs::rename(&new, &name).unwrap();
            }
        };
        meanwhile(turn, || {
            for round in 0..40 {
                let options: &[&str] = match round % 4 {
                    0 => &["-L"],
                    1 => &["-L", "--copy-unsafe-links", "--delete"],
                    2 => &["-k", "--copy-unsafe-links", "--checksum"],
                    _ => &["--copy-unsafe-links", "--inplace"],
                };
                let ran = sync_with(engine, options, &at("src"), &at("dst"));
                assert!(matches!(ran.code, Some(0 | 23 | 24)), "{ran:#?}");
            }
        });
        for entry in walkdir::WalkDir::new(at("dst")).into_iter().flatten() {
            if entry.file_type().is_file() {
                assert_ne!(read(entry.path()), "SECRET", "{}", entry.path().display());
            }
        }
    }
}

fn symlinks_of_dst_stand_for_directories() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("src/dir/sub/file"), "new");
        file(at("src/dir/twin"), "twins");
        fs::hard_link(at("src/dir/twin"), at("src/twin")).unwrap();
        file(at("src/of-file/x"), "x");
        file(at("src/dangling/x"), "x");
        file(at("dst/real/deep/old"), "of before");
        file(at("dst/target"), "of before");
        symlink("real/deep", at("dst/dir")).unwrap();
        symlink("target", at("dst/of-file")).unwrap();
        symlink("none", at("dst/dangling")).unwrap();
        rsync(&[], &at("dst"), &at("expected"));
        rsync(&["-K"], &at("src"), &at("expected"));
        sync_with(engine, &["-n", "-K"], &at("src"), &at("dst")).exits(0);
        sync_with(engine, &["-K"], &at("src"), &at("dst")).exits(0);
        // rsync gives its time to the symlink.
        let timeless = |tree: &str| {
            let mut nodes = snapshot(&at(tree));
            nodes.values_mut().for_each(|node| node.modified = (0, 0));
            nodes
        };
        let found = differences(&timeless("expected"), &timeless("dst"));
        assert!(found.is_empty(), "{found:#?}");
        assert_eq!(
            fs::metadata(at("src/dir")).unwrap().modified().unwrap(),
            fs::metadata(at("dst/dir")).unwrap().modified().unwrap()
        );
        assert!(is_link(at("dst/dir")) && read(at("dst/real/deep/sub/file")) == "new");
        assert!(!is_link(at("dst/of-file")) && !is_link(at("dst/dangling")));
        let again = sync_with(engine, &["-K", "-i"], &at("src"), &at("dst")).exits(0);
        assert_eq!(again.out.lines().count(), 1, "{}", again.out);
        // Without the option the symlink makes way, and what it leads to stays.
        sync_with(engine, &[], &at("src"), &at("dst")).exits(0);
        assert!(!is_link(at("dst/dir")) && at("dst/real/deep/sub/file").exists());
    }
}

fn no_kept_symlink_leads_out_of_dst_or_to_another_mirror() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        for name in ["out", "absolute", "here", "a/above", "other", "one", "two"] {
            file(at("src").join(name).join("file"), "new");
            file(at("src").join(name).join("more/file"), "new");
        }
        file(at("outside/precious"), "precious");
        file(at("dst/other/precious"), "precious");
        file(at("dst/only/kept"), "kept");
        fs::create_dir(at("dst/a")).unwrap();
        for (target, name) in [
            ("../outside", "out"),
            (at("outside").to_str().unwrap(), "absolute"),
            (".", "here"),
            ("..", "a/above"),
            ("only", "one"),
            ("only", "two"),
        ] {
            symlink(target, at("dst").join(name)).unwrap();
        }
        let ran = sync_with(engine, &["-K", "--delete", "--exclude=/only"], &at("src"), &at("dst")).exits(23);
        let said = |name: &str, why: &str| {
            let found = ran.err.lines().any(|line| line.contains(name) && line.contains(why));
            assert!(found, "{name}: {}", ran.err);
        };
        for (name, why) in [("dst/out", "out of DST"), ("dst/absolute", "out of DST")] {
            said(name, why);
        }
        for name in ["dst/here", "dst/a/above"] {
            said(name, "the mirror of another one");
        }
        // Of two that lead to one directory, the first one to come has it.
        assert_eq!(ran.err.matches("the mirror of another one").count(), 3, "{}", ran.err);
        for name in ["out", "absolute", "here", "a/above", "one", "two"] {
            assert!(is_link(at("dst").join(name)), "{name}");
        }
        let names: Vec<_> =
            fs::read_dir(at("outside")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["precious"]);
        assert_eq!(read(at("dst/only/more/file")), "new");
        assert!(!at("dst/only/kept").exists() && !at("dst/other/precious").exists());
    }
}

fn nothing_is_deleted_where_kept_symlinks_lead_but_what_is_extra_there() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        file(at("src/dir/sub/file"), "new");
        file(at("src/dir/changes"), "a file");
        file(at("src/file"), "x");
        // SRC has neither of the directories around what the symlink leads to.
        file(at("dst/store/real/sub/extra"), "x");
        file(at("dst/store/real/extra/x"), "x");
        file(at("dst/store/real/changes/x"), "a directory");
        file(at("dst/store/beside"), "x");
        file(at("dst/extra"), "x");
        symlink("store/real", at("dst/dir")).unwrap();
        for options in
            [&["-K", "--delete", "-n"][..], &["-K", "--delete"], &["-K", "--delete", "--timeout=50"]]
        {
            if engine == "uring" && options.len() == 3 && options[2] != "-n" {
                continue;
            }
            sync_with(engine, options, &at("src"), &at("dst")).exits(0);
            assert!(is_link(at("dst/dir")));
            assert_eq!(at("dst/store/real/extra").exists(), options.contains(&"-n"));
        }
        assert_eq!(read(at("dst/store/real/sub/file")), "new");
        assert_eq!(read(at("dst/store/real/changes")), "a file");
        assert!(!at("dst/store/real/sub/extra").exists() && !at("dst/extra").exists());
        assert_no_litter(&at("dst"));
    }
}

fn a_kept_symlink_is_nobody_elses() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o755);
        let at = |name: &str| home.path().join(name);
        for name in ["hers", "in-hers/dir", "in-hers/own", "shared/dir", "roots"] {
            file(at("src").join(name).join("file"), "new");
        }
        for name in ["precious", "in-hers/real", "shared"] {
            file(at("dst").join(name).join("kept"), "of before");
        }
        for name in ["src/in-hers", "src/in-hers/own", "dst/in-hers", "dst/in-hers/real"] {
            give(at(name), ALICE);
        }
        mode(at("src/shared"), 0o777);
        for (target, name) in [
            ("precious", "hers"),
            ("../precious", "in-hers/dir"),
            ("real", "in-hers/own"),
            ("../precious", "shared/dir"),
        ] {
            symlink(target, at("dst").join(name)).unwrap();
        }
        give(at("dst/hers"), ALICE);
        symlink("hers", at("dst/roots")).unwrap();
        let options = ["-K", "--delete", "--exclude=/precious", "--exclude=/in-hers/real"];
        let ran = sync_with(engine, &options, &at("src"), &at("dst")).exits(23);
        for (name, why) in [
            ("dst/hers:", "of another user"),
            ("dst/roots:", "of another user"),
            ("dst/in-hers/dir:", "others can put some"),
            ("dst/shared/dir:", "others can put some"),
        ] {
            let found = ran.err.lines().any(|line| line.contains(name) && line.contains(why));
            assert!(found, "{name}: {}", ran.err);
        }
        let names: Vec<_> =
            fs::read_dir(at("dst/precious")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["kept"]);
        // What is hers alone she may lead to.
        assert_eq!(read(at("dst/in-hers/real/file")), "new");
    }
}
