//! Promise 3: the destination becomes an exact mirror, and nothing is deleted by accident.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::changed::{changed_trees, mirror};
use crate::support::fuse::Fuse;
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, file, mode, snapshot};
use crate::support::user::{ALICE, as_alice, give_tree};
use crate::support::{ENGINES, Ran, assert_equal, program, rsync, run, scratch, sync_with, tool};

tests![
    a_mirror_becomes_exact: [Need::Root, Need::Tool("rsync"), Need::Tool("setfacl")],
    rules_protect_what_they_protect_in_rsync: [Need::Tool("rsync")],
    a_dry_run_tells_what_a_run_deletes: [Need::Root, Need::Tool("setfacl")],
    a_directory_in_the_way_goes_first,
    what_was_emptied_keeps_its_time,
    more_than_the_limit_is_nothing,
    an_empty_source_deletes_nothing,
    what_could_not_be_read_protects_its_own_subtree: [Need::Root, Need::Tool("setpriv")],
    what_could_not_be_written_protects_its_subtree: [Need::Root, Need::Tool("chattr"), Need::FileSystem("ext4")],
    a_run_that_ends_early_deletes_nothing: [Need::Root],
    directories_that_forbid_it_are_opened_to_their_owner: [Need::Root, Need::Tool("setpriv")],
    what_can_not_be_deleted_is_told: [Need::Root, Need::Tool("chattr"), Need::FileSystem("ext4")],
    deep_trees_go_with_few_descriptors: [Need::Tool("prlimit")],
    large_directories_go,
    other_file_systems_stay: [Need::Root],
    symlinks_are_deleted_and_never_followed,
    what_runs_leave_for_the_next_one_stays: [Need::Tool("prlimit")],
    a_single_file_deletes_nothing,
    names_that_are_listed_otherwise_are_not_deleted: [Need::Fuse],
    what_gives_way_goes_to_the_backups_on_tmpfs: [Need::Root],
    what_gives_way_goes_to_the_backups_on_ext4: [Need::FileSystem("ext4")],
    what_gives_way_goes_to_the_backups_on_xfs: [Need::FileSystem("xfs")],
    backups_beside_their_originals_keep_a_directory_in_the_way,
    with_one_file_system_no_mounted_directory_is_emptied: [Need::Root],
    what_is_mounted_in_a_directory_in_the_way_keeps_it: [Need::Root],
    a_directory_in_the_way_of_which_something_stays_is_put_back: [Need::Root, Need::Tool("chattr"), Need::FileSystem("ext4")],
    a_directory_in_the_way_that_can_not_be_backed_up_is_put_back: [Need::Root],
    directories_in_the_way_that_forbid_it_are_opened: [Need::Root, Need::Tool("setpriv")],
];

/// The same directory twice more.
fn copies(destination: &Path) -> [PathBuf; 2] {
    ["ours", "theirs"].map(|name| {
        let copy = destination.with_file_name(name);
        tool("cp", &[Path::new("-a"), destination, &copy]);
        copy
    })
}

/// Requires that both programs leave the same.
fn agree(options: &[&str], engine: &str, source: &Path, destination: &Path) {
    let [ours, theirs] = copies(destination);
    sync_with(engine, options, source, &ours).exits(0);
    rsync(options, source, &theirs);
    // The time of an extra directory in which something stays tells when the rest went.
    let [has, wanted] = [&ours, &theirs].map(|tree| {
        let mut nodes = snapshot(tree);
        let extra = nodes.iter_mut().filter(|(path, _)| fs::symlink_metadata(source.join(path)).is_err());
        extra.for_each(|(_, node)| node.modified = (0, 0));
        nodes
    });
    assert!(has.keys().eq(wanted.keys()), "{options:?}: {:#?} {:#?}", has.keys(), wanted.keys());
    assert_eq!(has, wanted, "{options:?}");
    for tree in [ours, theirs] {
        fs::remove_dir_all(tree).unwrap();
    }
}

fn deleted(ran: &Ran) -> BTreeSet<String> {
    ran.out.lines().filter_map(|line| line.strip_prefix("deleted   ")).map(String::from).collect()
}

fn a_mirror_becomes_exact() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = changed_trees(home.path());
        let ran = sync_with(engine, &["--delete", "-v", "-c"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert!(deleted(&ran).len() >= 9, "{}", ran.out);
        let again = sync_with(engine, &["--delete", "--json"], &source, &destination).exits(0);
        let summary = again.summary();
        assert_eq!(summary["unchanged"], summary["found"], "times of directories too: {}", again.out);
    }
}

