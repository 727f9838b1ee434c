//! Options of rsync that ringsync does not have. Who types one is told what to do instead, of all of them at once.

use std::collections::HashMap;

use clap::error::{ContextKind, ErrorKind};
use clap::{Command, CommandFactory, Error};

use super::Cli;

/// What ringsync always does.
const ALWAYS: &str = "-a --archive -r --recursive -l --links -H --hard-links -p --perms -E --executability -A --acls \
    -X --xattrs -o --owner -g --group -D --devices --specials -t --times -S --sparse -W --whole-file --numeric-ids \
    --inc-recursive --i-r --no-inc-recursive --no-i-r";

/// What only means something on the way to another machine.
const REMOTE: &str = "-z --compress --compress-choice --zc --compress-level --zl --compress-threads --zt --skip-compress \
    -e --rsh --rsync-path -M --remote-option --address --port --sockopts --blocking-io --contimeout --password-file \
    --early-input --no-motd --protocol -s --secluded-args --protect-args --old-args --trust-sender -4 --ipv4 -6 --ipv6 -B --block-size \
    --checksum-seed --daemon";

/// Said where no command is named.
const NO_COMMAND: &str = "a command comes first: ringsync sync SRC DST makes DST hold what SRC holds";

/// Options that only go with --files-from here: without it, directories always come with their contents.
const RECURSIVE: [&str; 2] = ["-r", "--recursive"];

/// Letters of rsync's that take a value, which may follow at once.
const WITH_VALUE: [&str; 4] = ["-e", "-M", "-B", "-T"];

/// What is done in another way, or not at all.
const OTHERWISE: &[(&str, &str)] = &[
    ("--info --debug", "use -v, -vv, --stats or --json"),
    ("--stderr --outbuf", "errors go to standard error, all else to standard output"),
    ("--no-o --no-group --no-g", "use --no-owner, which is for owner and group"),
    ("--no-acls --no-A --no-X", "use --no-xattrs, which is for attributes and ACLs"),
    ("--no-H", "use --no-hard-links"),
    ("--no-t", "use --no-times"),
    ("--no-D --no-devices --drop-D", "use --no-specials"),
    ("--no-perms --no-p", "modes are always kept; --chmod changes them"),
    ("--no-links --no-l", "symlinks are always mirrored; rules can exclude them by name"),
    (
        "--no-recursive --no-r -d --dirs --old-dirs --old-d",
        "use --files-from to mirror directories without their contents",
    ),
    ("-R --relative --no-implied-dirs", "use --files-from: it makes the directories on the way to each path"),
    ("--append --append-verify", "use --partial, which goes on where a copy broke off"),
    ("--no-whole-file --no-W", "use --inplace, which writes only the blocks that differ"),
    ("--partial-dir", "use --partial, which keeps them under hidden names beside their places"),
    ("-L --copy-links --copy-unsafe-links -k --copy-dirlinks", "symlinks are mirrored, never followed"),
    ("--safe-links --munge-links", "symlinks are mirrored as they are, wherever they lead"),
    ("-K --keep-dirlinks --insecure-links", "symlinks in DST are never followed"),
    ("--confine-root", "no path leads out of SRC or DST"),
    ("--copy-devices --write-devices", "devices are mirrored as such, never read or written"),
    ("-U --atimes -N --crtimes", "access and creation times are not kept"),
    ("--open-noatime", "mount SRC with noatime instead"),
    ("-O --omit-dir-times -J --omit-link-times", "use --no-times, for the times of everything"),
    ("--super", "run ringsync as root"),
    ("--fake-super", "owners and devices need root"),
    ("--copy-as", "use --chown, or run ringsync as that user"),
    ("--usermap --groupmap", "use --chown, which gives everything to one user and group"),
    ("--preallocate", "files are written as they come, and their holes kept"),
    ("--checksum-choice --cc", "-c compares bytes, and all hashes are BLAKE3"),
    ("--delete-before", "use --delete, which deletes when all else is done"),
    ("--ignore-errors", "--delete keeps what lies beneath an unreadable directory, and deletes elsewhere"),
    ("--force", "with --delete, a directory makes way for what SRC has in its place"),
    ("--ignore-missing-args --delete-missing-args", "a path that is missing in SRC is an error"),
    ("--remove-source-files", "SRC is never changed"),
    ("--delay-updates", "each file is replaced whole, as soon as it is complete"),
    ("-m --prune-empty-dirs", "empty directories are mirrored"),
    ("-T --temp-dir", "new files have no name until they are whole"),
    ("-y --fuzzy", "files are copied whole, or with --inplace block by block"),
    ("-C --cvs-exclude", "use --gitignore, or rules with --filter"),
    ("-8 --8-bit-output", "names are shown as UTF-8, with control characters escaped"),
    ("--iconv", "names are bytes, and kept as they are"),
    ("--list-only", "use find, or ringsync sync --dry-run -vv"),
    ("--stop-after --stop-at --time-limit", "use timeout(1): each file is whole when the run is interrupted"),
    (
        "--write-batch --only-write-batch --read-batch",
        "there are no batches; use --manifest for a list of hashes",
    ),
    ("--compare-dest --copy-dest", "use --link-dest, which links to what is the same in an older mirror"),
    ("--log-file-format", "--log-file has the lines of -i"),
    ("-V --version", "use ringsync --version"),
    ("--max-alloc", "memory does not grow with the number of files"),
];

