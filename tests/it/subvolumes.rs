//! `-x` and the subvolumes of btrfs: they are told, and with `--cross-subvolumes` read, but for snapshots of what is read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::engines::refusing;
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::file;
use crate::support::{ENGINES, Ran, assert_equal, program, run, scratch, sync_with, tool};

tests![
    subvolumes_that_are_not_read_are_named: [Need::FileSystem("btrfs")],
    subvolumes_are_read_where_asked_and_snapshots_are_not: [Need::FileSystem("btrfs")],
    names_of_two_subvolumes_are_no_hard_links: [Need::FileSystem("btrfs")],
    what_was_received_is_no_snapshot: [Need::FileSystem("btrfs")],
    subvolumes_of_the_destination_are_mirrors_too: [Need::FileSystem("btrfs")],
    a_destination_in_a_subvolume_of_the_source_is_refused: [Need::FileSystem("btrfs")],
    stores_and_copies_cross_as_well: [Need::FileSystem("btrfs")],
    subvolumes_are_crossed_with_x_alone,
    a_subvolume_of_which_nothing_is_told_is_not_read: [Need::FileSystem("btrfs")],
];

fn btrfs(arguments: &[&str], paths: &[&Path]) {
    let paths = paths.iter().map(|path| path.to_str().unwrap());
    tool("btrfs", &["-q"].into_iter().chain(arguments.iter().copied()).chain(paths).collect::<Vec<_>>());
}

fn subvolume(path: &Path) {
    btrfs(&["subvolume", "create"], &[path]);
}

fn snapshot(of: &Path, to: &Path) {
    btrfs(&["subvolume", "snapshot"], &[of, to]);
}

fn bind(from: &Path, to: &Path) -> Bound {
    fs::create_dir(to).unwrap();
    tool("mount", &["--bind".as_ref(), from.as_os_str(), to.as_os_str()]);
    Bound(to.to_path_buf())
}

/// Something mounted, until it is dropped.
struct Bound(std::path::PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

/// The lines on standard error that tell of subvolumes, without the source's path.
fn told(ran: &Ran, source: &Path) -> Vec<String> {
    let lines = ran.err.lines().filter(|line| line.contains("subvolume") || line.contains("snapshot"));
    let mut lines: Vec<_> = lines.map(|line| line.replace(&format!("{}/", source.display()), "")).collect();
    lines.sort();
    lines
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn subvolumes_that_are_not_read_are_named() {
    let mount = Mount::new("btrfs", "200M");
    let source = mount.path().join("src");
    file(source.join("file"), "x");
    for name in ["a", "dir/b"] {
        file(source.join(name).parent().unwrap().join("beside"), "x");
        subvolume(&source.join(name));
        file(source.join(name).join("file"), "x");
    }
    subvolume(&source.join("a/within"));
    subvolume(&mount.path().join("mounted"));
    // What is mounted is where -x ends, whatever it is.
    let _mounted = bind(&mount.path().join("mounted"), &source.join("point"));
    let home = scratch();
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        let sync = |options: &[&str]| {
            sync_with(engine, &[&["-x"], options].concat(), &source, &destination).exits(0)
        };
        let line = |name| {
            format!(
                "ringsync: {name} is a subvolume of the same file system, and is not read: --cross-subvolumes enters it"
            )
        };
        assert_eq!(told(&sync(&[]), &source), [line("a"), line("dir/b")]);
        assert_eq!(told(&sync(&["-n", "--delete"]), &source), [line("a"), line("dir/b")]);
        assert!(told(&sync(&["-q"]), &source).is_empty());
        assert!(sync(&["--json"]).out.contains("\"event\":\"notice\""));
        assert_eq!(names(&destination.join("a")), [""; 0]);
        assert_eq!(names(&destination.join("dir")), ["b", "beside"]);
        let all = sync_with(engine, &[], &source, &home.path().join("all")).exits(0);
        assert!(told(&all, &source).is_empty());
    }
    for number in 0..6 {
        subvolume(&source.join(number.to_string()));
    }
    let ran = sync_with("threads", &["-x"], &source, &home.path().join("threads")).exits(0);
    let told = told(&ran, &source);
    assert_eq!(
        (told.len(), told.iter().any(|line| line == "ringsync: 3 more subvolumes are not read")),
        (6, true)
    );
}

/// A source with subvolumes of every kind, and what is to be read of it.
fn plant(mount: &Path) -> (std::path::PathBuf, Vec<Bound>) {
    let source = mount.join("src");
    subvolume(&source);
    file(source.join("top"), "x");
    subvolume(&mount.join("outside"));
    file(mount.join("outside/file"), "from outside");
    for name in ["m", "m/nested", "other"] {
        subvolume(&source.join(name));
        file(source.join(name).join("file"), name);
    }
    file(source.join("m/.rules"), "- hidden\n");
    file(source.join("m/hidden"), "x");
    fs::create_dir(source.join("snapshots")).unwrap();
    // Whichever name is met first.
    for name in ["a-of-m", "z-of-m", "snapshots/of-m"] {
        snapshot(&source.join("m"), &source.join(name));
    }
    btrfs(&["subvolume", "snapshot", "-r"], &[&source, &source.join("snapshots/of-source")]);
    snapshot(&source.join("a-of-m"), &source.join("b-of-a"));
    snapshot(&mount.join("outside"), &source.join("live"));
    snapshot(&source.join("live"), &source.join("a-of-live"));
    snapshot(&source.join("live"), &source.join("z-of-live"));
    let point = source.join("point");
    (source, vec![bind(&mount.join("outside"), &point)])
}

fn subvolumes_are_read_where_asked_and_snapshots_are_not() {
    let mount = Mount::new("btrfs", "200M");
    let (source, _mounts) = plant(mount.path());
    let home = scratch();
    let read = ["live", "m", "m/nested", "other"];
    let left = [
        "a-of-live",
        "a-of-m",
        "b-of-a",
        "point",
        "snapshots/of-m",
        "snapshots/of-source",
        "z-of-live",
        "z-of-m",
    ];
    let cross = ["-x", "--cross-subvolumes", "--filter=: .rules"];
    let runs = ENGINES.iter().map(|engine| (*engine, None)).chain([("threads", Some("--timeout=60"))]);
    for (engine, timeout) in runs {
        let destination = home.path().join("dst");
        let options: Vec<&str> = cross.into_iter().chain(timeout).collect();
        let ran = sync_with(engine, &options, &source, &destination).exits(0);
        for name in read {
            let here = |tree: &Path| fs::read(tree.join(name).join("file")).ok();
            assert!(
                here(&destination).is_some() && here(&destination) == here(&source),
                "{name} {}",
                ran.err
            );
        }
        for name in left {
            assert_eq!(names(&destination.join(name)), [""; 0], "{name}");
        }
        assert!(!destination.join("m/hidden").exists(), "rules hold in what was put off as elsewhere");
        let told = told(&ran, &source);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with(" and 6 more are snapshots of what SRC has, and are not read"), "{told:?}");
        let mut command = Command::new(program());
        command.args(["check", "--engine", engine]).args(cross).arg(&source).arg(&destination);
        run(command).exits(0);
        file(destination.join("live/file"), "changed");
        file(destination.join("m/extra"), "extra");
        let mut command = Command::new(program());
        command.args(["check", "--engine", engine]).args(cross).arg(&source).arg(&destination);
        let checked = run(command).exits(23);
        assert!(
            checked.out.contains(" live/file") && checked.out.contains("*deleting   m/extra"),
            "{}",
            checked.out
        );
        let ran = sync_with(engine, &[&options[..], &["--delete"]].concat(), &source, &destination).exits(0);
        assert!(!destination.join("m/extra").exists(), "{}", ran.err);
        fs::remove_dir_all(&destination).unwrap();
    }
}

