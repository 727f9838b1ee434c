//! Snapshots that are dated ahead of the clock: one of the two is wrong, and that is told. It is never a reason not to back up.

use std::fmt;

use jiff::Timestamp;

use crate::store::Record;
use crate::store::retention::AHEAD;
use crate::text::Escaped;

/// A snapshot that was begun later than it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ahead {
    /// Its name.
    pub name: String,
    /// When it was begun, and what the clock says.
    pub started: Timestamp,
    #[allow(missing_docs)]
    pub now: Timestamp,
    /// By more than an hour: no rule looks at its date.
    pub is_left_alone: bool,
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, now) = (Escaped::name(self.name.as_ref()), self.now.strftime("%FT%TZ"));
        let started = self.started.strftime("%FT%TZ");
        write!(f, "the clock says {now}, and snapshot {name} is dated {started}: one of them is wrong")?;
        if self.is_left_alone {
            f.write_str(", and no rule looks at that date")?;
        }
        Ok(())
    }
}

/// The snapshots that are dated ahead of the clock.
pub fn dated_ahead(snapshots: &[Record], now: Timestamp) -> Vec<Ahead> {
    let ahead = snapshots.iter().filter(|record| record.started > now);
    let ahead = ahead.map(|record| Ahead {
        name: record.name.clone(),
        started: record.started,
        now,
        is_left_alone: record.started.duration_since(now) > AHEAD,
    });
    ahead.collect()
}
