//! A rule of the whole run: where it came from, and whether it has decided anything.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::event::RuleOrigin;
use crate::select::rule::Rule;
use crate::select::{Element, Selection};

/// A rule that was given, not one of a file in a directory.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) rule: Rule,
    pub(super) origin: RuleOrigin,
    /// It decided about a name, or why it can't was told; all copies of the list share this.
    used: Arc<AtomicBool>,
}

impl Given {
    pub(super) fn new(rule: Rule, origin: RuleOrigin) -> Self {
        Given { rule, origin, used: Arc::default() }
    }

    /// It has decided about a name.
    pub(super) fn mark_used(&self) {
        // Nearly always it is known already: what all threads only read stays in all caches.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
}

/// A rule that can't match, since it begins with the path of the tree that it is about.
pub(crate) struct Misplaced {
    pub(crate) rule: String,
    pub(crate) origin: RuleOrigin,
    /// The pattern to be written instead.
    pub(crate) instead: Vec<u8>,
}

impl Selection {
    fn given(&self) -> impl Iterator<Item = &Given> {
        self.elements.iter().filter_map(|element| match element {
            Element::Rule(given) => Some(given),
            Element::PerDirectory(_) => None,
        })
    }

    /// The rules that have decided nothing so far, as they are written, and where each came from.
    pub(crate) fn idle(&self) -> impl Iterator<Item = (String, RuleOrigin)> {
        let idle = self.given().filter(|given| !given.used.load(Ordering::Relaxed));
        idle.map(|given| (given.rule.to_string(), given.origin.clone()))
    }

    /// The rules that begin with the path of the tree at `root`, which is absolute: these are to be told now. Where the tree holds that path once more,
    /// they are right.
    pub(crate) fn misplaced(&self, root: &Path) -> Vec<Misplaced> {
        let within = root.join(root.strip_prefix("/").unwrap_or(root));
        let begins = |given: &Given| given.rule.below(root.as_os_str().as_bytes()).map(<[u8]>::to_vec);
        let found = self.given().filter_map(|given| Some((given, begins(given)?)));
        let mut found = found.peekable();
        if root == Path::new("/") || found.peek().is_none() || within.symlink_metadata().is_ok() {
            return Vec::new();
        }
        let misplaced = |(given, below): (&Given, Vec<u8>)| {
            given.mark_used(); // it is told once
            let (rule, origin) = (given.rule.to_string(), given.origin.clone());
            let instead = if matches!(&below[..], b"" | b"/") { b"/*".to_vec() } else { below };
            Misplaced { rule, origin, instead }
        };
        found.map(misplaced).collect()
    }
}
