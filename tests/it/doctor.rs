//! `ringsync doctor`: what it says of a place is what `sync` meets there, SRC stays as it was, and nothing is left in DST.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::comfort::long_options;
use crate::schema::validator;
use crate::support::fuse::{Call, Effect, Fuse, Habit};
use crate::support::mount::{Image, Mount};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, noise};
use crate::support::user::{as_alice, program_of_alice};
use crate::support::{
    ENGINES, Ran, assert_no_litter, await_of, finish, program, program_with, run, scratch, sync_with, tool,
};

tests![
    without_places_it_tells_of_the_machine,
    the_source_is_not_touched,
    what_holds_everything_gets_no_options: [Need::Root],
    without_attributes_the_option_is_right: [Need::Root],
    coarse_times_are_found_out: [Need::FileSystem("ext4")],
    clones_need_one_file_system: [Need::FileSystem("btrfs")],
    refused_calls_lead_to_options_that_help: [Need::Root, Need::Tool("strace")],
    refused_links_and_modes_lead_to_options: [Need::Tool("strace")],
    folded_names_are_found_out: [Need::Fuse],
    forbidden_rings_are_told: [Need::Tool("strace"), Need::Uring],
    a_user_namespace_has_no_other_owners: [Need::Root, Need::Tool("unshare"), Need::Tool("setfacl")],
    an_unprivileged_user_keeps_less: [Need::Root, Need::Tool("setpriv")],
    a_missing_destination_is_tried_above,
    what_can_not_be_used_is_refused: [Need::Root, Need::Tool("setpriv")],
    a_read_only_disk_is_refused: [Need::FileSystem("ext4")],
    a_directory_that_is_closed_to_changes_is_refused: [Need::FileSystem("ext4"), Need::Tool("chattr")],
    a_signal_leaves_nothing: [Need::Fuse],
    what_others_put_there_stays: [Need::Fuse],
    a_directory_of_somebody_else_is_not_used: [Need::Root, Need::Tool("strace")],
    a_fifo_in_a_files_place_is_not_waited_for: [Need::Tool("strace")],
    trees_that_are_not_apart_are_refused_as_by_sync,
    a_disk_inside_the_source_is_left_out: [Need::Root],
    large_attributes_that_do_not_fit_are_told: [Need::FileSystem("ext4")],
    rounded_times_need_no_option: [Need::Fuse],
    acls_alone_do_not_cost_other_attributes: [Need::Root, Need::Tool("lowntfs-3g"), Need::Tool("mkntfs")],
    years_behind_fuse_are_doubted: [Need::Root, Need::Tool("mount.exfat-fuse")],
    hard_links_behind_a_cache_are_found: [Need::Root, Need::Tool("mergerfs")],
    every_option_is_one_of_sync,
    the_json_is_as_described: [Need::Root],
];

fn doctor(arguments: &[&Path]) -> Ran {
    let mut command = Command::new(program());
    command.arg("doctor").args(arguments);
    run(command)
}

/// The same as JSON, which must be as described.
fn report(mut command: Command, places: &[&Path], code: i32) -> Value {
    let ran = run({
        command.args(["doctor", "--json"]).args(places);
        command
    })
    .exits(code);
    let report: Value = serde_json::from_str(&ran.out).expect("one object");
    let errors: Vec<String> = validator().iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{report}: {errors:#?}");
    assert_eq!(report["exit_code"], code);
    report
}

fn json(places: &[&Path], code: i32) -> Value {
    report(Command::new(program()), places, code)
}

/// What was found of DST.
#[track_caller]
fn found<'a>(report: &'a Value, what: &str) -> &'a Value {
    let findings = report["destination"]["findings"].as_array().expect("findings");
    findings.iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("{what}: {report}"))
}

fn options(report: &Value) -> Vec<&str> {
    let options = report["options"].as_array().expect("options");
    options.iter().map(|option| option["option"].as_str().expect("an option")).collect()
}

