//! All options of rsync 3.5, in one table: how each is written, and what it is to ringsync.

use self::Negation::{Both, Long, Never};
use self::Standing::{Lacks, Tunes, Works};
use self::Takes::{Nothing, Number, Text};

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Text,
    /// A whole number, as strtol(3) reads it.
    Number,
}

/// Whether there is `--no-OPTION`, and `--no-X` of its letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Negation {
    Never,
    Long,
    Both,
}

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// `Wishes::take` knows it.
    Works,
    /// It tunes what is only there on the way to another machine, or the buffers of rsync: the result is the same.
    Tunes,
    /// It is refused, unless it is negated.
    Lacks,
}

/// One option.
#[derive(Debug)]
pub(super) struct Spec {
    /// Without its dashes; the first of several names is what the option is known by.
    pub(super) names: &'static [&'static str],
    pub(super) letter: Option<u8>,
    pub(super) takes: Takes,
    pub(super) negation: Negation,
    pub(super) standing: Standing,
}

impl Spec {
    /// What the option is known by: its first name, or its letter where it has no name.
    pub(super) fn name(&self) -> &'static str {
        self.names[0]
    }
}

/// A letter and a name, and what else there is.
const fn both(
    letter: u8,
    names: &'static [&'static str],
    takes: Takes,
    negation: Negation,
    standing: Standing,
) -> Spec {
    Spec { names, letter: Some(letter), takes, negation, standing }
}

/// A name alone.
const fn long(names: &'static [&'static str], takes: Takes, negation: Negation, standing: Standing) -> Spec {
    Spec { names, letter: None, takes, negation, standing }
}

