//! What was there before: backups of what is replaced or deleted, and hard links to an older mirror.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FileType;

use crate::support::changed::{changed_trees, mirror, unmoved};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{Node, file, mode, modified, node, noise, snapshot, sparse, xattr};
use crate::support::user::{ALICE, as_alice, give_tree};
use crate::support::{
    ENGINES, assert_equal, assert_no_litter, program, program_with, rsync, run, scratch, sync_with, tool,
};

tests![
    backups_are_those_of_rsync: [Need::Root, Need::Tool("rsync"), Need::Tool("setfacl")],
    backups_go_to_another_file_system: [Need::Root, Need::Tool("setfacl"), Need::FileSystem("ext4")],
    an_older_backup_makes_room,
    what_a_killed_run_left_among_backups_goes: [Need::Tool("strace")],
    a_backup_tree_inside_the_destination_stays,
    backups_in_the_source_are_refused,
    what_is_rewritten_in_place_is_copied_first,
    a_backup_that_can_not_be_made_keeps_the_old_file: [Need::Root],
    a_backup_is_as_private_as_its_original: [Need::Root],
    what_is_the_same_is_linked_as_rsync_does: [Need::Root, Need::Tool("rsync"), Need::Tool("setfacl")],
    the_first_tree_that_has_it_is_linked_to,
    names_apart_in_the_source_stay_apart,
    a_tree_to_link_to_that_is_not_there_is_told,
    where_links_can_not_be_a_copy_does: [Need::Root],
    linked_contents_are_compared_where_asked,
    a_later_change_leaves_the_older_mirror_alone,
    an_older_backup_of_another_type_makes_room,
    backups_from_read_only_directories: [Need::Root, Need::Tool("setpriv")],
    as_many_links_as_there_can_be: [Need::FileSystem("ext4")],
    a_kill_loses_no_version,
    a_backup_leaves_what_the_source_has_on_tmpfs: [Need::Root],
    a_backup_leaves_what_the_source_has_on_ext4: [Need::FileSystem("ext4")],
    a_backup_leaves_what_the_source_has_on_xfs: [Need::FileSystem("xfs")],
    a_backup_leaves_names_that_the_source_has_lost: [Need::Root, Need::Tool("strace")],
    a_backup_leaves_what_other_sources_have,
    what_gives_way_to_a_directory_is_backed_up,
    a_directory_in_the_way_of_a_backup_stays,
    a_directory_in_the_way_of_a_backup_elsewhere_stays: [Need::Root],
    an_older_backup_of_another_type_is_kept: [Need::Root],
    a_name_too_long_for_its_suffix_is_told,
    backups_where_the_source_has_something_are_refused,
    the_destination_lies_in_no_backup_tree,
];

fn copy(from: &Path, to: &Path) {
    tool("cp", &[Path::new("-a"), from, to]);
}

/// All but the times of directories that are not in the source, which tell when something was put there.
fn settled(tree: &Path, source: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = snapshot(tree);
    for (path, node) in &mut nodes {
        if node.kind == "directory" && !source.join(path).is_dir() || !tree.ends_with("dst") {
            node.modified = (0, 0);
        }
    }
    nodes
}

fn backups_are_those_of_rsync() {
    let lists: &[&[&str]] = &[
        &["-b"],
        &["-b", "--delete"],
        &["--backup", "--suffix=.old", "--delete"],
        &["--backup-dir=../kept"],
        &["--backup-dir=../kept", "--delete"],
        &["--backup-dir=../kept", "--suffix=.o~", "--delete"],
        &["--backup-dir=../kept/deep/er", "--delete", "-c"],
    ];
    for (index, options) in lists.iter().enumerate() {
        let home = scratch();
        let (source, destination) = changed_trees(home.path());
        fs::remove_dir_all(destination.join("f to full")).unwrap(); // rsync makes no way for it
        // Types that take each other's place are told apart by chance of order in rsync, and links by their leaders.
        let [ours, theirs] = ["ours", "theirs"].map(|name| {
            let place = home.path().join(name);
            fs::create_dir(&place).unwrap();
            copy(&destination, &place.join("dst"));
            place
        });
        let ran = sync_with(ENGINES[index % ENGINES.len()], options, &source, &ours.join("dst"));
        rsync(options, &source, &theirs.join("dst"));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let (has, wanted) = (settled(&ours, &source), settled(&theirs, &source));
        for (path, node) in wanted.iter().filter(|(path, _)| !is_of_a_group(path)) {
            assert_eq!(has.get(path).map(contents), Some(contents(node)), "{options:?}: {}", path.display());
        }
        // What somebody loses, and what becomes setuid, is made anew, and so has a backup.
        let is_anew = |path: &Path| {
            path.to_string_lossy().contains("owner") || path.to_string_lossy().contains("setuid")
        };
        for path in has.keys().filter(|path| !is_of_a_group(path) && !is_anew(path)) {
            assert!(wanted.contains_key(path), "{options:?}: {} is not there with rsync", path.display());
        }
        assert_no_litter(&ours);
    }
}

