//! The threads of a run and the tasks on them, and those who see whether they get on.

pub(crate) mod ring_thread;
pub(crate) mod stall;
pub(crate) mod tasks;
pub(crate) mod threads;
pub(crate) mod turns;
pub(crate) mod watchdog;
