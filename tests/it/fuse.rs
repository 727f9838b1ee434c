//! File systems that misbehave: short reads and writes, interruptions, I/O errors, holes that are none.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, noise, snapshot, sparse};
use crate::support::{
    ENGINES, Ran, assert_equal, assert_no_litter, finish, program, run, scratch, sync_with,
};

tests![
    a_file_system_without_nameless_files_and_attributes_works: [Need::Fuse],
    short_writes_are_normal: [Need::Fuse],
    short_reads_are_normal: [Need::Fuse],
    short_reads_are_normal_where_the_kernel_reads_on: [Need::Fuse],
    short_reads_are_normal_when_files_are_checked: [Need::Fuse],
    short_reads_are_normal_below_an_overlay: [Need::Fuse, Need::Root],
    interruptions_are_no_errors: [Need::Fuse],
    what_is_refused_for_ever_costs_its_file_alone: [Need::Fuse],
    a_read_error_costs_its_file_alone: [Need::Fuse],
    a_write_error_costs_its_file_alone: [Need::Fuse],
    a_listing_error_costs_its_directory_alone: [Need::Fuse],
    what_is_being_written_is_its_owners_alone: [Need::Fuse],
    holes_that_are_none_are_copied: [Need::Fuse],
    holes_that_are_none_in_the_middle_are_copied: [Need::Fuse],
    holes_on_a_doubtful_file_system_stay_holes: [Need::Fuse],
    holes_that_are_none_are_found_in_place: [Need::Fuse],
    a_stalled_read_costs_its_file_alone: [Need::Fuse],
    a_stalled_open_costs_its_file_alone: [Need::Fuse],
    a_stalled_stat_costs_its_file_alone: [Need::Fuse],
    a_stalled_listing_costs_its_directory_alone: [Need::Fuse],
    a_stalled_write_costs_its_file_alone: [Need::Fuse],
    a_stalled_rename_costs_its_directory_alone: [Need::Fuse],
    a_stalled_look_at_a_directory_costs_that_alone: [Need::Fuse],
    a_directory_that_stalls_at_its_end_costs_nothing_else: [Need::Fuse],
    a_stalled_flush_of_names_costs_its_directory_alone: [Need::Fuse],
    names_that_wait_for_a_stalled_one_are_told: [Need::Fuse],
    a_source_that_stalls_everywhere_ends_the_run: [Need::Fuse, Need::Tool("prlimit")],
];

const ALWAYS: usize = usize::MAX;

/// Files of sizes around those of buffers and parts, an update among them, and other types.
fn small_tree(root: &Path) {
    for (index, size) in [0, 1, 4096, 65_537, 300_000, (9 << 20) + 1].into_iter().enumerate() {
        file(root.join(format!("a/size{size}")), noise(index as u64, size));
        modified(root.join(format!("a/size{size}")), 1000 + index as i64, 5);
    }
    file(root.join("a/b/deep"), "deep");
    mode(root.join("a/b/deep"), 0o4711);
    std::os::unix::fs::symlink("size1", root.join("a/link")).unwrap();
    fs::hard_link(root.join("a/size4096"), root.join("a/b/second")).unwrap();
    modified(root.join("a/b"), 77, 7);
}

/// A place on each side, one of them on the misbehaving file system: as the source, then as the destination.
fn on_either_side(fuse: &Fuse, home: &Path, check: impl Fn(&str, &Path, &Path)) {
    for &engine in ENGINES.iter() {
        let sides: [(&Path, &Path, &str); 2] =
            [(fuse.path(), home, "source"), (home, fuse.path(), "destination")];
        for (from, to, side) in sides {
            check(
                engine,
                &from.join(format!("src-{engine}-{side}")),
                &to.join(format!("dst-{engine}-{side}")),
            );
        }
    }
}

