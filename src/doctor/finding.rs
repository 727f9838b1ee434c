//! What is found out about a place: the questions, and their answers.

use serde::Serialize;

/// A question to a file system: can it hold this, or do this?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    UserAttributes,
    AttributeSize,
    TrustedAttributes,
    Capabilities,
    Acls,
    Owners,
    Modes,
    SetId,
    Times,
    TimeStep,
    TimeRange,
    TimesKept,
    DirectoryTimes,
    HardLinks,
    Symlinks,
    Fifos,
    Devices,
    NamelessFiles,
    Replace,
    NoReplace,
    Exchange,
    Clones,
    Holes,
    NoCow,
    Case,
    UnicodeForms,
    NamesListed,
    TrailingDot,
    TrailingBlank,
    Characters,
    Bytes,
    LongNames,
    SyncFile,
    SyncDirectory,
    SyncAll,
}

impl Subject {
    /// What a report calls it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Subject::UserAttributes => "extended attributes (user.*)",
            Subject::AttributeSize => "largest attribute",
            Subject::TrustedAttributes => "trusted.* attributes",
            Subject::Capabilities => "file capabilities",
            Subject::Acls => "POSIX ACLs",
            Subject::Owners => "owners and groups",
            Subject::Modes => "modes",
            Subject::SetId => "setuid, setgid, sticky",
            Subject::Times => "modification times",
            Subject::TimeStep => "step of times",
            Subject::TimeRange => "years of times",
            Subject::TimesKept => "times stay after closing",
            Subject::DirectoryTimes => "times of directories",
            Subject::HardLinks => "hard links",
            Subject::Symlinks => "symlinks",
            Subject::Fifos => "FIFOs and sockets",
            Subject::Devices => "device nodes",
            Subject::NamelessFiles => "nameless files (O_TMPFILE)",
            Subject::Replace => "rename over a file",
            Subject::NoReplace => "rename to a free name only",
            Subject::Exchange => "exchange of two names",
            Subject::Clones => "clones (reflink)",
            Subject::Holes => "holes",
            Subject::NoCow => "no-copy-on-write flag",
            Subject::Case => "names that differ in case",
            Subject::UnicodeForms => "names in Unicode NFC and NFD",
            Subject::NamesListed => "names listed as written",
            Subject::TrailingDot => "a dot at a name's end",
            Subject::TrailingBlank => "a blank at a name's end",
            Subject::Characters => "characters in names",
            Subject::Bytes => "names that are not UTF-8",
            Subject::LongNames => "names of 255 bytes",
            Subject::SyncFile => "fsync of a file",
            Subject::SyncDirectory => "fsync of a directory",
            Subject::SyncAll => "syncfs",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Yes,
    /// Why not, or what happened instead.
    No(String),
    /// A length of time.
    Nanoseconds(u64),
    /// An amount of data.
    Bytes(u64),
    /// The answer is neither yes nor no.
    Text(String),
    /// Why it was not tried.
    Untried(String),
}

impl Found {
    /// `Yes`, or what else happened.
    pub(crate) fn yes_if(is_so: bool, otherwise: impl Into<String>) -> Found {
        if is_so { Found::Yes } else { Found::No(otherwise.into()) }
    }
}

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) subject: Subject,
    pub(crate) found: Found,
}

/// All that is known of a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, subject: Subject, found: Found) {
        self.0.push(Finding { subject, found });
    }

    pub(crate) fn get(&self, subject: Subject) -> Option<&Found> {
        self.0.iter().find(|finding| finding.subject == subject).map(|finding| &finding.found)
    }

    /// Replaces an answer.
    pub(crate) fn change(&mut self, subject: Subject, found: Found) {
        self.0
            .iter_mut()
            .filter(|finding| finding.subject == subject)
            .for_each(|finding| finding.found = found.clone());
    }

    /// Why not, if the answer is no.
    pub(crate) fn refusal(&self, subject: Subject) -> Option<&str> {
        match self.get(subject) {
            Some(Found::No(why)) => Some(why),
            _ => None,
        }
    }
}

/// A length of time in its largest whole unit.
pub(crate) fn length(nanoseconds: u64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let unit = units.into_iter().find(|(size, _)| nanoseconds >= *size && nanoseconds.is_multiple_of(*size));
    unit.map_or_else(|| format!("{nanoseconds} ns"), |(size, unit)| format!("{} {unit}", nanoseconds / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_units() {
        for (nanoseconds, text) in
            [(1, "1 ns"), (100, "100 ns"), (1_000, "1 µs"), (10_000_000, "10 ms"), (2_000_000_000, "2 s")]
        {
            assert_eq!(length(nanoseconds), text);
        }
    }
}
