//! API keys: how one is made, stored as a hash, and found again.

use crate::access::Scope;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use domain::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use subtle::ConstantTimeEq;

/// What is stored of a key: everything but the key. JSON as in the keys file and in the hash `sluice:keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Names the key in lists and logs: 1 to 64 of `a-z`, `0-9`, `-`.
    pub id: String,
    /// SHA-256 of the whole text of the key, 64 hexadecimal digits.
    pub hash: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// From when on it is worth nothing; never, when absent.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A stored key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyRecord {
    /// It is not the JSON that a record is.
    #[error("a key is not readable: {0}")]
    Unreadable(String),
    /// The id breaks its rule.
    #[error("key `{0}`: an id has 1 to 64 of a-z, 0-9, -")]
    Id(String),
    /// The hash is not the hexadecimal form of 32 bytes.
    #[error("key `{0}`: the hash is not 64 hexadecimal digits")]
    Hash(String),
    /// A scope that means nothing.
    #[error("key `{id}`: {cause}")]
    Scope {
        /// Which key.
        id: String,
        /// Why.
        cause: crate::InvalidScope,
    },
}

impl ApiKey {
    /// Makes a key with 256 random bits: its text `sk_<id>_<43 characters>`, to be shown once, and what is stored.
    ///
    /// # Errors
    /// [`InvalidKeyRecord`]: the id breaks its rule, or a scope means nothing.
    pub fn generate(id: &str, scopes: &[&str]) -> Result<(SecretString, Self), InvalidKeyRecord> {
        let secret: [u8; 32] = rand::random();
        let text = format!("sk_{id}_{}", BASE64URL_NOPAD.encode(&secret));
        let record = Self {
            id: id.to_owned(),
            hash: HEXLOWER.encode(&Sha256::digest(&text)),
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            expires_at: None,
        };
        record.parse()?;
        Ok((text.into(), record))
    }

    pub(crate) fn from_json(text: &str) -> Result<Self, InvalidKeyRecord> {
        serde_json::from_str(text).map_err(|error| InvalidKeyRecord::Unreadable(error.to_string()))
    }

    pub(crate) fn parse(&self) -> Result<KeyRecord, InvalidKeyRecord> {
        let id = self.id.clone();
        let allowed = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !(1..=64).contains(&id.len()) || !id.bytes().all(allowed) {
            return Err(InvalidKeyRecord::Id(id));
        }
        let hash =
            HEXLOWER_PERMISSIVE.decode(self.hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
        let hash = hash.ok_or_else(|| InvalidKeyRecord::Hash(id.clone()))?;
        let scope =
            |text: &String| text.parse().map_err(|cause| InvalidKeyRecord::Scope { id: id.clone(), cause });
        let scopes = self.scopes.iter().map(scope).collect::<Result<_, _>>()?;
        Ok(KeyRecord { id, hash, scopes, expires_at: self.expires_at, last_use: Arc::default() })
    }
}

/// A stored key, parsed.
#[derive(Debug)]
pub(crate) struct KeyRecord {
    pub(crate) id: String,
    hash: [u8; 32],
    pub(crate) scopes: Vec<Scope>,
    expires_at: Option<Timestamp>,
    /// Shared by the readings of one key.
    pub(crate) last_use: Arc<LastUse>,
}

/// When a key was last used, to the minute.
#[derive(Debug, Default)]
pub(crate) struct LastUse {
    /// Milliseconds; 0 is never.
    at: AtomicI64,
    /// What somebody else knows of it.
    told: AtomicI64,
}

impl LastUse {
    /// Written once a minute, so that workers who share a key do not wait for one another's writes.
    fn note(&self, now: Timestamp) {
        let (now, at) = (now.millis(), self.at.load(Ordering::Relaxed));
        if now.saturating_sub(at) >= A_MINUTE_MS {
            self.at.store(now, Ordering::Relaxed);
        }
    }

    /// If nobody knows it yet.
    pub(crate) fn untold(&self) -> Option<Timestamp> {
        let at = self.at.load(Ordering::Relaxed);
        (at > self.told.load(Ordering::Relaxed)).then(|| Timestamp::from_millis(at))
    }