fn a_file_system_without_nameless_files_and_attributes_works() {
    let (fuse, home) = (Fuse::new(), scratch());
    on_either_side(&fuse, home.path(), |engine, source, destination| {
        small_tree(source);
        sync_with(engine, &[], source, destination).exits(0);
        assert_equal(source, destination);
        file(source.join("a/size1"), "another size");
        file(destination.join("a/size65537"), "changed");
        sync_with(engine, &[], source, destination).exits(0);
        assert_equal(source, destination);
        assert_no_litter(destination);
        let again = sync_with(engine, &["--json"], source, destination).exits(0);
        assert_eq!(again.json().len(), 2, "nothing is left to do: {}", again.out);
    });
}

fn short_writes_are_normal() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (home.path().join(engine), fuse.path().join(engine));
        small_tree(&source);
        fuse.spoil(Call::Write, "", Effect::Short(10_007), ALWAYS);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert!(fuse.spoiled(Call::Write) > 900, "in pieces of 10,007 bytes");
        fuse.release();
        assert_equal(&source, &destination);
    }
}

fn copy_with_short_reads(fuse: &Fuse) {
    let home = scratch();
    for &engine in ENGINES.iter() {
        let (source, destination) = (fuse.path().join(engine), home.path().join(engine));
        small_tree(&source);
        fuse.spoil(Call::Read, "", Effect::Short(10_007), ALWAYS);
        sync_with(engine, &[], &source, &destination).exits(0);
        assert!(fuse.spoiled(Call::Read) > 900, "in pieces of 10,007 bytes");
        fuse.release();
        assert_equal(&source, &destination);
    }
}

fn short_reads_are_normal() {
    copy_with_short_reads(&Fuse::asynchronous());
}

/// Where a file system takes no direct reads in the background, Linux (6.18) itself goes on after a short one that came
/// through io_uring, and reads the same place again.
fn short_reads_are_normal_where_the_kernel_reads_on() {
    copy_with_short_reads(&Fuse::new());
}

/// `ringsync COMMAND --engine ENGINE ARGUMENTS`.
fn command(engine: &str, command: &str, arguments: &[&OsStr]) -> Ran {
    let mut ringsync = Command::new(program());
    ringsync.args([command, "--engine", engine]).args(arguments);
    run(ringsync)
}

/// An overlay's files are those of another file system, and it does not tell of which.
fn short_reads_are_normal_below_an_overlay() {
    let (fuse, home) = (Fuse::new(), scratch());
    let lower = fuse.path().join("lower");
    small_tree(&lower);
    let overlay = Mount::overlay(&lower, home.path());
    for &engine in ENGINES.iter() {
        let destination = home.path().join(engine);
        fuse.spoil(Call::Read, "", Effect::Short(10_007), ALWAYS);
        sync_with(engine, &[], overlay.path(), &destination).exits(0);
        assert!(fuse.spoiled(Call::Read) > 900, "in pieces of 10,007 bytes");
        fuse.release();
        assert_equal(overlay.path(), &destination);
    }
}

/// A text's lines, whose order is that in which files were done.
fn lines(path: &Path) -> BTreeSet<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// Everything else that reads: comparing, verifying, reading back, mending in place, and hashing for a manifest.
fn short_reads_are_normal_when_files_are_checked() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (here, there) = (home.path().join(engine), fuse.path().join(engine));
        let [sums, again] = ["sums", "again"].map(|name| home.path().join(format!("{engine}-{name}")));
        small_tree(&here);
        sync_with(engine, &["--manifest", sums.to_str().unwrap()], &here, &there).exits(0);
        fuse.spoil(Call::Read, "", Effect::Short(10_007), ALWAYS);
        for (from, to) in [(&here, &there), (&there, &here)] {
            command(engine, "check", &["-c".as_ref(), from.as_ref(), to.as_ref()]).exits(0);
        }
        command(engine, "verify", &[sums.as_ref(), there.as_ref()]).exits(0);
        sync_with(engine, &["--manifest", again.to_str().unwrap()], &here, &there).exits(0);
        assert_eq!(lines(&again), lines(&sums), "nothing was copied, all was read");
        for size in [65_537, (9 << 20) + 1] {
            file(here.join(format!("a/size{size}")), noise(99, size));
        }
        sync_with(engine, &["--inplace", "--verify"], &here, &there).exits(0);
        let copy = fuse.path().join(format!("{engine}-copy"));
        sync_with(engine, &["--verify"], &here, &copy).exits(0);
        assert!(fuse.spoiled(Call::Read) > 5000, "in pieces of 10,007 bytes");
        fuse.release();
        assert_equal(&here, &there);
        assert_equal(&here, &copy);
    }
}

