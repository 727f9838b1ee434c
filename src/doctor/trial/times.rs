//! Modification times: whether they can be set, how exactly, in which years, and whether they stay.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Result;

use crate::doctor::finding::{Found, length};
use crate::doctor::scratch::Scratch;

const FILE: &str = "file";
/// In 2020, in an odd second, with all digits.
const ODD: (i64, u32) = (1_600_000_001, 123_456_789);
/// Steps that file systems have, in nanoseconds: exact, ntfs, some servers, exfat, ext3, FAT.
const STEPS: [u64; 7] = [1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000];
/// The one of these that `sync` does not take for rounding.
const UNKNOWN_STEP: u64 = 1_000_000;
/// Moments to try, in seconds since 1970, each in the year's first days, but for 1901, whose last days are the first that 32
/// bits hold.
const YEARS: [(u32, i64); 11] = [
    (1901, -2_147_400_000),
    (1960, -315_532_800),
    (1970, 86_400),
    (1980, 315_619_200),
    (2037, 2_114_467_200),
    (2039, 2_177_539_200),
    (2105, 4_260_297_600),
    (2107, 4_323_369_600),
    (2200, 7_258_204_800),
    (2400, 13_569_552_000),
    (2500, 16_725_312_000),
];
/// Years that files really have: archives and package stores set 1970, and in 2038 seconds leave 32 bits.
const WANTED: std::ops::RangeInclusive<u32> = 1970..=2039;

/// Sets the modification time alone, and where that does nothing the one of the last access with it, as sync does.
fn set(file: impl AsFd, wanted: (i64, u32)) -> Result<()> {
    let times = modified(wanted);
    rustix::fs::futimens(&file, &times)?;
    let now = rustix::fs::fstat(&file)?;
    if is_near((now.st_mtime, now.st_mtime_nsec as u32), wanted) {
        return Ok(());
    }
    rustix::fs::futimens(&file, &Timestamps { last_access: times.last_modification, ..times })
}

fn modified((seconds, nanoseconds): (i64, u32)) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

/// The modification time that a name has.
fn time(scratch: &Scratch, name: &str) -> Result<(i64, u32)> {
    let stat = scratch.stat(name)?;
    Ok((stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec))
}

/// A file with this time, closed. What it has afterwards.
fn file_of(scratch: &Scratch, wanted: (i64, u32)) -> Result<(i64, u32)> {
    let file = scratch.file(FILE)?;
    set(&file, wanted)?;
    drop(file);
    time(scratch, FILE)
}

/// Whether two times are as near as the coarsest step allows.
fn is_near(one: (i64, u32), other: (i64, u32)) -> bool {
    one.0.abs_diff(other.0) <= 2
}

pub(super) fn times(scratch: &Scratch) -> Result<Found> {
    let found = file_of(scratch, ODD)?;
    Ok(Found::yes_if(is_near(found, ODD), OTHER))
}

const OTHER: &str = "it is accepted, but the time is another one afterwards";

pub(super) fn step(scratch: &Scratch) -> Result<Found> {
    let found = file_of(scratch, ODD)?;
    let Some(step) = step_of(ODD, found) else { return Ok(Found::Untried("times can't be set".into())) };
    Ok(match step {
        UNKNOWN_STEP => Found::No(format!("{}, to which sync knows no file system to round", length(step))),
        step => Found::Nanoseconds(step),
    })
}

/// The finest step in which a time that was set as one and came back as another is the same.
fn step_of(set: (i64, u32), found: (i64, u32)) -> Option<u64> {
    let nanoseconds = |time: (i64, u32)| i128::from(time.0) * 1_000_000_000 + i128::from(time.1);
    let (set, found) = (nanoseconds(set), nanoseconds(found));
    STEPS
        .into_iter()
        .find(|&step| found % i128::from(step) == 0 && (set - found).unsigned_abs() < step.into())
}

