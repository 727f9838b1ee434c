//! What the tasks of one thread share.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use async_channel::Sender;

use crate::io::Io;
use crate::io::buffer::Pool;
use crate::verify::report::News;
use crate::verify::verification::Verification;

/// How many tasks of a thread work on large files: one waits for its read while the other hashes.
pub(crate) const HELPERS: usize = 2;

/// What the tasks of one thread share.
pub(crate) struct VerifyLane {
    pub(crate) io: Io,
    pub(crate) buffers: Rc<Pool>,
    pub(crate) verification: Arc<Verification>,
    pub(crate) news: Sender<Vec<News>>,
    pub(crate) index: usize,
    /// Tasks of this thread that help with a large file.
    pub(crate) helping: Cell<usize>,
}

impl VerifyLane {
    /// Tells the reporter, and waits while it is behind. After it has gone there is nobody to tell.
    pub(crate) async fn tell(&self, news: Vec<News>) {
        if !news.is_empty() {
            self.news.send(news).await.ok();
        }
    }
}
