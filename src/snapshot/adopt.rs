//! `ringsync snapshot adopt`: a line for each tree.

use std::process::ExitCode;

use crate::cli::AdoptArgs;
use crate::signals::{LIMIT, stop_on_signal};
use crate::snapshot::rebuild::{counts, end};
use ringsync::{Escaped, Stop};

pub(super) fn adopt(arguments: &AdoptArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::default();
    stop_on_signal(&stop, Some(LIMIT))?;
    let adopted = ringsync::store::found::adopt(&arguments.adopt(), &stop)?;
    let word = if arguments.is_dry_run() { "would adopt" } else { "adopted" };
    let line = |(path, record): &(std::path::PathBuf, ringsync::store::Record)| {
        let (from, name) = (Escaped::path(path), Escaped::name(record.name.as_ref()));
        format!("{word} {from} as {name}: {}\n", counts(record))
    };
    Ok(end(adopted.trees.iter().map(line).collect(), "nothing to adopt", &adopted.errors, &stop))
}