fn lost(report: &Value) -> Vec<&str> {
    report["lost"].as_array().expect("a list").iter().map(|what| what.as_str().expect("a name")).collect()
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).expect("a directory").count()
}

/// Two empty directories in this one.
fn two_in(directory: &Path) -> [PathBuf; 2] {
    ["a source", "a destination"].map(|name| {
        let path = directory.join(name);
        fs::create_dir(&path).unwrap();
        path
    })
}

fn without_places_it_tells_of_the_machine() {
    let ran = doctor(&[]).exits(0);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    assert!(ran.out.contains(&release) && ran.out.contains("open files"), "{}", ran.out);
    assert!(!ran.out.contains("DST"), "{}", ran.out);
}

fn the_source_is_not_touched() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    fs::create_dir(&destination).unwrap();
    // An access time before the last change is renewed by whatever reads.
    let old = Timespec { tv_sec: 1000, tv_nsec: 7 };
    let times = Timestamps { last_access: old, last_modification: Timespec { tv_sec: 2000, tv_nsec: 8 } };
    for path in [source.join("file"), source.clone()] {
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    }
    let all = |path: &Path| {
        let stat = rustix::fs::stat(path).unwrap();
        let times = [stat.st_atime, stat.st_mtime, stat.st_ctime];
        (times, [stat.st_atime_nsec, stat.st_mtime_nsec, stat.st_ctime_nsec])
    };
    let before = (all(&source), all(&source.join("file")));
    doctor(&[&source, &destination]).exits(0);
    doctor(&[&source]).exits(0);
    doctor(&[&source.join("file"), &destination]).exits(0);
    assert_eq!((all(&source), all(&source.join("file"))), before);
    assert_eq!(entries(&destination), 0);
}

fn what_holds_everything_gets_no_options() {
    let mount = Mount::new("tmpfs", "50M");
    let [source, destination] = two_in(mount.path());
    let report = json(&[&source, &destination], 0);
    assert_eq!((options(&report).len(), lost(&report).len()), (0, 0), "{report}");
    for what in ["user_attributes", "acls", "owners", "modes", "times", "devices", "holes", "bytes"] {
        assert_eq!(found(&report, what)["answer"], "yes", "{what}");
    }
    assert_eq!(found(&report, "time_step")["nanoseconds"], 1);
    assert_eq!(found(&report, "attribute_size")["bytes"], 65536);
    assert_eq!(report["destination"]["kind"], "tmpfs");
    assert_eq!(entries(&destination), 0);
}

fn without_attributes_the_option_is_right() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("file"), "x");
    rustix::fs::setxattr(source.join("file"), "user.a", b"b", XattrFlags::empty()).unwrap();
    let mount = Mount::ramfs();
    let report = json(&[&source, mount.path()], 23);
    assert_eq!(options(&report), ["--no-xattrs", "--no-acls"], "{report}");
    assert_eq!(lost(&report), ["user_attributes", "trusted_attributes", "capabilities", "acls"]);
    assert_eq!(entries(mount.path()), 0);
    for &engine in ENGINES.iter() {
        let destination = mount.path().join(engine);
        sync_with(engine, &[], &source, &destination).exits(23);
        sync_with(engine, &["--no-xattrs", "--no-acls"], &source, &destination).exits(0);
    }
    // What has none loses none. File capabilities are not asked for in a source.
    let [source, destination] = two_in(mount.path());
    let report = json(&[&source, &destination], 23);
    assert_eq!(lost(&report), ["capabilities"]);
}

