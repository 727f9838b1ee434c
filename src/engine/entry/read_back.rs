//! Reading files that are not copied: what was just written, to compare it with what was read (`--verify`), and what
//! was there already, for the manifest.

use blake3::{Hash, Hasher};
use rustix::fs::{Advice, OFlags};

use crate::content::sparse::{self, Layout};
use crate::engine::entry::item::Item;
use crate::engine::entry::large_file::{LARGE_FILE, LargeFile};
use crate::engine::own::new_file::NewFile;
use crate::engine::run::flushed::flush_file;
use crate::engine::run::regular;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::io::file::File;
use crate::stat::{Stat, stat_open};

/// Hashes a file of either tree; `reading` tells which, for errors.
pub(crate) async fn hash(item: &Item<'_>, file: &File, stat: &Stat, reading: Operation) -> Result<Hash> {
    let layout = sparse::layout(&file.fd, stat, file.family);
    if stat.size <= LARGE_FILE && layout != Layout::Sparse {
        return hash_small(item, file, stat.size, reading).await;
    }
    match LargeFile::hash(item, file, stat.size, layout, reading).await {
        Err(Error { cause: Cause::FalseHole, .. }) => {
            LargeFile::hash(item, file, stat.size, Layout::Dense, reading).await
        }
        other => other,
    }
}

/// Hashes a file through one buffer. As when copying, a size of 0 is not believed.
async fn hash_small(item: &Item<'_>, file: &File, size: u64, reading: Operation) -> Result<Hash> {
    let mut buffer = item.lane.buffers.take(size).await;
    let mut hasher = Hasher::new();
    let mut offset = 0;
    loop {
        item.lane.doing(reading);
        let room = if size == 0 { buffer.len() } else { buffer.len().min((size - offset) as usize) };
        let result;
        (result, buffer) = item.lane.io.read(file, buffer, room, offset).await;
        match result.at(reading, || item.path_of(reading))? {
            0 => return Ok(hasher.finalize()),
            length => {
                item.lane.hashing();
                hasher.update(&buffer.bytes()[..length]);
                offset += length as u64;
            }
        }
        if offset == size {
            return Ok(hasher.finalize());
        }
        item.fail_if_stopped()?;
    }
}

/// Whether the destination's storage gives back the bytes with this hash. They are made to leave the page cache first,
/// which they can't before they are written.
pub(crate) async fn is_intact(item: &Item<'_>, new: &NewFile, hash: Hash) -> Result<bool> {
    item.lane.doing(Operation::Flush);
    flush_file(&new.fd, item.lane, || item.path()).await?;
    // A hint. A file system that lives in memory, or another one that keeps its pages, is read as it is.
    rustix::fs::fadvise(&new.fd, 0, None, Advice::DontNeed).ok();
    Ok(hash_new(item, new).await? == hash)
}

/// Hashes a new file, which has its contents.
pub(crate) async fn hash_new(item: &Item<'_>, new: &NewFile) -> Result<Hash> {
    let stat = stat_open(&new.fd).at(Operation::StatDestination, || item.path())?;
    let file = item.lane.io.file(new.fd.clone(), &stat);
    hash(item, &file, &stat, Operation::ReadDestination).await
}

/// Hashes what the destination has under the item's name.
pub(crate) async fn hash_destination(item: &Item<'_>) -> Result<Hash> {
    let opened = regular::open(item.lane, item.destination_side()?, item.target(), OFlags::RDONLY).await;
    let (file, stat) = opened.at(Operation::OpenDestination, || item.path())?;
    hash(item, &file, &stat, Operation::ReadDestination).await
}
