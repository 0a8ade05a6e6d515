//! Where output goes and how it looks: colours, widths and numbers.

use std::io::{self, Write};

use crate::config::Color;

/// Most columns of a line: what every terminal has.
pub(super) const COLUMNS: usize = 80;

/// Where output goes.
pub(super) struct Output<'o> {
    pub(super) out: &'o mut dyn Write,
    pub(super) color: Color,
    pub(super) is_terminal: bool,
}

impl Output<'_> {
    /// Writes `text` at once.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

/// A colour of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Bold,
    Dim,
    Good,
    Doubtful,
    Bad,
}

/// `text` in `tone`.
pub(super) fn paint(color: Color, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Bold => "1",
        Tone::Dim => "2",
        Tone::Good => "32",
        Tone::Doubtful => "33",
        Tone::Bad => "31",
    };
    match color {
        Color::On => format!("\x1b[{code}m{text}\x1b[0m"),
        Color::Off => text.into(),
    }
}

/// The tone of a health state.
pub(super) fn tone_of(state: &str) -> Tone {
    match state {
        "healthy" => Tone::Good,
        "unhealthy" => Tone::Bad,
        "initial" | "draining" | "ejected" => Tone::Doubtful,
        // `unused`, and what a newer server may tell.
        _ => Tone::Dim,
    }
}

/// `n` in at most six characters.
pub(super) fn count(n: u64) -> String {
    const STEPS: [(u64, &str); 4] =
        [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    if n < 100_000 {
        return n.to_string();
    }
    let step = STEPS.iter().find(|(size, _)| n >= *size);
    step.map_or_else(String::new, |(size, unit)| format!("{:.1}{unit}", n as f64 / *size as f64))
}

/// `us` microseconds, with three digits that matter.
pub(super) fn time(us: u64) -> String {
    let (value, unit) = match us {
        0..1_000 => return format!("{us}us"),
        1_000..1_000_000 => (us as f64 / 1e3, "ms"),
        _ => (us as f64 / 1e6, "s"),
    };
    if value < 10.0 {
        format!("{value:.2}{unit}")
    } else if value < 100.0 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

/// `seconds` as its two greatest units.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut words = Vec::new();
    for (size, unit) in &units[first..units.len().min(first + 2)] {
        words.push(format!("{}{unit}", rest / size));
        rest %= size;
    }
    words.join(" ")
}

/// `text` in lines of at most [`COLUMNS`], each begun with `indent` spaces; further ones have two
/// more. Words that are too long are cut.
pub(super) fn wrap(text: &str, indent: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = " ".repeat(indent);
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let needed = word.chars().count() + usize::from(!is_empty);
        if !is_empty && line.chars().count() + needed > COLUMNS {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent + 2)));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&fit(word, COLUMNS - indent - 2));
        is_empty = false;
    }
    lines.push(line);
    lines
}

/// `text` in at most `width` characters, without control characters.
pub(super) fn fit(text: &str, width: usize) -> String {
    let clean = || text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    if clean().count() <= width {
        return clean().collect();
    }
    clean().take(width.saturating_sub(1)).chain(['…']).collect()
}