fn coarse_times_are_found_out() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("file"), noise(1, 100));
    modified(source.join("file"), 1_000_001, 123);
    let image = Image::new("ext4", "20M", &["-I", "128"]);
    let mount = image.mount();
    let report = json(&[&source, mount.path()], 23);
    assert_eq!(found(&report, "time_step")["nanoseconds"], 1_000_000_000);
    assert_eq!(found(&report, "time_range")["detail"], "only 1901 to 2037");
    let lost: Vec<_> = lost(&report).into_iter().filter(|what| *what != "attribute_size").collect();
    assert_eq!((lost, options(&report).len()), (vec!["time_range"], 0), "{report}");
    assert!(report["notes"].to_string().contains("in steps of 1 s"), "{report}");
    for &engine in ENGINES.iter() {
        let sync = |code| sync_with(engine, &["--json"], &source, &mount.path().join(engine)).exits(code);
        sync(0);
        assert_eq!(sync(0).summary()["updated"], 0);
        // A year that does not fit is an error.
        modified(source.join("file"), 2_300_000_000, 0);
        sync(23);
        modified(source.join("file"), 1_000_001, 123);
    }
}

fn clones_need_one_file_system() {
    let mount = Mount::new("btrfs", "200M");
    let other = Mount::new("btrfs", "200M");
    let note = |report: &Value| report["notes"][0].as_str().unwrap().to_owned();
    let [source, destination] = two_in(mount.path());
    let report = json(&[&source, &destination], 0);
    assert_eq!(found(&report, "clones")["answer"], "yes");
    assert_eq!(found(&report, "no_cow")["answer"], "yes");
    assert!(note(&report).contains("on one file system: files are cloned"), "{report}");
    let report = json(&[other.path(), &destination], 0);
    assert!(note(&report).contains("on two file systems"), "{report}");
}

fn refused_calls_lead_to_options_that_help() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("file"), "x");
    file(source.join("setuid"), "x");
    mode(source.join("setuid"), 0o4711);
    fs::hard_link(source.join("file"), source.join("link")).unwrap();
    std::os::unix::fs::symlink("file", source.join("symlink")).unwrap();
    rustix::fs::setxattr(source.join("file"), "user.a", b"b", XattrFlags::empty()).unwrap();
    crate::support::user::give(source.join("file"), 4711);
    crate::support::tree::node(source.join("fifo"), rustix::fs::FileType::Fifo, (0, 0));
    for (call, wanted) in [
        ("symlinkat", &["--no-links"][..]),
        ("mknodat", &["--no-specials", "--no-devices"]),
        ("fsetxattr", &["--no-xattrs", "--no-acls"]),
        ("fchown", &["--no-owner", "--no-group"]),
        ("utimensat", &["--no-times"]),
    ] {
        let destination = home.path().join(call);
        fs::create_dir(&destination).unwrap();
        let refused = format!("inject={call}:error=EPERM");
        let report = report(program_with(&[&refused]), &[&source, &destination], 23);
        assert_eq!(options(&report), wanted, "{call}: {report}");
        assert_eq!(entries(&destination), 0, "{call}");
        for &engine in ENGINES.iter() {
            let sync = |options: &[&str], name: &str| {
                let mut command = program_with(&[&refused]);
                command.args(["sync", "--engine", engine]).args(options);
                command.arg(&source).arg(destination.join(engine.to_owned() + name));
                run(command)
            };
            sync(&[], " without").exits(23);
            sync(wanted, " with").exits(0);
        }
    }
}

fn refused_links_and_modes_lead_to_options() {
    for (call, wanted) in [("linkat", "--no-hard-links"), ("fchmod", "--no-perms")] {
        let home = scratch();
        let refused = format!("inject={call}:error=EPERM");
        let [source, destination] = two_in(home.path());
        let report = report(program_with(&[&refused]), &[&source, &destination], 23);
        assert_eq!(options(&report), [wanted], "{report}");
        assert_eq!(found(&report, "nameless_files")["answer"] == "no", call == "linkat");
        assert_eq!(entries(&destination), 0);
    }
}

fn folded_names_are_found_out() {
    let fuse = Fuse::new();
    fuse.fold_names();
    let home = scratch();
    let report = json(&[home.path(), fuse.path()], 23);
    assert!(lost(&report).contains(&"case"), "{report}");
    assert_eq!(found(&report, "names_listed")["answer"], "no");
    assert!(report["notes"].to_string().contains("the first is copied, the others are errors"), "{report}");
    assert_eq!(entries(fuse.path()), 0);
}

