//! Which entries a run leaves alone in the destination: `--update`, `--existing`, `--ignore-existing`. Such an entry
//! keeps its metadata, too, and is no name for others of its inode to be linked to.

use crate::event::Kind;
use crate::options::Compare;
use crate::plan::rules::Rules;
use crate::stat::Stat;

/// Whether a name is left as it is in the destination, and with a directory all that is beneath it.
pub(crate) fn leaves_name(kind: Kind, destination: Option<&Stat>, compare: &Compare) -> bool {
    match destination {
        None => compare.existing,
        Some(have) => compare.ignore_existing && !(kind == Kind::Directory && have.kind == Kind::Directory),
    }
}

/// Whether an entry, no directory, is left alone: with its metadata, and whatever other names of its inode become.
pub(crate) fn is_left_alone(source: &Stat, destination: Option<&Stat>, rules: &Rules) -> bool {
    leaves_name(source.kind, destination, &rules.compare)
        || destination.is_some_and(|have| {
            let files = source.kind == Kind::File && have.kind == Kind::File;
            rules.compare.update && files && rules.is_newer(source.modified, have)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::compare::tests::{PLAIN, stat, with};

    #[test]
    fn update_leaves_files_alone_that_are_newer() {
        let update = Compare { update: true, ..PLAIN };
        let windowed = |window| Compare { window: Some(window), ..update };
        type Change = fn(&mut Stat);
        let table: [(&str, Compare, Kind, Change, bool); 12] = [
            ("a nanosecond newer", update, Kind::File, |s| s.modified.nanoseconds += 1, true),
            ("as old", update, Kind::File, |s| s.size = 1, false),
            ("older", update, Kind::File, |s| s.modified.seconds -= 1, false),
            ("newer, not asked", PLAIN, Kind::File, |s| s.modified.seconds += 1, false),
            ("newer by less than a second", windowed(0), Kind::File, |s| s.modified.nanoseconds += 9, false),
            ("newer by a second", windowed(0), Kind::File, |s| s.modified.seconds += 1, true),
            ("newer within the window", windowed(2), Kind::File, |s| s.modified.seconds += 2, false),
            ("newer than the window", windowed(2), Kind::File, |s| s.modified.seconds += 3, true),
            ("a symlink", update, Kind::Symlink, |s| s.modified.seconds += 9, false),
            ("a FIFO", update, Kind::Fifo, |s| s.modified.seconds += 9, false),
            (
                "of another type",
                update,
                Kind::File,
                |s| (s.kind, s.modified.seconds) = (Kind::Fifo, 9999),
                false,
            ),
            (
                "a file for a symlink",
                update,
                Kind::Symlink,
                |s| (s.kind, s.modified.seconds) = (Kind::File, 9999),
                false,
            ),
        ];
        for (what, compare, kind, change, expected) in table {
            let mut have = stat(kind);
            change(&mut have);
            assert_eq!(is_left_alone(&stat(kind), Some(&have), &with(compare)), expected, "{what}");
        }
        assert!(!is_left_alone(&stat(Kind::File), None, &with(update)));
    }

    #[test]
    fn names_are_left_alone_for_being_there_or_not() {
        use Kind::{Directory, File, Symlink};
        let existing = Compare { existing: true, ..PLAIN };
        let ignore = Compare { ignore_existing: true, ..PLAIN };
        let both = Compare { existing: true, ..ignore };
        // A name that is missing, is a file, is a symlink, is a directory.
        let table = [
            (PLAIN, File, [false, false, false, false]),
            (existing, File, [true, false, false, false]),
            (existing, Directory, [true, false, false, false]),
            (ignore, File, [false, true, true, true]),
            (ignore, Symlink, [false, true, true, true]),
            (ignore, Directory, [false, true, true, false]),
            (both, Directory, [true, true, true, false]),
            (both, File, [true, true, true, true]),
        ];
        for (compare, kind, expected) in table {
            let found = [None, Some(File), Some(Symlink), Some(Directory)]
                .map(|have| leaves_name(kind, have.map(stat).as_ref(), &compare));
            assert_eq!(found, expected, "{compare:?} {kind:?}");
        }
    }
}
