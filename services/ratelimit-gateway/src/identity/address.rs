//! Whose address it is: the socket's, or what the proxies before us saw.

use http::{HeaderMap, HeaderName};
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV4};

/// From the client to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) client: IpAddr,
    /// What trusted proxies saw, the nearest first. When there is any, their other words (`X-Forwarded-Proto`, `-Host`) count.
    seen: Vec<IpAddr>,
    peer: IpAddr,
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
        Self { client: seen.last().copied().unwrap_or(peer), seen, peer }
    }

    /// Whether what proxies said counts.
    pub(crate) fn is_trusted(&self) -> bool {
        !self.seen.is_empty()
    }

    /// `X-Forwarded-For` for the upstream: what trusted proxies said, and who called us.
    pub(crate) fn forwarded_for(&self) -> String {
        let mut text = String::with_capacity(64);
        for address in self.seen.iter().rev() {
            let _ = write!(text, "{address}, ");
        }
        let _ = write!(text, "{}", self.peer);
        text
    }
}

/// `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`; IPv6 also with a zone, as in
/// `[fe80::1%eth0]:80`. The zone is left out: it names an interface of the proxy, and means nothing here.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        return v6(address).filter(|_| port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let v4 = || text.parse::<SocketAddrV4>().map(|socket| *socket.ip()).or_else(|_| text.parse()).ok();
    v4().map(IpAddr::V4).or_else(|| v6(text))
}

fn v6(text: &str) -> Option<IpAddr> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    // RFC 4007, 11.2, and RFC 6874 for one inside a URL: `%25eth0`.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%');
    let is_zone = |zone: &str| !zone.is_empty() && zone.bytes().all(fits);
    zone.is_none_or(is_zone).then(|| address.parse::<Ipv6Addr>().ok())?.map(|v6| v6.to_canonical())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use ratelimit::Scope;
    use std::net::Ipv4Addr;

    fn fields(lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap())).collect()
    }

    fn way(hops: usize, lines: &[&[u8]]) -> (String, String) {
        let way = Way::new(&fields(lines), "::ffff:192.0.2.1".parse().unwrap(), hops);
        (way.client.to_string(), way.forwarded_for())
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
            (1, &["[fe80::1%1]:80"], "fe80::1", "fe80::1, 192.0.2.1"),
            (1, &["fe80::1%eth0"], "fe80::1", "fe80::1, 192.0.2.1"),
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
            (1, b"203.0.113.9:65536"),
            (1, b"203.0.113.9%1"),
            (1, b"[203.0.113.9]"),
            (1, b"[2001:db8::1]4711"),
            (1, b"[2001:db8::1]:"),
            (1, b"[2001:db8::1"),
            (1, b"fe80::1%"),
            (1, b"fe80::1% 1"),
            (1, b"\xff"),
            (2, b"203.0.113.9"),
            (2, b"203.0.113.9, garbage"),
            (2, b"garbage, 203.0.113.9"),
        ] {
            assert_eq!(way(hops, &[field]), ("192.0.2.1".to_owned(), "192.0.2.1".to_owned()), "{field:?}");
        }
        assert_eq!(way(1, &[]).0, "192.0.2.1");
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        let v4 = || any::<u32>().prop_map(Ipv4Addr::from);
        prop_oneof![
            v4().prop_map(IpAddr::V4),
            any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()),
            v4().prop_map(|v4| v4.to_ipv6_mapped().into()),
            v4().prop_map(|v4| nat64(v4).into()),
        ]
    }

    fn nat64(v4: Ipv4Addr) -> Ipv6Addr {
        Ipv6Addr::from((0x64_ff9b << 96) | u128::from(u32::from(v4)))
    }

    /// How proxies write an address.
    fn spellings(address: IpAddr, port: u16, zone: &str) -> Vec<String> {
        match address {
            IpAddr::V4(v4) => vec![format!("{v4}"), format!("{v4}:{port}"), format!(" {v4}\t")],
            IpAddr::V6(v6) => vec![
                format!("{v6}"),
                format!("[{v6}]"),
                format!("[{v6}]:{port}"),
                format!("{v6}%{zone}"),
                format!("[{v6}%{zone}]"),
                format!("\t[{v6}%25{zone}]:{port} "),
            ],
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_an_address_is_that_address(
            address in any_address(),
            port: u16,
            zone in "[a-zA-Z0-9._~-]{1,8}",
        ) {
            for text in spellings(address, port, &zone) {
                prop_assert_eq!(super::address(text.as_bytes()), Some(address.to_canonical()), "{}", text);
            }
        }

        #[test]
        fn whoever_has_an_ipv6_address_counts_by_its_network(network: u64, hosts: [u64; 2], other: u64) {
            let client = |network: u64, host: u64| {
                let address = Ipv6Addr::from((u128::from(network) << 64) | u128::from(host));
                Way::new(&fields(&[format!("[{address}]:1").as_bytes()]), PEER, 1).client
            };
            // Mapped and NAT64 addresses lie in two networks of their own.
            prop_assume!(![0, 0x64_ff9b << 32].contains(&network));
            prop_assert_eq!(Scope::ip(client(network, hosts[0])), Scope::ip(client(network, hosts[1])));
            prop_assert_eq!(network == other, Scope::ip(client(network, 0)) == Scope::ip(client(other, 0)));
        }

        #[test]
        fn an_ipv4_address_inside_an_ipv6_one_counts_as_itself(bits: u32, port: u16) {
            let v4 = Ipv4Addr::from(bits);
            for v6 in [v4.to_ipv6_mapped(), nat64(v4)] {
                for text in spellings(v6.into(), port, "eth0") {
                    let way = Way::new(&fields(&[text.as_bytes()]), PEER, 1);
                    prop_assert_eq!(Scope::ip(way.client), Scope::ip(v4.into()), "{}", text);
                }
            }
        }

        #[test]
        fn the_client_is_an_entry_of_a_trusted_proxy_or_the_peer(
            lines in vec(vec(prop_oneof![
                any_address().prop_map(|address| address.to_string().into_bytes()),
                "[0-9a-f:.%\\[\\] ]{0,24}".prop_map(String::into_bytes),
                vec(any::<u8>(), 0..24),
            ], 0..4), 0..4),
            hops in 0_usize..5,
        ) {
            let lines: Vec<Vec<u8>> = lines.iter().map(|entries| entries.join(&b','))
                .filter(|line| HeaderValue::from_bytes(line).is_ok()).collect();
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let way = Way::new(&fields(&lines), PEER, hops);

            let all = lines.join(&b',');
            let entries: Vec<&[u8]> = if lines.is_empty() { vec![] } else { all.split(|byte| *byte == b',').collect() };
            let trusted = entries.len().checked_sub(hops).map(|first| &entries[first..]);
            let seen: Option<Vec<IpAddr>> = trusted.and_then(|entries| entries.iter().map(|entry| super::address(entry)).collect());
            let seen = seen.unwrap_or_default();
            prop_assert_eq!(way.client, seen.first().copied().unwrap_or(PEER));
            prop_assert_eq!(way.is_trusted(), !seen.is_empty());
            let told: Vec<IpAddr> = way.forwarded_for().split(", ").map(|text| text.parse().unwrap()).collect();
            prop_assert_eq!(told, seen.iter().copied().chain([PEER]).collect::<Vec<_>>());
        }
    }

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
}