fn interruptions_are_no_errors() {
    for errno in [libc::EINTR, libc::EAGAIN] {
        let (fuse, home) = (Fuse::new(), scratch());
        on_either_side(&fuse, home.path(), |engine, source, destination| {
            small_tree(source);
            for name in ["size1", "size65537", "size9437185"] {
                fuse.spoil(Call::Read, name, Effect::Fail(errno), 5);
            }
            fuse.spoil(Call::Write, "", Effect::Fail(errno), 5);
            sync_with(engine, &[], source, destination).exits(0);
            assert!(fuse.spoiled(Call::Read) + fuse.spoiled(Call::Write) >= 5, "they were interrupted");
            fuse.release();
            assert_equal(source, destination);
        });
    }
}

/// Tried again and again, it would never end.
fn what_is_refused_for_ever_costs_its_file_alone() {
    for (errno, what) in [(libc::EINTR, "Interrupted system call"), (libc::EAGAIN, "Resource temporarily")] {
        let (fuse, home) = (Fuse::new(), scratch());
        on_either_side(&fuse, home.path(), |engine, source, destination| {
            small_tree(source);
            // Short, and so long that it goes through the ring.
            let names = ["unlucky", "a/unlucky"];
            for (name, size) in names.into_iter().zip([100, 300_000]) {
                file(source.join(name), [&b"unlucky"[..], &noise(1, size)].concat());
            }
            fuse.spoil(Call::Read, "unlucky", Effect::Fail(errno), ALWAYS);
            fuse.spoil(Call::Write, "unlucky", Effect::Fail(errno), ALWAYS);
            let ran = sync_with(engine, &[], source, destination).exits(23);
            fuse.release();
            assert_eq!(ran.err.lines().count(), 2, "{}", ran.err);
            for name in names {
                assert!(ran.err.contains(&format!("/{name}: {what}")), "{}", ran.err);
            }
            assert_all_but(source, destination, &names);
        });
    }
}

/// Requires that all but `lost` is there, as the source has it, and of `lost` nothing or what was there before.
fn assert_all_but(source: &Path, destination: &Path, lost: &[&str]) {
    let lost: Vec<PathBuf> = lost.iter().map(PathBuf::from).collect();
    let to = snapshot(destination);
    for (path, node) in snapshot(source).iter().filter(|(path, _)| !lost.contains(path)) {
        assert_eq!(to.get(path), Some(node), "{}", path.display());
    }
    assert_no_litter(destination);
}

fn a_read_error_costs_its_file_alone() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (fuse.path().join(engine), home.path().join(engine));
        small_tree(&source);
        file(destination.join("a/size300000"), "old");
        for name in ["size300000", "size9437185", "deep"] {
            fuse.spoil(Call::Read, name, Effect::Fail(libc::EIO), ALWAYS);
        }
        let ran = sync_with(engine, &[], &source, &destination).exits(23);
        fuse.release();
        for name in ["a/size300000", "a/size9437185", "a/b/deep"] {
            let line =
                format!("read source {}: Input/output error (os error 5)", source.join(name).display());
            assert!(ran.err.contains(&line), "{line} is not among\n{}", ran.err);
        }
        assert_eq!(ran.err.lines().count(), 3, "{}", ran.err);
        assert_all_but(&source, &destination, &["a/size300000", "a/size9437185", "a/b/deep"]);
        assert_eq!(fs::read(destination.join("a/size300000")).unwrap(), b"old");
        assert!(!destination.join("a/size9437185").exists() && !destination.join("a/b/deep").exists());
    }
}

