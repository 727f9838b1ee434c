//! A list of the sources: what rsync shows where there is no DST, or with `--list-only`. It is a dry run into a directory
//! that does not exist.

use std::path::Path;

use crate::report::clock::Clock;
use crate::report::format::permissions;
use crate::rsync::failure::Failure;
use crate::rsync::report::figures::Figures;
use crate::rsync::sources::{Runs, Sources, into_directory};
use crate::rsync::wishes::Wishes;
use ringsync::event::{EntryEvent, Kind, Mode, itemize};
use ringsync::{Config, Keep};

/// Where nothing can ever be.
const NOWHERE: &str = "/proc/self/nowhere";

/// What lists each source.
pub(crate) fn runs(sources: &Sources) -> Runs {
    Runs { runs: into_directory(sources, Path::new(NOWHERE), true), makes_directory: false }
}

/// Makes a list of it.
pub(crate) fn apply(config: &mut Config, wishes: &Wishes) -> Result<(), Failure> {
    if !wishes.recursive {
        // The sources, and of those whose contents are meant what lies in them.
        config.select.exclude("/*/*".as_ref())?;
    }
    config.keep = Keep::default().with(|keep| {
        (keep.hard_links, keep.acls, keep.xattrs) = (false, false, false);
    });
    config.mode = Mode::DryRun;
    config.details = true;
    (config.delete, config.backup, config.timeout) = (None, None, None);
    config.select.delete_excluded = false;
    config.link_dest.clear();
    Ok(())
}

/// One line of it.
pub(crate) fn line(directory: &Path, event: &EntryEvent, arrows: bool, figures: Figures) -> Option<String> {
    let source = event.source?;
    let kind = match event.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
    };
    let time = Clock::new().of_file(source.modified.0).replace('-', " ");
    let name = itemize::name(directory, event);
    let name = name.strip_suffix('/').unwrap_or(&name);
    let arrow = if arrows { itemize::arrow(event) } else { String::new() };
    let (mode, size, width) = (permissions(source.mode), figures.whole(source.size), figures.width());
    Some(format!("{kind}{mode} {size:>width$} {time} {name}{arrow}"))
}
