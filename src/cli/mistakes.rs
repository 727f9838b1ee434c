//! What a usage error says beyond clap's own words: what was probably meant, and what to write instead.

use std::collections::{HashMap, HashSet};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error};

use crate::cli::snapshot::words::instead_of;
use crate::cli::{Cli, rsync};
use ringsync::Escaped;

/// The command that has commands.
const SNAPSHOT: &str = "snapshot";

/// Said where no command is named.
const NO_COMMAND: &str = "a command comes first: ringsync sync SRC DST makes DST hold what SRC holds";

/// What to write where there is more than one SRC.
const ONE_SOURCE: &str = "to put several into one directory, use ringsync copy SRC... DIR; a name with blanks, or one \
    that the shell must not expand, is put in quotes: 'my photos'";

/// Options of one command that another one has, and why it does not have them.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "check",
        "-v --verbose -i --itemize-changes --out-format",
        "it shows each difference already, as sync -i does",
    ),
    ("check", "-n --dry-run", "it writes nothing"),
    (
        "check",
        "--delete --del --delete-during --delete-delay --delete-after --delete-excluded --max-delete \
        --allow-empty-source",
        "it deletes nothing, and shows what only DST has as *deleting",
    ),
    (
        "copy",
        "--delete --del --delete-during --delete-delay --delete-after --delete-excluded --max-delete \
        --allow-empty-source",
        "it deletes nothing; sync --delete makes an exact mirror, a directory at a time",
    ),
    ("copy", "--files-from", "a list of paths is for one SRC; use sync"),
    ("verify", "-c --check", "it checks in any case"),
    (
        "verify",
        "-v --verbose -i --itemize-changes",
        "it names each file already, and with -q those that are not right",
    ),
    ("verify", "-n --dry-run", "it writes nothing"),
];

/// An error about options of one command, which were looked at by ours and not clap's rules, with the usage of that command and
/// not that of all.
fn of_command(error: Error, command: Option<&mut Command>) -> Error {
    let text = error.to_string();
    let message =
        text.strip_prefix("error: ").and_then(|text| text.split_once("\n\nUsage: ringsync <COMMAND>"));
    match (command, message) {
        (Some(command), Some((message, _))) => command.error(error.kind(), message),
        _ => error,
    }
}

/// The same error with a text that says more, where it is clear what was meant.
pub(super) fn explain(mut error: Error) -> Error {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let Some((mut name, mut arguments)) = arguments.split_first() else { return error };
    let mut cli = Cli::command();
    cli.build();
    if let (Some(family), Some((command, rest))) = (cli.find_subcommand(name), arguments.split_first())
        && family.find_subcommand(command).is_some()
    {
        cli = family.clone();
        (name, arguments) = (command, rest);
    }
    error = of_command(error, cli.find_subcommand_mut(name));
    let text = match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument => match cli.find_subcommand(name) {
            Some(command) => advice(&cli, command, arguments, surplus(&error)),
            None => NO_COMMAND.to_owned(),
        },
        // A help that is asked for by -checksum is not.
        ErrorKind::ValueValidation | ErrorKind::DisplayHelp => match cli.find_subcommand(name) {
            Some(command) => one_dash(&Given::new(&cli, command, arguments)).join(NEXT),
            None => String::new(),
        },
        ErrorKind::InvalidSubcommand => match other_command(&cli, name, arguments) {
            Some(text) => text,
            None if error.get(ContextKind::SuggestedSubcommand).is_some() => String::new(),
            None if cli.find_subcommand(name).is_some() => String::new(),
            None => NO_COMMAND.to_owned(),
        },
        _ => String::new(),
    };
    if text.is_empty() {
        // It is always that a value may begin with a dash, which nobody meant.
        error.remove(ContextKind::Suggested);
        return error;
    }
    let kind = match error.kind() {
        ErrorKind::DisplayHelp => ErrorKind::UnknownArgument,
        kind => kind,
    };
    match cli.find_subcommand_mut(name) {
        Some(command) => command.error(kind, text),
        None => cli.error(kind, text),
    }
}

