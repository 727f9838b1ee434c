//! A file that is open to be read, and how far its file system can be relied on.
//!
//! A file system in user space (FUSE) is somebody's program. Two things that hold for the kernel's own are not certain
//! there: that a hole is one, and that what came through io_uring is what was asked for. Where a program gives fewer
//! bytes than that, and its files are read past the page cache, Linux (6.18) itself goes on, but at the same place: the
//! start of the file comes twice, and nothing tells. `IOSQE_ASYNC` does not keep it from that: such files are read by plain
//! system calls. So are those of an overlay, which passes on what lies below it, and does not say what that is.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::stat::{Inode, Stat, stat_open};

/// Who answers for a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The kernel.
    Kernel,
    /// The kernel, and all of it lies in memory: tmpfs, ramfs.
    Memory,
    /// Another file system, whichever it is: overlayfs.
    Overlay,
    /// A program: FUSE, virtiofs among it.
    Fuse,
}

/// An open file. It can be read only after it was asked on what it lies.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) family: Family,
    /// Two changes with a look in between have two times, however close they are (multigrain timestamps).
    pub(crate) fine_times: bool,
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The devices that files were met on. Each is asked once a thread: a mount, or a subvolume of btrfs.
#[derive(Default)]
pub(crate) struct Families(RefCell<HashMap<u64, (Family, bool)>>);

impl Families {
    /// That of the file with this stat, and whether its times are fine.
    pub(super) fn of(&self, fd: &OwnedFd, stat: &Stat) -> (Family, bool) {
        *self.0.borrow_mut().entry(stat.inode.device).or_insert_with(|| {
            let (family, kind) = ask(fd);
            (family, kernel_is_fine() && kind.is_some_and(|kind| has_fine_times(kind, stat)))
        })
    }
}

/// The types that statfs(2) has (linux/magic.h) for all that is FUSE, and for overlays.
const FUSE_SUPER_MAGIC: u32 = 0x6573_5546;
const OVERLAYFS_SUPER_MAGIC: u32 = 0x794c_7630;
/// And for those that keep files in the page cache alone.
const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58f6;
/// Those that have multigrain timestamps, and the first Linux that has (`FS_MGTIME`).
const FINE: [u32; 3] = [0x5846_5342, 0x9123_683e, TMPFS_MAGIC]; // xfs, btrfs
/// That of ext4, which has them, and of ext2 and ext3, which have not.
const EXT_MAGIC: u32 = 0xef53;
const FIRST_FINE: (u32, u32) = (6, 13);

impl Family {
    /// That of an open file, which is asked each time.
    pub(crate) fn of(fd: &OwnedFd) -> Self {
        ask(fd).0
    }
}

/// Whether an open file lies on what may be a union of others, which makes up the numbers of its inodes.
pub(crate) fn is_union(fd: &OwnedFd) -> bool {
    matches!(Family::of(fd), Family::Fuse | Family::Overlay)
}

/// Whether the file system of an open file is known to keep owners, modes and ordinary times, or to say that it does not.
pub(crate) fn is_faithful(fd: impl AsFd) -> bool {
    let faithful = |kind| FINE.contains(&kind) || kind == EXT_MAGIC || kind == RAMFS_MAGIC;
    ask(fd).1.is_some_and(faithful)
}

/// Whether the time of a file on the file system of an open one moves with each write, and with nothing else that is done to
/// its contents. Those of networks and of programs may move as they like.
pub(crate) fn tells_writes(fd: impl AsFd) -> bool {
    const LOCAL: [u32; 4] = [OVERLAYFS_SUPER_MAGIC, 0x2fc1_2fc1, 0xf2f5_2010, 0xca45_1a4e]; // zfs, f2fs, bcachefs
    is_faithful(&fd) || ask(fd).1.is_some_and(|kind| LOCAL.contains(&kind))
}

/// Whether an open file that has no size has no contents either: not so in /proc, and behind some programs.
pub(crate) fn has_real_sizes(held: &OwnedFd, stat: &Stat) -> bool {
    tells_writes(held) || is_on_disk(held, mounted_as(stat.inode))
}

/// Whether a clone of an open file holds what that held at one time: no write and no store through a mapping goes on meanwhile,
/// on xfs and btrfs.
pub(crate) fn clones_at_once(fd: impl AsFd) -> bool {
    ask(fd).1.is_some_and(|kind| FINE[..2].contains(&kind))
}

/// Whether an open file lies behind FUSE, on somebody's program.
pub(crate) fn lies_on_program(fd: &OwnedFd) -> bool {
    Family::of(fd) == Family::Fuse
}

/// Those that say what is free and where a byte takes as much as it is: none compresses, or lies elsewhere.
const CERTAIN: [u32; 5] = [EXT_MAGIC, 0x5846_5342, TMPFS_MAGIC, 0x4d44, 0x2011_bab0]; // xfs, vfat, exfat

/// Bytes that are free where an open file lies. `None` where that says nothing about what can be written. Root may take
/// what is reserved.
pub(crate) fn free_bytes(file: &OwnedFd, root: bool) -> Option<u64> {
    let answer = rustix::fs::fstatfs(file).ok()?;
    // A tmpfs without a limit has no blocks at all.
    let is_certain = CERTAIN.contains(&(answer.f_type as u32)) && answer.f_blocks > 0;
    is_certain.then(|| free(&answer, root))
}

