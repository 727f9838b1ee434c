//! What a snapshot has of earlier ones: the hashes of their files without reading them, and, where the file system can, their
//! blocks in files of its own.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::snapshots::{directories, inode, list, name_of, snapshot, source, take};
use crate::support::mount::{Image, Mount};
use crate::support::needs::{Need, tests};
use crate::support::tree::{file, mode, modified, noise};
use crate::support::user::{ALICE, give};
use crate::support::{assert_equal, await_of, finish, is_long, run, scratch, scratch_on_disk, tool};

tests![
    each_snapshot_has_the_hashes_of_all_its_files: [Need::Tool("b3sum")],
    hashes_of_what_did_not_change_are_taken_over,
    the_hashes_of_a_run_that_was_killed_are_kept: [Need::Tool("b3sum")],
    manifests_go_with_their_snapshots,
    what_did_not_change_is_cloned_on_btrfs: [Need::FileSystem("btrfs")],
    what_did_not_change_is_cloned_on_xfs: [Need::FileSystem("xfs")],
    of_a_large_file_only_what_differs_is_written: [Need::FileSystem("btrfs")],
    of_an_image_one_percent_is_written_on_xfs: [Need::FileSystem("xfs"), Need::Tool("cmp")],
    of_an_image_one_percent_is_written_on_btrfs: [Need::FileSystem("btrfs"), Need::Tool("cmp")],
    a_clone_holds_what_its_source_does_whatever_changed: [Need::FileSystem("xfs")],
    nobody_gets_anothers_contents_for_their_size_and_time: [Need::FileSystem("xfs")],
    where_nothing_can_be_cloned_links_are_made: [Need::Root],
];

fn manifest(store: &Path, name: &str) -> PathBuf {
    store.join(".ringsync/manifests").join(format!("{name}.b3"))
}

/// Has b3sum check a snapshot by its manifest, and returns how many files that lists.
fn checked(store: &Path, name: &str) -> usize {
    let manifest = manifest(store, name);
    let mut command = Command::new("b3sum");
    command.args(["--check", "--quiet"]).arg(&manifest).current_dir(store.join(name));
    run(command).exits(0);
    let text = fs::read_to_string(manifest).unwrap();
    let paths: Vec<&str> = text.lines().map(|line| &line[66..]).collect();
    assert!(paths.is_sorted(), "{text}");
    paths.len()
}

fn each_snapshot_has_the_hashes_of_all_its_files() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    fs::hard_link(source.join("d0/f0"), source.join("d2/again")).unwrap();
    file(source.join("empty"), "");
    file(source.join("large"), noise(7, 9 << 20));
    let count = 24;
    let first = name_of(&take(&source, &store, &[], 0));
    assert_eq!(checked(&store, &first), count);
    file(source.join("d0/f3"), "changed");
    mode(source.join("d1/f1"), 0o600);
    fs::rename(source.join("d1/f4"), source.join("d1/renamed")).unwrap();
    let second = name_of(&take(&source, &store, &[], 0));
    assert_eq!(checked(&store, &second), count);
    // Several sources, each under its name.
    let several = home.path().join("several");
    let mut command = snapshot(&[&"take", &source.join("d0"), &source.join("large"), &several]);
    command.arg("--verify");
    let name = name_of(&run(command).exits(0));
    assert_eq!(checked(&several, &name), 8);
}

fn hashes_of_what_did_not_change_are_taken_over() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let first = manifest(&store, &name_of(&take(&source, &store, &[], 0)));
    // A hash that nobody could have computed, a line that is none, and one that is missing.
    let text = fs::read_to_string(&first).unwrap();
    let odd = "0123456789abcdef".repeat(4);
    let lines = text.lines().filter(|line| !line.ends_with("d2/f2"));
    let lines: String =
        lines
            .map(|line| {
                if line.ends_with("d1/f1") { format!("{odd}  d1/f1\nno line\n") } else { format!("{line}\n") }
            })
            .collect();
    fs::write(&first, lines).unwrap();
    let second = manifest(&store, &name_of(&take(&source, &store, &[], 0)));
    let text = fs::read_to_string(second).unwrap();
    assert!(text.contains(&format!("{odd}  d1/f1\n")), "{text}");
    assert_eq!(text.lines().count(), 20, "{text}");
    // Of a manifest that is gone nothing is known; the snapshot is there all the same.
    fs::remove_dir_all(store.join(".ringsync/manifests")).unwrap();
    file(source.join("d0/f3"), "changed");
    let third = manifest(&store, &name_of(&take(&source, &store, &[], 0)));
    assert_eq!(fs::read_to_string(third).unwrap().lines().count(), 1);
}

