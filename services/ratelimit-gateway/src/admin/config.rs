//! `/v1/config`: the rules that hold, and others in their place.

use super::{Admin, require};
use crate::identity::Kind;
use crate::rules::{Part, Policy, Route};
use actix_web::HttpResponse;
use actix_web::web::Data;
use domain::ErrorCode;
use http_kit::{Access, Problem};
use ratelimit::{Away, Limits};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

/// The rules that hold. Keys of the JWKS file by name alone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Holding {
    file: String,
    /// How often others took their place.
    reloads: u64,
    /// Why the file as it is now does not hold: `file:line: reason`.
    error: Option<String>,
    trusted_hops: usize,
    jwt_keys: Vec<String>,
    upstreams: BTreeMap<String, Vec<String>>,
    policies: BTreeMap<String, PolicyView>,
    routes: Vec<RouteView>,
}

/// One policy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyView {
    #[schema(value_type = Vec<String>)]
    scope: Vec<Part>,
    windows: Vec<WindowView>,
    tiers: BTreeMap<String, Vec<WindowView>>,
    dry_run: bool,
}

/// One window.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WindowView {
    limit: u32,
    window_ms: u64,
}

/// One route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RouteView {
    name: String,
    /// Any if empty; so with methods.
    hosts: Vec<String>,
    path: String,
    exact: bool,
    methods: Vec<String>,
    upstream: String,
    policies: Vec<String>,
    cost: u32,
    /// `open`, `closed` or `local`.
    redis_away: &'static str,
    #[schema(value_type = Vec<String>)]
    identity: Vec<Kind>,
    identity_required: bool,
    timeouts: TimeoutsView,
}

/// How long the upstream may take.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimeoutsView {
    connect_ms: u64,
    head_ms: u64,
    idle_ms: u64,
}

/// The rules were read again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reloaded {
    routes: usize,
}

/// `GET /v1/config`: no round trip.
#[utoipa::path(
    get, path = "/v1/config", tag = "rules", operation_id = "config",
    summary = "The rules that hold, and why the file's do not; needs `gateway:admin`",
    responses((status = 200, description = "The rules", body = Holding)),
)]
pub(crate) async fn config(access: Access, admin: Data<Admin>) -> Result<HttpResponse, Problem> {
    require(&access)?;
    let live = &admin.gate.rules;
    let (rules, (reloads, error)) = (live.now(), live.history());
    let targets = |upstream: &crate::rules::Upstream| {
        upstream.targets.iter().map(|target| format!("http://{}:{}", target.host, target.port)).collect()
    };
    Ok(HttpResponse::Ok().json(Holding {
        file: live.path().display().to_string(),
        reloads,
        error: error.map(|error| error.to_string()),
        trusted_hops: rules.identity.trusted_hops,
        jwt_keys: rules.identity.jwt.as_ref().map(|jwt| jwt.key_ids()).unwrap_or_default(),
        upstreams: rules.upstreams.iter().map(|(name, upstream)| (name.clone(), targets(upstream))).collect(),
        policies: rules
            .policies
            .iter()
            .map(|(name, policy)| (name.to_string(), policy_view(policy)))
            .collect(),
        routes: rules.routes.iter().map(|route| route_view(route)).collect(),
    }))
}

/// `POST /v1/config/reload`: 200, or 422 and the rules stay.
#[utoipa::path(
    post, path = "/v1/config/reload", tag = "rules", operation_id = "config_reload",
    summary = "Read the rules file again; needs `gateway:admin`",
    responses((status = 200, description = "They hold from now on", body = Reloaded)),
)]
pub(crate) async fn reload(access: Access, admin: Data<Admin>) -> Result<HttpResponse, Problem> {
    require(&access)?;
    let live = &admin.gate.rules;
    let reloaded = live.reload();
    reloaded.map_err(|error| {
        let place = error.line.map_or("rules".to_owned(), |line| format!("line {line}"));
        Problem::new(ErrorCode::InvalidInput, format!("the rules stay as they were: {error}"))
            .and_field(place, error.reason)
    })?;
    Ok(HttpResponse::Ok().json(Reloaded { routes: live.now().routes.len() }))
}

fn policy_view(policy: &Policy) -> PolicyView {
    let windows = |limits: &Limits| {
        let window =
            |window: &ratelimit::Window| WindowView { limit: window.limit, window_ms: millis(window.length) };
        limits.windows().iter().map(window).collect::<Vec<_>>()
    };
    PolicyView {
        scope: policy.scope.clone(),
        windows: windows(&policy.limits),
        tiers: policy.tiers.iter().map(|(tier, limits)| (tier.clone(), windows(limits))).collect(),
        dry_run: policy.dry_run,
    }
}

fn route_view(route: &Route) -> RouteView {
    RouteView {
        name: route.name.clone(),
        hosts: route.hosts.iter().map(ToString::to_string).collect(),
        path: route.path.text.clone(),
        exact: route.path.exact,
        methods: route.methods.iter().map(ToString::to_string).collect(),
        upstream: route.upstream.name.clone(),
        policies: route.policies.iter().map(|policy| policy.name.to_string()).collect(),
        cost: route.cost,
        redis_away: match route.redis_away {
            Away::Open => "open",
            Away::Closed => "closed",
            Away::Local => "local",
        },
        identity: route.accepts.clone(),
        identity_required: route.identity_required,
        timeouts: TimeoutsView {
            connect_ms: millis(route.timeouts.connect),
            head_ms: millis(route.timeouts.head),
            idle_ms: millis(route.timeouts.idle),
        },
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
