//! How a tree of a store is removed: it is renamed away first, so that no snapshot is there in part, and then the engine
//! empties what was put there, on all its threads. What a killed run has left of it goes with the next one.

use std::path::Path;

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Silent;
use crate::options::Delete;
use crate::stop::Stop;
use crate::store::hashes::manifest;
use crate::store::layout::Layout;
use crate::store::own::held;
use crate::store::record::flush_around;
use crate::store::rename_tree;

/// Takes a tree out of sight. It is not there any more for anybody, and its names are gone with the next [`empty`].
pub(in crate::store) fn doom(layout: &Layout, path: &Path) -> Result<()> {
    let doomed = layout.doomed();
    make_private(&doomed)?;
    let free = (0_u32..).map(|number| doomed.join(number.to_string())).find(|path| held::is_absent(path));
    let Some(free) = free else { return Ok(()) };
    rename_tree(path, &free)?;
    flush_around(path)
}

/// Makes the directories that a run takes, while there is room for them.
pub(in crate::store) fn prepare(layout: &Layout) -> Result<()> {
    make_private(&layout.doomed())?;
    make_private(&layout.manifests())?;
    make_private(&layout.own("nothing"))
}

/// Whether something is out of sight that is not removed yet.
pub(in crate::store) fn is_due(layout: &Layout) -> bool {
    has_entries(&layout.doomed()).unwrap_or(false)
}

/// Removes all that is out of sight. Returns the first errors of what could not be removed.
pub(in crate::store) fn empty(layout: &Layout, stop: &Stop) -> Result<Vec<Error>> {
    manifest::remove_orphans(layout)?;
    let doomed = layout.doomed();
    if !has_entries(&doomed)? {
        return Ok(Vec::new());
    }
    let nothing = layout.own("nothing");
    if has_entries(&nothing)? {
        doom(layout, &nothing)?; // what is removed would become what is in it
    }
    make_private(&nothing)?;
    let config = Config::new(&nothing, &doomed).with(|config| {
        config.delete = Some(Delete::default().with(|delete| {
            delete.allow_empty_source = true;
        }));
        // What is mounted in it stays.
        config.select.one_file_system = true;
        config.state = None;
        config.counts_deleted = true;
    });
    let summary = crate::engine::sync(&config, &mut Silent, stop)?;
    let mut errors = summary.errors;
    if errors.is_empty() && !stop.is_stopped() && has_entries(&doomed)? {
        let why = "something in it stays, probably since a file system is mounted there: unmount it";
        errors.push(Error::new(Operation::Remove, doomed, Cause::Refused(why.into())));
    }
    Ok(errors)
}

/// Whether there is anything in a directory, if it is there.
fn has_entries(directory: &Path) -> Result<bool> {
    Ok(!held::list(directory).at(Operation::ListDirectory, || directory)?.is_empty())
}

fn make_private(path: &Path) -> Result<()> {
    held::make_directory(path).at(Operation::Create, || path)
}