/// A source and what has become of its mirror: names in it are there in both, in one, or in the other.
fn grown(home: &Path) -> (PathBuf, PathBuf) {
    let (source, destination) = mirror(home, |source| {
        for name in
            ["a.c", "a.o", "keep/a.o", "keep/b.c", "sub/deep/x", "sub/deep/x.o", "tmp/cache", "excluded/y"]
        {
            file(source.join(name), name);
        }
    });
    for name in [
        "b.c",
        "b.o",
        "keep/c.o",
        "keep/c.c",
        "sub/old/y.o",
        "sub/old/y.c",
        "gone/z.o",
        "gone/deep/z.c",
        "excluded/w",
        "excluded/v.o",
        "only.o/x",
        "gone/rules",
        "core",
        "sub/core",
        "gone/core",
    ] {
        file(destination.join(name), name);
    }
    file(source.join("keep/.rules"), "- c.c\n");
    file(source.join(".rules"), "- /core\n");
    for tree in [&source, &destination] {
        for entry in walkdir::WalkDir::new(tree).contents_first(true) {
            crate::support::changed::unmoved(entry.unwrap().path());
        }
    }
    (source, destination)
}

fn rules_protect_what_they_protect_in_rsync() {
    let home = scratch();
    let (source, destination) = grown(home.path());
    let lists: &[&[&str]] = &[
        &["--delete"],
        &["--delete", "--exclude=*.o"],
        &["--delete", "--exclude=*.o", "--delete-excluded"],
        &["--delete-excluded", "--exclude=excluded"],
        &["--delete", "--exclude=excluded"],
        &["--delete", "--exclude=/excluded/"],
        &["--delete", "--filter=P *.o"],
        &["--delete", "--filter=P *.o", "--delete-excluded"],
        &["--delete", "--filter=R b.o", "--filter=P *.o"],
        &["--delete", "--filter=H *.o"],
        &["--delete", "--filter=H a.o", "--filter=P b.o"],
        &["--delete", "--filter=-p *.o"],
        &["--delete", "--filter=-s *.o"],
        &["--delete", "--filter=-r *.o"],
        &["--delete", "--include=*.c", "--include=*/", "--exclude=*"],
        &["--delete", "--include=*.c", "--include=*/", "--exclude=*", "--delete-excluded"],
        &["--delete-excluded", "--filter=-r core", "--exclude=*.c"],
        &["--delete", "--max-size=3"],
        // rsync reads the rules that are in the destination; so that it has them, first come the files, then the rest.
        &["--delete-after", "--filter=: .rules"],
        &["--delete-after", "--filter=:n .rules", "--exclude=*.o"],
    ];
    for (index, options) in lists.iter().enumerate() {
        agree(options, ENGINES[index % ENGINES.len()], &source, &destination);
    }
}

fn a_dry_run_tells_what_a_run_deletes() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = changed_trees(home.path());
        file(destination.join("kind in the way/below/x"), "x");
        file(source.join("kind in the way"), "x");
        let before = snapshot(&destination);
        let told = sync_with(engine, &["--delete", "-n", "-v"], &source, &destination).exits(0);
        assert_eq!(snapshot(&destination), before);
        let done = sync_with(engine, &["--delete", "-v"], &source, &destination).exits(0);
        assert_eq!(deleted(&told), deleted(&done));
        assert!(deleted(&done).contains("kind in the way/below/"), "{:?}", deleted(&done));
    }
}

fn a_directory_in_the_way_goes_first() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("dir/file"), "a file");
            symlink("target", source.join("dir/symlink")).unwrap();
            file(source.join("dir/link"), "of two names");
            fs::hard_link(source.join("dir/link"), source.join("other")).unwrap();
        });
        for name in ["dir/file", "dir/symlink", "dir/link"] {
            fs::remove_file(destination.join(name)).unwrap();
            file(destination.join(name).join("a/b/c"), "in the way");
        }
        let before = snapshot(&destination);
        sync_with(engine, &[], &source, &destination).exits(23);
        assert_eq!(snapshot(&destination).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        // Each has three entries below it.
        let ran = sync_with(engine, &["--delete", "--max-delete=11"], &source, &destination).exits(25);
        assert!(ran.err.contains("it would be 12,"), "{}", ran.err);
        assert_eq!(snapshot(&destination).keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
        let ran =
            sync_with(engine, &["--delete", "--max-delete=12", "--json"], &source, &destination).exits(0);
        assert_eq!((&ran.summary()["deleted"], &ran.summary()["errors"]), (&12.into(), &0.into()));
        assert_equal(&source, &destination);
    }
}

