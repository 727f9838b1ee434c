//! Options that say what is mirrored: filter rules in the order in which they are given, lists of paths, sizes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::cli::values::rule::{OF_FILES, Rule, add_cvs};
use crate::cli::values::size::parse_size;
use ringsync::{Config, Selection, is_standard_input};

pub(crate) const SELECT: &str = "What is mirrored";

/// What is mirrored.
#[derive(Debug, Args)]
#[command(next_help_heading = SELECT)]
struct Options {
    /// Leave out what matches PATTERN; of all rules the first that matches decides
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    exclude: Vec<OsString>,
    /// Mirror what matches PATTERN, whatever later rules say
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    include: Vec<OsString>,
    /// Leave out what matches a line of FILE (- is standard input)
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Mirror what matches a line of FILE
    #[arg(long, value_name = "FILE")]
    include_from: Vec<PathBuf>,
    /// A rule of rsync's: '- *.o', '+ /src/***', 'P keep', ': .rules'
    #[arg(short, long, value_name = "RULE", allow_hyphen_values = true)]
    filter: Vec<OsString>,
    /// Take rules from .rsync-filter files in SRC; twice: and leave these out
    #[arg(short = 'F', action = clap::ArgAction::Count)]
    filter_files: u8,
    /// Leave out what CVS would: object files, backups of editors, what .cvsignore files name
    #[arg(short = 'C', long)]
    cvs_exclude: bool,
    /// Leave out what git would not track
    #[arg(long)]
    gitignore: bool,
    /// In files of paths or rules, lines end in NUL bytes
    #[arg(short = '0', long)]
    from0: bool,
    /// Leave out files larger than SIZE: bytes, or 500K, 1.5M, 2GB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Leave out files smaller than SIZE
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    min_size: Option<u64>,
    /// Don't read directories on other file systems
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// With -x: read the subvolumes (btrfs) of the same file system, but no snapshots of what is read
    #[arg(long, requires = "one_file_system")]
    cross_subvolumes: bool,
}

/// The options, with the order in which rules were given.
#[derive(Debug)]
pub(crate) struct SelectArgs {
    options: Options,
    rules: Vec<Given>,
}

/// A rule option, and where it stands on the command line.
#[derive(Debug)]
struct Given {
    position: usize,
    rule: Rule,
}

impl Args for SelectArgs {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args_for_update(command)
    }
}

impl FromArgMatches for SelectArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = Options::from_arg_matches(matches)?;
        options.refuse_one_dash()?;
        options.refuse_input_twice(matches)?;
        let rules = rules(&options, matches);
        Ok(SelectArgs { options, rules })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Options {
    /// -fsync is a rule to clap: -f, and the value sync, which is none.
    fn refuse_one_dash(&self) -> Result<(), clap::Error> {
        let words =
            ["filter", "fsync", "from0", "files-from", "force", "fuzzy", "fake-super", "from", "fileflags"];
        let is_rest = |word: &&&str| self.filter.iter().any(|rule| *rule == word[1..]);
        match words.iter().find(is_rest) {
            Some(word) => {
                let text = format!("-{word} has one dash, and needs two: --{word}");
                Err(clap::Error::raw(ErrorKind::ValueValidation, text))
            }
            None => Ok(()),
        }
    }
}

impl Options {
    /// Standard input can be read once: the second list of it would be empty.
    fn refuse_input_twice(&self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let is_input = |file: &&PathBuf| is_standard_input(file);
        let listed = matches.try_get_one::<PathBuf>("files_from").ok().flatten();
        let files = |option: &'static str, files: &[PathBuf]| {
            files.iter().filter(is_input).map(move |_| option).collect::<Vec<_>>()
        };
        let merges = self.filter.iter().filter(|rule| merges_input(rule.as_bytes()));
        let mut named = files("--exclude-from", &self.exclude_from);
        named.extend(files("--include-from", &self.include_from));
        named.extend(merges.map(|_| "--filter"));
        named.extend(listed.filter(is_input).map(|_| "--files-from"));
        if named.len() < 2 {
            return Ok(());
        }
        let named = named.join(" and ");
        let text =
            format!("standard input (-) can be read once, and {named} name it: put the lists into files");
        Err(clap::Error::raw(ErrorKind::ArgumentConflict, text))
    }
}

/// Whether a rule reads more rules from standard input: `. -`, `merge -`.
fn merges_input(rule: &[u8]) -> bool {
    let is_end = |byte: &u8| b" _".contains(byte);
    let argument = rule.iter().position(is_end).map(|end| &rule[end + 1..]);
    let is_input = argument.is_some_and(|file| is_standard_input(Path::new(OsStr::from_bytes(file))));
    is_input && (rule.starts_with(b".") || rule.starts_with(b"merge"))
}

/// The rules in the order in which they were given.
fn rules(options: &Options, matches: &ArgMatches) -> Vec<Given> {
    let positions = |id: &str| matches.indices_of(id).into_iter().flatten().collect::<Vec<_>>();
    let mut rules = Vec::new();
    let mut add = |id: &str, given: Vec<Rule>| {
        let at = positions(id).into_iter().zip(given);
        rules.extend(at.map(|(position, rule)| Given { position, rule }));
    };
    add("exclude", options.exclude.iter().cloned().map(Rule::Exclude).collect());
    add("include", options.include.iter().cloned().map(Rule::Include).collect());
    add("exclude_from", options.exclude_from.iter().cloned().map(Rule::ExcludeFrom).collect());
    add("include_from", options.include_from.iter().cloned().map(Rule::IncludeFrom).collect());
    add("filter", options.filter.iter().cloned().map(Rule::Filter).collect());
    let position = matches.index_of("filter_files").unwrap_or_default();
    let files = OF_FILES.iter().take(usize::from(options.filter_files));
    rules.extend(files.map(|rule| Given { position, rule: Rule::Filter(rule.into()) }));
    rules.sort_by_key(|given| given.position);
    rules
}

impl SelectArgs {
    /// Puts the options into `config`.
    pub(crate) fn apply(&self, config: &mut Config) -> ringsync::Result<()> {
        let Options { gitignore, max_size, min_size, one_file_system, cross_subvolumes, .. } = self.options;
        let mut select = Selection::default();
        select.from0 = self.options.from0;
        select.insecure_links = config.insecure_links;
        for given in &self.rules {
            given.rule.add(&mut select)?;
        }
        if self.options.cvs_exclude {
            add_cvs(&mut select)?;
        }
        (select.max_size, select.min_size) = (max_size, min_size);
        (select.gitignore, select.one_file_system) = (gitignore, one_file_system);
        select.cross_subvolumes = cross_subvolumes;
        config.select = select;
        Ok(())
    }
}
