//! `--keep-dirlinks`: a symlink in the destination that leads to a directory stands for that, where the source has a directory.
//! It must lead to somewhere in the destination that is no other directory's mirror, and nobody else may have put it there.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::directory::open::open_destination;
use crate::engine::run::lane::Lane;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::error::{Astray, Cause};
use crate::event::Kind;
use crate::io::path::{open_directory, open_entry};
use crate::plan::writers::Writers;
use crate::roots::follow::Led;
use crate::stat::stat_open;

impl Directory {
    /// What the symlink that the destination has in its place stands for; `None`: for no directory, and it is replaced.
    pub(crate) fn kept_link(&self, parent: &Pair, run: &Run) -> Result<Option<Led>, Cause> {
        let (Some(above), Some(within)) = (&self.parent, &parent.destination) else { return Ok(None) };
        let mut way = run.way_in_destination(above.path(), Some(&self.name))?;
        way.within = Some(stat_open(within)?.inode);
        let led = match way.go() {
            Err(Cause::NotFollowed(Astray::Nowhere)) => return Ok(None),
            led => led?,
        };
        if led.stat.kind != Kind::Directory {
            return Ok(None);
        }
        let refused = |astray| Err(Cause::NotFollowed(astray));
        let Some(inside) = &led.inside else { return refused(Astray::OutOfDestination) };
        if let Some(uid) = led.stranger {
            return refused(Astray::Foreign(uid));
        }
        // Who can put a symlink there may have made this one with an earlier run's help. What is theirs alone they may have.
        let writers = parent.writers.below(writers_above(inside, run)?);
        let is_theirs = writers == Writers::One(led.stat.uid);
        if writers != Writers::Nobody && !is_theirs && !run.config.insecure_links {
            return refused(Astray::Open);
        }
        if is_mirror(inside, run) || !run.kept_links.add(led.stat.inode, inside, &self.path()) {
            return refused(Astray::Shared);
        }
        self.kept_link.store(true, Ordering::Relaxed);
        Ok(Some(led))
    }

    /// Opens its mirror, which is there.
    pub(crate) async fn open_mirror(
        &self,
        within: &Arc<OwnedFd>,
        lane: &Lane,
    ) -> Result<(OwnedFd, bool), Cause> {
        if !self.kept_link.load(Ordering::Relaxed) {
            return Ok(open_destination(lane, within, &self.name).await?);
        }
        let held = Arc::new(lane.run.hold_in_destination(&self.path())?);
        Ok(open_destination(lane, &held, c".").await?)
    }
}

/// Who else can put names in the directories of the destination above this one.
fn writers_above(inside: &Path, run: &Run) -> Result<Writers, Cause> {
    let root = run.roots.destination.fd.as_ref().ok_or(Errno::NOENT)?;
    let mut writers = Writers::Nobody;
    for above in inside.ancestors().skip(1) {
        let fd = open_directory(root, above.as_os_str().as_bytes())?;
        writers = writers.below(Writers::of(&stat_open(&fd)?, run.rules.privileges.user));
    }
    Ok(writers)
}

/// Whether the source has something at this place in the destination. Of several sources, one that has its name is enough.
fn is_mirror(inside: &Path, run: &Run) -> bool {
    let bytes = inside.as_os_str().as_bytes();
    match (&run.roots.several, &run.roots.source.fd) {
        _ if bytes.is_empty() => true,
        (Some(several), _) => inside.components().next().is_some_and(|first| {
            CString::new(first.as_os_str().as_bytes()).is_ok_and(|name| several.has(&name))
        }),
        (None, Some(source)) => open_entry(source, bytes).is_ok(),
        (None, None) => false,
    }
}