/// What a backup must have of its original; its time may be that of a directory.
fn contents(node: &Node) -> Node {
    Node { modified: (0, 0), links: None, ..node.clone() }
}

/// Whether it is a name of a file with several: which of them is replaced, and which is looked at first, is chance.
fn is_of_a_group(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        ["h ", "hl "].iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes()))
    })
}

fn backups_go_to_another_file_system() {
    for &engine in ENGINES.iter() {
        let (home, other) = (scratch(), Mount::new("ext4", "64M"));
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("dir/file"), "old");
            xattr(source.join("dir/file"), "user.kept", b"value");
            lchown(source.join("dir/file"), Some(1), Some(2)).unwrap();
            mode(source.join("dir/file"), 0o640);
            sparse(source.join("sparse"), 1 << 24, &[(1 << 20, b"data"), (1 << 23, b"more")]);
            file(source.join("large"), noise(1, 9 << 20));
            symlink("old target", source.join("symlink")).unwrap();
            node(source.join("fifo"), FileType::Fifo, (0, 0));
        });
        let before = snapshot(&destination);
        for name in ["dir/file", "sparse", "large"] {
            file(source.join(name), "new");
        }
        fs::remove_file(source.join("symlink")).unwrap();
        symlink("new target", source.join("symlink")).unwrap();
        fs::remove_file(source.join("fifo")).unwrap();
        let kept = other.path().join("kept");
        let option = format!("--backup-dir={}", kept.display());
        sync_with(engine, &[&option, "--delete"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        let after = snapshot(&kept);
        for name in ["dir/file", "sparse", "large", "symlink", "fifo"] {
            assert_eq!(after.get(Path::new(name)), before.get(Path::new(name)), "{name}");
        }
        assert!(fs::metadata(kept.join("sparse")).unwrap().blocks() * 512 < 1 << 20);
        assert_no_litter(&kept);
    }
}

fn an_older_backup_makes_room() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("file"), "one"));
        for contents in ["two!", "three", "four of"] {
            let before = fs::read(destination.join("file")).unwrap();
            file(source.join("file"), contents);
            sync_with(engine, &["-b", "--delete"], &source, &destination).exits(0);
            assert_eq!(fs::read(destination.join("file")).unwrap(), contents.as_bytes());
            assert_eq!(fs::read(destination.join("file~")).unwrap(), before);
        }
        // A run with nothing to do makes none, and does not delete those that are there.
        let ran = sync_with(engine, &["-b", "--delete", "--json"], &source, &destination).exits(0);
        assert_eq!((&ran.summary()["deleted"], &ran.summary()["updated"]), (&0.into(), &0.into()));
        assert_no_litter(&destination);
    }
}

fn a_backup_tree_inside_the_destination_stays() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("file"), "one"));
        for (round, contents) in ["two!", "three"].iter().enumerate() {
            file(source.join("file"), contents);
            file(destination.join("extra"), "x");
            let option = format!("--backup-dir=.old/{round}");
            sync_with(engine, &[&option, "--delete"], &source, &destination).exits(0);
            assert!(destination.join(".old").join(round.to_string()).join("file").exists());
            assert!(destination.join(".old").join(round.to_string()).join("extra").exists());
            assert!(!destination.join("extra").exists());
            // On the way to this one lies the older one.
            assert!(destination.join(".old/0/file").exists());
        }
    }
}

fn backups_in_the_source_are_refused() {
    let home = scratch();
    let (source, destination) = mirror(home.path(), |source| file(source.join("file"), "one"));
    for option in ["--backup-dir=../src", "--backup-dir=../src/old", "--suffix=a/b", "--suffix="] {
        file(source.join("file"), "changed");
        let ran = sync_with("threads", &["-b", option], &source, &destination).exits(3);
        assert!(ran.err.contains("back up "), "{}", ran.err);
        assert_eq!(fs::read(destination.join("file")).unwrap(), b"one");
    }
}

