//! One stat of one file, in the shape the rest of the program asks for.

use std::ffi::CStr;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use crate::event::{Attributes, Kind};

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

impl fmt::Display for Time {
    /// In UTC, as RFC 3339 has it, with as many nanoseconds as it has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        // Counted in eras of 400 years from 1 March of the year 0, so that a leap day is a year's last.
        let days = days.saturating_add(719_468);
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (year, month) = match month {
            0..10 => (era * 400 + year, month + 3),
            _ => (era * 400 + year + 1, month - 9),
        };
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        match self.nanoseconds {
            0 => f.write_str("Z"),
            nanoseconds => write!(f, ".{nanoseconds:09}Z"),
        }
    }
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

/// A file, as far as a stat tells one from another. Union file systems make inode numbers up, and may give one to two files:
/// then all else that the names of one file have in common decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) inode: Inode,
    /// All the rest, hashed: there is one for each hard link.
    rest: u64,
}

impl Identity {
    /// That of a file by the time of its birth, where the file system keeps it.
    pub(crate) fn of_birth(x: &Statx) -> Option<Identity> {
        if !StatxFlags::from_bits_retain(x.stx_mask).contains(StatxFlags::BTIME) {
            return None;
        }
        let mut rest = DefaultHasher::new();
        let stat = Stat::from(x);
        (stat.kind.name(), x.stx_btime.tv_sec, x.stx_btime.tv_nsec).hash(&mut rest);
        Some(Identity { inode: stat.inode, rest: rest.finish() })
    }
}

/// What statx(2) or fstat(2) returned for one file.
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
    /// Why the ACL of a source, whose mask stands in the group's place, could not be read: then the group has nothing.
    pub(crate) acl_unread: Option<Errno>,
}

impl Stat {
    /// The fields of `statx` that this type needs.
    pub(crate) const FIELDS: StatxFlags = StatxFlags::BASIC_STATS;

    /// Bytes that are no hole, as far as the file system says.
    pub(crate) fn data(&self) -> u64 {
        self.size.min(self.allocated)
    }

    /// Which file it is. Its mode counts only `with_mode`: it may have been taken from the destination's name. Of a union what
    /// changes with each new name counts as well. Elsewhere a run may give the file such a name itself: `--link-dest`.
    pub(crate) fn identity(&self, with_mode: bool, of_union: bool) -> Identity {
        let time = |time: Time| (time.seconds, time.nanoseconds);
        let mut rest = DefaultHasher::new();
        (self.kind.name(), self.size, time(self.modified), self.device_node).hash(&mut rest);
        (self.uid, self.gid, with_mode.then_some(self.mode)).hash(&mut rest);
        of_union.then(|| (time(self.changed), self.links)).hash(&mut rest);
        Identity { inode: self.inode, rest: rest.finish() }
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
            acl_unread: None,
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
            acl_unread: None,
        }
    }
}

/// Stats an open file. Its inode is in memory, so that this never waits.
pub(crate) fn stat_open(file: impl AsFd) -> rustix::io::Result<Stat> {
    rustix::fs::fstat(file).map(|stat| Stat::from(&stat))
}

/// A descriptor's link in /proc, which leads to the very inode it holds, wherever its names are by now (proc(5)).
pub(crate) fn proc_path(fd: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

impl From<&Stat> for Attributes {
    fn from(stat: &Stat) -> Self {
        let Stat { size, modified, mode, uid, gid, .. } = *stat;
        Attributes { size, modified: (modified.seconds, modified.nanoseconds), mode, uid, gid }
    }
}

/// Whether something is mounted at a name, or with an empty one at a directory itself. Kernels before 5.8 only show it by
/// another device.
pub(crate) fn is_mount_point(directory: &OwnedFd, name: &CStr) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let Ok(found) = rustix::fs::statx(directory, name, flags, StatxFlags::TYPE) else { return false };
    match found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        true => found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        false => {
            let above = if name.is_empty() { c".." } else { c"." };
            let above = rustix::fs::statx(directory, above, AtFlags::empty(), StatxFlags::TYPE);
            let device = |x: &rustix::fs::Statx| (x.stx_dev_major, x.stx_dev_minor);
            above.is_ok_and(|above| device(&above) != device(&found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_as_a_date() {
        for (seconds, nanoseconds, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (-1, 5, "1969-12-31T23:59:59.000000005Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (2_147_483_647, 0, "2038-01-19T03:14:07Z"),
            (4_354_819_198, 0, "2107-12-31T23:59:58Z"),
            (-2_203_891_200, 0, "1900-03-01T00:00:00Z"),
            (4_107_542_400, 100, "2100-03-01T00:00:00.000000100Z"),
        ] {
            assert_eq!(Time { seconds, nanoseconds }.to_string(), text);
        }
    }
}
