//! One request head of HTTP/1, judged strictly: what two readers could take in two ways does not pass.
//!
//! RFC 9112, with every "MAY accept" refused. hyper reads the head again afterwards; this is about what it would let
//! through: `Content-Length` beside `Transfer-Encoding`, other codings, a second `Host`, bare line feeds.

use super::refusal::Reason;
use std::net::Ipv6Addr;

/// What follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Another head.
    Nothing,
    /// So many bytes.
    Length(u64),
    Chunked,
    /// After a request to upgrade nothing is read as HTTP again: bytes of the new protocol, or of nobody.
    Tunnel,
}

/// Judges a whole head, its empty line included. `url_bytes_max` bounds the target.
pub(crate) fn judge(head: &[u8], url_bytes_max: usize) -> Result<Framing, Reason> {
    let head = head.strip_suffix(b"\r\n\r\n").ok_or(Reason::RequestLine)?;
    let (request_line, mut rest) = line(head);
    let request = RequestLine::parse(request_line, url_bytes_max)?;
    let mut fields = Fields::default();
    let mut count = 0;
    while let Some(remaining) = rest {
        let (field, after) = line(remaining);
        count += 1;
        if count > FIELDS_MAX {
            return Err(Reason::HeadTooLarge);
        }
        fields.add(field)?;
        rest = after;
    }
    fields.framing(&request)
}

/// The first line, and what comes after its CRLF.
fn line(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.windows(2).position(|pair| pair == b"\r\n") {
        Some(at) => (&text[..at], Some(&text[at + 2..])),
        None => (text, None),
    }
}

struct RequestLine<'a> {
    method: &'a [u8],
    /// Of an absolute target.
    authority: Option<&'a [u8]>,
    is_1_1: bool,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8], url_bytes_max: usize) -> Result<Self, Reason> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::RequestLine);
        };
        if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.iter().all(|byte| is_token(*byte))
        {
            return Err(Reason::RequestLine);
        }
        if target.len() > url_bytes_max {
            return Err(Reason::UrlTooLong);
        }
        let is_1_1 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(Reason::RequestLine),
        };
        if method == b"CONNECT" {
            return Err(Reason::Connect);
        }
        Ok(Self { method, authority: authority(method, target)?, is_1_1 })
    }
}

/// The authority of an absolute target; none where the target is a path.
fn authority<'a>(method: &[u8], target: &'a [u8]) -> Result<Option<&'a [u8]>, Reason> {
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(None) } else { Err(Reason::Target) };
    }
    if target.first() == Some(&b'/') {
        return is_path(target).then_some(None).ok_or(Reason::Target);
    }
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| starts_with(target, scheme));
    let rest = &target[scheme.ok_or(Reason::Target)?.len()..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    is_path(&rest[end..]).then_some(Some(&rest[..end])).ok_or(Reason::Target)
}

/// Whether it is a path and a query that every reader takes alike. A fragment is never sent; a backslash is a slash
/// for some; the other excluded bytes are escaped by every client.
pub(crate) fn is_path(text: &[u8]) -> bool {
    let mut in_query = false;
    text.iter().all(|byte| {
        in_query |= *byte == b'?';
        match byte {
            b'"' | b'#' | b'<' | b'>' => false,
            b'\\' | b'`' => in_query,
            byte => (0x21..=0x7e).contains(byte),
        }
    })
}

/// Whether it is a host and perhaps a port, in the one form that all readers take alike.
pub(crate) fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text.iter().rposition(|byte| *byte == b':') {
        Some(at) if text.last() != Some(&b']') => (&text[..at], Some(&text[at + 1..])),
        _ => (text, None),
    };
    let is_port = |digits: &[u8]| {
        (1..=5).contains(&digits.len())
            && digits.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_address =
        |inside: &[u8]| std::str::from_utf8(inside).is_ok_and(|inside| inside.parse::<Ipv6Addr>().is_ok());
    let inside = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let is_host = match inside {
        Some(inside) => is_address(inside),
        None => (1..=HOST_BYTES_MAX).contains(&host.len()) && host.iter().all(is_name),
    };
    is_host && port.is_none_or(is_port)
}

/// What the fields say about the message; all others are only checked for their form.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    coding: Option<&'a [u8]>,
    upgrade: Option<&'a [u8]>,
    http2_settings: bool,
    connection_upgrade: bool,
}