fn forbidden_rings_are_told() {
    let refused = "inject=io_uring_setup:error=EPERM";
    let with_none = report(program_with(&[refused]), &[], 0);
    assert_eq!(with_none["machine"]["io_uring"], false);
    assert!(with_none["machine"]["io_uring_refusal"].as_str().unwrap().contains("kernel.io_uring_disabled"));
    assert_eq!(options(&with_none), ["--engine threads"]);
    assert_eq!(json(&[], 0)["machine"]["io_uring"], true);
}

fn a_user_namespace_has_no_other_owners() {
    let home = scratch();
    let [source, destination] = two_in(home.path());
    file(source.join("file"), "x");
    crate::support::user::give(source.join("file"), 4711);
    crate::support::tree::node(source.join("fifo"), rustix::fs::FileType::Fifo, (0, 0));
    let in_namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--"]).arg(program());
        command
    };
    let report = report(in_namespace(), &[&source, &destination], 23);
    assert_eq!(report["machine"]["users"], serde_json::json!([[0, 1]]));
    assert!(found(&report, "owners")["detail"].as_str().unwrap().contains("user namespace"), "{report}");
    assert!(found(&report, "acls")["detail"].as_str().unwrap().contains("not mapped"), "{report}");
    assert_eq!(options(&report), ["--no-acls", "--no-devices"], "{report}");
    assert_eq!(found(&report, "trusted_attributes")["answer"], "untried");
    assert_eq!(entries(&destination), 0);
    // Owners that are not mapped need no option, and ACLs that name them do.
    let sync = |options: &[&str], name: &str, code: i32| {
        let mut command = in_namespace();
        command.arg("sync").args(options).arg(&source).arg(home.path().join(name));
        run(command).exits(code);
    };
    sync(&[], "without owners", 0);
    assert!(home.path().join("without owners/fifo").exists());
    tool("setfacl", &["-m", "u:4711:r", source.join("file").to_str().unwrap()]);
    sync(&[], "without ACLs", 23);
    sync(&["--no-acls"], "with an option", 0);
}

fn an_unprivileged_user_keeps_less() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    for directory in [&source, &destination] {
        fs::create_dir(directory).unwrap();
        mode(directory, 0o777);
    }
    mode(home.path(), 0o777);
    let report = report(program_of_alice(), &[&source, &destination], 0);
    for what in ["owners", "devices", "trusted_attributes", "capabilities"] {
        assert_eq!(found(&report, what)["answer"], "untried", "{what}");
    }
    assert!(options(&report).is_empty(), "{report}");
    assert_eq!(entries(&destination), 0);
    assert!(as_alice(&["doctor"], &source, &destination).exits(0).out.contains("take root"));
}

fn a_missing_destination_is_tried_above() {
    let home = scratch();
    let [source, destination] = two_in(home.path());
    let report = |name: &str| json(&[&source, &destination.join(name)], 0);
    let near = report("new");
    assert_eq!((&near["destination"]["missing"], options(&near).len()), (&1.into(), 0), "{near}");
    assert_eq!(near["destination"]["used"], destination.to_str().unwrap());
    assert_eq!(options(&report("new/er")), ["--mkpath"]);
    let text = doctor(&[&source, &destination.join("new")]).exits(0).out;
    assert!(text.contains("It is not there yet: this is about"), "{text}");
    assert_eq!(entries(&destination), 0);
}

