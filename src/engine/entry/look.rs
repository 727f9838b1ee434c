//! Looking at both sides of an entry.

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::engine::entry::contents;
use crate::engine::entry::item::{Item, SourceEntry};
use crate::error::{Cause, Context, Error, Operation, Result};
use crate::event::Kind;
use crate::io::file::File;
use crate::stat::Stat;

impl Item<'_> {
    /// Opens a file that will be read, as far as is known, and stats anything else.
    pub(crate) async fn open_source(&self) -> Result<SourceEntry> {
        let (fresh, rules) = (self.pair.fresh, &self.run().rules);
        let certain = fresh && !rules.compare.existing && self.run().references.is_empty();
        if self.entry.kind == Kind::File && certain && self.run().config.writes() {
            let (file, stat) = self.open_file().await?;
            return Ok(SourceEntry { stat, file: Some(file) });
        }
        if self.entry.kind == Kind::File && rules.compares_contents() && !fresh {
            self.lane.doing(Operation::OpenSource);
            // One that can't be opened need not be read: it may have a size that the destination's has not.
            if let Ok((file, stat)) = contents::open_source_of(self).await {
                return Ok(SourceEntry { stat: self.adopt_open(stat, &file)?, file: Some(file) });
            }
        }
        self.lane.doing(Operation::StatSource);
        let stat = match self.led {
            None => {
                let stat = self.lane.io.stat(&self.pair.source, &self.entry.name).await;
                let stat = stat.and_then(|stat| stat.ok_or(Errno::NOENT));
                stat.at(Operation::StatSource, || self.source_path())?
            }
            Some(led) => led.stat,
        };
        if stat.kind == Kind::Directory {
            return Err(Error::new(Operation::StatSource, self.source_path(), Cause::TypeChanged));
        }
        Ok(SourceEntry { stat: self.adopt(stat, &self.source_holder())?, file: None })
    }

    /// Opens the source for reading. A FIFO or a device that took a file's place is not read.
    pub(crate) async fn open_file(&self) -> Result<(File, Stat)> {
        self.lane.doing(Operation::OpenSource);
        let opened = self.open_regular(OFlags::RDONLY).await;
        let (file, stat) = opened.at(Operation::OpenSource, || self.source_path())?;
        let stat = self.adopt_open(stat, &file)?;
        Ok((file, stat))
    }

    pub(crate) async fn stat_destination(&self) -> Result<Option<Stat>> {
        match &self.pair.destination {
            Some(within) if !self.pair.fresh => {
                self.lane.doing(Operation::StatDestination);
                let stat = self.lane.io.stat(within, self.target()).await;
                let stat = stat.at(Operation::StatDestination, || self.path())?;
                if stat.is_some() {
                    self.pair.count_compared();
                }
                Ok(stat)
            }
            _ => Ok(None),
        }
    }
}
