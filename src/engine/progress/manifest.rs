//! `--manifest`: the hashes of a run's files, written as the entries come. It is finished with the run, unless that was
//! broken off: then whatever manifest there was before stays.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Cause, Error, Operation, Outcome, Result};
use crate::event::{EntryEvent, Live};
use crate::files::manifest::Writer;
use crate::files::trees::Trees;
use crate::io::temporary::TemporaryNames;

/// The manifest of a run under way.
pub(crate) struct Hashes {
    /// `None` after an error, which has been reported.
    writer: Option<Writer>,
    path: PathBuf,
    /// The one file's name in the destination, which may differ from the source's.
    single: Option<PathBuf>,
}

impl Hashes {
    /// Begins the manifest at `path` of a run with these trees.
    pub(crate) fn create(path: &Path, trees: &Trees, names: TemporaryNames) -> Result<Self> {
        let writer = Some(Writer::create_for(path, trees, names)?);
        Ok(Hashes { writer, path: path.to_path_buf(), single: None })
    }

    /// The run is for one file, which gets this name.
    pub(crate) fn set_single(&mut self, name: &OsStr) {
        self.single = Some(name.into());
    }

    /// Adds an entry, if it is a file that the destination has.
    pub(crate) fn add(&mut self, directory: &Path, event: &EntryEvent) -> Result<()> {
        let (Some(writer), Some(hash)) = (&mut self.writer, &event.hash) else { return Ok(()) };
        let path = self.single.clone().unwrap_or_else(|| event.path(directory));
        let marked = match event.live {
            Some(Live::Changing) => writer.mark_changing(&path),
            _ => Ok(()),
        };
        let added = marked.and_then(|()| writer.add(&path, hash));
        added.inspect_err(|_| self.writer = None)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it can't be finished, and when it is, but lacks files: a user who relies on it has to know.
    pub(crate) fn finish(self, outcome: Outcome) -> Result<()> {
        let Some(writer) = self.writer.filter(|_| outcome < Outcome::Interrupted) else { return Ok(()) };
        writer.finish()?;
        if outcome <= Outcome::Vanished {
            return Ok(());
        }
        let lacks = Cause::Refused("it lacks what failed in this run".into());
        Err(Error::new(Operation::WriteManifest, self.path, lacks))
    }
}
