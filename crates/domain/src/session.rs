//! What cache-api and its clients send each other about sessions.

use crate::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `POST /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// Whose session it is.
    pub user_id: UserId,
    /// A JSON object that is kept with it, at most 16 KiB.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub attributes: Map<String, Value>,
    /// How long it lives without use; the installation's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ttl_ms: Option<u64>,
    /// Set it as a cookie, too.
    #[serde(default)]
    pub cookie: bool,
}

/// A session, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// Its name among the user's sessions; opens nothing.
    pub id: String,
    /// Whose it is.
    pub user_id: UserId,
    /// What is kept with it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub attributes: Map<String, Value>,
    /// Grows with each change; also its `ETag`.
    pub revision: u32,
    /// When it lives.
    #[serde(flatten)]
    pub times: SessionTimes,
}

/// A session with its token: the only time that the token is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionWithToken {
    /// What its client sends in `Sluice-Session` from now on.
    pub token: String,
    /// The session.
    pub session: Session,
}

/// When a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionTimes {
    /// When it was made.
    pub created_at: Timestamp,
    /// How long it lives without use.
    pub idle_ttl_ms: u64,
    /// When it ends unless it is used before.
    pub expires_at: Timestamp,
    /// When it ends whatever happens.
    pub ends_at: Timestamp,
}

/// One session of a user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListedSession {
    /// Its name, which ends it.
    pub id: String,
    /// When it lives.
    #[serde(flatten)]
    pub times: SessionTimes,
}

/// `GET /v1/users/{user}/sessions`: the one that expires last first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionList {
    /// The sessions that count.
    pub sessions: Vec<ListedSession>,
}

/// `DELETE /v1/users/{user}/sessions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndedSessions {
    /// How many there were.
    pub ended: u64,
}