fn what_can_not_be_used_is_refused() {
    let home = scratch();
    let taken = home.path().join("file");
    file(&taken, "x");
    let missing = home.path().join("missing");
    let refused = |places: &[&Path], code: i32, text: &str| {
        let ran = doctor(places).exits(code);
        assert!(ran.err.contains(text) && ran.out.is_empty(), "{ran:?}");
    };
    refused(&[&missing], 3, "use source");
    let source = home.path().join("source");
    fs::create_dir(&source).unwrap();
    refused(&[&source, &taken], 3, "is not a directory");
    refused(&[&source, &taken.join("below")], 3, "Not a directory");
    refused(&["host:path".as_ref()], 1, "names another machine");
    refused(&[home.path(), home.path(), home.path()], 1, "unexpected argument");
    // A file may replace a file.
    let other = home.path().join("other file");
    file(&other, "y");
    doctor(&[&taken, &other]).exits(0);
    let closed = home.path().join("closed");
    fs::create_dir(&closed).unwrap();
    mode(home.path(), 0o755);
    let ran = as_alice(&["doctor"], &source, &closed).exits(3);
    assert!(ran.err.contains("use destination") && ran.err.contains("Permission denied"), "{ran:?}");
    mode(&closed, 0o700);
    let ran = as_alice(&["doctor"], &closed, Path::new("/tmp")).exits(3);
    assert!(ran.err.contains("use source") && ran.err.contains("Permission denied"), "{ran:?}");
    assert_no_litter(home.path());
}

fn a_read_only_disk_is_refused() {
    let image = Image::new("ext4", "20M", &[]);
    let mount = image.mount_read_only();
    let home = scratch();
    let ran = doctor(&[home.path(), mount.path()]).exits(3);
    assert!(ran.err.contains("use destination") && ran.err.contains("Read-only file system"), "{ran:?}");
    doctor(&[mount.path(), home.path()]).exits(0);
}

fn a_directory_that_is_closed_to_changes_is_refused() {
    let (home, mount) = (scratch(), Mount::new("ext4", "20M"));
    for (flag, how) in [('a', "append-only"), ('i', "immutable")] {
        let place = mount.path().join(how);
        fs::create_dir(&place).unwrap();
        tool("chattr", &[Path::new(&format!("+{flag}")), &place]);
        let ran = doctor(&[home.path(), &place]);
        tool("chattr", &[Path::new(&format!("-{flag}")), &place]);
        let ran = ran.exits(3);
        assert!(ran.err.contains(&format!("it is {how} (chattr -{flag} ends that)")), "{}", ran.err);
        assert_eq!(entries(&place), 0);
    }
}

/// Runs doctor on a file system that answers late, or not at all, until something is done.
fn while_it_waits(call: Call, effect: Effect, act: impl FnOnce(&Fuse, Pid)) -> (Fuse, Ran) {
    let fuse = Fuse::new();
    fuse.spoil(call, "", effect, 1000);
    let source = scratch();
    let mut command = Command::new(program());
    command.arg("doctor").arg(source.path()).arg(fuse.path());
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    await_of(&mut child, "a late call", || fuse.spoiled(call) > 0);
    assert_eq!(entries(fuse.path()), 1);
    act(&fuse, Pid::from_child(&child));
    let ran = finish(child, Duration::from_secs(60));
    (fuse, ran)
}

fn a_signal_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        // Each of the many calls that are still to come takes so long, which is time enough to be told of the signal.
        let late = Effect::Late(Duration::from_millis(200));
        let (fuse, ran) =
            while_it_waits(Call::Setattr, late, |_, child| kill_process(child, signal).unwrap());
        let ran = ran.exits(20);
        assert_eq!(entries(fuse.path()), 0);
        assert!(ran.err.contains("interrupted") && ran.out.is_empty(), "{ran:?}");
    }
}

fn what_others_put_there_stays() {
    let mut directory = std::path::PathBuf::new();
    let (fuse, ran) = while_it_waits(Call::Fsync, Effect::Stall, |fuse, _| {
        directory = fs::read_dir(fuse.path()).unwrap().next().unwrap().unwrap().path();
        file(directory.join("precious"), "x");
        fuse.release();
    });
    let ran = ran.exits(3);
    assert_eq!(
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(),
        ["precious"]
    );
    assert!(ran.err.contains("remove it by hand"), "{ran:?}");
    drop(fuse);
}

