//! What can be set, with defaults and units.

use cache::{Limits, StampSeal};
use data_encoding::HEXLOWER_PERMISSIVE;
use http_kit::{AuthConfig, ConfigError, HttpConfig, ServiceConfig, read_secret_file};
use redis_core::RedisConfig;
use secrecy::ExposeSecret;
use serde::Deserialize;
use session::{SessionConfig, SessionKeys};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use telemetry::LogConfig;

/// The sections that cache-api reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[redis]`
    pub redis: RedisConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[session]`
    pub session: SessionConfig,
    /// `[cache_api]`
    pub cache_api: CacheApiConfig,
}

impl Config {
    fn session_keys_of_files(&self) -> Result<Option<SessionKeys>, ConfigError> {
        self.session.keys(read_secret_file, |key, error| ConfigError::value(key, error.to_string()))
    }

    /// The keys of sessions, from their files or made for this process.
    pub(crate) fn session_keys(&self) -> Result<SessionKeys, ConfigError> {
        let keys = self.session_keys_of_files()?;
        Ok(keys.unwrap_or_else(|| {
            tracing::warn!(
                "session.keys_file is not set: sessions are known only to this process, until it ends"
            );
            SessionKeys::random()
        }))
    }
}

/// `[cache_api]` in `sluice.toml`, `SLUICE__CACHE_API__*` in the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheApiConfig {
    /// Where it listens. Default 127.0.0.1:5241.
    pub bind: SocketAddr,
    /// File with the key that seals stamps, 64 hexadecimal digits, the same for all nodes. Without it each process makes
    /// one of its own, and stamps hold only there.
    pub stamp_key_file: Option<PathBuf>,
    /// How long an entry lives when its writer does not say, in seconds. Default 3600.
    pub default_ttl_s: u64,
    /// How long an entry may live, in seconds. Default 2,592,000 (30 days).
    pub max_ttl_s: u64,
    /// Payload of one entry, in bytes; beyond it 413. Default 8 MiB, at most 256 MiB.
    pub max_entry_bytes: usize,
    /// Body of a batch, and payloads in the answer to one, in bytes; beyond it 413 or `too_large`. Default 8 MiB.
    pub max_batch_bytes: usize,
    /// Tags whose invalidation a project remembers; beyond it the whole project is invalidated. Default 10,000.
    pub max_invalidated_tags: usize,
}

impl Default for CacheApiConfig {
    fn default() -> Self {
        let Limits { max_entry_bytes, max_ttl, max_invalidated_tags } = Limits::default();
        Self {
            bind: (Ipv4Addr::LOCALHOST, 5241).into(),
            stamp_key_file: None,
            default_ttl_s: 3600,
            max_ttl_s: max_ttl.as_secs(),
            max_entry_bytes,
            max_batch_bytes: 8 * 1024 * 1024,
            max_invalidated_tags,
        }
    }
}

impl CacheApiConfig {
    /// What the engine accepts.
    pub fn limits(&self) -> Limits {
        Limits {
            max_entry_bytes: self.max_entry_bytes,
            max_ttl: Duration::from_secs(self.max_ttl_s),
            max_invalidated_tags: self.max_invalidated_tags,
        }
    }

    /// The seal of stamps, from its file or made for this process.
    pub(crate) fn stamp_seal(&self) -> Result<StampSeal, ConfigError> {
        let key = self.stamp_key()?.unwrap_or_else(|| {
            tracing::warn!(
                "cache_api.stamp_key_file is not set: stamps hold only in this process, until it ends"
            );
            rand::random()
        });
        Ok(StampSeal::new(&key))
    }

    fn stamp_key(&self) -> Result<Option<[u8; 32]>, ConfigError> {
        const NAME: &str = "cache_api.stamp_key_file";
        let Some(path) = &self.stamp_key_file else { return Ok(None) };
        let hex = read_secret_file(NAME, path)?;
        let key = HEXLOWER_PERMISSIVE.decode(hex.expose_secret().as_bytes()).ok();
        let key = key.and_then(|key| key.try_into().ok());
        key.map(Some)
            .ok_or_else(|| ConfigError::value(NAME, format!("{}: 64 hexadecimal digits", path.display())))
    }
}

impl ServiceConfig for Config {
    fn bind(&self) -> SocketAddr {
        self.cache_api.bind
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
        let CacheApiConfig { default_ttl_s, max_ttl_s, max_entry_bytes, max_batch_bytes, .. } =
            self.cache_api;
        for (key, holds, rule) in [
            ("max_ttl_s", (1..=LONGEST_TTL_S).contains(&max_ttl_s), "1 to 31,622,400 (366 days)"),
            ("default_ttl_s", (1..=max_ttl_s).contains(&default_ttl_s), "1 to cache_api.max_ttl_s"),
            ("max_entry_bytes", (1..=LARGEST_ENTRY).contains(&max_entry_bytes), "1 to 268,435,456 (256 MiB)"),
            ("max_batch_bytes", (1..=LARGEST_ENTRY).contains(&max_batch_bytes), "1 to 268,435,456 (256 MiB)"),
        ] {
            if !holds {
                return Err(ConfigError::value(format!("cache_api.{key}"), rule));
            }
        }
        if let Some((key, rule)) = self.session.complaint() {
            return Err(ConfigError::value(format!("session.{key}"), rule));
        }
        self.session_keys_of_files()?;
        self.cache_api.stamp_key().map(drop)
    }
}

const LONGEST_TTL_S: u64 = 366 * 24 * 3600;
const LARGEST_ENTRY: usize = 256 * 1024 * 1024;
