//! A flag that can also be waited for: a channel that carries nothing and is closed once.

use std::convert::Infallible;

use async_channel::{Receiver, Sender};

/// Tells a run to stop: no new files, those in flight are finished or discarded whole. Clones are the same flag.
#[derive(Debug, Clone)]
pub struct Stop {
    // Held so that the channel is closed by `stop` alone.
    _sender: Sender<Infallible>,
    receiver: Receiver<Infallible>,
}

impl Default for Stop {
    fn default() -> Self {
        let (sender, receiver) = async_channel::bounded(1);
        Stop { _sender: sender, receiver }
    }
}

impl Stop {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag, for good.
    pub fn stop(&self) {
        self.receiver.close();
    }

    /// Whether it is raised.
    pub fn is_stopped(&self) -> bool {
        self.receiver.is_closed()
    }

    /// Waits until it is raised.
    pub async fn stopped(&self) {
        if let Ok(never) = self.receiver.recv().await {
            match never {}
        }
    }
}
