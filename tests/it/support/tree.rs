//! Trees as values: declared, built, read back, compared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

/// All that is kept of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    /// BLAKE3 of a file, the target of a symlink, the numbers of a device.
    pub contents: String,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The first path with the same inode, if it has several names.
    pub links: Option<PathBuf>,
}

/// Everything below a directory, itself included.
pub fn snapshot(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.expect("a tree that can be listed");
        let below = entry.path().strip_prefix(root).expect("a path below its root").to_path_buf();
        let metadata = fs::symlink_metadata(entry.path()).expect("an entry that stays");
        let mut node = read(entry.path(), &metadata);
        if metadata.nlink() > 1 && !metadata.is_dir() {
            let first = first_names.entry((metadata.dev(), metadata.ino())).or_insert_with(|| below.clone());
            node.links = Some(first.clone());
        }
        nodes.insert(below, node);
    }
    // Names outside the tree don't count.
    let mut names = BTreeMap::<PathBuf, usize>::new();
    for first in nodes.values().filter_map(|node| node.links.clone()) {
        *names.entry(first).or_default() += 1;
    }
    for node in nodes.values_mut() {
        node.links = node.links.take().filter(|first| names.get(first).is_some_and(|&count| count > 1));
    }
    nodes
}

fn read(path: &Path, metadata: &fs::Metadata) -> Node {
    let kind = metadata.file_type();
    let (name, contents) = match kind {
        k if k.is_dir() => ("directory", String::new()),
        k if k.is_symlink() => ("symlink", format!("{:?}", fs::read_link(path).expect("a symlink"))),
        k if k.is_fifo() => ("fifo", String::new()),
        k if k.is_socket() => ("socket", String::new()),
        k if k.is_char_device() => ("char device", metadata.rdev().to_string()),
        k if k.is_block_device() => ("block device", metadata.rdev().to_string()),
        _ => ("file", hash(path)),
    };
    Node {
        kind: name,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        contents,
        xattrs: xattrs(path),
        links: None,
    }
}

fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    hasher.update_reader(file).expect("a file that can be read");
    hasher.finalize().to_hex().to_string()
}

fn xattrs(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = std::ffi::OsStr::from_bytes(name);
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("an attribute");
            value.truncate(length);
            (name.to_os_string(), value)
        })
        .collect()
}

/// What differs, a sentence each.
pub fn differences(left: &BTreeMap<PathBuf, Node>, right: &BTreeMap<PathBuf, Node>) -> Vec<String> {
    let missing = left.keys().filter(|path| !right.contains_key(*path)).map(|p| format!("{p:?} is missing"));
    let extra = right.keys().filter(|path| !left.contains_key(*path)).map(|p| format!("{p:?} is too many"));
    let others = left.iter().filter_map(|(path, node)| {
        let other = right.get(path).filter(|other| *other != node)?;
        Some(format!("{path:?}: {node:?} became {other:?}"))
    });
    missing.chain(extra).chain(others).collect()
}

/// Writes a file, its directories made as needed.
pub fn file(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().expect("a file in a directory")).expect("directories");
    fs::write(path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// So many bytes that no file system can compress or find holes in; the same ones for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Sets permission bits.
pub fn mode(path: impl AsRef<Path>, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).expect("a mode to set");
}

/// Sets the modification time, of a symlink itself if it is one.
pub fn modified(path: impl AsRef<Path>, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path.as_ref(), &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time to set");
}

/// Makes a FIFO, a socket or a device.
pub fn node(path: impl AsRef<Path>, kind: FileType, device: (u32, u32)) {
    let device = rustix::fs::makedev(device.0, device.1);
    rustix::fs::mknodat(CWD, path.as_ref(), kind, Mode::from_raw_mode(0o640), device)
        .expect("a node to make");
}

/// Sets an extended attribute, of a symlink itself if it is one.
pub fn xattr(path: impl AsRef<Path>, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path.as_ref(), name, value, rustix::fs::XattrFlags::empty())
        .expect("an attribute to set");
}

/// Makes a file of `size` bytes with `data` at these offsets and holes elsewhere.
pub fn sparse(path: impl AsRef<Path>, size: u64, data: &[(u64, &[u8])]) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).expect("a file to make");
    file.set_len(size).expect("a size to set");
    for (offset, bytes) in data {
        file.write_all_at(bytes, *offset).expect("data to write");
    }
}
