//! `ringsync snapshot take`.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::{Closing, TakeArgs};
use crate::exit::{exit_code, say};
use crate::report::lines::message;
use crate::report::number_format::NumberFormat;
use crate::report::words;
use crate::signals::{LIMIT, clear_before_stop, stop_on_signal};
use crate::snapshot::list::{json, line, tell_of_clock, tell_of_gone, tell_of_lost_record};
use crate::snapshot::missing::{TOLD, elsewhere};
use crate::snapshot::rebuild::entries;
use crate::supervisor::{is_supervised, prepare_child, supervise};
use ringsync::store::look::View;
use ringsync::store::{Decision, NoRoom, Record, Taken};
use ringsync::{EXIT_USAGE, Escaped, Operation, Outcome, Stop};

pub(super) fn take(arguments: &TakeArgs) -> anyhow::Result<ExitCode> {
    if let Some(why) = arguments.misuse() {
        message(why);
        return Ok(EXIT_USAGE.into());
    }
    if arguments.has_limit() {
        if !is_supervised() {
            return supervise();
        }
        prepare_child();
    }
    let take = arguments.take()?;
    let mut reporter = arguments.reporter(&take.run)?;
    let stop = Stop::default();
    stop_on_signal(&stop, Some(LIMIT))?;
    clear_before_stop()?;
    let taken = match ringsync::store::take(&take, reporter.as_mut(), &stop) {
        // No room for the record, or what was written is not on the disk: the next run goes on.
        Err(error) if error.outcome() == Outcome::BrokenOff && error.operation != Operation::StartEngine => {
            message(words::told(&error));
            return Ok(exit_code(Outcome::BrokenOff, false, || reporter.trouble()));
        }
        taken => taken?,
    };
    warn(&take.store, &taken);
    let (outcome, removed) = (taken.outcome(), removed(&taken.pruned));
    let Taken { summary, snapshot, unfit, .. } = taken;
    let dry_run = arguments.is_dry_run();
    let mut said = match arguments.closing() {
        _ if removed.is_empty() => Vec::new(),
        Closing::Json => line(&Pruned { event: "pruned", removed, dry_run })?,
        Closing::Text => {
            let word = if dry_run { "would remove" } else { "removed" };
            removed.iter().map(|name| format!("{word} {name}\n")).collect::<String>().into_bytes()
        }
        Closing::Nothing => Vec::new(),
    };
    said.extend(match (snapshot, unfit, arguments.closing()) {
        (Some(record), _, Closing::Text) => closing(&record).into_bytes(),
        (Some(record), _, Closing::Json) => json(&record)?,
        (None, Some(unfit), Closing::Json) => {
            let (message, exit_code) = (unfit.to_string(), summary.outcome.exit_code());
            line(&NoSnapshot { event: "no_snapshot", message, exit_code })?
        }
        (_, Some(unfit), _) => {
            message(format!("no snapshot: {unfit}"));
            Vec::new()
        }
        (None, None, _) if !dry_run => {
            message("no snapshot: the next run goes on with what was written");
            Vec::new()
        }
        _ => Vec::new(),
    });
    let mut trouble = say(&said);
    Ok(exit_code(outcome, summary.stuck, || trouble.take().or_else(|| reporter.trouble())))
}

/// Says what is not as it should be in the store, and what could not be done.
fn warn(store: &Path, taken: &Taken) {
    if let Ok(view) = View::open(store) {
        let records: Vec<Record> = view.snapshots.iter().filter_map(|found| found.record.clone()).collect();
        tell_of_clock(&records);
        tell_of_lost_record(&view, store);
        let missing = taken.snapshot.iter().flat_map(|record| view.missing(record, TOLD));
        missing.for_each(|missing| message(elsewhere(&missing)));
    }
    if let Some(before) = &taken.other_sources {
        let before: Vec<_> = before.iter().map(|source| Escaped::name(source.as_ref()).to_string()).collect();
        message(format!(
            "the snapshot before was taken of {}, and this run takes something else: a store is for one tree, and for \
             another one name another STORE",
            before.join(", ")
        ));
    }
    tell_of_gone(&taken.gone);
    taken.cut.iter().for_each(|error| message(words::told(error)));
    if taken.open_to_others {
        message("others can write to the store, and may change what is kept in it: chmod go-w");
    }
    if taken.lets_others_in {
        message(
            "others can get into the store: who owns a file of SRC can change it in all snapshots: chmod 700",
        );
    }
    if taken.closed {
        message(".ringsync in the store was open to others: it is closed to them now (mode 700)");
    }
    if taken.dropped > 0 {
        message("there was no room: what earlier runs that were broken off had left was removed");
    }
    for name in &taken.doubted {
        let name = Escaped::name(name.as_ref());
        message(format!(
            "snapshot {name} was taken with --no-fsync, and the machine has been started anew since: its files were compared \
             by contents before they were linked"
        ));
    }
    for error in taken.undone.iter().chain(&taken.left).chain(&taken.prune_errors) {
        message(words::told(error));
    }
    if let Some(no_room) = &taken.no_room {
        message(shortage(no_room));
    }
}

/// The names of those that are gone.
fn removed(decisions: &[Decision]) -> Vec<String> {
    let gone = decisions.iter().filter(|decision| !decision.verdict.keeps());
    gone.map(|decision| Escaped::name(decision.snapshot.name.as_ref()).to_string()).collect()
}

#[derive(Serialize)]
struct Pruned {
    event: &'static str,
    removed: Vec<String>,
    /// They would be.
    dry_run: bool,
}

/// What would make room.
fn shortage(no_room: &NoRoom) -> String {
    let bytes = |bytes| NumberFormat::Human.bytes(bytes);
    let mut text = match no_room.missing {
        0 => "there is no room".to_owned(),
        missing => format!("there is no room: at least {} are missing", bytes(missing)),
    };
    if let Some(freed) = no_room.by_rules {
        text += &format!("; pruning by these rules would free {}", bytes(freed));
    }
    match no_room.by_oldest {
        Some((1, freed)) => text += &format!("; removing the oldest snapshot would free {}", bytes(freed)),
        Some((count, freed)) => {
            text += &format!("; removing the {count} oldest snapshots would free {}", bytes(freed));
        }
        None => text += "; removing older snapshots would free nothing",
    }
    text + " (what other snapshots have as well is not counted)"
}

/// Where the run itself came to its end.
#[derive(Serialize)]
struct NoSnapshot {
    event: &'static str,
    message: String,
    exit_code: u8,
}

fn closing(record: &Record) -> String {
    let partial = if record.complete { "" } else { ", partial: what the errors name is missing" };
    let figures = NumberFormat::Human;
    format!(
        "snapshot {}: {}, {} of {} new{partial}\n",
        Escaped::name(record.name.as_ref()),
        entries(record.entries),
        figures.bytes(record.bytes_copied),
        figures.bytes(record.bytes),
    )
}