fn a_write_error_costs_its_file_alone() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (home.path().join(engine), fuse.path().join(engine));
        small_tree(&source);
        file(source.join("unlucky"), "unlucky in what it holds");
        file(source.join("new/unlucky"), "unlucky in what it holds");
        file(destination.join("unlucky"), "old");
        fuse.spoil(Call::Write, "unlucky", Effect::Fail(libc::EIO), ALWAYS);
        let ran = sync_with(engine, &[], &source, &destination).exits(23);
        fuse.release();
        for name in ["unlucky", "new/unlucky"] {
            let line = format!("write {}: Input/output error (os error 5)", destination.join(name).display());
            assert!(ran.err.contains(&line), "{line} is not among\n{}", ran.err);
        }
        assert_eq!(ran.err.lines().count(), 2, "{}", ran.err);
        assert_all_but(&source, &destination, &["unlucky", "new/unlucky"]);
        assert_eq!(fs::read(destination.join("unlucky")).unwrap(), b"old");
        assert!(!destination.join("new/unlucky").exists());
    }
}

/// ENOENT as well, which tells that the directory was removed meanwhile: what it had is not known, and its mirror loses
/// nothing.
fn a_listing_error_costs_its_directory_alone() {
    let (fuse, home) = (Fuse::new(), scratch());
    let errors = [
        (libc::EIO, 23, "Input/output error (os error 5)"),
        (libc::ENOENT, 24, "it vanished from SRC during the run"),
    ];
    for (engine, (errno, code, cause)) in
        ENGINES.iter().flat_map(|engine| errors.map(|error| (engine, error)))
    {
        let name = format!("{engine}-{errno}");
        let (source, destination) = (fuse.path().join(&name), home.path().join(&name));
        small_tree(&source);
        file(source.join("broken/inner/file"), "x");
        file(destination.join("broken/inner/file"), "old");
        file(destination.join("extra"), "x");
        fuse.spoil(Call::Readdir, "broken", Effect::Fail(errno), ALWAYS);
        let ran = sync_with(engine, &["--delete"], &source, &destination).exits(code);
        fuse.release();
        let broken = source.join("broken");
        let line = format!("ringsync: list source directory {}: {cause}\n", broken.display());
        assert_eq!(ran.err, line);
        assert_all_but(&source, &destination, &["broken/inner", "broken/inner/file"]);
        assert_eq!(fs::read(destination.join("broken/inner/file")).unwrap(), b"old");
    }
}

/// It has neither its owner nor its ACL yet. In a directory that the run has made nobody else gets to it.
fn what_is_being_written_is_its_owners_alone() {
    for &engine in ENGINES.iter() {
        let (fuse, home) = (Fuse::new(), scratch());
        let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
        for (below, guarded) in [("stuck", "stuck"), ("dir/stuck", "dir")] {
            file(source.join(below), "stuck");
            mode(source.join(below), 0o666);
            fuse.spoil(Call::Write, "stuck", Effect::Stall, ALWAYS);
            let before = fuse.spoiled(Call::Write);
            let mut command = Command::new(program());
            command.args(["sync", "--no-atomic", "--engine", engine]).arg(&source).arg(&destination);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let limit = Instant::now() + Duration::from_secs(60);
            while fuse.spoiled(Call::Write) == before {
                assert!(Instant::now() < limit, "nothing was written");
                std::thread::sleep(Duration::from_millis(2));
            }
            let bits = fs::metadata(destination.join(guarded)).unwrap().mode();
            fuse.release();
            finish(child, Duration::from_secs(60)).exits(23);
            assert_eq!(bits & 0o077, 0, "{guarded} with {engine}: {bits:o}");
            fs::remove_file(source.join(below)).unwrap();
        }
    }
}

