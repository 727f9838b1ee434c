//! `ringsync doctor`: what a machine and two places can hold, and which options follow.
//!
//! 1. The machine: its kernel, io_uring, limits, and what this user may do (`machine.rs`).
//! 2. SRC is looked at, never written to, and nothing in it is read, so that its times stay (`place.rs`).
//! 3. In DST everything is tried, in a directory of its own (`scratch.rs`, `trial/`).
//! 4. From what was found follows what would be lost, and which options help (`advice.rs`). That is a pure function.
//! 5. All of it is shown (`report.rs`, `json.rs`).
//! 6. Whatever happens, the directory is removed, also after a signal.

mod advice;
mod apart;
mod finding;
mod json;
mod machine;
mod place;
mod report;
mod scratch;
mod trial;
mod whose;

use std::path::PathBuf;

use anyhow::Context;

use crate::doctor::advice::Advice;
use crate::doctor::machine::Machine;
use crate::doctor::place::Place;
use crate::doctor::scratch::Scratch;
use crate::report::lines::message;
use ringsync::{Escaped, Outcome, Stop};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: Option<PathBuf>,
    pub(crate) destination: Option<PathBuf>,
    pub(crate) json: bool,
}

/// All that a report has.
struct Diagnosis {
    machine: Machine,
    source: Option<Place>,
    destination: Option<Place>,
    advice: Advice,
    outcome: Outcome,
}

/// Looks, tries and reports.
///
/// # Errors
/// When SRC or DST can't be used, or what was made in DST can't be removed.
pub(crate) fn doctor(plan: &Plan, stop: &Stop) -> anyhow::Result<(String, Outcome)> {
    let machine = Machine::find();
    let source = plan.source.as_deref().map(|path| Place::source(path, &machine)).transpose()?;
    let is_file = source.as_ref().is_some_and(|source| !source.is_directory);
    let destination =
        plan.destination.as_deref().map(|path| Place::destination(path, is_file)).transpose()?;
    let destination = destination.map(|place| apart(source.as_ref(), place)).transpose()?;
    let destination = destination.map(|place| tried(place, &machine, stop)).transpose()?;
    let advice = Advice::of(&machine, source.as_ref(), destination.as_ref());
    let outcome = match () {
        () if stop.is_stopped() => Outcome::Interrupted,
        () if advice.lost.is_empty() => Outcome::Done,
        () => Outcome::Failed,
    };
    if outcome == Outcome::Interrupted {
        message(format_args!("interrupted"));
        return Ok((String::new(), outcome));
    }
    let diagnosis = Diagnosis { machine, source, destination, advice, outcome };
    let text = if plan.json { json::json(&diagnosis) } else { report::text(&diagnosis) };
    Ok((text, outcome))
}

/// DST, if it lies where `sync` takes it.
fn apart(source: Option<&Place>, destination: Place) -> anyhow::Result<Place> {
    let is_mounted_in_source =
        source.map_or(Ok(false), |source| apart::require_apart(source, &destination))?;
    Ok(Place { is_mounted_in_source, ..destination })
}

/// Tries what a place can hold.
fn tried(mut place: Place, machine: &Machine, stop: &Stop) -> anyhow::Result<Place> {
    let shown = || format!("use destination {}", Escaped::path(&place.used));
    let parent = place.directory()?;
    let scratch = Scratch::make(parent, machine.user()).with_context(shown)?;
    let named = place.used.join(scratch.name());
    let findings = trial::all(&scratch, stop);
    let removed = scratch.remove();
    let remove = || format!("remove {} (remove it by hand)", Escaped::path(&named));
    removed.map_err(std::io::Error::from).with_context(remove)?;
    place.findings = findings.map_err(std::io::Error::from).with_context(remove)?;
    place.doubt_years();
    Ok(place)
}
