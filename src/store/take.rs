//! Taking a snapshot.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::Config;
use crate::error::{Cause, Context, Error, Operation, Outcome, Result};
use crate::event::{Action, Reporter, Summary, Totals};
use crate::options::Reflink;
use crate::stop::Stop;
use crate::store::attempt::{self, Attempt};
use crate::store::hashes::journal::Journal;
use crate::store::hashes::manifest;
use crate::store::layout::Layout;
use crate::store::own::held;
use crate::store::prune::{Prune, removal};
use crate::store::record::{FORMAT, Record, known};
use crate::store::shortage::{MadeRoom, NoRoom, is_full, make_room, with_room};
use crate::store::taken::Taken;
use crate::store::unfit::{MinEntries, entries, unfit};
use crate::store::{Held, earlier, is_broken_off, mounted, name, prune, record, rename_tree, sources};
use crate::text::Escaped;

/// What to take, and where to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Take {
    /// Sources and options, as [`Config::new`] or [`Config::copy`] has them for several sources. Its destination, and what
    /// it says of deletion, backups and earlier trees, are the store's.
    pub run: Config,
    /// The directory that holds the snapshots. It is made if it is missing.
    pub store: PathBuf,
    /// Instead of the time: only by this name it will go.
    pub name: Option<String>,
    /// Whether files that have not changed become clones of earlier ones, and of large files that have changed only the blocks
    /// that differ are written. `Auto`: where the file system can; elsewhere what has not changed becomes a hard link.
    pub clone: Reflink,
    /// With less than this it is no snapshot.
    pub min_entries: MinEntries,
    /// Have all on stable storage before it gets its name.
    pub durable: bool,
    /// Wait while another run is at work in the store.
    pub wait: bool,
    /// Also into a directory that is no store yet, and has other files.
    pub allow_other_files: bool,
    /// Prune the store afterwards, without another run in between, and before that where there is no room. Of its fields `rules`,
    /// `keep_free`, `zone` and `force` count: the store is this one, and held already, and `names` is to be empty.
    pub prune: Option<Prune>,
    /// What the record says of the options.
    pub options: Vec<String>,
    /// Make nothing, not even the store, take no lock, and have the run tell what it would do.
    pub dry_run: bool,
}

crate::options::with!(Take);

impl Take {
    /// The defaults for a snapshot of what `run` names.
    pub fn new(run: Config, store: impl Into<PathBuf>) -> Self {
        let min_entries = MinEntries::default();
        Take {
            run,
            store: store.into(),
            name: None,
            clone: Reflink::Auto,
            min_entries,
            durable: true,
            wait: false,
            allow_other_files: false,
            prune: None,
            options: Vec::new(),
            dry_run: false,
        }
    }
}