fn holes_that_are_none_are_copied() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (fuse.path().join(engine), home.path().join(engine));
        for (name, size) in [("small", 200_000), ("large", 20 << 20)] {
            file(source.join(name), noise(1, size));
        }
        file(source.join("honest"), noise(1, 200_000));
        fuse.pretend_hole("small", 50_000..150_000);
        fuse.pretend_hole("large", 1 << 20..18 << 20);
        sync_with(engine, &[], &source, &destination).exits(0);
        fuse.release();
        assert_equal(&source, &destination);
    }
}

/// Only reading all of an alleged hole would show this one.
fn holes_that_are_none_in_the_middle_are_copied() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (fuse.path().join(engine), home.path().join(engine));
        let mut bytes = noise(1, 200_000);
        bytes[50_000..60_000].fill(0);
        bytes[140_000..150_000].fill(0);
        file(source.join("file"), bytes);
        fuse.pretend_hole("file", 50_000..150_000);
        sync_with(engine, &[], &source, &destination).exits(0);
        // The other way round nothing is left to copy, and all of it is read for the manifest.
        let sums = home.path().join(format!("{engine}-sums"));
        sync_with(engine, &["--manifest", sums.to_str().unwrap()], &destination, &source).exits(0);
        fuse.release();
        assert_equal(&source, &destination);
        let hash = blake3::hash(&fs::read(source.join("file")).unwrap());
        assert_eq!(fs::read_to_string(sums).unwrap(), format!("{hash}  file\n"));
    }
}

/// Noise, zeroes from `hole.start` to `hole.end`, and noise.
fn with_zeroes(seed: u64, size: usize, hole: Range<u64>) -> Vec<u8> {
    let mut bytes = noise(seed, size);
    bytes[hole.start as usize..hole.end as usize].fill(0);
    bytes
}

/// Two files, one of which is cut in parts, and where they have a hole.
const WITH_HOLES: [(&str, usize, Range<u64>); 2] =
    [("small", 400_000, 50_000..350_000), ("large", 20 << 20, 1_500_000..18 << 20)];

/// Requires that these holes, but for broken blocks at their ends, take no room.
fn assert_holes(root: &Path) {
    for (name, size, hole) in WITH_HOLES {
        let allocated = fs::metadata(root.join(name)).unwrap().blocks() * 512;
        let data = size as u64 - (hole.end - hole.start);
        assert!(allocated <= data + 3 * 4096, "{name}: {allocated} bytes on the disk, {data} of data");
    }
}

fn holes_on_a_doubtful_file_system_stay_holes() {
    for short in [false, true] {
        let (fuse, home) = (Fuse::new(), scratch());
        for &engine in ENGINES.iter() {
            let (source, destination) = (fuse.path().join(engine), home.path().join(engine));
            let in_place = home.path().join(format!("{engine}-in-place"));
            for (seed, (name, size, hole)) in (1..).zip(WITH_HOLES) {
                file(source.join(name), with_zeroes(seed, size, hole.clone()));
                file(in_place.join(name), noise(seed, size));
                fuse.pretend_hole(name, hole);
            }
            let inode = || fs::metadata(in_place.join("large")).unwrap().ino();
            let before = inode();
            if short {
                // Blocks come in pieces.
                fuse.spoil(Call::Read, "", Effect::Short(10_007), ALWAYS);
            }
            sync_with(engine, &[], &source, &destination).exits(0);
            sync_with(engine, &["--inplace"], &source, &in_place).exits(0);
            fuse.release();
            assert_equal(&source, &destination);
            assert_equal(&source, &in_place);
            assert_eq!(inode(), before, "it was rewritten where it is");
            assert_holes(&in_place);
            assert_holes(&destination);
        }
    }
}

