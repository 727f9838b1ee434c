//! What threads share that knows nothing of trees: channels, the word of each ring on what it does, rings in reserve, a
//! limit on bytes a second, a team at work on one file, what errors say of a disk, when the run began.

pub(crate) mod bandwidth;
pub(crate) mod channel;
pub(crate) mod disk;
pub(crate) mod heartbeat;
pub(crate) mod onset;
pub(crate) mod reserve;
pub(crate) mod team;
