//! `sluice keys`: the API keys in Redis. (The first key is not among them: its hash lies in the secrets.)
//!
//! One hash holds them all: id → what is stored of a key, which is everything but the key. Every
//! service reads it again each two seconds, so that a new key works and a revoked one is refused
//! within five, everywhere.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::Timestamp;
use http_kit::ApiKey;
use redis_core::{Key, Redis, Reply};
use secrecy::SecretString;

/// `sluice:keys`, a hash.
fn keys(redis: &Redis) -> Key {
    redis.key("sluice:keys")
}

/// `sluice:keys:used`, a hash: id → when the key was last used, in milliseconds, to the minute. The services write it once a
/// minute at most.
fn last_uses(redis: &Redis) -> Key {
    redis.key("sluice:keys:used")
}

/// A key as it is listed.
pub(crate) struct Listed {
    key: ApiKey,
    last_use: Option<Timestamp>,
}

/// Makes a key; its text exists only in the answer. One round trip.
pub(crate) async fn create(
    redis: &Redis,
    id: &str,
    scopes: &[String],
    expires_in: Option<Duration>,
    now: Timestamp,
) -> anyhow::Result<SecretString> {
    let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
    let (text, mut key) = ApiKey::generate(id, &scopes)?;
    key.expires_at = expires_in.map(|life| now + life);
    let stored = serde_json::to_string(&key)?;
    // HSETNX: of two people who choose the same id, one is told.
    let written = redis.command("HSETNX", &keys(redis), vec![id.to_owned().into(), stored.into()]).await?;
    if written.into_int()? == 0 {
        bail!("a key with the id `{id}` exists: revoke it first, or choose another id");
    }
    Ok(text)
}

/// All keys, in the order of their ids. Two round trips, O(keys).
pub(crate) async fn list(redis: &Redis) -> anyhow::Result<Vec<Listed>> {
    let uses = redis.command("HGETALL", &last_uses(redis), vec![]).await?.into_array()?;
    let uses = uses.into_iter().map(Reply::into_string).collect::<Result<Vec<_>, _>>()?;
    let uses: HashMap<&str, &str> = uses.chunks_exact(2).map(|use_| (&*use_[0], &*use_[1])).collect();
    let stored = redis.command("HVALS", &keys(redis), vec![]).await?.into_array()?;
    let mut all = Vec::with_capacity(stored.len());
    for text in stored {
        let text = text.into_string()?;
        let key: ApiKey = serde_json::from_str(&text).context("a key in Redis is not readable")?;
        let last_use = uses.get(&*key.id).and_then(|ms| ms.parse().ok()).map(Timestamp::from_millis);
        all.push(Listed { key, last_use });
    }
    all.sort_by(|a, b| a.key.id.cmp(&b.key.id));
    Ok(all)
}

/// Takes a key away, and what is known of its use; false when there was none. Two round trips.
pub(crate) async fn revoke(redis: &Redis, id: &str) -> anyhow::Result<bool> {
    let removed = redis.command("HDEL", &keys(redis), vec![id.to_owned().into()]).await?;
    redis.command("HDEL", &last_uses(redis), vec![id.to_owned().into()]).await?;
    Ok(removed.into_int()? == 1)
}

/// A table for a person: id, expiry, last use to the minute, scopes.
pub(crate) fn table(keys: &[Listed], now: Timestamp) -> String {
    let width = keys.iter().map(|listed| listed.key.id.len()).max().unwrap_or_default().max("ID".len());
    let mut text = format!("{:<width$}  {:<24}  {:<17}  SCOPES", "ID", "EXPIRES", "LAST USED");
    for Listed { key, last_use } in keys {
        let expiry = match key.expires_at {
            None => "never".to_owned(),
            Some(end) if end <= now => "over".to_owned(),
            Some(end) => end.to_string(),
        };
        // `2027-01-15T08:01Z`: seconds would be a guess.
        let to_the_minute = |at: Timestamp| at.to_string().get(..16).map(|minute| format!("{minute}Z"));
        let last_use = last_use.and_then(to_the_minute).unwrap_or_else(|| "never".to_owned());
        let scopes = key.scopes.join(" ");
        text.push_str(&format!("\n{:<width$}  {expiry:<24}  {last_use:<17}  {scopes}", key.id));
    }
    text
}

#[cfg(test)]
mod tests {
    use redis_core::RedisConfig;
    use secrecy::ExposeSecret as _;
    use testkit::RedisServer;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn scopes(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[tokio::test]
    async fn a_key_is_made_listed_without_its_secret_and_revoked() {
        let server = RedisServer::start().await;
        let redis = Redis::connect(&RedisConfig::at(server.url()));

        let life = Some(Duration::from_secs(60));
        let text =
            create(&redis, "ci", &scopes(&["cache:read@acme-*", "queue:work"]), life, now()).await.unwrap();
        create(&redis, "build", &scopes(&["*"]), None, now()).await.unwrap();

        let table = table(&list(&redis).await.unwrap(), now());
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].starts_with("build  never"), "{table}");
        assert!(lines[2].starts_with("ci     2027-01-15T08:01:00.000Z"), "{table}");
        assert!(lines[2].ends_with("  never              cache:read@acme-* queue:work"), "{table}");
        assert!(text.expose_secret().starts_with("sk_ci_"));
        assert!(!server.cli(&["HGETALL", "sluice:keys"]).await.contains(text.expose_secret()));

        server.cli(&["HSET", "sluice:keys:used", "ci", "1800000030000"]).await;
        let used = super::table(&list(&redis).await.unwrap(), now());
        assert!(used.contains("  2027-01-15T08:00Z  cache:read@acme-*"), "{used}");

        assert!(revoke(&redis, "ci").await.unwrap());
        assert_eq!(server.cli(&["HLEN", "sluice:keys:used"]).await.trim(), "0");
        assert!(!revoke(&redis, "ci").await.unwrap());
        assert_eq!(list(&redis).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_id_is_never_given_twice_and_a_scope_must_mean_something() {
        let server = RedisServer::start().await;
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        create(&redis, "ci", &scopes(&["cache:read"]), None, now()).await.unwrap();

        assert!(create(&redis, "ci", &scopes(&["*"]), None, now()).await.is_err());
        assert!(create(&redis, "other", &scopes(&["root"]), None, now()).await.is_err());
        assert!(create(&redis, "No Good", &scopes(&["*"]), None, now()).await.is_err());
        let all = list(&redis).await.unwrap();
        assert_eq!(
            (all.len(), &all[0].key.scopes),
            (1, &scopes(&["cache:read"])),
            "the first stays as it was"
        );
    }
}
