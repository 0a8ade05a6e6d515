//! The text of single values: durations, addresses, patterns, templates, media types.
//!
//! Each reader returns the value or a [`Flaw`]: what is wrong with the text, and what to write
//! instead. None of them knows where the text stands.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};

use super::diagnostic::quote;
use crate::model::{LogSink, Matcher, PATTERN_BYTES_MAX, ProtocolVersion, Rotation, Wildcard};

/// What is wrong with a text, and the cure where one is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) problem: String,
    pub(crate) help: Option<String>,
}

impl Flaw {
    pub(crate) fn new(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problem: problem.into(), help: Some(help.into()) }
    }
}

pub(crate) type Read<T> = Result<T, Flaw>;

/// Units of a duration, greatest first, in milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `"1h30m"`: numbers with units, each unit at most once, the greatest first.
pub(crate) fn duration(text: &str) -> Read<Duration> {
    let flaw = || {
        let problem = format!("{} is not a duration", quote(text));
        Err(Flaw::new(problem, duration_cure(text)))
    };
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let letters =
            rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        let Some((_, scale)) = units.find(|(name, _)| *name == unit) else { return flaw() };
        let Ok(number) = number.parse::<u64>() else { return flaw() };
        let sum = number.checked_mul(*scale).and_then(|part| total.checked_add(part));
        let Some(sum) = sum else { return flaw() };
        total = sum;
        rest = &rest[digits + letters..];
    }
    if text.is_empty() { flaw() } else { Ok(Duration::from_millis(total)) }
}

fn duration_cure(text: &str) -> String {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let number = compact.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match compact[number.len()..].to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hour" | "hours" => "h",
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        _ => "",
    };
    let cured = format!("{number}{unit}");
    if !unit.is_empty() && number.parse::<u64>().is_ok() && cured != text {
        return format!("write \"{cured}\"");
    }
    "whole numbers with h, m, s or ms, the greatest unit first: \"30s\", \"500ms\", \"1h30m\""
        .into()
}

/// `duration` as it would be written in the file.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (name, scale) in UNITS {
        if rest >= scale {
            out.push_str(&format!("{}{name}", rest / scale));
            rest %= scale;
        }
    }
    if out.is_empty() { "0s".into() } else { out }
}

/// Checks the name of a listener or target group.
pub(super) fn name(text: &str) -> Read<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.into());
    }
    let problem = format!("{} is not a name", quote(text));
    Err(Flaw::new(problem, "1 to 64 letters, digits, `-`, `_`, `.`"))
}

/// Reads the address of a listener; port 0 is allowed.
pub(super) fn listener_address(text: &str) -> Read<SocketAddr> {
    text.parse().map_err(|_| {
        let port = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).unwrap_or(text);
        if port.parse::<u16>().is_ok() {
            let problem = format!("{} has no IP address", quote(text));
            return Flaw::new(
                problem,
                format!("all addresses are \"0.0.0.0:{port}\" or \"[::]:{port}\""),
            );
        }
        address_flaw(text, 80)
    })
}

/// Reads the address of a target, which must be one that can be connected to.
pub(crate) fn target_address(text: &str) -> Read<SocketAddr> {
    let address: SocketAddr = text.parse().map_err(|_| address_flaw(text, 8081))?;
    if address.port() == 0 {
        return Err(Flaw::new(
            "a target needs a port from 1 to 65535",
            "write the port it listens on",
        ));
    }
    if address.ip().is_unspecified() {
        let local = if address.is_ipv4() { "127.0.0.1" } else { "[::1]" };
        let help = format!("for a target on this host write \"{local}:{}\"", address.port());
        return Err(Flaw::new(format!("{} means all addresses, not one", quote(text)), help));
    }
    Ok(address)
}

