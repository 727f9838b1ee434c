//! The tables for people.

use std::fmt;

use indicatif::{BinaryBytes, HumanCount};

use crate::bench::machine::FileSystem;
use crate::bench::report::{Cell, Report, ToolInfo, ToolResult};
use crate::bench::spread::Trust;

const HEAD: [&str; 7] = ["tool", "median", "min .. max", "CPU", "peak memory", "x ringsync", "not kept"];

/// What it was measured on, as a heading to the tables.
pub(crate) fn heading(report: &Report) -> String {
    let machine = &report.machine;
    let processor = machine.processor.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let system =
        |name: &str, at: &FileSystem| format!("{name}: {} on {} ({})", at.kind, at.device, at.options);
    let mut lines = vec![
        format!("ringsync {} bench, {}", report.ringsync, machine.date),
        format!(
            "{}, {} cores{processor}, {} of memory",
            machine.kernel,
            machine.cores,
            BinaryBytes(machine.memory)
        ),
        system("copies on", &machine.destination),
    ];
    if machine.source != machine.destination {
        lines.push(system("source on", &machine.source));
    }
    lines.extend(report.tools.iter().map(tool));
    lines.join("\n")
}

fn tool(tool: &ToolInfo) -> String {
    let version = tool.version.as_deref().unwrap_or("version unknown");
    let calls: Vec<&str> =
        [tool.copy.as_deref(), tool.update.as_deref().filter(|_| tool.copy != tool.update)]
            .into_iter()
            .flatten()
            .collect();
    format!("{}: {version}; `{}`; {}", tool.name, calls.join("`, to update `"), tool.remark)
}

/// The title of a table: what was copied, and how.
pub(crate) fn title(cell: &Cell) -> String {
    let changed = match cell.changed {
        0 => String::new(),
        count => format!(", {} changed", HumanCount(count)),
    };
    format!("{}: {} entries, {}{changed}", cell.title(), HumanCount(cell.entries), BinaryBytes(cell.bytes))
}

/// The fields of a table, with its head.
pub(crate) fn rows(cell: &Cell) -> Vec<Vec<String>> {
    let head = HEAD.map(String::from).to_vec();
    std::iter::once(head).chain(cell.results.iter().map(row)).collect()
}

/// Two fields alone where there are no figures.
fn row(result: &ToolResult) -> Vec<String> {
    if let Some(fault) = &result.fault {
        return vec![result.tool.into(), fault.text()];
    }
    let (Some(wall), Some(cpu), Some((peak, is_floor)), Some(trust)) =
        (result.wall(), result.cpu(), result.peak(), result.trust())
    else {
        return vec![result.tool.into(), "not measured".into()];
    };
    vec![
        result.tool.into(),
        format!("{:.3} s{:1}", wall.median, trust.mark().0),
        format!("{:.3} .. {:.3}", wall.min, wall.max),
        format!("{:.2} s", cpu.median),
        format!("{}{}", if is_floor { "< " } else { "" }, BinaryBytes(peak)),
        result.times_ringsync.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        result.not_kept.join(", "),
    ]
}

/// What the marks mean that are in the tables.
pub(crate) fn legend(report: &Report) -> Vec<String> {
    let results = || report.cells.iter().flat_map(|cell| &cell.results);
    let marks =
        [Trust::Noisy, Trust::TooFew].into_iter().filter(|&mark| results().any(|r| r.trust == Some(mark)));
    let mut lines: Vec<String> =
        marks.map(|trust| format!("{}  {}", trust.mark().0, trust.mark().1)).collect();
    if results().filter_map(ToolResult::peak).any(|(_, is_floor)| is_floor) {
        lines.push("<  no more than what is counted from before the tool starts".into());
    }
    if report.interrupted {
        lines.push("interrupted: there would have been more".into());
    }
    lines
}

/// The whole report as text.
pub(crate) struct Text<'a>(pub(crate) &'a Report);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", heading(self.0))?;
        for cell in &self.0.cells {
            writeln!(f, "\n{}", title(cell))?;
            write_aligned(f, &rows(cell))?;
        }
        let legend = legend(self.0);
        if !legend.is_empty() {
            writeln!(f, "\n{}", legend.join("\n"))?;
        }
        Ok(())
    }
}

/// Writes fields below each other, the first and the last to the left, figures to the right. Where a row has fewer, its
/// last field runs on over the others.
fn write_aligned(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let full = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..full)
        .map(|column| {
            let fields = rows.iter().filter(|row| row.len() == full || column == 0);
            fields.map(|row| row[column].chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, (field, &width)) in row.iter().zip(&widths).enumerate() {
            line += &match column {
                0 => format!("{field:<width$}"),
                _ if column + 1 == row.len() => format!("  {field}"),
                _ => format!("  {field:>width$}"),
            };
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::sample;

    #[test]
    fn a_table_has_a_line_a_tool_and_says_what_to_doubt() {
        let report = sample();
        let text = Text(&report).to_string();
        let (_, table) = text.split_once("\n\n").unwrap();
        assert_eq!(
            table,
            "small, fresh, warm: 1,234 entries, 1.00 MiB\n\
             tool        median      min .. max     CPU  peak memory  x ringsync  not kept\n\
             ringsync  2.000 s   1.900 .. 2.100  0.50 s   < 9.00 MiB        1.00\n\
             rsync     4.000 s!  3.000 .. 9.000  0.50 s   < 9.00 MiB        2.00  hard links, holes\n\
             xcp       wrong: a,\"b\"\\u{1b}: is missing\n\
             \n\
             !  too noisy to believe: the runs lie more than 30 % of the median apart\n\
             <  no more than what is counted from before the tool starts\n"
        );
    }
}
