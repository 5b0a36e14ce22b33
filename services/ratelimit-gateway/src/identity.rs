//! Who asks: by what the request shows, and from where.

pub(crate) mod address;
mod api_key;
mod jwt;
mod session;

pub(crate) use self::session::{SessionCheck, ShownSession};

use self::api_key::{ApiKeyEntry, ApiKeyRules, USER_PREFIX};
use self::jwt::{JwtEntry, JwtRules};
use self::session::SessionRules;
use domain::{ProjectId, UserId};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http_kit::Authenticator;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// What is known of whoever asks. Nothing, for most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: Option<UserId>,
    pub(crate) project: Option<ProjectId>,
    pub(crate) tier: Option<String>,
}

/// A way to say who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `Authorization: Bearer sk_…`, a Sluice key: user `key:<id>`.
    ApiKey,
    /// `Authorization: Bearer <token>`, signed by a key of the JWKS file.
    Jwt,
    /// `Sluice-Session: <token>` or the cookie `__Host-sluice-session`, of a session of cache-api.
    Session,
}

/// An identity that was shown and is not one: never taken for none. Says why in the client's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) &'static str);

/// Why it stays unknown who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unidentified {
    Wrong(Wrong),
    /// Redis knows, and does not answer.
    Away,
}

/// Who a request says it is.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Checked.
    Identity(Identity),
    /// Redis has to be asked.
    Session(ShownSession),
}

/// `[identity]` of the rules file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentityEntry {
    #[serde(default)]
    trusted_hops: usize,
    api_key: Option<ApiKeyEntry>,
    jwt: Option<JwtEntry>,
    session: Option<SessionRules>,
}

/// How to find out who asks.
#[derive(Debug, Default)]
pub(crate) struct IdentityRules {
    /// Proxies before us, each of which adds the address that it sees to `X-Forwarded-For`.
    pub(crate) trusted_hops: usize,
    pub(crate) api_key: Option<ApiKeyRules>,
    pub(crate) jwt: Option<JwtRules>,
    pub(crate) session: Option<SessionRules>,
}

impl IdentityEntry {
    /// # Errors
    /// What is wrong.
    pub(crate) fn checked(self, folder: Option<&Path>) -> Result<IdentityRules, String> {
        if self.trusted_hops > MOST_HOPS {
            return Err(format!("trusted_hops: 0 to {MOST_HOPS}"));
        }
        Ok(IdentityRules {
            trusted_hops: self.trusted_hops,
            api_key: self.api_key.map(ApiKeyEntry::checked).transpose()?,
            jwt: self.jwt.map(|entry| entry.checked(folder)).transpose()?,
            session: self.session,
        })
    }
}

impl IdentityRules {
    /// Every way that is set up.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let ways = [
            (Kind::ApiKey, self.api_key.is_some()),
            (Kind::Jwt, self.jwt.is_some()),
            (Kind::Session, self.session.is_some()),
        ];
        ways.into_iter().filter(|(_, is_set)| *is_set).map(|(kind, _)| kind).collect()
    }

    /// The files that it was read from, besides the rules file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.jwt.iter().map(JwtRules::file)
    }

    /// What its owner should know, although it holds.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.jwt.iter().flat_map(JwtRules::skipped)
    }

    /// Who a request says it is, by the ways that its route accepts: first by `Authorization`, else by a session. Without any
    /// of them it is nobody. No round trip.
    ///
    /// # Errors
    /// [`Wrong`]: it says so, and it is not true.
    pub(crate) fn shown(
        &self,
        headers: &HeaderMap,
        accepts: &[Kind],
        keys: &Authenticator,
    ) -> Result<Shown, Wrong> {
        if let Some(identity) = self.by_authorization(headers, accepts, keys)? {
            return Ok(Shown::Identity(identity));
        }
        let rules = self.session.as_ref().filter(|_| accepts.contains(&Kind::Session));
        let session = rules.map(|rules| rules.shown(headers)).transpose()?.flatten();
        Ok(session.map_or_else(|| Shown::Identity(Identity::default()), Shown::Session))
    }

    fn by_authorization(
        &self,
        headers: &HeaderMap,
        accepts: &[Kind],
        keys: &Authenticator,
    ) -> Result<Option<Identity>, Wrong> {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let is_looked_at = accepts.iter().any(|kind| *kind != Kind::Session);
        let Some(field) = fields.next().filter(|_| is_looked_at) else { return Ok(None) };
        if fields.next().is_some() {
            return Err(Wrong("there is more than one Authorization field"));
        }
        // Another scheme is between the client and the upstream.
        let Some(token) = bearer(field.as_bytes()) else { return Ok(None) };
        let token = std::str::from_utf8(token).map_err(|_| Wrong("the bearer token is not text"))?;
        let identity = match (&self.api_key, &self.jwt) {
            (Some(rules), _) if accepts.contains(&Kind::ApiKey) && token.starts_with("sk_") => {
                rules.identify(token, keys)
            }
            (_, Some(rules)) if accepts.contains(&Kind::Jwt) => rules.identify(token),
            _ => Err(Wrong("the bearer token is of a kind that is not accepted here")),
        };
        identity.map(Some)
    }
}

impl Identity {
    /// What a token says, that is a JWT or of a session.
    fn of_token(user: UserId, project: Option<String>, tier: Option<String>) -> Result<Self, Wrong> {
        if user.as_str().starts_with(USER_PREFIX) {
            return Err(Wrong("the token's user has a name that only API keys have"));
        }
        if tier.as_deref().is_some_and(|tier| !is_tier(tier)) {
            return Err(Wrong("the token's tier is not 1 to 64 of letters, digits, `_`, `-`, `.`"));
        }
        let project = project.map(String::try_into).transpose();
        let project = project
            .map_err(|_| Wrong("the token's project is not 1 to 64 of letters, digits, `_`, `-`, `.`"))?;
        Ok(Self { user: Some(user), project, tier })
    }
}

impl From<Wrong> for Unidentified {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

/// A member that is a text, or a number as which many number their users; absent, or null, is none.
///
/// # Errors
/// [`Wrong`]: it is of another type. Taken for absent, it would be the rights and the count of somebody else.
fn text(members: &Map<String, Value>, name: Option<&str>) -> Result<Option<String>, Wrong> {
    match name.and_then(|name| members.get(name)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(Wrong("what the token says of user, project or tier is neither a text nor a number")),
    }
}

/// The credentials of `Bearer <credentials>`; the scheme in any case (RFC 9110, section 11.1).
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = field.split_at_checked(BEARER.len())?;
    let rest = token.strip_prefix(b" ").or(token.is_empty().then_some(token))?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| rest.trim_ascii())
}

/// A tier, as it stands in a header: 1 to 64 of letters, digits, `_`, `-`, `.`.
fn is_tier(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

const BEARER: &[u8] = b"bearer";
const MOST_HOPS: usize = 16;
