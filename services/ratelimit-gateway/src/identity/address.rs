//! Whose address it is: the socket's, or what the proxies before us saw.

use http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};

/// From the client to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) client: IpAddr,
    /// `X-Forwarded-For` for the upstream: what trusted proxies said, and who called us.
    pub(crate) forwarded_for: String,
    /// Whether the proxies' other words (`X-Forwarded-Proto`, `-Host`) count.
    pub(crate) is_trusted: bool,
}

impl Way {
    /// Walks `X-Forwarded-For` from the right, over so many proxies of ours; what lies beyond them a client can write, and is
    /// not read. One entry that is missing or no address, and only the socket counts. `Forwarded` is not read.
    pub(crate) fn new(headers: &HeaderMap, peer: IpAddr, hops: usize) -> Self {
        let peer = peer.to_canonical();
        // The nearest first; at most as many as there are proxies, however many there are.
        let fields = headers.get_all(FORWARDED_FOR).iter().rev();
        let entries = fields.flat_map(|field| field.as_bytes().rsplit(|byte| *byte == b','));
        let seen: Option<Vec<IpAddr>> = entries.take(hops).map(address).collect();
        let seen = seen.filter(|seen| seen.len() == hops).unwrap_or_default();
        let is_trusted = !seen.is_empty();
        let chain = seen.iter().rev().chain([&peer]);
        Self {
            client: seen.last().copied().unwrap_or(peer),
            forwarded_for: chain.map(IpAddr::to_string).collect::<Vec<_>>().join(", "),
            is_trusted,
        }
    }
}

/// `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;

    fn way(hops: usize, fields: &[&[u8]]) -> (String, String) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(FORWARDED_FOR, http::HeaderValue::from_bytes(field).unwrap());
        }
        let way = Way::new(&headers, "::ffff:192.0.2.1".parse().unwrap(), hops);
        (way.client.to_string(), way.forwarded_for)
    }

    #[test]
    fn the_entry_counts_that_the_outermost_trusted_proxy_added() {
        let many = vec!["198.51.100.1"; 200].join(", ") + ", 203.0.113.9";
        for (hops, fields, client, chain) in [
            (0, &["127.0.0.1"][..], "192.0.2.1", "192.0.2.1"),
            (1, &["127.0.0.1, 203.0.113.9:5555"], "203.0.113.9", "203.0.113.9, 192.0.2.1"),
            (1, &["127.0.0.1", "203.0.113.9"], "203.0.113.9", "203.0.113.9, 192.0.2.1"),
            (2, &["127.0.0.1, 203.0.113.9", "10.0.0.1"], "203.0.113.9", "203.0.113.9, 10.0.0.1, 192.0.2.1"),
            (1, &["[2001:db8::1]:4711"], "2001:db8::1", "2001:db8::1, 192.0.2.1"),
            (1, &["[2001:db8::1]"], "2001:db8::1", "2001:db8::1, 192.0.2.1"),
            (1, &["::ffff:203.0.113.9"], "203.0.113.9", "203.0.113.9, 192.0.2.1"),
            (1, &[&many], "203.0.113.9", "203.0.113.9, 192.0.2.1"),
        ] {
            let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
            assert_eq!(way(hops, &fields), (client.to_owned(), chain.to_owned()), "{hops} {fields:?}");
        }
    }

    #[test]
    fn what_is_no_address_leaves_the_sockets() {
        for (hops, field) in [
            (1, &b""[..]),
            (1, b"203.0.113.9, "),
            (1, b"unknown"),
            (1, b"203.0.113.9:port"),
            (1, b"\xff"),
            (2, b"203.0.113.9"),
            (2, b"203.0.113.9, garbage"),
            (2, b"garbage, 203.0.113.9"),
        ] {
            assert_eq!(way(hops, &[field]), ("192.0.2.1".to_owned(), "192.0.2.1".to_owned()), "{field:?}");
        }
        assert_eq!(way(1, &[]).0, "192.0.2.1");
    }
}