fn address_flaw(text: &str, port: u16) -> Flaw {
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or(rest);
        let problem = format!("{} is a URL; an address has no scheme and no path", quote(text));
        return Flaw::new(problem, format!("write \"{rest}\" if that is an IP address and a port"));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let cure = SocketAddr::new(ip, port);
        return Flaw::new(
            format!("{} has no port", quote(text)),
            format!("for example \"{cure}\""),
        );
    }
    let (host, digits) = text.rsplit_once(':').unwrap_or((text, ""));
    if let (Ok(ip), false) = (host.trim_matches(['[', ']']).parse::<IpAddr>(), digits.is_empty()) {
        let help = match ip {
            IpAddr::V6(_) if !host.starts_with('[') => format!("write \"[{ip}]:{digits}\""),
            _ => "a port is a number from 1 to 65535".into(),
        };
        return Flaw::new(format!("{} is not an address with a port", quote(text)), help);
    }
    let looks_like_a_name = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && host.bytes().any(|byte| byte.is_ascii_alphabetic());
    if looks_like_a_name {
        let digits = if digits.is_empty() { port.to_string() } else { digits.into() };
        let ip = if host == "localhost" { "127.0.0.1" } else { "10.0.1.7" };
        let problem = format!("{} is a host name; names are not resolved", quote(host));
        return Flaw::new(problem, format!("write its IP address, such as \"{ip}:{digits}\""));
    }
    let problem = format!("{} is not an IP address and a port", quote(text));
    Flaw::new(problem, format!("for example \"127.0.0.1:{port}\" or \"[::1]:{port}\""))
}

/// Reads where a collector takes OTLP over HTTP: its address, and the path there.
pub(super) fn endpoint(text: &str) -> Read<(SocketAddr, String)> {
    if let Some(rest) = text.strip_prefix("https://") {
        let problem = format!("{} asks for TLS, which exports do not speak", quote(text));
        let help = format!("\"http://{rest}\", best to a collector on this host, which does");
        return Err(Flaw::new(problem, help));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        let problem = format!("{} is not the URL of a collector", quote(text));
        return Err(Flaw::new(problem, "for example \"http://127.0.0.1:4318\""));
    };
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = target_address(address)?;
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) || path.contains(['#', '?']) {
        let problem = format!("{} is not the path of a URL", quote(path));
        return Err(Flaw::new(problem, "visible characters, without `?` and `#`: /v1/traces"));
    }
    let path = if path.len() > 1 { path } else { "/v1/traces" };
    Ok((address, path.into()))
}

/// Checks the name of a service.
pub(super) fn service(text: &str) -> Read<String> {
    if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text.into());
    }
    let problem = format!("{} is not the name of a service", quote(text));
    Err(Flaw::new(problem, "1 to 255 bytes, none of them a control character"))
}

/// Checks the path of a file or directory.
pub(super) fn file_path(text: &str) -> Read<PathBuf> {
    if !text.is_empty() && !text.contains('\0') {
        return Ok(text.into());
    }
    let problem = format!("{} is not a path", quote(text));
    Err(Flaw::new(problem, "for example \"/var/lib/ringway\""))
}

/// Checks the path of a Unix socket, for which the kernel has 108 bytes, one of them a zero.
pub(super) fn socket_path(text: &str) -> Read<PathBuf> {
    if text.len() > 107 {
        let problem = format!("the path of this socket has {} bytes", text.len());
        return Err(Flaw::new(problem, "at most 107: \"/run/ringway/control.sock\""));
    }
    file_path(text)
}

/// Reads where an access log goes; files are not rotated yet.
pub(super) fn log_sink(text: &str) -> Read<LogSink> {
    match text.strip_prefix("unix:") {
        Some(path) => return socket_path(path).map(LogSink::Datagram),
        None if text == "stdout" => return Ok(LogSink::Stdout),
        None if text == "journal" => return Ok(LogSink::Journal),
        None => {}
    }
    if text.starts_with('/') && !text.ends_with('/') && !text.contains('\0') {
        let rotation = Rotation { bytes: None, every: None, keep: 1 };
        return Ok(LogSink::File { path: text.into(), rotation });
    }
    let problem = format!("{} is not the absolute path of a file", quote(text));
    let help = "such as \"/var/log/ringway/access.log\"; or \"journal\", \"stdout\", \"unix:\" and \
                the path of a datagram socket";
    Err(Flaw::new(problem, help))
}

/// Checks the name of an application's cookie; ours begin with `AWSALB`.
pub(super) fn cookie_name(text: &str) -> Read<String> {
    if text.starts_with("AWSALB") {
        let problem = format!("{} is a name of ringway's own cookies", quote(text));
        return Err(Flaw::new(problem, "name the cookie that the application sets"));
    }
    if is_token(text) && text.len() <= 256 {
        return Ok(text.into());
    }
    let problem = format!("{} is not the name of a cookie", quote(text));
    Err(Flaw::new(problem, "letters, digits, `-`, `_`, `.`, at most 256 bytes: \"JSESSIONID\""))
}

