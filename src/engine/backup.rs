//! `--backup`: what is replaced or deleted keeps a name, with a suffix beside its own or in a tree of its own. It gets
//! that name before it loses its old one: at no moment it has none.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::extra::in_thread;
use super::item::Item;
use super::temporary::{link_nameless, writable};
use super::watch::Watched;
use super::{Run, litter};
use crate::config::Config;
use crate::content::sparse::{self, Layout};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::file::Family;
use crate::io::named;
use crate::io::path::open_directory;
use crate::io::trees::Trees;
use crate::io::{place, root, stat_open};
use crate::metadata::xattr::{self, Holder};
use crate::metadata::{self, Target};
use crate::plan::entry::{Inode, Kind, Stat};

const OPEN: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Bytes that are copied between two looks at whether to go on.
const PIECE: u64 = 16 << 20;

/// Where backups go.
pub(crate) struct Backups {
    /// A tree of their own; otherwise they stay where they are.
    tree: Option<Tree>,
    suffix: Vec<u8>,
}

struct Tree {
    /// As the user named it, and where that leads: from the destination's root, if it is relative.
    named: PathBuf,
    path: PathBuf,
    start: Option<Arc<OwnedFd>>,
    trees: Trees,
    /// Made when it is first needed.
    fd: Mutex<Option<Arc<OwnedFd>>>,
    /// Directories of it in which an older backup made room, and what a killed run left was looked for.
    swept: Mutex<HashSet<Inode>>,
}

impl Backups {
    /// What the options come to.
    ///
    /// # Errors
    /// When backups would be made in the source, or have the names of what they are backups of.
    pub(crate) fn new(config: &Config, roots: &root::Roots) -> Result<Option<Self>> {
        let Some(backup) = &config.backup else { return Ok(None) };
        let refused = |why: &str| {
            let cause = Cause::Refused(format!("the suffix of backups {why}"));
            Err(Error::new(Operation::Backup, &config.destination, cause))
        };
        if backup.suffix.as_bytes().contains(&b'/') {
            return refused("is part of a name, and has no slash");
        }
        if backup.suffix.is_empty() && backup.directory.is_none() {
            return refused("can't be empty in the same directory");
        }
        let tree = backup.directory.as_ref().map(|directory| {
            let path = roots.destination.beside(directory);
            let (existing, missing) = root::nearest_existing(&path)?;
            for source in sources(config, roots) {
                place::refuse_backups_in_source(&config.select, &path, &existing, &source)?;
            }
            if missing.as_os_str().is_empty() {
                place::refuse_backups_over(&path, roots, &sources(config, roots))?;
            }
            let (named, start, trees) = (directory.clone(), roots.destination.fd.clone(), Trees::of(config));
            let mut tree = Tree { named, path, start, trees, fd: Mutex::default(), swept: Mutex::default() };
            tree.look()?;
            Ok(tree)
        });
        Ok(Some(Backups { tree: tree.transpose()?, suffix: backup.suffix.as_bytes().to_vec() }))
    }

    /// The tree of their own, if they have one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.tree.as_ref().map(|tree| tree.path.as_path())
    }

    /// Whether what is deleted leaves a backup in its directory.
    pub(super) fn stays(&self, name: &CStr) -> bool {
        self.tree.is_none() && !self.is_backup(name)
    }

    /// Whether a name beside others is a backup itself.
    pub(super) fn is_backup(&self, name: &CStr) -> bool {
        self.tree.is_none() && name.to_bytes().ends_with(&self.suffix)
    }
}

/// The trees that are mirrored. A source that can't be opened is told of when its turn comes.
fn sources(config: &Config, roots: &root::Roots) -> Vec<root::Root> {
    let Some(sources) = &config.sources else { return vec![roots.source.clone()] };
    let open = |path: &PathBuf| {
        let fd = rustix::fs::openat(CWD, path, OPEN, Mode::empty()).ok()?;
        Some(root::Root { fd: Some(Arc::new(fd)), path: path.clone() })
    };
    sources.iter().filter_map(open).collect()
}

/// An entry of the destination that is about to lose its name.
pub(super) struct Old<'a> {
    pub(super) run: &'a Run,
    pub(super) within: &'a Arc<OwnedFd>,
    /// Path of its directory below the roots.
    pub(super) directory: &'a Path,
    pub(super) name: &'a CStr,
    /// Who is told that a copy goes on.
    pub(super) watched: Option<&'a Watched>,
}

