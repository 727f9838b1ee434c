//! SRC and DST: which file system it is, and what a look at it tells. A look opens the place by `O_PATH`, and reads nothing.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::bench::machine::FileSystem;
use crate::doctor::finding::{Findings, Found, Subject};
use crate::doctor::machine::Machine;
use ringsync::Escaped;

/// What is known of SRC or DST.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// As it was named.
    pub(crate) path: PathBuf,
    /// What was looked at: the nearest directory above, where there is none of this path.
    pub(crate) used: PathBuf,
    /// How many directories are missing on the way, the last one included.
    pub(crate) missing: usize,
    pub(crate) is_directory: bool,
    /// What kind it is: `ext4`.
    pub(crate) kind: String,
    /// What is mounted: `/dev/sda1`.
    pub(crate) device: String,
    /// How: `rw,noatime`.
    pub(crate) options: String,
    /// `st_dev`.
    pub(crate) number: u64,
    /// It lies inside SRC, on another file system.
    pub(crate) is_mounted_in_source: bool,
    /// Bytes that may still be written. `None`: no limit of its own.
    pub(crate) free: Option<u64>,
    /// Files that may still be made. `None`: no limit of its own.
    pub(crate) inodes: Option<u64>,
    pub(crate) findings: Findings,
}

impl Place {
    /// Looks at SRC.
    ///
    /// # Errors
    /// When it is not there, or can't be read.
    pub(crate) fn source(path: &Path, machine: &Machine) -> anyhow::Result<Place> {
        let what = || format!("use source {}", Escaped::path(path));
        let held = open(path).map_err(std::io::Error::from).with_context(what)?;
        let mut place = Place::look(path, path.to_path_buf(), &held).with_context(what)?;
        let access = if place.is_directory { Access::READ_OK | Access::EXEC_OK } else { Access::READ_OK };
        let readable = rustix::fs::accessat(CWD, proc_path(&held), access, AtFlags::EACCESS);
        readable.map_err(std::io::Error::from).with_context(what)?;
        place.findings = findings(&proc_path(&held), &place.kind, machine.has_trusted());
        Ok(place)
    }

    /// Looks at DST, or at the directory in which it would be made.
    ///
    /// # Errors
    /// When it can't be one.
    pub(crate) fn destination(path: &Path, source_is_file: bool) -> anyhow::Result<Place> {
        let what = || format!("use destination {}", Escaped::path(path));
        let mut used = path.to_path_buf();
        let mut missing = 0;
        loop {
            let held = match open(&used) {
                // Of a file the symlink itself is replaced.
                Err(Errno::NOENT) if used.is_symlink() && !(source_is_file && missing == 0) => {
                    anyhow::bail!("{}: {} is a symlink to what does not exist", what(), Escaped::path(&used))
                }
                Err(Errno::NOENT) if above(&used).is_some() => {
                    used = above(&used).unwrap_or_default();
                    missing += 1;
                    continue;
                }
                held => held.map_err(std::io::Error::from).with_context(what)?,
            };
            let place = Place::look(path, used.clone(), &held).with_context(what)?;
            match above(&used) {
                _ if place.is_directory => return Ok(Place { missing, ..place }),
                // It would be replaced.
                Some(above) if source_is_file && missing == 0 => used = above,
                _ => anyhow::bail!("{}: {} is not a directory", what(), Escaped::path(&used)),
            }
        }
    }

    fn look(path: &Path, used: PathBuf, held: &OwnedFd) -> anyhow::Result<Place> {
        let stat = rustix::fs::fstat(held).map_err(std::io::Error::from)?;
        let room = rustix::fs::fstatvfs(held).map_err(std::io::Error::from)?;
        let magic = rustix::fs::fstatfs(held).map_err(std::io::Error::from)?.f_type as u64;
        let mounted = FileSystem::of(&used.canonicalize()?)?;
        let kind = if mounted.kind == "unknown" { kind_of(magic) } else { mounted.kind };
        Ok(Place {
            path: path.to_path_buf(),
            used,
            missing: 0,
            is_directory: FileType::from_raw_mode(stat.st_mode).is_dir(),
            kind,
            device: mounted.device,
            options: mounted.options,
            number: stat.st_dev,
            is_mounted_in_source: false,
            free: (room.f_blocks > 0).then_some(room.f_bavail.saturating_mul(room.f_frsize)),
            inodes: (room.f_files > 0).then_some(room.f_favail),
            findings: Findings::default(),
        })
    }