fn what_is_rewritten_in_place_is_copied_first() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) =
            mirror(home.path(), |source| file(source.join("file"), noise(1, 300_000)));
        let (before, inode) = (
            fs::read(destination.join("file")).unwrap(),
            fs::metadata(destination.join("file")).unwrap().ino(),
        );
        let mut changed = before.clone();
        changed[150_000] ^= 1;
        file(source.join("file"), &changed);
        sync_with(engine, &["--inplace", "-b"], &source, &destination).exits(0);
        assert_eq!(fs::metadata(destination.join("file")).unwrap().ino(), inode, "in place");
        assert_eq!(fs::read(destination.join("file")).unwrap(), changed);
        assert_eq!(fs::read(destination.join("file~")).unwrap(), before);
    }
}

fn a_backup_that_can_not_be_made_keeps_the_old_file() {
    for &engine in ENGINES.iter() {
        let (home, small) = (scratch(), Mount::new("tmpfs", "1M"));
        let (source, destination) =
            mirror(home.path(), |source| file(source.join("file"), noise(1, 4 << 20)));
        let before = fs::read(destination.join("file")).unwrap();
        file(source.join("file"), "new");
        let option = format!("--backup-dir={}", small.path().join("kept").display());
        let ran = sync_with(engine, &[&option], &source, &destination).exits(11);
        assert!(ran.err.contains("back up ") && ran.err.contains("No space left"), "{}", ran.err);
        assert!(fs::read(destination.join("file")).unwrap() == before);
        assert_no_litter(&destination);
    }
}

fn a_backup_is_as_private_as_its_original() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("private/deep/file"), "old");
            mode(source.join("private"), 0o700);
            lchown(source.join("private"), Some(7), Some(8)).unwrap();
        });
        file(source.join("private/deep/file"), "newer");
        sync_with(engine, &["--backup-dir=../kept"], &source, &destination).exits(0);
        let metadata = fs::metadata(home.path().join("kept/private")).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o700, 7, 8));
    }
}

fn what_is_the_same_is_linked_as_rsync_does() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, older) = changed_trees(home.path());
        let [ours, theirs] = ["ours", "theirs"].map(|name| home.path().join(name));
        let ran = sync_with(engine, &["-c", "--link-dest=../dst", "--json"], &source, &ours).exits(0);
        rsync(&["-c", "--link-dest=../dst"], &source, &theirs);
        assert_equal(&source, &ours);
        let mut linked = 0;
        for path in
            snapshot(&source).into_iter().filter(|(_, node)| node.kind != "directory").map(|(path, _)| path)
        {
            let inode = |tree: &Path| {
                fs::symlink_metadata(tree.join(&path)).ok().map(|found| (found.dev(), found.ino()))
            };
            let (of_ours, of_theirs) = (inode(&ours) == inode(&older), inode(&theirs) == inode(&older));
            if !is_of_a_group(&path) {
                assert_eq!(of_ours, of_theirs, "{}", path.display());
            }
            linked += u64::from(of_ours);
        }
        assert!(linked > 5, "{linked}");
        assert!(ran.summary()["linked"].as_u64().unwrap() >= linked);
        let again = sync_with(engine, &["--link-dest=../dst", "--json"], &source, &ours).exits(0);
        assert_eq!(again.summary()["unchanged"], again.summary()["found"]);
    }
}

fn the_first_tree_that_has_it_is_linked_to() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, one) = mirror(home.path(), |source| {
            for name in ["both", "one", "two", "neither"] {
                file(source.join("dir").join(name), name);
            }
        });
        let two = home.path().join("two");
        copy(&one, &two);
        for gone in
            [one.join("dir/two"), one.join("dir/neither"), two.join("dir/one"), two.join("dir/neither")]
        {
            fs::remove_file(gone).unwrap();
        }
        let destination = home.path().join("new");
        let absolute = format!("--link-dest={}", two.display());
        sync_with(engine, &["--link-dest=../dst", &absolute], &source, &destination).exits(0);
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(destination.join("dir/both")), inode(one.join("dir/both")));
        assert_eq!(inode(destination.join("dir/one")), inode(one.join("dir/one")));
        assert_eq!(inode(destination.join("dir/two")), inode(two.join("dir/two")));
        assert_eq!(fs::metadata(destination.join("dir/neither")).unwrap().nlink(), 1);
        assert_equal(&source, &destination);
    }
}

