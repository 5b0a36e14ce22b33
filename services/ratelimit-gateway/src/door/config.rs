//! What can be set about the public door.

use super::framing::HeadBounds;
use http_kit::{ConfigError, Tls, TlsConfig};
use serde::Deserialize;
use std::num::{NonZeroU32, NonZeroUsize};
use std::thread::available_parallelism;
use std::time::Duration;

/// `[ratelimit_gateway.door]` in `sluice.toml`, `SLUICE__RATELIMIT_GATEWAY__DOOR__*` in the environment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DoorConfig {
    /// Threads that serve requests; 0 (default) is one for each core.
    pub workers: usize,
    /// Connections open at once, over all workers; more wait to be accepted. Default 20,000.
    pub connections_max: NonZeroUsize,
    /// Connections open at once from one client address (of IPv6: from one /64); more are closed at once. Default 2000; 0 is
    /// no bound. Where the rules trust proxies in front (`trusted_hops`), every client has their address, and no bound holds.
    pub connections_per_address_max: usize,
    /// Requests in flight on one HTTP/2 connection. Default 100.
    pub streams_max: NonZeroU32,
    /// A request head, in bytes; beyond it 431. Default 16,384, from 1024 to 65,536.
    pub head_bytes_max: usize,
    /// A URL, in bytes; beyond it 414. Default 8192, less than `head_bytes_max`.
    pub url_bytes_max: usize,
    /// A request's body, in bytes; beyond it 413. Default 1,073,741,824 (1 GiB).
    pub body_bytes_max: u64,
    /// How long a TLS handshake may take, and a request head to arrive, in milliseconds; after it 408. Default 10,000.
    pub head_timeout_ms: u64,
    /// How long a connection may idle between requests, in milliseconds. Default 75,000.
    pub keep_alive_ms: u64,
    /// How long a client may take no byte of its answer, in milliseconds; after it the connection is cut. Default 60,000.
    pub write_timeout_ms: u64,
    /// How long a request with `Expect: 100-continue` waits for the upstream's 100 before its body is asked for all the
    /// same, in milliseconds. Default 1000.
    pub expect_wait_ms: u64,
    /// Connections in use to one address of an upstream, for each worker; beyond it 503. Default 1024.
    pub upstream_connections_max: NonZeroUsize,
    /// Idle connections kept to one address of an upstream, for each worker. Default 128.
    pub upstream_idle_max: usize,
    /// How long a connection to an upstream may idle, in milliseconds. Default 4000: below the 5 s of many servers, so that
    /// they do not close it under a request.
    pub upstream_idle_ms: u64,
    /// How long an address that refused a connection is left out while there are others, in milliseconds. Default 1000.
    pub upstream_skip_ms: u64,
    /// How long the addresses of a name hold, in milliseconds. Default 2000.
    pub resolve_ttl_ms: u64,
    /// How long a stop may take in all, `http.stop_delay_ms` included, in milliseconds; requests that are still in flight
    /// then are cut. Default 10,000.
    pub grace_ms: u64,
    /// Whether each answer is a line of the log, at `info` with the target `access`: method, route, status, how long its
    /// head took in microseconds, correlation id; never a path, a query or a key. Default false.
    pub access_log: bool,
    /// `[ratelimit_gateway.door.tls]`, with HTTP/2 and HTTP/1.1 offered by ALPN.
    pub tls: TlsConfig,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            connections_max: NonZeroUsize::new(20_000).expect("not zero"),
            connections_per_address_max: 2_000,
            streams_max: NonZeroU32::new(100).expect("not zero"),
            head_bytes_max: 16 * 1024,
            url_bytes_max: 8 * 1024,
            body_bytes_max: 1024 * 1024 * 1024,
            head_timeout_ms: 10_000,
            keep_alive_ms: 75_000,
            write_timeout_ms: 60_000,
            expect_wait_ms: 1_000,
            upstream_connections_max: NonZeroUsize::new(1024).expect("not zero"),
            upstream_idle_max: 128,
            upstream_idle_ms: 4_000,
            upstream_skip_ms: 1_000,
            resolve_ttl_ms: 2_000,
            grace_ms: 10_000,
            access_log: false,
            tls: TlsConfig::default(),
        }
    }
}

impl DoorConfig {
    /// The setting that breaks its rule, and the rule.
    pub(crate) fn complaint(&self) -> Option<(&'static str, &'static str)> {
        let times = [
            ("head_timeout_ms", self.head_timeout_ms),
            ("keep_alive_ms", self.keep_alive_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("expect_wait_ms", self.expect_wait_ms),
            ("upstream_idle_ms", self.upstream_idle_ms),
            ("upstream_skip_ms", self.upstream_skip_ms),
            ("resolve_ttl_ms", self.resolve_ttl_ms),
            ("grace_ms", self.grace_ms),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, ms)| !(1..=DAY_MS).contains(ms)) {
            return Some((name, "1 to 86,400,000 (a day)"));
        }
        if !(1024..=65_536).contains(&self.head_bytes_max) {
            return Some(("head_bytes_max", "1024 to 65,536"));
        }
        (!(64..self.head_bytes_max).contains(&self.url_bytes_max))
            .then_some(("url_bytes_max", "64 to less than head_bytes_max"))
    }

    /// What its files hold.
    pub(crate) fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        Tls::open(&self.tls, "ratelimit_gateway.door.tls", &["h2", "http/1.1"])
    }

    pub(super) fn worker_threads(&self) -> usize {
        let cores = || available_parallelism().map_or(1, NonZeroUsize::get);
        if self.workers == 0 { cores() } else { self.workers }.min(WORKERS_MAX)
    }

    pub(super) fn head_bounds(&self) -> HeadBounds {
        HeadBounds { head_bytes_max: self.head_bytes_max, url_bytes_max: self.url_bytes_max }
    }

    pub(super) fn expect_wait(&self) -> Duration {
        Duration::from_millis(self.expect_wait_ms)
    }

    pub(super) fn keep_alive(&self) -> Duration {
        Duration::from_millis(self.keep_alive_ms)
    }

    /// The same when a part of the time for a stop is over.
    pub(crate) fn after(self, delay: Duration) -> Self {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self { grace_ms: self.grace_ms.saturating_sub(delay_ms), ..self }
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

const WORKERS_MAX: usize = 256;
const DAY_MS: u64 = 24 * 3600 * 1000;
