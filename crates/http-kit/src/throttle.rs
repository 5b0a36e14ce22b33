//! Slows down whoever tries keys.
//!
//! A key has 256 random bits, so nobody guesses one; this bounds what the attempts cost. A right key is never
//! throttled: behind one address there may be a gateway with honest users.

use crate::addresses::network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failed attempts by address. At most [`ADDRESSES_MAX`] of them, the rest share one.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    failures: HashMap<Option<IpAddr>, Failures>,
    /// When the table was last searched for what is over: once a second is enough, also in a flood.
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Throttle {
    /// Counts a failure, and says how long the address has to wait when it had too many.
    pub(crate) fn failed(&mut self, address: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let due = self.swept.is_none_or(|swept| now.duration_since(swept) >= Duration::from_secs(1));
        if due && self.failures.len() >= ADDRESSES_MAX {
            self.swept = Some(now);
            self.failures.retain(|_, failures| now.duration_since(failures.since) < WINDOW);
        }
        let address = address.map(network).filter(|address| {
            self.failures.len() < ADDRESSES_MAX || self.failures.contains_key(&Some(*address))
        });
        let failures = self.failures.entry(address).or_insert(Failures { since: now, count: 0 });
        if now.duration_since(failures.since) >= WINDOW {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        (failures.count > FAILURES_MAX).then(|| WINDOW - now.duration_since(failures.since))
    }
}

const FAILURES_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
const ADDRESSES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn address(last: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(last.into()))
    }

    #[test]
    fn after_twenty_failures_in_a_minute_the_address_waits_for_its_end() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for attempt in 1..=20 {
            assert_eq!(throttle.failed(address(1), start), None, "attempt {attempt}");
        }

        let later = start + Duration::from_secs(10);
        assert_eq!(throttle.failed(address(1), later), Some(Duration::from_secs(50)));
        assert_eq!(throttle.failed(address(2), later), None);
        assert_eq!(throttle.failed(address(1), start + WINDOW), None);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let of = |host: u16| Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host)));
        let throttled = (0..21).filter_map(|host| throttle.failed(of(host), now)).count();
        assert_eq!(throttled, 1);
    }

    #[test]
    fn a_flood_of_addresses_takes_a_bounded_table() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for last in 0..3 * ADDRESSES_MAX as u32 {
            throttle.failed(address(last), now);
        }
        assert!(throttle.failures.len() <= ADDRESSES_MAX + 1);
        assert!(throttle.failed(address(u32::MAX), now).is_some(), "strangers share one allowance");
    }
}
