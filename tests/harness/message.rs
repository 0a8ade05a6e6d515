//! A strict HTTP/1.1 parser (RFC 9112), independent of the balancer's.
//!
//! It refuses whatever two parsers could read differently. Feed it all bytes of a connection from
//! the start of a message: it says `Incomplete`, `Complete` with the length, or what is wrong.

/// What the bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<T> {
    /// Valid up to here, but more must follow.
    Incomplete,
    /// A message, and how many bytes it took.
    Complete(T, usize),
    /// Not HTTP/1.1, and why.
    Invalid(String),
}

/// How the end of a body was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There was none to find.
    None,
    /// Content-Length.
    Length(usize),
    /// Chunked transfer coding.
    Chunked,
    /// The connection closed.
    UntilClose,
}

/// Header fields in order.
pub type Fields = Vec<(String, String)>;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub fields: Fields,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub version: String,
    pub fields: Fields,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Request {
    /// Value of the only field called `name`; panics when there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        only(&self.fields, name)
    }

    /// Values of every field called `name`.
    pub fn values(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name).collect()
    }

    /// Field names in order, as they came.
    pub fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl Response {
    /// Value of the only field called `name`; panics when there are several.
    pub fn field(&self, name: &str) -> Option<&str> {
        only(&self.fields, name)
    }

    /// Values of every field called `name`.
    pub fn values(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the response says that the connection closes after it.
    pub fn closes(&self) -> bool {
        values(&self.fields, "connection").any(|value| value.eq_ignore_ascii_case("close"))
    }
}

fn values<'a, 'n>(
    fields: &'a Fields,
    name: &'n str,
) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
    let of_name = fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name));
    of_name.map(|(_, value)| value.as_str())
}

fn only<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let mut found = values(fields, name);
    let first = found.next();
    assert!(found.next().is_none(), "several fields called {name}: {fields:?}");
    first
}

/// Reads one request from the start of `bytes`.
pub fn parse_request(bytes: &[u8]) -> Parsed<Request> {
    let head = match head(bytes) {
        Ok(Some(head)) => head,
        Ok(None) => return Parsed::Incomplete,
        Err(problem) => return Parsed::Invalid(problem),
    };
    let parts: Vec<&str> = head.first.split(' ').collect();
    let &[method, target, version] = parts.as_slice() else {
        return Parsed::Invalid(format!("request line {:?}", head.first));
    };
    if !is_token(method) || target.is_empty() || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Parsed::Invalid(format!("request line {:?}", head.first));
    }
    if version == "HTTP/1.1" && values(&head.fields, "host").count() != 1 {
        return Parsed::Invalid("not exactly one Host".into());
    }
    let framing = match framing(&head.fields, version) {
        Ok(framing) => framing.unwrap_or(Framing::None),
        Err(problem) => return Parsed::Invalid(problem),
    };
    body(bytes, head.length, framing).map(|body, trailers| Request {
        method: method.into(),
        target: target.into(),
        version: version.into(),
        fields: head.fields.clone(),
        framing,
        body,
        trailers,
    })
}

/// Reads one response to a `method` request from the start of `bytes`. `ended` says that the
/// connection is at its end, which completes a body without length.
pub fn parse_response(bytes: &[u8], method: &str, ended: bool) -> Parsed<Response> {
    let head = match head(bytes) {
        Ok(Some(head)) => head,
        Ok(None) => return Parsed::Incomplete,
        Err(problem) => return Parsed::Invalid(problem),
    };
    let mut parts = head.first.splitn(3, ' ');
    let (version, status) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let (Some(reason), Ok(number)) = (parts.next(), status.parse::<u16>()) else {
        return Parsed::Invalid(format!("status line {:?}", head.first));
    };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || status.len() != 3 || number < 100 {
        return Parsed::Invalid(format!("status line {:?}", head.first));
    }
    let bodiless = method == "HEAD" || number < 200 || number == 204 || number == 304;
    let framing = match framing(&head.fields, version) {
        Ok(_) if bodiless => Framing::None,
        Ok(framing) => framing.unwrap_or(Framing::UntilClose),
        Err(problem) => return Parsed::Invalid(problem),
    };
    if framing == Framing::UntilClose && !ended {
        return Parsed::Incomplete;
    }
    body(bytes, head.length, framing).map(|body, trailers| Response {
        status: number,
        reason: reason.into(),
        version: version.into(),
        fields: head.fields.clone(),
        framing,
        body,
        trailers,
    })
}

struct Head {
    first: String,
    fields: Fields,
    length: usize,
}

/// Lines up to the empty line. Only CRLF ends a line.
fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some((lines, length)) = lines(bytes)? else { return Ok(None) };
    let (first, rest) = lines.split_first().ok_or("no first line")?;
    let fields = rest.iter().map(|line| field(line)).collect::<Result<_, _>>()?;
    Ok(Some(Head { first: first.clone(), fields, length }))
}

