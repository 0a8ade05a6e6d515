//! Findings as one page for browsers: no script, nothing to load, on a phone and in the dark.
//!
//! Start with [`render`]; the pictures are in `html/plot.rs`.

mod plot;

use std::fmt::Write;

use crate::demo::escape;

use super::findings::{Column, Findings};
use super::rows::{PARTS, Row, remarks, rows, title};

/// The whole page.
pub(super) fn render(findings: &Findings) -> String {
    // Its policy keeps the page from loading anything, whatever it might hold.
    let mut page =
        include_str!("html/head.html").replace("{style}", include_str!("html/style.css"));
    let _ = writeln!(
        page,
        "<h1>L4 and L7, side by side</h1>\n<p class=\"dim\">ringway {} on {}. Every cell was seen \
         while it happened, within {:.0} seconds.</p>",
        escape(findings.version),
        escape(&findings.machine),
        findings.seconds
    );
    let (warnings, facts): (Vec<_>, Vec<_>) =
        remarks(findings).into_iter().partition(|remark| remark.starts_with("WARNING"));
    for warning in warnings {
        let _ = writeln!(page, "<p class=\"warn\">{}</p>", escape(&warning));
    }
    page += "<div class=\"plots\">\n";
    for (heading, caption, picture) in plot::all(findings) {
        let _ = writeln!(
            page,
            "<figure><h3>{heading}</h3>\n{}{picture}\n<figcaption>{caption}</figcaption></figure>",
            legend(&findings.columns)
        );
    }
    page += "</div>\n<h2>Row by row</h2>\n";
    push_table(&mut page, findings);
    page += "<h2>How it was measured</h2>\n<ul class=\"dim\">\n";
    for fact in facts {
        let _ = writeln!(page, "<li>{}</li>", escape(&fact));
    }
    page += "</ul>\n</main>\n</body>\n</html>\n";
    page
}

fn legend(columns: &[Column]) -> String {
    let mut list = String::from("<ul class=\"legend\">");
    for column in columns {
        let _ = write!(
            list,
            "<li class=\"{}\"><svg viewBox=\"0 0 30 10\" aria-hidden=\"true\">\
             <path class=\"curve\" d=\"M0 5H30\"{}/></svg>{}</li>",
            column.name,
            plot::dashes(column.name),
            title(column)
        );
    }
    list + "</ul>\n"
}

fn push_table(page: &mut String, findings: &Findings) {
    let columns = &findings.columns;
    *page += "<table>\n<thead><tr><th></th>";
    for column in columns {
        let _ = write!(page, "<th class=\"{}\">{}</th>", column.name, title(column));
    }
    *page += "</tr></thead>\n<tbody>\n";
    for Row { id, title: heading, cells, means, pick } in rows(findings) {
        let _ = write!(page, "<tr id=\"{id}\"><th scope=\"row\">{}</th>", escape(heading));
        for (column, cell) in columns.iter().zip(cells) {
            let text = cell.map_or_else(|| "–".into(), |cell| escape(&cell));
            let _ = write!(
                page,
                "<td class=\"{}\" data-way=\"{}\">{}</td>",
                column.name,
                title(column),
                text.replace(PARTS, "<br>")
            );
        }
        let _ = writeln!(
            page,
            "</tr>\n<tr class=\"said\"><td colspan=\"{}\">{} <b>Pick:</b> {}</td></tr>",
            columns.len() + 1,
            escape(means),
            escape(pick)
        );
    }
    *page += "</tbody>\n</table>\n";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_findings_is_still_a_page() {
        let findings = Findings {
            version: "0",
            debug_build: true,
            interrupted: true,
            seconds: 0.0,
            machine: "<a> & 'b'".into(),
            load_average: None,
            cores: 2,
            placement: String::new(),
            tool: "built-in",
            targets: Vec::new(),
            path: "/".into(),
            connections: 1,
            open_rate: None,
            rounds: 0,
            notes: vec!["<script>".into()],
            columns: vec![Column { name: "l4", ..Column::default() }],
        };
        let page = render(&findings);
        assert!(page.ends_with("</html>\n") && page.contains("WARNING"), "{page}");
        assert!(page.contains("&lt;a&gt; &amp; &#39;b&#39;"), "{page}");
        assert!(!page.contains("<script") && !page.contains("NaN"), "{page}");
    }
}
