//! Telling what killed runs have set aside.

use std::sync::PoisonError;

use crate::engine::run::lane::Lane;
use crate::engine::state::directory::Directory;
use crate::engine::state::pair::Pair;
use crate::error::{Cause, Error, Operation};
use crate::event::Event;

/// Reports what killed runs have replaced in a directory, where this run does not delete it.
pub(crate) async fn report(directory: &Directory, pair: &Pair, lane: &Lane) {
    let names = std::mem::take(&mut *pair.set_aside.lock().unwrap_or_else(PoisonError::into_inner));
    for name in names.iter().filter(|_| lane.run.config.delete.is_none()) {
        let path = lane.run.destination_path(&directory.path_of(name));
        let error = Error::new(Operation::Remove, path, Cause::SetAside);
        lane.run.report(Event::Failed(error)).await;
    }
}
