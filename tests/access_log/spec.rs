//! Readers of log lines, written from AWS's description of the fields and from nothing of the
//! balancer: they say what a line means, or why it is none.

use std::net::{IpAddr, SocketAddr};

/// A line of an ALB access log, field by field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alb {
    pub(crate) kind: String,
    pub(crate) time: String,
    pub(crate) client: SocketAddr,
    pub(crate) target: Option<SocketAddr>,
    /// Request, target and response processing time in seconds; `None` for -1.
    pub(crate) times: [Option<f64>; 3],
    pub(crate) elb_status: Option<u16>,
    pub(crate) target_status: Option<u16>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Method, URL, version.
    pub(crate) request: [String; 3],
    pub(crate) user_agent: String,
    pub(crate) group: Option<String>,
    pub(crate) trace: Option<String>,
    pub(crate) priority: Option<i32>,
    pub(crate) created: String,
    pub(crate) actions: Vec<String>,
    pub(crate) redirect: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) targets: Vec<SocketAddr>,
    pub(crate) target_statuses: Vec<Option<u16>>,
    pub(crate) class: Option<(String, String)>,
    pub(crate) connection: String,
    pub(crate) node: IpAddr,
}

/// Splits a line at single spaces; a quoted field keeps its escapes and loses its quotes.
fn fields(line: &str) -> Result<Vec<(&str, bool)>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let is_quoted = rest.starts_with('"');
        let (field, behind) = match is_quoted {
            true => rest[1..].split_once('"').ok_or("a quote that does not end")?,
            false => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
        };
        if !is_quoted && (field.is_empty() || field.contains('"')) {
            return Err(format!("{field:?} is no word"));
        }
        fields.push((field, is_quoted));
        match behind.strip_prefix(' ') {
            Some(next) => rest = next,
            None if behind.is_empty() => return Ok(fields),
            None => return Err(format!("{behind:?} behind a quoted field")),
        }
    }
}

/// Takes `\xHH` back.
pub(crate) fn unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        if *first == b'\\' {
            let digits = behind.strip_prefix(b"x").and_then(|behind| behind.get(..2));
            let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(byte.ok_or_else(|| format!("an escape in {text:?}"))?);
            rest = &behind[3..];
        } else if (b' '..=b'~').contains(first) {
            bytes.push(*first);
            rest = behind;
        } else {
            return Err(format!("byte {first} in {text:?}"));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Walks over the fields of a line.
struct Reader<'l> {
    fields: std::vec::IntoIter<(&'l str, bool)>,
    at: usize,
}

impl<'l> Reader<'l> {
    fn of(line: &'l str, count: usize) -> Result<Self, String> {
        let fields = fields(line)?;
        match fields.len() == count {
            true => Ok(Self { fields: fields.into_iter(), at: 0 }),
            false => Err(format!("{} fields, not {count}", fields.len())),
        }
    }

    fn next(&mut self, quoted: bool) -> Result<&'l str, String> {
        self.at += 1;
        match self.fields.next() {
            Some((field, is_quoted)) if is_quoted == quoted => Ok(field),
            found => Err(format!("field {}: {found:?}", self.at)),
        }
    }

    fn word(&mut self) -> Result<&'l str, String> {
        self.next(false)
    }

    fn text(&mut self) -> Result<String, String> {
        unescape(self.next(true)?)
    }

    fn text_or_none(&mut self) -> Result<Option<String>, String> {
        Ok(Some(self.text()?).filter(|text| text != "-"))
    }

    fn parsed<T>(&self, field: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
        parse(field).ok_or_else(|| format!("field {}: {field:?}", self.at))
    }

    fn value<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
        let field = self.word()?;
        self.parsed(field, parse)
    }

    fn optional<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, String> {
        let field = self.word()?;
        match field {
            "-" => Ok(None),
            field => self.parsed(field, parse).map(Some),
        }
    }

    /// This field is always as said: what it is about does not exist.
    fn constant(&mut self, quoted: bool, value: &str) -> Result<(), String> {
        let field = self.next(quoted)?;
        self.parsed(field, |field| (field == value).then_some(()))
    }

    fn list<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
        let text = self.text()?;
        match text.as_str() {
            "-" => Ok(Vec::new()),
            text => text.split(' ').map(|item| self.parsed(item, &parse)).collect(),
        }
    }
}

