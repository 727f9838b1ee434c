//! `sync --manifest` and `sync --verify`: what was copied is known, and what was read back is what was written.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::fuse::{Call, Effect, Fuse};
use crate::support::mount::Mount;
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, modified, noise, sparse};
use crate::support::{ENGINES, assert_equal, assert_no_litter, program, run, scratch, sync_with};

tests![
    b3sum_accepts_the_manifest_of_a_sync: [Need::Tool("b3sum")],
    a_manifest_also_has_what_was_there,
    a_manifest_of_one_file_has_its_new_name,
    a_run_that_breaks_off_leaves_the_old_manifest: [Need::Root],
    a_manifest_that_cannot_be_written_is_told,
    verify_reads_from_the_disk_what_was_written: [Need::FileSystem("ext4")],
    verify_and_manifest_hash_clones_too: [Need::FileSystem("xfs")],
    what_is_read_back_wrong_once_is_copied_again: [Need::Fuse],
    what_is_read_back_wrong_twice_is_an_error: [Need::Fuse],
    what_is_read_back_wrong_in_place_is_not_taken_for_right: [Need::Fuse],
    a_manifest_never_takes_the_place_of_what_is_mirrored,
    a_manifest_that_lacks_files_is_told: [Need::Root],
];

fn build(source: &Path) {
    for index in 0..50 {
        file(source.join(format!("d{}/file{index}", index % 5)), noise(index, 700 * index as usize));
    }
    file(source.join("d1/large"), noise(1, 21 << 20));
    for name in ["new\nline", "back\\slash", "grün", "two  spaces", " leading", "\rreturn"] {
        file(source.join(name), name);
    }
    fs::hard_link(source.join("d1/file1"), source.join("d2/link")).unwrap();
    std::os::unix::fs::symlink("nowhere", source.join("symlink")).unwrap();
    sparse(source.join("sparse"), 400 << 20, &[(300 << 20, b"data")]);
}

fn lines(manifest: &Path) -> Vec<String> {
    let mut lines: Vec<String> = fs::read_to_string(manifest).unwrap().lines().map(String::from).collect();
    lines.sort();
    lines
}

fn b3sum_accepts_the_manifest_of_a_sync() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        let manifest = home.path().join("sums");
        build(&source);
        sync_with(engine, &["--manifest", manifest.to_str().unwrap()], &source, &destination).exits(0);
        assert_eq!(lines(&manifest).len(), 50 + 1 + 6 + 1 + 1, "files and hard links, nothing else");
        let mut command = Command::new("b3sum");
        command.args(["--quiet", "--check"]).arg(&manifest).current_dir(&destination);
        run(command).exits(0);
        let mut command = Command::new(program());
        command.args(["verify", "--strict", "-q"]).arg(&manifest).arg(&destination);
        run(command).exits(0);
        file(destination.join("d3/file3"), "damaged");
        let mut command = Command::new(program());
        command.args(["verify", "-q"]).arg(&manifest).arg(&destination);
        assert_eq!(run(command).exits(23).out, "d3/file3: FAILED\n");
    }
}

fn a_manifest_also_has_what_was_there() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let (source, destination) = (home.path().join("src"), home.path().join("dst"));
        build(&source);
        let (first, second, third) =
            (home.path().join("first"), home.path().join("second"), home.path().join("third"));
        sync_with(engine, &["--manifest", first.to_str().unwrap()], &source, &destination).exits(0);
        let options = ["--manifest", second.to_str().unwrap()];
        let ran = sync_with(engine, &options, &source, &destination).exits(0);
        assert!(ran.out.contains("unchanged") && !ran.out.contains("created"), "{}", ran.out);
        assert_eq!(lines(&first), lines(&second));
        // What is there is read, and not taken on trust: same size, same time, other contents.
        file(destination.join("d3/file3"), vec![7; 2100]);
        let time = fs::metadata(source.join("d3/file3")).unwrap();
        use std::os::unix::fs::MetadataExt;
        modified(destination.join("d3/file3"), time.mtime(), time.mtime_nsec());
        let options = ["--manifest", third.to_str().unwrap()];
        sync_with(engine, &options, &source, &destination).exits(0);
        let (before, after) = (lines(&first), lines(&third));
        let differing: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
        assert!(differing.len() == 1 && differing[0].ends_with("  d3/file3"), "{differing:?}");
    }
}

