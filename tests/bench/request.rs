//! Whole HTTP/1.1 requests, made once and sent many times. Pure.

use std::fmt::Write as _;

use bytes::Bytes;

/// What a caller of a service sends with each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    key: &'a str,
    session: Option<&'a str>,
}

impl<'a> Caller<'a> {
    /// With this API key.
    pub(crate) fn of(key: &'a str) -> Self {
        Self { key, session: None }
    }

    /// With this session's token too.
    pub(crate) fn in_session(self, token: &'a str) -> Self {
        Self { session: Some(token), ..self }
    }

    /// `number` makes the correlation id and the trace, which a real caller never sends twice.
    pub(crate) fn request(self, method: &str, path: &str, number: usize, body: Option<Body<'_>>) -> Bytes {
        let mut text =
            format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n", self.key);
        let _ = write!(text, "x-correlation-id: 01900000-0000-7000-8000-{number:012x}\r\n");
        let _ = write!(text, "traceparent: 00-{:032x}-{:016x}-01\r\n", number + 1, number + 1);
        if let Some(token) = self.session {
            let _ = write!(text, "sluice-session: {token}\r\n");
        }
        let Body { content_type, text: content } = body.unwrap_or_default();
        if !content_type.is_empty() {
            let _ = write!(text, "content-type: {content_type}\r\ncontent-length: {}\r\n", content.len());
        }
        text.push_str("\r\n");
        text.push_str(content);
        Bytes::from(text)
    }
}

/// A request of somebody whom a proxy of the edge let through, each number from an address of its own.
pub(crate) fn forwarded(path: &str, number: usize) -> Bytes {
    let address = format!("10.0.{}.{}", number / 256 % 256, number % 256);
    Bytes::from(format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: bench/1\r\naccept: */*\r\n\
         x-forwarded-for: {address}\r\n\r\n"
    ))
}

/// The body of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Body<'a> {
    content_type: &'static str,
    text: &'a str,
}

impl<'a> Body<'a> {
    pub(crate) fn json(text: &'a str) -> Self {
        Self { content_type: "application/json", text }
    }

    pub(crate) fn plain(text: &'a str) -> Self {
        Self { content_type: "text/plain", text }
    }
}

/// Text without meaning, the same on every machine and in every run, that no compressor makes small.
pub(crate) fn noise(length: usize, seed: usize) -> String {
    let mut state = u64::try_from(seed).unwrap_or_default().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let _ = write!(text, "{state:016x}");
    }
    text.truncate(length);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole() {
        let caller = Caller::of("sk_a_b");
        let request = caller.request("POST", "/v1/x", 255, Some(Body::json("{}")));
        assert_eq!(
            std::str::from_utf8(&request).unwrap(),
            "POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer sk_a_b\r\n\
             x-correlation-id: 01900000-0000-7000-8000-0000000000ff\r\n\
             traceparent: 00-00000000000000000000000000000100-0000000000000100-01\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
        assert!(!caller.request("GET", "/", 0, None).windows(7).any(|window| window == b"content"));
    }

    #[test]
    fn every_visitor_has_an_address() {
        let request = forwarded("/open/1", 999);
        assert!(request.ends_with(b"\r\nx-forwarded-for: 10.0.3.231\r\n\r\n"), "{request:?}");
    }

    #[test]
    fn noise_is_repeatable_and_of_the_length_asked_for() {
        assert_eq!(noise(1000, 7), noise(1000, 7));
        assert_ne!(noise(1000, 7), noise(1000, 8));
        for length in [0, 1, 16, 17, 1024] {
            assert_eq!(noise(length, 1).len(), length);
        }
    }
}
