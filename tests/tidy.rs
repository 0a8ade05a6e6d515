//! Holds the rules of `ARCHITECTURE.md` that a program can check: which room uses which, where
//! `unsafe` may stand, what the pure rooms may not name, sizes, words.
//!
//! The tables below are the rules. A list that allows an exception gives its reason and is a
//! ratchet: an entry that is no longer needed fails the test, so lists shrink and never grow by
//! themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may name. `ARCHITECTURE.md` shows the same table.
const ROOMS: &[(&str, &[&str])] = &[
    ("message", &[]),
    ("model", &[]),
    ("metrics", &[]),
    ("exposition", &["metrics"]),
    ("cli", &[]),
    ("log", &[]),
    ("routing", &["message", "model"]),
    ("balance", &["model"]),
    ("health", &["model"]),
    ("stickiness", &["message", "model"]),
    ("http1", &["message", "model"]),
    ("http2", &["http1", "model"]),
    ("proxy_protocol", &["model"]),
    ("client_hello", &[]),
    ("access_log", &["http1", "message", "model"]),
    ("tls", &["model"]),
    (
        "snapshot",
        &[
            "access_log",
            "balance",
            "health",
            "log_writer",
            "metrics",
            "model",
            "routing",
            "span",
            "stickiness",
            "tls",
        ],
    ),
    ("span", &["message"]),
    ("net", &["model"]),
    ("log_writer", &["model", "net"]),
    ("mailbox", &["metrics", "net", "snapshot"]),
    (
        "proxy",
        &[
            "access_log",
            "client_hello",
            "http1",
            "http2",
            "log_writer",
            "message",
            "metrics",
            "model",
            "net",
            "proxy_protocol",
            "routing",
            "snapshot",
            "span",
            "stickiness",
            "tls",
        ],
    ),
    ("worker", &["log_writer", "mailbox", "metrics", "net", "proxy", "snapshot", "span"]),
    ("config", &["model", "tls"]),
    ("overlay", &["config"]),
    (
        "control",
        &[
            "access_log",
            "config",
            "exposition",
            "health",
            "log_writer",
            "mailbox",
            "metrics",
            "model",
            "net",
            "overlay",
            "proxy",
            "snapshot",
            "span",
            "stickiness",
            "tls",
            "worker",
        ],
    ),
    ("client", &["cli", "config", "control", "log"]),
    ("demo", &[]),
    ("compare", &["cli", "demo", "http1", "message", "model", "net", "platform"]),
    ("platform", &["model", "net"]),
    (
        "doctor",
        &["cli", "client", "config", "control", "health", "model", "net", "overlay", "stickiness"],
    ),
    ("lib", &[]),
    (
        "main",
        &[
            "cli", "client", "compare", "config", "control", "demo", "doctor", "log", "overlay",
            "platform",
        ],
    ),
];

/// Rooms that turn values into values: no I/O, no clock, no randomness.
const PURE: &[&str] = &[
    "message",
    "model",
    "routing",
    "balance",
    "health",
    "stickiness",
    "http1",
    "http2",
    "proxy_protocol",
    "client_hello",
    "access_log",
    "span",
    "tls",
];
/// Files of these rooms that are not pure: path, reason.
const IMPURE_FILES: &[(&str, &str)] = &[
    ("src/stickiness/keys.rs", "keeps keys in a file; called by control only"),
    ("src/stickiness/keys/error.rs", "what can go wrong with that file"),
];

/// What a pure room may not name.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "fastrand",
    "getrandom",
    "libc",
    "monoio",
    "socket2",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "tokio",
    "tracing",
];

/// Crates that only some rooms may name.
const CRATES: &[(&str, &[&str])] = &[
    ("monoio", &["net"]),
    ("io_uring", &["net"]),
    ("socket2", &["net", "compare", "control", "demo"]),
    ("h2", &["control", "http2"]),
    ("httparse", &["http1"]),
    ("rustls", &["tls"]),
    ("x509_parser", &["tls"]),
    ("rcgen", &["demo"]),
    ("toml", &["client", "config", "overlay"]),
    ("serde", &["client", "compare", "config", "control", "doctor", "overlay"]),
    ("schemars", &["config"]),
    ("axum", &["control", "demo"]),
    ("clap", &["cli", "main"]),
    ("prometheus_client", &["exposition"]),
    ("tokio", &["client", "compare", "control", "demo", "doctor", "mailbox", "proxy", "worker"]),
];

