//! `[redis]` in `sluice.toml`, `SLUICE__REDIS__*` in the environment.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach Redis.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Where Redis is: `redis://host:port`.
    pub url: String,
    /// The ACL user; none for the server's default user.
    pub username: Option<String>,
    /// The user's password; better a file.
    pub password: Option<SecretString>,
    /// A file that holds the password. It wins over `password`.
    pub password_file: Option<PathBuf>,
    /// Put before every key and channel, so that several installations share one Redis.
    pub prefix: Prefix,
    /// Connections for commands.
    pub pool: std::num::NonZeroUsize,
    /// A command without an answer after this long ends as unknown, in milliseconds; at least 1.
    #[serde(deserialize_with = "deadline_ms")]
    pub command_timeout_ms: u64,
    /// A connection that is not made after this long is given up and tried again, in milliseconds; at least 1.
    #[serde(deserialize_with = "deadline_ms")]
    pub connect_timeout_ms: u64,
    /// Commands that wait on one connection; more are refused at once.
    pub queue_limit: std::num::NonZeroUsize,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:5240".to_owned(),
            username: None,
            password: None,
            password_file: None,
            prefix: Prefix::default(),
            pool: std::num::NonZeroUsize::new(10).expect("10 is not zero"),
            command_timeout_ms: 2_000,
            connect_timeout_ms: 2_000,
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
        match &self.password_file {
            Some(path) => Ok(Some(SecretString::from(std::fs::read_to_string(path)?.trim_end().to_owned()))),
            None => Ok(self.password.clone()),
        }
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
            .field("prefix", &self.prefix.0)
            .field("pool", &self.pool)
            .field("command_timeout_ms", &self.command_timeout_ms)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("queue_limit", &self.queue_limit)
            .finish()
    }
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
