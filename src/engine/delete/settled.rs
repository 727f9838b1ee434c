//! What moves within the source during a run may come to a place that was read already, and leave one that is read later. Then the
//! destination has it under its old name alone, as something extra. So a directory that has changed since the run began keeps
//! what its mirror has beyond it until the next run, and so does one in whose place there is another one in the end: something was
//! mounted there, or has left, and may be back.

use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;

use crate::engine::Run;
use crate::engine::state::deletions::Doomed;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Event;
use crate::stat::{Place, Stat};

/// Fails where a directory of the source has changed since the run began. Its names were looked up before.
pub(crate) fn refuse_changed(source: &OwnedFd, run: &Run) -> Result<(), Cause> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC; // a server may know better than the cache
    let stat = Stat::from(&rustix::fs::statx(source, c"", flags, Stat::FIELDS)?);
    match run.onset.is_before_change_of(&stat) {
        true => Err(Cause::MayHaveMoved),
        false => Ok(()),
    }
}

/// Leaves out what is extra beside a directory that is not found again in the source, and reports that.
pub(crate) fn keep_settled(run: &Run, doomed: Vec<Doomed>) -> Vec<Doomed> {
    let is_settled = |doomed: &Doomed| match find_again(run, doomed) {
        Ok(()) => true,
        Err(error) => {
            run.report_blocking(Event::Failed(error));
            false
        }
    };
    doomed.into_iter().filter(is_settled).collect()
}

fn find_again(run: &Run, doomed: &Doomed) -> Result<()> {
    let Some(place) = doomed.source else { return Ok(()) };
    let path = || run.source_path(&doomed.path);
    let found = run.hold_source_at(&doomed.path).at(Operation::OpenSource, path)?;
    match Place::of(&found).at(Operation::StatSource, path)? == place {
        true => Ok(()),
        false => Err(Error::new(Operation::ListSource, path(), Cause::Refused(REPLACED.into()))),
    }
}

const REPLACED: &str = "another directory was there for a while during the run, since something was mounted, or moved: \
    nothing is deleted in its mirror";
