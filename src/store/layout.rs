//! Where things lie in a store, and the lock that one run at a time has on it.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::stop::Stop;
use crate::store::name;
use crate::store::own::held::{self, OWN};
use crate::store::own::vetted;
use crate::store::record::is_part_of_path;
use crate::text::Escaped;

/// The link to the newest snapshot.
pub(super) const LATEST: &str = "latest";
/// How long to wait before a lock that is taken is tried again.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a look at the lock may keep it, and how often that is waited for.
const MOMENT: Duration = Duration::from_millis(5);
const MOMENTS: u32 = 10;

/// The paths of a store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    store: PathBuf,
}

impl Layout {
    pub(super) fn new(store: &Path) -> Self {
        Layout { store: store.to_path_buf() }
    }

    /// Makes the store, if there is none, and the directory for what is ours in it, and adds those that were made.
    fn make(&self, new: &mut Vec<PathBuf>) -> Result<()> {
        for path in [&self.store, &self.own_directory()] {
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => {
                    made.at(Operation::Create, || path)?;
                    new.push(path.clone());
                }
            }
            self.require_own(path)?;
        }
        Ok(())
    }

    /// Closes what is ours to others, if it was open to them and this user may. Returns whether that has helped: there are file
    /// systems that have no modes of their own.
    pub(super) fn close(&self) -> Result<bool> {
        let path = self.own_directory();
        let held = held::open_own(&path).at(Operation::UseStore, || &path)?;
        let stat = || rustix::fs::fstat(&held).at(Operation::UseStore, || &path);
        let was = stat()?;
        if was.st_mode & 0o077 == 0 || was.st_uid != rustix::process::geteuid().as_raw() {
            return Ok(false);
        }
        match rustix::fs::fchmod(&held, Mode::RWXU) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            closed => closed.at(Operation::SetMode, || &path)?,
        }
        Ok(stat()?.st_mode & 0o077 == 0)
    }

    /// Makes the store, if there is none, closes what is ours in it, and has it for this process alone. Returns what was made,
    /// and whether something was open to others.
    pub(super) fn make_and_lock(&self, wait: bool, stop: &Stop) -> Result<(Vec<PathBuf>, bool, File)> {
        let (mut new, mut closed) = (Vec::new(), false);
        let mut tries = MOMENTS;
        loop {
            let made = self.make(&mut new).and_then(|()| {
                closed |= self.close()?;
                self.lock(wait, stop)
            });
            match made {
                // A run that could not begin has removed what it had made, the directory of the lock with it.
                Err(error) if error.errno() == Some(Errno::NOENT) && tries > 0 => tries -= 1,
                lock => return Ok((new, closed, lock?)),
            }
        }
    }

    /// Removes what was made for a store in which nothing could be begun. The caller has the lock; another run may have had
    /// it before, and have taken a snapshot.
    pub(super) fn unmake(&self, new: &[PathBuf]) {
        let is_in_use = |path: PathBuf| !held::is_absent(&path);
        if [self.record(), self.pending(), self.incomplete(), self.broken_off()].into_iter().any(is_in_use) {
            return;
        }
        if new.contains(&self.own_directory()) {
            for directory in [self.doomed(), self.manifests(), self.own("nothing")] {
                held::remove_directory(&directory).ok();
            }
            // The lock last: what another run makes from then on is its own.
            for file in [self.journal(), self.own("lock")] {
                held::remove(&file).ok();
            }
        }
        for path in new.iter().rev() {
            std::fs::remove_dir(path).ok();
        }
    }

    /// Whether this is a store: a run has had its lock or written its record, or `latest` leads to a snapshot.
    pub(super) fn is_store(&self) -> bool {
        let is_there = |path: PathBuf| !held::is_absent(&path);
        self.own_directory().is_dir() && (is_there(self.own("lock")) || is_there(self.record()))
            || self.led_to().is_some_and(|name| name::time(&name).is_some())
    }

    /// The store that has a directory as a snapshot, or as what is the program's own, and its name there.
    pub(super) fn around(tree: &Path) -> Option<(Layout, &str)> {
        let (around, name) = (tree.parent()?, tree.file_name()?.to_str()?);
        let layout = Layout::new(around);
        let is_ours = name::time(name).is_some() || name == OWN || layout.manifest(name).exists();
        (is_ours && layout.is_store()).then_some((layout, name))
    }

    /// The name of the directory in the store that `latest` leads to.
    pub(super) fn led_to(&self) -> Option<String> {
        let target = std::fs::read_link(self.latest()).ok()?.into_os_string().into_string().ok()?;
        let is_directory =
            |name: &String| self.snapshot(name).symlink_metadata().is_ok_and(|stat| stat.is_dir());
        Some(target).filter(|name| is_part_of_path(name)).filter(is_directory)
    }

    /// Refuses to make a store of a directory that is used for something else.
    pub(super) fn refuse_used(&self) -> Result<()> {
        if self.own_directory().symlink_metadata().is_ok() || !self.dated().is_empty() {
            return Ok(());
        }
        let Ok(entries) = std::fs::read_dir(&self.store) else { return Ok(()) };
        let Some(other) = entries.flatten().find(|entry| entry.file_name() != "lost+found") else {
            return Ok(());
        };
        let why = format!(
            "it is no store, and has other files ({}): are SRC and STORE swapped? Name an empty directory, or one that \
             is to be made; or give --allow-other-files",
            Escaped::name(&other.file_name())
        );
        Err(Error::new(Operation::UseStore, &self.store, Cause::Refused(why)))
    }

    /// The names of the directories that are called by a time, the oldest first. A store that can't be listed has none.
    pub(super) fn dated(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.store).into_iter().flatten().flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
        let mut dated: Vec<String> = names.filter(|name| name::time(name).is_some()).collect();
        dated.sort();
        dated
    }

    /// Refuses what is no store.
    pub(super) fn require(&self) -> Result<()> {
        std::fs::metadata(&self.store).at(Operation::UseStore, || &self.store)?;
        if self.own_directory().symlink_metadata().is_err() {
            let why = format!("it is no store: it has no {OWN}, which `take` and `rebuild` make");
            return Err(Error::new(Operation::UseStore, &self.store, Cause::Refused(why)));
        }
        Ok(())
    }

    /// The same where it is to be changed, and another user may change it as well.
    pub(super) fn require_ours(&self) -> Result<()> {
        self.require()?;
        self.require_own(&self.store)?;
        self.require_own(&self.own_directory())
    }

    /// Refuses what another user may have put to what is ours, which this process alone changes.
    pub(super) fn vet(&self) -> Result<()> {
        vetted::vet(&self.own_directory())
    }

    /// Refuses a directory of a store in which another user may exchange what is ours. The store may be a symlink.
    fn require_own(&self, path: &Path) -> Result<()> {
        let user = rustix::process::geteuid().as_raw();
        let refuse = |why: String| Err(Error::new(Operation::UseStore, path, Cause::Refused(why)));
        let stat = match path == self.store {
            true => std::fs::metadata(path),
            false => std::fs::symlink_metadata(path),
        };
        let stat = stat.at(Operation::UseStore, || path)?;
        if !stat.is_dir() {
            return refuse("it is no directory".into());
        }
        danger(&stat, user).map_or(Ok(()), refuse)
    }

    /// Whether its owner can't take snapshots into it, since others may exchange what is kept.
    pub(super) fn is_refused_to_owner(&self) -> bool {
        let is_refused = |stat: std::fs::Metadata| danger(&stat, stat.uid()).is_some();
        let (store, own) = (std::fs::metadata(&self.store), self.own_directory().symlink_metadata());
        store.is_ok_and(is_refused) || own.is_ok_and(is_refused)
    }

    /// Whether others than its owner may write to the store.
    pub(super) fn is_open_to_others(&self) -> bool {
        std::fs::metadata(&self.store).is_ok_and(|stat| stat.mode() & 0o022 != 0)
    }

    /// Whether others can get into a store of root's: who owns a file of a source can change it in all snapshots then.
    pub(super) fn lets_others_in(&self) -> bool {
        std::fs::metadata(&self.store).is_ok_and(|stat| stat.uid() == 0 && stat.mode() & 0o011 != 0)
    }

    pub(super) fn store(&self) -> &Path {
        &self.store
    }

    fn own_directory(&self) -> PathBuf {
        self.store.join(OWN)
    }

    /// Something of ours.
    pub(super) fn own(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.own_directory().join(name.as_ref())
    }

    pub(super) fn snapshot(&self, name: &str) -> PathBuf {
        self.store.join(name)
    }

    pub(super) fn latest(&self) -> PathBuf {
        self.store.join(LATEST)
    }

    pub(super) fn record(&self) -> PathBuf {
        self.own("snapshots.jsonl")
    }

    /// The record of the snapshot that is about to get its name.
    pub(super) fn pending(&self) -> PathBuf {
        self.own("pending.json")
    }

    /// Where the next snapshot is written.
    pub(super) fn incomplete(&self) -> PathBuf {
        self.own("incomplete")
    }

    /// What runs that were broken off have written: the next one links to it.
    pub(super) fn broken_off(&self) -> PathBuf {
        self.own("broken-off")
    }

    /// Where the manifests of the snapshots are.
    pub(super) fn manifests(&self) -> PathBuf {
        self.own("manifests")
    }

    /// The manifest of a snapshot.
    pub(super) fn manifest(&self, name: &str) -> PathBuf {
        self.own(manifest_name(name))
    }

    /// Whether a directory was taken under a name: it has a manifest, as far as this user can see.
    pub(super) fn has_manifest(&self, name: &str) -> bool {
        is_part_of_path(name) && held::stat(&self.manifest(name)).is_ok()
    }

    /// Whether another user may have put a directory there. What root takes has the owner that it has in its source.
    pub(super) fn is_strangers(&self, name: &str) -> bool {
        let tree = self.snapshot(name).symlink_metadata();
        let (Ok(store), Ok(tree)) = (std::fs::metadata(&self.store), tree) else { return false };
        let is_trusted = tree.uid() == 0 || tree.uid() == store.uid();
        let may_be_put = store.uid() != 0 || store.mode() & 0o022 != 0;
        !is_trusted && may_be_put && held::is_absent(&self.manifest(name))
    }

    /// What the run that writes to `incomplete` knows of its files.
    pub(super) fn journal(&self) -> PathBuf {
        self.own("journal")
    }

    /// What is to be removed.
    pub(super) fn doomed(&self) -> PathBuf {
        self.own("doomed")
    }

    /// Has `latest` lead to a snapshot. There is no moment in which it leads nowhere.
    pub(super) fn point_latest_at(&self, name: &str) -> Result<()> {
        // There may be no room for another link.
        if self.leads_to() == Some(name.into()) {
            return Ok(());
        }
        let (new, latest) = (self.own("latest"), self.latest());
        held::symlink(name, &new).at(Operation::Link, || &latest)?;
        held::rename(&new, &latest).at(Operation::Rename, || &latest)?;
        super::record::flush_around(&latest)
    }

    /// Where `latest` leads, if it is there.
    pub(super) fn leads_to(&self) -> Option<PathBuf> {
        std::fs::read_link(self.latest()).ok()
    }

    /// Refuses a store in which `latest` can't be made.
    pub(super) fn require_latest(&self) -> Result<()> {
        let latest = self.latest();
        match latest.symlink_metadata() {
            Ok(stat) if !stat.is_symlink() => {
                let why = "it is no symlink: what is called so leads to the newest snapshot";
                Err(Error::new(Operation::UseStore, latest, Cause::Refused(why.into())))
            }
            _ => Ok(()),
        }
    }

    /// Whether a snapshot may still be there: what can't be looked at is not gone. What is no directory is none.
    pub(super) fn may_have(&self, name: &str) -> bool {
        match self.snapshot(name).symlink_metadata() {
            Ok(stat) => stat.is_dir(),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        }
    }

    /// Has the store for this process alone, until what is returned is dropped. With `wait` that may take until another one
    /// is done.
    pub(super) fn lock(&self, wait: bool, stop: &Stop) -> Result<File> {
        let path = self.own("lock");
        // `status` takes a shared lock for a moment.
        let mut moments = MOMENTS;
        loop {
            let file = held::open_to_lock(&path).at(Operation::UseStore, || &path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // A run that could not begin has removed it meanwhile.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) if wait && !stop.is_stopped() => std::thread::sleep(PATIENCE),
                Err(Errno::WOULDBLOCK) if moments > 0 => {
                    moments -= 1;
                    std::thread::sleep(MOMENT);
                }
                Err(Errno::WOULDBLOCK) => {
                    let why = "another run is at work in this store";
                    return Err(Error::new(Operation::UseStore, &self.store, Cause::Refused(why.into())));
                }
                Err(errno) => return Err(errno).at(Operation::UseStore, || &path),
            }
        }
    }
}

/// Why a directory of a store is not safe for this user, if it is not.
fn danger(stat: &std::fs::Metadata, user: u32) -> Option<String> {
    if stat.uid() != 0 && stat.uid() != user {
        return Some(format!(
            "it belongs to another user (uid {}), who could change what is kept: make a store of your own",
            stat.uid()
        ));
    }
    if stat.mode() & 0o002 != 0 {
        return Some("everybody may write to it, and could change what is kept: chmod o-w".into());
    }
    // What root reads and writes another user could lead elsewhere.
    (user == 0 && stat.gid() != 0 && stat.mode() & 0o020 != 0).then(|| {
        format!("its group (gid {}) may write to it, and could change what root keeps: chmod g-w", stat.gid())
    })
}

/// The manifest of a snapshot, from the directory for what is ours.
pub(super) fn manifest_name(snapshot: &str) -> String {
    format!("manifests/{snapshot}.b3")
}

/// Whether a file is the one of this path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |stat: std::fs::Metadata| (stat.dev(), stat.ino());
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => identity(ours) == identity(there),
        _ => false,
    }
}
