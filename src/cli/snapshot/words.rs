//! What other programs call the commands of `ringsync snapshot`.

/// Words, and what to write in place of one.
const WORDS: &[(&str, &str)] = &[
    (
        "forget remove delete rm expire purge",
        "snapshots are removed by ringsync snapshot prune STORE: by rules, as --keep-daily 14, or a single one by --name NAME",
    ),
    ("backup create save new make add run", "ringsync snapshot take SRC STORE takes a snapshot"),
    (
        "check verify fsck scrub",
        "ringsync snapshot restore --verify STORE DST compares what it restores with the hashes in STORE; b3sum can do so \
         without a copy (docs/snapshots.md)",
    ),
    ("ls snapshots show", "ringsync snapshot list STORE lists the snapshots, and each is a directory"),
    ("find log history", "ringsync snapshot versions STORE PATH tells which versions of a file there are"),
    ("mount dump cat", "each snapshot is a directory: ls STORE/latest"),
    ("init", "ringsync snapshot take SRC STORE makes the store"),
    ("unlock", "the lock of a store ends with its run"),
];

/// What to write in place of a word that is no command.
pub(crate) fn instead_of(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(words, _)| words.split(' ').any(|one| one == word)).map(|(_, instead)| *instead)
}
