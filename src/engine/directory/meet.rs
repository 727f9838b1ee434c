//! A name of the source whose turn it is, where the destination may take several for one.

use std::ffi::CStr;
use std::path::PathBuf;

use crate::engine::run::blocking::in_thread;
use crate::engine::run::lane::Lane;
use crate::engine::state::directory::Directory;
use crate::engine::state::names::{Groups, Turn, find_groups};
use crate::engine::state::pair::Pair;
use crate::engine::state::watched::patiently;
use crate::error::{Cause, Context, Error, Operation, Result};

impl Directory {
    /// Waits for the turn of a name in it. `None`, nearly always: no other name of the source may be the same one there. The
    /// others wait until the turn is dropped.
    ///
    /// # Errors
    /// If another name of the source is the same one there, and has it.
    pub(crate) async fn take_turn(&self, pair: &Pair, name: &CStr, lane: &Lane) -> Result<Option<Turn>> {
        let (Some(names), Some(mirror)) = (&pair.names, &pair.destination) else { return Ok(None) };
        let source = pair.source.clone();
        let find = async {
            in_thread(lane, move |_| Ok(find_groups(&source))).await.unwrap_or_else(|_| Groups::new())
        };
        let Some(group) = names.groups(find).await.get(name) else { return Ok(None) };
        let run = &lane.run;
        let path = || -> PathBuf { run.destination_path(&self.path_of(name)) };
        let Some(mut turn) = patiently(|| group.turn(), &group.given_up, lane.watched()).await else {
            let limit = run.config.timeout.unwrap_or_default();
            return Err(Error::new(Operation::StatDestination, path(), Cause::TimedOut(limit)));
        };
        lane.doing(Operation::StatDestination);
        let met = group.met(name, mirror, &turn);
        match met.at(Operation::StatDestination, path)? {
            Some(other) => {
                let operation =
                    if run.config.writes() { Operation::Create } else { Operation::StatDestination };
                let other = run.source_path(&self.path_of(other));
                Err(Error::new(operation, path(), Cause::NamesMeet(other)))
            }
            None => {
                if let Some(watched) = lane.watched() {
                    watched.mark_awaited(&group.given_up);
                }
                if !turn.iter().any(|placed| placed.as_c_str() == name) {
                    turn.push(name.to_owned());
                }
                Ok(Some(turn))
            }
        }
    }
}
