//! The rules that hold in one directory: those of the whole run, with those of the files found in the directories on the
//! way to it.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Cause, Context, Error, Operation, Result};
use crate::select::cvs;
use crate::select::git::Git;
use crate::select::rule::{Line, PerDirectory, Question, Rule, Side};
use crate::select::rule_file::read;
use crate::select::{Element, Selection};

/// The rules of one file, and where it was found.
#[derive(Debug)]
struct Merged {
    /// Length of its directory's path, in bytes.
    anchor: usize,
    rules: Vec<Rule>,
    /// Those of the directories above, unless it forgets them.
    above: Option<Arc<Merged>>,
}

/// The rules of one directory.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    selection: Arc<Selection>,
    /// The directory's path from the root of the file system, in the source; empty for that root itself.
    here: Vec<u8>,
    /// Length of the path of the tree's root.
    root: usize,
    /// For each file that is looked for: what it came to.
    merged: Vec<Option<Arc<Merged>>>,
    git: Option<Git>,
    /// The path of the destination's root, for rules about paths in the file system.
    mirror: Option<Arc<[u8]>>,
    /// What is in it was named by the user: files of rules say nothing about these names, as with rsync.
    around: bool,
}

impl Scope {
    /// The scope of the tree's root, whose path is resolved and whose directory is `fd`.
    pub(crate) fn of_root(selection: &Arc<Selection>, path: &Path, fd: &OwnedFd) -> Result<Self> {
        Scope::begin(selection, path, fd, false)
    }

    /// The scope of a directory around sources that the user named. Of the files of rules in it, those that are looked for
    /// above a tree too hold for what is below the sources.
    pub(crate) fn around_sources(selection: &Arc<Selection>, path: &Path, fd: &OwnedFd) -> Result<Self> {
        Scope::begin(selection, path, fd, true)
    }

    fn begin(selection: &Arc<Selection>, path: &Path, fd: &OwnedFd, around: bool) -> Result<Self> {
        let path = path.as_os_str().as_bytes();
        let here = if path == b"/" { Vec::new() } else { path.to_vec() };
        let mut scope = Scope {
            selection: selection.clone(),
            root: here.len(),
            here,
            merged: vec![None; selection.per_directory.len()],
            git: None,
            mirror: None,
            around,
        };
        for (index, file) in selection.per_directory.iter().enumerate() {
            scope.read_above(index, file)?;
        }
        if selection.gitignore {
            scope.git = Some(Git::above(&scope.path())?);
        }
        scope.read_here(fd)?;
        Ok(scope)
    }

    /// The same for a tree that is mirrored to a directory with this path.
    pub(crate) fn mirrored_to(self, path: &Path) -> Self {
        let path = path.as_os_str().as_bytes();
        Scope { mirror: Some(if path == b"/" { b"" } else { path }.into()), ..self }
    }

    /// The same with what the files of rules in a directory say: those in the destination may protect more.
    pub(crate) fn with_files_of(&self, fd: &OwnedFd) -> Result<Self> {
        let mut scope = self.clone();
        scope.read_here(fd)?;
        Ok(scope)
    }

    /// The scope of a subdirectory, which `fd` holds.
    pub(crate) fn enter(&self, name: &CStr, fd: &OwnedFd) -> Result<Self> {
        let mut scope = self.below(name);
        scope.read_here(fd)?;
        Ok(scope)
    }

    /// The scope of a subdirectory without what is in it.
    pub(crate) fn below(&self, name: &CStr) -> Self {
        let mut scope = Scope { around: false, ..self.clone() };
        scope.here.push(b'/');
        scope.here.extend_from_slice(name.to_bytes());
        for (merged, file) in scope.merged.iter_mut().zip(&self.selection.per_directory) {
            if file.own {
                *merged = None;
            }
        }
        scope
    }

    /// Whether the source's entry is left out.
    pub(crate) fn hides(&self, name: &CStr, is_directory: bool) -> bool {
        self.excludes(name, is_directory, Side::Source, false)
    }

    /// Whether what only the destination has is not to be deleted; `perishing`: it is in a directory that is.
    pub(crate) fn protects(&self, name: &CStr, is_directory: bool, perishing: bool) -> bool {
        self.excludes(name, is_directory, Side::Destination, perishing)
    }

    fn excludes(&self, name: &CStr, is_directory: bool, side: Side, perishing: bool) -> bool {
        let path = [&self.here[..], b"/", name.to_bytes()].concat();
        let delete_excluded = self.selection.delete_excluded;
        let mirror = self.mirror.as_ref().filter(|_| side == Side::Destination);
        let elsewhere = mirror.map(|mirror| [mirror, &path[self.root..]].concat());
        let (root, absolute) = (self.root, elsewhere.as_deref().unwrap_or(&path));
        let question =
            Question { path: &path, absolute, root, is_directory, side, perishing, delete_excluded };
        if let Some(rule) = self.first_match(&question) {
            return !rule.include;
        }
        let asked = side == Side::Source || !delete_excluded;
        let path = Path::new(OsStr::from_bytes(&path));
        asked && self.git.as_ref().is_some_and(|git| git.ignores(path, is_directory))
    }

