//! The trials: each makes what it needs in the scratch directory, does one thing, and looks at what came of it. A file system
//! that reports success may still have done nothing, so each trial looks again.

mod contents;
mod links;
mod metadata;
mod names;
mod times;

use rustix::io::Errno;

use crate::doctor::finding::{Findings, Found, Subject};
use crate::doctor::scratch::Scratch;
use ringsync::Stop;

/// One thing to try. An error is the answer no.
type Trial = fn(&Scratch) -> rustix::io::Result<Found>;

const TRIALS: [(Subject, Trial); 35] = [
    (Subject::UserAttributes, metadata::user_attributes),
    (Subject::AttributeSize, metadata::attribute_size),
    (Subject::TrustedAttributes, metadata::trusted_attributes),
    (Subject::Capabilities, metadata::capabilities),
    (Subject::Acls, metadata::acls),
    (Subject::Owners, metadata::owners),
    (Subject::Modes, metadata::modes),
    (Subject::SetId, metadata::set_id),
    (Subject::Times, times::times),
    (Subject::TimeStep, times::step),
    (Subject::TimeRange, times::range),
    (Subject::TimesKept, times::kept),
    (Subject::DirectoryTimes, times::of_directories),
    (Subject::HardLinks, links::hard_links),
    (Subject::Symlinks, links::symlinks),
    (Subject::Fifos, links::fifos),
    (Subject::Devices, links::devices),
    (Subject::NamelessFiles, links::nameless_files),
    (Subject::Replace, links::replace),
    (Subject::NoReplace, links::no_replace),
    (Subject::Exchange, links::exchange),
    (Subject::Clones, contents::clones),
    (Subject::Holes, contents::holes),
    (Subject::NoCow, contents::no_cow),
    (Subject::Case, names::case),
    (Subject::UnicodeForms, names::unicode_forms),
    (Subject::NamesListed, names::listed),
    (Subject::TrailingDot, names::trailing_dot),
    (Subject::TrailingBlank, names::trailing_blank),
    (Subject::Characters, names::characters),
    (Subject::Bytes, names::bytes),
    (Subject::LongNames, names::long_names),
    (Subject::SyncFile, contents::sync_file),
    (Subject::SyncDirectory, contents::sync_directory),
    (Subject::SyncAll, contents::sync_all),
];

/// Tries everything, until it is to stop.
///
/// # Errors
/// When what was made can't be removed.
pub(crate) fn all(scratch: &Scratch, stop: &Stop) -> rustix::io::Result<Findings> {
    let mut findings = Findings::default();
    for (subject, trial) in TRIALS {
        if stop.is_stopped() {
            break;
        }
        findings.add(subject, trial(scratch).unwrap_or_else(refusal));
        scratch.clear()?;
    }
    Ok(findings)
}

/// What an error says of a file system. That it is full says nothing.
fn refusal(errno: Errno) -> Found {
    match errno {
        Errno::NOSPC | Errno::DQUOT => Found::Untried(told(errno)),
        _ => Found::No(told(errno)),
    }
}

fn told(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}
