//! What killed runs left in a directory, and copies that nobody went on with.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::engine::Run;
use crate::engine::own::litter;
use crate::engine::state::pair::Pair;
use crate::event::Kind;
use crate::stat::stat_open;

impl Pair {
    /// Removes what a killed run left. Its traces are only in directories that it did not get to finish, and these
    /// don't have their source's time yet: an untouched tree is never listed.
    pub(crate) fn remove_litter(&self, run: &Run) {
        if let Some(destination) = &self.destination
            && let Some(existing) = &self.existing
            && (existing.modified != self.source_stat.modified || !run.rules.keep.times_of(Kind::Directory))
            && run.config.writes()
        {
            let source = Some(&*self.source);
            let kept = litter::remove(destination, existing.inode, source, run.config.partial, run);
            // A time within --modify-window stays, unless something was removed.
            let is_moved = || stat_open(destination).map_or(true, |stat| stat.modified != existing.modified);
            let is_set = !run.rules.same_time(self.source_stat.modified, existing);
            self.touched.fetch_or(is_set || is_moved(), Ordering::Relaxed);
            self.look_again.store(kept.partial || kept.at_work, Ordering::Relaxed);
            *self.set_aside.lock().unwrap_or_else(PoisonError::into_inner) = kept.set_aside;
        }
    }

    /// Removes broken off copies that nobody went on with, now that everything in it is done, and what other runs that were
    /// killed meanwhile have left. Where another one is still at work, the directory keeps a time by which the next run looks.
    pub(crate) fn remove_obsolete(&self, run: &Run) {
        if self.look_again.load(Ordering::Relaxed)
            && !self.broken_off.load(Ordering::Relaxed)
            && let (Some(destination), Some(existing)) = (&self.destination, &self.existing)
            && litter::remove(destination, existing.inode, Some(&self.source), false, run).at_work
        {
            self.mark_broken_off();
        }
    }
}