fn names_apart_in_the_source_stay_apart() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, older) = mirror(home.path(), |source| {
            file(source.join("a"), "same");
            file(source.join("b"), "same");
        });
        fs::remove_file(older.join("b")).unwrap();
        fs::hard_link(older.join("a"), older.join("b")).unwrap();
        let destination = home.path().join("new");
        sync_with(engine, &["--link-dest=../dst"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn a_tree_to_link_to_that_is_not_there_is_told() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    for options in [&["--link-dest=../none", "-n"][..], &["--link-dest=../none"]] {
        let ran = sync_with("threads", options, &source, &destination).exits(0);
        assert!(
            ran.err.contains("--link-dest ../none does not exist, seen from DST: nothing"),
            "{}",
            ran.err
        );
    }
    let quiet = sync_with("threads", &["--link-dest=../none", "-q"], &source, &destination).exits(0);
    assert_eq!(quiet.err, "");
    let ran = sync_with("threads", &["--link-dest=../src/file"], &source, &destination).exits(3);
    assert!(ran.err.contains("use --link-dest "), "{}", ran.err);
}

fn where_links_can_not_be_a_copy_does() {
    for &engine in ENGINES.iter() {
        let (home, other) = (scratch(), Mount::new("tmpfs", "8M"));
        let (source, _) = mirror(home.path(), |source| file(source.join("dir/file"), "x"));
        let older = other.path().join("older");
        copy(&source, &older);
        let destination = home.path().join("new");
        let option = format!("--link-dest={}", older.display());
        sync_with(engine, &[&option], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(fs::metadata(destination.join("dir/file")).unwrap().nlink(), 1);
    }
}

fn linked_contents_are_compared_where_asked() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, older) = mirror(home.path(), |source| {
            file(source.join("same"), "same contents");
            file(source.join("other"), "one contents");
        });
        file(older.join("other"), "two contents");
        unmoved(older.join("other"));
        modified(&older, 1_500_000_000, 123);
        let destination = home.path().join("new");
        sync_with(engine, &["-c", "--link-dest=../dst"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(destination.join("same")), inode(older.join("same")));
        assert_ne!(inode(destination.join("other")), inode(older.join("other")));
    }
}

/// Linked files are the older mirror's, too: what changes later is made anew.
fn a_later_change_leaves_the_older_mirror_alone() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, older) = mirror(home.path(), |source| {
            for name in ["contents", "mode", "time", "xattr"] {
                file(source.join(name), name);
            }
        });
        let before = snapshot(&older);
        let destination = home.path().join("new");
        sync_with(engine, &["--link-dest=../dst"], &source, &destination).exits(0);
        file(source.join("contents"), "changed");
        mode(source.join("mode"), 0o600);
        modified(source.join("time"), 1, 1);
        xattr(source.join("xattr"), "user.new", b"x");
        let mut command = Command::new(program());
        command.args(["sync", "--inplace", "--engine", engine]).arg(&source).arg(&destination);
        run(command).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(snapshot(&older), before);
    }
}

/// Killed while an older backup was about to be replaced. The next run gives that name to nothing; its way among the
/// backups leads through the directory, or ends there.
fn what_a_killed_run_left_among_backups_goes() {
    for (&engine, ends_there) in ENGINES.iter().flat_map(|engine| [(engine, false), (engine, true)]) {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("dir/sub/file"), "x"));
        let kept = home.path().join("kept/dir");
        file(kept.join("name"), "an older backup");
        file(destination.join("dir/name"), "extra");
        let options = ["--delete", "--backup-dir=../kept", "--engine", engine];
        let mut command = program_with(&["inject=rename,renameat,renameat2:signal=KILL:when=1"]);
        command.arg("sync").args(options).arg(&source).arg(&destination);
        assert_eq!(run(command).code, None, "killed");
        let left = || {
            let names = fs::read_dir(&kept).unwrap().map(|name| name.unwrap().file_name());
            names.filter(|name| name != "name").collect::<Vec<_>>()
        };
        assert_eq!(left().len(), 1);
        fs::remove_file(destination.join("dir/name")).unwrap();
        file(destination.join(if ends_there { "dir/more" } else { "dir/sub/more" }), "another one");
        sync_with(engine, &options[..2], &source, &destination).exits(0);
        assert_eq!(left(), [if ends_there { "more" } else { "sub" }]);
        assert_eq!(fs::read(kept.join("name")).unwrap(), b"an older backup");
    }
}

fn an_older_backup_of_another_type_makes_room() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("name/file"), "one"));
        file(home.path().join("kept/name"), "a file where a directory is to be");
        file(source.join("name/file"), "changed");
        sync_with(engine, &["--backup-dir=../kept"], &source, &destination).exits(0);
        assert_eq!(fs::read(home.path().join("kept/name/file")).unwrap(), b"one");
    }
}

fn backups_from_read_only_directories() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("dir/file"), "x");
            mode(source.join("dir"), 0o555);
        });
        for name in ["one", "two"] {
            file(destination.join("dir").join(name), name);
        }
        mode(home.path(), 0o777);
        give_tree(&source, ALICE);
        give_tree(&destination, ALICE);
        let words = ["sync", "--delete", "--backup-dir=../kept", "--engine", engine];
        as_alice(&words, &source, &destination).exits(0);
        for name in ["one", "two"] {
            assert_eq!(fs::read(home.path().join("kept/dir").join(name)).unwrap(), name.as_bytes());
        }
        assert_equal(&source, &destination);
    }
}

