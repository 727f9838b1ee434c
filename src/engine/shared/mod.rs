//! TODO engine/shared

pub(crate) mod bandwidth;
pub(crate) mod channel;
pub(crate) mod heartbeat;
pub(crate) mod reserve;
pub(crate) mod team;