/// Longest file, tests not counted.
const FILE_LINES_MAX: usize = 800;
/// Files beyond this are on the list below.
const FILE_LINES_USUAL: usize = 450;
/// Files between the two bounds: path, most lines, reason.
const LONG_FILES: &[(&str, usize, &str)] =
    &[("src/model.rs", 740, "every noun of the configuration, and no logic")];

/// Longest function.
const FUNCTION_LINES_MAX: usize = 70;
/// Functions beyond it: path, name, most lines, reason.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

/// Words that have a better one (whole words, letters in any case), and what to say instead.
const WORDS: &[(&str, &str)] = &[
    ("upstream", "target"),
    ("downstream", "client"),
    ("backend", "target"),
    ("backends", "targets"),
    ("frontend", "listener"),
    ("vip", "listener"),
    ("lameduck", "draining"),
    ("whitelist", "allow-list"),
    ("blacklist", "deny-list"),
    ("master", "control"),
    ("slave", "worker"),
    ("reactor", "worker"),
    ("passthrough", "tunnel"),
    ("middleware", "a function call"),
    ("utils", "the noun of what it does"),
    ("helper", "the noun of what it does"),
    ("helpers", "the noun of what it does"),
    ("fixme", "an issue"),
    ("xxx", "an issue"),
];
/// Where such a word is right: path, text of the line, reason.
const WORDS_ALLOWED: &[(&str, &str, &str)] = &[
    ("src/exposition/aws.rs", "aws_elb_backend_connection_errors_sum", "the name of a metric"),
    ("src/exposition/tests.rs", "aws_elb_backend_connection_errors_sum", "the name of a metric"),
    ("src/balance/round_robin.rs", "ngx_http_upstream_round_robin.c", "a file name of nginx"),
    ("src/config/file/tls.rs", "Passthrough", "AWS's word"),
    ("src/config/lower/mutual.rs", "MutualMode::Passthrough", "AWS's word"),
    ("src/config/lower/listener.rs", "passthrough\\\"", "AWS's word"),
    ("src/control/api/access.rs", "axum::middleware", "axum's word"),
    ("src/control/api/mod.rs", "axum::middleware", "axum's word"),
];

/// Text that no source holds outside of tests.
const TEXTS: &[(&str, &str)] = &[
    ("todo!", "do it"),
    ("unimplemented!", "do it"),
    ("dbg!", "tracing"),
    ("#[ignore", "run it or delete it"),
    ("std::process::exit", "return from main"),
    ("thread::sleep", "net::sleep"),
    ("fn get_", "the noun alone"),
    ("fn do_", "the verb alone"),
    ("select_all", "two futures, each with its buffer, joined"),
];

/// File names that say nothing.
const FILE_NAMES: &[&str] =
    &["utils", "util", "common", "manager", "helper", "helpers", "data", "info", "misc", "types"];

/// What panics.
const PANICS: &[&str] = &[
    ".unwrap()",
    ".expect(\"",
    ".unwrap_err()",
    "panic!",
    "unreachable!",
    "assert!(",
    "assert_eq!(",
];
/// Where that is right outside of tests: path, text of the line, reason.
const PANICS_ALLOWED: &[(&str, &str, &str)] =
    &[("src/stickiness/seal.rs", "only more than 64 GiB are refused", "the text has 67 bytes")];

const LINE_CHARACTERS_MAX: usize = 100;

/// A source file of the crate.
struct Source {
    path: String,
    /// Top-level module.
    room: String,
    /// How many modules deep it is: 1 for `src/net/mod.rs`, 2 for `src/net/ring.rs`.
    depth: usize,
    /// Whether all of it is tests.
    is_test: bool,
    text: String,
    /// Number of lines in front of the tests at its end.
    code_lines: usize,
}

impl Source {
    /// Lines outside of tests, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = if self.is_test { 0 } else { self.code_lines };
        self.text.lines().take(lines).enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("directory entry").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("inside the package").display().to_string()
}

/// Every file of `src`.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    files(&root().join("src"), "rs", &mut paths);
    let read = |path: &PathBuf| (relative(path), fs::read_to_string(path).expect("UTF-8"));
    let texts: Vec<_> = paths.iter().map(read).collect();
    let tests: BTreeSet<String> =
        texts.iter().flat_map(|(path, text)| tests_of(path, text)).collect();
    texts
        .into_iter()
        .map(|(path, text)| {
            let module = module(&path);
            let parts: Vec<&str> = module.split('/').collect();
            let (room, depth) = (parts[0].to_owned(), parts.len());
            let is_test =
                tests.iter().any(|test| module == *test || module.starts_with(&format!("{test}/")));
            let code_lines = code_lines(&text);
            Source { path, room, depth, is_test, text, code_lines }
        })
        .collect()
}

