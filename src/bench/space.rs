//! Room: how much a case takes, and whether the directory and the memory have it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use indicatif::{BinaryBytes, HumanCount};
use walkdir::WalkDir;

use crate::bench::data::{Piece, What};
use crate::bench::plan::go_on;
use ringsync::Stop;

/// File systems give room in blocks of this many bytes, mostly.
const BLOCK: u64 = 4096;

/// How large a tree is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Files, directories and all others.
    pub(crate) entries: u64,
    /// The sizes of all files together.
    pub(crate) contents: u64,
    /// What it takes on a disk, roughly, if holes are filled.
    room: u64,
    /// The same of the largest file.
    largest: u64,
}

impl Size {
    fn add(&mut self, contents: u64) {
        let room = contents.next_multiple_of(BLOCK).max(BLOCK);
        self.entries += 1;
        self.contents += contents;
        self.room += room;
        self.largest = self.largest.max(room);
    }

    pub(crate) fn of_pieces(pieces: impl Iterator<Item = Piece>) -> Size {
        let mut size = Size::default();
        size.add(0); // the root
        for piece in pieces {
            size.add(match piece.what {
                What::File { size, .. } | What::Sparse { size, .. } => size,
                What::Directory | What::Symlink(_) | What::HardLink(_) => 0,
            });
        }
        size
    }

    pub(crate) fn of_tree(root: &Path, stop: &Stop) -> anyhow::Result<Size> {
        let mut size = Size::default();
        for entry in WalkDir::new(root) {
            go_on(stop)?;
            let metadata = entry.and_then(|entry| entry.metadata()).context("read the source")?;
            size.add(if metadata.is_file() { metadata.size() } else { 0 });
        }
        Ok(size)
    }

    /// What this number of whole trees takes, and one more of the largest file: some tools write a new one beside the
    /// old one.
    pub(crate) fn room_for(self, trees: u64) -> Room {
        let bytes = self.room * trees + self.largest;
        // Directories, maps of extents and journals.
        Room { bytes: bytes + bytes / 20, inodes: self.entries * trees + 1 }
    }
}

/// Room on a file system: what there is, or what is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

impl Room {
    /// What a user may still take below a directory. What has no limit is very much.
    pub(crate) fn free_in(directory: &Path) -> anyhow::Result<Room> {
        let stat = rustix::fs::statvfs(directory).context("find out how much is free")?;
        let or_all = |limited: bool, free: u64| if limited { free } else { u64::MAX };
        Ok(Room {
            bytes: or_all(stat.f_blocks > 0, stat.f_bavail.saturating_mul(stat.f_frsize)),
            inodes: or_all(stat.f_files > 0, stat.f_favail),
        })
    }

    /// Why this is not enough, if it is not.
    pub(crate) fn lacks(self, needed: Room) -> Option<String> {
        if self.bytes < needed.bytes {
            Some(format!("{} are free, {} are needed", BinaryBytes(self.bytes), BinaryBytes(needed.bytes)))
        } else if self.inodes < needed.inodes {
            let (free, needed) = (HumanCount(self.inodes), HumanCount(needed.inodes));
            Some(format!("it can take {free} more files, {needed} are needed"))
        } else {
            None
        }
    }
}

/// What the kernel says of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// Used for nothing.
    pub(crate) free: u64,
    /// Free, or could be.
    pub(crate) available: u64,
}

impl Memory {
    /// What the machine has; less, where a control group (version 2) has less.
    pub(crate) fn now() -> Memory {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let memory = Memory::parsed(&read("/proc/meminfo"));
        let number = |path| read(path).trim().parse::<u64>().ok();
        match (number("/sys/fs/cgroup/memory.max"), number("/sys/fs/cgroup/memory.current")) {
            (Some(most), Some(current)) => {
                let left = most.saturating_sub(current);
                Memory {
                    total: memory.total,
                    free: memory.free.min(left),
                    available: memory.available.min(left),
                }
            }
            _ => memory,
        }
    }

    /// Reads proc(5)'s `meminfo`.
    fn parsed(text: &str) -> Memory {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(':')?.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        let get = |name| value(name).unwrap_or_default();
        Memory { total: get("MemTotal"), free: get("MemFree"), available: get("MemAvailable") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::data::Case;

    #[test]
    fn a_set_takes_what_its_files_take_in_blocks() {
        let size = Size::of_pieces(Case::Small.pieces(0.01));
        assert_eq!(size.entries, 1 + 5 + 1000);
        assert_eq!((size.contents, size.room), (1000 * 6144, 1000 * 8192 + 6 * 4096));
        let room = size.room_for(2);
        assert!(room.bytes >= 2 * size.room + 8192 && room.inodes == 2 * 1006 + 1);
        let home = tempfile::tempdir().unwrap();
        crate::bench::data::write(Case::Small, 0.01, home.path(), &Stop::default()).unwrap();
        assert_eq!(Size::of_tree(home.path(), &Stop::default()).unwrap(), size, "planned is what is there");
    }

    #[test]
    fn too_little_is_told() {
        let free = Room { bytes: 1 << 20, inodes: 10 };
        assert_eq!(free.lacks(Room { bytes: 1 << 20, inodes: 10 }), None);
        let text = free.lacks(Room { bytes: 2 << 20, inodes: 10 });
        assert_eq!(text.unwrap(), "1.00 MiB are free, 2.00 MiB are needed");
        let text = free.lacks(Room { bytes: 0, inodes: 1100 });
        assert_eq!(text.unwrap(), "it can take 10 more files, 1,100 are needed");
    }

    #[test]
    fn memory_is_read_from_what_the_kernel_prints() {
        let text = "MemTotal:       24 kB\nMemFree:         2 kB\nMemAvailable:   20 kB\nBuffers: 1 kB\n";
        assert_eq!(Memory::parsed(text), Memory { total: 24 << 10, free: 2 << 10, available: 20 << 10 });
        assert_eq!(Memory::parsed(""), Memory::default());
    }
}
