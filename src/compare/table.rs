//! Findings on a terminal.

use std::fmt::Write;

use comfy_table::presets::UTF8_FULL;
use comfy_table::{ContentArrangement, Table};

use super::findings::Findings;
use super::rows::{self, PARTS, remarks, rows};

/// Width where the terminal does not tell.
const WIDTH: u16 = 120;
/// Narrower, words would be torn.
const WIDTH_MIN: u16 = 60;

/// The table, and below it what is to be known of it.
pub(super) fn render(findings: &Findings) -> String {
    let width = terminal_size::terminal_size().map_or(WIDTH, |(width, _)| width.0);
    let mut table = Table::new();
    table.load_style(UTF8_FULL);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(WIDTH_MIN));
    let names = findings.columns.iter().map(rows::title);
    table.set_header(std::iter::once("").chain(names));
    for row in rows(findings) {
        let cells = row.cells.into_iter().map(|cell| cell.map_or_else(|| "–".into(), lines));
        table.add_row(std::iter::once(row.title.to_owned()).chain(cells));
    }
    let mut text = format!("{table}\n");
    for remark in remarks(findings) {
        let _ = writeln!(text, "{remark}");
    }
    text
}

fn lines(cell: String) -> String {
    cell.replace(PARTS, "\n")
}
