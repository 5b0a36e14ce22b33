//! `[redis]` in `sluice.toml`, `SLUICE__REDIS__*` in the environment.

use crate::RedisTls;
use crate::target::Target;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to reach Redis.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Where Redis is: `redis://host:port`; `redis-sentinel://host:port?node=host:port&sentinelServiceName=name` for the
    /// primary that Sentinels know by that name; `redis-cluster://host:port?node=host:port` for a cluster. `node` stands any
    /// number of times. With `rediss` in front, all of it by TLS. Default: `redis://127.0.0.1:5240`.
    #[serde(deserialize_with = "url")]
    pub url: String,
    /// The ACL user. Default: the one in the URL, else the server's default user.
    pub username: Option<String>,
    /// The user's password; better a file. Default: the one in the URL, else none.
    pub password: Option<SecretString>,
    /// A file that holds the password. It wins over `password`, and is read again for each new connection. Default: none.
    pub password_file: Option<PathBuf>,
    /// The ACL user on the Sentinels. Default: their default user.
    pub sentinel_username: Option<String>,
    /// The password on the Sentinels; better a file. Default: none.
    pub sentinel_password: Option<SecretString>,
    /// A file that holds the password on the Sentinels, as `password_file`. Default: none.
    pub sentinel_password_file: Option<PathBuf>,
    /// Certificates, for a URL that begins with `rediss`.
    pub tls: RedisTls,
    /// Put before every key and channel, so that several installations share one Redis. Default: empty.
    pub prefix: Prefix,
    /// Connections for commands, to each server. Default: 10.
    pub pool: std::num::NonZeroUsize,
    /// A command without an answer after this long ends as unknown, in milliseconds; at least 1. Default: 2,000.
    #[serde(deserialize_with = "deadline_ms")]
    pub command_timeout_ms: u64,
    /// A connection that is not made after this long is given up and tried again, in milliseconds; at least 1. Default:
    /// 1,500.
    #[serde(deserialize_with = "deadline_ms")]
    pub connect_timeout_ms: u64,
    /// Commands that wait on one connection; more are refused at once. Default: 10,000.
    pub queue_limit: std::num::NonZeroUsize,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:5240".to_owned(),
            username: None,
            password: None,
            password_file: None,
            sentinel_username: None,
            sentinel_password: None,
            sentinel_password_file: None,
            tls: RedisTls::default(),
            prefix: Prefix::default(),
            pool: std::num::NonZeroUsize::new(10).expect("10 is not zero"),
            command_timeout_ms: 2_000,
            connect_timeout_ms: 1_500,
            queue_limit: std::num::NonZeroUsize::new(10_000).expect("10,000 is not zero"),
        }
    }
}

impl RedisConfig {
    /// The defaults, at that address.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// How long a command may take.
    pub fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms)
    }

    /// The password, from its file when one is named.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read_password(&self) -> std::io::Result<Option<SecretString>> {
        read(self.password_file.as_deref(), self.password.as_ref())
    }

    pub(crate) fn read_sentinel_password(&self) -> std::io::Result<Option<SecretString>> {
        read(self.sentinel_password_file.as_deref(), self.sentinel_password.as_ref())
    }
}

fn read(file: Option<&Path>, given: Option<&SecretString>) -> std::io::Result<Option<SecretString>> {
    match file {
        Some(path) => Ok(Some(SecretString::from(std::fs::read_to_string(path)?.trim_end().to_owned()))),
        None => Ok(given.cloned()),
    }
}

// By hand: a URL may carry a password.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &without_password(&self.url))
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("password_file", &self.password_file)
            .field("sentinel_username", &self.sentinel_username)
            .field("sentinel_password", &self.sentinel_password.as_ref().map(|_| "***"))
            .field("sentinel_password_file", &self.sentinel_password_file)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix.0)
            .field("pool", &self.pool)
            .field("command_timeout_ms", &self.command_timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("queue_limit", &self.queue_limit)
            .finish()
    }
}

/// Refused where it is read, so that the error names the setting. It never says what stood there.
fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    let wrong = |reason| serde::de::Error::custom(format!("wrong redis url: {reason}"));
    Target::parse(&url).map_err(wrong)?;
    Ok(url)
}

/// A deadline of zero would be none at all to the client.
fn deadline_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    NonZeroU64::deserialize(deserializer).map(NonZeroU64::get)
}

pub(crate) fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://***@{}", &url[..scheme], &url[at + 1..]),
        // A scheme that was forgotten hides nothing of what follows it.
        (_, Some(at)) => format!("***@{}", &url[at + 1..]),
        (_, None) => url.to_owned(),
    }
}

pub(crate) fn expose(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}

/// What stands before every key: at most 32 of letters, digits, `_`, `-`, `.`, `:`; empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix(pub(crate) String);

/// A prefix that breaks its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid key prefix: at most 32 of letters, digits, `_`, `-`, `.`, `:`")]
pub struct InvalidPrefix;

impl TryFrom<String> for Prefix {
    type Error = InvalidPrefix;

    fn try_from(text: String) -> Result<Self, InvalidPrefix> {
        // No braces: they would move the hash tag, and with it the slot, of every key.
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"_-.:".contains(&c);
        if text.len() <= 32 && text.bytes().all(allowed) { Ok(Self(text)) } else { Err(InvalidPrefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_password() {
        let config = RedisConfig {
            url: "redis://sluice:hunter2@127.0.0.1:5240".to_owned(),
            password: Some(SecretString::from("hunter3".to_owned())),
            ..RedisConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(shown.contains("redis://***@127.0.0.1:5240"), "{shown}");
    }

    #[test]
    fn there_is_always_a_deadline() {
        use serde::de::value::{Error, MapDeserializer};
        for key in ["command_timeout_ms", "connect_timeout_ms"] {
            for (millis, taken) in [(0_u64, false), (1, true)] {
                let section = MapDeserializer::<_, Error>::new([(key, millis)].into_iter());
                assert_eq!(RedisConfig::deserialize(section).is_ok(), taken, "{key} = {millis}");
            }
        }
    }

    #[test]
    fn a_prefix_never_moves_the_hash_tag() {
        for (text, valid) in [("", true), ("team-a:", true), ("{x}", false), ("a b", false)] {
            assert_eq!(Prefix::try_from(text.to_owned()).is_ok(), valid, "{text:?}");
        }
    }
}
