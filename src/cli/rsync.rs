//! Options of rsync that ringsync does not have, and what to do instead.

/// What ringsync always does.
const ALWAYS: &str = "-a --archive -r --recursive -l --links -H --hard-links -p --perms -A --acls \
    -X --xattrs -o --owner -g --group -D --devices --specials -t --times -S --sparse -W --whole-file --numeric-ids \
    --inc-recursive --i-r --no-inc-recursive --no-i-r";

/// What only means something on the way to another machine.
const REMOTE: &str = "-z --compress --compress-choice --zc --compress-level --zl --compress-threads --zt --skip-compress \
    -e --rsh --rsync-path -M --remote-option --address --port --sockopts --blocking-io --contimeout --password-file \
    --early-input --no-motd --protocol -s --secluded-args --protect-args --old-args --trust-sender -4 --ipv4 -6 --ipv6 -B --block-size \
    --checksum-seed --daemon";

/// Options that only go with --files-from here: without it, directories always come with their contents.
pub(super) const RECURSIVE: [&str; 2] = ["-r", "--recursive"];

/// Letters of rsync's that take a value, which may follow at once.
pub(super) const WITH_VALUE: [&str; 4] = ["-e", "-M", "-B", "-T"];

/// What is done in another way, or not at all.
const OTHERWISE: &[(&str, &str)] = &[
    ("--info --debug", "use -v, -vv, --stats or --json"),
    ("--stderr --outbuf", "errors go to standard error, all else to standard output"),
    ("--no-D --drop-D", "use --no-devices and --no-specials"),
    (
        "--no-recursive --no-r -d --dirs --old-dirs --old-d",
        "use --files-from to mirror directories without their contents",
    ),
    ("-R --relative --no-implied-dirs", "use --files-from: it makes the directories on the way to each path"),
    ("--append --append-verify", "use --partial, which goes on where a copy broke off"),
    ("--no-whole-file --no-W", "use --inplace, which writes only the blocks that differ"),
    ("--partial-dir", "use --partial, which keeps them under hidden names beside their places"),
    ("--munge-links", "symlinks are mirrored as they are; --safe-links leaves out those that lead elsewhere"),
    ("--confine-root", "no path leads out of SRC or DST"),
    ("--copy-devices --write-devices", "devices are mirrored as such, never read or written"),
    ("-U --atimes -N --crtimes", "access and creation times are not kept"),
    ("--open-noatime", "mount SRC with noatime instead"),
    ("--fileflags", "use --flags, which keeps C of chattr(1), no copy on write"),
    ("--super", "run ringsync as root"),
    ("--fake-super", "owners and devices need root"),
    ("--copy-as", "use --chown, or run ringsync as that user"),
    ("--preallocate", "files are written as they come, and their holes kept"),
    ("--checksum-choice --cc", "-c compares bytes, and all hashes are BLAKE3"),
    ("--ignore-missing-args --delete-missing-args", "a path that is missing in SRC is an error"),
    ("--remove-source-files", "SRC is never changed"),
    ("--delay-updates", "each file is replaced whole, as soon as it is complete"),
    ("-m --prune-empty-dirs", "empty directories are mirrored"),
    ("-T --temp-dir", "new files have no name until they are whole"),
    ("-y --fuzzy", "files are copied whole, or with --inplace block by block"),
    ("-8 --8-bit-output", "names are shown as UTF-8, with control characters escaped"),
    ("--iconv", "names are bytes, and kept as they are"),
    ("--list-only", "use find, or ringsync sync --dry-run -vv"),
    ("--stop-after --stop-at --time-limit", "use timeout(1): each file is whole when the run is interrupted"),
    (
        "--write-batch --only-write-batch --read-batch",
        "there are no batches; use --manifest for a list of hashes",
    ),
    ("--log-file-format", "--log-file has the lines of -i"),
    ("-V --version", "use ringsync --version"),
    ("--max-alloc", "memory does not grow with the number of files"),
];

/// Whether a command mirrors or compares trees, so that rsync's options come to mind.
pub(super) fn is_like(command: &str) -> bool {
    matches!(command, "sync" | "copy" | "check")
}

/// All names, with their dashes.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let otherwise = OTHERWISE.iter().map(|(names, _)| *names);
    [ALWAYS, REMOTE].into_iter().chain(otherwise).flat_map(str::split_whitespace)
}

/// Whether it is an option of rsync that ringsync does not have.
pub(super) fn knows(option: &str) -> bool {
    names().any(|name| name == option)
}

/// What to do instead, a line for each reason; nothing if none of them is an option of rsync.
pub(super) fn advice(options: &[String]) -> Vec<String> {
    let of = |names: &str| {
        let names: Vec<&str> = names.split_whitespace().collect();
        let found: Vec<&str> =
            options.iter().map(String::as_str).filter(|name| names.contains(name)).collect();
        (!found.is_empty()).then(|| found.join(", "))
    };
    let always = of(ALWAYS).map(|names| {
        let they = if names.contains(',') { "they stand" } else { "it stands" };
        format!("leave out {names}: ringsync always does what {they} for")
    });
    let remote = of(REMOTE).map(|names| format!("leave out {names}: both trees are on this machine"));
    let otherwise =
        OTHERWISE.iter().filter_map(|(names, advice)| Some(format!("there is no {}: {advice}", of(names)?)));
    always.into_iter().chain(remote).chain(otherwise).collect()
}
