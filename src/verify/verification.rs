//! What all threads of a verification share.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use async_channel::{Receiver, Sender};

use crate::engine::primitives::channel::Channel;
use crate::error::{Context, Operation, Result, panicked};
use crate::io::path::Reach;
use crate::stat::Inode;
use crate::stop::Stop;
use crate::verify::feed::Chunk;
use crate::verify::large::HashedFile;
use crate::verify::patience::Patience;
use crate::verify::report::News;

/// Messages that the tasks may be ahead of the reporter.
pub(crate) const MESSAGES: usize = 32;

/// What all threads of a run share. Their news goes over a channel that they hold apart from it.
pub(crate) struct Verification {
    /// The manifest, as messages call it.
    pub(crate) manifest: PathBuf,
    /// Where paths start.
    pub(crate) base: Arc<OwnedFd>,
    pub(crate) reach: Reach,
    pub(crate) chunks: Receiver<Chunk>,
    /// Large files that tasks ask others to help with, a channel a thread.
    pub(crate) offers: Vec<Channel<Arc<HashedFile>>>,
    /// Bytes of them that are read at once, if that is fixed.
    pub(crate) buffer: Option<usize>,
    pub(crate) patience: Patience,
    /// Parcels that are not done, and the feed while it runs.
    pub(crate) unfinished: AtomicUsize,
    /// Files read from the manifest, and whether these are all.
    pub(crate) listed: AtomicU64,
    pub(crate) complete: AtomicBool,
    /// Raised when the run ends early.
    pub(crate) stop: Stop,
}

impl Verification {
    /// Ends all waiting for work.
    fn close(&self) {
        self.chunks.close();
        for channel in &self.offers {
            channel.receiver.close();
        }
    }

    /// Gives up on all that is not done.
    pub(crate) fn abandon(&self) {
        self.stop.stop();
        self.close();
        while self.chunks.try_recv().is_ok() {}
    }
}

/// A share of the work. When the last one is done, nobody waits for more.
pub(crate) struct Ticket(Arc<Verification>);

impl Ticket {
    pub(crate) fn new(verification: &Arc<Verification>) -> Self {
        verification.unfinished.fetch_add(1, Ordering::AcqRel);
        Ticket(verification.clone())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}

/// The manifest, opened.
pub(crate) struct Input {
    pub(crate) name: PathBuf,
    pub(crate) fd: OwnedFd,
    pub(crate) inode: Inode,
}

/// Does the work of a thread. Its error, or panic, ends the run.
pub(crate) fn guard(
    verification: &Arc<Verification>,
    news: &Sender<Vec<News>>,
    work: impl FnOnce(&Arc<Verification>, &Sender<Vec<News>>) -> Result<()>,
) {
    let result = catch_unwind(AssertUnwindSafe(|| work(verification, news)));
    if let Err(error) = result.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
        verification.abandon();
        news.send_blocking(vec![News::Failed(error)]).ok();
    }
}

/// Starts a thread whose error, or panic, ends the run.
pub(crate) fn spawn(
    name: &str,
    verification: &Arc<Verification>,
    news: &Sender<Vec<News>>,
    work: impl FnOnce(&Arc<Verification>, &Sender<Vec<News>>) -> Result<()> + Send + 'static,
) -> Result<JoinHandle<()>> {
    let (verification, news) = (verification.clone(), news.clone());
    let body = move || guard(&verification, &news, work);
    thread::Builder::new().name(name.into()).spawn(body).at(Operation::StartEngine, || "threads")
}