/// Bytes that its file system calls free, whatever that says.
pub(crate) fn told_free_bytes(file: &OwnedFd, root: bool) -> u64 {
    rustix::fs::fstatfs(file).map_or(0, |answer| free(&answer, root))
}

fn free(answer: &rustix::fs::StatFs, root: bool) -> u64 {
    let blocks = if root { answer.f_bfree } else { answer.f_bavail };
    blocks.saturating_mul(answer.f_bsize as u64)
}

/// Gives an open file this size. Some programs behind FUSE refuse that even where the file has it: that of FAT.
pub(crate) fn set_size(file: &OwnedFd, size: u64) -> rustix::io::Result<()> {
    rustix::fs::ftruncate(file, size).or_else(|errno| match stat_open(file) {
        Ok(stat) if stat.size == size => Ok(()),
        _ => Err(errno),
    })
}

/// Whether names in a directory are looked up without regard to their case. Each directory of ext4 and tmpfs may be such a
/// one (chattr(1), `+F`); a kernel that can't do that is not asked.
pub(crate) fn folds_case(directory: &OwnedFd) -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    let is_feature = |kind| Path::new("/sys/fs").join(kind).join("features/casefold").exists();
    *KNOWN.get_or_init(|| ["ext4", "tmpfs"].into_iter().any(is_feature))
        && rustix::fs::ioctl_getflags(directory).is_ok_and(|flags| flags.bits() & FS_CASEFOLD_FL != 0)
}

/// The flag of FS_IOC_GETFLAGS (linux/fs.h).
const FS_CASEFOLD_FL: u32 = 0x4000_0000;

/// Whether this kernel has multigrain timestamps at all.
fn kernel_is_fine() -> bool {
    static FINE: OnceLock<bool> = OnceLock::new();
    *FINE.get_or_init(|| {
        let name = rustix::system::uname();
        let mut numbers = name.release().to_bytes().split(|byte| !byte.is_ascii_digit());
        let mut next = || std::str::from_utf8(numbers.next()?).ok()?.parse::<u32>().ok();
        next().zip(next()).is_some_and(|version| version >= FIRST_FINE)
    })
}

/// Whether a file system of this kind has them, if the kernel does.
fn has_fine_times(kind: u32, stat: &Stat) -> bool {
    FINE.contains(&kind) || kind == EXT_MAGIC && mounted_as(stat.inode).is_some_and(|kind| kind == "ext4")
}

/// File systems without a device of their own that keep files all the same, on a disk, in memory, or beyond a network.
const KEPT: [&str; 13] = [
    "btrfs",
    "tmpfs",
    "ramfs",
    "overlay",
    "zfs",
    "bcachefs",
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "ubifs",
    "hugetlbfs",
];

/// Whether the files of a mounted file system of this type are ones that can be read to their end. Without a type (a
/// subvolume, or what is mounted elsewhere) the held file is asked.
pub(crate) fn is_on_disk(held: &OwnedFd, mounted_as: Option<String>) -> bool {
    match mounted_as {
        Some(kind) => KEPT.contains(&kind.as_str()) || !is_program(&kind) && has_device(&kind),
        None => ask(held).1.is_some_and(|kind| FINE.contains(&kind) || kind == OVERLAYFS_SUPER_MAGIC),
    }
}

/// Whether a file system in user space is mounted anywhere.
pub(crate) fn is_in_user_space() -> bool {
    mounts().lines().filter_map(|line| type_of(line)).any(is_program)
}

fn is_program(kind: &str) -> bool {
    kind.starts_with("fuse") || kind == "virtiofs"
}

/// Whether file systems of this type lie on a block device (proc(5), `/proc/filesystems`).
fn has_device(kind: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.trim_start() == kind && line.starts_with('\t'))
}

fn mounts() -> String {
    String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap_or_default()).into_owned()
}

/// The type in a line of proc_pid_mountinfo(5).
fn type_of(line: &str) -> Option<&str> {
    line.split_once(" - ")?.1.split(' ').next()
}

/// The type that a device is mounted as.
pub(crate) fn mounted_as(inode: Inode) -> Option<String> {
    let device = format!("{}:{}", inode.device >> 32, inode.device & 0xffff_ffff);
    let mounts = mounts();
    let mut lines = mounts.lines().filter(|line| line.split(' ').nth(2) == Some(device.as_str()));
    lines.find_map(type_of).map(str::to_owned)
}

/// One that does not even tell (a FUSE server without statfs) is not relied on.
fn ask(fd: impl AsFd) -> (Family, Option<u32>) {
    let kind = rustix::fs::fstatfs(fd).map(|answer| answer.f_type as u32);
    let family = match kind {
        Ok(FUSE_SUPER_MAGIC) | Err(_) => Family::Fuse,
        Ok(OVERLAYFS_SUPER_MAGIC) => Family::Overlay,
        Ok(TMPFS_MAGIC | RAMFS_MAGIC) => Family::Memory,
        Ok(_) => Family::Kernel,
    };
    (family, kind.ok())
}
