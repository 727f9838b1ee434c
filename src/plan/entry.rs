//! One stat of one file, in the shape the rest of the program asks for.

use rustix::fs::{FileType, Statx, StatxFlags};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

impl Kind {
    /// The word used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symlink",
            Kind::Fifo => "fifo",
            Kind::Socket => "socket",
            Kind::CharDevice => "char-device",
            Kind::BlockDevice => "block-device",
        }
    }

    /// A FIFO, a socket or a device: a name with no contents of its own.
    pub fn is_special(self) -> bool {
        matches!(self, Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice)
    }

    /// A device node, which only root may make.
    pub fn is_device(self) -> bool {
        matches!(self, Kind::CharDevice | Kind::BlockDevice)
    }

    /// The type for `mknodat`.
    pub(crate) fn file_type(self) -> FileType {
        match self {
            Kind::File => FileType::RegularFile,
            Kind::Directory => FileType::Directory,
            Kind::Symlink => FileType::Symlink,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
        }
    }

    fn from_mode(mode: u32) -> Kind {
        Kind::from(FileType::from_raw_mode(mode))
    }
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            _ => Kind::File,
        }
    }
}

impl From<std::fs::FileType> for Kind {
    fn from(kind: std::fs::FileType) -> Self {
        use std::os::unix::fs::FileTypeExt;
        match kind {
            k if k.is_dir() => Kind::Directory,
            k if k.is_symlink() => Kind::Symlink,
            k if k.is_fifo() => Kind::Fifo,
            k if k.is_socket() => Kind::Socket,
            k if k.is_char_device() => Kind::CharDevice,
            k if k.is_block_device() => Kind::BlockDevice,
            _ => Kind::File,
        }
    }
}

/// A point in time: seconds since 1970 and nanoseconds past them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Time {
    /// No time that a source could have, and far from all of them.
    pub(crate) const NEVER: Time = Time { seconds: i64::MIN, nanoseconds: 0 };
}

/// An inode of this machine: device and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Inode {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

impl Inode {
    fn new((major, minor): (u32, u32), number: u64) -> Self {
        Inode { device: (u64::from(major) << 32) | u64::from(minor), number }
    }
}

/// What statx(2) or fstat(2) told of one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// Bytes on the disk, as far as the file system says.
    pub(crate) allocated: u64,
    pub(crate) links: u32,
    pub(crate) modified: Time,
    pub(crate) changed: Time,
    pub(crate) inode: Inode,
    /// The device a device node stands for.
    pub(crate) device_node: (u32, u32),
}

impl Stat {
    /// The fields of `statx` that this type needs.
    pub(crate) const FIELDS: StatxFlags = StatxFlags::BASIC_STATS;

    /// Bytes that are no hole, as far as the file system says.
    pub(crate) fn data(&self) -> u64 {
        self.size.min(self.allocated)
    }

    /// Whether the file was written to, or its inode changed, between two stats.
    pub(crate) fn differs_in_time(&self, other: &Stat) -> bool {
        (self.size, self.modified, self.changed) != (other.size, other.modified, other.changed)
    }
}

impl From<&rustix::fs::Stat> for Stat {
    fn from(stat: &rustix::fs::Stat) -> Self {
        let split = |device| (rustix::fs::major(device), rustix::fs::minor(device));
        Stat {
            kind: Kind::from_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            allocated: (stat.st_blocks as u64).saturating_mul(512),
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            modified: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            changed: Time { seconds: stat.st_ctime, nanoseconds: stat.st_ctime_nsec as u32 },
            inode: Inode::new(split(stat.st_dev), stat.st_ino),
            device_node: split(stat.st_rdev),
        }
    }
}

impl From<&Statx> for Stat {
    fn from(x: &Statx) -> Self {
        let mode = u32::from(x.stx_mode);
        let time = |t: &rustix::fs::StatxTimestamp| Time { seconds: t.tv_sec, nanoseconds: t.tv_nsec };
        Stat {
            kind: Kind::from_mode(mode),
            mode: mode & 0o7777,
            uid: x.stx_uid,
            gid: x.stx_gid,
            size: x.stx_size,
            allocated: x.stx_blocks.saturating_mul(512),
            links: x.stx_nlink,
            modified: time(&x.stx_mtime),
            changed: time(&x.stx_ctime),
            inode: Inode::new((x.stx_dev_major, x.stx_dev_minor), x.stx_ino),
            device_node: (x.stx_rdev_major, x.stx_rdev_minor),
        }
    }
}