/// ext4 has 65,000 names for one inode.
fn as_many_links_as_there_can_be() {
    let mount = Mount::new("ext4", "64M");
    let home = mount.path().join("home");
    fs::create_dir(&home).unwrap();
    let (source, older) = mirror(&home, |source| file(source.join("dir/file"), "x"));
    let many = home.join("many");
    fs::create_dir(&many).unwrap();
    let mut names = 0;
    while fs::hard_link(older.join("dir/file"), many.join(names.to_string())).is_ok() {
        names += 1;
    }
    assert!(names > 60_000);
    for &engine in ENGINES.iter() {
        let destination = home.join(engine);
        sync_with(engine, &["--link-dest=../dst"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(fs::metadata(destination.join("dir/file")).unwrap().nlink(), 1);
    }
}

/// Killed while it replaces, deletes and backs up: each old version is in its place or in the backups.
fn a_kill_loses_no_version() {
    for turn in 0..30 {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            (0..60).for_each(|index| {
                file(source.join(format!("d{}/f{index}", index % 6)), format!("old {index}"))
            });
        });
        for index in 0..60 {
            let name = format!("d{}/f{index}", index % 6);
            match index % 3 {
                0 => fs::remove_file(source.join(name)).unwrap(),
                _ => file(source.join(name), format!("newer {index}")),
            }
        }
        let mut command = Command::new(program());
        command.args(["sync", "-q", "--delete", "--backup-dir=../kept"]).args([&source, &destination]);
        command.args(["--engine", ENGINES[turn % ENGINES.len()]]);
        let mut child = command.spawn().unwrap();
        // Later each time, by what it has done.
        let enough = || fs::read_dir(home.path().join("kept/d1")).map_or(0, Iterator::count) >= turn / 3;
        while child.try_wait().unwrap().is_none() && !enough() {}
        child.kill().unwrap();
        child.wait().unwrap();
        let has = |tree: &Path, name: &str, index: usize| {
            fs::read(tree.join(name)).is_ok_and(|bytes| bytes == format!("old {index}").as_bytes())
        };
        for index in 0..60 {
            let name = format!("d{}/f{index}", index % 6);
            let kept = has(&destination, &name, index) || has(&home.path().join("kept"), &name, index);
            assert!(kept, "{name} after kill {turn}");
        }
        sync_with("auto", &["--delete", "--backup-dir=../kept"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_no_litter(&destination);
    }
}

/// The names in a directory that begin with `start`, and what is in the files.
fn versions(directory: &Path, start: &str) -> BTreeMap<String, String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let named = names.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_else(|_| "no file".into());
    named.filter(|(name, _)| name.starts_with(start)).map(|(name, path)| (name, read(path))).collect()
}

fn expected<const N: usize>(versions: [(&str, &str); N]) -> BTreeMap<String, String> {
    versions.map(|(name, contents)| (name.into(), contents.into())).into()
}

fn a_backup_leaves_what_the_source_has_on_tmpfs() {
    keep_all_that_the_source_has(Mount::new("tmpfs", "64M").path());
}

fn a_backup_leaves_what_the_source_has_on_ext4() {
    keep_all_that_the_source_has(Mount::new("ext4", "64M").path());
}

fn a_backup_leaves_what_the_source_has_on_xfs() {
    keep_all_that_the_source_has(Mount::new("xfs", "400M").path());
}

/// What the source has under the name of a backup, whatever it is, whenever its turn comes, and also where rules leave it
/// out, is no place for a backup.
fn keep_all_that_the_source_has(place: &Path) {
    let lists: &[&[&str]] = &[&["-b"], &["-b", "--inplace"], &["-b", "--delete"], &["-b", "--exclude=*~"]];
    for (index, options) in lists.iter().enumerate() {
        for &engine in ENGINES.iter() {
            let home = place.join(format!("{index}{engine}"));
            fs::create_dir(&home).unwrap();
            keep_what_the_source_has(&home, engine, options);
        }
    }
}

fn keep_what_the_source_has(home: &Path, engine: &str, options: &[&str]) {
    let (source, destination) = mirror(home, |source| {
        for index in 0..40 {
            file(source.join(format!("f{index}")), format!("old {index}"));
            file(source.join(format!("f{index}~")), format!("mine {index}"));
        }
        file(source.join("link"), "old");
        fs::hard_link(source.join("link"), source.join("link~")).unwrap();
        file(source.join("directory"), "old");
        file(source.join("directory~/below"), "mine");
        file(source.join("symlink"), "old");
        symlink("mine", source.join("symlink~")).unwrap();
    });
    for index in 0..40 {
        file(source.join(format!("f{index}")), format!("newer {index}"));
    }
    for name in ["link", "directory", "symlink"] {
        fs::remove_file(source.join(name)).unwrap();
        file(source.join(name), "newer");
    }
    let sums = home.join("sums");
    let manifest = format!("--manifest={}", sums.display());
    let all = [options, &["--verify", &manifest]].concat();
    sync_with(engine, &all, &source, &destination).exits(0);
    for index in 0..40 {
        let (old, mine, new) = (format!("old {index}"), format!("mine {index}"), format!("newer {index}"));
        let name = format!("f{index}");
        let found: Vec<_> = versions(&destination, &name).into_iter().collect();
        let own: Vec<_> = found
            .into_iter()
            .filter(|(found, _)| !found[name.len()..].starts_with(char::is_numeric))
            .collect();
        let wanted = [(name.clone(), new), (format!("{name}.~1~"), old), (format!("{name}~"), mine)];
        assert_eq!(own, wanted, "{options:?}");
    }
    assert_eq!(fs::read(destination.join("link~")).unwrap(), b"old");
    assert_eq!(fs::read(destination.join("directory~/below")).unwrap(), b"mine");
    assert_eq!(fs::read_link(destination.join("symlink~")).unwrap(), Path::new("mine"));
    for name in ["link", "directory", "symlink"] {
        assert_eq!(fs::read(destination.join(format!("{name}.~1~"))).unwrap(), b"old", "{name}");
    }
    // The manifest tells what the source has.
    let mut verify = Command::new(program());
    verify.arg("verify").arg(&sums).arg(&source);
    run(verify).exits(0);
    // What has a number is a backup too, and the next one gets the next number.
    file(source.join("f0"), "newest of all");
    sync_with(engine, options, &source, &destination).exits(0);
    let all =
        expected([("f0", "newest of all"), ("f0.~1~", "old 0"), ("f0.~2~", "newer 0"), ("f0~", "mine 0")]);
    assert_eq!(versions(&destination, "f0"), all, "{options:?}");
    assert_no_litter(&destination);
}

/// The source loses a name after it has been mirrored: this run has written it.
fn a_backup_leaves_names_that_the_source_has_lost() {
    for &engine in ENGINES.iter() {
        // A tmpfs lists first what was made last.
        let home = Mount::new("tmpfs", "8M");
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("f"), "old");
            file(source.join("f~"), "to come");
        });
        file(source.join("f"), "newer, and longer");
        file(source.join("f~"), "mine, and written by this run");
        // The one task is held up where it makes the second of the two; meanwhile the first one's source goes.
        let mut command = program_with(&["inject=renameat,renameat2,linkat:delay_enter=400000"]);
        command.args(["sync", "-b", "-q", "-j1", "--depth=1", "--engine", engine]);
        let mut child = command.arg(&source).arg(&destination).spawn().unwrap();
        let mine = || fs::read(destination.join("f~")).is_ok_and(|bytes| bytes.starts_with(b"mine"));
        let new = || fs::read(destination.join("f")).is_ok_and(|bytes| bytes.starts_with(b"newer"));
        while child.try_wait().unwrap().is_none() && !mine() && !new() {}
        let lost = mine() && !new();
        if lost {
            fs::remove_file(source.join("f~")).unwrap();
        }
        assert!(child.wait().unwrap().success());
        assert!(lost, "the first of the two is mirrored first");
        let found = versions(&destination, "f");
        assert_eq!(found.get("f~").map(String::as_str), Some("mine, and written by this run"), "{found:?}");
        assert_eq!(found.get("f.~1~").map(String::as_str), Some("old"), "{found:?}");
    }
}

