//! Who takes the place of whom: users and groups of the source, and those that the destination's entries belong to.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Map = dyn Fn(u32) -> u32 + Send + Sync;

/// Which users, or which groups, take the place of the source's. Each number is asked for once, so that the answer may come
/// from a database.
#[derive(Clone)]
pub struct IdMap {
    map: Arc<Map>,
    known: Arc<Mutex<HashMap<u32, u32>>>,
}

impl IdMap {
    /// The map that `map` is: it gets the number in the source, and returns that in the destination, which may be the same.
    pub fn new(map: impl Fn(u32) -> u32 + Send + Sync + 'static) -> Self {
        IdMap { map: Arc::new(map), known: Arc::default() }
    }

    /// What takes the place of `id`.
    pub(crate) fn get(&self, id: u32) -> u32 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(id).or_insert_with(|| (self.map)(id))
    }
}

impl fmt::Debug for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdMap").field("known", &self.known).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn each_number_is_asked_for_once() {
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        let map = IdMap::new(move |id| {
            count.fetch_add(1, Ordering::Relaxed);
            if id == 7 { 8 } else { id }
        });
        assert_eq!([7, 7, 8, 7].map(|id| map.clone().get(id)), [8, 8, 8, 8]);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