fn the_hashes_of_a_run_that_was_killed_are_kept() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    take(&source, &store, &[], 0);
    for number in 0..3000 {
        file(source.join(format!("more/{number}")), noise(number, 2000));
    }
    // The other ones come late: more is read than is allowed a second.
    file(source.join("zz"), noise(1, 4 << 20));
    let mut child = snapshot(&[&"take", &"--bwlimit=2M", &source, &store]).spawn().unwrap();
    let journal = store.join(".ringsync/journal");
    let has_hashes = || fs::metadata(&journal).is_ok_and(|stat| stat.len() > 100_000);
    await_of(&mut child, "hashes are written down", has_hashes);
    child.kill().unwrap();
    child.wait().unwrap();
    let last = name_of(&take(&source, &store, &[], 0));
    assert!(checked(&store, &last) > 2000, "what was lost is the end of what was written down");
    assert_equal(&source, &store.join(last));
}

fn manifests_go_with_their_snapshots() {
    let home = scratch();
    let (source, store) = (source(home.path()), home.path().join("store"));
    let names: Vec<String> = (0..3).map(|_| name_of(&take(&source, &store, &[], 0))).collect();
    run(snapshot(&[&"prune", &"--keep-last=1", &"--yes", &store])).exits(0);
    assert_eq!(directories(&store), [store.join(&names[2])]);
    let left: Vec<_> = fs::read_dir(store.join(".ringsync/manifests")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1);
    assert!(manifest(&store, &names[2]).exists());
}

/// A file system in which little is written by itself, and what is used of it, once all is there.
fn used(mount: &Path) -> u64 {
    tool("sync", &["-f".as_ref(), mount.as_os_str()]);
    let stat = rustix::fs::statvfs(mount).unwrap();
    (stat.f_blocks - stat.f_bfree) * stat.f_frsize
}