/// Checks the form of `2026-02-03T04:05:06.123456Z`.
fn time(text: &str) -> Option<String> {
    const FORM: &str = "0000-00-00T00:00:00.000000Z";
    let fits = |(byte, form): (u8, u8)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == form,
    };
    (text.len() == FORM.len() && text.bytes().zip(FORM.bytes()).all(fits)).then(|| text.to_owned())
}

/// Seconds with exactly `decimals` decimals, or -1.
fn seconds(text: &str, decimals: usize) -> Option<Option<f64>> {
    if text == "-1" {
        return Some(None);
    }
    let (_, fraction) = text.split_once('.')?;
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_number && fraction.len() == decimals).then(|| text.parse().ok()).flatten().map(Some)
}

fn status(text: &str) -> Option<u16> {
    (text.len() == 3).then(|| text.parse().ok()).flatten()
}

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn connection(text: &str) -> Option<String> {
    text.strip_prefix("TID_").filter(|id| hex(id, 32)).map(|_| text.to_owned())
}

/// `app/NAME/ID`.
fn elb(text: &str) -> Option<()> {
    let mut parts = text.split('/');
    let whole = parts.next() == Some("app")
        && parts.next().is_some_and(|name| !name.is_empty())
        && parts.next().is_some_and(|id| hex(id, 16))
        && parts.next().is_none();
    whole.then_some(())
}

/// The name in an ARN of a target group.
fn group(text: &str) -> Option<String> {
    let (prefix, rest) = text.split_once(":targetgroup/")?;
    let (name, id) = rest.split_once('/')?;
    (prefix.starts_with("arn:aws:elasticloadbalancing:") && hex(id, 16)).then(|| name.to_owned())
}

/// Reads a line of an ALB access log: 34 fields.
pub(crate) fn alb(line: &str) -> Result<Alb, String> {
    let read = || -> Result<Alb, String> {
        let mut reader = Reader::of(line, 34)?;
        let kind = reader.value(|kind| {
            let kinds = ["http", "https", "h2", "grpcs", "ws", "wss"];
            kinds.contains(&kind).then(|| kind.to_owned())
        })?;
        let time_ = reader.value(time)?;
        reader.value(elb)?;
        let client = reader.value(|text| text.parse().ok())?;
        let target = reader.optional(|text| text.parse().ok())?;
        let mut span = || reader.value(|text| seconds(text, 3));
        let times = [span()?, span()?, span()?];
        let elb_status = reader.optional(status)?;
        let target_status = reader.optional(status)?;
        let received = reader.value(|text| text.parse().ok())?;
        let sent = reader.value(|text| text.parse().ok())?;
        let request: Vec<String> =
            reader.next(true)?.split(' ').map(unescape).collect::<Result<_, _>>()?;
        let request = request.try_into().map_err(|parts| format!("request {parts:?}"))?;
        let user_agent = reader.text()?;
        reader.constant(false, "-")?;
        reader.constant(false, "-")?;
        let group = reader.optional(group)?;
        let trace = reader.text_or_none()?;
        reader.constant(true, "-")?;
        reader.constant(true, "-")?;
        let priority = reader.optional(|text| {
            text.parse().ok().filter(|priority| (-1..=50_000).contains(priority))
        })?;
        let created = reader.value(time)?;
        let actions = reader.text_or_none()?.unwrap_or_default();
        let actions = actions.split(',').filter(|action| !action.is_empty());
        let known = ["waf", "waf-failed", "authenticate", "forward", "redirect", "fixed-response"];
        let actions: Vec<String> = actions.map(str::to_owned).collect();
        if actions.iter().any(|action| !known.contains(&action.as_str())) {
            return Err(format!("actions {actions:?}"));
        }
        let redirect = reader.text_or_none()?;
        let reason = reader.text_or_none()?;
        let targets = reader.list(|item| item.parse().ok())?;
        let mut target_statuses = reader.list(|item| match item {
            "-" => Some(None),
            item => status(item).map(Some),
        })?;
        if targets.len() == 1 && target_statuses.is_empty() {
            target_statuses.push(None);
        }
        let class = match (reader.text_or_none()?, reader.text_or_none()?) {
            (None, None) => None,
            (Some(class), Some(reason)) => Some((class, reason)),
            half => return Err(format!("classification {half:?}")),
        };
        let connection = reader.value(connection)?;
        for _ in 0..3 {
            reader.constant(true, "-")?;
        }
        let node = reader.value(|text| text.parse().ok())?;
        Ok(Alb {
            kind,
            time: time_,
            client,
            target,
            times,
            elb_status,
            target_status,
            received,
            sent,
            request,
            user_agent,
            group,
            trace,
            priority,
            created,
            actions,
            redirect,
            reason,
            targets,
            target_statuses,
            class,
            connection,
            node,
        })
    };
    let alb = read().and_then(|alb| agrees(&alb).map(|()| alb));
    alb.map_err(|why| format!("{why} in {line:?}"))
}

