//! Which fields concern only one hop, and stay behind (RFC 9110, 7.6.1).

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::{Method, Version};

/// Removes what concerns only the hop that it came over: `Connection`, what it names, and what always does.
pub(super) fn strip_hop(headers: &mut HeaderMap) {
    // Most messages have none; a copy is made only for those that do.
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = connection_names(headers)
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            // These belong to the message, whatever a client says.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TE, &TRANSFER_ENCODING, &UPGRADE, &HTTP2_SETTINGS] {
        headers.remove(name);
    }
}

fn connection_names(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(CONNECTION).into_iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Leaves one length of an answer, and none beside a coding: hyper goes by the coding and passes the length on
/// (RFC 9112, 6.3).
pub(super) fn frame_once(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    } else if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = headers.remove(CONTENT_LENGTH)
    {
        // hyper has seen to it that they are equal.
        headers.insert(CONTENT_LENGTH, length);
    }
}

/// Whether there is a transfer coding beside `chunked`. hyper undoes that one only, and the others would pass undeclared.
pub(super) fn has_other_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).into_iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    codings.next().is_some_and(|first| !is_chunked(first)) || codings.next().is_some()
}

/// Whether the sender can take trailers.
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).into_iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Removes fields that a client must not set, in any spelling that an upstream might read as them: CGI and its heirs
/// (WSGI, Rack, PHP) take `_` and `-` for the same.
pub(super) fn remove_forged(headers: &mut HeaderMap, removed: &[HeaderName], added: &HeaderMap) {
    let is_forged = |name: &HeaderName| {
        if !name.as_str().contains('_') {
            return removed.contains(name);
        }
        let dashed = name.as_str().replace('_', "-");
        let framing = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING];
        removed.iter().chain(&framing).any(|name| name.as_str() == dashed) || added.contains_key(&dashed)
    };
    // One look at each field that is there, and none at what most requests do not have.
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_forged(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

/// Adds our name to the way that the message came.
pub(super) fn add_via(headers: &mut HeaderMap, version: Version) {
    let entry = match version {
        Version::HTTP_2 => "2 sluice",
        Version::HTTP_10 => "1.0 sluice",
        _ => "1.1 sluice",
    };
    headers.append(VIA, HeaderValue::from_static(entry));
}

/// HTTP/2 may split cookies over several fields; HTTP/1.1 may not (RFC 9113, 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}

/// What `Max-Forwards` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hops {
    /// Pass it on; the field, if any, was counted down.
    GoOn,
    /// We are the last to get it.
    EndHere,
}

/// Counts `Max-Forwards` down; only `OPTIONS` and `TRACE` heed it (RFC 9110, 7.6.2).
pub(super) fn count_hop(method: &Method, headers: &mut HeaderMap) -> Hops {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return Hops::GoOn;
    }
    let left = headers.get(MAX_FORWARDS).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match left {
        None => Hops::GoOn,
        Some(0) => Hops::EndHere,
        Some(left) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            Hops::GoOn
        }
    }
}

/// Sets each field in place of what the upstream said, and keeps what it said about limits of its own beside ours.
pub(super) fn set(headers: &mut HeaderMap, fields: &HeaderMap) {
    for name in fields.keys() {
        if !matches!(name.as_str(), "ratelimit" | "ratelimit-policy") {
            headers.remove(name);
        }
        for value in fields.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const MAX_FORWARDS: HeaderName = HeaderName::from_static("max-forwards");

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(pair).collect()
    }

    #[test]
    fn what_concerns_one_hop_stays_behind() {
        let mut headers = of(&[
            ("host", "a"),
            ("content-length", "3"),
            ("accept", "b"),
            ("x-hop", "c"),
            ("x-other", "d"),
            ("connection", "keep-alive, X-Hop,Host , content-length"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers, deflate"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("http2-settings", "x"),
            ("trailer", "x-sum"),
        ]);
        strip_hop(&mut headers);
        assert_eq!(
            headers,
            of(&[("host", "a"), ("content-length", "3"), ("accept", "b"), ("trailer", "x-sum")])
        );
    }

    #[test]
    fn trailers_are_the_one_thing_of_te_that_counts() {
        assert!(takes_trailers(&of(&[("te", "deflate, Trailers")])));
        assert!(!takes_trailers(&of(&[("te", "deflate")])));
        assert!(!takes_trailers(&of(&[])));
    }

    #[test]
    fn a_forged_field_goes_in_any_spelling() {
        let added = of(&[("x-forwarded-for", "192.0.2.1")]);
        let mut headers = of(&[
            ("sluice-user", "root"),
            ("sluice_user", "root"),
            ("x_forwarded_for", "127.0.0.1"),
            ("content_length", "3"),
            ("my_field", "kept"),
        ]);
        remove_forged(&mut headers, &[HeaderName::from_static("sluice-user")], &added);
        assert_eq!(headers, of(&[("my_field", "kept")]));
    }

    #[test]
    fn max_forwards_is_counted_down_for_options_and_trace() {
        let count = |method, fields| {
            let mut headers = of(fields);
            (count_hop(&method, &mut headers), headers.get("max-forwards").cloned())
        };
        let value = |text| Some(HeaderValue::from_static(text));
        assert_eq!(count(Method::OPTIONS, &[("max-forwards", "3")]), (Hops::GoOn, value("2")));
        assert_eq!(count(Method::TRACE, &[("max-forwards", "0")]), (Hops::EndHere, value("0")));
        assert_eq!(count(Method::GET, &[("max-forwards", "0")]), (Hops::GoOn, value("0")));
        assert_eq!(count(Method::OPTIONS, &[]), (Hops::GoOn, None));
    }

    #[test]
    fn cookies_of_http2_become_one_field() {
        let mut headers = of(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut headers);
        assert_eq!(headers, of(&[("cookie", "a=1; b=2")]));
    }

    #[test]
    fn our_fields_replace_the_upstreams_and_its_limits_stay_beside_ours() {
        let mut headers = of(&[("ratelimit", "\"up\";r=1"), ("x-correlation-id", "up"), ("etag", "\"e\"")]);
        set(&mut headers, &of(&[("ratelimit", "\"ours\";r=2"), ("x-correlation-id", "ours")]));
        let both: Vec<_> = headers.get_all("ratelimit").iter().collect();
        assert_eq!(both, ["\"up\";r=1", "\"ours\";r=2"]);
        assert_eq!(
            (&headers["x-correlation-id"], &headers["etag"]),
            (&HeaderValue::from_static("ours"), &HeaderValue::from_static("\"e\""))
        );
    }
}
