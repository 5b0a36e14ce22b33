//! What can be set, with defaults and units.

use http_kit::{AuthConfig, ConfigError, HttpConfig, ServiceConfig};
use progress::{HubSettings, Lifetimes};
use redis_core::RedisConfig;
use rustix::process::{Resource, getrlimit};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;
use telemetry::LogConfig;

/// The configuration of progress-sse.
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
    /// `[progress_sse]`
    pub progress_sse: ProgressSseConfig,
}

/// `[progress_sse]` in `sluice.toml`, `SLUICE__PROGRESS_SSE__*` in the environment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProgressSseConfig {
    /// Where it listens. Default 127.0.0.1:5244.
    pub bind: SocketAddr,
    /// Watchers at once; one more is sent away with a time to come back. 0 (default) is 20,000, or 1,000 fewer than
    /// the process may open files.
    pub watchers_max: usize,
    /// Between two heartbeats on a stream, in milliseconds. Default 15,000.
    pub heartbeat_ms: u64,
    /// Between two looks at the end of a quiet log, which find a lost last event, in milliseconds. Default 5000.
    pub position_check_ms: u64,
    /// A running operation without a report for this long is failed, in milliseconds. Default 24 h.
    pub running_ms: u64,
    /// What has ended can be read and replayed for this long, in milliseconds. Default 24 h.
    pub retention_ms: u64,
    /// Between two looks for overdue operations, in milliseconds. Default 15,000.
    pub sweep_ms: u64,
    /// Over how long the watchers are ended when the service stops, in milliseconds. Default 3000.
    pub drain_ms: u64,
    /// A reader that takes nothing of what was sent for this long is dropped, in milliseconds. Default 60,000; Linux.
    pub unread_ms: u64,
}

impl Default for ProgressSseConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 5244)),
            watchers_max: 0,
            heartbeat_ms: 15_000,
            position_check_ms: 5_000,
            running_ms: DAY_MS,
            retention_ms: DAY_MS,
            sweep_ms: 15_000,
            drain_ms: 3_000,
            unread_ms: 60_000,
        }
    }
}

impl ProgressSseConfig {
    pub(crate) fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            running: Duration::from_millis(self.running_ms),
            retention: Duration::from_millis(self.retention_ms),
        }
    }

    pub(crate) fn hub(&self) -> HubSettings {
        HubSettings {
            watchers_max: if self.watchers_max == 0 { watchers_by_files() } else { self.watchers_max },
            heartbeat: Duration::from_millis(self.heartbeat_ms),
            position_check: Duration::from_millis(self.position_check_ms),
            ..HubSettings::default()
        }
    }
}

/// A watcher is an open file, and the rest of the process needs some.
fn watchers_by_files() -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    files.map_or(WATCHERS, |files| files.saturating_sub(1_000).clamp(16, WATCHERS))
}

impl ServiceConfig for Config {
    fn bind(&self) -> SocketAddr {
        self.progress_sse.bind
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
        let settings = &self.progress_sse;
        for (key, value, least) in [
            ("heartbeat_ms", settings.heartbeat_ms, 100),
            ("position_check_ms", settings.position_check_ms, 100),
            ("running_ms", settings.running_ms, 1_000),
            ("retention_ms", settings.retention_ms, 1_000),
            ("sweep_ms", settings.sweep_ms, 100),
            ("unread_ms", settings.unread_ms, 100),
        ] {
            if value < least {
                return Err(ConfigError::value(format!("progress_sse.{key}"), format!("at least {least}")));
            }
        }
        Ok(())
    }
}

const WATCHERS: usize = 20_000;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_never_takes_more_watchers_than_it_may_open_files() {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let watchers = ProgressSseConfig::default().hub().watchers_max;
        assert!(watchers <= WATCHERS && (watchers as u64) < files.max(17), "{watchers} of {files}");
        assert_eq!(ProgressSseConfig { watchers_max: 7, ..Default::default() }.hub().watchers_max, 7);
    }

    #[test]
    fn a_time_that_makes_no_sense_names_its_key() {
        let config = Config {
            progress_sse: ProgressSseConfig { heartbeat_ms: 0, ..Default::default() },
            ..Config::default()
        };
        assert_eq!(config.check().unwrap_err().key, "progress_sse.heartbeat_ms");
    }
}