/// What holds between the fields.
fn agrees(line: &Alb) -> Result<(), String> {
    let holds = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    holds(line.created <= line.time, "it ended before it came")?;
    holds(line.target == line.targets.last().copied(), "the target is the last one tried")?;
    let last = line.target_statuses.last().copied().flatten();
    holds(line.target_status == last, "the target's status is the last one")?;
    holds(line.target.is_some() || line.times == [None; 3], "times without a target")?;
    holds(line.target_status.is_some() || line.times[1].is_none(), "a time without an answer")?;
    holds(line.times[0].is_some() || line.times[1].is_none(), "answered before it was sent")?;
    holds(line.targets.len() == line.target_statuses.len(), "a status per target")?;
    let class = line.class.as_ref().map(|(class, _)| class.as_str());
    holds(
        matches!(class, None | Some("Acceptable" | "Ambiguous" | "Severe")),
        "a classification of AWS",
    )
}

/// A line of a Classic ELB access log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Classic {
    pub(crate) elb: String,
    pub(crate) client: SocketAddr,
    pub(crate) target: Option<SocketAddr>,
    pub(crate) times: [Option<f64>; 3],
    pub(crate) statuses: [Option<u16>; 2],
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) request: String,
    pub(crate) user_agent: String,
}

/// Reads a line of a Classic ELB access log: 15 fields.
pub(crate) fn classic(line: &str) -> Result<Classic, String> {
    let read = || -> Result<Classic, String> {
        let mut reader = Reader::of(line, 15)?;
        reader.value(time)?;
        let elb = reader.word()?.to_owned();
        let client = reader.value(|text| text.parse().ok())?;
        let target = reader.optional(|text| text.parse().ok())?;
        let mut span = || reader.value(|text| seconds(text, 6));
        let times = [span()?, span()?, span()?];
        let statuses = [reader.optional(status)?, reader.optional(status)?];
        let received = reader.value(|text| text.parse().ok())?;
        let sent = reader.value(|text| text.parse().ok())?;
        let (request, user_agent) = (reader.text()?, reader.text()?);
        reader.constant(false, "-")?;
        reader.constant(false, "-")?;
        Ok(Classic { elb, client, target, times, statuses, received, sent, request, user_agent })
    };
    read().map_err(|why| format!("{why} in {line:?}"))
}

/// A line of an ALB connection log, as far as there is anything without TLS.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Connection {
    pub(crate) client: SocketAddr,
    pub(crate) port: u16,
    pub(crate) id: String,
    pub(crate) node: IpAddr,
}

/// Reads a line of an ALB connection log: 15 fields.
pub(crate) fn connection_log(line: &str) -> Result<Connection, String> {
    let read = || -> Result<Connection, String> {
        let mut reader = Reader::of(line, 15)?;
        reader.value(time)?;
        let ip: IpAddr = reader.value(|text| text.parse().ok())?;
        let client = SocketAddr::new(ip, reader.value(|text| text.parse().ok())?);
        let port = reader.value(|text| text.parse().ok())?;
        for _ in 0..3 {
            reader.constant(false, "-")?;
        }
        reader.constant(true, "-")?;
        for _ in 0..3 {
            reader.constant(false, "-")?;
        }
        let id = reader.value(connection)?;
        reader.constant(false, "-")?;
        reader.value(elb)?;
        let node = reader.value(|text| text.parse().ok())?;
        Ok(Connection { client, port, id, node })
    };
    read().map_err(|why| format!("{why} in {line:?}"))
}