fn what_was_emptied_keeps_its_time() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("a/b/file"), "x");
            mode(source.join("a/b"), 0o2510);
            mode(source.join("a"), 0o1777);
        });
        mode(destination.join("a/b"), 0o2710); // so that any user can put something there
        for place in ["", "a", "a/b"] {
            file(destination.join(place).join("extra/one"), "x");
            file(destination.join(place).join("extra too"), "x");
        }
        mode(destination.join("a/b"), 0o2510);
        sync_with(engine, &["--delete"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn more_than_the_limit_is_nothing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            (0..40).for_each(|index| file(source.join(format!("file{index}")), "x"));
        });
        // Ten of fifty.
        (0..4).for_each(|index| file(destination.join(format!("extra{index}")), "x"));
        (0..5).for_each(|index| file(destination.join(format!("extras/{index}")), "x"));
        let all = snapshot(&destination);
        file(source.join("new"), "is copied all the same");
        for limit in ["--max-delete=9", "--max-delete=0", "--max-delete=19%", "--max-delete=0%"] {
            let ran = sync_with(engine, &["--delete", limit], &source, &destination).exits(25);
            assert!(ran.err.contains("nothing is deleted: it would be 10,"), "{}", ran.err);
            assert!(all.keys().all(|name| fs::symlink_metadata(destination.join(name)).is_ok()));
            assert!(destination.join("new").exists());
        }
        let dry = sync_with(engine, &["--delete", "-n", "--max-delete=9"], &source, &destination).exits(25);
        assert!(deleted(&dry).is_empty());
        // Of fifty-one now.
        sync_with(engine, &["--delete", "--max-delete=20%"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        file(destination.join("extra"), "x");
        sync_with(engine, &["--delete", "--max-delete=1"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
    let ran = sync_with("threads", &["--delete", "--max-delete=101%"], Path::new("a"), Path::new("b"));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
}

fn an_empty_source_deletes_nothing() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        fs::create_dir(&source).unwrap();
        file(destination.join("precious/file"), "x");
        let ran = sync_with(engine, &["--delete"], &source, &destination).exits(25);
        assert!(ran.err.contains("the source is empty"), "{}", ran.err);
        assert!(destination.join("precious/file").exists());
        sync_with(engine, &["--delete", "--allow-empty-source"], &source, &destination).exits(0);
        assert_eq!(fs::read_dir(&destination).unwrap().count(), 0);
        // Two empty trees are equal.
        sync_with(engine, &["--delete"], &source, &destination).exits(0);
        // A source of which nothing is mirrored is empty: think of a new disk, and a rule for its lost+found.
        fs::create_dir(source.join("lost+found")).unwrap();
        file(source.join("small"), "x");
        std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
        file(destination.join("old"), "x");
        let nothing =
            ["--delete", "--exclude=/lost+found/", "--min-size=10", "--no-devices", "--no-specials"];
        let ran = sync_with(engine, &nothing, &source, &destination).exits(25);
        assert!(ran.err.contains("the source is empty"), "{}", ran.err);
        assert!(destination.join("old").exists());
        sync_with(
            engine,
            &[&nothing[..], &["--allow-empty-source", "--max-delete=100%"]].concat(),
            &source,
            &destination,
        )
        .exits(0);
        assert!(!destination.join("old").exists());
    }
}

fn what_could_not_be_read_protects_its_own_subtree() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        mode(home.path(), 0o777);
        let (source, destination) = mirror(home.path(), |source| {
            for name in ["unlisted/file", "closed/sub/file", "open/file"] {
                file(source.join(name), name);
            }
        });
        for name in [
            "unlisted/extra",
            "unlisted/sub/extra",
            "closed/sub/extra",
            "closed/extra",
            "open/extra",
            "extra",
        ] {
            file(destination.join(name), name);
        }
        mode(source.join("unlisted"), 0o300);
        mode(source.join("closed"), 0o000);
        give_tree(home.path(), ALICE);
        let ran = as_alice(&["sync", "--delete", "--engine", engine], &source, &destination);
        mode(source.join("unlisted"), 0o700);
        mode(source.join("closed"), 0o700);
        let ran = ran.exits(23);
        for name in
            ["unlisted/extra", "unlisted/sub/extra", "closed/sub/extra", "closed/extra", "unlisted/file"]
        {
            assert!(destination.join(name).exists(), "{name}: {}", ran.err);
        }
        assert!(!destination.join("open/extra").exists() && !destination.join("extra").exists());
    }
}