fn clones(kind: &str) {
    let home = scratch();
    let source = source(home.path());
    for number in 0..8 {
        file(source.join(format!("data/{number}")), noise(number, 6 << 20));
    }
    let image = Image::new(kind, "400M", &[]);
    let mount = image.mount();
    let store = mount.path().join("store");
    let first = store.join(name_of(&take(&source, &store, &[], 0)));
    let before = used(mount.path());
    mode(source.join("data/3"), 0o640);
    let ran = take(&source, &store, &[], 0);
    let second = store.join(name_of(&ran));
    assert_equal(&source, &second);
    assert_ne!(inode(first.join("data/1")), inode(second.join("data/1")), "a file of its own");
    let [old, new] = [&first, &second].map(|root| fs::metadata(root.join("data/3")).unwrap().mode() & 0o777);
    assert_eq!((old, new), (0o644, 0o640), "metadata of its own");
    assert_eq!(inode(second.join("d0/f0")), inode(second.join("d1/again")));
    // What a file system keeps ready for files that grow may be given back meanwhile.
    let more = used(mount.path()).saturating_sub(before);
    assert!(more < 6 << 20, "{more} bytes more are used for 48 MiB that did not change");
    let record = list(&store).pop().unwrap();
    let figures =
        ["cloned", "bytes_copied", "bytes_linked", "bytes_cloned"].map(|key| record[key].as_u64().unwrap());
    // Another name of one file is the one thing that is shared with none before.
    let again = fs::metadata(source.join("d1/again")).unwrap().len();
    assert_eq!(figures, [28, 0, 0, record["bytes"].as_u64().unwrap() - again], "{record}");
    // What is written to a file of a snapshot is not in the next one: it is not taken for the source's.
    fs::set_permissions(second.join("data/1"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(second.join("data/1"), "other").unwrap();
    assert_equal(&source, &store.join(name_of(&take(&source, &store, &[], 0))));
    // Links are made if they are asked for.
    let linked = store.join(name_of(&take(&source, &store, &["--clone=never"], 0)));
    let again = store.join(name_of(&take(&source, &store, &["--clone=never"], 0)));
    assert_eq!(inode(linked.join("data/2")), inode(again.join("data/2")));
}

fn what_did_not_change_is_cloned_on_btrfs() {
    clones("btrfs");
}

fn what_did_not_change_is_cloned_on_xfs() {
    clones("xfs");
}

fn of_a_large_file_only_what_differs_is_written() {
    let home = scratch();
    let source = home.path().join("src");
    file(source.join("image"), noise(1, 100 << 20));
    let image = Image::new("btrfs", "400M", &[]);
    let mount = image.mount();
    let store = mount.path().join("store");
    take(&source, &store, &[], 0);
    let before = used(mount.path());
    let changed = fs::File::options().write(true).open(source.join("image")).unwrap();
    for place in 0..16_u64 {
        changed.write_all_at(&noise(place, 65536), place * (6 << 20) + 4096).unwrap();
    }
    let last = name_of(&take(&source, &store, &[], 0));
    assert_equal(&source, &store.join(&last));
    // What a file system keeps ready for files that grow may be given back meanwhile.
    let more = used(mount.path()).saturating_sub(before);
    assert!(more < 3 << 20, "{more} bytes more are used for 1 MiB of 100 that changed");
    let record = list(&store).pop().unwrap();
    assert_eq!(record["bytes_copied"].as_u64(), Some(1 << 20), "{record}");
    assert_eq!(record["bytes_cloned"].as_u64(), Some(99 << 20), "{record}");
    assert_eq!(record["bytes"].as_u64(), Some(100 << 20), "{record}");
    let hash = blake3::hash(&fs::read(source.join("image")).unwrap());
    let text = fs::read_to_string(manifest(&store, &last)).unwrap();
    assert_eq!(text, format!("{hash}  image\n"));
}

/// Blocks of an image that differ from each other, and from those of another round.
fn blocks(round: u64, place: u64, length: usize) -> Vec<u8> {
    let mut bytes = noise(round, 4096).repeat(length / 4096);
    for (number, block) in (0_u64..).zip(bytes.chunks_exact_mut(4096)) {
        block[..8].copy_from_slice(&(place + number * 4096).to_le_bytes());
    }
    bytes
}

/// A virtual machine's image, of which 1 % changes in a day: 20 GiB in the long series, all of it allocated.
fn one_percent(kind: &str) {
    const LARGE: u64 = 4 << 20;
    const SMALL: u64 = 64 << 10;
    let (size, home, image) = match is_long() {
        true => (20 << 30, scratch_on_disk(), Image::at(scratch_on_disk(), kind, "25G", &[])),
        false => (200 << 20, scratch(), Image::new(kind, "400M", &[])),
    };
    let source = home.path().join("src");
    fs::create_dir(&source).unwrap();
    let file = fs::File::create(source.join("image")).unwrap();
    for place in (0..size).step_by(LARGE as usize) {
        file.write_all_at(&blocks(1, place, LARGE as usize), place).unwrap();
    }
    let take = || {
        let mount = image.mount();
        let mut command = snapshot(&[&"take", &source, &mount.path().join("store")]);
        let begun = Instant::now();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let name = name_of(&finish(child, Duration::from_secs(3600)).exits(0));
        (name, begun.elapsed(), used(mount.path()))
    };
    let (_, first, _) = take();
    let before = used(image.mount().path());
    let changed = size / 100 / SMALL * SMALL;
    for place in (0..changed / SMALL).map(|number| number * 100 * SMALL) {
        file.write_all_at(&blocks(2, place, SMALL as usize), place).unwrap();
    }
    let (last, second, at_once) = take();
    // Beside blocks that are written anew xfs keeps others ready, until it is unmounted or some minutes have passed.
    let mount = image.mount();
    let more = used(mount.path()).saturating_sub(before);
    eprintln!(
        "{kind}: of {size} bytes {changed} changed, and {more} more are used, {} at once; {first:.0?}, and then {second:.0?}",
        at_once.saturating_sub(before)
    );
    // It has some metadata of its own.
    assert!(
        more < changed + changed / 10 + (2 << 20),
        "{more} bytes more are used for {changed} that changed"
    );
    let store = mount.path().join("store");
    let record = list(&store).pop().unwrap();
    let figures = ["bytes_copied", "bytes_cloned", "bytes"].map(|key| record[key].as_u64().unwrap());
    assert_eq!(figures, [changed, size - changed, size], "{record}");
    let same = Command::new("cmp").arg(source.join("image")).arg(store.join(last).join("image")).status();
    assert!(same.unwrap().success());
}

fn of_an_image_one_percent_is_written_on_xfs() {
    one_percent("xfs");
}

fn of_an_image_one_percent_is_written_on_btrfs() {
    one_percent("btrfs");
}

fn a_clone_holds_what_its_source_does_whatever_changed() {
    let home = scratch();
    let source = home.path().join("src");
    let image = Image::new("xfs", "400M", &[]);
    let mount = image.mount();
    let store = mount.path().join("store");
    for name in ["longer", "shorter", "holes", "filled", "small"] {
        file(source.join(name), noise(1, 10 << 20));
    }
    tool("fallocate", &["--punch-hole", "-o", "1M", "-l", "6M", source.join("filled").to_str().unwrap()]);
    take(&source, &store, &[], 0);
    let open = |name: &str| fs::File::options().write(true).open(source.join(name)).unwrap();
    open("longer").write_all_at(&noise(2, 3 << 20), 10 << 20).unwrap();
    open("shorter").set_len((9 << 20) + 77).unwrap();
    tool("fallocate", &["--punch-hole", "-o", "2M", "-l", "5M", source.join("holes").to_str().unwrap()]);
    open("filled").write_all_at(&noise(3, 2 << 20), 2 << 20).unwrap();
    file(source.join("small"), "small");
    let last = store.join(name_of(&take(&source, &store, &["--verify"], 0)));
    assert_equal(&source, &last);
    let allocated = |path: PathBuf| fs::metadata(path).unwrap().blocks() * 512;
    assert!(allocated(last.join("holes")) < 6 << 20, "holes stay holes");
}

fn nobody_gets_anothers_contents_for_their_size_and_time() {
    let home = scratch();
    let source = home.path().join("src");
    let image = Image::new("xfs", "400M", &[]);
    let mount = image.mount();
    let store = mount.path().join("store");
    for (name, owner) in [("owner", ALICE), ("mode", 0)] {
        file(source.join(name), "secret");
        mode(source.join(name), 0o600);
        modified(source.join(name), 1_700_000_000, 1);
        take(&source, &store, &[], 0);
        fs::remove_file(source.join(name)).unwrap();
        file(source.join(name), "forged");
        mode(source.join(name), if owner == ALICE { 0o600 } else { 0o644 });
        give(source.join(name), owner);
        modified(source.join(name), 1_700_000_000, 1);
        let last = store.join(name_of(&take(&source, &store, &[], 0)));
        assert_eq!(fs::read_to_string(last.join(name)).unwrap(), "forged", "{name}");
        assert_equal(&source, &last);
    }
}

fn where_nothing_can_be_cloned_links_are_made() {
    let home = scratch();
    let source = source(home.path());
    let mount = Mount::new("tmpfs", "64M");
    let store = mount.path().join("store");
    let first = store.join(name_of(&take(&source, &store, &[], 0)));
    let second = store.join(name_of(&take(&source, &store, &["--clone=auto"], 0)));
    assert_eq!(inode(first.join("d0/f0")), inode(second.join("d0/f0")));
    let ran = take(&source, &store, &["--clone=always"], 3);
    assert!(ran.err.contains("can't clone files"), "{}", ran.err);
    assert_eq!(directories(&store).len(), 2);
}
