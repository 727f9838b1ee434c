//! `--files-from`: the paths of the source that are mirrored, as a tree of names.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::content::manifest::LINE_LIMIT;
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::select::{UTF_16, is_utf_16, open, without_mark};

/// Paths below the source. The directories on the way to them are mirrored too, what else these hold is not.
#[derive(Debug, Clone)]
pub struct Paths {
    pub(crate) root: Arc<ListedName>,
    /// With a directory come all its contents.
    pub recursive: bool,
}

/// Slashes in a path, at most: the tree is as deep.
const DEEPEST: usize = 4096;

/// A name in the list.
#[derive(Debug, Default)]
pub(crate) struct ListedName {
    /// It is the end of a path.
    pub(crate) named: bool,
    /// In the order of their names.
    pub(crate) children: Vec<(CString, Arc<ListedName>)>,
}

impl ListedName {
    /// What the list has under a name.
    pub(crate) fn child(&self, name: &CStr) -> Option<&Arc<ListedName>> {
        let found = self.children.binary_search_by(|(other, _)| other.as_c_str().cmp(name));
        found.ok().map(|index| &self.children[index].1)
    }
}

/// What ends a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// A line; empty lines, and those that begin with `#` or `;`, are passed over.
    Line,
    /// A NUL byte.
    Nul,
}

impl Paths {
    /// Reads a list; `-` is standard input.
    ///
    /// # Errors
    /// When it can't be read, a symlink on the way to it is neither root's nor the user's own, or a path leads up by `..`.
    pub fn read(file: &Path, separator: Separator) -> Result<Self> {
        Self::read_from(file, separator, false)
    }

    /// The same; symlinks of any user may lead to the file.
    ///
    /// # Errors
    /// As those of [`read`](Self::read).
    pub fn read_insecurely(file: &Path, separator: Separator) -> Result<Self> {
        Self::read_from(file, separator, true)
    }

    fn read_from(file: &Path, separator: Separator, insecure: bool) -> Result<Self> {
        let input = open(file, insecure).at(Operation::ReadPaths, || file)?;
        let mut lines = Lines::new(BufReader::with_capacity(CHUNK, input), separator);
        let mut root = Tree::default();
        let mut may_be_marked = separator == Separator::Line;
        let mut is_marked = false; // by the mark of UTF-16, whose lines have NUL bytes
        while let Some(path) = lines.next(file)? {
            let is_first = std::mem::take(&mut may_be_marked);
            is_marked |= is_first && matches!(path, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
            let path = if is_first { without_mark(path) } else { path };
            if path.contains(&0) {
                let is_utf_16 = is_marked || is_first && is_utf_16(path);
                let why = if is_utf_16 { UTF_16 } else { "a path in it has a NUL byte" };
                return Err(Error::new(Operation::ReadPaths, file, Cause::Refused(why.into())));
            }
            let is_comment = separator == Separator::Line && matches!(path, [b'#' | b';', ..]);
            if !path.is_empty() && !is_comment {
                root.add(path)?;
            }
        }
        Ok(Paths { root: Arc::new(root.finish()), recursive: false })
    }

    /// Whether it names nothing, not even the source itself.
    pub(crate) fn is_empty(&self) -> bool {
        !self.root.named && self.root.children.is_empty()
    }
}

/// Bytes that are read of a list at a time.
const CHUNK: usize = 64 << 10;

/// Reads what separators end, piece by piece, in memory that no input can make grow.
struct Lines<R> {
    input: R,
    separator: Separator,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(input: R, separator: Separator) -> Self {
        Lines { input, separator, line: Vec::new(), number: 0 }
    }

    /// The next one, without its end. A file of lines may have carriage returns, each of which ends one too.
    fn next(&mut self, file: &Path) -> Result<Option<&[u8]>> {
        let is_end = |byte: u8| match self.separator {
            Separator::Line => matches!(byte, b'\n' | b'\r'),
            Separator::Nul => byte == 0,
        };
        self.line.clear();
        self.number += 1;
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                buffer => buffer.at(Operation::ReadPaths, || file)?,
            };
            if buffer.is_empty() {
                return Ok((!self.line.is_empty()).then_some(self.line.as_slice()));
            }
            let end = buffer.iter().position(|&byte| is_end(byte));
            let length = end.unwrap_or(buffer.len());
            if self.line.len() + length > LINE_LIMIT {
                let what = if self.separator == Separator::Nul { "path" } else { "line" };
                let why = format!("{what} {} is longer than {LINE_LIMIT} bytes", self.number);
                return Err(Error::new(Operation::ReadPaths, file, Cause::Refused(why)));
            }
            self.line.extend_from_slice(&buffer[..length]);
            self.input.consume(length + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Some(&self.line));
            }
        }
    }
}

/// A node that still grows.
#[derive(Default)]
struct Tree {
    named: bool,
    children: BTreeMap<CString, Tree>,
}

impl Tree {
    fn add(&mut self, path: &[u8]) -> Result<()> {
        let refused = |why: &str| {
            let path = Path::new(OsStr::from_bytes(path));
            Error::new(Operation::ReadPaths, path, Cause::Refused(why.into()))
        };
        let mut node = self;
        if path.iter().filter(|&&byte| byte == b'/').count() > DEEPEST {
            return Err(refused("a path in the list is too deep"));
        }
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            if name == b".." {
                return Err(refused("a path in the list leads up"));
            }
            let name = CString::new(name).map_err(|_| refused("a path in the list has a NUL byte"))?;
            node = node.children.entry(name).or_default();
        }
        node.named = true;
        Ok(())
    }

    fn finish(self) -> ListedName {
        let finished = |(name, child): (CString, Tree)| (name, Arc::new(child.finish()));
        ListedName { named: self.named, children: self.children.into_iter().map(finished).collect() }
    }
}