fn a_manifest_of_one_file_has_its_new_name() {
    let home = scratch();
    file(home.path().join("old name"), "contents");
    let manifest = home.path().join("sums");
    let options = ["--manifest", manifest.to_str().unwrap()];
    let (source, destination) = (home.path().join("old name"), home.path().join("new name"));
    sync_with("auto", &options, &source, &destination).exits(0);
    assert_eq!(lines(&manifest), [format!("{}  new name", blake3::hash(b"contents").to_hex())]);
}

fn a_run_that_breaks_off_leaves_the_old_manifest() {
    for &engine in ENGINES.iter() {
        let home = scratch();
        let source = home.path().join("src");
        for index in 0..20 {
            file(source.join(format!("file{index}")), noise(index, 1 << 20));
        }
        let small = Mount::new("tmpfs", "5M");
        let manifest = home.path().join("sums");
        file(&manifest, "the old one");
        let options = ["--manifest", manifest.to_str().unwrap()];
        sync_with(engine, &options, &source, &small.path().join("dst")).exits(11);
        assert_eq!(fs::read(&manifest).unwrap(), b"the old one");
        assert_no_litter(home.path());
    }
}

fn a_manifest_that_cannot_be_written_is_told() {
    let home = scratch();
    let (source, destination) = (home.path().join("src"), home.path().join("dst"));
    file(source.join("file"), "x");
    let nowhere = home.path().join("missing/sums");
    let ran = sync_with("auto", &["--manifest", nowhere.to_str().unwrap()], &source, &destination).exits(3);
    assert!(!destination.exists(), "nothing was begun");
    assert!(ran.err.contains("write manifest") && ran.err.contains("missing/sums"), "{}", ran.err);
    let fifo = home.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    sync_with("auto", &["--manifest", fifo.to_str().unwrap()], &source, &destination).exits(3);
    sync_with("auto", &["--manifest", "x", "--no-hash"], &source, &destination).exits(1);
}

fn verify_reads_from_the_disk_what_was_written() {
    let mount = Mount::new("ext4", "200M");
    for &engine in ENGINES.iter() {
        for options in
            [&["--verify"][..], &["--verify", "--inplace"], &["--verify", "--fsync", "--no-atomic"]]
        {
            let home = scratch();
            let (source, destination) = (home.path().join("src"), mount.path().join("dst"));
            build(&source);
            file(destination.join("d2/file2"), "older");
            sync_with(engine, options, &source, &destination).exits(0);
            assert_equal(&source, &destination);
            fs::remove_dir_all(&destination).unwrap();
        }
    }
}

fn verify_and_manifest_hash_clones_too() {
    let mount = Mount::new("xfs", "400M");
    for &engine in ENGINES.iter() {
        let (source, destination) = (mount.path().join("src"), mount.path().join("dst"));
        build(&source);
        let manifest = mount.path().join("sums");
        let options = ["--verify", "--reflink=always", "--manifest", manifest.to_str().unwrap()];
        sync_with(engine, &options, &source, &destination).exits(0);
        assert_eq!(lines(&manifest).len(), 59);
        let mut command = Command::new(program());
        command.args(["verify", "--strict", "-q"]).arg(&manifest).arg(&destination);
        run(command).exits(0);
        fs::remove_dir_all(&destination).unwrap();
        fs::remove_dir_all(&source).unwrap();
    }
}

/// A disk that gives back other bytes than it was given.
fn rot(bytes: &mut [u8]) {
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
}

fn what_is_read_back_wrong_once_is_copied_again() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        for size in [5000, 9 << 20] {
            let name = format!("{engine}-{size}");
            let (source, destination) = (home.path().join(&name), fuse.path().join(&name));
            file(source.join("file"), noise(1, size));
            file(destination.join("file"), "old");
            fuse.spoil(Call::Read, "", Effect::Rot(|bytes| rot(bytes)), 1);
            sync_with(engine, &["--verify"], &source, &destination).exits(0);
            assert_eq!(fuse.spoiled(Call::Read), 1, "it was rotten");
            fuse.release();
            assert_equal(&source, &destination);
            assert_no_litter(&destination);
        }
    }
}