/// A usage error that says more, where the habits of rsync's users are the cause.
pub(super) fn explain(error: Error) -> Error {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let Some((name, arguments)) = arguments.split_first() else { return error };
    let mut cli = Cli::command();
    cli.build();
    let text = match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument => match cli.find_subcommand(name) {
            Some(command) => advice(&foreign(&known(command), arguments)),
            None => NO_COMMAND.to_owned(),
        },
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            NO_COMMAND.to_owned()
        }
        _ => String::new(),
    };
    let command = cli.find_subcommand_mut(name);
    match command {
        _ if text.is_empty() => error,
        Some(command) => command.error(error.kind(), text),
        None => cli.error(error.kind(), text),
    }
}

/// The names of a command's options, with their dashes, and whether they take values.
fn known(command: &Command) -> HashMap<String, bool> {
    let mut known = HashMap::new();
    for argument in command.get_arguments() {
        let takes_value = argument.get_action().takes_values();
        known.extend(argument.get_short().map(|letter| (format!("-{letter}"), takes_value)));
        let aliases = argument.get_all_aliases().unwrap_or_default();
        let names = argument.get_long().into_iter().chain(aliases);
        known.extend(names.map(|name| (format!("--{name}"), takes_value)));
    }
    known
}

/// The options among the arguments that are not known, and -r where nothing is there that it could go with. None, where
/// the command is not one that mirrors or compares trees.
fn foreign(known: &HashMap<String, bool>, arguments: &[String]) -> Vec<String> {
    let mut foreign = Vec::new();
    if RECURSIVE.iter().any(|name| !known.contains_key(*name)) {
        return foreign;
    }
    let mut arguments = arguments.iter().take_while(|argument| *argument != "--");
    let mut lists = false;
    while let Some(argument) = arguments.next() {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let names = match argument.strip_prefix('-') {
            Some(rest) if rest.starts_with('-') => vec![name.to_owned()],
            Some(letters) => letters.chars().map(|letter| format!("-{letter}")).collect(),
            None => Vec::new(),
        };
        let last = names.len().saturating_sub(1);
        lists |= name == "--files-from";
        for (index, name) in names.into_iter().enumerate() {
            let takes_value = known.get(&name).copied();
            if takes_value == Some(true) && index == last && value.is_empty() {
                arguments.next();
            }
            let ends = takes_value.unwrap_or(WITH_VALUE.contains(&name.as_str()));
            if (takes_value.is_none() || RECURSIVE.contains(&name.as_str())) && !foreign.contains(&name) {
                foreign.push(name);
            }
            if ends {
                break; // the rest is its value
            }
        }
    }
    foreign.retain(|name| !(lists && RECURSIVE.contains(&name.as_str())));
    foreign
}

/// What to do instead, a line for each reason; nothing if none of them is an option of rsync.
fn advice(options: &[String]) -> String {
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
    let lines: Vec<String> = always.into_iter().chain(remote).chain(otherwise).collect();
    lines.join("\n       ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice_on(line: &str) -> String {
        let mut cli = Cli::command();
        cli.build();
        let known = known(cli.find_subcommand("sync").expect("a command"));
        let arguments: Vec<String> = line.split(' ').map(String::from).collect();
        advice(&foreign(&known, &arguments))
    }

    #[test]
    fn what_ringsync_always_does_is_named_once() {
        for (line, advice) in [
            ("-aHAX --delete src dst", "-a, -H, -A, -X: ringsync always does what they stand for"),
            ("-avn --archive -a src dst", "-a, --archive: ringsync always does what they stand for"),
            ("-rv src dst", "-r: ringsync always does what it stands for"),
            ("--recursive src dst", "--recursive: ringsync always does what it stands for"),
        ] {
            assert_eq!(advice_on(line), format!("leave out {advice}"));
        }
    }

    #[test]
    fn each_reason_has_a_line() {
        let text = advice_on("-avz --info=progress2 -e ssh src dst");
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        assert!(lines[0].starts_with("leave out -a: "), "{text}");
        assert!(lines[1].starts_with("leave out -z, -e: both trees"), "{text}");
        assert!(lines[2].starts_with("there is no --info: use -v"), "{text}");
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn values_are_no_options() {
        for line in [
            "--exclude -a src dst",
            "--exclude=-a src dst",
            "-f -a src dst",
            "-vf-a src dst",
            "src dst -- -a",
            "-r --files-from list src dst",
            "-rv --files-from=list src dst",
            "--delte src dst",
            "--del --ignore-non-existing src dst",
            "- src",
        ] {
            assert_eq!(advice_on(line), "", "{line}");
        }
        assert!(advice_on("-essh src dst").starts_with("leave out -e:"));
    }

    #[test]
    fn no_option_is_both_known_and_foreign() {
        let mut cli = Cli::command();
        cli.build();
        let known = known(cli.find_subcommand("sync").expect("a command"));
        let otherwise = OTHERWISE.iter().map(|(names, _)| *names);
        let mut seen = std::collections::HashSet::new();
        for name in [ALWAYS, REMOTE].into_iter().chain(otherwise).flat_map(str::split_whitespace) {
            assert!(!known.contains_key(name) || RECURSIVE.contains(&name), "{name} is an option");
            assert!(seen.insert(name), "{name} has two reasons");
        }
    }
}
