//! `ringsync sync --fsync` against `rsync -a --fsync` on a real disk: 10,000 files of 4 KiB, in turn, medians and their
//! ratio. It guards what makes flushing quick, many flushes at once. `RINGSYNC_BENCH_DIR` names a directory on the disk
//! that is meant; without it the build's own directory is used.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FILES: usize = 10_000;
const TURNS: usize = 5;

fn build(source: &Path) {
    for index in 0..FILES {
        let directory = source.join(format!("d{}", index / 500));
        fs::create_dir_all(&directory).unwrap();
        let byte = index as u8;
        fs::write(directory.join(format!("file{index}")), vec![byte; 4096]).unwrap();
    }
}

/// The time of a command that copies `source` to a new directory, everything before it being on the disk.
fn time(command: &mut Command, source: &Path, destination: &Path) -> Duration {
    rustix::fs::sync();
    let begun = Instant::now();
    let status = command.arg(source.join("")).arg(destination).stdout(Stdio::null()).status().unwrap();
    let taken = begun.elapsed();
    assert!(status.success(), "{command:?}");
    taken
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let place = std::env::var_os("RINGSYNC_BENCH_DIR").map(PathBuf::from);
    let place = place.unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let home = tempfile::tempdir_in(place).unwrap();
    let source = home.path().join("src");
    build(&source);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let mut ringsync = Command::new(env!("CARGO_BIN_EXE_ringsync"));
        ringsync.args(["sync", "-q", "--fsync"]);
        ours.push(time(&mut ringsync, &source, &home.path().join(format!("ringsync{turn}"))));
        let mut rsync = Command::new("rsync");
        rsync.args(["-a", "--fsync"]);
        theirs.push(time(&mut rsync, &source, &home.path().join(format!("rsync{turn}"))));
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!(
        "{FILES} files of 4 KiB, flushed: ringsync {:.2} s, rsync {:.2} s, {:.1} times as long",
        ours.as_secs_f64(),
        theirs.as_secs_f64(),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
}
