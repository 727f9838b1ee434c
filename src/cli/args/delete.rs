//! Options about what the destination had before: what is deleted, and what is kept of it.

use clap::{ArgGroup, Args};

use ringsync::{Config, Delete, DeleteLimit, DeleteWhen, Unread};

const DELETE: &str = "What is deleted from DST";

/// What is deleted.
#[derive(Debug, Args)]
#[command(next_help_heading = DELETE, group = ArgGroup::new("deletes").multiple(true))]
pub(crate) struct DeleteArgs {
    /// Delete what DST has and SRC lacks, when all else is done
    #[arg(
        long,
        aliases = ["del", "delete-during", "delete-delay", "delete-after"],
        group = "deletes",
        conflicts_with = "files_from"
    )]
    delete: bool,
    /// The same, before anything is copied: there is room for it then
    #[arg(long, group = "deletes", conflicts_with = "files_from")]
    delete_before: bool,
    /// The same, and what the rules leave out
    #[arg(long, group = "deletes", conflicts_with = "files_from")]
    delete_excluded: bool,
    /// If it would be more than N entries, or N% of DST's, delete nothing
    #[arg(long, value_name = "N", value_parser = parse_limit, requires = "deletes")]
    max_delete: Option<DeleteLimit>,
    /// Delete also if SRC is empty
    #[arg(long, requires = "deletes")]
    allow_empty_source: bool,
    /// Delete also what lies beneath a directory that can't be read
    #[arg(long, requires = "deletes")]
    ignore_errors: bool,
}

/// A number of entries, or a share of them.
fn parse_limit(text: &str) -> Result<DeleteLimit, String> {
    let limit = match text.strip_suffix('%') {
        Some(share) => share.parse().ok().filter(|share| *share <= 100).map(DeleteLimit::Percent),
        None => text.parse().ok().map(DeleteLimit::Entries),
    };
    limit.ok_or_else(|| "neither a number of entries nor a share from 0% to 100%".into())
}

impl DeleteArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.select.delete_excluded = self.delete_excluded;
        config.delete = (self.delete || self.delete_before || self.delete_excluded).then(|| {
            Delete::default().with(|delete| {
                delete.limit = self.max_delete;
                delete.allow_empty_source = self.allow_empty_source;
                if self.delete_before {
                    delete.when = DeleteWhen::Before;
                }
                if self.ignore_errors {
                    delete.unread = Unread::ProtectsNothing;
                }
            })
        });
    }
}
