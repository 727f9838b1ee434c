//! What of the source is mirrored, and what of the destination may be deleted: filter rules, .gitignore files, sizes.
//!
//! The first rule that matches decides; what none matches is included (`rule.rs`, `pattern.rs`). Rules may also come
//! from files in the directories of the source (`scope.rs`). An excluded directory is not read at all.

mod cvs;
mod git;
mod git_pattern;
mod given;
pub(crate) mod list;
mod name_pattern;
mod pattern;
mod rule;
pub(crate) mod rule_file;
mod scope;

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Cause, Context, Error, Operation, Result, Setting};
use crate::event::RuleOrigin;
use crate::files::named;
use crate::options::{try_with, with};
use crate::select::given::Given;
use crate::select::rule::{Line, PerDirectory, Question, Side, Template};

pub use crate::select::list::{Paths, Separator};
pub use crate::select::name_pattern::NamePattern;

pub(crate) use crate::select::scope::Scope;

/// Files of rules that lead to others, one within the other.
const DEEPEST_MERGE: usize = 20;

/// What to mirror, and what to leave alone. Rules hold in the order in which they are added; the first one that matches
/// decides.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Selection {
    elements: Vec<Element>,
    per_directory: Vec<PerDirectory>,
    /// Some of the rules came from standard input.
    reads_input: bool,
    /// In files of rules that are added from now on, lines end in NUL bytes.
    pub from0: bool,
    /// Files of rules that are added from now on may be reached through symlinks of any user.
    pub insecure_links: bool,
    /// Leave out what git would not track.
    pub gitignore: bool,
    /// Rules that name no side don't protect what only the destination has.
    pub delete_excluded: bool,
    /// Regular files of more bytes are left out.
    pub max_size: Option<u64>,
    /// Regular files of fewer bytes are left out.
    pub min_size: Option<u64>,
    /// Directories on other file systems are made, but not read.
    pub one_file_system: bool,
    /// With `one_file_system`: subvolumes of btrfs on the source's file system are read all the same, but for snapshots of
    /// what is read, and what the destination has in subvolumes of its own is deleted as elsewhere.
    pub cross_subvolumes: bool,
    /// Of the source, these paths alone.
    pub paths: Option<Paths>,
}

/// What the list of rules is made of.
#[derive(Debug, Clone)]
enum Element {
    Rule(Given),
    /// The rules of a file in each directory: an index.
    PerDirectory(usize),
}

with!(Selection);
try_with!(Selection);

impl Selection {
    /// Adds a rule in the syntax of rsync's `--filter`.
    ///
    /// # Errors
    /// When it is no rule, or a file that it names can't be read.
    pub fn filter(&mut self, rule: &OsStr) -> Result<()> {
        let lines = Template::default().ending(self.from0).line(rule.as_bytes());
        let origin = RuleOrigin::Setting(Setting::FilterRule);
        self.add(lines.map_err(|why| not_a_rule(rule, why))?, &origin, 0)
    }

    /// Leaves out what matches the pattern. A pattern that begins with `+ ` includes instead.
    ///
    /// # Errors
    /// When the pattern can't be used.
    pub fn exclude(&mut self, pattern: &OsStr) -> Result<()> {
        self.pattern(pattern, false)
    }

    /// Includes what matches the pattern, whatever comes after. A pattern that begins with `- ` excludes instead.
    ///
    /// # Errors
    /// When the pattern can't be used.
    pub fn include(&mut self, pattern: &OsStr) -> Result<()> {
        self.pattern(pattern, true)
    }

    /// As [`exclude`](Self::exclude) for each line of a file; `-` is standard input.
    ///
    /// # Errors
    /// When the file can't be read, or has something that is no pattern.
    pub fn exclude_from(&mut self, file: &Path) -> Result<()> {
        self.merge(file, Template::of_option(false).ending(self.from0), 0)
    }

    /// As [`include`](Self::include) for each line of a file; `-` is standard input.
    ///
    /// # Errors
    /// When the file can't be read, or has something that is no pattern.
    pub fn include_from(&mut self, file: &Path) -> Result<()> {
        self.merge(file, Template::of_option(true).ending(self.from0), 0)
    }

    /// Whether a path below the tree's root is left out by a rule of its own. Rules from files in directories, and those
    /// about the directories above the path, are not asked.
    pub fn matches(&self, path: &Path, is_directory: bool) -> bool {
        let path = [b"/", path.as_os_str().as_bytes()].concat();
        let delete_excluded = self.delete_excluded;
        let (side, perishing, root) = (Side::Source, false, 0);
        let absolute = &path;
        let question =
            Question { path: &path, absolute, root, is_directory, side, perishing, delete_excluded };
        let rules = self.elements.iter().filter_map(|element| match element {
            Element::Rule(given) => Some(&given.rule),
            Element::PerDirectory(_) => None,
        });
        rules.into_iter().find(|rule| rule.matches(&question, 0)).is_some_and(|rule| !rule.include)
    }