/// `src/net/ring.rs` and `src/net/ring/mod.rs` are the module `net/ring`.
fn module(path: &str) -> String {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    inner.trim_end_matches("/mod").to_owned()
}

/// Modules that `text` declares for tests only.
fn tests_of(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    declared
        .filter_map(|pair| pair[1].trim_start_matches("pub(crate) ").strip_prefix("mod "))
        .filter_map(|name| name.strip_suffix(';'))
        .map(|name| format!("{}/{name}", module(path)))
        .collect()
}

/// Number of lines in front of `#[cfg(test)] mod tests {`.
fn code_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

/// Fails with all findings at once.
fn expect_none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n{}\n", findings.join("\n"));
}

/// The part of a line in front of a comment. A `//` inside a string ends it too, which only makes
/// the checks see less of such a line.
fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The identifier at the start of `text`.
fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Whether `text` holds `word` with nothing that could belong to it on either side.
fn holds_word(text: &str, word: &str) -> bool {
    let belongs = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !belongs(text[..at].chars().next_back()) && !belongs(text[at + word.len()..].chars().next())
    })
}

/// Rooms that a line names: `crate::room`, `ringway::room`, and `super::room` where the chain of
/// `super` reaches the root of the crate.
fn named_rooms(line: &str, depth: usize) -> Vec<String> {
    let mut rooms = Vec::new();
    for prefix in ["crate::", "ringway::"] {
        for (at, _) in line.match_indices(prefix) {
            let behind = &line[at + prefix.len()..];
            match behind.strip_prefix('{').and_then(|group| group.split_once('}')) {
                Some((group, _)) => {
                    rooms.extend(group.split(',').map(|name| identifier(name.trim()).to_owned()));
                }
                None => rooms.push(identifier(behind).to_owned()),
            }
        }
    }
    let mut rest = line;
    while let Some(at) = rest.find("super::") {
        rest = &rest[at..];
        let mut chain = 0;
        while let Some(behind) = rest.strip_prefix("super::") {
            rest = behind;
            chain += 1;
        }
        if chain >= depth {
            rooms.push(identifier(rest).to_owned());
        }
    }
    rooms
}

#[test]
fn rooms_use_what_the_table_says_and_nothing_else() {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == source.room) else {
            findings.push(format!("{}: `{}` is not in ROOMS", source.path, source.room));
            continue;
        };
        for (number, line) in source.code() {
            for room in named_rooms(without_comment(line), source.depth) {
                let is_room = ROOMS.iter().any(|(name, _)| *name == room);
                // `super::` at the root may also name what is not a room.
                if room.is_empty() {
                    findings.push(format!(
                        "{}:{number}: a group of rooms in one line, please",
                        source.path
                    ));
                } else if is_room && room != source.room {
                    used.insert((source.room.clone(), room.clone()));
                    if !allowed.contains(&room.as_str()) {
                        let path = &source.path;
                        findings.push(format!("{path}:{number}: `{}` uses `{room}`", source.room));
                    }
                }
            }
        }
    }
    let unused = ROOMS.iter().flat_map(|(room, allowed)| allowed.iter().map(move |to| (room, to)));
    let unused = unused.filter(|(room, to)| !used.contains(&((**room).into(), (**to).into())));
    findings.extend(unused.map(|(room, to)| format!("ROOMS: `{room}` does not use `{to}`")));
    expect_none("arrows between rooms", &findings);
}

#[test]
fn architecture_shows_the_table_of_rooms() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut findings = Vec::new();
    for (room, allowed) in ROOMS.iter().filter(|(room, _)| *room != "lib") {
        let uses = match allowed {
            [] => "—".to_owned(),
            some => some.iter().map(|to| format!("`{to}`")).collect::<Vec<_>>().join(" "),
        };
        let row = text.lines().find(|line| line.starts_with(&format!("| `{room}` |")));
        if !row.is_some_and(|row| row.ends_with(&format!("| {uses} |"))) {
            findings.push(format!("row of `{room}` should end with `| {uses} |`, is {row:?}"));
        }
    }
    expect_none("ARCHITECTURE.md, rooms", &findings);
}

