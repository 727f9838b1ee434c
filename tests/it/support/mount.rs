//! File systems of the test's own: made in an image, mounted, and gone when dropped, also after a failure.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{scratch, tool};

/// A mounted file system.
pub struct Mount {
    point: PathBuf,
    // Dropped after the unmount: it holds the mount point and the image.
    _home: tempfile::TempDir,
}

impl Mount {
    /// A new file system of `kind` with room for `size`, in the words of truncate(1).
    pub fn new(kind: &str, size: &str) -> Mount {
        let home = scratch();
        let point = home.path().join("mnt");
        std::fs::create_dir(&point).expect("a mount point");
        if kind == "tmpfs" {
            let options = format!("size={size}");
            tool("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", text(&point)]);
        } else {
            let image = home.path().join("image");
            tool("truncate", &["-s", size, text(&image)]);
            tool(&format!("mkfs.{kind}"), &["-q", text(&image)]);
            tool("mount", &["-o", "loop", text(&image), text(&point)]);
        }
        Mount { point, _home: home }
    }

    /// Mounts what an image file holds.
    pub fn of_image(image: &Path) -> Mount {
        let home = scratch();
        let point = home.path().join("mnt");
        std::fs::create_dir(&point).expect("a mount point");
        tool("mount", &["-o", "loop", text(image), text(&point)]);
        Mount { point, _home: home }
    }

    /// A second view of a directory.
    pub fn bind(directory: &Path) -> Mount {
        let home = scratch();
        let point = home.path().join("mnt");
        std::fs::create_dir(&point).expect("a mount point");
        tool("mount", &["--bind", text(directory), text(&point)]);
        Mount { point, _home: home }
    }

    pub fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, so that a process that still runs in it does not keep it; the loop device goes with the mount.
        let status = Command::new("umount").arg("--lazy").arg(&self.point).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("could not unmount {}", self.point.display());
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are text")
}
