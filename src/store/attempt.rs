//! One run of the engine for a snapshot.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::event::{Both, EntryEvent, Incomplete, JsonPath, Mode, Reporter, Summary};
use crate::options::Reuse;
use crate::stop::Stop;
use crate::store::hashes::journal::{Head, Journal};
use crate::store::layout::Layout;
use crate::store::own::held;
use crate::store::prune::{self, Pruned};
use crate::store::record::known;
use crate::store::sources::{Sources, refuse};
use crate::store::take::Take;
use crate::store::unfit::{Unfit, unfit};
use crate::store::{Held, clones, earlier, is_broken_off, mounted, record};

/// As many paths that are missing are kept.
const KEPT: usize = 100;

/// What it came to.
pub(super) struct Attempt {
    pub(super) started: Timestamp,
    /// Something is missing in what it has written.
    pub(super) is_partial: bool,
    /// The first paths that are.
    pub(super) missing: Vec<JsonPath>,
    /// None of the sources is there any more.
    pub(super) is_gone: bool,
    pub(super) summary: Summary,
    pub(super) journal: Journal,
}

impl Attempt {
    /// Writes to `incomplete`. What a run that was broken off had written there is among the earlier trees then.
    pub(super) fn make(take: &Take, held: &Held, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Self> {
        let earlier = earlier::trees(held)?;
        let incomplete = held.layout.incomplete();
        let mut config = take.run.clone();
        config.destination.clone_from(&incomplete);
        config.reuse = clones::reuse(&held.layout, take.clone)?;
        (config.delete, config.backup, config.fsync) = (None, None, false);
        config.link_dest = earlier.iter().map(|tree| tree.path.clone()).collect();
        let doubted = (0..).zip(&earlier).filter(|(_, tree)| tree.is_doubted);
        config.salvage = Some(doubted.map(|(number, _)| number).collect());
        let earlier = earlier.into_iter().map(|tree| tree.manifest).collect();
        let head = Head { earlier, mounted: mounted::identity(held.layout.store()) };
        let mut journal = Journal::create(&held.layout.journal(), &head)?;
        if take.run.sources.is_some() {
            held::make_directory_of(&incomplete, 0o777.into()).at(Operation::Create, || &incomplete)?;
        }
        let started = Timestamp::now();
        let mut missing = Missing::of(&take.run);
        let summary = Sources::note(&take.run).and_then(|sources| {
            let mut both = Both(&mut *reporter, Both(&mut missing, &mut journal));
            Ok((crate::engine::sync(&config, &mut both, stop)?, sources))
        });
        let (mut summary, sources) = summary.inspect_err(|_| {
            held::remove_directory(&incomplete).ok();
            // It tells nothing of what runs before have left.
            record::remove(&held.layout.journal()).ok();
        })?;
        let looked = match is_broken_off(&summary) {
            true => Ok((Vec::new(), false)),
            false => sources.look_again(&take.run),
        };
        let (lost, is_gone) = looked.unwrap_or_else(|late| (vec![late], false));
        for error in lost {
            if missing.has(&error.path) && error.outcome() != Outcome::TimedOut {
                continue; // the engine has told it
            }
            reporter.error(&error);
            missing.error(&error);
            missing.is_partial = true;
            summary.totals.errors += 1;
            summary.outcome = summary.outcome.max(error.outcome().max(Outcome::Failed));
            summary.errors.truncate(Incomplete::KEPT - 1);
            summary.errors.push(error);
        }
        let Missing { is_partial, paths: missing, .. } = missing;
        Ok(Attempt { started, is_partial, missing, is_gone, summary, journal })
    }
}

/// Has the engine tell what it would do in a store, of which there may be none, and tells what pruning would do then. What runs
/// that were broken off have left is not looked at.
pub(super) fn foretell(
    take: &Take,
    layout: &Layout,
    reporter: &mut dyn Reporter,
    stop: &Stop,
) -> Result<(Summary, Option<Unfit>, Pruned)> {
    let snapshots = known(layout)?.snapshots;
    refuse(layout, take.name.as_deref(), take.run.sources.is_some(), &snapshots)?;
    let store = std::path::absolute(layout.store()).at(Operation::UseStore, || layout.store())?;
    let mut config = take.run.clone();
    match layout.require() {
        Ok(()) => layout.require_ours()?,
        // It would be made, in a directory that is there.
        Err(_) => {
            store.parent().map(std::fs::metadata).transpose().at(Operation::Create, || &store)?;
        }
    }
    config.mode = Mode::DryRun;
    config.make_parents = true;
    // Nothing is called so.
    config.destination = layout.own("dry-run");
    let recorded = earlier::newest(&snapshots).map(|record| record.name.clone());
    let earlier = earlier::unrecorded(layout, &snapshots).into_iter().chain(recorded);
    config.link_dest = earlier.map(|name| store.join(name)).collect();
    (config.delete, config.backup, config.fsync, config.reuse) = (None, None, false, Reuse::Link);
    let summary = crate::engine::sync(&config, reporter, stop)?;
    let unfit = match is_broken_off(&summary) {
        true => None,
        false => {
            unfit(&summary.totals, false, (&take.run, take.min_entries), (layout, &snapshots), &|source| {
                Some(source.into())
            })
        }
    };
    let is_snapshot = unfit.is_none() && !is_broken_off(&summary);
    let pruned = match (take.prune.as_ref().filter(|_| is_snapshot), layout.require()) {
        (Some(prune), Ok(())) => {
            let held = Held::look(layout.clone())?;
            prune::foretell(prune, &held, (summary.totals.bytes, take.name.is_some()), stop)?
        }
        _ => Pruned::default(),
    };
    Ok((summary, unfit, pruned))
}

/// Takes note of whether something is missing in the end. What vanished is not: it is not in the source.
struct Missing {
    /// The sources, and where each is in the snapshot.
    sources: Vec<(PathBuf, PathBuf)>,
    is_partial: bool,
    paths: Vec<JsonPath>,
}

impl Missing {
    fn of(run: &Config) -> Self {
        let several =
            |source: &PathBuf| (source.clone(), source.file_name().map(PathBuf::from).unwrap_or_default());
        let sources = match &run.sources {
            Some(sources) => sources.iter().map(several).collect(),
            None => vec![(run.source.clone(), PathBuf::new())],
        };
        Missing { sources, is_partial: false, paths: Vec::new() }
    }

    /// Where the snapshot has what lies at a path.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        let place = |(source, place): &(PathBuf, PathBuf)| {
            let below = path.strip_prefix(source).ok()?;
            Some(if below.as_os_str().is_empty() { place.clone() } else { place.join(below) })
        };
        self.sources.iter().find_map(place)
    }

    fn has(&self, path: &Path) -> bool {
        self.place(path).is_some_and(|place| self.paths.contains(&JsonPath::new(&place)))
    }

    fn add(&mut self, path: &Path) {
        let path = JsonPath::new(path);
        if self.paths.len() < KEPT && !self.paths.contains(&path) {
            self.paths.push(path);
        }
    }

    fn note(&mut self, error: &Error) -> bool {
        let is_missing = !matches!(error.cause, Cause::NotKept(_)) && error.outcome() != Outcome::Vanished;
        self.is_partial |= is_missing;
        is_missing
    }
}

impl Reporter for Missing {
    fn entry(&mut self, directory: &Path, event: &EntryEvent) {
        let Some(error) = &event.error else { return };
        if self.note(error) {
            self.add(&directory.join(event.name()));
        }
    }

    fn error(&mut self, error: &Error) {
        if self.note(error)
            && let Some(place) = self.place(&error.path)
        {
            self.add(&place);
        }
    }
}