/// The options, grouped as in `Wishes`.
pub(super) const OPTIONS: &[Spec] = &[
    // What is copied.
    both(b'a', &["archive"], Nothing, Never, Works),
    both(b'r', &["recursive"], Nothing, Both, Works),
    both(b'd', &["dirs"], Nothing, Both, Lacks),
    long(&["old-dirs", "old-d"], Nothing, Never, Lacks),
    both(b'R', &["relative"], Nothing, Both, Lacks),
    long(&["implied-dirs", "i-d"], Nothing, Long, Lacks),
    both(b'x', &["one-file-system"], Nothing, Both, Works),
    both(b'm', &["prune-empty-dirs"], Nothing, Both, Lacks),
    long(&["max-size"], Text, Never, Works),
    long(&["min-size"], Text, Never, Works),
    both(b'F', &["F"], Nothing, Never, Works),
    both(b'f', &["filter"], Text, Never, Works),
    long(&["exclude"], Text, Never, Works),
    long(&["include"], Text, Never, Works),
    long(&["exclude-from"], Text, Never, Works),
    long(&["include-from"], Text, Never, Works),
    both(b'C', &["cvs-exclude"], Nothing, Never, Works),
    both(b'0', &["from0"], Nothing, Long, Works),
    long(&["files-from"], Text, Never, Lacks),
    long(&["ignore-missing-args"], Nothing, Never, Lacks),
    long(&["delete-missing-args"], Nothing, Never, Lacks),
    long(&["mkpath"], Nothing, Long, Works),
    // What an entry keeps.
    both(b'p', &["perms"], Nothing, Both, Works),
    both(b'E', &["executability"], Nothing, Never, Works),
    both(b'A', &["acls"], Nothing, Both, Works),
    both(b'X', &["xattrs"], Nothing, Both, Works),
    both(b't', &["times"], Nothing, Both, Works),
    both(b'U', &["atimes"], Nothing, Both, Lacks),
    both(b'N', &["crtimes"], Nothing, Both, Lacks),
    both(b'O', &["omit-dir-times"], Nothing, Both, Works),
    both(b'J', &["omit-link-times"], Nothing, Both, Works),
    both(b'o', &["owner"], Nothing, Both, Works),
    both(b'g', &["group"], Nothing, Both, Works),
    both(b'D', &["D"], Nothing, Long, Works),
    long(&["devices"], Nothing, Long, Works),
    long(&["specials"], Nothing, Long, Works),
    long(&["copy-devices"], Nothing, Never, Lacks),
    long(&["write-devices"], Nothing, Long, Lacks),
    long(&["drop-D"], Nothing, Long, Lacks),
    both(b'l', &["links"], Nothing, Both, Works),
    both(b'L', &["copy-links"], Nothing, Never, Works),
    long(&["copy-unsafe-links"], Nothing, Never, Works),
    long(&["safe-links"], Nothing, Never, Works),
    long(&["munge-links"], Nothing, Long, Lacks),
    both(b'k', &["copy-dirlinks"], Nothing, Never, Works),
    both(b'K', &["keep-dirlinks"], Nothing, Never, Works),
    long(&["insecure-links"], Nothing, Long, Works),
    long(&["confine-root"], Text, Never, Lacks),
    both(b'H', &["hard-links"], Nothing, Both, Works),
    both(b'S', &["sparse"], Nothing, Both, Tunes),
    long(&["chmod"], Text, Never, Works),
    long(&["chown"], Text, Never, Works),
    long(&["usermap"], Text, Never, Works),
    long(&["groupmap"], Text, Never, Works),
    long(&["numeric-ids"], Nothing, Long, Works),
    long(&["super"], Nothing, Long, Lacks),
    long(&["fake-super"], Nothing, Never, Lacks),
    long(&["copy-as"], Text, Never, Lacks),
    // What counts as changed.
    both(b'c', &["checksum"], Nothing, Both, Works),
    both(b'I', &["ignore-times"], Nothing, Never, Works),
    long(&["size-only"], Nothing, Never, Works),
    both(b'@', &["modify-window"], Number, Never, Works),
    both(b'u', &["update"], Nothing, Never, Works),
    long(&["existing", "ignore-non-existing"], Nothing, Never, Works),
    long(&["ignore-existing"], Nothing, Never, Works),
    long(&["compare-dest"], Text, Never, Works),
    long(&["copy-dest"], Text, Never, Works),
    long(&["link-dest"], Text, Never, Works),
    both(b'y', &["fuzzy"], Nothing, Both, Tunes),
    // What is deleted, and what is kept of it.
    long(&["delete"], Nothing, Never, Works),
    long(&["delete-before"], Nothing, Never, Works),
    long(&["delete-during", "del"], Nothing, Never, Works),
    long(&["delete-delay"], Nothing, Never, Works),
    long(&["delete-after"], Nothing, Never, Works),
    long(&["delete-excluded"], Nothing, Never, Works),
    long(&["max-delete"], Number, Never, Works),
    long(&["force"], Nothing, Long, Works),
    long(&["ignore-errors"], Nothing, Long, Works),
    long(&["remove-source-files", "remove-sent-files"], Nothing, Never, Lacks),
    both(b'b', &["backup"], Nothing, Long, Works),
    long(&["backup-dir"], Text, Never, Works),
    long(&["suffix"], Text, Never, Works),
    // How files are written.
    both(b'n', &["dry-run"], Nothing, Never, Works),
    long(&["inplace"], Nothing, Long, Works),
    long(&["append"], Nothing, Long, Lacks),
    long(&["append-verify"], Nothing, Never, Lacks),
    long(&["partial"], Nothing, Long, Works),
    long(&["partial-dir"], Text, Never, Lacks),
    long(&["delay-updates"], Nothing, Long, Lacks),
    both(b'T', &["temp-dir"], Text, Never, Lacks),
    long(&["preallocate"], Nothing, Never, Lacks),
    long(&["fsync"], Nothing, Never, Works),
    long(&["bwlimit"], Text, Long, Works),
    long(&["timeout"], Number, Long, Works),
    long(&["stop-after", "time-limit"], Text, Never, Lacks),
    long(&["stop-at"], Text, Never, Lacks),
    long(&["open-noatime"], Nothing, Long, Lacks),
    long(&["iconv"], Text, Long, Lacks),
    // What is told.
    both(b'v', &["verbose"], Nothing, Both, Works),
    both(b'q', &["quiet"], Nothing, Never, Works),
    both(b'i', &["itemize-changes"], Nothing, Both, Works),
    both(b'h', &["human-readable"], Nothing, Both, Works),
    both(b'8', &["8-bit-output"], Nothing, Both, Lacks),
    long(&["out-format", "log-format"], Text, Never, Lacks),
    long(&["log-file"], Text, Never, Works),
    long(&["log-file-format"], Text, Never, Lacks),
    long(&["stats"], Nothing, Never, Lacks),
    long(&["progress"], Nothing, Long, Works),
    both(b'P', &["P"], Nothing, Never, Works),
    long(&["list-only"], Nothing, Never, Works),
    long(&["info"], Text, Never, Lacks),
    long(&["debug"], Text, Never, Tunes),
    long(&["stderr"], Text, Never, Tunes),
    long(&["msgs2stderr"], Nothing, Long, Tunes),
    long(&["outbuf"], Text, Never, Tunes),
    long(&["motd"], Nothing, Long, Tunes),
    long(&["help"], Nothing, Never, Works),
    both(b'V', &["version"], Nothing, Never, Works),
    // The way to another machine, and rsync's own buffers.
    both(b'W', &["whole-file"], Nothing, Both, Tunes),
    long(&["inc-recursive", "i-r"], Nothing, Long, Tunes),
    long(&["qsort"], Nothing, Never, Tunes),
    long(&["max-alloc"], Text, Never, Tunes),
    both(b'B', &["block-size"], Text, Never, Tunes),
    long(&["checksum-choice", "cc"], Text, Never, Tunes),
    long(&["checksum-seed"], Number, Never, Tunes),
    both(b'z', &["compress"], Nothing, Both, Tunes),
    long(&["old-compress"], Nothing, Never, Tunes),
    long(&["new-compress"], Nothing, Never, Tunes),
    long(&["compress-choice", "zc"], Text, Never, Tunes),
    long(&["compress-level", "zl"], Number, Never, Tunes),
    long(&["compress-threads", "zt"], Number, Never, Tunes),
    long(&["skip-compress"], Text, Never, Tunes),
    both(b'e', &["rsh"], Text, Never, Tunes),
    long(&["rsync-path"], Text, Never, Tunes),
    both(b'M', &["remote-option"], Text, Never, Tunes),
    long(&["old-args"], Nothing, Long, Tunes),
    both(b's', &["secluded-args", "protect-args"], Nothing, Both, Tunes),
    long(&["trust-sender"], Nothing, Never, Tunes),
    long(&["contimeout"], Number, Long, Tunes),
    both(b'4', &["ipv4"], Nothing, Never, Tunes),
    both(b'6', &["ipv6"], Nothing, Never, Tunes),
    long(&["address"], Text, Never, Tunes),
    long(&["port"], Number, Never, Tunes),
    long(&["sockopts"], Text, Never, Tunes),
    long(&["password-file"], Text, Never, Tunes),
    long(&["early-input"], Text, Never, Tunes),
    long(&["blocking-io"], Nothing, Long, Tunes),
    long(&["protocol"], Number, Never, Tunes),
    // What is no copy between two local trees.
    long(&["read-batch"], Text, Never, Lacks),
    long(&["write-batch"], Text, Never, Lacks),
    long(&["only-write-batch"], Text, Never, Lacks),
    long(&["server"], Nothing, Never, Lacks),
    long(&["sender"], Nothing, Never, Lacks),
    long(&["daemon"], Nothing, Never, Lacks),
    long(&["config"], Text, Never, Lacks),
    long(&["dparam"], Text, Never, Lacks),
    long(&["detach"], Nothing, Long, Lacks),
];

/// An option by its name, without dashes, and whether it is the option or its negation.
pub(super) fn by_name(name: &str) -> Option<(&'static Spec, bool)> {
    if let Some(spec) = OPTIONS.iter().find(|spec| spec.names.contains(&name)) {
        // The options that are letters alone have no long form.
        return (name.len() > 1).then_some((spec, true));
    }
    let name = name.strip_prefix("no-")?;
    let negated = |spec: &&Spec| match spec.negation {
        Never => false,
        Long => spec.names.contains(&name),
        Both => spec.names.contains(&name) || matches!(name.as_bytes(), [one] if spec.letter == Some(*one)),
    };
    OPTIONS.iter().find(negated).map(|spec| (spec, false))
}

/// An option by its letter.
pub(super) fn by_letter(letter: u8) -> Option<&'static Spec> {
    OPTIONS.iter().find(|spec| spec.letter == Some(letter))
}