impl<'a> Fields<'a> {
    fn add(&mut self, line: &'a [u8]) -> Result<(), Reason> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Reason::FoldedField);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Reason::Field)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Reason::Field);
        }
        if value.iter().any(|byte| is_control(*byte)) {
            return Err(Reason::ControlByte);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                let host = trim(value);
                once(&mut self.host, is_host(host).then_some(host), Reason::Host)?;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                once(&mut self.upgrade, Some(trim(value)), Reason::Upgrade)?;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                self.connection_upgrade |= names.any(|name| name.eq_ignore_ascii_case(b"upgrade"));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                once(&mut self.length, decimal(trim(value)), Reason::Length)?;
            }
            14 if name.eq_ignore_ascii_case(b"http2-settings") => self.http2_settings = true,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                once(&mut self.coding, Some(trim(value)), Reason::Coding)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, request: &RequestLine<'_>) -> Result<Framing, Reason> {
        let host = self.host.ok_or(Reason::Host)?;
        if request.authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host)) {
            return Err(Reason::OtherHost);
        }
        let framing = match (self.length, self.coding) {
            (Some(_), Some(_)) => return Err(Reason::LengthAndCoding),
            (None, Some(coding)) if request.is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => {
                Framing::Chunked
            }
            (None, Some(_)) => return Err(Reason::Coding),
            (Some(0) | None, None) => Framing::Nothing,
            (Some(length), None) => Framing::Length(length),
        };
        let Some(upgrade) = self.upgrade else {
            return if self.http2_settings { Err(Reason::Upgrade) } else { Ok(framing) };
        };
        let holds = upgrade.eq_ignore_ascii_case(b"websocket")
            && self.connection_upgrade
            && !self.http2_settings
            && request.is_1_1
            && request.method == b"GET"
            && framing == Framing::Nothing;
        if holds { Ok(Framing::Tunnel) } else { Err(Reason::Upgrade) }
    }
}

/// Takes a value that is valid and the first.
fn once<T>(place: &mut Option<T>, value: Option<T>, reason: Reason) -> Result<(), Reason> {
    let value = value.ok_or(reason)?;
    if place.replace(value).is_some() { Err(reason) } else { Ok(()) }
}

