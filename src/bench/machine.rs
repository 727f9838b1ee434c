//! What a figure must be read with: the machine, its kernel, and the file systems.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::bench::space::Memory;

/// Where and when it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// In the machine's zone, with the offset.
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) processor: Option<String>,
    pub(crate) cores: usize,
    /// In bytes.
    pub(crate) memory: u64,
    /// Where the copies are made.
    pub(crate) destination: FileSystem,
    /// Where they are made from.
    pub(crate) source: FileSystem,
}

impl Machine {
    pub(crate) fn find(source: &Path, destination: &Path) -> anyhow::Result<Machine> {
        let name = rustix::system::uname();
        let text = |bytes: &std::ffi::CStr| bytes.to_string_lossy().into_owned();
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Machine {
            date: Timestamp::now()
                .to_zoned_datetime(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M %:z")
                .to_string(),
            kernel: format!("{} {} {}", text(name.sysname()), text(name.release()), text(name.machine())),
            processor: model.map(|(_, model)| model.trim().to_string()),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            memory: Memory::now().total,
            destination: FileSystem::of(destination)?,
            source: FileSystem::of(source)?,
        })
    }
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FileSystem {
    /// `ext4`.
    pub(crate) kind: String,
    /// What is mounted: `/dev/sda1`.
    pub(crate) device: String,
    /// How: `rw,noatime`.
    pub(crate) options: String,
}

impl FileSystem {
    /// That of an absolute path without symlinks.
    pub(crate) fn of(path: &Path) -> anyhow::Result<FileSystem> {
        let mounts = std::fs::read("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let unknown =
            || FileSystem { kind: "unknown".into(), device: "unknown".into(), options: String::new() };
        Ok(FileSystem::listed(&mounts, path).unwrap_or_else(unknown))
    }

    /// The one that proc(5)'s `mountinfo` lists for the longest path above this one: of two there, the later covers the
    /// earlier.
    fn listed(mounts: &[u8], path: &Path) -> Option<FileSystem> {
        let mount = |line: &[u8]| {
            let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
            let point = unescaped(fields.get(4)?);
            let end = fields.iter().position(|field| *field == b"-")?;
            let text =
                |at: usize| fields.get(at).map(|field| unescaped(field).to_string_lossy().into_owned());
            Some((
                PathBuf::from(point),
                FileSystem { kind: text(end + 1)?, device: text(end + 2)?, options: text(5)? },
            ))
        };
        let above =
            mounts.split(|&byte| byte == b'\n').filter_map(mount).filter(|(at, _)| path.starts_with(at));
        // The last of the greatest.
        above.max_by_key(|(point, _)| point.as_os_str().len()).map(|(_, found)| found)
    }

    /// Whether it is the page cache and nothing else, so that nothing in it can be cold.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs" | "rootfs")
    }
}

/// Blanks and the like are written in octal, `\040`.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
        22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 22 0:26 / /mnt rw shared:3 - xfs /dev/old rw\n\
        31 22 0:27 / /mnt rw,noatime shared:3 master:1 - btrfs /dev/vdb rw,space_cache\n\
        32 31 0:28 / /mnt/a\\040b rw - tmpfs tmpfs rw\n";

    #[test]
    fn the_nearest_mount_above_counts() {
        let kind = |path: &str| FileSystem::listed(MOUNTS, path.as_ref()).unwrap().kind;
        assert_eq!(kind("/"), "ext4");
        assert_eq!(kind("/mntx"), "ext4");
        assert_eq!(kind("/mnt/a"), "btrfs");
        assert_eq!(kind("/mnt/a b/c"), "tmpfs");
        let found = FileSystem::listed(MOUNTS, "/mnt".as_ref()).unwrap();
        assert_eq!((found.device.as_str(), found.options.as_str()), ("/dev/vdb", "rw,noatime"));
        assert!(!found.is_memory());
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_file_system() {
        let machine = Machine::find("/".as_ref(), "/proc".as_ref()).unwrap();
        assert!(machine.kernel.starts_with("Linux ") && machine.memory > 0 && machine.cores > 0);
        assert_eq!(machine.destination.kind, "proc");
    }
}
