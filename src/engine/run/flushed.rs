//! Flushing one file or one directory. What can't be flushed is told once a run, and costs nothing else: of names in a
//! notice, of contents in an error.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::engine::Run;
use crate::engine::run::lane::Lane;
use crate::engine::state::file_systems::{check_alive, is_flush_refusal};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::{Event, Notice};

/// Puts the names in one directory on stable storage.
pub(crate) async fn flush_directory(
    directory: &Arc<OwnedFd>,
    lane: &Lane,
    path: impl Fn() -> PathBuf,
) -> Result<()> {
    match lane.io.flush(directory).await {
        Err(errno) if is_flush_refusal(errno) => {
            if let Some(event) = unflushed_names(errno, &lane.run, &path) {
                lane.run.report(event).await;
            }
        }
        flushed => flushed.at(Operation::Flush, &path)?,
    }
    check_alive(directory).at(Operation::Flush, path)
}

/// The same of one that may be flushed where waiting holds up nobody.
pub(crate) fn flush_directory_now(directory: &OwnedFd, run: &Run, path: impl Fn() -> PathBuf) -> Result<()> {
    match rustix::fs::fsync(directory) {
        Err(errno) if is_flush_refusal(errno) => {
            unflushed_names(errno, run, path).into_iter().for_each(|event| run.report_blocking(event));
            Ok(())
        }
        flushed => flushed.at(Operation::Flush, path),
    }
}

/// Puts the contents and the metadata of a file on stable storage.
pub(crate) async fn flush_file(file: &Arc<OwnedFd>, lane: &Lane, path: impl Fn() -> PathBuf) -> Result<()> {
    match lane.io.flush(file).await {
        Err(errno) if is_flush_refusal(errno) => {
            if let Some(event) = unflushed_contents(errno, &lane.run, path) {
                lane.run.report(event).await;
            }
            Ok(())
        }
        flushed => flushed.at(Operation::Flush, path),
    }
}

/// The same of one that may be flushed where waiting holds up nobody.
pub(crate) fn flush_file_now(file: &OwnedFd, run: &Run, path: impl Fn() -> PathBuf) -> Result<()> {
    match rustix::fs::fsync(file) {
        Err(errno) if is_flush_refusal(errno) => {
            unflushed_contents(errno, run, path).into_iter().for_each(|event| run.report_blocking(event));
            Ok(())
        }
        flushed => flushed.at(Operation::Flush, path),
    }
}

/// What is to be told of a directory that can't be flushed.
fn unflushed_names(errno: Errno, run: &Run, path: impl Fn() -> PathBuf) -> Option<Event> {
    let tells = run.file_systems.tells_names();
    tells.then(|| Event::Notice(Notice::NamesNotFlushed { path: path(), why: errno.into() }))
}

/// What is to be told of a file that can't be.
fn unflushed_contents(errno: Errno, run: &Run, path: impl Fn() -> PathBuf) -> Option<Event> {
    let text = || {
        let error = std::io::Error::from(errno);
        format!("{error}: files on this file system are written as all others, but not flushed")
    };
    let tells = run.file_systems.tells_contents();
    tells.then(|| Event::Failed(Error::new(Operation::Flush, path(), Cause::Refused(text()))))
}