/// Reads a CIDR block or a plain address, which is a block of one.
pub(super) fn network(text: &str) -> Read<IpNet> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    text.parse().map_err(|_| {
        let problem = format!("{} is neither a CIDR block nor an IP address", quote(text));
        Flaw::new(problem, "for example \"192.0.2.0/24\", \"2001:db8::/32\" or \"127.0.0.1\"")
    })
}

/// Reads the codes of a health check: statuses such as `200,202` or `200-204,301`, of `GRPC`
/// targets gRPC's codes such as `0,12`.
pub(super) fn matcher(text: &str, version: ProtocolVersion) -> Read<Matcher> {
    let (allowed, what, help) = match version {
        ProtocolVersion::Http1 | ProtocolVersion::Http2 => (
            200..=599,
            "statuses",
            "statuses from 200 to 599: \"200\", \"200,202\", \"200-204,301\"",
        ),
        ProtocolVersion::Grpc => {
            (0..=99, "gRPC's codes", "codes from 0 to 99: \"0\", \"0,12\", \"0-99\"")
        }
    };
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|n| allowed.contains(n));
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        status(low).zip(status(high)).filter(|(low, high)| low <= high)
    };
    text.split(',')
        .map(range)
        .collect::<Option<Vec<_>>>()
        .map(Matcher)
        .ok_or_else(|| Flaw::new(format!("{} is not a list of {what}", quote(text)), help))
}

/// Checks the path of a probe.
pub(super) fn probe_path(text: &str) -> Read<String> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.starts_with('/') && text.len() <= 1024 && visible {
        return Ok(text.into());
    }
    let problem = format!("{} is not the path of a probe", quote(text));
    Err(Flaw::new(problem, "begin with `/`, visible ASCII only, at most 1024 bytes: \"/healthz\""))
}

/// Reads a number from 1 to 65535 or, as `None`, the word `other`.
pub(super) fn port_or(text: &str, other: &str) -> Read<Option<u16>> {
    if text == other {
        return Ok(None);
    }
    text.parse().ok().filter(|port| *port != 0).map(Some).ok_or_else(|| {
        let problem = format!("{} is not a port", quote(text));
        Flaw::new(problem, format!("a number from 1 to 65535, or \"{other}\""))
    })
}

/// Checks a `Server` field; `None` for the empty text.
pub(super) fn server_field(text: &str) -> Read<Option<String>> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if !visible || text.len() > 128 || text.trim() != text {
        let problem = format!("{} cannot be the value of a header field", quote(text));
        return Err(Flaw::new(problem, "visible ASCII, at most 128 bytes; \"\" for no field"));
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

/// The media types that AWS allows in a fixed response; they get a charset if they have none.
const TEXT_TYPES: [&str; 5] =
    ["text/plain", "text/css", "text/html", "application/javascript", "application/json"];

/// Checks a media type, and adds `charset=utf-8` to those of AWS's five that have none.
pub(super) fn media_type(text: &str) -> Read<String> {
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let well_formed = essence
        .trim_end()
        .split_once('/')
        .is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    let visible = parameters.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if !well_formed || !visible || text.len() > 128 {
        let problem = format!("{} is not a media type", quote(text));
        return Err(Flaw::new(problem, "for example \"text/plain\" or \"application/json\""));
    }
    let essence = essence.trim_end().to_ascii_lowercase();
    let needs_charset = TEXT_TYPES.contains(&essence.as_str())
        && !parameters.to_ascii_lowercase().contains("charset=");
    Ok(if needs_charset { format!("{text}; charset=utf-8") } else { text.into() })
}

/// Whether `text` is a token (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Checks the name of the field of an `http_header` condition.
pub(super) fn header_name(text: &str) -> Read<String> {
    if text.eq_ignore_ascii_case("host") {
        return Err(Flaw::new("`Host` cannot be a field of `http_header`", "use `host_header`"));
    }
    if is_token(text) && !text.contains('*') && text.len() <= 40 {
        return Ok(text.into());
    }
    let problem = format!("{} is not the name of a header field", quote(text));
    Err(Flaw::new(problem, "letters, digits and hyphens, at most 40 bytes, no wildcards"))
}

/// Checks a request method.
pub(super) fn method(text: &str) -> Read<String> {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
    if (1..=40).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.into());
    }
    let upper = text.to_ascii_uppercase();
    let help = match !text.is_empty() && upper.len() <= 40 && upper.bytes().all(allowed) {
        true => format!("methods are case-sensitive: write \"{upper}\""),
        false => "`A` to `Z`, `-`, `_`, at most 40 bytes; wildcards are not possible".into(),
    };
    Err(Flaw::new(format!("{} is not a request method", quote(text)), help))
}

