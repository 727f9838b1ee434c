//! What everyone speaks of: the events of a run, the figures of its rings, and who is told.

mod both;
pub(crate) mod changes;
pub(crate) mod entry;
mod incomplete;
pub mod itemize;
pub(crate) mod json_path;
pub(crate) mod kind;
pub(crate) mod message;
pub mod metrics;
pub(crate) mod reporter;
pub(crate) mod start;
pub(crate) mod summary;

pub use crate::event::both::Both;
pub use crate::event::changes::Changes;
pub use crate::event::entry::{Action, Attributes, Entries, EntryEvent, Live, PointsTo, Reused};
pub use crate::event::incomplete::Incomplete;
pub use crate::event::json_path::JsonPath;
pub use crate::event::kind::Kind;
pub use crate::event::message::Stall;
pub use crate::event::reporter::{Reporter, Silent};
pub use crate::event::start::{Missing, Mode, Notice, RuleOrigin, Start};
pub use crate::event::summary::{Shared, Summary, Totals};

pub(crate) use crate::event::incomplete::FirstErrors;
pub(crate) use crate::event::message::Event;