fn what_could_not_be_written_protects_its_subtree() {
    for &engine in ENGINES.iter() {
        let mount = Mount::new("ext4", "32M");
        let home = mount.path().join("home");
        fs::create_dir(&home).unwrap();
        let (source, destination) = mirror(&home, |source| {
            for name in ["bad/file", "bad/sub/file", "good/file"] {
                file(source.join(name), name);
            }
        });
        for name in ["bad/extra", "bad/sub/extra", "good/extra", "extra"] {
            file(destination.join(name), name);
        }
        file(source.join("bad/file"), "changed, and can't be replaced");
        tool("chattr", &[Path::new("+i"), &destination.join("bad/file")]);
        let ran = sync_with(engine, &["--delete"], &source, &destination);
        tool("chattr", &[Path::new("-i"), &destination.join("bad/file")]);
        let ran = ran.exits(23);
        assert!(
            destination.join("bad/extra").exists() && destination.join("bad/sub/extra").exists(),
            "{}",
            ran.err
        );
        assert!(
            !destination.join("good/extra").exists() && !destination.join("extra").exists(),
            "{}",
            ran.err
        );
    }
}

fn a_run_that_ends_early_deletes_nothing() {
    for &engine in ENGINES.iter() {
        let mount = Mount::new("tmpfs", "4M");
        let (home, destination) = (scratch(), mount.path().join("dst"));
        let source = home.path().join("src");
        file(source.join("large"), vec![1; 6 << 20]);
        file(destination.join("extra"), "x");
        file(destination.join("large"), "x");
        sync_with(engine, &["--delete"], &source, &destination).exits(11);
        assert!(destination.join("extra").exists());
    }
}

fn directories_that_forbid_it_are_opened_to_their_owner() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("closed/file"), "x");
            mode(source.join("closed"), 0o555);
        });
        file(destination.join("closed/extra"), "x");
        file(destination.join("gone/deep/file"), "x");
        file(destination.join("gone/unread/file"), "x");
        for (name, bits) in [("gone/deep", 0o500), ("gone/unread", 0), ("gone", 0o555), ("closed", 0o555)] {
            mode(destination.join(name), bits);
        }
        give_tree(home.path(), ALICE);
        mode(home.path(), 0o755);
        as_alice(&["sync", "--delete", "--engine", engine], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(fs::metadata(destination.join("closed")).unwrap().mode() & 0o7777, 0o555);
    }
}

fn what_can_not_be_deleted_is_told() {
    for &engine in ENGINES.iter() {
        let mount = Mount::new("ext4", "32M");
        let home = mount.path().join("home");
        fs::create_dir(&home).unwrap();
        let (source, destination) = mirror(&home, |source| file(source.join("file"), "x"));
        for name in ["gone/stays/held", "gone/stays/goes", "gone/other/goes"] {
            file(destination.join(name), name);
        }
        let held = destination.join("gone/stays/held");
        tool("chattr", &[Path::new("+i"), &held]);
        let ran = sync_with(engine, &["--delete"], &source, &destination);
        tool("chattr", &[Path::new("-i"), &held]);
        let ran = ran.exits(23);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        assert!(
            ran.err.contains(&format!("remove {}: Operation not permitted", held.display())),
            "{}",
            ran.err
        );
        assert!(held.exists());
        assert!(!destination.join("gone/stays/goes").exists() && !destination.join("gone/other").exists());
    }
}

fn deep_trees_go_with_few_descriptors() {
    const DEPTH: usize = 1500;
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        file(source.join("file"), "x");
        file(destination.join("file"), "x");
        fs::create_dir_all(destination.join("deep")).unwrap();
        drop(super::bounded::make_chain(&destination.join("deep"), DEPTH));
        let mut command = Command::new("prlimit");
        command.arg("--nofile=256:256").arg(program());
        command.args(["sync", "--delete", "--json", "--engine", engine]).arg(&source).arg(&destination);
        let ran = run(command);
        tool("rm", &[Path::new("-rf"), &destination.join("deep")]);
        let ran = ran.exits(0);
        assert_eq!(ran.summary()["deleted"], 2 * DEPTH + 1);
    }
}