/// Runs doctor with a call that comes back late, and does something to the directory of trials meanwhile.
fn while_late(
    injected: &str,
    home: &Path,
    is_time: fn(&Path) -> bool,
    act: impl FnOnce(&Path),
) -> (PathBuf, Ran) {
    let [source, destination] = two_in(home);
    mode(&destination, 0o777);
    let mut command = program_with(&[injected]);
    command.arg("doctor").arg(source).arg(&destination);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let made = || fs::read_dir(&destination).unwrap().next().map(|entry| entry.unwrap().path());
    await_of(&mut child, "the directory", || made().is_some_and(|made| is_time(&made)));
    act(&made().unwrap());
    (destination, finish(child, Duration::from_secs(60)))
}

fn a_directory_of_somebody_else_is_not_used() {
    let home = scratch();
    let away = home.path().join("away");
    let late = "inject=mkdirat:delay_exit=2000000:when=1";
    let (destination, ran) = while_late(
        late,
        home.path(),
        |_| true,
        |made| {
            fs::rename(made, &away).unwrap();
            fs::create_dir(made).unwrap();
            mode(made, 0o777);
            crate::support::user::give(made, crate::support::user::ALICE);
        },
    );
    let ran = ran.exits(3);
    assert!(ran.err.contains("somebody else has put a directory"), "{ran:?}");
    let theirs = fs::read_dir(&destination).unwrap().next().unwrap().unwrap().path();
    assert_eq!((entries(&theirs), entries(&away)), (0, 0));
}

fn a_fifo_in_a_files_place_is_not_waited_for() {
    let home = scratch();
    // The first are those of the trial of hard links.
    let late = "inject=fsync:delay_exit=2000000:when=2";
    let (destination, ran) = while_late(
        late,
        home.path(),
        |made| made.join("other").exists(),
        |made| {
            fs::remove_file(made.join("other")).unwrap();
            crate::support::tree::node(made.join("other"), rustix::fs::FileType::Fifo, (0, 0));
        },
    );
    let ran = ran.exits(23);
    assert!(ran.out.contains("something else afterwards"), "{ran:?}");
    assert_eq!(entries(&destination), 0);
}

fn trees_that_are_not_apart_are_refused_as_by_sync() {
    let home = scratch();
    let (tree, below) = (home.path().join("tree"), home.path().join("tree/sub"));
    let [single, link] = [tree.join("file"), home.path().join("link")];
    fs::create_dir_all(&below).unwrap();
    file(&single, "x");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for (source, destination) in [
        (&tree, tree.clone()),
        (&tree, below.clone()),
        (&tree, below.join("new")),
        (&below, tree.clone()),
        (&tree, link.clone()),
        (&tree, link.join("new")),
        (&single, single.clone()),
        (&single, tree.clone()),
    ] {
        let refused = doctor(&[source, &destination]).exits(3);
        let by_sync = sync_with("threads", &["--mkpath"], source, &destination).exits(3);
        assert_eq!((refused.err, refused.out), (by_sync.err, String::new()));
    }
    doctor(&[&below, &home.path().join("new")]).exits(0);
    doctor(&[&single, &link]).exits(0);
    assert_eq!((entries(&tree), entries(&below)), (2, 0));
}

fn a_disk_inside_the_source_is_left_out() {
    let home = scratch();
    let point = home.path().join("mnt");
    fs::create_dir(&point).unwrap();
    let mount = Mount::tmpfs_at(&point, "1M");
    let report = json(&[home.path(), mount.path()], 0);
    assert_eq!(options(&report), ["--one-file-system"], "{report}");
    sync_with("threads", &["--one-file-system"], home.path(), mount.path()).exits(0);
}