fn names_of_two_subvolumes_are_no_hard_links() {
    let mount = Mount::new("btrfs", "200M");
    let source = mount.path().join("src");
    fs::create_dir(&source).unwrap();
    for name in ["one", "two"] {
        subvolume(&source.join(name));
        file(source.join(name).join("file"), name);
        fs::hard_link(source.join(name).join("file"), source.join(name).join("further")).unwrap();
    }
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&source.join("one/file")), inode(&source.join("two/file")));
    let home = scratch();
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        sync_with(engine, &["-x", "--cross-subvolumes"], &source, &destination).exits(0);
        assert_equal(&source, &destination);
        assert_eq!(inode(&destination.join("one/file")), inode(&destination.join("one/further")));
        assert_ne!(inode(&destination.join("one/file")), inode(&destination.join("two/file")));
    }
}

/// What `btrfs receive` makes of an increment is to btrfs a snapshot of the one before it.
fn what_was_received_is_no_snapshot() {
    let mount = Mount::new("btrfs", "300M");
    let [source, sent] = ["src", "sent"].map(|name| mount.path().join(name));
    fs::create_dir(&source).unwrap();
    subvolume(&sent);
    for (name, options) in [("1", ""), ("2", "-p 1 ")] {
        file(sent.join(name), name);
        btrfs(&["subvolume", "snapshot", "-r"], &[&sent, &mount.path().join(name)]);
        let script =
            format!("cd {} && btrfs -q send {options}{name} | btrfs -q receive src", mount.path().display());
        tool("sh", &["-c", &script]);
    }
    snapshot(&source.join("2"), &source.join("snapshot"));
    btrfs(&["subvolume", "snapshot", "-r"], &[&source.join("2"), &source.join("read-only")]);
    let home = scratch();
    let destination = home.path().join("dst");
    let ran = sync_with("threads", &["-x", "--cross-subvolumes"], &source, &destination).exits(0);
    assert_eq!(names(&destination.join("1")), ["1"]);
    assert_eq!(names(&destination.join("2")), ["1", "2"], "{}", ran.err);
    assert_eq!(
        (names(&destination.join("snapshot")), names(&destination.join("read-only"))),
        (vec![], vec![])
    );
}

