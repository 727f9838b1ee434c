//! What only the destination has: found when a directory is done, judged when all are, removed by several threads.

pub(crate) mod ahead;
pub(crate) mod aside;
pub(crate) mod collect;
pub(crate) mod extras;
pub(crate) mod namesakes;
mod quota;
pub(crate) mod removal;
pub(crate) mod replace;
pub(crate) mod settled;
pub(crate) mod subtree;
pub(crate) mod unlink;
mod unread;
pub(crate) mod work_stack;
