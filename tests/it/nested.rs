//! A destination below the source: refused, but where a rule or `-x` keeps the run out of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, snapshot};
use crate::support::{ENGINES, Ran, program, run, scratch, sync_with, tool};

tests![
    the_root_is_mirrored_to_a_disk_below_it: [Need::Root, Need::Tool("unshare")],
    a_disk_below_the_source_takes_its_mirror: [Need::Root],
    a_rule_keeps_a_directory_out,
    what_may_be_reached_is_refused,
    other_ways_to_the_destination_are_seen: [Need::Root],
    backups_and_manifests_may_lie_there_too: [Need::Root],
];

#[track_caller]
fn refused(engine: &str, options: &[&str], source: &Path, destination: &Path) -> Ran {
    let before = snapshot(source);
    let ran = sync_with(engine, options, source, destination).exits(3);
    assert!(
        ran.err
            .contains("DST lies inside SRC, and would be copied into itself. Leave it out with --exclude, "),
        "{options:?}: {}",
        ran.err
    );
    // A DST that does not exist yet is named all the same, and not the directory above it.
    let named = format!("use destination {}: ", destination.display());
    assert!(ran.err.contains(&named), "{options:?}: {}", ran.err);
    assert_eq!(snapshot(source), before, "{options:?}");
    ran
}

/// The command of docs/filters.md, in a root of its own.
fn the_root_is_mirrored_to_a_disk_below_it() {
    let line = include_str!("../../docs/filters.md").lines().find(|line| line.contains(" -x / "));
    let line = line.expect("an example").split(" # ").next().unwrap_or_default().trim_end();
    assert_eq!(line.split_whitespace().next_back(), Some("/mnt/backup/root"), "{line}");
    let root = Mount::new("tmpfs", "200M");
    for name in ["proc", "usr", "lib", "lib64", "mnt/backup", "srv"] {
        fs::create_dir_all(root.path().join(name)).unwrap();
    }
    file(root.path().join("srv/file"), "x");
    fs::copy(program(), root.path().join("ringsync")).unwrap();
    fs::File::create(root.path().join("srv/large")).unwrap().set_len(101 << 20).unwrap();
    let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let script = format!(
        "for name in usr lib lib64; do [ ! -d /$name ] || mount --rbind /$name {0}/$name; done
        mount -t proc proc {0}/proc; mount -t tmpfs disk {0}/mnt/backup
        mkdir {0}/mnt/backup/other {0}/mnt/backup/root; echo keep > {0}/mnt/backup/other/file
        chroot {0} /{line} && chroot {0} /{line} --delete -i && chroot {0} /{line} --delete
        code=$?; find {0}/mnt/backup | sort; exit $code",
        at("")
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", &script]);
    let ran = run(command).exits(0);
    for path in ["root/srv", "root/srv/file", "root/usr", "root/mnt/backup", "other/file"] {
        assert!(
            ran.out.lines().any(|line| line.ends_with(&format!("/mnt/backup/{path}"))),
            "{path}: {}",
            ran.out
        );
    }
    let within = ["root/srv/large", "root/usr/", "root/proc/", "root/mnt/backup/", "*deleting"];
    assert!(!within.iter().any(|path| ran.out.contains(path)), "{}", ran.out);
}

/// A tree with a disk mounted in it, and files on both.
struct Nested {
    _disk: Mount,
    source: std::path::PathBuf,
    _home: tempfile::TempDir,
}

impl Nested {
    fn new() -> Self {
        let home = scratch();
        let source = home.path().join("src");
        file(source.join("dir/file"), "x");
        fs::create_dir(source.join("disk")).unwrap();
        let disk = Mount::tmpfs_at(&source.join("disk"), "10M");
        file(disk.path().join("other/file"), "keep");
        Nested { _disk: disk, source, _home: home }
    }
}

fn a_disk_below_the_source_takes_its_mirror() {
    for &engine in ENGINES.iter() {
        for options in
            [&["-x"][..], &["--exclude=/disk/"], &["--exclude=/disk/mirror"], &["--exclude=/disk/*"]]
        {
            let nested = Nested::new();
            let (source, disk) = (&nested.source, nested.source.join("disk"));
            let mirror = disk.join("mirror");
            refused(engine, &[], source, &mirror);
            for _ in 0..2 {
                sync_with(engine, options, source, &mirror).exits(0);
                assert_eq!(fs::read(mirror.join("dir/file")).unwrap(), b"x", "{options:?}");
                assert!(!mirror.join("disk/mirror").exists(), "{options:?}");
            }
            file(mirror.join("extra"), "x");
            let ran = sync_with(engine, &[options, &["--delete", "-v"]].concat(), source, &mirror).exits(0);
            let deleted: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("deleted")).collect();
            assert_eq!(deleted, ["deleted   extra"], "{options:?}");
            assert_eq!(fs::read(disk.join("other/file")).unwrap(), b"keep");
            sync_with(engine, &[options, &["--json"]].concat(), source, &mirror).exits(0);
        }
        // The disk's own root.
        let nested = Nested::new();
        let (source, disk) = (&nested.source, nested.source.join("disk"));
        refused(engine, &[], source, &disk);
        sync_with(engine, &["-x"], source, &disk).exits(0);
        assert!(disk.join("dir/file").exists() && disk.join("other/file").exists());
        assert_eq!(
            fs::read_dir(disk.join("disk")).unwrap().count(),
            0,
            "an empty directory stands for the disk"
        );
        sync_with(engine, &["-x", "--delete"], source, &disk).exits(0);
        assert!(disk.join("dir/file").exists() && !disk.join("other").exists());
    }
}