#[test]
fn pure_rooms_name_nothing_impure() {
    let mut findings = Vec::new();
    let is_exempt = |path: &str| IMPURE_FILES.iter().any(|(exempt, _)| *exempt == path);
    let pure = |source: &Source| PURE.contains(&source.room.as_str()) && !is_exempt(&source.path);
    for source in sources().into_iter().filter(pure) {
        for (number, line) in source.code() {
            for name in IMPURE.iter().filter(|name| holds_word(without_comment(line), name)) {
                findings.push(format!("{}:{number}: `{name}` in a pure room", source.path));
            }
        }
    }
    expect_none("pure rooms do no I/O, read no clock, draw no randomness", &findings);
}

#[test]
fn crates_are_named_where_they_belong() {
    let mut findings = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            for (name, rooms) in CRATES {
                if without_comment(line).contains(&format!("{name}::"))
                    && holds_word(line, name)
                    && !rooms.contains(&source.room.as_str())
                {
                    let path = &source.path;
                    findings.push(format!("{path}:{number}: `{name}` belongs to {rooms:?}"));
                }
            }
        }
    }
    expect_none("crates by room", &findings);
}

#[test]
fn unsafe_stands_in_net_only() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.room != "net") {
        for (number, line) in source.text.lines().enumerate() {
            if holds_word(without_comment(line), "unsafe") || line.contains("allow(unsafe_code)") {
                findings.push(format!("{}:{}: unsafe outside src/net", source.path, number + 1));
            }
        }
    }
    expect_none("unsafe", &findings);
}

#[test]
fn nothing_panics_outside_of_tests() {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        for (number, line) in source.code() {
            let code = without_comment(line);
            let panics = PANICS.iter().filter(|text| {
                code.contains(**text)
                    && !code.contains("debug_assert")
                    && !code.trim_start().starts_with("const ")
            });
            for text in panics {
                let allowed = PANICS_ALLOWED
                    .iter()
                    .position(|(path, part, _)| *path == source.path && line.contains(part));
                match allowed {
                    Some(index) => drop(used.insert(index)),
                    None => findings.push(format!("{}:{number}: `{text}`", source.path)),
                }
            }
        }
    }
    let stale = (0..PANICS_ALLOWED.len()).filter(|index| !used.contains(index));
    findings.extend(stale.map(|index| format!("PANICS_ALLOWED[{index}] is not needed")));
    expect_none("panics", &findings);
}

#[test]
fn words_are_those_of_the_vocabulary() {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let lower = line.to_lowercase();
            let said: Vec<&str> = lower
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .collect();
            for (word, instead) in WORDS.iter().filter(|(word, _)| said.contains(word)) {
                let allowed = WORDS_ALLOWED
                    .iter()
                    .position(|(path, part, _)| *path == source.path && line.contains(part));
                match allowed {
                    Some(index) => drop(used.insert(index)),
                    None => {
                        let path = &source.path;
                        findings.push(format!("{path}:{}: `{word}`, say {instead}", number + 1));
                    }
                }
            }
        }
        for (number, line) in source.code() {
            for (text, instead) in TEXTS.iter().filter(|(text, _)| line.contains(text)) {
                findings.push(format!("{}:{number}: `{text}`: {instead}", source.path));
            }
        }
        let name = module(&source.path);
        let name = name.rsplit('/').next().unwrap_or_default();
        if FILE_NAMES.contains(&name) {
            findings.push(format!("{}: a name that says nothing", source.path));
        }
    }
    let stale = (0..WORDS_ALLOWED.len()).filter(|index| !used.contains(index));
    findings.extend(stale.map(|index| format!("WORDS_ALLOWED[{index}] is not needed")));
    expect_none("words", &findings);
}

#[test]
fn every_module_begins_by_saying_what_it_is() {
    let sources = sources();
    let silent = sources.iter().filter(|source| !source.text.starts_with("//! "));
    let findings: Vec<String> = silent.map(|source| source.path.clone()).collect();
    expect_none("modules without `//!` at the top", &findings);
}

