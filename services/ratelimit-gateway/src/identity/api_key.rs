//! Sluice's own keys: `Authorization: Bearer sk_…`.

use super::{Identity, Wrong, is_tier};
use domain::ProjectId;
use http_kit::Authenticator;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `[identity.api_key]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeyEntry {
    /// What is known of single keys, by their id.
    #[serde(default)]
    keys: BTreeMap<String, KeyEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    project: Option<ProjectId>,
    tier: Option<String>,
}

/// Keys are those of `[auth]`; here is what a key means for limits.
#[derive(Debug)]
pub(crate) struct ApiKeyRules {
    keys: BTreeMap<String, KeyEntry>,
}

impl ApiKeyEntry {
    pub(super) fn checked(self) -> Result<ApiKeyRules, String> {
        let wrong = self.keys.iter().find(|(_, key)| key.tier.as_deref().is_some_and(|tier| !is_tier(tier)));
        match wrong {
            Some((id, _)) => Err(format!("key {id}: a tier is 1 to 64 of letters, digits, `_`, `-`, `.`")),
            None => Ok(ApiKeyRules { keys: self.keys }),
        }
    }
}

impl ApiKeyRules {
    pub(super) fn identify(&self, key: &str, keys: &Authenticator) -> Result<Identity, Wrong> {
        let access = keys.access_of(key).ok_or(UNKNOWN)?;
        let id = access.key_id().ok_or(UNKNOWN)?;
        let known = self.keys.get(id);
        Ok(Identity {
            user: Some(format!("{USER_PREFIX}{id}").try_into().map_err(|_| UNKNOWN)?),
            project: known.and_then(|key| key.project.clone()),
            tier: known.and_then(|key| key.tier.clone()),
        })
    }
}

/// What the users begin with that are keys; nobody else's may.
pub(super) const USER_PREFIX: &str = "key:";
const UNKNOWN: Wrong = Wrong("the API key is unknown, revoked or expired");
