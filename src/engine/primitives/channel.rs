//! Both ends of a channel.

use async_channel::{Receiver, Sender};

/// Both ends of a channel, held by those who may use either.
pub(crate) struct Channel<T> {
    pub(crate) sender: Sender<T>,
    pub(crate) receiver: Receiver<T>,
}

impl<T> Channel<T> {
    pub(crate) fn bounded(capacity: usize) -> Self {
        let (sender, receiver) = async_channel::bounded(capacity);
        Channel { sender, receiver }
    }
}
