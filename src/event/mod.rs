//! What everyone speaks of: the events of a run, the figures of its rings, and who is told.

mod both;
pub(crate) mod changes;
pub(crate) mod entry;
pub mod itemize;
pub(crate) mod json_path;
pub(crate) mod kind;
pub(crate) mod message;
pub mod metrics;
pub(crate) mod reporter;
pub(crate) mod start;
pub(crate) mod summary;

pub use both::Both;
pub use changes::Changes;
pub use entry::{Action, Attributes, Entries, EntryEvent, PointsTo};
pub use json_path::JsonPath;
pub use kind::Kind;
pub use message::Stall;
pub use reporter::{Reporter, Silent};
pub use start::{Missing, Mode, Start};
pub use summary::{Summary, Totals};

pub(crate) use message::Event;