pub(super) fn range(scratch: &Scratch) -> Result<Found> {
    let file = scratch.file(FILE)?;
    let mut held = Vec::new();
    for (year, seconds) in YEARS {
        // A refusal, and a time that is bent to the nearest that there is, are the same to a user.
        let is_held = set(&file, (seconds, 0)).is_ok() && is_near(time(scratch, FILE)?, (seconds, 0));
        held.push((year, is_held));
    }
    Ok(range_of(&held))
}

/// The years around 2037 that are held, and whether they are enough.
fn range_of(held: &[(u32, bool)]) -> Found {
    let middle = held.iter().position(|(year, is_held)| *year == 2037 && *is_held);
    let Some(middle) = middle else { return Found::Untried("times can't be set".into()) };
    let first = held[..middle].iter().rev().take_while(|(_, is_held)| *is_held).last();
    let last = held[middle..].iter().take_while(|(_, is_held)| *is_held).last();
    let first = first.map_or(2037, |(year, _)| *year);
    let last = last.map_or(2037, |(year, _)| *year);
    let text = format!("{first} to {last}");
    match first <= *WANTED.start() && last >= *WANTED.end() {
        true => Found::Text(text),
        false => Found::No(format!("only {text}")),
    }
}

/// Whether a file that was written keeps its time when it is closed, and when it gets another name: some servers write later.
pub(super) fn kept(scratch: &Scratch) -> Result<Found> {
    let file = scratch.file(FILE)?;
    rustix::io::write(&file, b"contents")?;
    set(&file, ODD)?;
    let before = time(scratch, FILE)?;
    drop(file);
    let closed = time(scratch, FILE)?;
    rustix::fs::renameat(scratch, FILE, scratch, "renamed")?;
    scratch.mark_made("renamed");
    let renamed = time(scratch, "renamed")?;
    Ok(match () {
        () if closed != before => Found::No("closing the file changes it".into()),
        () if renamed != before => Found::No("renaming the file changes it".into()),
        () => Found::Yes,
    })
}

pub(super) fn of_directories(scratch: &Scratch) -> Result<Found> {
    let name = "directory";
    scratch.directory(name)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory: OwnedFd = rustix::fs::openat(scratch, name, flags, rustix::fs::Mode::empty())?;
    set(&directory, ODD)?;
    drop(directory);
    // Symlinks are set by their names.
    rustix::fs::utimensat(scratch, name, &modified(ODD), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Found::yes_if(is_near(time(scratch, name)?, ODD), OTHER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_steps() {
        let (second, all) = ODD;
        for (found, step) in [
            ((second, all), Some(1)),
            ((second, 123_456_700), Some(100)),
            ((second, 123_456_800), Some(100)), // rounded, not cut
            ((second, 123_456_000), Some(1_000)),
            ((second, 123_000_000), Some(1_000_000)),
            ((second, 120_000_000), Some(10_000_000)),
            ((second, 0), Some(1_000_000_000)),
            ((second - 1, 0), Some(2_000_000_000)),
            ((second + 1, 0), Some(1_000_000_000)),
            ((second + 100, 0), None),
        ] {
            assert_eq!(step_of(ODD, found), step, "{found:?}");
        }
    }

    #[test]
    fn the_table_of_years() {
        let range = |first: u32, last: u32| {
            let held: Vec<_> = YEARS.iter().map(|(year, _)| (*year, (first..=last).contains(year))).collect();
            range_of(&held)
        };
        let text = |text: &str| Found::Text(text.into());
        assert_eq!(range(1901, 2446), text("1901 to 2400"));
        assert_eq!(range(0, 9999), text("1901 to 2500"));
        assert_eq!(range(1970, 2106), text("1970 to 2105"));
        assert_eq!(range(1901, 2038), Found::No("only 1901 to 2037".into()));
        assert_eq!(range(1980, 2107), Found::No("only 1980 to 2107".into()));
        assert!(matches!(range(1, 2), Found::Untried(_)));
    }

    #[test]
    fn each_moment_is_in_its_year() {
        for (year, seconds) in YEARS {
            let time = jiff::Timestamp::from_second(seconds).unwrap().to_string();
            assert!(time.starts_with(&year.to_string()), "{year}: {time}");
        }
    }
}
