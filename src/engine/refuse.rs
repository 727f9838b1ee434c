//! What is refused before anything begins: a caller that must not be blocked, and options that contradict each other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};

use tokio::runtime::{Handle, Runtime};
use tokio::task::coop::consume_budget;

use crate::config::Config;
use crate::error::{Cause, Error, Operation, Result};
use crate::event::Mode;
use crate::options::{DeleteLimit, Reflink};

/// Tokio lets a task go on for fewer operations before it has to wait for its next turn.
const LONGEST_TURN: usize = 1024;

/// The most tasks a ring.
const DEEPEST: usize = 1024;

/// Refuses a caller that is a task of tokio's: a run blocks its thread, and with it all tasks on it.
pub(crate) fn refuse_task(subject: &Path) -> Result<()> {
    if Handle::try_current().is_err() || !(has_a_turn() || can_not_block()) {
        return Ok(());
    }
    let why = "it blocks its thread until it is done, which a task must not: call it in tokio::task::spawn_blocking";
    Err(Error::new(Operation::StartEngine, subject, Cause::Refused(why.into())))
}

/// Whether tokio counts what this thread does, as it does for tasks, and not for threads that may block.
fn has_a_turn() -> bool {
    let mut context = Context::from_waker(Waker::noop());
    (0..LONGEST_TURN).any(|_| pin!(consume_budget()).poll(&mut context).is_pending())
}

/// Whether a runtime refuses to wait here: of a task whose turns are not counted, only a panic tells. It is printed,
/// and ends a program that aborts on panics, as the run itself would a moment later.
fn can_not_block() -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return false };
    let waits = |runtime: &Runtime| runtime.block_on(async {});
    let refused = catch_unwind(AssertUnwindSafe(|| waits(&runtime))).is_err();
    runtime.shutdown_background();
    refused
}

/// Refuses options of which one would silently have no effect.
pub(super) fn refuse_contradictions(config: &Config) -> Result<()> {
    let why = match contradiction(config) {
        Some(why) => why.to_owned(),
        None => match config.owner.refusal() {
            Some(why) => why,
            None => return Ok(()),
        },
    };
    Err(Error::new(Operation::UseDestination, &config.destination, Cause::Refused(why)))
}

/// Why two options don't go together, if some don't.
fn contradiction(config: &Config) -> Option<&'static str> {
    let is_piece = |bytes: usize| (64 << 10..=4 << 20).contains(&bytes) && bytes.is_multiple_of(64 << 10);
    let lists_hashes = config.hashing.as_ref().is_some_and(|hashing| hashing.manifest.is_some());
    let limit = config.delete.and_then(|delete| delete.limit);
    let table = [
        (lists_hashes && config.mode == Mode::DryRun, "a dry run writes nothing, no manifest either"),
        (
            config.delete.is_some() && config.select.paths.is_some(),
            "nothing is deleted where only the paths of a list are mirrored",
        ),
        (
            config.select.delete_excluded && config.delete.is_none() && !config.checks(),
            "delete_excluded takes delete",
        ),
        (
            config.in_place && config.reflink == Reflink::Always,
            "a file that is rewritten in place can't be cloned, and reflink asks for that always",
        ),
        (config.jobs == 0, "jobs is at least 1"),
        (!(1..=DEEPEST).contains(&config.depth), "depth is from 1 to 1024"),
        (matches!(limit, Some(DeleteLimit::Percent(101..))), "no more than 100 percent can be deleted"),
        (config.owner.user.is_some() && !config.keep.owner, "a user for everything takes keep.owner"),
        (config.owner.group.is_some() && !config.keep.group, "a group for everything takes keep.group"),
        (config.users.is_some() && !config.keep.owner, "a map of users takes keep.owner"),
        (config.groups.is_some() && !config.keep.group, "a map of groups takes keep.group"),
        (
            config.users.is_some() && config.owner.user.is_some()
                || config.groups.is_some() && config.owner.group.is_some(),
            "one owner for everything leaves nothing to map",
        ),
        (config.timeout.is_some_and(|limit| limit.is_zero()), "nothing is done within a time-out of no time"),
        (
            config.buffer.is_some_and(|bytes| !is_piece(bytes)),
            "the size of buffers is a multiple of 64 KiB from 64 KiB to 4 MiB",
        ),
    ];
    table.into_iter().find_map(|(holds, why)| holds.then_some(why))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::options::{Delete, Hashing, Keep, Owner};
    use crate::plan::id_map::IdMap;
    use crate::select::{Paths, Separator};

    #[test]
    fn options_that_would_have_no_effect_are_refused() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("list"), "a").unwrap();
        let mut listed = Config::new("a", "b");
        listed.select.paths = Some(Paths::read(&home.path().join("list"), Separator::Line).unwrap());
        listed.delete = Some(Delete::default());
        let config = || Config::new("a", "b");
        let mut excluded = config();
        excluded.select.delete_excluded = true;
        let owner = Owner { user: Some(0), group: None };
        let group = Owner { user: None, group: Some(0) };
        let map = || Some(IdMap::new(|id| id));
        let up_to = |limit| {
            let delete = Some(Delete { limit: Some(limit), ..Delete::default() });
            Config { delete, ..config() }
        };
        let listed_hashes = Some(Hashing { manifest: Some("m".into()), ..Hashing::default() });
        let table = [
            Config { hashing: listed_hashes, mode: Mode::DryRun, ..config() },
            listed,
            excluded,
            Config { in_place: true, reflink: Reflink::Always, ..config() },
            Config { owner, keep: Keep { owner: false, ..Keep::default() }, ..config() },
            Config { owner: group, keep: Keep { group: false, ..Keep::default() }, ..config() },
            Config { users: map(), keep: Keep { owner: false, ..Keep::default() }, ..config() },
            Config { groups: map(), keep: Keep { group: false, ..Keep::default() }, ..config() },
            Config { users: map(), owner, ..config() },
            Config { groups: map(), owner: group, ..config() },
            Config { timeout: Some(Duration::ZERO), ..config() },
            Config { buffer: Some(1000), ..config() },
            Config { jobs: 0, ..config() },
            Config { depth: 0, ..config() },
            Config { depth: 1025, ..config() },
            up_to(DeleteLimit::Percent(101)),
        ];
        for config in table {
            assert!(contradiction(&config).is_some(), "{config:?}");
        }
        let outermost = Config { jobs: 1, depth: 1024, ..up_to(DeleteLimit::Percent(100)) };
        for config in [config(), outermost, up_to(DeleteLimit::Entries(101)), Config { depth: 1, ..config() }]
        {
            assert_eq!(contradiction(&config), None, "{config:?}");
        }
    }
}
