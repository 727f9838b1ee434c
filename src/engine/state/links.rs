//! Hard links: the first name of a file to arrive leads and is copied; the others wait for it and are linked.
//!
//! The table of sources holds an inode from its first name to its last: its size is that of the links still open, not of
//! the tree. Names outside the tree, and names that are left alone, never arrive, so that their inode stays until the run
//! ends, as does one with several names in the destination (some 200 bytes each).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::engine::state::directory::Directory;
use crate::engine::state::watched::{Watched, patiently};
use crate::event::{Live, Reused};
use crate::stat::{Identity, Inode};

/// The name that the others are linked to.
#[derive(Debug, Clone)]
pub(crate) struct Leader {
    pub(crate) directory: Arc<Directory>,
    pub(crate) name: CString,
    /// The destination's inode.
    pub(crate) inode: Inode,
    /// Contents' hash, if it was made.
    pub(crate) hash: Option<blake3::Hash>,
    /// The earlier tree that has the contents, if one has.
    pub(crate) reused: Option<Reused>,
    /// What its source did while it was read.
    pub(crate) live: Option<Live>,
    /// This run has made or replaced it.
    pub(crate) is_new: bool,
}

/// The right to say where an inode's first name is. While it is held, the inode's other names wait. Dropped without
/// a leader named, the next name that waits takes over.
pub(crate) type Lead = OwnedMutexGuard<Option<Leader>>;

/// What the caller is to the inode.
pub(crate) enum Claim {
    /// The first: copy it, then put the leader in.
    Lead(Lead),
    /// A further one: link it.
    Follow(Leader),
}

#[derive(Default)]
struct Group {
    leader: Arc<tokio::sync::Mutex<Option<Leader>>>,
    /// The thread that has the first name does not come back.
    given_up: Arc<AtomicBool>,
    /// Names that have not arrived yet.
    missing: u32,
}

/// All inodes with several names that the run has met.
#[derive(Default)]
pub(crate) struct Links {
    sources: Mutex<HashMap<Identity, Group>>,
    /// For destination inodes with several names: the source file whose contents they hold.
    destinations: Mutex<HashMap<Inode, Identity>>,
}

impl Links {
    /// Registers one more name of a source inode and waits until it is known who leads. `None`: the task that had the
    /// first name does not come back.
    pub(crate) async fn claim(
        &self,
        source: Identity,
        links: u32,
        watched: Option<&Watched>,
    ) -> Option<Claim> {
        let (leader, given_up) = self.arrive(source, links);
        let lead = patiently(|| leader.clone().lock_owned(), &given_up, watched).await?;
        Some(match lead.as_ref() {
            Some(leader) => Claim::Follow(leader.clone()),
            None => {
                if let Some(watched) = watched {
                    watched.mark_awaited(&given_up);
                }
                Claim::Lead(lead)
            }
        })
    }

    /// Makes another name the one that those to come are linked to: the old one's inode has as many as it can.
    pub(crate) async fn replace_leader(&self, source: Identity, leader: Leader) {
        let group = {
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            sources.get(&source).map(|group| group.leader.clone())
        };
        if let Some(group) = group {
            *group.lock().await = Some(leader);
        }
    }

    #[allow(clippy::type_complexity)]
    fn arrive(
        &self,
        source: Identity,
        links: u32,
    ) -> (Arc<tokio::sync::Mutex<Option<Leader>>>, Arc<AtomicBool>) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut group = match sources.entry(source) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert_entry(Group { missing: links, ..Group::default() }),
        };
        let waiting = (group.get().leader.clone(), group.get().given_up.clone());
        group.get_mut().missing -= 1;
        if group.get().missing == 0 {
            group.remove();
        }
        waiting
    }

    /// Whether a destination inode with several names may stay what `source` has. It may not when it already stands
    /// for another source file: names that are apart in the source would then be one file.
    pub(crate) fn may_share(&self, destination: Inode, source: Identity) -> bool {
        let mut destinations = self.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        *destinations.entry(destination).or_insert(source) == source
    }
}
