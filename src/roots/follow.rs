//! Where a symlink of a tree leads: found one name at a time, from directories that are held, so that it is known of each
//! symlink on the way whose it is, and whether the way leaves the tree. A symlink that another user owns leads nowhere
//! that they could not get to themselves: otherwise they would have it copied to where they can read it.
//!
//! `..` leads to where the way came from, and not to where somebody has moved the directory meanwhile.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Astray, Cause};
use crate::event::Kind;
use crate::files::named::is_trusted;
use crate::io::path::open_directory;
use crate::metadata::xattr::{Holder, access_acl_of};
use crate::stat::{Inode, Stat, proc_path, stat_open};

/// Symlinks on one way, those that were followed to directories of the tree included: as many as the kernel follows
/// (path_resolution(7)).
const MOST_LINKS: usize = 40;

const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A name of a tree that is to be followed.
#[derive(Debug, Clone)]
pub(crate) struct Follow {
    /// The top of the tree, or what lies around it.
    pub(crate) top: Arc<OwnedFd>,
    /// Then the tree's own name there. That may be a symlink which the user has named, and may lead anywhere.
    pub(crate) own: Option<CString>,
    /// The directory that the name lies in, from the top.
    pub(crate) below: PathBuf,
    /// `None`: it is the tree itself.
    pub(crate) name: Option<CString>,
    /// What the directory is known to be.
    pub(crate) within: Option<Inode>,
    /// A directory that no way may lead into: the other tree.
    pub(crate) avoid: Option<Inode>,
    /// It may lead out of the tree.
    pub(crate) anywhere: bool,
    /// Symlinks of other users lead anywhere.
    pub(crate) insecure: bool,
}

/// What a name led to.
#[derive(Debug)]
pub(crate) struct Led {
    /// Held, not opened.
    pub(crate) fd: OwnedFd,
    pub(crate) stat: Stat,
    /// It lies in the tree: by this path from its top, which leads through no symlink.
    pub(crate) inside: Option<PathBuf>,
    /// A user who owns a symlink on the way, and is neither root nor the one who runs this.
    pub(crate) stranger: Option<u32>,
    /// Why it is not to be followed, if it is not.
    pub(crate) astray: Option<Astray>,
}

impl Led {
    /// Itself, if it may be followed.
    pub(crate) fn allowed(self) -> Result<Led, Cause> {
        match self.astray {
            Some(astray) => Err(Cause::NotFollowed(astray)),
            None => Ok(self),
        }
    }
}

/// On the way.
struct Way<'a> {
    follow: &'a Follow,
    top: Inode,
    /// Where the names in `down` begin: the top of the tree, if the way is inside.
    base: OwnedFd,
    down: Vec<Vec<u8>>,
    is_inside: bool,
    is_avoided: bool,
    /// Where the way has come to.
    fd: OwnedFd,
    /// Names to come, the next one last.
    names: Vec<Vec<u8>>,
    links: usize,
    strangers: Vec<u32>,
    barred: Option<u32>,
}

impl Follow {
    /// Goes to the end of the way.
    ///
    /// # Errors
    /// `ENOENT`: the name itself is not there.
    pub(crate) fn go(&self) -> Result<Led, Cause> {
        let mut way = self.way()?;
        let Some(name) = &self.name else {
            let (fd, stat) = (dup(&way.fd)?, stat_open(&way.fd)?);
            return Ok(way.led(fd, stat, None)?);
        };
        let links = way.links;
        way.push(name.to_bytes());
        let led = way.go();
        led.map_err(|errno| missing(errno, way.links > links))
    }

    /// The symlink's text.
    pub(crate) fn target(&self) -> Result<CString, Cause> {
        let (way, name) = (self.way()?, self.name.as_deref().unwrap_or_default());
        Ok(rustix::fs::readlinkat(&way.fd, name, Vec::with_capacity(256))?)
    }

    /// Directories between the name and the top of what is copied, as rsync counts them.
    pub(crate) fn depth(&self) -> usize {
        usize::from(self.own.is_some() && self.name.is_some()) + self.below.components().count()
    }

    /// Goes to the directory that the name lies in.
    fn way(&self) -> Result<Way<'_>, Cause> {
        let mut way = Way::new(self, dup(&self.top)?)?;
        if let Some(own) = &self.own {
            way.push(own.to_bytes());
            let led = way.go().map_err(|errno| missing(errno, way.links > 0))?;
            (way.fd, way.base, way.top, way.is_inside) = (dup(&led.fd)?, led.fd, led.stat.inode, true);
            way.down.clear();
        }
        way.go_down(&self.below)?;
        if self.within.is_some_and(|within| stat_open(&way.fd).map(|stat| stat.inode) != Ok(within)) {
            return Err(Cause::DirectoryReplaced);
        }
        Ok(way)
    }
}