fn large_directories_go() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("file"), "x"));
        for index in 0..20_000 {
            fs::create_dir_all(destination.join("wide")).unwrap();
            fs::File::create(destination.join(format!("wide/{index}"))).unwrap();
        }
        (0..3000)
            .for_each(|index| drop(fs::File::create(destination.join(format!("extra{index}"))).unwrap()));
        let ran = sync_with(engine, &["--delete", "--json"], &source, &destination).exits(0);
        assert_eq!(ran.summary()["deleted"], 23_001);
        assert_equal(&source, &destination);
    }
}

fn other_file_systems_stay() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("file"), "x"));
        file(destination.join("gone/file"), "x");
        fs::create_dir_all(destination.join("gone/mnt")).unwrap();
        let mount = Mount::tmpfs_at(&destination.join("gone/mnt"), "1M");
        file(destination.join("gone/mnt/elsewhere"), "x");
        sync_with(engine, &["--delete", "-x"], &source, &destination).exits(0);
        assert!(destination.join("gone/mnt/elsewhere").exists() && !destination.join("gone/file").exists());
        drop(mount);
        sync_with(engine, &["--delete", "-x"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn symlinks_are_deleted_and_never_followed() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("dir/file"), "x"));
        let outside = home.path().join("outside");
        file(outside.join("precious"), "x");
        for name in ["to outside", "dir/to outside", "gone/to outside"] {
            fs::create_dir_all(destination.join(name).parent().unwrap()).unwrap();
            symlink(&outside, destination.join(name)).unwrap();
        }
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o750)).unwrap();
        sync_with(engine, &["--delete"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert!(outside.join("precious").exists());
    }
}

/// A copy that broke off, and is to be gone on with, is no extra entry.
fn what_runs_leave_for_the_next_one_stays() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("large"), vec![7; 40 << 20]);
    file(source.join("small"), "x");
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={}", 20 << 20)).arg(program()).args(["sync", "--partial"]);
    run({
        command.arg(&source).arg(&destination);
        command
    })
    .exits(23);
    let partial = || {
        let names = fs::read_dir(&destination).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".ringsync-partial-")).count()
    };
    assert_eq!(partial(), 1);
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={}", 20 << 20)).arg(program()).args(["sync", "--partial", "--delete"]);
    run({
        command.arg(&source).arg(&destination);
        command
    })
    .exits(23);
    assert_eq!(partial(), 1);
    sync_with("threads", &["--partial", "--delete"], &source, &destination).exits(0);
    assert_equal(&source, &destination);
}

fn a_single_file_deletes_nothing() {
    let home = scratch();
    let (source, destination) = (home.path().join("file"), home.path().join("dst"));
    file(&source, "x");
    file(destination.join("other"), "x");
    sync_with("threads", &["--delete"], &source, &destination).exits(0);
    assert!(destination.join("other").exists() && destination.join("file").exists());
}

/// Where a disk shows names in another case than they were written in, what was just copied is listed under no name of the
/// source.
fn names_that_are_listed_otherwise_are_not_deleted() {
    for &engine in ENGINES.iter() {
        let (home, fuse) = (scratch(), Fuse::new());
        fuse.fold_names();
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for name in ["README", "Dir/File", "dir2/plain"] {
            file(source.join(name), name);
        }
        let sync = || sync_with(engine, &["--delete", "--no-acls", "--no-xattrs"], &source, &destination);
        sync().exits(0);
        // As many names as there are to be.
        sync().exits(0);
        for name in ["dir2/extra", "dir/extra", "extra"] {
            file(destination.join(name), "x");
        }
        sync().exits(0);
        for name in ["readme", "dir/file", "dir2/plain"] {
            assert!(destination.join(name).exists(), "{name}");
        }
        for name in ["dir2/extra", "dir/extra", "extra"] {
            assert!(!destination.join(name).exists(), "{name}");
        }
        file(source.join("NEW"), "new");
        sync().exits(0);
        assert!(destination.join("new").exists());
    }
}

fn what_gives_way_goes_to_the_backups_on_tmpfs() {
    back_up_what_gives_way(Mount::new("tmpfs", "64M").path());
}