/// What the destination has where the source has a hole: it says that it has one there too.
fn holes_that_are_none_are_found_in_place() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (home.path().join(engine), fuse.path().join(engine));
        fs::create_dir(&source).unwrap();
        for (seed, (name, size, hole)) in (1..).zip(WITH_HOLES) {
            let (bytes, middle) = (noise(seed, size), hole.start as usize + 100_000);
            let (before, after) = (&bytes[..hole.start as usize], &bytes[hole.end as usize..]);
            sparse(source.join(name), size as u64, &[(0, before), (hole.end, after)]);
            // Its ends look like a hole.
            let mut old = with_zeroes(seed, size, hole.clone());
            old[middle..middle + 20_000].copy_from_slice(&noise(9, 20_000));
            file(destination.join(name), old);
            fuse.pretend_hole(name, hole);
        }
        sync_with(engine, &["--inplace"], &source, &destination).exits(0);
        fuse.release();
        assert_equal(&source, &destination);
    }
}

/// Starts a mirror with a time-out and requires that it ends with 30 while a file is stuck, named with what was done.
#[track_caller]
fn times_out(engine: &str, source: &Path, destination: &Path, stuck: &str) {
    let ran = sync_with(engine, &["--timeout", "1"], source, destination).exits(30);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(ran.err.contains(stuck) && ran.err.to_lowercase().contains("timed out"), "{}", ran.err);
}

/// A tree with one entry that will be stuck among many others in its directory and in others.
fn tree_to_be_stuck(root: &Path) {
    small_tree(root);
    for index in 0..200 {
        file(root.join(format!("d{}/file{index}", index % 7)), noise(index, 2000));
    }
    file(root.join("d3/stuck"), "stuck in what it holds");
}

