//! What ratelimit-gateway and its clients send each other about limits.

use crate::{PolicyName, ProjectId, UserId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// `POST /v1/ratelimit/check`: whom to count, and by what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// One policy; or `route`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyName>,
    /// All policies of a route, with its cost and its word for when Redis is away; or `policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The user, as in `Sluice-User`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// Picks the policy's windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The address, IPv6 by its /64.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "192.0.2.7"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Units; 0 only looks. The route's, or 1, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<u32>,
    /// List every limit, and where it stands.
    #[serde(default)]
    pub explain: bool,
}

/// It may pass, and was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Checked {
    /// True: what may not pass is a problem.
    pub allowed: bool,
    /// `exact`, `careful`, `local` or `open`.
    pub mode: String,
    /// Only when `explain` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Vec<LimitStanding>>,
}

/// Where one window of one policy stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LimitStanding {
    /// The policy.
    pub policy: PolicyName,
    /// Whose count: `user:42`, `project:acme+user:42`.
    pub scope: String,
    /// How long the window is.
    pub window_ms: u64,
    /// Units that it allows.
    pub limit: u32,
    /// Units that count in it now.
    pub used: u32,
    /// Units that are left.
    pub remaining: u32,
    /// Until it would admit this cost; 0 when it does.
    pub next_admission_ms: u64,
    /// Until more room comes; 0 when it is empty.
    pub room_in_ms: u64,
    /// It has no room, and is no dry run.
    pub denies: bool,
    /// It is counted, and refuses nobody.
    pub dry_run: bool,
}

/// `GET /v1/ratelimit/state`: where a count stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Count {
    /// Each window.
    pub limits: Vec<LimitStanding>,
}

/// `DELETE /v1/ratelimit/state`: what became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Forgotten {
    /// Whether there was one.
    pub forgotten: bool,
}
