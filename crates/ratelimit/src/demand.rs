//! What is asked of the limiter, and what it answers.

use crate::Limits;
use domain::{PolicyName, ProjectId, UserId};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Whose units are counted together: a user, a project, an address, or any combination of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(String);

impl Scope {
    /// One user: `user:42`.
    pub fn user(user: &UserId) -> Self {
        Self(["user:", user.as_str()].concat())
    }

    /// One project: `project:acme`.
    pub fn project(project: &ProjectId) -> Self {
        Self(["project:", project.as_str()].concat())
    }

    /// One address, IPv6 by its /64, since a host may use any address in there: `ip:192.0.2.7`, `ip:2001:db8:0:1::`.
    /// An IPv4 address inside an IPv6 one (mapped, or NAT64's well-known prefix, RFC 6052) counts as itself.
    pub fn ip(address: IpAddr) -> Self {
        Self(match inner_v4(address) {
            IpAddr::V4(address) => format!("ip:{address}"),
            IpAddr::V6(address) => {
                format!("ip:{}", std::net::Ipv6Addr::from_bits(address.to_bits() & NETWORK_64))
            }
        })
    }

    /// Everything alike.
    pub fn all() -> Self {
        Self("all".to_owned())
    }

    /// All of these together: a user in a project is another than the same user elsewhere.
    pub fn combined(scopes: &[Self]) -> Self {
        Self(scopes.iter().map(|scope| &*scope.0).collect::<Vec<_>>().join("+"))
    }

    /// Its text, as it stands in the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The IPv4 address that an IPv6 one stands for, if it stands for one.
fn inner_v4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let [.., a, b, c, d] = v6.octets();
    let is_nat64 = v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    if is_nat64 { std::net::Ipv4Addr::new(a, b, c, d).into() } else { address }
}

const NETWORK_64: u128 = !0 << 64;

/// One limit that a request has to pass.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The policy; with the scope, it names the count.
    pub policy: PolicyName,
    /// Whose count it is.
    pub scope: Scope,
    /// How much may pass.
    pub limits: Arc<Limits>,
    /// Judge and count, but never refuse.
    pub dry_run: bool,
}

/// What holds while Redis cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Away {
    /// Everything passes.
    #[default]
    Open,
    /// Nothing passes: [`crate::LimitError::Away`].
    Closed,
    /// This process counts alone, with its share of each limit.
    Local,
}

/// How far an answer can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Never more than the limit in any window.
    Exact,
    /// As exact, unless Redis lost counts: it evicted keys, is another server, was away, or its clock stepped, less than
    /// the request's longest window ago.
    Careful,
    /// This process's share, Redis is away.
    Local,
    /// Nothing was judged, Redis is away.
    Open,
}

impl Mode {
    /// The word in `Sluice-RateLimit-Mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Careful => "careful",
            Self::Local => "local",
            Self::Open => "open",
        }
    }
}

/// The answer to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may pass. When not, nothing was charged.
    pub admitted: bool,
    /// How far that can be relied on.
    pub mode: Mode,
    /// Answered in this process, without Redis.
    pub local: bool,
    /// Each window of each demand; of a local denial only those of the demands that deny.
    pub standings: Vec<Standing>,
}

impl Verdict {
    /// How long to wait until the same request, alone, will pass; none when it was admitted.
    pub fn retry_after(&self) -> Option<Duration> {
        let waits = self.standings.iter().filter(|standing| standing.denies).map(|standing| standing.wait);
        if self.admitted { None } else { waits.max() }
    }
}

/// Where one window of one demand stands after the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which of the demands.
    pub demand: usize,
    /// Which of its windows.
    pub window: usize,
    /// Units that it allows.
    pub limit: u32,
    /// Units that count in it now, this request's included when it was admitted.
    pub used: u32,
    /// Until more room comes; zero when it is empty.
    pub room_in: Duration,
    /// Until it would admit this request's cost; zero when it does.
    pub wait: Duration,
    /// It has no room, and is no dry run.
    pub denies: bool,
    /// The moment of the judgement on Redis's clock, in ms since the epoch; 0 when Redis was not asked.
    pub judged_at_ms: u64,
}

impl Standing {
    /// Units that are left.
    pub fn remaining(&self) -> u32 {
        self.limit.saturating_sub(self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_as_who_has_it() {
        for (address, scope) in [
            ("192.0.2.7", "ip:192.0.2.7"),
            ("2001:db8:0:1:aaaa::1", "ip:2001:db8:0:1::"),
            ("2001:db8:0:1:bbbb::2", "ip:2001:db8:0:1::"),
            ("::ffff:192.0.2.7", "ip:192.0.2.7"),
            ("64:ff9b::192.0.2.7", "ip:192.0.2.7"),
            ("64:ff9b:1::192.0.2.7", "ip:64:ff9b:1::"),
            ("::1", "ip:::"),
        ] {
            assert_eq!(Scope::ip(address.parse().unwrap()).as_str(), scope, "{address}");
        }
    }

    #[test]
    fn who_was_denied_comes_again_when_the_last_of_those_that_deny_has_room() {
        let standing = |wait_s, denies| {
            let wait = Duration::from_secs(wait_s);
            Standing { demand: 0, window: 0, limit: 5, used: 5, room_in: wait, wait, denies, judged_at_ms: 1 }
        };
        // The third is a rehearsal.
        let standings = vec![standing(5, true), standing(7, true), standing(60, false)];
        for (admitted, retry_after) in [(false, Some(Duration::from_secs(7))), (true, None)] {
            let standings = standings.clone();
            let verdict = Verdict { admitted, mode: Mode::Exact, local: false, standings };
            assert_eq!(verdict.retry_after(), retry_after);
        }
    }

    #[test]
    fn a_combination_is_none_of_its_parts() {
        let (user, project) = (Scope::user(&"42".parse().unwrap()), Scope::project(&"acme".parse().unwrap()));
        assert_eq!(
            (user.as_str(), project.as_str(), Scope::all().as_str()),
            ("user:42", "project:acme", "all")
        );
        assert_eq!(Scope::combined(&[project, user]).as_str(), "project:acme+user:42");
    }
}
