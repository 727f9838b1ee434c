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

    /// A ramfs, whose times move with the ticks of the clock.
    pub fn ramfs() -> Mount {
        let home = scratch();
        let point = home.path().join("mnt");
        std::fs::create_dir(&point).expect("a mount point");
        tool("mount", &["-t", "ramfs", "ramfs", text(&point)]);
        Mount { point, _home: home }
    }

    /// A tmpfs on a directory of the test's own.
    pub fn tmpfs_at(point: &Path, size: &str) -> Mount {
        tool("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", text(point)]);
        Mount { point: point.to_path_buf(), _home: scratch() }
    }

    /// Mounts what an image file holds.
    pub fn of_image(image: &Path) -> Mount {
        let home = scratch();
        let point = home.path().join("mnt");
        std::fs::create_dir(&point).expect("a mount point");
        tool("mount", &["-o", "loop", text(image), text(&point)]);
        Mount { point, _home: home }
    }

    /// An NTFS that does not tell names apart by case, and takes none that Windows does not.
    pub fn ntfs(size: &str) -> Mount {
        let home = scratch();
        let (point, image) = (home.path().join("mnt"), home.path().join("image"));
        std::fs::create_dir(&point).expect("a mount point");
        tool("truncate", &["-s", size, text(&image)]);
        tool("mkntfs", &["--force", "--quick", "--quiet", text(&image)]);
        let options = "ignore_case,windows_names,streams_interface=none";
        tool("lowntfs-3g", &["-o", options, text(&image), text(&point)]);
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

    /// An overlay over `lower`, with what is written to it in `home`.
    pub fn overlay(lower: &Path, home: &Path) -> Mount {
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| home.join(name));
        for directory in [&upper, &work, &merged] {
            std::fs::create_dir(directory).expect("a directory");
        }
        let [lower, upper, work] = [lower, &upper, &work].map(text);
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        tool("mount", &["-t", "overlay", "overlay", "-o", &options, text(&merged)]);
        Mount { point: merged, _home: scratch() }
    }

    /// What a program makes a file system of, through FUSE; the mount point is its last argument.
    pub fn of_program(program: &str, arguments: &[&str]) -> Mount {
        let home = scratch();
        let point = home.path().join("mnt");
        std::fs::create_dir(&point).expect("a mount point");
        tool(program, &[arguments, &[text(&point)]].concat());
        Mount { point, _home: home }
    }

    /// An exFAT file system by its program, which takes block devices alone.
    pub fn exfat() -> Mount {
        let home = scratch();
        let (point, image) = (home.path().join("mnt"), home.path().join("image"));
        std::fs::create_dir(&point).expect("a mount point");
        tool("truncate", &["-s", "16M", text(&image)]);
        tool("mkfs.exfat", &[text(&image)]);
        let device = tool("losetup", &["--find", "--show", text(&image)]);
        let mounted = std::panic::catch_unwind(|| tool("mount.exfat-fuse", &[device.trim(), text(&point)]));
        // It goes with the mount, or at once where there is none.
        tool("losetup", &["--detach", device.trim()]);
        mounted.expect("a mount");
        Mount { point, _home: home }
    }

    pub fn path(&self) -> &Path {
        &self.point
    }
}

/// A file system in an image, to be mounted, changed from below, and mounted again.
pub struct Image {
    home: tempfile::TempDir,
}

impl Image {
    /// A new one, with further options of its mkfs(8).
    pub fn new(kind: &str, size: &str, options: &[&str]) -> Image {
        Image::at(scratch(), kind, size, options)
    }

    /// The same in a directory, which goes with it.
    pub fn at(home: tempfile::TempDir, kind: &str, size: &str, options: &[&str]) -> Image {
        let image = Image { home };
        tool("truncate", &["-s", size, text(&image.path())]);
        let path = image.path();
        tool(&format!("mkfs.{kind}"), &[&["-q"], options, &[text(&path)]].concat());
        image
    }

    pub fn path(&self) -> PathBuf {
        self.home.path().join("image")
    }

    /// The bytes from `size` on are gone.
    pub fn truncate(&self, size: u64) {
        let image = std::fs::File::options().write(true).open(self.path());
        image.and_then(|image| image.set_len(size)).expect("an image to cut");
    }

    pub fn mount(&self) -> ImageMount<'_> {
        self.mount_with("loop")
    }

    pub fn mount_read_only(&self) -> ImageMount<'_> {
        self.mount_with("loop,ro")
    }

    fn mount_with(&self, options: &str) -> ImageMount<'_> {
        let point = self.home.path().join("mnt");
        std::fs::create_dir_all(&point).expect("a mount point");
        tool("mount", &["-o", options, text(&self.path()), text(&point)]);
        ImageMount { point, _image: self }
    }
}

/// An image that is mounted. Once this is dropped, all of it is in the image.
pub struct ImageMount<'a> {
    point: PathBuf,
    _image: &'a Image,
}

impl ImageMount<'_> {
    pub fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for ImageMount<'_> {
    fn drop(&mut self) {
        // Not lazily, except after a failure: the next look at the image must see everything.
        let unmount = |options: &[&str]| Command::new("umount").args(options).arg(&self.point).status();
        let done = unmount(&[]).is_ok_and(|status| status.success());
        if !done && !unmount(&["--lazy"]).is_ok_and(|status| status.success()) {
            eprintln!("could not unmount {}", self.point.display());
        }
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