/// Spaces only: a tab before a length or a coding is legal, and nobody honest sends it.
fn trim(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|byte| *byte != b' ').unwrap_or(value.len());
    let end = value.iter().rposition(|byte| *byte != b' ').map_or(start, |last| last + 1);
    &value[start..end]
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plausible = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plausible.then(|| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// `tchar` of RFC 9110.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What no value may hold. A tab may stand in it.
pub(crate) fn is_control(byte: u8) -> bool {
    byte != b'\t' && byte.is_ascii_control()
}

/// As many as hyper reads.
const FIELDS_MAX: usize = 100;
const METHOD_BYTES_MAX: usize = 32;
const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Result<Framing, Reason> {
        let head = format!("{}\r\n\r\n", lines.join("\r\n"));
        judge(head.as_bytes(), 100)
    }

    #[test]
    fn what_follows_a_head_is_said_once_and_clearly() {
        for (fields, expected) in [
            (&["Host: a"][..], Ok(Framing::Nothing)),
            (&["Host: a", "Content-Length: 0"], Ok(Framing::Nothing)),
            (&["Host: a", "content-length:7"], Ok(Framing::Length(7))),
            (&["Host: a", "Transfer-Encoding: Chunked"], Ok(Framing::Chunked)),
            (&["Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"], Err(Reason::LengthAndCoding)),
            (&["Host: a", "Transfer-Encoding: chunked", "Content-Length: 5"], Err(Reason::LengthAndCoding)),
            (&["Host: a", "Content-Length: 5", "Content-Length: 5"], Err(Reason::Length)),
            (&["Host: a", "Content-Length: 5, 5"], Err(Reason::Length)),
            (&["Host: a", "Content-Length: +5"], Err(Reason::Length)),
            (&["Host: a", "Content-Length: 0x5"], Err(Reason::Length)),
            (&["Host: a", "Content-Length:"], Err(Reason::Length)),
            (&["Host: a", "Content-Length: 18446744073709551621"], Err(Reason::Length)),
            (&["Host: a", "Transfer-Encoding: gzip, chunked"], Err(Reason::Coding)),
            (&["Host: a", "Transfer-Encoding: chunked, identity"], Err(Reason::Coding)),
            (&["Host: a", "Transfer-Encoding: identity"], Err(Reason::Coding)),
            (&["Host: a", "Transfer-Encoding:\tchunked"], Err(Reason::Coding)),
            (&["Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], Err(Reason::Coding)),
        ] {
            let lines = [&["POST / HTTP/1.1"], fields].concat();
            assert_eq!(of(&lines), expected, "{fields:?}");
        }
        assert_eq!(of(&["POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked"]), Err(Reason::Coding));
    }

    #[test]
    fn a_target_is_a_path_or_a_url_of_the_same_host() {
        for (line, expected) in [
            ("GET /a%2Fb//c/../d?x=%20&y={\\} HTTP/1.1", Ok(Framing::Nothing)),
            ("OPTIONS * HTTP/1.1", Ok(Framing::Nothing)),
            ("GET http://A:80/x HTTP/1.1", Ok(Framing::Nothing)),
            ("GET https://a:80 HTTP/1.1", Ok(Framing::Nothing)),
            ("GET http://b/ HTTP/1.1", Err(Reason::OtherHost)),
            ("GET http://a:80@b/ HTTP/1.1", Err(Reason::OtherHost)),
            ("GET http://[::1 HTTP/1.1", Err(Reason::OtherHost)),
            ("GET ftp://a:80/ HTTP/1.1", Err(Reason::Target)),
            ("GET refused://host/ HTTP/1.1", Err(Reason::Target)),
            ("GET a HTTP/1.1", Err(Reason::Target)),
            ("GET * HTTP/1.1", Err(Reason::Target)),
            ("GET /a#b HTTP/1.1", Err(Reason::Target)),
            ("GET /a\\b HTTP/1.1", Err(Reason::Target)),
            ("GET /\u{e9} HTTP/1.1", Err(Reason::Target)),
            ("GET  / HTTP/1.1", Err(Reason::RequestLine)),
            ("GET / HTTP/1.1 ", Err(Reason::RequestLine)),
            ("GET / HTTP/2.0", Err(Reason::RequestLine)),
            ("GET /", Err(Reason::RequestLine)),
            ("G(T / HTTP/1.1", Err(Reason::RequestLine)),
            ("CONNECT a:80 HTTP/1.1", Err(Reason::Connect)),
        ] {
            assert_eq!(of(&[line, "Host: a:80"]), expected, "{line}");
        }
        let long = format!("GET /{} HTTP/1.1", "a".repeat(100));
        assert_eq!(of(&[&long, "Host: a"]), Err(Reason::UrlTooLong));
    }

    #[test]
    fn a_request_has_one_host() {
        for host in ["a", "A.example:8080", "127.0.0.1", "[::1]", "[2001:db8::1]:80", "a_b"] {
            assert_eq!(of(&["GET / HTTP/1.1", &format!("Host: {host}")]), Ok(Framing::Nothing), "{host}");
        }
        for host in ["", "a b", "a:", "a:99999", "a:x", "[::1", "::1", "a@b", "a/b", "a,b", "[a]"] {
            assert_eq!(of(&["GET / HTTP/1.1", &format!("Host: {host}")]), Err(Reason::Host), "{host}");
        }
        assert_eq!(of(&["GET / HTTP/1.1", "Host: a", "Host: a"]), Err(Reason::Host));
        assert_eq!(of(&["GET / HTTP/1.1", "Accept: a"]), Err(Reason::Host));
        assert_eq!(of(&["GET / HTTP/1.1"]), Err(Reason::Host));
    }

    #[test]
    fn a_field_is_a_name_and_a_value_on_one_line() {
        for (line, expected) in [
            ("Accept: a\tb \u{e9}", Ok(Framing::Nothing)),
            ("Accept:", Ok(Framing::Nothing)),
            ("Accept : a", Err(Reason::Field)),
            (": a", Err(Reason::Field)),
            ("Accept", Err(Reason::Field)),
            (" folded", Err(Reason::FoldedField)),
            ("\tfolded", Err(Reason::FoldedField)),
            ("Accept: a\0b", Err(Reason::ControlByte)),
            ("Accept: a\rb", Err(Reason::ControlByte)),
            ("Accept: a\nb", Err(Reason::ControlByte)),
            ("Accept: a\u{7f}b", Err(Reason::ControlByte)),
        ] {
            assert_eq!(of(&["GET / HTTP/1.1", "Host: a", line]), expected, "{line:?}");
        }
        let many = vec!["a: b"; 100];
        assert_eq!(of(&[&["GET / HTTP/1.1", "Host: a"], &many[..]].concat()), Err(Reason::HeadTooLarge));
        assert_eq!(of(&[&["GET / HTTP/1.1", "Host: a"], &many[1..]].concat()), Ok(Framing::Nothing));
    }

    #[test]
    fn the_only_upgrade_is_a_websocket() {
        let upgrade = |line: &str, fields: &[&str]| of(&[&[line, "Host: a"], fields].concat());
        let get = "GET / HTTP/1.1";
        let good = ["Connection: keep-alive, Upgrade", "Upgrade: WebSocket"];
        assert_eq!(upgrade(get, &good), Ok(Framing::Tunnel));
        for (line, fields) in [
            ("GET / HTTP/1.0", &good[..]),
            ("POST / HTTP/1.1", &good),
            (get, &[good[0], good[1], "Content-Length: 5"]),
            (get, &["Upgrade: websocket"]),
            (get, &["Connection: Upgrade", "Upgrade: h2c"]),
            (get, &["Connection: Upgrade", "Upgrade: websocket, h2c"]),
            (get, &["Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"]),
            (get, &["Connection: HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"]),
        ] {
            assert_eq!(upgrade(line, fields), Err(Reason::Upgrade), "{line} {fields:?}");
        }
    }
}