fn a_stalled_call_costs_its_file_alone(call: Call) {
    let (fuse, home) = (Fuse::new(), scratch());
    for engine in ["auto", "threads"] {
        let (source, destination) = (fuse.path().join(engine), home.path().join(engine));
        tree_to_be_stuck(&source);
        file(destination.join("d3/stuck"), "old");
        fuse.spoil(call, "stuck", Effect::Stall, ALWAYS);
        times_out(engine, &source, &destination, &source.join("d3/stuck").display().to_string());
        assert!(fuse.spoiled(call) > 0, "it was stuck");
        fuse.release();
        assert_all_but(&source, &destination, &["d3", "d3/stuck"]);
        assert_eq!(fs::read(destination.join("d3/stuck")).unwrap(), b"old");
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

fn a_stalled_read_costs_its_file_alone() {
    a_stalled_call_costs_its_file_alone(Call::Read);
}

fn a_stalled_open_costs_its_file_alone() {
    a_stalled_call_costs_its_file_alone(Call::Open);
}

fn a_stalled_stat_costs_its_file_alone() {
    a_stalled_call_costs_its_file_alone(Call::Getattr);
}

/// The whole directory is lost, but nothing beside it, and nothing that the destination has in it.
fn a_stalled_listing_costs_its_directory_alone() {
    let (fuse, home) = (Fuse::new(), scratch());
    for engine in ["auto", "threads"] {
        let (source, destination) = (fuse.path().join(engine), home.path().join(engine));
        tree_to_be_stuck(&source);
        file(source.join("stalled/file"), "x");
        file(destination.join("stalled/file"), "old");
        fuse.spoil(Call::Readdir, "stalled", Effect::Stall, ALWAYS);
        times_out(engine, &source, &destination, &source.join("stalled").display().to_string());
        fuse.release();
        assert_all_but(&source, &destination, &["stalled", "stalled/file"]);
        assert_eq!(fs::read(destination.join("stalled/file")).unwrap(), b"old");
    }
}

fn a_stalled_write_costs_its_file_alone() {
    let (fuse, home) = (Fuse::new(), scratch());
    for engine in ["auto", "threads"] {
        let (source, destination) = (home.path().join(engine), fuse.path().join(engine));
        tree_to_be_stuck(&source);
        file(destination.join("d3/stuck"), "old");
        fuse.spoil(Call::Write, "stuck", Effect::Stall, ALWAYS);
        times_out(engine, &source, &destination, &destination.join("d3/stuck").display().to_string());
        assert!(fuse.spoiled(Call::Write) > 0, "it was stuck");
        fuse.release();
        // What was stuck may have left a temporary file, which the next run removes.
        assert_eq!(fs::read(destination.join("d3/stuck")).unwrap(), b"old");
        sync_with(engine, &[], &source, &destination).exits(0);
        assert_equal(&source, &destination);
    }
}

/// A mirror to a file system that stalls at one call; only what is `lost` is not done, and the next run does it.
fn a_stalled_destination(call: Call, subject: &'static str, options: &[&str], lost: impl Fn(&Path) -> bool) {
    let (fuse, home) = (Fuse::new(), scratch());
    let (source, destination) = (home.path().join("src"), fuse.path().join("dst"));
    tree_to_be_stuck(&source);
    file(destination.join("d3/stuck"), "old");
    fuse.spoil(call, subject, Effect::Stall, ALWAYS);
    let options = [&["--timeout", "1"][..], options].concat();
    let ran = sync_with("auto", &options, &source, &destination).exits(30);
    assert!(!ran.err.is_empty() && ran.err.lines().all(|line| line.contains("timed out")), "{}", ran.err);
    assert!(ran.err.contains("dst/d3"), "{}", ran.err);
    assert!(fuse.spoiled(call) > 0, "it was stuck");
    fuse.release();
    let (want, have) = (snapshot(&source), snapshot(&destination));
    for (path, node) in want.iter().filter(|(path, _)| !lost(path)) {
        assert_eq!(have.get(path), Some(node), "{}", path.display());
    }
    sync_with("auto", &[], &source, &destination).exits(0);
    assert_equal(&source, &destination);
    assert_no_litter(&destination);
}

/// The kernel locks a directory while a name in it is changed, or its names are flushed: whoever wants to change another
/// one is as stuck.
fn a_stalled_rename_costs_its_directory_alone() {
    a_stalled_destination(Call::Rename, "stuck", &[], |path| path.starts_with("d3"));
}

fn a_stalled_look_at_a_directory_costs_that_alone() {
    a_stalled_destination(Call::Getattr, "d3", &[], |path| path.starts_with("d3"));
}

fn a_directory_that_stalls_at_its_end_costs_nothing_else() {
    a_stalled_destination(Call::Setattr, "d3", &[], |path| path == Path::new("d3"));
}

fn a_stalled_flush_of_names_costs_its_directory_alone() {
    a_stalled_destination(Call::Fsyncdir, "d3", &["--fsync"], |path| path.starts_with("d3"));
}

/// The first name of an inode is stuck; the others can't be linked to it, and must not wait for ever.
fn names_that_wait_for_a_stalled_one_are_told() {
    let (fuse, home) = (Fuse::new(), scratch());
    let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
    tree_to_be_stuck(&source);
    file(source.join("d1/linked"), "its names are two");
    fs::hard_link(source.join("d1/linked"), source.join("d5/linked")).unwrap();
    fuse.spoil(Call::Read, "linked", Effect::Stall, ALWAYS);
    let ran = sync_with("auto", &["--timeout", "1"], &source, &destination).exits(30);
    assert_eq!(ran.err.lines().filter(|line| line.contains("timed out")).count(), 2, "{}", ran.err);
    fuse.release();
    assert_all_but(&source, &destination, &["d1", "d1/linked", "d5", "d5/linked"]);
}

/// Each file that is stuck keeps a thread and its descriptors: that goes well only so long.
fn a_source_that_stalls_everywhere_ends_the_run() {
    let (fuse, home) = (Fuse::new(), scratch());
    let (source, destination) = (fuse.path().join("src"), home.path().join("dst"));
    tree_to_be_stuck(&source);
    fuse.spoil(Call::Read, "", Effect::Stall, ALWAYS);
    let mut command = Command::new("prlimit");
    command.arg("--nofile=512").arg(program()).args(["sync", "--timeout=1"]).arg(&source).arg(&destination);
    let ran = run(command).exits(30);
    assert!(ran.err.contains("given up") && !ran.err.contains("Too many open files"), "{}", ran.err);
    fuse.release();
}