    /// Opens the directory that is used, to make something in it.
    pub(crate) fn directory(&self) -> anyhow::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.used, flags, Mode::empty()).map_err(std::io::Error::from);
        opened.with_context(|| format!("use destination {}", Escaped::path(&self.used)))
    }

    /// A program behind FUSE shows times from the kernel's memory, which its disk may not hold. exFAT's, which has no
    /// symlinks and whole seconds, holds the years of FAT.
    pub(crate) fn doubt_years(&mut self) {
        let Some(Found::Text(years)) = self.findings.get(Subject::TimeRange) else { return };
        let is_exfat = self.kind == "fuseblk"
            && self.findings.refusal(Subject::Symlinks).is_some()
            && self.findings.get(Subject::TimeStep) == Some(&Found::Nanoseconds(1_000_000_000));
        let years = match is_exfat {
            true => Found::No("only 1980 to 2107, as exFAT has (others last until it is unmounted)".into()),
            false if self.is_fuse() => {
                Found::Text(format!("{years}, as far as memory tells: a remount may show less"))
            }
            false => return,
        };
        self.findings.change(Subject::TimeRange, years);
    }

    /// Whether a program behind FUSE answers for it.
    pub(crate) fn is_fuse(&self) -> bool {
        self.kind.starts_with("fuse")
    }

    /// Whether it may be an NTFS, as far as its kind tells.
    pub(crate) fn may_be_ntfs(&self) -> bool {
        matches!(self.kind.as_str(), "fuse" | "fuseblk" | "ntfs" | "ntfs3")
    }

    /// Whether a server, or a program, answers for it: it may hang.
    pub(crate) fn is_remote(&self) -> bool {
        self.kind.starts_with("fuse.") || self.kind == "fuse" || NETWORK.contains(&self.kind.as_str())
    }
}

const NETWORK: [&str; 14] = [
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "beegfs", "lustre", "9p", "afs", "gpfs", "virtiofs",
    "vboxsf", "gfs2",
];

fn above(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() })
}

pub(super) fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn proc_path(held: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", held.as_raw_fd())
}

/// What a look at a place tells: whether it knows attributes and ACLs, and what its kind never has.
fn findings(path: &str, kind: &str, has_trusted: bool) -> Findings {
    let mut findings = Findings::default();
    for (subject, name) in [
        (Subject::UserAttributes, "user.ringsync"),
        (Subject::TrustedAttributes, "trusted.ringsync"),
        (Subject::Acls, "system.posix_acl_access"),
    ] {
        if subject != Subject::TrustedAttributes || has_trusted {
            findings.add(subject, known(rustix::fs::getxattr(path, name, &mut [0_u8; 0][..])));
        }
    }
    for &subject in lacking(kind) {
        if findings.get(subject).is_none() {
            findings.add(subject, Found::No(format!("{kind} has none")));
        }
    }
    findings
}

/// What the answer to the question for an attribute tells of the file system.
fn known(answer: rustix::io::Result<usize>) -> Found {
    match answer {
        Ok(_) | Err(Errno::NODATA | Errno::RANGE) => Found::Yes,
        Err(errno) => Found::No(std::io::Error::from(errno).to_string()),
    }
}

/// What FAT and exFAT never have. Names of theirs always fit names here.
const NOT_IN_FAT: [Subject; 17] = [
    Subject::UserAttributes,
    Subject::TrustedAttributes,
    Subject::Capabilities,
    Subject::Acls,
    Subject::Owners,
    Subject::Modes,
    Subject::SetId,
    Subject::TimeRange,
    Subject::HardLinks,
    Subject::Symlinks,
    Subject::Fifos,
    Subject::Devices,
    Subject::Case,
    Subject::TrailingDot,
    Subject::TrailingBlank,
    Subject::Characters,
    Subject::Bytes,
];
const NOT_ON_SERVERS_OF_WINDOWS: [Subject; 5] = [
    Subject::TrustedAttributes,
    Subject::Capabilities,
    Subject::Case,
    Subject::TrailingDot,
    Subject::TrailingBlank,
];

/// What file systems of other systems never have.
fn lacking(kind: &str) -> &'static [Subject] {
    match kind {
        "vfat" | "msdos" | "exfat" => &NOT_IN_FAT,
        "cifs" | "smb3" => &NOT_ON_SERVERS_OF_WINDOWS,
        _ => &[],
    }
}

/// The largest attributes that files can have on some kinds of file systems, in bytes.
pub(super) fn largest_attribute(kind: &str) -> Option<u64> {
    match kind {
        "xfs" | "tmpfs" | "zfs" => Some(64 << 10),
        "btrfs" => Some(12_000),
        "ext2" | "ext3" | "ext4" => Some(4_000),
        _ => None,
    }
}

/// What statfs(2) calls a file system, where no list of mounts tells.
fn kind_of(magic: u64) -> String {
    let name = match magic & 0xffff_ffff {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "cifs",
        0x6573_5546 => "fuse",
        0x4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x7366_746e => "ntfs3",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0xca45_1a4e => "bcachefs",
        0x1983_0326 => "beegfs",
        0x00c3_6400 => "ceph",
        0x0bd0_0bd0 => "lustre",
        0x0102_1997 => "9p",
        0x9660 => "iso9660",
        0x7371_7368 => "squashfs",
        0x482b => "hfsplus",
        other => return format!("a file system of number {other:#x}"),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_attribute_is_not_no_attributes() {
        assert_eq!(known(Err(Errno::NODATA)), Found::Yes);
        assert_eq!(known(Ok(28)), Found::Yes);
        assert!(matches!(known(Err(Errno::OPNOTSUPP)), Found::No(_)));
    }

    #[test]
    fn what_lies_above_a_path() {
        for (path, parent) in [("a", Some(".")), ("a/b", Some("a")), ("/a", Some("/")), ("/", None)] {
            assert_eq!(above(path.as_ref()), parent.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn numbers_of_file_systems_have_names() {
        assert_eq!(kind_of(0xef53), "ext4");
        assert_eq!(kind_of(0xffff_ffff_ff53_4d42), "cifs");
        assert_eq!(kind_of(0x1), "a file system of number 0x1");
    }
}