fn large_attributes_that_do_not_fit_are_told() {
    let image = Image::new("ext4", "20M", &["-b", "1024"]);
    let (mount, large) = (image.mount(), Mount::new("tmpfs", "1M"));
    let report = json(&[large.path(), mount.path()], 23);
    assert_eq!((lost(&report), options(&report).len()), (vec!["attribute_size"], 0), "{report}");
    assert!(report["notes"].to_string().contains("No space left on device"), "{report}");
    let [source, destination] = two_in(mount.path());
    json(&[&source, &destination], 0);
}

fn rounded_times_need_no_option() {
    let fuse = Fuse::new();
    fuse.get_into(Habit::Microseconds);
    let home = scratch();
    let report = json(&[home.path(), fuse.path()], 23);
    assert_eq!(found(&report, "time_step")["nanoseconds"], 1000, "{report}");
    assert!(!report.to_string().contains("modify-window"), "{report}");
}

fn acls_alone_do_not_cost_other_attributes() {
    let home = scratch();
    let image = home.path().join("image");
    let image = image.to_str().unwrap();
    tool("truncate", &["-s", "20M", image]);
    tool("mkntfs", &["--force", "--quick", "--quiet", image]);
    let mount = Mount::of_program("lowntfs-3g", &[image]);
    let report = json(&[home.path(), mount.path()], 23);
    assert!(!lost(&report).contains(&"user_attributes") && lost(&report).contains(&"acls"), "{report}");
    let why = report["options"].to_string();
    assert!(why.contains("mount NTFS with permissions,acl") && !why.contains("--no-xattrs"), "{why}");
}

fn years_behind_fuse_are_doubted() {
    let (home, mount) = (scratch(), Mount::exfat());
    let report = json(&[home.path(), mount.path()], 23);
    assert!(lost(&report).contains(&"time_range"), "{report}");
    assert!(found(&report, "time_range")["detail"].as_str().unwrap().starts_with("only 1980 to 2107"));
    let fuse = Fuse::new();
    let report = json(&[home.path(), fuse.path()], 23);
    assert!(found(&report, "time_range")["detail"].as_str().unwrap().contains("as far as memory tells"));
}

/// Written bytes that only the kernel has are not yet in the other name.
fn hard_links_behind_a_cache_are_found() {
    let (home, branch) = (scratch(), scratch());
    let options = "minfreespace=0,cache.files=auto-full,cache.writeback=true,cache.attr=120";
    let mount = Mount::of_program("mergerfs", &["-o", options, branch.path().to_str().unwrap()]);
    let mut command = Command::new(program());
    command.args(["doctor", "--json"]).arg(home.path()).arg(mount.path());
    let report: Value = serde_json::from_str(&run(command).out).unwrap();
    assert_eq!(found(&report, "hard_links")["answer"], "yes", "{report}");
}

fn every_option_is_one_of_sync() {
    let source = include_str!("../../src/doctor/advice.rs");
    let known = long_options("sync");
    let (code, _) = source.split_once("mod tests").unwrap();
    let named: Vec<&str> = code
        .split("suggest(")
        .skip(1)
        .filter_map(|call| call.split_once("\"--")?.1.split(['"', ' ', '{']).next())
        .collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(known.contains(&format!("--{name}")), "sync has no --{name}");
    }
}

fn the_json_is_as_described() {
    use std::os::unix::ffi::OsStrExt;
    let home = scratch();
    let odd = home.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::create_dir(&odd).unwrap();
    let [odd, other] = two_in(&odd);
    let report = json(&[&odd, &other], 0);
    assert!(report["source"]["path_bytes"].is_string() && report["destination"]["used_bytes"].is_string());
    assert_eq!(report["command"], "ringsync sync SRC DST");
    let validator = validator();
    for property in
        report.as_object().unwrap().keys().filter(|name| !["source", "destination"].contains(&name.as_str()))
    {
        let mut less = report.clone();
        less.as_object_mut().unwrap().remove(property);
        assert!(!validator.is_valid(&less), "without {property}");
    }
}
