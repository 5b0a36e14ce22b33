//! `/v1/ratelimit/state`: where a count stands, and how to forget it.

use super::check::explain;
use super::{Admin, demand, require};
use crate::identity::Identity;
use actix_web::HttpResponse;
use actix_web::web::Data;
use domain::ratelimit::{Count, Forgotten};
use domain::{PolicyName, ProjectId, UserId};
use http_kit::{Access, Problem, Query};
use ratelimit::Demand;
use serde::Deserialize;
use std::net::IpAddr;
use utoipa::IntoParams;

/// Whose count.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Whose {
    policy: PolicyName,
    user: Option<UserId>,
    project: Option<ProjectId>,
    tier: Option<String>,
    #[param(value_type = Option<String>)]
    ip: Option<IpAddr>,
}

/// `GET /v1/ratelimit/state`: one round trip, counts nothing.
#[utoipa::path(
    get, path = "/v1/ratelimit/state", tag = "limits", operation_id = "ratelimit_state",
    summary = "Where a count stands; needs `gateway:admin`",
    params(Whose),
    responses((status = 200, description = "Each window", body = Count)),
)]
pub(crate) async fn state(
    access: Access,
    query: Query<Whose>,
    admin: Data<Admin>,
) -> Result<HttpResponse, Problem> {
    require(&access)?;
    let demands = [asked(&admin, &query.into_inner())?];
    let verdict = admin.gate.limiter.peek(&demands, 1).await?;
    Ok(HttpResponse::Ok().json(Count { limits: explain(&verdict.standings, &demands) }))
}

/// `DELETE /v1/ratelimit/state`: forgets a count on every node. Two round trips.
#[utoipa::path(
    delete, path = "/v1/ratelimit/state", tag = "limits", operation_id = "ratelimit_reset",
    summary = "Forget a count; needs `gateway:admin`",
    params(Whose),
    responses((status = 200, description = "Nothing is counted now", body = Forgotten)),
)]
pub(crate) async fn reset(
    access: Access,
    query: Query<Whose>,
    admin: Data<Admin>,
) -> Result<HttpResponse, Problem> {
    require(&access)?;
    let Demand { policy, scope, .. } = asked(&admin, &query.into_inner())?;
    let forgotten = admin.gate.limiter.reset(&policy, &scope).await?;
    Ok(HttpResponse::Ok().json(Forgotten { forgotten }))
}

fn asked(admin: &Admin, whose: &Whose) -> Result<Demand, Problem> {
    let rules = admin.gate.rules.now();
    let policy = rules.policies.get(&whose.policy);
    let policy = policy.ok_or_else(|| Problem::field("policy", "there is no such policy"))?;
    let identity =
        Identity { user: whose.user.clone(), project: whose.project.clone(), tier: whose.tier.clone() };
    demand(policy, &identity, whose.ip)
}
