//! `ringsync snapshot prune`: a line for each that goes; in a dry run for each, with why.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::cli::PruneArgs;
use crate::exit::{exit_code, print};
use crate::report::lines::message;
use crate::report::words;
use crate::signals::{LIMIT, stop_on_signal};
use crate::snapshot::list::{tell_of_clock, tell_of_gone, tell_of_lost_record};
use ringsync::store::look::View;
use ringsync::store::retention::Verdict;
use ringsync::store::{Decision, Record, Store};
use ringsync::{EXIT_USAGE, Escaped, Outcome, Stop};

pub(super) fn prune(arguments: &PruneArgs) -> anyhow::Result<ExitCode> {
    let prune = match arguments.prune() {
        Ok(prune) => prune,
        Err(why) => {
            message(why);
            return Ok(EXIT_USAGE.into());
        }
    };
    let stop = Stop::default();
    stop_on_signal(&stop, Some(LIMIT))?;
    let store = Store::open(&prune.store);
    let (gone, cut) = store.map_or((Vec::new(), None), |store| (store.gone, store.cut));
    let (decisions, errors) = ringsync::store::prune(&prune, &stop)?;
    tell_of_gone(&gone);
    cut.iter().for_each(|error| message(words::told(error)));
    let snapshots: Vec<Record> = decisions.iter().map(|decision| decision.snapshot.clone()).collect();
    tell_of_clock(&snapshots);
    if let Ok(view) = View::open(&prune.store) {
        tell_of_lost_record(&view, &prune.store);
    }
    let mut text = String::new();
    let is_meant =
        |decision: &&Decision| prune.names.is_empty() || prune.names.contains(&decision.snapshot.name);
    for decision in decisions.iter().filter(is_meant) {
        let name = Escaped::name(decision.snapshot.name.as_ref());
        // Writing to a string can't fail.
        match &decision.verdict {
            Verdict::Remove if arguments.is_dry_run() => writeln!(text, "would remove {name}").ok(),
            Verdict::Remove => writeln!(text, "removed {name}").ok(),
            Verdict::Keep(reasons) if arguments.is_dry_run() => {
                writeln!(text, "keep {name}: {}", reasons.join(", ")).ok()
            }
            _ => None,
        };
    }
    if let Some(why) = ringsync::store::refusal(&prune, &decisions).filter(|_| arguments.is_dry_run()) {
        text += &format!("{why}\n");
    }
    let printed = print(text.as_bytes());
    for error in &errors {
        message(words::told(error));
    }
    let outcome = match (stop.is_stopped(), errors.is_empty()) {
        (true, _) => Outcome::Interrupted,
        (false, false) => Outcome::Failed,
        (false, true) => return Ok(printed),
    };
    Ok(exit_code(outcome, false, || None))
}
