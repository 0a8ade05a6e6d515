//! The page that a target of the demo shows to browsers.
//!
//! It loads nothing, not even an icon: each further request would take a turn of the algorithm,
//! and a reload would always show the same target. All that comes from the request is escaped.
//! Start with [`render`].

use std::fmt::Write;

use axum::extract::Request;

use super::target::{DemoTarget, Site};

/// The whole page: who answered, and the request as it arrived there.
pub(super) fn render(target: &DemoTarget, request: &Request) -> String {
    let fields = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())));
    let (mut added, mut other) = (String::new(), String::new());
    for (name, value) in fields {
        let rows = if is_added(name) { &mut added } else { &mut other };
        push_row(rows, name, &value);
    }
    if added.is_empty() {
        added.push_str(NOTHING_ADDED);
    }
    let (site, name) = (target.site.title(), target.name());
    let mut page = String::with_capacity(8 * 1024);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{site} · {name}</title><link rel=\"icon\" href=\"data:,\">\
         <style>:root{{--hue:{hue}}}{STYLE}</style></head><body><main>\n\
         <nav><a href=\"/\">Home</a><a href=\"/blog\">Blog</a>\
         <a href=\"/blog/slow\">Slow blog</a></nav>\n\
         <h1>{site}</h1>\n\
         <p class=\"who\">answered by <b>{name}</b> <code>{address}</code></p>\n\
         <p>Reload: the targets of a group take turns. The address above is the target's, not the \
         one your browser is connected to.</p>\n\
         <h2>Added by ringway</h2>\n<table>{added}</table>\n\
         <h2>The rest of the request, as it arrived</h2>\n\
         <p><code>{method} {path}</code></p>\n<table>{other}</table>\n\
         </main></body></html>\n",
        hue = hue(target),
        address = target.address,
        method = escape(request.method().as_str()),
        path = escape(&request.uri().to_string()),
    );
    page
}

/// A colour for each target, as the angle of its hue, so that turns are seen at a glance.
fn hue(target: &DemoTarget) -> u32 {
    match (target.site, target.number) {
        (Site::Home, 1) => 215,
        (Site::Home, _) => 160,
        (Site::Blog, 1) => 25,
        (Site::Blog, _) => 300,
    }
}

/// Whether a balancer adds this field.
fn is_added(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == "x-amzn-trace-id"
}

fn push_row(rows: &mut String, name: &str, value: &str) {
    let _ = writeln!(rows, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
}

/// `text` as HTML, also within a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const NOTHING_ADDED: &str = "<tr><td>Nothing. Either you asked the target itself, or an L4 \
                             listener passed your connection through without reading it.</td></tr>";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2230;--dim:#667;--paper:#f5f6f8;--card:#fff;\
--line:#e3e6ec;--accent:hsl(var(--hue) 70% 38%);--wash:hsl(var(--hue) 80% 94%)}\
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ee;--dim:#99a;--paper:#12141a;--card:#1b1e27;\
--line:#2c313d;--accent:hsl(var(--hue) 75% 70%);--wash:hsl(var(--hue) 35% 17%)}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}\
main{max-width:46rem;margin:2.5rem auto;padding:2rem;background:var(--card);\
border:1px solid var(--line);border-top:6px solid var(--accent);border-radius:12px}\
nav{display:flex;gap:.5rem;flex-wrap:wrap}\
nav a{padding:.3rem .9rem;border-radius:99px;background:var(--wash);color:var(--accent);\
text-decoration:none;font-weight:600}nav a:hover{text-decoration:underline}\
h1{margin:1.4rem 0 0;font-size:2.6rem;line-height:1.1;color:var(--accent)}\
h2{margin:2rem 0 .4rem;font-size:1rem;color:var(--dim)}\
.who{margin:.5rem 0 1rem;font-size:1.25rem}.who b{color:var(--accent)}\
code,td{font-family:ui-monospace,monospace;font-size:.88rem}\
table{width:100%;border-collapse:collapse}\
th,td{padding:.4rem .6rem .4rem 0;border-top:1px solid var(--line);text-align:left;\
vertical-align:top;overflow-wrap:anywhere}\
th{width:13rem;font-weight:600;font-size:.88rem}\
@media(max-width:40rem){main{margin:0;border-radius:0;padding:1.2rem}th{width:8rem}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_html_would_read_is_escaped() {
        assert_eq!(escape("a<b>&\"c'é"), "a&lt;b&gt;&amp;&quot;c&#39;é");
    }
}
