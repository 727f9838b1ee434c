//! A rule of what is copied, as an option gives it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use ringsync::Selection;

/// The rules that `-F` stands for: the first one looks for files of rules, the second one leaves these out; more say nothing new.
pub(crate) const OF_FILES: [&str; 2] = ["dir-merge /.rsync-filter", "exclude .rsync-filter"];

/// What an option adds to the rules.
#[derive(Debug)]
pub(crate) enum Rule {
    Exclude(OsString),
    Include(OsString),
    ExcludeFrom(PathBuf),
    IncludeFrom(PathBuf),
    Filter(OsString),
}

impl Rule {
    /// Adds it after those there are.
    ///
    /// # Errors
    /// When it is none, or its file can't be read.
    pub(crate) fn add(&self, select: &mut Selection) -> ringsync::Result<()> {
        match self {
            Rule::Exclude(pattern) => select.exclude(pattern),
            Rule::Include(pattern) => select.include(pattern),
            Rule::ExcludeFrom(file) => select.exclude_from(file),
            Rule::IncludeFrom(file) => select.include_from(file),
            Rule::Filter(rule) => select.filter(rule),
        }
    }
}

/// Adds what CVS leaves out (`-C`), after all other rules.
///
/// # Errors
/// When the user's own list can't be read.
pub(crate) fn add_cvs(select: &mut Selection) -> ringsync::Result<()> {
    [":C", "-C"].iter().try_for_each(|rule| select.filter(OsStr::new(rule)))
}
