//! `--timeout`: a thread that lists directories for the walk and can be left behind, should the kernel never answer it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use crate::error::{Cause, Context, Operation, Result};
use crate::roots::follow::{Follow, Led};
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

enum Order {
    List { route: Route, answers: SyncSender<Vec<Told>> },
    Follow { follow: Follow, answer: SyncSender<Result<Led, Cause>> },
}

/// The walk's side of the thread.
pub(super) struct Lister(mpsc::Sender<Order>);

impl Lister {
    /// Starts the thread. It ends when this is dropped and it has nothing more to wait for.
    pub(super) fn start() -> Result<Self> {
        let (sender, orders) = mpsc::channel::<Order>();
        let work = move || {
            orders.into_iter().for_each(|order| match order {
                Order::List { route, answers } => list(&route, &answers),
                Order::Follow { follow, answer } => drop(answer.send(follow.go())),
            });
        };
        thread::Builder::new().name("list".into()).spawn(work).at(Operation::StartEngine, || "threads")?;
        Ok(Lister(sender))
    }

    /// Has a directory listed. The answers end with it.
    pub(super) fn list(&self, route: Route) -> Receiver<Vec<Told>> {
        let (answers, receiver) = mpsc::sync_channel(AHEAD);
        // A thread that is gone gives no answer, which the receiver tells.
        self.0.send(Order::List { route, answers }).ok();
        receiver
    }

    /// Has a symlink followed.
    pub(super) fn follow(&self, follow: Follow) -> Receiver<Result<Led, Cause>> {
        let (answer, receiver) = mpsc::sync_channel(1);
        self.0.send(Order::Follow { follow, answer }).ok();
        receiver
    }
}

fn list(route: &Route, answers: &SyncSender<Vec<Told>>) {
    let mut listing = match route.open() {
        Ok(listing) => listing,
        Err(cause) => {
            let unlisted = Unlisted { name: None, operation: Operation::ListSource, cause };
            answers.send(vec![Told::Unlisted(unlisted)]).ok();
            return;
        }
    };
    let mut chunk = vec![Told::Opened(listing.fd.clone(), route.scope(&listing.fd))];
    loop {
        chunk
            .extend(listing.by_ref().take(CHUNK).map(|entry| entry.map_or_else(Told::Unlisted, Told::Entry)));
        if chunk.is_empty() || answers.send(std::mem::take(&mut chunk)).is_err() {
            return;
        }
    }
}
