//! A strict reader of OpenMetrics text, written from its specification: what it lets pass, every
//! other reader should.

use std::collections::{BTreeMap, BTreeSet};

/// A whole page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Families by name.
    pub(crate) families: BTreeMap<String, Family>,
    /// Values by name and labels.
    series: BTreeMap<(String, Labels), f64>,
}

/// What is said of a family.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: Option<String>,
    pub(crate) unit: Option<String>,
}

type Labels = BTreeMap<String, String>;

/// Splits the name off the start of `text`.
fn name(text: &str) -> Result<(&str, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        true => Ok((name, rest)),
        false => Err(format!("no name at `{text}`")),
    }
}

/// Splits labels off the start of `text`.
fn labels(text: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Ok((labels, text)) };
    loop {
        let (key, behind) = name(rest)?;
        let behind = behind.strip_prefix("=\"").ok_or_else(|| format!("no value at `{behind}`"))?;
        let mut value = String::new();
        let mut characters = behind.char_indices();
        let end = loop {
            match characters.next().ok_or("a value without an end")? {
                (at, '"') => break at,
                (_, '\\') => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => value.push(c),
                    other => return Err(format!("escape {other:?}")),
                },
                (_, c) => value.push(c),
            }
        };
        if labels.insert(key.into(), value).is_some() {
            return Err(format!("label `{key}` comes twice"));
        }
        rest = &behind[end + 1..];
        match (rest.strip_prefix(','), rest.strip_prefix('}')) {
            (Some(more), _) => rest = more,
            (None, Some(end)) => return Ok((labels, end)),
            (None, None) => return Err(format!("neither `,` nor `}}` at `{rest}`")),
        }
    }
}

/// What may follow the name of a family of this kind in the name of a sample.
fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        _ => &[],
    }
}

impl Page {
    /// Reads `text`.
    #[track_caller]
    pub(crate) fn read(text: &str) -> Self {
        let mut page = Self { families: BTreeMap::new(), series: BTreeMap::new() };
        let body = text.strip_suffix("# EOF\n").expect("`# EOF` at the end");
        assert!(body.is_empty() || body.ends_with('\n'), "the last line has no end");
        let mut current = String::new();
        for line in body.lines() {
            if let Err(problem) = page.line(line, &mut current) {
                panic!("{problem}, in `{line}`");
            }
        }
        page.check_histograms();
        page
    }