    fn first_match(&self, question: &Question<'_>) -> Option<&Rule> {
        self.selection.elements.iter().find_map(|element| match element {
            Element::Rule(given) => given.rule.matches(question, self.root).then(|| {
                given.mark_used();
                &given.rule
            }),
            Element::PerDirectory(_) if self.around => None,
            Element::PerDirectory(index) => {
                let mut merged = self.merged.get(*index)?.as_ref();
                while let Some(file) = merged {
                    if let Some(rule) = file.rules.iter().find(|rule| rule.matches(question, file.anchor)) {
                        return Some(rule);
                    }
                    merged = file.above.as_ref();
                }
                None
            }
        })
    }

    fn path(&self) -> PathBuf {
        Path::new("/").join(OsStr::from_bytes(self.here.strip_prefix(b"/").unwrap_or_default()))
    }

    /// Adds what the directory's own files of rules say.
    fn read_here(&mut self, fd: &OwnedFd) -> Result<()> {
        let selection = self.selection.clone();
        for (index, file) in selection.per_directory.iter().enumerate() {
            let name = file.file.file_name().unwrap_or_default();
            if !self.around || file.is_looked_for_above() {
                self.add(index, file, fd, name, self.here.len())?;
            }
        }
        if let Some(git) = &self.git {
            self.git = Some(git.enter(&self.path(), fd)?);
        }
        Ok(())
    }

    /// Where a file's path leads up: reads those in the directories from there down to the one above the tree.
    fn read_above(&mut self, index: usize, file: &PerDirectory) -> Result<()> {
        let name = file.file.file_name().unwrap_or_default();
        let Some(start) = file.file.parent().filter(|_| file.is_looked_for_above()) else { return Ok(()) };
        let path = self.path();
        let start = path.join(start).canonicalize().at(Operation::ReadRules, || &file.file)?;
        let Ok(down) = path.strip_prefix(&start) else {
            let cause = Cause::Refused("it is not above SRC".into());
            return Err(Error::new(Operation::ReadRules, &file.file, cause));
        };
        let mut directory = start.clone();
        for component in down.components() {
            let length = match directory.as_os_str().len() {
                1 => 0, // the root of the file system
                length => length,
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&directory, flags, Mode::empty());
            let fd = fd.at(Operation::ReadRules, || directory.join(name))?;
            if file.own {
                self.merged[index] = None;
            }
            self.add(index, file, &fd, name, length)?;
            directory.push(component);
        }
        if file.own {
            self.merged[index] = None;
        }
        Ok(())
    }

    /// Reads one file of rules, if it is there, and puts it before those of the directories above.
    fn add(
        &mut self,
        index: usize,
        file: &PerDirectory,
        fd: &OwnedFd,
        name: &OsStr,
        anchor: usize,
    ) -> Result<()> {
        let path = || Path::new(OsStr::from_bytes(&self.here[..anchor.min(self.here.len())])).join(name);
        let Some(text) = read(fd, name).at(Operation::ReadRules, path)? else { return Ok(()) };
        let mut rules = Vec::new();
        let mut above = self.merged[index].clone();
        let mut pending = lines(file.template.lines(&text), &path())?;
        pending.reverse();
        let mut merges = 0;
        while let Some(line) = pending.pop() {
            match line {
                Line::Rule(rule) => rules.push(rule),
                Line::Cvs => rules.extend(cvs::rules()?),
                Line::Clear => {
                    rules.clear();
                    above = None;
                }
                Line::Merge(merged, template) if merged.components().count() == 1 && merges < MOST_MERGES => {
                    merges += 1;
                    let text = read(fd, merged.as_os_str()).at(Operation::ReadRules, || &merged)?;
                    let text = text.ok_or(Errno::NOENT).at(Operation::ReadRules, || &merged)?;
                    let more = lines(template.lines(&text), &merged)?;
                    pending.extend(more.into_iter().rev());
                }
                Line::Merge(..) | Line::PerDirectory(_) => {
                    let why =
                        "a directory's own file merges others of the directory alone, and not in circles";
                    return Err(Error::new(Operation::ReadRules, path(), Cause::Refused(why.into())));
                }
            }
        }
        self.merged[index] = Some(Arc::new(Merged { anchor, rules, above }));
        Ok(())
    }
}

/// Files that one file merges.
const MOST_MERGES: usize = 100;

fn lines(read: std::result::Result<Vec<Line>, String>, path: &Path) -> Result<Vec<Line>> {
    read.map_err(|why| Error::new(Operation::ReadRules, path, Cause::Refused(why)))
}
