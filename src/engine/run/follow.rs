//! The ways to symlinks of the source that are followed.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::engine::run::Run;
use crate::engine::state::directory::Directory;
use crate::error::{Astray, Cause};
use crate::io::path::open_directory;
use crate::roots::follow::Follow;
use crate::roots::several::Parent;
use crate::stat::stat_open;

impl Run {
    /// The way to a name in a directory of the source.
    pub(crate) fn way_to(&self, directory: &Directory, name: &CStr) -> Result<Follow, Cause> {
        let (top, own, below, name) = match around(directory) {
            None => (self.roots.source.fd.clone().ok_or(Errno::NOENT)?, None, directory.path(), Some(name)),
            Some(parent) => {
                let (top, path) = (Arc::new(parent.open()?), directory.path());
                let mut names = path.components();
                match names.next() {
                    None => (top, Some(name.to_owned()), PathBuf::new(), None),
                    Some(own) => {
                        let own = CString::new(own.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
                        (top, Some(own), names.as_path().to_path_buf(), Some(name))
                    }
                }
            }
        };
        Ok(self.way(top, own, below, name))
    }

    /// The way from a top of the source.
    fn way(&self, top: Arc<OwnedFd>, own: Option<CString>, below: PathBuf, name: Option<&CStr>) -> Follow {
        let destination = self.roots.destination.fd.as_ref().and_then(|fd| stat_open(fd).ok());
        Follow {
            top,
            own,
            below,
            name: name.map(CStr::to_owned),
            within: None,
            avoid: destination.map(|stat| stat.inode),
            anywhere: self.config.symlinks.follow_unsafe,
            insecure: self.config.insecure_links,
        }
    }

    /// Holds a directory of the source again, by its path.
    pub(crate) fn hold_in_source(&self, directory: &Directory) -> Result<OwnedFd, Cause> {
        self.hold_below(around(directory), &directory.path())
    }

    /// The same of a directory of which no more is known than its path: none that lies around sources.
    pub(crate) fn hold_source_at(&self, path: &Path) -> Result<OwnedFd, Cause> {
        let own = path.components().next();
        let several = self.roots.several.as_ref().zip(own);
        let parent = several.and_then(|(several, own)| several.parent_of(own.as_os_str()));
        self.hold_below(parent.cloned(), path)
    }

    /// Holds what lies at a path in the source, or in the directory around several.
    fn hold_below(&self, parent: Option<Arc<Parent>>, path: &Path) -> Result<OwnedFd, Cause> {
        let mut names = path.components();
        let own = parent.is_some().then(|| names.next()).flatten();
        let top = match parent {
            Some(parent) => Arc::new(parent.open()?),
            None => self.roots.source.fd.clone().ok_or(Errno::NOENT)?,
        };
        if !self.config.symlinks.may_follow() {
            return Ok(open_directory(&top, path.as_os_str().as_bytes())?);
        }
        let own = own.map(|own| CString::new(own.as_os_str().as_bytes()));
        let own = own.transpose().map_err(|_| Errno::INVAL)?;
        Ok(self.way(top, own, names.as_path().to_path_buf(), None).go()?.allowed()?.fd)
    }

    /// Holds a directory of the destination again, by its path.
    pub(crate) fn hold_in_destination(&self, path: &Path) -> Result<OwnedFd, Cause> {
        let root = self.roots.destination.fd.as_ref().ok_or(Errno::NOENT)?;
        if !self.config.symlinks.keep_directory_links {
            return Ok(open_directory(root, path.as_os_str().as_bytes())?);
        }
        let led = self.way_in_destination(path.to_path_buf(), None)?.go()?;
        let is_allowed = led.inside.is_some() && led.stranger.is_none();
        if is_allowed { Ok(led.fd) } else { Err(Cause::NotFollowed(Astray::OutOfDestination)) }
    }

    /// Where a path in the destination leads, through symlinks that stand for directories: a path without any.
    pub(crate) fn place_in_destination(&self, path: &Path) -> PathBuf {
        let led = match self.config.symlinks.keep_directory_links {
            true => self.way_in_destination(path.to_path_buf(), None).and_then(|way| way.go()).ok(),
            false => None,
        };
        led.and_then(|led| led.inside).unwrap_or_else(|| path.to_path_buf())
    }

    /// The way to a name in a directory of the destination.
    pub(crate) fn way_in_destination(&self, below: PathBuf, name: Option<&CStr>) -> Result<Follow, Cause> {
        Ok(Follow {
            top: self.roots.destination.fd.clone().ok_or(Errno::NOENT)?,
            own: None,
            below,
            name: name.map(CStr::to_owned),
            within: None,
            avoid: None,
            anywhere: true,
            insecure: self.config.insecure_links,
        })
    }
}

/// What lies around the source that a directory belongs to, of several.
fn around(directory: &Directory) -> Option<Arc<Parent>> {
    let mut next = Some(directory);
    while let Some(directory) = next {
        if let Some(around) = &directory.around {
            return Some(around.clone());
        }
        next = directory.parent().map(|parent| &**parent);
    }
    None
}