/// In the directory to copy into, the sources' names are those that the user gave.
fn a_backup_leaves_what_other_sources_have() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let at = |name: &str| home.path().join(name);
        for (name, contents) in [("x/f", "newer"), ("y/f~", "mine"), ("x/g", "newer"), ("x/g~", "not copied")]
        {
            file(at(name), contents);
        }
        for (name, contents) in [("into/f", "old f"), ("into/f~", "older"), ("into/g", "old g")] {
            file(at(name), contents);
        }
        file(at("x/tree/h"), "newer");
        file(at("x/tree/h~"), "mine");
        file(at("into/tree/h"), "old h");
        let mut command = Command::new(program());
        command.args(["copy", "-b", "--engine", engine]);
        run({
            command.args(["x/f", "y/f~", "x/g", "x/tree"].map(at)).arg(at("into"));
            command
        })
        .exits(0);
        let wanted = [("f", "newer"), ("f.~1~", "old f"), ("f~", "mine"), ("f~~", "older")];
        assert_eq!(versions(&at("into"), "f"), expected(wanted));
        assert_eq!(versions(&at("into"), "g"), expected([("g", "newer"), ("g~", "old g")]));
        let wanted = [("h", "newer"), ("h.~1~", "old h"), ("h~", "mine")];
        assert_eq!(versions(&at("into/tree"), "h"), expected(wanted));
    }
}