fn what_is_read_back_wrong_twice_is_an_error() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (home.path().join(engine), fuse.path().join(engine));
        file(source.join("file"), noise(1, 5000));
        file(destination.join("file"), "old");
        fuse.spoil(Call::Read, "", Effect::Rot(|bytes| rot(bytes)), usize::MAX);
        let ran = sync_with(engine, &["--verify"], &source, &destination).exits(23);
        assert!(ran.err.contains("verify") && ran.err.contains("read back"), "{}", ran.err);
        assert!(
            ran.err.contains("the new file is not in DST, which keeps the one that it had"),
            "{}",
            ran.err
        );
        fuse.release();
        assert_eq!(fs::read(destination.join("file")).unwrap(), b"old", "what was there stays");
        assert_no_litter(&destination);
    }
}

/// A file that was rewritten where it is, and could not be verified, must not look as if it were right.
fn what_is_read_back_wrong_in_place_is_not_taken_for_right() {
    let (fuse, home) = (Fuse::new(), scratch());
    for &engine in ENGINES.iter() {
        let (source, destination) = (home.path().join(engine), fuse.path().join(engine));
        file(source.join("file"), noise(1, 50_000));
        file(destination.join("file"), "old");
        fuse.spoil(Call::Read, "file", Effect::Rot(|bytes| rot(bytes)), usize::MAX);
        let ran = sync_with(engine, &["--verify", "--inplace"], &source, &destination).exits(23);
        assert!(ran.err.contains("the file in DST is not what SRC has"), "{}", ran.err);
        fuse.release();
        let ran = sync_with(engine, &["-v"], &source, &destination).exits(0);
        assert!(ran.out.contains("updated"), "{}", ran.out);
        assert_equal(&source, &destination);
    }
}

fn a_manifest_never_takes_the_place_of_what_is_mirrored() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    let run = |manifest: &Path, source: &str, destination: &str| {
        sync_with("auto", &["--manifest", manifest.to_str().unwrap()], &at(source), &at(destination))
    };
    file(at("src/x"), "contents of x");
    file(at("src/d/y"), "contents of y");
    std::os::unix::fs::symlink("src/x", at("link")).unwrap();
    fs::create_dir(at("dst")).unwrap();
    for manifest in ["src/x", "src/new", "src/d/y", "link", "dst/x"] {
        let ran = run(&at(manifest), "src", "dst").exits(3);
        assert!(ran.err.contains("manifest"), "{}", ran.err);
        assert_eq!(fs::read(at("src/x")).unwrap(), b"contents of x", "{manifest}");
        assert_eq!(fs::read(at("src/d/y")).unwrap(), b"contents of y", "{manifest}");
        assert_eq!(fs::read_dir(at("dst")).unwrap().count(), 0, "{manifest}: nothing was begun");
    }
    run(&at("src/x"), "src", "fresh").exits(3);
    assert!(!at("fresh").exists(), "nothing was begun");
    // One file.
    run(&at("src/x"), "src/x", "copy").exits(3);
    run(&at("copy"), "src/x", "copy").exits(3);
    run(&at("link"), "src/x", "copy").exits(3);
    assert_eq!(fs::read(at("src/x")).unwrap(), b"contents of x");
    // Beside what is mirrored it is welcome, and in DST under a name of its own.
    run(&at("src/sums"), "src/x", "src/copy").exits(0);
    fs::remove_file(at("src/sums")).unwrap();
    run(&at("dst/sums"), "src", "dst").exits(0);
    run(&at("dst/sums"), "src", "dst").exits(0);
    let mut command = Command::new(program());
    command.args(["verify", "--strict", "-q"]).arg(at("dst/sums")).arg(at("dst"));
    crate::support::run(command).exits(0);
}

fn a_manifest_that_lacks_files_is_told() {
    let home = scratch();
    let (source, destination, sums) =
        (home.path().join("src"), home.path().join("dst"), home.path().join("sums"));
    file(source.join("good"), "x");
    file(source.join("bad"), "x");
    file(destination.join("bad/full"), "in the way");
    let ran = sync_with("auto", &["--manifest", sums.to_str().unwrap()], &source, &destination).exits(23);
    assert!(ran.err.contains("write manifest") && ran.err.contains("lacks"), "{}", ran.err);
    assert_eq!(lines(&sums).len(), 1);
}