    pub(crate) fn tell(&self, at: Timestamp) {
        self.told.store(at.millis(), Ordering::Relaxed);
    }
}

const A_MINUTE_MS: i64 = 60_000;

/// The keys that hold now, by id.
#[derive(Debug, Default)]
pub(crate) struct KeyTable(HashMap<String, Arc<KeyRecord>>);

impl KeyTable {
    /// Of two keys with one id the first holds.
    pub(crate) fn new(records: impl IntoIterator<Item = Arc<KeyRecord>>) -> Self {
        let mut table = HashMap::new();
        for record in records {
            table.entry(record.id.clone()).or_insert(record);
        }
        Self(table)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Arc<KeyRecord>> {
        self.0.values()
    }

    /// The same key of an earlier reading.
    pub(crate) fn same_as(&self, record: &KeyRecord) -> Option<&KeyRecord> {
        let known = self.0.get(&record.id)?;
        (known.hash == record.hash).then_some(known)
    }

    /// The record of a key that is right and has not expired; this use of it is noted. The hashes are compared in constant time; that an id
    /// exists may show in the time it takes, for an id is no secret.
    pub(crate) fn find(&self, text: &str, now: Timestamp) -> Option<Arc<KeyRecord>> {
        let record = self.0.get(id_of(text)?)?;
        let right = bool::from(record.hash.ct_eq(&Sha256::digest(text)));
        let expired = record.expires_at.is_some_and(|end| end <= now);
        (right && !expired).then(|| {
            record.last_use.note(now);
            Arc::clone(record)
        })
    }
}

/// The id in `sk_<id>_<43 characters>`. From the right, for base64url has underscores of its own.
fn id_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("sk_")?;
    let end = rest.len().checked_sub(SECRET_LENGTH + 1)?;
    (rest.as_bytes()[end] == b'_').then(|| rest.get(..end))?
}

/// 32 bytes in base64url without padding.
const SECRET_LENGTH: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    const NOW: fn() -> Timestamp = || Timestamp::from_millis(1_000_000);

    fn table(key: &ApiKey) -> KeyTable {
        KeyTable::new([Arc::new(key.parse().unwrap())])
    }

    #[test]
    fn a_generated_key_opens_and_no_other_does() {
        let (text, record) = ApiKey::generate("bootstrap", &["*"]).unwrap();
        let (other, _) = ApiKey::generate("bootstrap", &["*"]).unwrap();
        let table = table(&record);
        let text = text.expose_secret();

        assert_eq!(text.len(), "sk_bootstrap_".len() + 43);
        assert_eq!(table.find(text, NOW()).unwrap().id, "bootstrap");
        let one_more = format!("{text}A");
        let another_id = text.replace("bootstrap", "boot");
        for wrong in [
            other.expose_secret(),
            "",
            "sk_",
            "sk_bootstrap_",
            &text[..text.len() - 1],
            &one_more,
            &another_id,
        ] {
            assert!(table.find(wrong, NOW()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_is_stored_does_not_hold_the_key() {
        let (text, record) = ApiKey::generate("bootstrap", &["*"]).unwrap();
        let stored = serde_json::to_string(&record).unwrap();
        assert!(!stored.contains(&text.expose_secret()["sk_bootstrap_".len()..]));
        assert_eq!(ApiKey::from_json(&stored), Ok(record));
    }

    #[test]
    fn a_key_ends_at_its_expiry() {
        let (text, mut record) = ApiKey::generate("guest", &["*"]).unwrap();
        for (expiry, opens) in [(999_999, false), (1_000_000, false), (1_000_001, true)] {
            record.expires_at = Some(Timestamp::from_millis(expiry));
            assert_eq!(table(&record).find(text.expose_secret(), NOW()).is_some(), opens, "{expiry}");
        }
    }

    #[test]
    fn a_use_is_noted_to_the_minute_and_told_once() {
        let (text, record) = ApiKey::generate("guest", &["*"]).unwrap();
        let table = table(&record);
        let used_at = |ms: i64| table.find(text.expose_secret(), Timestamp::from_millis(ms)).unwrap();
        let last_use = &used_at(1_000_000).last_use;
        assert_eq!(last_use.untold(), Some(Timestamp::from_millis(1_000_000)));
        last_use.tell(Timestamp::from_millis(1_000_000));

        for (ms, untold) in [(1_059_999, None), (1_060_000, Some(1_060_000)), (1_070_000, Some(1_060_000))] {
            used_at(ms);
            assert_eq!(last_use.untold(), untold.map(Timestamp::from_millis), "{ms}");
        }
        let wrong = text.expose_secret().to_lowercase();
        table.find(&wrong, Timestamp::from_millis(9_000_000));
        assert_eq!(last_use.untold(), Some(Timestamp::from_millis(1_060_000)), "a wrong key is no use");
    }

    #[test]
    fn a_bad_record_says_what_is_bad() {
        let hash = "0".repeat(64);
        let key = |id: &str, hash: &str, scope: &str| ApiKey {
            id: id.to_owned(),
            hash: hash.to_owned(),
            scopes: vec![scope.to_owned()],
            expires_at: None,
        };
        assert!(matches!(key("A b", &hash, "*").parse(), Err(InvalidKeyRecord::Id(_))));
        assert!(matches!(key("a", "abc", "*").parse(), Err(InvalidKeyRecord::Hash(_))));
        assert!(matches!(key("a", &hash, "root").parse(), Err(InvalidKeyRecord::Scope { .. })));
        assert!(matches!(ApiKey::from_json("{}"), Err(InvalidKeyRecord::Unreadable(_))));
    }
}