/// Also where its name is that of a backup.
fn what_gives_way_to_a_directory_is_backed_up() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            file(source.join("f~"), "one");
            file(source.join("g"), "two");
        });
        for name in ["f~", "g"] {
            fs::remove_file(source.join(name)).unwrap();
            file(source.join(name).join("below"), "new");
        }
        sync_with(engine, &["-b", "--delete"], &source, &destination).exits(0);
        assert_eq!(fs::read(destination.join("f~~")).unwrap(), b"one");
        assert_eq!(fs::read(destination.join("g~")).unwrap(), b"two");
        assert_eq!(fs::read(destination.join("f~/below")).unwrap(), b"new");
        assert_no_litter(&destination);
    }
}

fn a_directory_in_the_way_of_a_backup_stays() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| file(source.join("sub/f"), "one"));
        for (round, contents) in ["second", "the third"].iter().enumerate() {
            file(destination.join("sub/f~/below"), "stays");
            file(source.join("sub/f"), contents);
            sync_with(engine, &["-b"], &source, &destination).exits(0);
            assert_eq!(fs::read(destination.join("sub/f~/below")).unwrap(), b"stays");
            let number = destination.join(format!("sub/f.~{}~", round + 1));
            assert_eq!(fs::read(number).unwrap(), ["one", "second"][round].as_bytes());
        }
        back_up_to_where_directories_are(engine, &source, &destination, &home.path().join("kept"));
    }
}

fn a_directory_in_the_way_of_a_backup_elsewhere_stays() {
    for &engine in ENGINES.iter() {
        let (home, other) = (scratch(), Mount::new("tmpfs", "8M"));
        let (source, destination) = mirror(home.path(), |source| file(source.join("sub/f"), "one"));
        back_up_to_where_directories_are(engine, &source, &destination, &other.path().join("kept"));
    }
}

/// What is replaced and what is deleted would have the names of directories in the tree of backups.
fn back_up_to_where_directories_are(engine: &str, source: &Path, destination: &Path, tree: &Path) {
    file(tree.join("sub/f/below"), "stays");
    file(tree.join("gone/below"), "stays");
    file(destination.join("gone"), "extra");
    let before = fs::read(destination.join("sub/f")).unwrap();
    file(source.join("sub/f"), "more and more");
    let option = format!("--backup-dir={}", tree.display());
    sync_with(engine, &[&option, "--delete", "--filter=P *~"], source, destination).exits(0);
    assert_eq!(fs::read(tree.join("sub/f/below")).unwrap(), b"stays");
    assert_eq!(fs::read(tree.join("sub/f.~1~")).unwrap(), before);
    assert_eq!(fs::read(tree.join("gone.~1~")).unwrap(), b"extra");
    assert_no_litter(tree);
}

/// Where a directory of the backup tree has to be.
fn an_older_backup_of_another_type_is_kept() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = mirror(home.path(), |source| {
            for name in ["a", "b", "c", "deep/er"] {
                (0..20).for_each(|index| file(source.join(name).join(format!("f{index}")), "one"));
            }
        });
        let kept = home.path().join("kept");
        file(kept.join("a"), "an older backup");
        symlink("../outside", kept.join("b")).unwrap();
        node(kept.join("c"), FileType::Fifo, (0, 0));
        file(kept.join("deep"), "another one");
        file(kept.join("deep.~1~"), "and one that has the number");
        file(home.path().join("outside/kept"), "is not touched");
        for name in ["a", "b", "c", "deep/er"] {
            (0..20).for_each(|index| file(source.join(name).join(format!("f{index}")), "changed"));
        }
        sync_with(engine, &["--backup-dir=../kept"], &source, &destination).exits(0);
        for name in ["a", "b", "c", "deep/er"] {
            for index in 0..20 {
                assert_eq!(fs::read(kept.join(name).join(format!("f{index}"))).unwrap(), b"one");
            }
        }
        assert_eq!(fs::read(kept.join("a.~1~")).unwrap(), b"an older backup");
        assert_eq!(fs::read_link(kept.join("b.~1~")).unwrap(), Path::new("../outside"));
        assert_eq!(snapshot(&kept).get(Path::new("c.~1~")).unwrap().kind, "fifo");
        assert_eq!(fs::read(kept.join("deep.~2~")).unwrap(), b"another one");
        assert_eq!(fs::read(kept.join("deep.~1~")).unwrap(), b"and one that has the number");
        assert_eq!(fs::read_dir(home.path().join("outside")).unwrap().count(), 1);
    }
}

