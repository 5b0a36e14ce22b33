//! What can be set, with defaults and units.

use crate::door::DoorConfig;
use http_kit::{AuthConfig, ConfigError, HttpConfig, ServiceConfig};
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use telemetry::LogConfig;

/// The sections that ratelimit-gateway reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[log]`
    pub log: LogConfig,
    /// `[auth]`, of the admin address.
    pub auth: AuthConfig,
    /// `[http]`, of the admin address.
    pub http: HttpConfig,
    /// `[ratelimit_gateway]`
    pub ratelimit_gateway: GatewayConfig,
}

/// `[ratelimit_gateway]` in `sluice.toml`, `SLUICE__RATELIMIT_GATEWAY__*` in the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Where users come in. Default 127.0.0.1:5242.
    pub bind: SocketAddr,
    /// Where operators ask: health, metrics. Default 127.0.0.1:5252.
    pub admin_bind: SocketAddr,
    /// The file with upstreams and routes. Default `gateway.toml`.
    pub rules_file: PathBuf,
    /// `[ratelimit_gateway.door]`
    pub door: DoorConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            bind: (Ipv4Addr::LOCALHOST, 5242).into(),
            admin_bind: (Ipv4Addr::LOCALHOST, 5252).into(),
            rules_file: "gateway.toml".into(),
            door: DoorConfig::default(),
        }
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

    fn check(&self) -> Result<(), ConfigError> {
        match self.ratelimit_gateway.door.complaint() {
            Some((key, rule)) => Err(ConfigError::value(format!("ratelimit_gateway.door.{key}"), rule)),
            None => Ok(()),
        }
    }
}