/// Takes a snapshot.
///
/// # Errors
/// When nothing could be begun, as for [`sync`](crate::sync()); when the store is in use; when a name is taken, or the
/// sources are several where they were one; when what was written could not be flushed or get its name.
pub fn take(take: &Take, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Taken> {
    let layout = Layout::new(&take.store);
    refuse(take, &layout)?;
    if take.dry_run {
        return foretell(take, &layout, reporter, stop);
    }
    let (new, closed, lock) = layout.make_and_lock(take.wait, stop)?;
    let mut held = Held::new(layout, lock)?;
    let several = take.run.sources.is_some();
    sources::refuse(&held.layout, take.name.as_deref(), several, &held.snapshots)?;
    removal::prepare(&held.layout)?;
    let mut taken = Taken { closed, ..found(take, &mut held) };
    let mut attempt = Attempt::make(take, &held, reporter, stop);
    let room = make_room(take, &mut held, &mut attempt, stop);
    if room.is_more {
        attempt = Attempt::make(take, &held, reporter, stop);
    }
    taken.cut = held.cut.take();
    let has_pruned = !room.pruned.is_empty();
    taken.note_room(room);
    match attempt {
        Ok(attempt) => conclude(take, held, taken, attempt, reporter, stop),
        Err(error) if has_pruned => Ok(taken.broken_off_by(error, reporter)),
        Err(error) => {
            held.layout.unmake(&new);
            Err(error)
        }
    }
}

/// Refuses what needs no lock to be seen: a name that is none, and a source or a store that is the wrong one.
fn refuse(take: &Take, layout: &Layout) -> Result<()> {
    if let Some((name, why)) = take.name.as_ref().and_then(|name| Some((name, name::refusal(name.as_ref())?)))
    {
        let why = format!("{}: {why}", Escaped::name(name.as_ref()));
        return Err(Error::new(Operation::UseStore, &take.store, Cause::Refused(why)));
    }
    sources::refuse_wrong(&take.run, &take.store)?;
    if take.allow_other_files { Ok(()) } else { layout.refuse_used() }
}

/// What a take has to say about the store as it was found.
fn found(take: &Take, held: &mut Held) -> Taken {
    let none = Summary::new(Outcome::Done, Totals::default());
    let doubted = earlier::newest(&held.snapshots).filter(|record| record.is_doubted());
    Taken {
        gone: std::mem::take(&mut held.gone),
        doubted: doubted.map(|record| record.name.clone()).collect(),
        other_sources: sources::before(&take.run, &held.snapshots),
        lets_others_in: held.layout.lets_others_in(),
        ..Taken::new(none, held.layout.is_open_to_others())
    }
}

/// Makes a snapshot of what a run has written, if it is one.
fn conclude(
    take: &Take,
    mut held: Held,
    mut taken: Taken,
    attempt: Attempt,
    reporter: &mut dyn Reporter,
    stop: &Stop,
) -> Result<Taken> {
    let Attempt { started, is_partial, missing, is_gone, summary, mut journal } = attempt;
    taken.summary = summary;
    if is_broken_off(&taken.summary) {
        journal.finish().ok(); // the next run does without what is lost of it
        taken.no_room = is_full(&taken.summary).then(|| NoRoom::find(take, &taken.summary, &held, stop));
        return Ok(taken);
    }
    let written = |source: &Path| Some(held.layout.incomplete().join(source.file_name()?));
    let unfit = unfit(
        &taken.summary.totals,
        is_gone,
        (&take.run, take.min_entries),
        (&held.layout, &held.snapshots),
        &written,
    );
    if taken.refuse(unfit) {
        removal::doom(&held.layout, &held.layout.incomplete())?;
        record::remove(&held.layout.journal())?;
        taken.left = removal::empty(&held.layout, stop)?;
        return Ok(taken);
    }
    let mut record = describe(take, &held, (started, !is_partial), &taken.summary);
    let written = write_manifest(take, &mut held, &mut taken, (&mut journal, &record.name), stop);
    let counts = match written.and_then(|()| journal.finish()) {
        Ok(counts) => counts,
        Err(error) => return taken.failed(error, reporter),
    };
    record.missing = missing;
    counts.put(&mut record);
    if let Err(error) = if take.durable { flush(&held) } else { Ok(()) } {
        // The kernel has told it once. A later flush would succeed, and name what only the page cache has.
        taken.left = forget_written(&held.layout);
        return taken.failed(error, reporter);
    }
    match give_name(&mut held, &record, stop) {
        Ok(ended) => (taken.undone, taken.left) = ended,
        Err(error) => return taken.failed(error, reporter),
    }
    taken.snapshot = Some(record);
    if let Some(prune) = take.prune.as_ref().filter(|_| !stop.is_stopped()) {
        taken.note_pruned(prune::carry_out(prune, &mut held, stop));
    }
    Ok(taken)
}

/// Takes all out of sight that runs have written, and of which there is no snapshot. Why it could not.
fn forget_written(layout: &Layout) -> Vec<Error> {
    let written = [
        removal::doom(layout, &layout.incomplete()).err(),
        earlier::drop_broken_off(layout).err(),
        record::remove(&layout.journal()).err(),
    ];
    written.into_iter().flatten().collect()
}

/// Writes the manifest of what a run has written to its end. Where there is no room for it, some is made.
fn write_manifest(
    take: &Take,
    held: &mut Held,
    taken: &mut Taken,
    (journal, name): (&mut Journal, &str),
    stop: &Stop,
) -> Result<()> {
    let mut room = MadeRoom::default();
    let written = with_room(take, held, &mut room, stop, |held| {
        journal.flush()?;
        manifest::write(&held.layout, &held.layout.journal(), &held.layout.manifest(name))
    });
    taken.note_room(room);
    written
}

/// Has the run tell what it would do.
fn foretell(take: &Take, layout: &Layout, reporter: &mut dyn Reporter, stop: &Stop) -> Result<Taken> {
    let (summary, unfit, pruned) = attempt::foretell(take, layout, reporter, stop)?;
    let mut taken = Taken::new(summary, layout.is_open_to_others());
    taken.note_pruned(Ok(pruned));
    let known = known(layout)?;
    taken.other_sources = sources::before(&take.run, &known.snapshots);
    taken.cut = known.cut;
    taken.refuse(unfit);
    Ok(taken)
}

/// Has all that was written on stable storage. Where that is refused for one file system (by a container, or a FUSE), it is
/// done for all.
fn flush(held: &Held) -> Result<()> {
    match rustix::fs::syncfs(&held.lock) {
        Err(errno) if crate::engine::is_flush_refusal(errno) => {
            rustix::fs::sync();
            Ok(())
        }
        flushed => flushed.at(Operation::Flush, || held.layout.store()),
    }
}

fn describe(take: &Take, held: &Held, (started, complete): (Timestamp, bool), summary: &Summary) -> Record {
    let free =
        |earlier: &u32| held.layout.snapshot(&name::of_time(started, *earlier)).symlink_metadata().is_err();
    let by_time = || (0..).find(free).map(|earlier| name::of_time(started, earlier)).unwrap_or_default();
    let (totals, several) = (&summary.totals, take.run.sources.is_some());
    Record {
        format: FORMAT,
        sequence: held.next,
        name: take.name.clone().unwrap_or_else(by_time),
        named: take.name.is_some(),
        started,
        finished: Timestamp::now(),
        complete,
        several,
        sources: sources::recorded(&take.run),
        entries: entries(totals, several),
        copied: totals.count(Action::Created),
        linked: totals.count(Action::Linked),
        cloned: 0,
        bytes_copied: totals.bytes,
        bytes_linked: 0,
        bytes_cloned: 0,
        bytes: totals.source_bytes,
        changing: totals.changing,
        options: take.options.clone(),
        errors: totals.errors,
        first_errors: summary.errors.iter().map(ToString::to_string).collect(),
        missing: Vec::new(),
        unflushed: (!take.durable).then(|| mounted::boot().unwrap_or_default()),
        exit_code: summary.outcome.exit_code(),
        version: env!("CARGO_PKG_VERSION").into(),
        rebuilt: false,
        adopted: false,
    }
}

/// Gives a snapshot its name: what it is is written down before, so that it is known whatever is killed. Returns what could not
/// be done any more then, and why what was broken off is left.
fn give_name(held: &mut Held, record: &Record, stop: &Stop) -> Result<(Vec<Error>, Vec<Error>)> {
    let layout = held.layout.clone();
    if !held::is_absent(&layout.pending()) {
        // A run that was killed has written down one that the record lacks: this one would take its place.
        held.write_down()?;
    }
    record::write(&layout.pending(), std::slice::from_ref(record))?;
    rename_tree(&layout.incomplete(), &layout.snapshot(&record.name))?;
    // The snapshot is there, whatever comes now.
    held.snapshots.push(record.clone());
    let undone = record::flush_around(&layout.incomplete()).and_then(|()| held.write_down()).err();
    let broken_off = layout.broken_off();
    let mut left = vec![record::remove(&layout.journal())];
    if !held::is_absent(&broken_off) {
        left.push(removal::doom(&layout, &broken_off));
    }
    let mut left: Vec<Error> = left.into_iter().filter_map(Result::err).collect();
    match removal::empty(&layout, stop) {
        Ok(errors) => left.extend(errors),
        Err(error) => left.push(error),
    }
    Ok((undone.into_iter().collect(), left))
}