fn a_name_too_long_for_its_suffix_is_told() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let name = "n".repeat(255);
        let (source, destination) = mirror(home.path(), |source| file(source.join(&name), "one"));
        file(source.join(&name), "newer");
        let ran = sync_with(engine, &["-b"], &source, &destination).exits(23);
        assert!(ran.err.contains("back up ") && ran.err.contains("--backup-dir"), "{}", ran.err);
        assert_eq!(fs::read(destination.join(&name)).unwrap(), b"one");
        sync_with(engine, &["--backup-dir=../kept"], &source, &destination).exits(0);
        assert_eq!(fs::read(home.path().join("kept").join(&name)).unwrap(), b"one");
        assert_eq!(fs::read(destination.join(&name)).unwrap(), b"newer");
    }
}

/// A tree for backups in DST at whose path SRC has something, whatever that is and whether or not DST has it.
fn backups_where_the_source_has_something_are_refused() {
    let home = scratch();
    let (source, destination) = mirror(home.path(), |source| {
        file(source.join("f"), "one");
        file(source.join("kept/sub/f"), "one");
        file(source.join("file"), "one");
    });
    symlink("kept", destination.join("by symlink")).unwrap();
    file(source.join("new/f"), "is not in DST yet");
    file(source.join("f"), "changed");
    let absolute = destination.join("kept").display().to_string();
    for directory in [
        "kept",
        "kept/sub",
        "./kept/",
        "kept/../kept",
        "../dst/kept/sub",
        "by symlink",
        "new",
        "file",
        &absolute,
    ] {
        let option = format!("--backup-dir={directory}");
        for more in ["--delete", "-n", "-q"] {
            let ran = sync_with("auto", &[&option, more], &source, &destination).exits(3);
            assert!(ran.err.contains("back up ") && ran.err.contains("SRC has "), "{}", ran.err);
        }
        assert_eq!(fs::read(destination.join("f")).unwrap(), b"one");
        assert!(!destination.join("new").exists());
    }
    // DST does not exist yet, and is not made.
    for directory in ["kept", "../other/kept"] {
        let option = format!("--backup-dir={directory}");
        sync_with("auto", &[&option], &source, &home.path().join("other")).exits(3);
        assert!(!home.path().join("other").exists());
    }
    // Beside what SRC has there is room.
    sync_with("auto", &["--backup-dir=kept/of mine", "--delete"], &source, &destination).exits(0);
    assert_eq!(fs::read(destination.join("kept/of mine/f")).unwrap(), b"one");
    // Several sources, and one file.
    for directory in ["src", "src/kept"] {
        let mut command = Command::new(program());
        command
            .arg("copy")
            .arg(format!("--backup-dir={directory}"))
            .arg(&source)
            .arg(home.path().join("into"));
        fs::create_dir_all(home.path().join("into")).unwrap();
        let ran = run(command).exits(3);
        assert!(ran.err.contains("SRC has "), "{}", ran.err);
        assert_eq!(fs::read_dir(home.path().join("into")).unwrap().count(), 0);
    }
    sync_with("auto", &["--backup-dir=f"], &source.join("f"), &home.path().join("into")).exits(3);
}

/// The path of a backup could lead into it.
fn the_destination_lies_in_no_backup_tree() {
    let home = scratch();
    let (source, destination) = mirror(home.path(), |source| {
        file(source.join("dst/f"), "one");
        file(source.join("f"), "of the mirror");
    });
    file(source.join("dst/f"), "changed");
    let ran = sync_with("auto", &["--backup-dir=.."], &source, &destination).exits(3);
    assert!(ran.err.contains("DST lies inside it") || ran.err.contains("SRC lies inside it"), "{}", ran.err);
    let outside = home.path().join("place/dst");
    sync_with("auto", &["--mkpath"], &source, &outside).exits(0);
    file(source.join("dst/f"), "changed once more");
    let ran = sync_with("auto", &["--backup-dir=.."], &source, &outside).exits(3);
    assert!(ran.err.contains("DST lies inside it"), "{}", ran.err);
    assert_eq!(fs::read(outside.join("f")).unwrap(), b"of the mirror");
}
