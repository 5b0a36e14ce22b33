//! What can be set.

use crate::{InvalidKeys, SessionKeys};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// `[session]` in `sluice.toml`, `SLUICE__SESSION__*` in the environment: the same for every service that knows sessions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// File with the key that names users in Redis, 64 hexadecimal digits. Never changed: another one logs everybody out.
    pub user_key_file: Option<PathBuf>,
    /// File with the keys that seal sessions, a line `<number> <64 hexadecimal digits>` each, the newest last.
    pub keys_file: Option<PathBuf>,
    /// How long a session lives without being used, in milliseconds. Default 7,200,000 (2 h).
    pub idle_ttl_ms: u64,
    /// How long it lives at most, in milliseconds. Default 2,592,000,000 (30 days).
    pub absolute_ttl_ms: u64,
    /// Sessions that a user may have at once; the one that would expire first makes room. Default 50.
    pub max_per_user: u32,
    /// Attributes of a session, as bytes of JSON; beyond it 413. Default 16,384.
    pub max_attributes_bytes: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            user_key_file: None,
            keys_file: None,
            idle_ttl_ms: 2 * 3600 * 1000,
            absolute_ttl_ms: 30 * 24 * 3600 * 1000,
            max_per_user: 50,
            max_attributes_bytes: 16 * 1024,
        }
    }
}

impl SessionConfig {
    /// The setting that breaks its rule, if one does, and the rule.
    pub fn complaint(&self) -> Option<(&'static str, &'static str)> {
        let rules = [
            (
                "absolute_ttl_ms",
                (1000..=LONGEST_MS).contains(&self.absolute_ttl_ms),
                "1000 to 31,622,400,000 (366 days)",
            ),
            (
                "idle_ttl_ms",
                (1000..=self.absolute_ttl_ms).contains(&self.idle_ttl_ms),
                "1000 to session.absolute_ttl_ms",
            ),
            ("max_per_user", (1..=1000).contains(&self.max_per_user), "1 to 1000"),
            ("max_attributes_bytes", (2..=1 << 20).contains(&self.max_attributes_bytes), "2 to 1,048,576"),
            (
                "keys_file",
                self.user_key_file.is_some() == self.keys_file.is_some(),
                "set together with session.user_key_file, or neither",
            ),
        ];
        rules.into_iter().find_map(|(key, holds, rule)| (!holds).then_some((key, rule)))
    }

    /// The keys of its files, by `read`, which names the setting that is wrong. None when no files are set.
    ///
    /// # Errors
    /// What `read` says, or [`InvalidKeys`] through `wrong`.
    pub fn keys<E>(
        &self,
        read: impl Fn(&str, &Path) -> Result<SecretString, E>,
        wrong: impl Fn(&str, InvalidKeys) -> E,
    ) -> Result<Option<SessionKeys>, E> {
        let (Some(user), Some(ring)) = (&self.user_key_file, &self.keys_file) else { return Ok(None) };
        let (user_at, ring_at) = ("session.user_key_file", "session.keys_file");
        let (user, ring) = (read(user_at, user)?, read(ring_at, ring)?);
        SessionKeys::parse(user.expose_secret(), ring.expose_secret())
            .map(Some)
            .map_err(|error| wrong(if error == InvalidKeys::User { user_at } else { ring_at }, error))
    }
}

const LONGEST_MS: u64 = 366 * 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let default = SessionConfig::default;
        assert_eq!(default().complaint(), None);
        for (config, key) in [
            (SessionConfig { idle_ttl_ms: 999, ..default() }, "idle_ttl_ms"),
            (SessionConfig { idle_ttl_ms: default().absolute_ttl_ms + 1, ..default() }, "idle_ttl_ms"),
            (SessionConfig { absolute_ttl_ms: LONGEST_MS + 1, ..default() }, "absolute_ttl_ms"),
            (SessionConfig { max_per_user: 0, ..default() }, "max_per_user"),
            (SessionConfig { max_attributes_bytes: 1, ..default() }, "max_attributes_bytes"),
            (SessionConfig { keys_file: Some("x".into()), ..default() }, "keys_file"),
        ] {
            assert_eq!(config.complaint().map(|(key, _)| key), Some(key));
        }
    }
}
