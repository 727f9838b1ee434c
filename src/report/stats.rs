//! The closing table of `--stats`.

use std::fmt::Write as _;

use crate::report::number_format::NumberFormat;
use ringsync::event::{Action, Mode, Totals};

/// A line for each figure, labels to the left.
pub fn table(totals: &Totals, mode: Mode, figures: NumberFormat) -> String {
    let mut text = String::new();
    // A check's words are longer: "different in metadata".
    let width = if mode == Mode::Check { 22 } else { 18 };
    let mut row = |label: &str, value: String| {
        // Writing to a string can't fail.
        writeln!(text, "{label:<width$}{value:>16}").ok();
    };
    // A column of bare numbers, where these are for programs.
    let size =
        |bytes| if figures == NumberFormat::Human { figures.bytes(bytes) } else { figures.count(bytes) };
    row("entries found", figures.count(totals.found));
    for action in Action::ALL {
        row(mode.word(action), figures.count(totals.count(action)));
    }
    row("errors", figures.count(totals.errors));
    row("link limits met", figures.count(totals.link_limits));
    row("links refused", figures.count(totals.links_refused));
    row("grew", figures.count(totals.grew));
    row("changing", figures.count(totals.changing));
    row("size of files", size(totals.source_bytes));
    row(if mode == Mode::Check { "bytes compared" } else { "bytes copied" }, size(totals.bytes));
    row("bytes hashed", size(totals.bytes_hashed));
    row("rate", format!("{}/s", figures.bytes(totals.rate())));
    row("elapsed", format!("{:.3} s", totals.elapsed.as_secs_f64()));
    if let Some(peak) = peak_memory() {
        row("peak memory, KiB", figures.count(peak));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_each_kind_of_run_stand_in_one_column() {
        for (mode, width) in [(Mode::Sync, 34), (Mode::DryRun, 34), (Mode::Check, 38)] {
            let text = table(&Totals::default(), mode, NumberFormat::Plain);
            assert!(text.lines().all(|line| line.chars().count() == width), "{text}");
        }
    }
}
