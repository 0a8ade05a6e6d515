//! Templates of redirects: text with placeholders, each legal in some parts only.

use super::diagnostic::{nearest, quote};
use super::values::{Flaw, Read};
use crate::model::{LOCATION_BYTES_MAX, Template, TemplatePart};

/// A part of the address that a redirect leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Protocol,
    Host,
    Port,
    Path,
    Query,
}

const PLACEHOLDERS: [(&str, TemplatePart); 5] = [
    ("protocol", TemplatePart::Protocol),
    ("host", TemplatePart::Host),
    ("port", TemplatePart::Port),
    ("path", TemplatePart::Path),
    ("query", TemplatePart::Query),
];

impl Part {
    fn key(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Host => "host",
            Self::Port => "port",
            Self::Path => "path",
            Self::Query => "query",
        }
    }

    /// The placeholders that are legal in this part (AWS: "Redirect actions").
    fn legal(self) -> &'static [&'static str] {
        match self {
            Self::Protocol => &["protocol"],
            Self::Host => &["host"],
            Self::Port => &["port"],
            Self::Path => &["host", "port", "path"],
            Self::Query => &["protocol", "host", "port", "path", "query"],
        }
    }

    /// What stands for this part when the redirect does not name it: the request's own.
    pub(super) fn unchanged(self) -> Template {
        match self {
            Self::Protocol => Template(vec![TemplatePart::Protocol]),
            Self::Host => Template(vec![TemplatePart::Host]),
            Self::Port => Template(vec![TemplatePart::Port]),
            Self::Path => Template(vec![TemplatePart::Text("/".into()), TemplatePart::Path]),
            Self::Query => Template(vec![TemplatePart::Query]),
        }
    }

    /// Reads the template of this part.
    pub(super) fn read(self, text: &str) -> Read<Template> {
        if text.len() > LOCATION_BYTES_MAX {
            let problem = format!("`{}` has {} bytes", self.key(), text.len());
            return Err(Flaw::new(problem, format!("a Location has at most {LOCATION_BYTES_MAX}")));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("#{") {
            let Some((name, after)) = after.split_once('}') else {
                let problem = format!("a placeholder in {} has no `}}`", quote(text));
                return Err(Flaw::new(problem, self.legal_text()));
            };
            if !before.is_empty() {
                parts.push(TemplatePart::Text(before.into()));
            }
            parts.push(self.placeholder(name)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(TemplatePart::Text(rest.into()));
        }
        for part in &parts {
            if let TemplatePart::Text(literal) = part {
                self.check_literal(literal)?;
            }
        }
        self.check_whole(text, &parts)?;
        Ok(Template(parts))
    }

    fn placeholder(self, name: &str) -> Read<TemplatePart> {
        let known = PLACEHOLDERS.into_iter().find(|(known, _)| *known == name);
        let Some((_, part)) = known else {
            let help = match nearest(name, PLACEHOLDERS.iter().map(|(known, _)| *known)) {
                Some(meant) => format!("did you mean `#{{{meant}}}`?"),
                None => self.legal_text(),
            };
            return Err(Flaw::new(
                format!("unknown placeholder {}", quote(&format!("#{{{name}}}"))),
                help,
            ));
        };
        if self.legal().contains(&name) {
            return Ok(part);
        }
        let problem = format!("`#{{{name}}}` cannot stand in `{}`", self.key());
        Err(Flaw::new(problem, self.legal_text()))
    }

    fn legal_text(self) -> String {
        let all: Vec<_> = self.legal().iter().map(|name| format!("`#{{{name}}}`")).collect();
        format!("`{}` may hold {}", self.key(), all.join(", "))
    }

    /// Checks text between placeholders: what is not allowed here would end the part.
    fn check_literal(self, literal: &str) -> Read<()> {
        let forbidden = |byte: u8| match self {
            Self::Host => !(byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte)),
            Self::Path => !byte.is_ascii_graphic() || b"?#".contains(&byte),
            Self::Query => !byte.is_ascii_graphic() || byte == b'#',
            Self::Protocol | Self::Port => false,
        };
        let Some(at) = literal.bytes().position(forbidden) else { return Ok(()) };
        let wrong: String =
            literal.get(at..).and_then(|rest| rest.chars().next()).into_iter().collect();
        let help = match self {
            Self::Path if wrong == "?" => "write the query in `query`",
            Self::Host => "letters, digits, `-`, `.`; port and path have keys of their own",
            _ => "percent-encode it",
        };
        Err(Flaw::new(format!("{} cannot stand in `{}`", quote(&wrong), self.key()), help))
    }

    /// Checks the template as a whole.
    fn check_whole(self, text: &str, parts: &[TemplatePart]) -> Read<()> {
        let literal = match parts {
            [TemplatePart::Text(literal)] => Some(literal.as_str()),
            _ => None,
        };
        let whole = parts.len() == 1 && literal.is_none();
        let (fits, help) = match self {
            Self::Protocol => (
                whole || matches!(literal, Some("http" | "https")),
                "\"http\", \"https\" or \"#{protocol}\"".to_owned(),
            ),
            Self::Port => (
                whole || literal.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0)),
                "a number from 1 to 65535, or \"#{port}\"".into(),
            ),
            Self::Host => (
                !text.is_empty() && (!text.contains(':') || text.starts_with('[')),
                "a host without port, or leave the key out to keep it".into(),
            ),
            Self::Path => (text.starts_with('/'), format!("begin with a slash: \"/{text}\"")),
            Self::Query => {
                (!text.starts_with('?'), format!("write \"{}\"", text.trim_start_matches('?')))
            }
        };
        if fits {
            return Ok(());
        }
        Err(Flaw::new(format!("{} cannot be the {} of a redirect", quote(text), self.key()), help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_read_where_they_are_legal() {
        use TemplatePart::{Host, Path, Port, Text};
        let text = |text: &str| Text(text.into());
        let cases = [
            (Part::Path, "/new/#{path}", vec![text("/new/"), Path]),
            (Part::Host, "www.#{host}", vec![text("www."), Host]),
            (Part::Query, "a=#{host}&b=#{port}", vec![text("a="), Host, text("&b="), Port]),
            (Part::Query, "", vec![]),
            (Part::Port, "443", vec![text("443")]),
        ];
        for (part, template, expected) in cases {
            assert_eq!(part.read(template).unwrap().0, expected, "{template}");
        }
    }

    #[test]
    fn templates_are_refused_with_a_cure() {
        let cases = [
            (Part::Protocol, "ftp", "protocol", "https"),
            (Part::Protocol, "HTTPS", "protocol", "https"),
            (Part::Protocol, "", "protocol", "https"),
            (Part::Host, "#{path}", "cannot stand in `host`", "#{host}"),
            (Part::Host, "#{hots}", "unknown placeholder", "#{host}"),
            (Part::Host, "a b", "cannot stand", "letters"),
            (Part::Host, "", "host", "leave the key out"),
            (Part::Host, "a:80", "host", "without port"),
            (Part::Port, "0", "port", "65535"),
            (Part::Port, "443#{port}", "port", "65535"),
            (Part::Path, "new", "path", "/new"),
            (Part::Path, "/a?b=c", "`?`", "`query`"),
            (Part::Path, "/a\r\nSet-Cookie: x", "cannot stand", "percent-encode"),
            (Part::Path, "/é", "`é`", "percent-encode"),
            (Part::Path, "/#{path", "no `}`", "#{path}"),
            (Part::Path, "/#{query}", "cannot stand in `path`", "#{path}"),
            (Part::Query, "?a=b", "query", "\"a=b\""),
        ];
        for (part, template, problem, help) in cases {
            let flaw = part.read(template).unwrap_err();
            assert!(flaw.problem.contains(problem), "{template}: {flaw:?}");
            assert!(flaw.help.as_ref().is_some_and(|h| h.contains(help)), "{template}: {flaw:?}");
        }
    }
}