/// What to write in place of a word that is no command, if that is known.
fn other_command(cli: &Command, name: &str, arguments: &[String]) -> Option<String> {
    let snapshot = cli.find_subcommand(SNAPSHOT)?;
    match arguments.first() {
        Some(word) if name == SNAPSHOT => {
            Some(format!("there is no snapshot {}: {}", Escaped::name(word.as_ref()), instead_of(word)?))
        }
        _ => {
            let command = snapshot.find_subcommand(name)?.get_name();
            Some(format!("{command} is a command of snapshot: ringsync snapshot {command}"))
        }
    }
}

/// From one line of advice to the next.
const NEXT: &str = "\n       ";

/// An argument that is no option, and one more than the command takes.
fn surplus(error: &Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) if !argument.starts_with('-') => Some(argument),
        _ => None,
    }
}

/// What to do instead, a line for each reason; nothing, if none is known.
fn advice(cli: &Command, command: &Command, arguments: &[String], surplus: Option<&str>) -> String {
    let name = command.get_name();
    let family = if cli.get_name() == SNAPSHOT { "snapshot " } else { "" };
    let given = Given::new(cli, command, arguments);
    let mut lines = one_dash(&given);
    // A word after an option with one dash may be its value.
    let surplus = surplus.filter(|_| lines.is_empty());
    if lines.is_empty() && arguments.iter().any(|argument| argument == "-help") {
        lines.push("-help has one dash, and needs two: --help".into());
    }
    if rsync::is_like(name) {
        lines.extend(rsync::advice(&given.foreign));
    }
    let is_known = |option: &String| cli.get_subcommands().any(|other| known(other).contains_key(option));
    let misplaced = given.foreign.iter().filter(|option| is_known(option) && !rsync::knows(option));
    for option in misplaced {
        let reason = ELSEWHERE
            .iter()
            .find(|(of, options, _)| *of == name && options.split_whitespace().any(|one| one == option));
        if let Some((_, _, reason)) = reason {
            lines.push(format!("{name} has no {option}: {reason}"));
        } else if let Some(other) = cli.get_subcommands().find(|other| known(other).contains_key(option)) {
            let other = other.get_name();
            lines.push(format!("{family}{name} has no {option}, which is an option of {family}{other}"));
        }
    }
    if let Some(surplus) = surplus.filter(|_| matches!(name, "sync" | "check")) {
        let shown = Escaped::name(surplus.as_ref());
        lines.push(format!("{name} takes one SRC and one DST, and '{shown}' is one more"));
        lines.push(ONE_SOURCE.to_owned());
    }
    lines.join(NEXT)
}

/// Long options that were written with one dash.
fn one_dash(given: &Given) -> Vec<String> {
    given.one_dash.iter().map(|word| format!("-{word} has one dash, and needs two: --{word}")).collect()
}

/// The options on a command line, as far as they are not the command's.
struct Given {
    /// Those that it does not know, with their dashes.
    foreign: Vec<String>,
    /// Words that are long options with one dash, without it.
    one_dash: Vec<String>,
}

impl Given {
    fn new(cli: &Command, command: &Command, arguments: &[String]) -> Self {
        let known = known(command);
        let of_any: HashSet<String> =
            cli.get_subcommands().flat_map(|other| self::known(other).into_keys()).collect();
        let (mut foreign, mut one_dash) = (Vec::new(), Vec::new());
        let mut arguments = arguments.iter().take_while(|argument| *argument != "--");
        let mut lists = false;
        while let Some(argument) = arguments.next() {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            let names = match argument.strip_prefix('-') {
                Some(rest) if rest.starts_with('-') => vec![name.to_owned()],
                Some(word) if is_long(&of_any, word.split('=').next().unwrap_or(word)) => {
                    let long = format!("-{name}");
                    if known.contains_key(&long) && long != "--help" {
                        one_dash.push(long.trim_start_matches('-').to_owned());
                    }
                    vec![long]
                }
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
                let ends = takes_value.unwrap_or(rsync::WITH_VALUE.contains(&name.as_str()));
                let alone = rsync::RECURSIVE.contains(&name.as_str());
                if (takes_value.is_none() || alone) && !foreign.contains(&name) {
                    foreign.push(name);
                }
                if ends {
                    break; // the rest is its value
                }
            }
        }
        foreign.retain(|name| !(lists && rsync::RECURSIVE.contains(&name.as_str())));
        Given { foreign, one_dash }
    }
}

