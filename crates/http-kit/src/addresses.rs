//! How many connections one client address may have open.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the open connections of each address, over all threads of a listener. At most as many addresses as connections.
#[derive(Debug)]
pub struct Addresses {
    /// None: no bound, and nothing is counted.
    max: Option<NonZeroUsize>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    /// So many for each address, where 0 is no bound. An IPv6 client has a /64 at least, so that counts as one address.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: NonZeroUsize::new(max), open: Mutex::default() })
    }

    /// A place for one more connection; none when the address has as many as it may. Cost: one lock, held for a look into
    /// a table.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let Some(max) = self.max else { return Some(Place(None)) };
        let address = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= max.get() {
            return None;
        }
        *count += 1;
        Some(Place(Some((Arc::clone(self), address))))
    }
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub struct Place(Option<(Arc<Addresses>, IpAddr)>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some((addresses, address)) = &self.0 else { return };
        let mut open = addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                open.remove(address);
            }
        }
    }
}

/// An IPv6 user has a /64 at least.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_takes_nobody_elses() {
        let addresses = Addresses::new(2);
        let of = |text: &str| addresses.enter(text.parse().unwrap());
        let first = of("192.0.2.1").unwrap();
        let _second = of("::ffff:192.0.2.1").unwrap();
        assert!(of("192.0.2.1").is_none());
        let _other = of("192.0.2.2").unwrap();

        drop(first);
        let _again = of("192.0.2.1").unwrap();
        assert!(of("192.0.2.1").is_none());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let addresses = Addresses::new(1);
        let _one = addresses.enter("2001:db8:0:1::1".parse().unwrap()).unwrap();
        assert!(addresses.enter("2001:db8:0:1::2".parse().unwrap()).is_none());
        assert!(addresses.enter("2001:db8:0:2::1".parse().unwrap()).is_some());
    }

    #[test]
    fn without_a_bound_and_after_the_last_connection_nothing_is_kept() {
        for max in [0, 1] {
            let addresses = Addresses::new(max);
            drop(addresses.enter("192.0.2.1".parse().unwrap()));
            assert!(addresses.open.lock().unwrap().is_empty(), "{max}");
        }
        let addresses = Addresses::new(0);
        let places: Vec<_> = (0..100).map(|_| addresses.enter("192.0.2.1".parse().unwrap())).collect();
        assert!(places.iter().all(Option::is_some));
    }
}
