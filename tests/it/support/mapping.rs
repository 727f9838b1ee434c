//! A process that stores to a file through a mapping (mmap(2), `MAP_SHARED`), and has it open in no other way: xfs_io(8).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// It ends when this is dropped.
pub struct Mapping {
    child: Child,
    commands: ChildStdin,
    path: PathBuf,
    size: usize,
}

impl Mapping {
    /// Maps all of a file, and stores ones to it.
    pub fn new(path: &Path) -> Mapping {
        let mut command = Command::new("xfs_io");
        command.arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("xfs_io");
        let commands = child.stdin.take().expect("its input");
        let size = fs::metadata(path).expect("a file to map").len() as usize;
        let mut mapping = Mapping { child, commands, path: path.to_path_buf(), size };
        mapping.tell(&format!("mmap -rw 0 {size}\nclose\n"));
        mapping.store(1);
        mapping
    }

    fn tell(&mut self, commands: &str) {
        self.commands.write_all(commands.as_bytes()).expect("a mapping that takes commands");
    }

    /// Has this byte stored to all of the file some time.
    pub fn begin_to_store(&mut self, byte: u8) {
        let size = self.size;
        self.tell(&format!("mwrite -S {byte} 0 {size}\n"));
    }

    /// The same, and waits for it.
    pub fn store(&mut self, byte: u8) {
        self.begin_to_store(byte);
        let begun = Instant::now();
        while fs::read(&self.path).expect("the file").iter().any(|&found| found != byte) {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is stored");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