#[test]
fn tests_come_last() {
    let mut findings = Vec::new();
    for source in sources() {
        let behind = source.text.lines().enumerate().skip(source.code_lines + 2);
        let items = behind.filter(|(_, line)| line.starts_with(|c: char| !c.is_whitespace()));
        let items = items.filter(|(_, line)| *line != "}");
        findings.extend(items.map(|(at, _)| format!("{}:{}", source.path, at + 1)));
    }
    expect_none("code behind the tests, where no other rule sees it", &findings);
}

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    let mut needed = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        let (path, lines) = (source.path.as_str(), source.code_lines);
        if lines <= FILE_LINES_USUAL {
            continue;
        }
        let listed = LONG_FILES.iter().find(|(listed, ..)| *listed == path);
        let bound = listed.map_or(FILE_LINES_USUAL, |(_, bound, _)| *bound).min(FILE_LINES_MAX);
        needed.insert(path.to_owned());
        if lines > bound {
            findings.push(format!("{path}: {lines} lines, bound {bound}"));
        }
    }
    let stale = LONG_FILES.iter().filter(|(path, ..)| !needed.contains(*path));
    findings.extend(stale.map(|(path, ..)| format!("LONG_FILES: {path} is short by now")));
    expect_none("lines per file, tests not counted", &findings);
}

/// Name and number of lines of every function, going by the indentation of rustfmt.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.code().map(|(_, line)| line).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some(behind) = code.split("fn ").nth(1) else { continue };
        let before = code.split("fn ").next().unwrap_or_default();
        let is_item = before.split_whitespace().all(|word| {
            matches!(word, "pub" | "const" | "async" | "unsafe" | "extern" | "\"C\"")
                || word.starts_with("pub(")
        });
        if !is_item || identifier(behind).is_empty() {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let end = (at..lines.len()).find(|&end| {
            let text = lines[end];
            text == format!("{indent}}}")
                || (end == at && (text.ends_with('}') || text.ends_with(';')))
        });
        let Some(end) = end else { continue };
        found.push((identifier(behind).to_owned(), end - at + 1));
    }
    found
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    let mut needed = BTreeSet::new();
    let (mut count, mut within_30) = (0, 0);
    for source in sources() {
        for (name, lines) in functions(&source) {
            count += 1;
            within_30 += usize::from(lines <= 30);
            if lines <= FUNCTION_LINES_MAX {
                continue;
            }
            let key = (source.path.as_str(), name.as_str());
            let listed = LONG_FUNCTIONS.iter().find(|(path, name, ..)| (*path, *name) == key);
            needed.insert((source.path.clone(), name.clone()));
            if lines > listed.map_or(FUNCTION_LINES_MAX, |(_, _, bound, _)| *bound) {
                findings.push(format!("{}: `{name}` has {lines} lines", source.path));
            }
        }
    }
    let stale = LONG_FUNCTIONS
        .iter()
        .filter(|(path, name, ..)| !needed.contains(&((*path).into(), (*name).into())));
    findings.extend(stale.map(|(_, name, ..)| format!("LONG_FUNCTIONS: {name} is short by now")));
    assert!(count > 300, "only {count} functions found: does the search still work?");
    if within_30 * 10 < count * 9 {
        findings
            .push(format!("{within_30} of {count} functions have at most 30 lines: 90 % should"));
    }
    expect_none("lines per function", &findings);
}

#[test]
fn lines_are_at_most_100_characters_long() {
    let mut paths = Vec::new();
    for dir in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        let dir = root().join(dir);
        if dir.is_dir() {
            files(&dir, "rs", &mut paths);
        }
    }
    if root().join("scripts").is_dir() {
        files(&root().join("scripts"), "sh", &mut paths);
    }
    let mut findings = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("UTF-8");
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARACTERS_MAX {
                findings.push(format!("{}:{}", relative(&path), number + 1));
            }
        }
    }
    expect_none("lines longer than 100 characters", &findings);
}

#[test]
fn every_dependency_says_why() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let mut findings = Vec::new();
    let mut inside = false;
    let mut previous = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies]");
        } else if inside && line.contains('=') && !line.starts_with('#') {
            let says_why = previous.starts_with("# ") && !previous.starts_with("# ---");
            if !says_why {
                findings.push(line.to_owned());
            }
        }
        previous = line;
    }
    expect_none("dependencies without a comment above", &findings);
}

#[test]
fn every_script_says_what_it_does() {
    let mut paths = Vec::new();
    files(&root().join("scripts"), "sh", &mut paths);
    let mut findings = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let mut lines = text.lines();
        let shebang = lines.next().is_some_and(|line| line.starts_with("#!"));
        if !shebang || !lines.next().is_some_and(|line| line.starts_with("# ")) {
            findings.push(relative(&path));
        }
    }
    expect_none("scripts without `#!` and a comment at the top", &findings);
}
