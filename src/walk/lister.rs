//! `--timeout`: a thread that lists directories for the walk and can be left behind, should the kernel never answer it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use crate::error::{Context, Operation, Result};
use crate::select::Scope;
use crate::walk::level::Route;
use crate::walk::listing::{Found, Unlisted};

/// Entries that are handed over together.
const CHUNK: usize = 256;
/// Chunks that the lister may be ahead.
const AHEAD: usize = 4;

/// What the lister tells of a directory.
pub(super) enum Told {
    /// It is open, and these rules hold in it.
    Opened(Arc<OwnedFd>, Result<Option<Arc<Scope>>>),
    Entry(Found),
    /// Some of it, or all, can't be listed.
    Unlisted(Unlisted),
}

struct Order {
    route: Route,
    answers: SyncSender<Vec<Told>>,
}

/// The walk's side of the thread.
pub(super) struct Lister(mpsc::Sender<Order>);

impl Lister {
    /// Starts the thread. It ends when this is dropped and it has nothing more to wait for.
    pub(super) fn start() -> Result<Self> {
        let (sender, orders) = mpsc::channel::<Order>();
        let work = move || orders.into_iter().for_each(|order| list(&order));
        thread::Builder::new().name("list".into()).spawn(work).at(Operation::StartEngine, || "threads")?;
        Ok(Lister(sender))
    }

    /// Has a directory listed. The answers end with it.
    pub(super) fn list(&self, route: Route) -> Receiver<Vec<Told>> {
        let (answers, receiver) = mpsc::sync_channel(AHEAD);
        // A thread that is gone gives no answer, which the receiver tells.
        self.0.send(Order { route, answers }).ok();
        receiver
    }
}

fn list(order: &Order) {
    let mut listing = match order.route.open() {
        Ok(listing) => listing,
        Err(cause) => {
            let unlisted = Unlisted { name: None, operation: Operation::ListSource, cause };
            order.answers.send(vec![Told::Unlisted(unlisted)]).ok();
            return;
        }
    };
    let mut chunk = vec![Told::Opened(listing.fd.clone(), order.route.scope(&listing.fd))];
    loop {
        chunk
            .extend(listing.by_ref().take(CHUNK).map(|entry| entry.map_or_else(Told::Unlisted, Told::Entry)));
        if chunk.is_empty() || order.answers.send(std::mem::take(&mut chunk)).is_err() {
            return;
        }
    }
}
