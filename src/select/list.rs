//! `--files-from`: the paths of the source that are mirrored, as a tree of names.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Cause, Context, Error, Operation, Result};

/// Paths below the source. The directories on the way to them are mirrored too, what else these hold is not.
#[derive(Debug, Clone)]
pub struct Paths {
    pub(crate) root: Arc<Node>,
    /// With a directory come all its contents.
    pub recursive: bool,
}

/// Slashes in a path, at most: the tree is as deep.
const DEEPEST: usize = 4096;

/// A name in the list.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// It is the end of a path.
    pub(crate) named: bool,
    /// In the order of their names.
    pub(crate) children: Vec<(CString, Arc<Node>)>,
}

impl Node {
    /// What the list has under a name.
    pub(crate) fn child(&self, name: &CStr) -> Option<&Arc<Node>> {
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
    /// When it can't be read, or a path leads up by `..`.
    pub fn read(file: &Path, separator: Separator) -> Result<Self> {
        let text = super::read(file).at(Operation::ReadPaths, || file)?;
        let mut root = Tree::default();
        let at: fn(&u8) -> bool = match separator {
            Separator::Line => |byte| b"\n\r".contains(byte),
            Separator::Nul => |byte| *byte == 0,
        };
        for path in text.split(at) {
            let is_comment = separator == Separator::Line && matches!(path, [b'#' | b';', ..]);
            if !path.is_empty() && !is_comment {
                root.add(path)?;
            }
        }
        Ok(Paths { root: Arc::new(root.finish()), recursive: false })
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

    fn finish(self) -> Node {
        let finished = |(name, child): (CString, Tree)| (name, Arc::new(child.finish()));
        Node { named: self.named, children: self.children.into_iter().map(finished).collect() }
    }
}