fn what_gives_way_goes_to_the_backups_on_ext4() {
    back_up_what_gives_way(Mount::new("ext4", "64M").path());
}

fn what_gives_way_goes_to_the_backups_on_xfs() {
    back_up_what_gives_way(Mount::new("xfs", "400M").path());
}

fn back_up_what_gives_way(place: &Path) {
    for &engine in ENGINES.iter() {
        let home = place.join(engine);
        fs::create_dir(&home).unwrap();
        let (source, destination) = mirror(&home, |source| {
            file(source.join("dir/file"), "a file");
            file(source.join("dir/large"), vec![7; 9 << 20]);
            symlink("target", source.join("dir/symlink")).unwrap();
            file(source.join("dir/link"), "of two names");
            fs::hard_link(source.join("dir/link"), source.join("other")).unwrap();
        });
        let mut old = snapshot(&destination);
        for name in ["file", "large", "symlink", "link"] {
            fs::remove_file(destination.join("dir").join(name)).unwrap();
            file(destination.join("dir").join(name).join("a/b/c"), name);
            mode(destination.join("dir").join(name).join("a"), 0o710);
            old = snapshot(&destination);
        }
        let told =
            sync_with(engine, &["--delete", "-n", "-v", "--backup-dir=../kept"], &source, &destination);
        assert_eq!(snapshot(&destination), old);
        let options = ["--delete", "-v", "--backup-dir=../kept", "--max-delete=16"];
        let done = sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(deleted(&told.exits(0)), deleted(&done));
        assert_eq!(deleted(&done).len(), 16, "{}", done.out);
        assert_equal(&source, &destination);
        let kept = snapshot(&home.join("kept"));
        for name in ["file", "large", "symlink", "link"] {
            for below in ["a", "a/b", "a/b/c"] {
                let path = Path::new("dir").join(name).join(below);
                let (has, had) = (kept.get(&path), old.get(&path));
                let but_time =
                    |node: Option<&Node>| node.map(|node| Node { modified: (0, 0), ..node.clone() });
                assert_eq!(but_time(has), but_time(had), "{}", path.display());
            }
        }
        assert_eq!(kept.values().filter(|node| node.kind != "directory").count(), 4);
    }
}

/// With `-b` alone backups would have to stay in the directory: as with rsync it stays, and here with all that is in it.
fn backups_beside_their_originals_keep_a_directory_in_the_way() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("name"), "new"));
        fs::remove_file(destination.join("name")).unwrap();
        file(destination.join("name/sub/file"), "old");
        let before = snapshot(&destination);
        let ran = sync_with(engine, &["--delete", "-b"], &source, &destination).exits(23);
        assert!(ran.err.contains("--backup-dir makes way"), "{}", ran.err);
        assert!(snapshot(&destination).keys().eq(before.keys()));
        sync_with(engine, &["--delete", "-b", "--backup-dir=../kept"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(fs::read(home.path().join("kept/name/sub/file")).unwrap(), b"old");
    }
}

/// A directory or a file, and also of the same file system.
fn what_is_mounted_in_a_directory_in_the_way_keeps_it() {
    for &engine in ENGINES.iter() {
        for options in [&["--delete"][..], &["--delete", "--backup-dir=../kept"], &["--delete", "-x"]] {
            let home = scratch();
            let (source, destination) = mirror(home.path(), |source| {
                file(source.join("name"), "new");
                file(source.join("other"), "new");
            });
            fs::remove_file(destination.join("name")).unwrap();
            for name in ["name/a", "name/mnt/hidden", "name/sub/b", "name/file"] {
                file(destination.join(name), name);
            }
            file(home.path().join("elsewhere/precious"), "x");
            let elsewhere = home.path().join("elsewhere");
            for (from, to) in [(&elsewhere, "name/mnt"), (&elsewhere.join("precious"), "name/file")] {
                let to = destination.join(to);
                tool("mount", &[Path::new("--bind"), from, &to]);
                let before: Vec<_> = snapshot(&destination).into_keys().collect();
                let ran = sync_with(engine, options, &source, &destination);
                let after: Vec<_> = snapshot(&destination).into_keys().collect();
                let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap();
                let is_there = mounted.contains(to.to_str().unwrap());
                tool("umount", &[Path::new("--lazy"), &to]);
                assert_eq!((&before, true), (&after, is_there), "{}", ran.err);
                assert!(ran.exits(23).err.contains("mounted there"));
                assert!(elsewhere.join("precious").exists() && !home.path().join("kept").exists());
            }
            sync_with(engine, options, &source, &destination).exits(0);
            assert_equal(&source, &destination);
        }
    }
}