fn lines(bytes: &[u8]) -> Result<Option<(Vec<String>, usize)>, String> {
    let mut lines = Vec::new();
    let mut start = 0;
    loop {
        let Some(end) = bytes[start..].iter().position(|&b| b == b'\n').map(|at| start + at) else {
            return line_text(&bytes[start..]).map(|_| None);
        };
        let Some(line) = bytes[start..end].strip_suffix(b"\r") else {
            return Err(format!(
                "bare LF after {:?}",
                bytes[start..end].escape_ascii().to_string()
            ));
        };
        start = end + 1;
        if line.is_empty() {
            return Ok(Some((lines, start)));
        }
        lines.push(line_text(line)?);
    }
}

/// A line holds visible characters, spaces, tabs and bytes from 0x80; a CR only as its last byte
/// while it is incomplete.
fn line_text(line: &[u8]) -> Result<String, String> {
    let inner = line.strip_suffix(b"\r").unwrap_or(line);
    match inner.iter().find(|&&byte| byte != b'\t' && (byte < 0x20 || byte == 0x7f)) {
        Some(byte) => Err(format!("byte {byte:#04x} in {:?}", line.escape_ascii().to_string())),
        None => Ok(inner.iter().map(|&byte| char::from(byte)).collect()),
    }
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
    if !is_token(name) {
        return Err(format!("field name {name:?}"));
    }
    Ok((name.into(), value.trim_matches([' ', '\t']).into()))
}

fn is_token(text: &str) -> bool {
    let special = "!#$%&'*+-.^_`|~";
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || special.contains(c))
}

fn framing(fields: &Fields, version: &str) -> Result<Option<Framing>, String> {
    let lengths: Vec<&str> = values(fields, "content-length").collect();
    let codings: Vec<&str> = values(fields, "transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            length
                .parse()
                .map(|length| Some(Framing::Length(length)))
                .map_err(|_| format!("Content-Length {length}"))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1" => {
            Ok(Some(Framing::Chunked))
        }
        _ => Err(format!("framing: Content-Length {lengths:?}, Transfer-Encoding {codings:?}")),
    }
}

/// A body and its trailers, or why not, still without its head.
struct Body(Parsed<(Vec<u8>, Fields)>);

impl Body {
    fn map<T>(self, make: impl FnOnce(Vec<u8>, Fields) -> T) -> Parsed<T> {
        match self.0 {
            Parsed::Incomplete => Parsed::Incomplete,
            Parsed::Complete((body, trailers), length) => {
                Parsed::Complete(make(body, trailers), length)
            }
            Parsed::Invalid(problem) => Parsed::Invalid(problem),
        }
    }
}

fn body(bytes: &[u8], start: usize, framing: Framing) -> Body {
    let complete = |body: &[u8], end| Parsed::Complete((body.to_vec(), Vec::new()), end);
    Body(match framing {
        Framing::None => complete(b"", start),
        Framing::UntilClose => complete(&bytes[start..], bytes.len()),
        Framing::Length(length) => match bytes.get(start..start.saturating_add(length)) {
            Some(body) => complete(body, start + length),
            None => Parsed::Incomplete,
        },
        Framing::Chunked => match chunked(&bytes[start..]) {
            Ok(Some((body, trailers, length))) => {
                Parsed::Complete((body, trailers), start + length)
            }
            Ok(None) => Parsed::Incomplete,
            Err(problem) => Parsed::Invalid(problem),
        },
    })
}

type Dechunked = (Vec<u8>, Fields, usize);

fn chunked(bytes: &[u8]) -> Result<Option<Dechunked>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(line_length) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else {
            return line_text(&bytes[at..]).map(|_| None);
        };
        let line = line_text(&bytes[at..at + line_length])?;
        let size = chunk_size(&line)?;
        at += line_length + 2;
        if size == 0 {
            let Some((lines, length)) = lines(&bytes[at..])? else { return Ok(None) };
            let trailers = lines.iter().map(|line| field(line)).collect::<Result<_, _>>()?;
            return Ok(Some((body, trailers, at + length)));
        }
        let Some(content) = bytes.get(at..at.saturating_add(size)) else { return Ok(None) };
        body.extend_from_slice(content);
        at += size;
        match bytes.get(at..bytes.len().min(at + 2)) {
            Some(b"\r\n") => at += 2,
            Some(b"" | b"\r") | None => return Ok(None),
            Some(other) => return Err(format!("{other:?} after a chunk")),
        }
    }
}

/// Hexadecimal digits alone: an intermediary has no reason to send chunk extensions.
fn chunk_size(line: &str) -> Result<usize, String> {
    if line.is_empty() || line.len() > 16 || !line.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("chunk size {line:?}"));
    }
    usize::from_str_radix(line, 16).map_err(|error| format!("chunk size {line:?}: {error}"))
}