fn limit(text: &str) -> Read<()> {
    if text.is_empty() {
        return Err(Flaw::new("the pattern is empty", "`*` matches everything"));
    }
    if text.len() <= PATTERN_BYTES_MAX {
        return Ok(());
    }
    let problem = format!("the pattern has {} bytes", text.len());
    Err(Flaw::new(
        problem,
        format!("at most {PATTERN_BYTES_MAX} bytes; several short ones may be listed"),
    ))
}

/// Reads a pattern of a header value.
pub(super) fn header_pattern(text: &str) -> Read<Wildcard> {
    limit(text)?;
    if text.chars().any(char::is_control) {
        return Err(Flaw::new("control characters never match", "remove them from the pattern"));
    }
    Ok(Wildcard::parse(text, false))
}

/// Reads a pattern of a query key or value; `\*` and `\?` are literal. A value may be empty.
pub(super) fn query_pattern(text: &str) -> Read<Wildcard> {
    if !text.is_empty() {
        limit(text)?;
    }
    if text.chars().any(char::is_control) {
        return Err(Flaw::new("control characters never match", "percent-encode them"));
    }
    Ok(Wildcard::parse(text, true))
}

/// Reads a pattern of a path.
pub(super) fn path_pattern(text: &str) -> Read<Wildcard> {
    limit(text)?;
    if !text.starts_with(['/', '*', '?']) {
        let problem = format!("{} never matches: a path begins with `/`", quote(text));
        return Err(Flaw::new(problem, format!("write \"/{text}\"")));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = format!("{} never matches: a path is visible ASCII", quote(text));
        return Err(Flaw::new(problem, "percent-encode other characters: `caf%C3%A9`, `%20`"));
    }
    Ok(Wildcard::parse(text, false))
}

/// Reads a pattern of a host.
pub(super) fn host_pattern(text: &str) -> Read<Wildcard> {
    limit(text)?;
    let flaw = |help: &str| Err(Flaw::new(format!("{} is not a host", quote(text)), help));
    if text.contains('/') {
        return flaw("a host has no scheme and no path; paths belong in `path_pattern`");
    }
    let brackets = text.starts_with('[') && text.ends_with(']');
    if text.contains(':') && !brackets {
        return flaw("leave the port out: hosts are compared without it");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*?".contains(&byte);
    let inside = if brackets { text[1..text.len() - 1].replace(':', "") } else { text.into() };
    if !inside.bytes().all(allowed) {
        return flaw("letters, digits, `-`, `.`, and `*` and `?` as wildcards");
    }
    Ok(Wildcard::parse(text, false))
}

/// Compiles a regular expression of a condition.
pub(super) fn regex(text: &str, case_insensitive: bool) -> Read<Regex> {
    limit(text)?;
    if text.contains(r"\p{") || text.contains(r"\P{") {
        let problem = "Unicode classes such as `\\p{…}` are not supported, as on AWS";
        return Err(Flaw::new(problem, "write a class of ASCII characters: `[A-Za-z]`"));
    }
    RegexBuilder::new(text).case_insensitive(case_insensitive).build().map_err(|cause| {
        // The crate draws carets of its own; its last line says what is wrong.
        let cause = cause.to_string();
        let cause = cause.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let problem = format!("{} is not a regular expression: {cause}", quote(text));
        Flaw::new(problem, "syntax: https://docs.rs/regex/#syntax; in TOML use 'single quotes'")
    })
}

#[cfg(test)]
mod tests;