/// Backs up what an item will replace.
pub(super) async fn keep(item: &Item<'_>) -> Result<()> {
    if item.run().backups.is_none() {
        return Ok(());
    }
    item.lane.doing(Operation::Backup);
    let directory = item.directory.path();
    let (run, within) = (item.run(), item.changing()?);
    let old = Old { run, within, directory: &directory, name: item.target(), watched: item.lane.watched() };
    // Some system calls that change directories, as giving a file its name does.
    if old.link()? {
        return Ok(());
    }
    copy(item).await
}

/// Backs up what an item will rewrite where it is. Copying may take long, and goes to a thread.
pub(super) async fn copy(item: &Item<'_>) -> Result<()> {
    if item.run().backups.is_none() {
        return Ok(());
    }
    item.lane.doing(Operation::Backup);
    let within = item.changing()?.clone();
    let (directory, name) = (item.directory.path(), item.target().to_owned());
    let watched = item.lane.watched.clone();
    in_thread(item.lane, move |run| {
        let watched = watched.as_deref();
        Old { run, within: &within, directory: &directory, name: &name, watched }.copy()
    })
    .await
}

impl Old<'_> {
    fn path(&self) -> PathBuf {
        let name = std::ffi::OsStr::from_bytes(self.name.to_bytes());
        self.run.destination_path(&self.directory.join(name))
    }

    /// Takes it away instead of deleting it. What is a backup itself is deleted.
    pub(super) fn take_away(&self) -> Result<()> {
        let remove = || rustix::fs::unlinkat(self.within, self.name, AtFlags::empty());
        let is_backup = self.run.backups.as_ref().is_none_or(|backups| backups.is_backup(self.name));
        if !is_backup && !self.link()? {
            self.copy()?;
        }
        remove().at(Operation::Remove, || self.path())
    }

    /// Keeps it by one more name, which takes the place of an older backup. Returns whether that can be done.
    pub(super) fn link(&self) -> Result<bool> {
        let Some((within, name)) = self.place()? else { return Ok(true) };
        let link_to = |name: &CStr| {
            let link = || rustix::fs::linkat(self.within, self.name, &within, name, AtFlags::empty());
            writable(&within, self.run, link)
        };
        let linked = match link_to(&name) {
            // An older backup has the name.
            Err(Errno::EXIST) => self
                .sweep(&within)
                .and_then(|()| self.run.temporary.new_name(&within))
                .and_then(|temporary| {
                    link_to(&temporary)?;
                    take_place(&within, &temporary, &name)
                }),
            linked => linked,
        };
        match linked {
            Ok(()) => self.flush(&within).map(|()| true),
            // Another file system, one without hard links, or somebody else's file (proc_sys_fs(5), protected_hardlinks).
            Err(Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(errno).at(Operation::Backup, || self.path()),
        }
    }

    /// Keeps a copy of it.
    pub(super) fn copy(&self) -> Result<()> {
        let Some((within, name)) = self.place()? else { return Ok(()) };
        self.sweep(&within).at(Operation::Backup, || self.path())?;
        let temporary = self.run.temporary.new_name(&within).at(Operation::Backup, || self.path())?;
        let copied = self
            .copy_to(&within, &temporary)
            .and_then(|()| take_place(&within, &temporary, &name).at(Operation::Backup, || self.path()));
        if copied.is_err() {
            rustix::fs::unlinkat(&within, &temporary, AtFlags::empty()).ok();
        }
        copied.and_then(|()| self.flush(&within))
    }

    /// Before a temporary name is made in the tree: removes those that a killed run left in the directory.
    fn sweep(&self, within: &OwnedFd) -> rustix::io::Result<()> {
        let Some(tree) = self.run.backups.as_ref().and_then(|backups| backups.tree.as_ref()) else {
            return Ok(());
        };
        let inode = stat_open(within)?.inode;
        if tree.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(inode) {
            litter::remove(within, inode, None, false, self.run);
        }
        Ok(())
    }

    /// `--fsync`: the backup's name is on stable storage before the old name goes.
    fn flush(&self, within: &OwnedFd) -> Result<()> {
        if !self.run.config.fsync {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(within, c".", flags, Mode::empty()).map(Arc::new);
        let directory = opened.at(Operation::Backup, || self.path())?;
        let stat = stat_open(&directory).at(Operation::Backup, || self.path())?;
        self.run.file_systems.add(&directory, &stat);
        rustix::fs::fsync(&directory).at(Operation::Flush, || self.path())
    }

    fn copy_to(&self, within: &OwnedFd, temporary: &CStr) -> Result<()> {
        let path = || self.path();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle =
            rustix::fs::openat(self.within, self.name, flags, Mode::empty()).at(Operation::Backup, path)?;
        let stat = stat_open(&handle).at(Operation::Backup, path)?;
        let xattrs =
            xattr::read(&Target::Handle(handle.as_fd()).into(), self.run.rules.privileges.root, path);
        if stat.kind == Kind::File {
            let (new, nameless) = new_file(within, temporary).at(Operation::Backup, path)?;
            self.copy_contents(&handle, &stat, &new).at(Operation::Backup, path)?;
            let have = stat_open(&new).at(Operation::Backup, path)?;
            let target = Target::Open(new.as_fd());
            metadata::apply(target, &stat, &have, Some(&xattrs?), false, &self.run.rules, path)?;
            if self.run.config.fsync {
                rustix::fs::fsync(&new).at(Operation::Flush, path)?;
            }
            let named = if nameless { link_nameless(&new, within, temporary) } else { Ok(()) };
            return named.at(Operation::Backup, path);
        }
        make(self.within, self.name, &stat, within, temporary).at(Operation::Backup, path)?;
        let new = rustix::fs::openat(within, temporary, flags, Mode::empty()).at(Operation::Backup, path)?;
        let have = stat_open(&new).at(Operation::Backup, path)?;
        // A symlink's own attributes are read by its name.
        let holder = Holder::Name(self.within.as_fd(), self.name);
        let xattrs = xattr::read(&holder, self.run.rules.privileges.root, path)?;
        metadata::apply(
            Target::Handle(new.as_fd()),
            &stat,
            &have,
            Some(&xattrs),
            false,
            &self.run.rules,
            path,
        )
        .map(drop)
    }

    /// Copies a file's contents, with its holes, piece by piece.
    fn copy_contents(&self, handle: &OwnedFd, stat: &Stat, new: &OwnedFd) -> std::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::open(metadata::proc_path(handle), flags, Mode::empty())?;
        let sparse = sparse::layout(stat, Family::of(&source)) == Layout::Sparse;
        let (mut from, mut to) = (File::from(source.try_clone()?), File::from(new.try_clone()?));
        let mut at = 0;
        while at < stat.size {
            if let Some(watched) = self.watched {
                watched.doing(Operation::Backup);
            }
            if self.run.stop.is_stopped() {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let data = if sparse { sparse::seek_data(&source, at..stat.size)? } else { Some(at..stat.size) };
            let Some(data) = data else { break };
            let end = data.end.min(data.start + PIECE);
            from.seek(SeekFrom::Start(data.start))?;
            to.seek(SeekFrom::Start(data.start))?;
            std::io::copy(&mut from.by_ref().take(end - data.start), &mut to)?;
            at = end;
        }
        to.set_len(stat.size)
    }

    /// The directory and the name that the backup gets.
    fn place(&self) -> Result<Option<(Arc<OwnedFd>, CString)>> {
        let Some(backups) = &self.run.backups else { return Ok(None) };
        let name = [self.name.to_bytes(), &backups.suffix].concat();
        let name = CString::new(name).map_err(|_| Errno::INVAL).at(Operation::Backup, || self.path())?;
        let within = match &backups.tree {
            None => self.within.clone(),
            Some(tree) => tree.directory(self)?,
        };
        Ok(Some((within, name)))
    }
}

impl Tree {
    /// The directory of the tree that stands for the entry's own; what of it is missing is made, and looks as those in
    /// the destination do.
    fn directory(&self, old: &Old<'_>) -> Result<Arc<OwnedFd>> {
        let top = self.top()?;
        if old.directory.as_os_str().is_empty() {
            return Ok(top);
        }
        let at = || self.path.join(old.directory);
        match open_directory(&top, old.directory.as_os_str().as_bytes()) {
            // What an older backup has there is no directory, perhaps.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            opened => return opened.map(Arc::new).at(Operation::Backup, at),
        }
        let model = old.run.roots.destination.fd.as_ref().ok_or(Errno::NOENT).at(Operation::Backup, at)?;
        let (mut within, mut model) = (top, model.clone());
        for component in old.directory.components() {
            let Component::Normal(name) = component else { continue };
            model = rustix::fs::openat(&model, name, OPEN, Mode::empty())
                .map(Arc::new)
                .at(Operation::Backup, at)?;
            within = Arc::new(self.make(&within, name.as_bytes(), &model, old.run)?);
        }
        Ok(within)
    }

    /// Opens or makes one directory.
    fn make(&self, within: &OwnedFd, name: &[u8], model: &OwnedFd, run: &Run) -> Result<OwnedFd> {
        let at = || self.path.join(std::ffi::OsStr::from_bytes(name));
        // Nobody else's until it has its owner.
        let mkdir = || writable(within, run, || rustix::fs::mkdirat(within, name, Mode::RWXU));
        let open = || rustix::fs::openat(within, name, OPEN, Mode::empty());
        let (made, opened) = match mkdir() {
            Err(Errno::EXIST) => match open() {
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let removed = rustix::fs::unlinkat(within, name, AtFlags::empty());
                    (true, removed.and_then(|()| mkdir()).and_then(|()| open()))
                }
                opened => (false, opened),
            },
            other => (true, other.and_then(|()| open())),
        };
        let fd = opened.at(Operation::Backup, at)?;
        if made {
            let want = stat_open(model).at(Operation::Backup, at)?;
            let have = stat_open(&fd).at(Operation::Backup, at)?;
            let xattrs = xattr::read(&Target::Handle(model.as_fd()).into(), run.rules.privileges.root, at)?;
            metadata::apply(Target::Handle(fd.as_fd()), &want, &have, Some(&xattrs), false, &run.rules, at)?;
        }
        Ok(fd)
    }

    fn top(&self) -> Result<Arc<OwnedFd>> {
        let mut top = self.fd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fd) = &*top {
            return Ok(fd.clone());
        }
        let fd = Arc::new(self.walk(true)?);
        *top = Some(fd.clone());
        Ok(fd)
    }

    /// Holds the tree if it is there already. A way to it that can't be gone is told before anything is replaced.
    fn look(&mut self) -> Result<()> {
        if self.start.is_none() && self.named.is_relative() {
            return Ok(()); // a dry run, without a destination
        }
        match self.walk(false) {
            Ok(fd) => self.fd = Mutex::new(Some(Arc::new(fd))),
            Err(error) if error.errno() == Some(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn walk(&self, make: bool) -> Result<OwnedFd> {
        let start = self.start.as_deref();
        named::directory(&self.named, start, &self.trees, Operation::Backup, make)
            .map_err(|error| Error { path: self.path.clone(), ..error })
    }
}

/// Renames; rename(2) does nothing, and says nothing, where both names are the same inode already.
fn take_place(within: &OwnedFd, temporary: &CStr, name: &CStr) -> rustix::io::Result<()> {
    let renamed = rustix::fs::renameat(within, temporary, within, name);
    rustix::fs::unlinkat(within, temporary, AtFlags::empty()).ok();
    renamed
}

/// An empty file: nameless, where the file system has such, which is also returned.
fn new_file(within: &OwnedFd, temporary: &CStr) -> rustix::io::Result<(OwnedFd, bool)> {
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    match rustix::fs::openat(within, c".", flags | OFlags::TMPFILE, mode) {
        // The answers of file systems, and of kernels, that don't know O_TMPFILE (open(2)).
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {
            let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            rustix::fs::openat(within, temporary, flags, mode).map(|fd| (fd, false))
        }
        opened => opened.map(|fd| (fd, true)),
    }
}

/// Makes a symlink or a special file like an old one.
fn make(
    from: &OwnedFd,
    name: &CStr,
    stat: &Stat,
    within: &OwnedFd,
    temporary: &CStr,
) -> rustix::io::Result<()> {
    if stat.kind == Kind::Symlink {
        let target = rustix::fs::readlinkat(from, name, Vec::with_capacity(256))?;
        return rustix::fs::symlinkat(target, within, temporary);
    }
    let device = rustix::fs::makedev(stat.device_node.0, stat.device_node.1);
    rustix::fs::mknodat(within, temporary, stat.kind.file_type(), Mode::RUSR | Mode::WUSR, device)
}
