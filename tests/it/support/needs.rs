//! What a test needs of the machine.

use std::path::Path;

/// A test, its name that of what it requires.
pub struct Test {
    pub name: &'static str,
    pub needs: &'static [Need],
    pub run: fn(),
}

/// Declares a module's tests: `tests![function, function: [Need], ...]`.
macro_rules! tests {
    ($($name:ident $(: [$($need:expr),*])?),* $(,)?) => {
        pub const TESTS: &[crate::support::needs::Test] = &[$(crate::support::needs::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            needs: &[$($($need),*)?],
            run: $name,
        }),*];
    };
}
pub(crate) use tests;

/// One thing that not every machine has.
#[derive(Clone, Copy)]
pub enum Need {
    Root,
    /// A program on PATH.
    Tool(&'static str),
    /// A file system that the kernel can mount from an image.
    FileSystem(&'static str),
    /// io_uring.
    Uring,
    /// A file system of the test's own, through FUSE.
    Fuse,
    /// Caches that may be dropped, which a container may not (proc_sys_vm(5), drop_caches).
    ColdCaches,
}

impl Need {
    /// What is missing, if it is.
    pub fn missing(self) -> Option<String> {
        match self {
            Need::Root => (!rustix::process::geteuid().is_root()).then(|| "root".into()),
            Need::Tool(name) => (!on_path(name)).then(|| format!("the program {name}")),
            Need::FileSystem(kind) => {
                let maker = format!("mkfs.{kind}");
                let root = Need::Root.missing();
                root.or_else(|| (!on_path(&maker)).then(|| format!("the program {maker}")))
                    .or_else(|| (!knows(kind)).then(|| format!("a kernel with {kind}")))
            }
            Need::Fuse => {
                let device = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
                let root = Need::Root.missing();
                root.or_else(|| device.err().map(|error| format!("/dev/fuse, which says: {error}")))
            }
            Need::ColdCaches => {
                let drop = std::fs::OpenOptions::new().write(true).open("/proc/sys/vm/drop_caches");
                drop.err().map(|error| format!("caches that may be dropped, but: {error}"))
            }
            Need::Uring => {
                io_uring::IoUring::new(2).err().map(|error| format!("io_uring, which says: {error}"))
            }
        }
    }
}

/// Whether there is such a program.
pub fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).exists())
        || Path::new("/usr/sbin").join(name).exists()
}

fn knows(kind: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_whitespace().last() == Some(kind))
        || std::process::Command::new("modprobe").arg(kind).status().is_ok_and(|status| status.success())
}
