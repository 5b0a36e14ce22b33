//! Who may do what: scopes that name resources, and the extractor that asks for them.

use crate::Problem;
use crate::authenticator::Authenticator;
use crate::keys::KeyRecord;
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use domain::ErrorCode;
use std::future::{Ready, ready};
use std::str::FromStr;
use std::sync::Arc;

/// What a route does; a scope grants one of these, on resources that match its pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `cache:read@<project>`
    CacheRead,
    /// `cache:write@<project>`
    CacheWrite,
    /// `sessions`
    Sessions,
    /// `queue:enqueue@<queue>`
    QueueEnqueue,
    /// `queue:read@<queue>`
    QueueRead,
    /// `queue:work@<queue>`
    QueueWork,
    /// `queue:admin@<queue>`
    QueueAdmin,
    /// `progress:read@<project>`
    ProgressRead,
    /// `progress:write@<project>`
    ProgressWrite,
    /// `gateway:admin`
    GatewayAdmin,
    /// `ops:read`
    OpsRead,
}

impl Action {
    const ALL: [(Self, &'static str); 11] = [
        (Self::CacheRead, "cache:read"),
        (Self::CacheWrite, "cache:write"),
        (Self::Sessions, "sessions"),
        (Self::QueueEnqueue, "queue:enqueue"),
        (Self::QueueRead, "queue:read"),
        (Self::QueueWork, "queue:work"),
        (Self::QueueAdmin, "queue:admin"),
        (Self::ProgressRead, "progress:read"),
        (Self::ProgressWrite, "progress:write"),
        (Self::GatewayAdmin, "gateway:admin"),
        (Self::OpsRead, "ops:read"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(action, _)| *action == self).expect("ALL lists every action").1
    }
}

/// A right: `*` (all), `cache:read` (on every resource), `cache:read@acme`, or `cache:read@acme-*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    /// None: every action.
    action: Option<Action>,
    resource: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Exactly(String),
    Beginning(String),
}

/// A scope that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no scope: `*`, or an action such as `cache:read` or `ops:read`, with `@name` or `@begin-*` behind it"
)]
pub struct InvalidScope(String);

impl Scope {
    /// Whether it grants `action` on `resource`. Cost: one comparison of text.
    pub(crate) fn grants(&self, action: Action, resource: &str) -> bool {
        self.action.is_none_or(|granted| granted == action)
            && match &self.resource {
                Pattern::Any => true,
                Pattern::Exactly(name) => name == resource,
                Pattern::Beginning(beginning) => resource.starts_with(&**beginning),
            }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        if text == "*" {
            return Ok(Self { action: None, resource: Pattern::Any });
        }
        let invalid = || InvalidScope(text.to_owned());
        let (name, resource) = text.split_once('@').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let action = Action::ALL.iter().find(|(_, known)| *known == name).ok_or_else(invalid)?.0;
        let resource = match resource {
            None => Pattern::Any,
            Some(pattern) => match pattern.strip_suffix('*') {
                Some("") => Pattern::Any,
                Some(beginning) if !beginning.contains('*') => Pattern::Beginning(beginning.to_owned()),
                None if !pattern.is_empty() => Pattern::Exactly(pattern.to_owned()),
                _ => return Err(invalid()),
            },
        };
        Ok(Self { action: Some(action), resource })
    }
}

/// A request whose key is valid. Put it first in a handler: then nothing is parsed for a stranger.
///
/// Without a valid key the request is answered with 401; after too many wrong ones with 429.
/// Cost: one SHA-256 of some 60 bytes, one look into a table in memory; no round trip.
#[derive(Clone, Debug)]
pub struct Access {
    /// None: the service runs with `auth.mode = "none"`.
    key: Option<Arc<KeyRecord>>,
}

impl Access {
    pub(crate) fn open() -> Self {
        Self { key: None }
    }

    pub(crate) fn of(key: Arc<KeyRecord>) -> Self {
        Self { key: Some(key) }
    }

    /// The id of the key, for logs; none without authentication.
    pub fn key_id(&self) -> Option<&str> {
        self.key.as_ref().map(|key| &*key.id)
    }

    /// Whether the key may do `action` on `resource` (empty for an action that knows no resource).
    pub fn may(&self, action: Action, resource: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.scopes.iter().any(|scope| scope.grants(action, resource)))
    }

    /// Asks for a right.
    ///
    /// # Errors
    /// 403 that names the missing scope, such as `cache:read@acme`.
    pub fn require(&self, action: Action, resource: &str) -> Result<(), Problem> {
        if self.may(action, resource) {
            return Ok(());
        }
        let at = if resource.is_empty() { "" } else { "@" };
        let detail = format!("the key lacks the scope {}{at}{resource}", action.name());
        Err(Problem::new(ErrorCode::Forbidden, detail))
    }
}

impl FromRequest for Access {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let authenticator =
            request.app_data::<Authenticator>().expect("every server carries its authenticator");
        ready(authenticator.authenticate(request.headers(), request.peer_addr().map(|peer| peer.ip())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_grants_what_it_names_and_nothing_else() {
        use Action::{CacheRead, CacheWrite, OpsRead, Sessions};
        for (scope, action, resource, granted) in [
            ("*", CacheRead, "acme", true),
            ("*", OpsRead, "", true),
            ("cache:read@acme", CacheRead, "acme", true),
            ("cache:read@acme", CacheRead, "acme-2", false),
            ("cache:read@acme", CacheRead, "", false),
            ("cache:read@acme", CacheWrite, "acme", false),
            ("cache:read@acme-*", CacheRead, "acme-2", true),
            ("cache:read@acme-*", CacheRead, "acme", false),
            ("cache:read@*", CacheRead, "anything", true),
            ("cache:read", CacheRead, "anything", true),
            ("cache:read", Sessions, "", false),
            ("sessions", Sessions, "", true),
            ("ops:read", OpsRead, "", true),
            ("ops:read", CacheRead, "acme", false),
        ] {
            let parsed: Scope = scope.parse().unwrap();
            assert_eq!(parsed.grants(action, resource), granted, "{scope} {action:?} {resource:?}");
        }
    }

    #[test]
    fn a_scope_without_meaning_is_refused() {
        for text in
            ["", "**", "cache", "cache:*", "cache:read@", "cache:read@a*b*", "cache:read @acme", "root"]
        {
            assert!(text.parse::<Scope>().is_err(), "{text:?}");
        }
    }
}