fn subvolumes_of_the_destination_are_mirrors_too() {
    for &engine in ENGINES.iter() {
        let mount = Mount::new("btrfs", "200M");
        let [source, destination] = ["src", "dst"].map(|name| mount.path().join(name));
        for tree in [&source, &destination] {
            fs::create_dir(tree).unwrap();
            subvolume(&tree.join("home"));
            file(tree.join("home/file"), "x");
        }
        file(destination.join("home/dir/extra"), "x");
        subvolume(&destination.join("gone"));
        file(destination.join("gone/file"), "x");
        fs::create_dir(mount.path().join("precious")).unwrap();
        file(mount.path().join("precious/file"), "x");
        fs::create_dir(destination.join("extra")).unwrap();
        let mounted = bind(&mount.path().join("precious"), &destination.join("extra/point"));
        let sync = |options: &[&str]| {
            sync_with(engine, &[&["-x", "--delete"], options].concat(), &source, &destination)
        };
        sync(&[]);
        assert!(destination.join("home/dir/extra").exists() && destination.join("gone/file").exists());
        sync(&["--cross-subvolumes"]);
        assert_eq!(names(&destination.join("home")), ["file"]);
        assert!(!destination.join("gone").exists() && mount.path().join("precious/file").exists());
        drop(mounted);
    }
}

fn a_destination_in_a_subvolume_of_the_source_is_refused() {
    let mount = Mount::new("btrfs", "200M");
    let destination = mount.path().join("backup");
    subvolume(&destination);
    file(mount.path().join("file"), "x");
    sync_with("threads", &["-x"], mount.path(), &destination).exits(0);
    assert_eq!(names(&destination), ["backup", "file"]);
    let cross = ["-x", "--cross-subvolumes"];
    let ran = sync_with("threads", &cross, mount.path(), &destination).exits(3);
    assert!(ran.err.contains("DST lies inside SRC"), "{}", ran.err);
    sync_with("threads", &[&cross[..], &["--exclude=/backup"]].concat(), mount.path(), &destination).exits(0);
}

fn stores_and_copies_cross_as_well() {
    let mount = Mount::new("btrfs", "200M");
    let (source, _mounts) = plant(mount.path());
    let home = scratch();
    let [store, several] = ["store", "several"].map(|name| home.path().join(name));
    let take = |options: &[&str]| {
        let mut command = Command::new(program());
        command.args(["snapshot", "take"]).args(options).arg(&source).arg(&store);
        run(command).exits(0)
    };
    let names_taken = || {
        let mut taken = names(&store);
        taken.retain(|name| !name.starts_with('.') && name != "latest");
        taken
    };
    let ran = take(&["-x"]);
    assert!(ran.err.contains("--cross-subvolumes enters it"), "{ran:?}");
    let first = names_taken().pop().unwrap();
    assert!(!store.join(&first).join("m/file").exists());
    take(&["-x", "--cross-subvolumes"]);
    let second = names_taken().pop().unwrap();
    assert!(first != second && store.join(&second).join("m/nested/file").exists());
    assert_eq!(names(&store.join(&second).join("a-of-m")), [""; 0]);
    fs::create_dir(&several).unwrap();
    let mut command = Command::new(program());
    command.args(["copy", "-x", "--cross-subvolumes"]);
    command.args(["m", "a-of-live", "snapshots"].map(|name| source.join(name))).arg(&several);
    run(command).exits(0);
    assert!(several.join("m/nested/file").exists() && several.join("a-of-live/file").exists());
    assert_eq!(names(&several.join("snapshots/of-m")), [""; 0], "m is a source");
    assert_eq!(names(&several.join("snapshots/of-source")), [""; 0]);
}

fn subvolumes_are_crossed_with_x_alone() {
    let home = scratch();
    let ran =
        sync_with("threads", &["--cross-subvolumes"], &home.path().join("src"), &home.path().join("dst"))
            .exits(1);
    assert!(ran.err.contains("--one-file-system"), "{}", ran.err);
}

fn a_subvolume_of_which_nothing_is_told_is_not_read() {
    let mount = Mount::new("btrfs", "200M");
    let (source, destination) = (mount.path().join("src"), mount.path().join("dst"));
    file(source.join("file"), "x");
    subvolume(&source.join("a"));
    file(source.join("a/file"), "x");
    sync_with("auto", &["-x", "--cross-subvolumes"], &source, &destination).exits(0);
    let words = ["sync", "-x", "--cross-subvolumes", "--delete"].map(AsRef::as_ref);
    let arguments = [&words[..], &[source.as_os_str(), destination.as_os_str()]].concat();
    let ran = refusing(&[libc::SYS_ioctl], libc::EPERM, &arguments).exits(23);
    let told = "a: it is a subvolume, and whether it is a snapshot of what SRC has can't be told (Operation not permitted";
    assert!(ran.err.contains(told), "{}", ran.err);
    assert!(destination.join("a/file").exists(), "{}", ran.err);
}