fn a_rule_keeps_a_directory_out() {
    for &engine in ENGINES.iter() {
        for (options, name) in [
            (&["--exclude=/backup/"][..], "backup/new"),
            (&["--exclude=backup"], "backup"),
            (&["--exclude=/backup/**"], "backup/new"),
            (&["--include=*.c", "--exclude=/b*"], "backup/new/er"),
            (&["--exclude=/backup/", "-F"], "backup/new"),
            (&["--filter=H /backup/"], "backup/new"),
        ] {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), home.path().join("src").join(name));
            file(source.join("dir/file"), "x");
            file(source.join("backup/other"), "keep");
            let options = [options, &["--mkpath"]].concat();
            for _ in 0..2 {
                sync_with(engine, &options, &source, &destination).exits(0);
                assert!(destination.join("dir/file").exists() && !destination.join(name).exists());
            }
            assert_eq!(fs::read(source.join("backup/other")).unwrap(), b"keep");
        }
    }
}

fn what_may_be_reached_is_refused() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        file(source.join("dir/file"), "x");
        file(source.join("backup/.rules"), "+ new\n");
        file(home.path().join("list"), "backup\n");
        let list = format!("--files-from={}", home.path().join("list").display());
        for options in [
            &[][..],
            &["-x"],
            &["--exclude=/back"],
            &["--exclude=backup/other"],
            &["--include=/backup/", "--exclude=/backup/"],
            &["--exclude=/backup/new/*"],
            &["--filter=: .rules", "--exclude=/backup/"],
            &["--filter=P /backup/"],
            &["--filter=-s /other", "--filter=-r /backup"],
            &["--exclude=/backup/", "-r", &list],
            &["--gitignore"],
        ] {
            refused(engine, options, &source, &source.join("backup/new"));
        }
        // And the other way round.
        let ran = sync_with(engine, &["-x", "--exclude=*"], &source.join("dir"), &source).exits(3);
        assert!(ran.err.contains("SRC lies inside DST"), "{}", ran.err);
        let ran = sync_with(engine, &["-x", "--exclude=*"], &source, &source).exits(3);
        assert!(ran.err.contains("the same directory"), "{}", ran.err);
    }
}

fn other_ways_to_the_destination_are_seen() {
    for &engine in ENGINES.iter() {
        let nested = Nested::new();
        let (source, mirror) = (&nested.source, nested.source.join("disk/mirror"));
        fs::create_dir_all(source.join("second")).unwrap();
        let bind = |from: &Path, to: &Path| {
            tool("mount", &[Path::new("--bind"), from, to]);
        };
        // The same disk, or a part of the mirror, in a second place.
        for shown in ["disk", "disk/mirror", "disk/mirror/dir"] {
            fs::create_dir_all(mirror.join("dir")).unwrap();
            bind(&source.join(shown), &source.join("second"));
            let one = sync_with(engine, &["--exclude=/disk/"], source, &mirror);
            let both = sync_with(engine, &["-n", "--exclude=/disk/", "--exclude=/second"], source, &mirror);
            let elsewhere = sync_with(engine, &["-n", "-x"], source, &mirror);
            tool("umount", &[source.join("second")]);
            assert_eq!(
                (one.code, both.code, elsewhere.code),
                (Some(3), Some(0), Some(0)),
                "{shown}: {one:#?}"
            );
            assert!(
                one.err.contains("by several paths") && one.err.contains("leave out all of them"),
                "{}",
                one.err
            );
        }
        // The source's own file system where a disk seems to be.
        fs::create_dir_all(source.join("third/inner")).unwrap();
        fs::create_dir_all(source.join("point")).unwrap();
        bind(&source.join("third"), &source.join("point"));
        let ran = sync_with(engine, &["-x"], source, &source.join("point/inner"));
        let ruled = sync_with(engine, &["--exclude=/point"], source, &source.join("point/inner"));
        tool("umount", &[source.join("point")]);
        assert_eq!((ran.code, ruled.code), (Some(3), Some(3)), "it lies at third/inner too: {ran:#?}");
    }
}

fn backups_and_manifests_may_lie_there_too() {
    for &engine in ENGINES.iter() {
        let nested = Nested::new();
        let (source, disk) = (&nested.source, nested.source.join("disk"));
        let manifest = disk.join("sums");
        let options = ["-x", "--backup-dir=../old", "--manifest", manifest.to_str().unwrap()];
        sync_with(engine, &options, source, &disk.join("mirror")).exits(0);
        file(source.join("dir/file"), "longer");
        sync_with(engine, &options, source, &disk.join("mirror")).exits(0);
        assert_eq!(fs::read(disk.join("old/dir/file")).unwrap(), b"x");
        assert!(fs::read_to_string(&manifest).unwrap().ends_with("  dir/file\n"));
        for inside in ["--backup-dir=../../old", "--manifest"] {
            let in_source = source.join("sums");
            let more = if inside == "--manifest" { in_source.to_str().unwrap() } else { "-v" };
            let ran = sync_with(engine, &["-x", inside, more], source, &disk.join("mirror")).exits(3);
            assert!(ran.err.contains("it lies inside SRC"), "{}", ran.err);
        }
    }
}
