//! The pictures: for each table a bar a tool, as long as its median, with a line from its shortest run to its longest.

use std::fmt::Write as _;

use anyhow::{Context, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::bench::report::{Cell, Report, ToolResult};
use crate::bench::{table, tools};

/// In pixels.
const WIDTH: u32 = 900;
const HEADING: u32 = 40;
const BAR: u32 = 30;
const AROUND: u32 = 90;

const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb5);
const OTHERS: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const FONT: &str = "sans-serif";

/// All tables in one picture.
pub(crate) fn svg(report: &Report) -> anyhow::Result<String> {
    let heights: Vec<u32> = report.cells.iter().map(|cell| height(bars(cell).count())).collect();
    let mut text = String::new();
    {
        let size = (WIDTH, HEADING + heights.iter().sum::<u32>());
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let machine = &report.machine;
        let line = format!(
            "ringsync {} bench: {}, {} cores, {}, {}",
            report.ringsync, machine.kernel, machine.cores, machine.destination.kind, machine.date
        );
        let (_, mut rest) = area.titled(&line, (FONT, 15)).map_err(drawing)?.split_vertically(0);
        for (cell, &height) in report.cells.iter().zip(&heights) {
            let (part, below) = rest.split_vertically(height);
            draw(cell, &part)?;
            rest = below;
        }
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

fn height(bars: usize) -> u32 {
    AROUND + BAR * u32::try_from(bars).unwrap_or(0)
}

/// The tools that have figures, the last to be drawn first: the axis goes upwards.
fn bars(cell: &Cell) -> impl Iterator<Item = &ToolResult> {
    cell.results.iter().rev().filter(|result| result.wall().is_some())
}

fn draw(cell: &Cell, area: &DrawingArea<SVGBackend<'_>, Shift>) -> anyhow::Result<()> {
    let results: Vec<&ToolResult> = bars(cell).collect();
    let longest = results.iter().filter_map(|result| result.wall()).map(|wall| wall.max).fold(0.0, f64::max);
    if results.is_empty() || longest <= 0.0 {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .caption(table::title(cell), (FONT, 16))
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..longest * 1.15, (0..results.len() - 1).into_segmented())
        .map_err(drawing)?;
    let name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(index) => results.get(*index).map(|result| result.tool.to_string()),
        _ => None,
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().x_desc("seconds").y_labels(results.len()).light_line_style(TRANSPARENT);
    mesh.y_label_formatter(&|at| name(at).unwrap_or_default())
        .label_style((FONT, 13))
        .draw()
        .map_err(drawing)?;
    for (index, result) in results.iter().enumerate() {
        let Some(wall) = result.wall() else { continue };
        let color = if result.tool == tools::OURS { OURS } else { OTHERS };
        let middle = SegmentValue::CenterOf(index);
        let high =
            if index + 1 < results.len() { SegmentValue::Exact(index + 1) } else { SegmentValue::Last };
        let mut bar =
            Rectangle::new([(0.0, SegmentValue::Exact(index)), (wall.median, high)], color.filled());
        bar.set_margin(5, 5, 0, 0);
        let whisker = PathElement::new([(wall.min, middle.clone()), (wall.max, middle.clone())], BLACK);
        let words = words(result);
        let label = Text::new(words, (wall.max + longest * 0.01, middle), (FONT, 13));
        chart.draw_series([bar]).map_err(drawing)?;
        chart.draw_series([whisker]).map_err(drawing)?;
        chart.draw_series([label]).map_err(drawing)?;
    }
    Ok(())
}

/// What stands beside a bar.
fn words(result: &ToolResult) -> String {
    let mark = result.trust().map(|trust| trust.mark().0).unwrap_or_default();
    result.times_ringsync.map(|ratio| format!("x {ratio:.2} {mark}")).unwrap_or_default()
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("draw the plots: {error}")
}

/// A page that needs no other file.
pub(crate) fn html(report: &Report) -> anyhow::Result<String> {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>ringsync bench</title>\n<style>\n\
         body { font-family: sans-serif; margin: 2em; }\ntable { border-collapse: collapse; margin-bottom: 2em; }\n\
         th, td { padding: 0.2em 0.8em; border-bottom: 1px solid #ccc; text-align: right; }\n\
         th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }\n\
         svg { max-width: 100%; height: auto; }\n</style></head><body>\n<h1>ringsync bench</h1>\n",
    );
    let put = |page: &mut String, text: std::fmt::Arguments<'_>| page.write_fmt(text).context("write HTML");
    put(&mut page, format_args!("<pre>{}</pre>\n", escaped(&table::heading(report))))?;
    put(&mut page, format_args!("{}\n", svg(report)?))?;
    for cell in &report.cells {
        put(&mut page, format_args!("<h2>{}</h2>\n<table>\n", escaped(&table::title(cell))))?;
        let rows = table::rows(cell);
        let columns = rows.first().map_or(0, Vec::len);
        for (index, row) in rows.iter().enumerate() {
            let tag = if index == 0 { "th" } else { "td" };
            page.push_str("<tr>");
            for (at, field) in row.iter().enumerate() {
                let span = if at + 1 == row.len() { columns - at } else { 1 };
                put(&mut page, format_args!("<{tag} colspan=\"{span}\">{}</{tag}>", escaped(field)))?;
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</table>\n");
    }
    put(
        &mut page,
        format_args!("<pre>{}</pre>\n</body></html>\n", escaped(&table::legend(report).join("\n"))),
    )?;
    Ok(page)
}

/// Text in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::sample;

    #[test]
    fn the_picture_has_every_tool_with_figures() {
        let text = svg(&sample()).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        for word in ["ringsync", "rsync", "x 2.00 !", "small, fresh, warm: 1,234 entries"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("xcp"), "it has no figures");
    }

    #[test]
    fn a_report_without_figures_can_be_drawn() {
        let mut report = sample();
        report.cells[0].results.clear();
        assert!(svg(&report).unwrap().ends_with("</svg>\n"));
        report.cells.clear();
        assert!(svg(&report).unwrap().ends_with("</svg>\n"));
    }

    #[test]
    fn the_page_has_tables_and_pictures_and_no_foreign_markup() {
        let mut report = sample();
        report.cells[0].results[1].fault = Some(crate::bench::report::Fault::Wrong("<script>".into()));
        let text = html(&report).unwrap();
        assert!(
            text.contains("<svg") && text.contains("wrong: &lt;script&gt;") && !text.contains("<script>")
        );
        assert_eq!(text.matches("<tr>").count(), 4);
    }
}
