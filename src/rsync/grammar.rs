//! rsync's grammar, that of popt(3): letters may be bundled, the value of a letter may follow at once, names are written
//! in full, options and paths may be mixed, and `--` ends the options. The result keeps the order of appearance.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::rsync::failure::Failure;
use crate::rsync::options::{Spec, Takes, by_letter, by_name};
use ringsync::Escaped;

/// An option as it was given.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) spec: &'static Spec,
    /// It is the option, and not its negation.
    pub(super) on: bool,
    /// As the user wrote it, for messages.
    pub(super) written: String,
    /// Empty for an option that takes none.
    pub(super) value: OsString,
}

/// What a command line says.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) options: Vec<Given>,
    pub(super) paths: Vec<OsString>,
}

/// Reads a command line, without the program's name.
pub(super) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Line, Failure> {
    let mut line = Line::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"--" => {
                line.paths.extend(arguments);
                break;
            }
            [b'-', b'-', name @ ..] => line.options.push(long(name, &mut arguments)?),
            [b'-', letters @ ..] if !letters.is_empty() => {
                bundle(letters, &mut arguments, &mut line.options)?;
            }
            _ => line.paths.push(argument),
        }
    }
    Ok(line)
}

/// `--name`, `--name=value` or `--name value`.
fn long(argument: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<Given, Failure> {
    let equals = argument.iter().position(|byte| *byte == b'=');
    let (name, value) = match equals {
        Some(at) => (&argument[..at], Some(&argument[at + 1..])),
        None => (argument, None),
    };
    let written = format!("--{}", Escaped::name(OsStr::from_bytes(argument)));
    let found = std::str::from_utf8(name).ok().and_then(by_name);
    let Some((spec, on)) = found else { return Err(Failure::unknown(&written)) };
    let takes = if on { spec.takes } else { Takes::Nothing };
    let value = match (takes, value) {
        (Takes::Nothing, Some(_)) => {
            return Err(Failure::usage(&written, "option does not take an argument"));
        }
        (Takes::Nothing, None) => OsString::new(),
        (_, Some(value)) => OsString::from_vec(value.to_vec()),
        (_, None) => rest.next().ok_or_else(|| Failure::usage(&written, "missing argument"))?,
    };
    let written = format!("--{}", Escaped::name(OsStr::from_bytes(name)));
    checked(Given { spec, on, written, value })
}

/// Letters after one dash; what follows one that takes a value is its value, with or without an equals sign.
fn bundle(
    letters: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
    options: &mut Vec<Given>,
) -> Result<(), Failure> {
    let mut letters = letters;
    while let [letter, after @ ..] = letters {
        let written = format!("-{}", Escaped::name(OsStr::from_bytes(&[*letter])));
        let spec = by_letter(*letter).ok_or_else(|| Failure::unknown(&written))?;
        letters = after;
        let mut value = OsString::new();
        if spec.takes != Takes::Nothing {
            letters = &[];
            value = match after {
                [] => rest.next().ok_or_else(|| Failure::usage(&written, "missing argument"))?,
                [b'=', value @ ..] | value => OsString::from_vec(value.to_vec()),
            };
        } else if after.first() == Some(&b'=') {
            return Err(Failure::usage(&written, "option does not take an argument"));
        }
        options.push(checked(Given { spec, on: true, written, value })?);
    }
    Ok(())
}

/// A number must be one.
fn checked(given: Given) -> Result<Given, Failure> {
    if given.on && given.spec.takes == Takes::Number {
        let text = given.value.to_str().unwrap_or_default();
        if text.trim_start().parse::<i64>().is_err() {
            let written = format!("{}={}", given.written, Escaped::name(&given.value));
            return Err(Failure::usage(&written, "invalid numeric value"));
        }
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let line = read(arguments.iter().map(OsString::from)).map_err(|failure| failure.text().to_owned())?;
        let option = |given: &Given| {
            let sign = if given.on { "" } else { "no " };
            format!("{sign}{} {}", given.spec.name(), given.value.to_string_lossy()).trim_end().to_owned()
        };
        let paths = line.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        Ok((line.options.iter().map(option).collect(), paths))
    }

    #[test]
    fn options_and_paths_come_in_any_order() {
        let (options, paths) = told(&["a", "-rve", "ssh -x", "b", "--no-r", "--", "-c"]).unwrap();
        assert_eq!(options, ["recursive", "verbose", "rsh ssh -x", "no recursive"]);
        assert_eq!(paths, ["a", "b", "-c"]);
        let (options, _) = told(&["-essh", "-e=ssh", "--exclude", "--x", "--exclude=-y", "-@-1"]).unwrap();
        assert_eq!(options, ["rsh ssh", "rsh ssh", "exclude --x", "exclude -y", "modify-window -1"]);
        assert_eq!(told(&["-"]).unwrap().1, ["-"]);
    }

    #[test]
    fn what_is_no_option_is_told() {
        for (arguments, text) in [
            (&["--nosuch"][..], "--nosuch: unknown option"),
            (&["--recurs"], "--recurs: unknown option"),
            (&["-rj"], "-j: unknown option"),
            (&["--F"], "--F: unknown option"),
            (&["-e"], "-e: missing argument"),
            (&["--archive=x"], "--archive=x: option does not take an argument"),
            (&["--no-bwlimit=1"], "--no-bwlimit=1: option does not take an argument"),
            (&["--timeout=x"], "--timeout=x: invalid numeric value"),
            (&["--no-archive"], "--no-archive: unknown option"),
        ] {
            assert_eq!(told(arguments).unwrap_err(), text);
        }
    }

    #[test]
    fn negations_are_those_of_rsync() {
        for name in ["no-r", "no-recursive", "no-i-r", "no-D", "no-bwlimit", "no-protect-args"] {
            assert!(matches!(by_name(name), Some((_, false))), "{name}");
        }
        for name in ["no-0", "no-b", "no-a", "no-delete", "no-e"] {
            assert!(by_name(name).is_none(), "{name}");
        }
    }
}