fn a_directory_in_the_way_of_which_something_stays_is_put_back() {
    for &engine in ENGINES.iter() {
        let mount = Mount::new("ext4", "64M");
        let home = mount.path().join("home");
        fs::create_dir(&home).unwrap();
        let (source, destination) = mirror(&home, |source| file(source.join("dir/name"), "new"));
        fs::remove_file(destination.join("dir/name")).unwrap();
        for name in ["dir/name/held", "dir/name/goes", "dir/name/sub/goes"] {
            file(destination.join(name), name);
        }
        mode(destination.join("dir/name"), 0o711);
        let held = destination.join("dir/name/held");
        tool("chattr", &[Path::new("+i"), &held]);
        let ran = sync_with(engine, &["--delete", "--backup-dir=../kept"], &source, &destination);
        tool("chattr", &[Path::new("-i"), &held]);
        let ran = ran.exits(23);
        assert_eq!(fs::read(&held).unwrap(), b"dir/name/held", "{}", ran.err);
        assert_eq!(fs::metadata(destination.join("dir/name")).unwrap().mode() & 0o7777, 0o711);
        let names: Vec<_> = snapshot(&destination).into_keys().collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("ringsync")), "{names:?}");
        assert!(ran.err.contains("not all of the directory in its place could be removed"), "{}", ran.err);
        sync_with(engine, &["--delete", "--backup-dir=../kept"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        for name in ["dir/name/held", "dir/name/goes", "dir/name/sub/goes"] {
            assert_eq!(fs::read_to_string(home.join("kept").join(name)).unwrap(), name);
        }
    }
}

fn a_directory_in_the_way_that_can_not_be_backed_up_is_put_back() {
    for &engine in ENGINES.iter() {
        let (home, small) = (scratch(), Mount::new("tmpfs", "1M"));
        let (source, destination) = mirror(home.path(), |source| file(source.join("name"), "new"));
        fs::remove_file(destination.join("name")).unwrap();
        file(destination.join("name/large"), vec![7; 4 << 20]);
        let before = fs::read(destination.join("name/large")).unwrap();
        let option = format!("--backup-dir={}", small.path().join("kept").display());
        let ran = sync_with(engine, &["--delete", &option], &source, &destination);
        assert!(ran.err.contains("No space left"), "{}", ran.err);
        assert!(fs::read(destination.join("name/large")).unwrap() == before);
        assert_eq!(snapshot(&destination).len(), 3);
    }
}

fn directories_in_the_way_that_forbid_it_are_opened() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("dir/name"), "new");
            mode(source.join("dir"), 0o555);
        });
        mode(destination.join("dir"), 0o755);
        fs::remove_file(destination.join("dir/name")).unwrap();
        file(destination.join("dir/name/sub/file"), "old");
        for (name, bits) in [("dir/name/sub", 0o500), ("dir/name", 0o555), ("dir", 0o555)] {
            mode(destination.join(name), bits);
        }
        give_tree(home.path(), ALICE);
        mode(home.path(), 0o755);
        let words = ["sync", "--delete", "--backup-dir=../kept", "--engine", engine];
        as_alice(&words, &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(fs::metadata(destination.join("dir")).unwrap().mode() & 0o7777, 0o555);
        assert_eq!(fs::read(home.path().join("kept/dir/name/sub/file")).unwrap(), b"old");
    }
}

/// A directory of the same file system may be mounted as well.
fn with_one_file_system_no_mounted_directory_is_emptied() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        for tree in [&source, &destination] {
            file(tree.join("f"), "contents");
        }
        file(destination.join("extra/own"), "goes");
        let precious = home.path().join("precious");
        file(precious.join("d/f"), "stays");
        let point = destination.join("extra/point");
        fs::create_dir(&point).unwrap();
        tool("mount", &["--bind".as_ref(), precious.as_os_str(), point.as_os_str()]);
        let command = sync_with(engine, &["--delete", "-x"], &source, &destination);
        tool("umount", &[&point]);
        command.exits(0);
        assert_eq!(fs::read_to_string(precious.join("d/f")).unwrap(), "stays");
        assert!(!destination.join("extra/own").exists() && point.exists());
    }
}
