//! What can be set, with defaults and units.

use crate::door::DoorConfig;
use crate::rules::Source;
use http_kit::{AuthConfig, ConfigError, HttpConfig, ServiceConfig, read_secret_file};
use ratelimit::LimiterSettings;
use redis_core::RedisConfig;
use serde::Deserialize;
use session::{SessionConfig, SessionKeys};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;
use telemetry::LogConfig;

/// The sections that ratelimit-gateway reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[redis]`, of limits and of sessions.
    pub redis: RedisConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[auth]`: of the admin address, and the keys that users may have.
    pub auth: AuthConfig,
    /// `[http]`, of the admin address.
    pub http: HttpConfig,
    /// `[session]`: the keys of cache-api, where the rules have `[identity.session]`.
    pub session: SessionConfig,
    /// `[ratelimit_gateway]`
    pub ratelimit_gateway: GatewayConfig,
}

/// `[ratelimit_gateway]` in `sluice.toml`, `SLUICE__RATELIMIT_GATEWAY__*` in the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Where users come in. Default 127.0.0.1:5242.
    pub bind: SocketAddr,
    /// Where operators and other proxies ask: health, checks, state, rules. Default 127.0.0.1:5252.
    pub admin_bind: SocketAddr,
    /// The file with upstreams, policies, identity and routes. Without it the shipped `deploy/gateway/rules.toml` holds.
    pub rules_file: Option<PathBuf>,
    /// What `${NAME}` in the rules stands for, by the name in lower case. What is not here comes from the environment.
    pub variables: BTreeMap<String, String>,
    /// How long a check waits for Redis, and so does the look at a session, before the route's `redis_away` holds, in milliseconds. Default 250.
    pub check_timeout_ms: u64,
    /// How many gateways share each limit while Redis is away and they count by themselves. Default 1.
    pub nodes: NonZeroU32,
    /// How many denials are remembered, about 200 bytes each. Default 16,384; 0 asks Redis each time.
    pub denials_max: usize,
    /// `[ratelimit_gateway.door]`
    pub door: DoorConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            bind: (Ipv4Addr::LOCALHOST, 5242).into(),
            admin_bind: (Ipv4Addr::LOCALHOST, 5252).into(),
            rules_file: None,
            variables: BTreeMap::new(),
            check_timeout_ms: 250,
            nodes: NonZeroU32::MIN,
            denials_max: 16_384,
            door: DoorConfig::default(),
        }
    }
}

impl Config {
    /// Where the rules come from.
    pub(crate) fn rules(&self) -> Source {
        let own = &self.ratelimit_gateway;
        Source {
            file: own.rules_file.clone(),
            variables: own.variables.clone(),
            knows_sessions: self.session.keys_file.is_some(),
        }
    }

    /// The keys of sessions, if there are files of them.
    pub(crate) fn session_keys(&self) -> Result<Option<SessionKeys>, ConfigError> {
        self.session.keys(read_secret_file, |key, error| ConfigError::value(key, error.to_string()))
    }
}

impl GatewayConfig {
    pub(crate) fn limiter(&self) -> LimiterSettings {
        LimiterSettings {
            deadline: self.check_timeout(),
            nodes: self.nodes.get(),
            denials: self.denials_max,
            ..LimiterSettings::default()
        }
    }

    pub(crate) fn check_timeout(&self) -> Duration {
        Duration::from_millis(self.check_timeout_ms)
    }
}

impl ServiceConfig for Config {
    #[expect(clippy::misnamed_getters, reason = "health is asked at the admin address")]
    fn bind(&self) -> SocketAddr {
        self.ratelimit_gateway.admin_bind
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn auth(&self) -> &AuthConfig {
        &self.auth
    }

    fn http(&self) -> &HttpConfig {
        &self.http
    }

    fn check(&self) -> Result<(), ConfigError> {
        let own = &self.ratelimit_gateway;
        if let Some((key, rule)) = own.door.complaint() {
            return Err(ConfigError::value(format!("ratelimit_gateway.door.{key}"), rule));
        }
        own.door.tls()?;
        for (key, holds, rule) in [
            ("check_timeout_ms", (1..=10_000).contains(&own.check_timeout_ms), "1 to 10,000"),
            ("denials_max", own.denials_max <= 4_194_304, "0 to 4,194,304"),
        ] {
            if !holds {
                return Err(ConfigError::value(format!("ratelimit_gateway.{key}"), rule));
            }
        }
        if let Some((key, rule)) = self.session.complaint() {
            return Err(ConfigError::value(format!("session.{key}"), rule));
        }
        self.session_keys()?;
        let rules = self.rules().read().map(drop);
        rules.map_err(|error| ConfigError::value("ratelimit_gateway.rules_file", error.to_string()))
    }
}
