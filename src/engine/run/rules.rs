//! What a run says of rules that do nothing: a mistake in one is found in no other way.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::engine::Run;
use crate::event::{Event, Notice};
use crate::select::Paths;
use crate::text::Escaped;

/// Rules without a match that are named one by one.
const NAMED: usize = 20;

impl Run {
    /// Tells of rules that begin with the path of the tree that they are about, and of a list without a path, before anything is
    /// done.
    pub(crate) fn tell_misplaced_rules(&self) {
        let select = &self.config.select;
        if select.paths.as_ref().is_some_and(Paths::is_empty) {
            self.report_blocking(Event::Notice(Notice::EmptyList));
        }
        if !select.has_rules() {
            return;
        }
        for root in self.rule_roots() {
            for misplaced in select.misplaced(&root) {
                let instead = Escaped::name(OsStr::from_bytes(&misplaced.instead)).to_string();
                let (rule, origin) = (misplaced.rule, misplaced.origin);
                self.report_blocking(Event::Notice(Notice::MisplacedRule { rule, origin, instead }));
            }
        }
    }

    /// Where the paths of rules begin: as the user named the directories, and as symlinks lead there.
    fn rule_roots(&self) -> Vec<PathBuf> {
        let named: Vec<&Path> = match (&self.roots.several, &self.roots.single) {
            (Some(several), _) => several.parents.iter().map(|parent| parent.path.as_path()).collect(),
            (None, _) => vec![&self.roots.source.path],
        };
        let absolute = |path: &&Path| [std::path::absolute(path).ok(), path.canonicalize().ok()];
        let mut roots: Vec<PathBuf> = named.iter().flat_map(absolute).flatten().collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// Tells in the end which rules have decided nothing.
    pub(crate) async fn tell_idle_rules(&self) {
        let mut idle = self.config.select.idle();
        for (rule, origin) in idle.by_ref().take(NAMED) {
            self.report(Event::Notice(Notice::IdleRule { rule, origin })).await;
        }
        match idle.count() {
            0 => {}
            more => self.report(Event::Notice(Notice::MoreIdleRules(more as u64))).await,
        }
    }
}
