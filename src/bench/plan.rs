//! What is to be measured.

use std::path::PathBuf;

use serde::Serialize;

use crate::bench::data::Case;
use crate::bench::tools::Tool;
use ringsync::Stop;

/// What is to be done to the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// There is none yet.
    Fresh,
    /// It is what it should be.
    Noop,
    /// One file in a hundred is out of date.
    Changed,
}

impl Scenario {
    pub(crate) const ALL: [Scenario; 3] = [Scenario::Fresh, Scenario::Noop, Scenario::Changed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Fresh => "fresh",
            Scenario::Noop => "noop",
            Scenario::Changed => "changed",
        }
    }
}

/// Where the source is when a tool starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cache {
    /// In memory.
    Warm,
    /// On its disk.
    Cold,
}

impl Cache {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cache::Warm => "warm",
            Cache::Cold => "cold",
        }
    }
}

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where the scratch directory is made.
    pub(crate) directory: PathBuf,
    /// A tree to copy, instead of generated ones.
    pub(crate) source: Option<PathBuf>,
    pub(crate) cases: Vec<Case>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) caches: Vec<Cache>,
    /// All that there are, if none are named.
    pub(crate) tools: Option<Vec<&'static Tool>>,
    pub(crate) runs: usize,
    pub(crate) warm_up: bool,
    pub(crate) scale: f64,
    pub(crate) json: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) html: Option<PathBuf>,
}

/// Somebody wants no more of it.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Breaks off where the run was stopped.
pub(crate) fn go_on(stop: &Stop) -> anyhow::Result<()> {
    if stop.is_stopped() { Err(Interrupted.into()) } else { Ok(()) }
}