    fn line(&mut self, line: &str, current: &mut String) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# ") {
            let (what, rest) = rest.split_once(' ').ok_or("a comment")?;
            let (family, rest) = name(rest)?;
            let text = rest.strip_prefix(' ').ok_or("no text")?.to_owned();
            return self.metadata(what, family, text, current);
        }
        let (sample, rest) = name(line)?;
        let (labels, rest) = labels(rest)?;
        let value = rest.strip_prefix(' ').ok_or("no value")?;
        let value: f64 = match value {
            "+Inf" | "NaN" | "-Inf" => return Err("no number".into()),
            value => value.parse().map_err(|_| format!("`{value}` is no number"))?,
        };
        let kind = self.families.get(current).map(|it| it.kind.clone()).ok_or("no family")?;
        let suffix = sample.strip_prefix(current.as_str()).ok_or("a sample of another family")?;
        if !suffixes(&kind).contains(&suffix) {
            return Err(format!("`{suffix}` behind a {kind}"));
        }
        if labels.contains_key("le") != (suffix == "_bucket") {
            return Err("`le` is for buckets".into());
        }
        if kind != "gauge" && value.is_sign_negative() {
            return Err("below zero".into());
        }
        match self.series.insert((sample.into(), labels), value) {
            None => Ok(()),
            Some(_) => Err("a series that comes twice".into()),
        }
    }

    fn metadata(
        &mut self,
        what: &str,
        family: &str,
        text: String,
        current: &mut String,
    ) -> Result<(), String> {
        if family != current {
            if self.families.contains_key(family) {
                return Err("a family in two places".into());
            }
            self.families.insert(family.into(), Family::default());
            *current = family.into();
        }
        let entry = self.families.get_mut(family).ok_or("no family")?;
        let again = match what {
            "HELP" => entry.help.replace(text).is_some(),
            "TYPE" => {
                let known = !suffixes(&text).is_empty();
                !known || !std::mem::replace(&mut entry.kind, text).is_empty()
            }
            "UNIT" => {
                let fits = family.ends_with(&format!("_{text}"));
                !fits || entry.unit.replace(text).is_some()
            }
            _ => true,
        };
        if again { Err(format!("a bad or second {what}")) } else { Ok(()) }
    }

    /// Buckets rise up to `+Inf`, which is the count.
    fn check_histograms(&self) {
        let mut all: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.series {
            if let Some(family) = name.strip_suffix("_bucket") {
                let mut labels = labels.clone();
                let bound = labels.remove("le").expect("checked");
                let bound =
                    if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("le") };
                all.entry((family.into(), labels)).or_default().push((bound, *value));
            }
        }
        for ((family, labels), mut buckets) in all {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{family} {labels:?}");
            let last = buckets.last().expect("one");
            let count = self.series.get(&(format!("{family}_count"), labels.clone()));
            assert_eq!((last.0, Some(&last.1)), (f64::INFINITY, count), "{family} {labels:?}");
            assert!(self.series.contains_key(&(format!("{family}_sum"), labels)), "{family}");
        }
    }

    /// The value of a series, given all its labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.series.get(&(name.into(), labels)).copied()
    }

    /// The sum of all series of this name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.series.iter().filter(|((it, _), _)| it == name).map(|(_, value)| value).sum()
    }

    /// Number of series with labels.
    pub(crate) fn labelled(&self) -> usize {
        self.series.keys().filter(|(_, labels)| !labels.is_empty()).count()
    }

    /// Values of what only grows, by name and labels.
    pub(crate) fn growing(&self) -> impl Iterator<Item = (&(String, Labels), f64)> {
        let ends = ["_total", "_bucket", "_count"];
        let grows = move |name: &str| ends.iter().any(|end| name.ends_with(end));
        self.series
            .iter()
            .filter(move |((name, _), _)| grows(name))
            .map(|(key, value)| (key, *value))
    }

    /// The values that a label has, anywhere.
    pub(crate) fn values_of(&self, label: &str) -> BTreeSet<&str> {
        self.series.keys().filter_map(|(_, labels)| Some(labels.get(label)?.as_str())).collect()
    }
}

#[test]
fn reader_refuses_what_the_specification_does() {
    let rows = [
        "# TYPE a counter\na_total 1\n",
        "# TYPE a counter\na 1\n# EOF\n",
        "# TYPE a counter\na_total -1\n# EOF\n",
        "# TYPE a counter\na_total 1\na_total 1\n# EOF\n",
        "# TYPE a counter\na_total{b=\"1\",b=\"2\"} 1\n# EOF\n",
        "# TYPE a counter\na_total{b=\"1} 1\n# EOF\n",
        "# TYPE a gauge\na x\n# EOF\n",
        "# TYPE a nonsense\n# EOF\n",
        "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\n# EOF\n",
        "# TYPE a gauge\nb 1\n# EOF\n",
        "# TYPE a gauge\n# UNIT a seconds\na 1\n# EOF\n",
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n# EOF\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n\
         # EOF\n",
    ];
    for text in rows {
        assert!(std::panic::catch_unwind(|| Page::read(text)).is_err(), "passed:\n{text}");
    }
    let page = Page::read("# TYPE a counter\n# HELP a b\na_total{b=\"\\\"x\\\\\"} 1.5\n# EOF\n");
    assert_eq!(page.value("a_total", &[("b", "\"x\\")]), Some(1.5));
}
