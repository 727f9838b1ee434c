//! The closing table of `--stats`.

use std::fmt::Write as _;

use indicatif::{BinaryBytes, HumanCount};

use super::event::{Action, Mode, Totals};

/// A line for each figure, labels to the left.
pub fn table(totals: &Totals, mode: Mode) -> String {
    let mut text = String::new();
    let mut row = |label: &str, value: String| {
        // Writing to a string can't fail.
        writeln!(text, "{label:<18}{value:>16}").ok();
    };
    row("entries found", HumanCount(totals.found).to_string());
    for action in Action::ALL {
        row(mode.word(action), HumanCount(totals.count(action)).to_string());
    }
    row("errors", HumanCount(totals.errors).to_string());
    row("link limits met", HumanCount(totals.link_limits).to_string());
    row(
        if mode == Mode::Check { "bytes compared" } else { "bytes copied" },
        HumanCount(totals.bytes).to_string(),
    );
    row("bytes hashed", HumanCount(totals.bytes_hashed).to_string());
    row("rate", format!("{}/s", BinaryBytes(totals.rate())));
    row("elapsed", format!("{:.3} s", totals.elapsed.as_secs_f64()));
    if let Some(peak) = peak_memory() {
        row("peak memory, KiB", HumanCount(peak).to_string());
    }
    text.truncate(text.trim_end().len());
    text
}

/// The most memory this process ever held, in KiB (proc_pid_status(5), `VmHWM`).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