    /// Whether a directory at `below` in the tree at `root` is never read, whatever files of rules will say: a rule that
    /// comes before them leaves out it, or one above it.
    pub(crate) fn certainly_hides(&self, root: &Path, below: &Path) -> bool {
        let root = root.as_os_str().as_bytes();
        let root = if root == b"/" { b"" } else { root };
        let mut path = root.to_vec();
        below.components().any(|component| {
            path.push(b'/');
            path.extend_from_slice(component.as_os_str().as_bytes());
            let (side, perishing, is_directory) = (Side::Source, false, true);
            let (absolute, root, delete_excluded) = (&path, root.len(), self.delete_excluded);
            let question =
                Question { path: &path, absolute, root, is_directory, side, perishing, delete_excluded };
            let decides = self.elements.iter().find(|element| match element {
                Element::Rule(given) => given.rule.matches(&question, root),
                Element::PerDirectory(_) => true,
            });
            matches!(decides, Some(Element::Rule(given)) if !given.rule.include)
        })
    }

    /// Whether names have to be asked about at all.
    pub(crate) fn has_rules(&self) -> bool {
        self.gitignore || !self.elements.is_empty()
    }

    /// Whether rules may come from files in directories.
    pub(crate) fn has_files(&self) -> bool {
        !self.per_directory.is_empty()
    }

    /// Whether a regular file of this size, in bytes, is mirrored.
    pub(crate) fn takes_size(&self, size: u64) -> bool {
        self.max_size.is_none_or(|most| size <= most) && self.min_size.is_none_or(|least| size >= least)
    }

    fn pattern(&mut self, pattern: &OsStr, include: bool) -> Result<()> {
        if pattern.is_empty() {
            return Ok(()); // as rsync has it
        }
        let lines = Template::of_option(include).line(pattern.as_bytes());
        let origin = if include { Setting::IncludeRule } else { Setting::ExcludeRule };
        self.add(lines.map_err(|why| not_a_rule(pattern, why))?, &RuleOrigin::Setting(origin), 0)
    }

    fn merge(&mut self, file: &Path, template: Template, depth: usize) -> Result<()> {
        if depth == DEEPEST_MERGE {
            let cause = Cause::Refused("files of rules merge each other without end".into());
            return Err(Error::new(Operation::ReadRules, file, cause));
        }
        if is_standard_input(file) && std::mem::replace(&mut self.reads_input, true) {
            let cause = Cause::Refused("standard input was read already, and is empty by now".into());
            return Err(Error::new(Operation::UseRule, file, cause));
        }
        let text = read(file, self.insecure_links).at(Operation::ReadRules, || file)?;
        let refused = |why| Error::new(Operation::ReadRules, file, Cause::Refused(why));
        if is_utf_16(&text) {
            return Err(refused(UTF_16.into()));
        }
        let lines = template.lines(&text);
        self.add(lines.map_err(refused)?, &RuleOrigin::File(file.to_path_buf()), depth)
    }

    fn add(&mut self, lines: Vec<Line>, origin: &RuleOrigin, depth: usize) -> Result<()> {
        for line in lines {
            match line {
                Line::Rule(rule) => self.elements.push(Element::Rule(Given::new(rule, origin.clone()))),
                Line::Merge(file, template) => self.merge(&file, template, depth + 1)?,
                // Given twice, it holds where it was given first.
                Line::PerDirectory(file)
                    if self.per_directory.iter().any(|given| given.file == file.file) => {}
                Line::PerDirectory(file) => {
                    self.elements.push(Element::PerDirectory(self.per_directory.len()));
                    self.per_directory.push(file);
                }
                // Those that match nothing are no mistake of the user's.
                Line::Cvs => self.elements.extend(cvs::rules()?.into_iter().map(|rule| {
                    let given = Given::new(rule, origin.clone());
                    given.mark_used();
                    Element::Rule(given)
                })),
                Line::Clear => {
                    self.elements.clear();
                    self.per_directory.clear();
                }
            }
        }
        Ok(())
    }
}

/// Opens a file that the user named; `-` is standard input.
fn open(file: &Path, insecure: bool) -> Result<Box<dyn Read>, Cause> {
    match file == Path::new("-") {
        true => Ok(Box::new(std::io::stdin().lock())),
        false => Ok(Box::new(named::open_to_read(file, insecure)?)),
    }
}

fn read(file: &Path, insecure: bool) -> Result<Vec<u8>, Cause> {
    let mut text = Vec::new();
    open(file, insecure)?.read_to_end(&mut text)?;
    Ok(text)
}

/// Whether a file of a list is standard input, by `-` or by a name that the kernel has for it. What is read from it by one name
/// can't be read by another one.
pub fn is_standard_input(file: &Path) -> bool {
    ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "/proc/thread-self/fd/0"]
        .iter()
        .any(|name| file == Path::new(name))
}

const UTF_16: &str = "it is UTF-16: save it as UTF-8";

/// Whether a text is UTF-16, of which no line is what it looks like: it begins with the mark of one of its two orders, or with a
/// character of one byte, and the other byte is 0.
fn is_utf_16(text: &[u8]) -> bool {
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => text.contains(&0),
        [first, second, ..] => (*first == 0) != (*second == 0) && text.len() > 2,
        _ => false,
    }
}

/// A text without the byte order mark that some editors put before it: git passes over it.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

fn not_a_rule(rule: &OsStr, why: String) -> Error {
    Error::new(Operation::UseRule, PathBuf::from(rule), Cause::Refused(why))
}