/// What it means that something is missing on the way: behind a symlink, that this one leads to nothing.
fn missing(errno: Errno, is_behind_link: bool) -> Cause {
    match errno {
        Errno::NOENT | Errno::NOTDIR if is_behind_link => Cause::NotFollowed(Astray::Nowhere),
        errno => errno.into(),
    }
}

fn dup(fd: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 0)
}

impl<'a> Way<'a> {
    fn new(follow: &'a Follow, base: OwnedFd) -> rustix::io::Result<Self> {
        let (fd, top) = (dup(&base)?, stat_open(&base)?.inode);
        let (down, names, strangers) = (Vec::new(), Vec::new(), Vec::new());
        let (is_inside, is_avoided, links, barred) = (true, false, 0, None);
        Ok(Way { follow, top, base, down, is_inside, is_avoided, fd, names, links, strangers, barred })
    }

    fn push(&mut self, path: &[u8]) {
        let names = path.split(|&byte| byte == b'/').rev();
        self.names.extend(names.filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec));
    }

    /// Goes to a directory of the tree. There are symlinks on the way if some were followed before.
    fn go_down(&mut self, path: &Path) -> rustix::io::Result<()> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        if let Ok(fd) = open_directory(&self.base, bytes) {
            self.fd = fd;
            self.down = bytes.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect();
            return Ok(());
        }
        self.push(bytes);
        let led = self.go()?;
        if led.stat.kind == Kind::Directory { Ok(()) } else { Err(Errno::NOTDIR) }
    }

    /// Goes through all names.
    fn go(&mut self) -> rustix::io::Result<Led> {
        while let Some(name) = self.names.pop() {
            self.require_search()?;
            if name == b".." {
                self.rise()?;
                continue;
            }
            let c_name = CString::new(&*name).map_err(|_| Errno::INVAL)?;
            let held = rustix::fs::openat(&self.fd, &c_name, HOLD, Mode::empty())?;
            let stat = stat_open(&held)?;
            match stat.kind {
                Kind::Symlink => self.follow(&held, &stat)?,
                Kind::Directory => self.descend(&c_name, name)?,
                _ if self.names.is_empty() => return self.led(held, stat, Some(&name)),
                _ => return Err(Errno::NOTDIR),
            }
        }
        let (fd, stat) = (dup(&self.fd)?, stat_open(&self.fd)?);
        self.led(fd, stat, None)
    }

    fn led(&mut self, fd: OwnedFd, stat: Stat, name: Option<&[u8]>) -> rustix::io::Result<Led> {
        self.require(&fd, &stat, if stat.kind == Kind::Directory { 0o555 } else { 0o444 });
        let names = self.down.iter().map(Vec::as_slice).chain(name);
        let inside = self.is_inside.then(|| names.map(std::ffi::OsStr::from_bytes).collect());
        let stranger = self.strangers.first().copied();
        let astray = match self.barred {
            _ if self.is_avoided => Some(Astray::IntoDestination),
            _ if inside.is_none() && !self.follow.anywhere => Some(Astray::OutOfSource),
            barred => barred.map(Astray::Barred),
        };
        Ok(Led { fd, stat, inside, stranger, astray })
    }

    /// Enters a directory below.
    fn descend(&mut self, c_name: &CStr, name: Vec<u8>) -> rustix::io::Result<()> {
        self.fd = rustix::fs::openat(&self.fd, c_name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        self.down.push(name);
        self.arrive()
    }

    /// Goes back to the directory above.
    fn rise(&mut self) -> rustix::io::Result<()> {
        match self.down.pop() {
            Some(_) => self.fd = open_directory(&self.base, &self.down.join(&b'/'))?,
            None => {
                self.base = rustix::fs::openat(&self.base, c"..", DIRECTORY, Mode::empty())?;
                (self.fd, self.is_inside) = (dup(&self.base)?, false);
            }
        }
        self.arrive()
    }

    /// Takes note of where the way has come to.
    fn arrive(&mut self) -> rustix::io::Result<()> {
        let inode = stat_open(&self.fd)?.inode;
        self.is_avoided |= Some(inode) == self.follow.avoid;
        if inode == self.top && !self.is_inside {
            (self.base, self.is_inside) = (dup(&self.fd)?, true);
            self.down.clear();
        }
        Ok(())
    }

    /// Goes on where a symlink leads to.
    fn follow(&mut self, link: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(link, c"", Vec::with_capacity(256))?;
        let is_stranger = !self.follow.insecure && !is_trusted(stat.uid);
        if is_stranger && !self.strangers.contains(&stat.uid) {
            self.strangers.push(stat.uid);
        }
        match target.to_bytes() {
            b"" => return Err(Errno::NOENT),
            [b'/', ..] => {
                self.fd = rustix::fs::openat(CWD, c"/", DIRECTORY, Mode::empty())?;
                (self.base, self.is_inside, self.is_avoided) = (dup(&self.fd)?, false, false);
                self.down.clear();
                self.arrive()?;
            }
            _ => {}
        }
        self.push(target.to_bytes());
        Ok(())
    }

    /// Requires that all strangers may look up a name where the way is.
    fn require_search(&mut self) -> rustix::io::Result<()> {
        if !self.strangers.is_empty() && self.barred.is_none() {
            let (fd, stat) = (dup(&self.fd)?, stat_open(&self.fd)?);
            self.require(&fd, &stat, 0o111);
        }
        Ok(())
    }

    /// Requires that all strangers have these permissions. An ACL may keep out anybody.
    fn require(&mut self, fd: &OwnedFd, stat: &Stat, permissions: u32) {
        let others: Vec<u32> = self.strangers.iter().copied().filter(|uid| *uid != stat.uid).collect();
        if let (Some(&stranger), None) = (others.first(), self.barred) {
            let is_for_all = stat.mode & permissions == permissions
                && access_acl_of(&Holder::Link(proc_path(fd.as_fd())), true).is_none();
            self.barred = (!is_for_all).then_some(stranger);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn led(top: &Path, path: &str) -> Result<(Kind, Option<String>), String> {
        let top = Arc::new(rustix::fs::open(top, DIRECTORY, Mode::empty()).unwrap());
        let (below, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (below, name) = (below.into(), CString::new(name).unwrap());
        let (own, within, avoid, anywhere, insecure) = (None, None, None, true, false);
        let follow = Follow { top, own, below, name: Some(name), within, avoid, anywhere, insecure };
        let led = follow.go().map_err(|cause| cause.to_string())?;
        Ok((led.stat.kind, led.inside.map(|path| path.display().to_string())))
    }

    #[test]
    fn where_a_symlink_leads_is_known_to_be_inside() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let top = at("top");
        fs::create_dir_all(at("top/a/b")).unwrap();
        fs::create_dir_all(at("out")).unwrap();
        for name in ["top/file", "top/a/b/file", "out/file"] {
            fs::write(at(name), "x").unwrap();
        }
        let absolute = at("top/a").display().to_string();
        for (target, name) in [
            ("a/b/file", "deep"),
            ("../../file", "a/b/up"),
            ("../out/file", "leaves"),
            ("../top/./a//b/../b/file", "returns"),
            (absolute.as_str(), "absolute"),
            ("/", "root"),
            ("deep", "chain"),
            ("none", "dangling"),
            ("file/x", "through-file"),
            ("self", "self"),
            ("a", "dir"),
            ("dir/b", "dir2"),
            ("..", "a/b/parent"),
        ] {
            symlink(target, at("top").join(name)).unwrap();
        }
        let inside = |kind, path: &str| Ok((kind, Some(path.to_owned())));
        assert_eq!(led(&top, "deep"), inside(Kind::File, "a/b/file"));
        assert_eq!(led(&top, "a/b/up"), inside(Kind::File, "file"));
        assert_eq!(led(&top, "leaves"), Ok((Kind::File, None)));
        assert_eq!(led(&top, "returns"), inside(Kind::File, "a/b/file"));
        assert_eq!(led(&top, "absolute"), inside(Kind::Directory, "a"));
        assert_eq!(led(&top, "root"), Ok((Kind::Directory, None)));
        assert_eq!(led(&top, "chain"), inside(Kind::File, "a/b/file"));
        assert_eq!(led(&top, "dir2"), inside(Kind::Directory, "a/b"));
        assert_eq!(led(&top, "a/b/parent"), inside(Kind::Directory, "a"));
        // Through one that was followed before.
        assert_eq!(led(&top, "dir/b/up"), inside(Kind::File, "file"));
        for name in ["dangling", "through-file"] {
            assert!(led(&top, name).unwrap_err().contains("leads to nothing"), "{name}");
        }
        assert!(led(&top, "self").unwrap_err().contains("symbolic links"));
        assert!(led(&top, "none").unwrap_err().contains("No such file"));
    }
}