/// Whether a word with one dash is a long option, and not letters.
fn is_long(known: &HashSet<String>, word: &str) -> bool {
    let long = format!("--{word}");
    word.len() > 2 && (known.contains(&long) || rsync::knows(&long))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn advice_on(line: &str) -> String {
        let mut cli = Cli::command();
        cli.build();
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let (name, arguments) = words.split_first().expect("a command");
        advice(&cli, cli.find_subcommand(name).expect("a command"), arguments, None)
    }

    #[test]
    fn what_ringsync_always_does_is_named_once() {
        for (line, advice) in [
            ("-aHAX --delete src dst", "-a, -H, -A, -X: ringsync always does what they stand for"),
            ("-avn --archive -a src dst", "-a, --archive: ringsync always does what they stand for"),
            ("-rv src dst", "-r: ringsync always does what it stands for"),
            ("--recursive src dst", "--recursive: ringsync always does what it stands for"),
            ("-archive src dst", "--archive: ringsync always does what it stands for"),
        ] {
            assert_eq!(advice_on(&format!("sync {line}")), format!("leave out {advice}"));
        }
        assert_eq!(advice_on("copy -a src dst"), "leave out -a: ringsync always does what it stands for");
    }

    #[test]
    fn each_reason_has_a_line() {
        let text = advice_on("sync -avz --info=progress2 -e ssh src dst");
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
            "--exclude -delete src dst",
            "-f -a src dst",
            "-vf-a src dst",
            "src dst -- -a",
            "-r --files-from list src dst",
            "-rv --files-from=list src dst",
            "--delte src dst",
            "--del --ignore-non-existing src dst",
            "- src",
        ] {
            assert_eq!(advice_on(&format!("sync {line}")), "", "{line}");
        }
        assert!(advice_on("sync -essh src dst").starts_with("leave out -e:"));
    }

    #[test]
    fn long_options_with_one_dash_get_the_other() {
        for word in ["delete", "dry-run", "exclude", "json", "jobs", "verify", "inplace", "max-delete"] {
            let text = advice_on(&format!("sync -{word} src dst"));
            assert_eq!(text, format!("-{word} has one dash, and needs two: --{word}"));
        }
        assert_eq!(advice_on("sync -help"), "-help has one dash, and needs two: --help");
        for line in ["check -delete", "copy -delete", "verify -delete", "check -progress", "verify -stats"] {
            let (command, word) = line.split_once(" -").expect("an option");
            let text = advice_on(&format!("{line} src dst"));
            assert!(text.starts_with(&format!("{command} has no --{word}")), "{line}: {text}");
        }
        assert!(advice_on("sync -max-delete=5 src dst").ends_with(" --max-delete"));
        assert_eq!(advice_on("sync -vnc src dst"), "");
    }

    #[test]
    fn no_option_is_both_known_and_foreign() {
        let mut cli = Cli::command();
        cli.build();
        for command in ["sync", "check"] {
            let known = known(cli.find_subcommand(command).expect("a command"));
            for name in rsync::names() {
                let alone = rsync::RECURSIVE.contains(&name);
                assert!(!known.contains_key(name) || alone, "{name} is an option");
            }
        }
        let mut seen = std::collections::HashSet::new();
        assert!(rsync::names().all(|name| seen.insert(name)), "a name has two reasons");
    }

    #[test]
    fn what_only_another_command_has_gets_a_reason() {
        for (line, start) in [
            ("check -v a b", "check has no -v: it shows each difference"),
            ("check --delete a b", "check has no --delete: it deletes nothing"),
            ("check --fsync a b", "check has no --fsync, which is an option of sync"),
            ("copy --delete a b", "copy has no --delete: it deletes nothing; sync --delete"),
            ("verify -c sums", "verify has no -c: it checks in any case"),
        ] {
            assert!(advice_on(line).starts_with(start), "{line}: {}", advice_on(line));
        }
        for (_, options, _) in ELSEWHERE {
            assert!(options.split_whitespace().all(|option| !rsync::knows(option)), "{options}");
        }
    }
}
