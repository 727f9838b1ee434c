//! Names that meet: a destination may take two names of a directory for one (case, forms of Unicode, dots or blanks at
//! the end). The first of them to come has it, and the others are errors.
//!
//! Where a directory of the destination is not known to tell all names apart, its source is listed once more for names that
//! may be one (plan/names.rs). Nearly always there are none, and nothing is kept. While it is listed that takes eight
//! bytes a name.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use tokio::sync::{OnceCell, OwnedMutexGuard};

use crate::io::list;
use crate::plan::names::folded;
use crate::stat::{Inode, Stat};

/// What is known of the names of one directory, as its mirror may take them.
#[derive(Default)]
pub(crate) struct Names(OnceCell<Groups>);

/// Names that have a namesake, and with whom.
pub(crate) type Groups = HashMap<CString, Arc<Group>>;

/// Names of one directory that may be one in its mirror.
pub(crate) struct Group {
    names: Vec<CString>,
    /// Those that have come up and have a place of their own.
    placed: Arc<tokio::sync::Mutex<Vec<CString>>>,
    /// The thread that has the turn does not come back.
    pub(crate) given_up: Arc<AtomicBool>,
}

/// The right to look at one name of a group, and to bring it about. The others wait meanwhile: of two that come at once,
/// one sees what the other has made.
pub(crate) type Turn = OwnedMutexGuard<Vec<CString>>;

impl Names {
    /// Those that are known from the beginning.
    pub(crate) fn known<'a>(names: impl Iterator<Item = &'a CStr> + Clone) -> Self {
        let list = || Ok(names.clone().map(|name| Ok(name.to_owned())));
        Names(OnceCell::new_with(group(list).ok()))
    }

    /// The names that have namesakes; `find` finds them, and is asked once.
    pub(crate) async fn groups(&self, find: impl Future<Output = Groups>) -> &Groups {
        self.0.get_or_init(|| find).await
    }
}

/// The names of a directory that have namesakes. One that can't be listed has none, as far as anybody can tell.
pub(crate) fn find_groups(directory: &OwnedFd) -> Groups {
    let list = || Ok(list::names(directory)?.map(|entry| Ok(entry?.file_name().to_owned())));
    group(list).unwrap_or_default()
}

fn group<I>(list: impl Fn() -> rustix::io::Result<I>) -> rustix::io::Result<Groups>
where
    I: Iterator<Item = rustix::io::Result<CString>>,
{
    let state = RandomState::new();
    let hash = |name: &CStr| state.hash_one(folded(name.to_bytes()));
    let mut hashes = list()?.map(|name| Ok(hash(&name?))).collect::<rustix::io::Result<Vec<u64>>>()?;
    hashes.sort_unstable();
    let several: HashSet<u64> = hashes.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    if several.is_empty() {
        return Ok(Groups::new());
    }
    drop(hashes);
    let mut groups: HashMap<Vec<u8>, Vec<CString>> = HashMap::new();
    for name in list()? {
        let name = name?;
        if several.contains(&hash(&name)) {
            groups.entry(folded(name.to_bytes())).or_default().push(name);
        }
    }
    let mut found = Groups::new();
    for names in groups.into_values() {
        let group = Arc::new(Group { names, placed: Arc::default(), given_up: Arc::default() });
        found.extend(group.names.iter().map(|name| (name.clone(), group.clone())));
    }
    Ok(found)
}

impl Group {
    /// Waits for the turn.
    pub(crate) fn turn(&self) -> impl Future<Output = Turn> + use<> {
        self.placed.clone().lock_owned()
    }

    /// Whom `name` meets in the mirror: another name of the group that has come up already, or under which the mirror lists
    /// what it finds under both.
    pub(crate) fn met(
        &self,
        name: &CStr,
        mirror: &OwnedFd,
        placed: &[CString],
    ) -> rustix::io::Result<Option<&CStr>> {
        let Some(found) = inode(mirror, name)? else { return Ok(None) };
        let mut listed = None;
        for other in self.names.iter().filter(|other| other.as_c_str() != name) {
            let Some(theirs) = inode(mirror, other)? else { continue };
            if listed.is_none() {
                listed = Some(self.listed(mirror)?);
            }
            let Some((listed, strangers)) = &listed else { continue };
            let (ours, other_is_listed) = (listed.contains(name), listed.contains(other.as_c_str()));
            // Some programs (FUSE) give each name that they are asked for a number of its own. Then the listing tells.
            let is_one = found == theirs || ours != other_is_listed && !strangers;
            let is_apart = ours && other_is_listed; // two hard links
            if is_one && !is_apart && (placed.contains(other) || other_is_listed) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Which of the names the mirror lists as they are, and whether it lists others that may stand for some of them.
    fn listed(&self, mirror: &OwnedFd) -> rustix::io::Result<(HashSet<CString>, bool)> {
        let common = self.names.first().map(|name| folded(name.to_bytes()));
        let (mut listed, mut strangers) = (HashSet::new(), false);
        for entry in list::names(mirror)? {
            let entry = entry?;
            let name = entry.file_name();
            if self.names.iter().any(|one| one.as_c_str() == name) {
                listed.insert(name.to_owned());
            } else if Some(folded(name.to_bytes())) == common {
                strangers = true;
            }
        }
        Ok((listed, strangers))
    }
}

/// What a name leads to. One that can't be looked up is none that something has.
pub(crate) fn inode(within: &OwnedFd, name: &CStr) -> rustix::io::Result<Option<Inode>> {
    match rustix::fs::statx(within, name, AtFlags::SYMLINK_NOFOLLOW, Stat::FIELDS) {
        Ok(stat) => Ok(Some(Stat::from(&stat).inode)),
        Err(Errno::NOENT | Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG) => Ok(None),
        Err(errno) => Err(errno),
    }
}
