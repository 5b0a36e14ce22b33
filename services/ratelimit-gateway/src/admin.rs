//! What operators and other proxies ask, behind the admin address.

mod check;
mod config;
mod forward_auth;
mod state;

use crate::gate::Gate;
use crate::identity::Identity;
use crate::rules::Policy;
use actix_web::web::{self, Data, ServiceConfig};
use http_kit::{Access, Action, Authenticator, Problem};
use ratelimit::Demand;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use utoipa::OpenApi;

/// What the routes share.
pub(crate) struct Admin {
    gate: Arc<Gate>,
    auth: Authenticator,
}

impl Admin {
    pub(crate) fn new(gate: Arc<Gate>, auth: Authenticator) -> Self {
        Self { gate, auth }
    }
}

/// Every route of the admin address, besides the common ones.
pub(crate) fn configure(services: &mut ServiceConfig, admin: &Data<Admin>) {
    services
        .app_data(admin.clone())
        .service(web::resource("/v1/ratelimit/check").post(check::check))
        .service(web::resource("/v1/ratelimit/auth").get(forward_auth::auth))
        .service(web::resource("/v1/ratelimit/state").get(state::state).delete(state::reset))
        .service(web::resource("/v1/config").get(config::config))
        .service(web::resource("/v1/config/reload").post(config::reload));
}

/// What `/openapi.json` says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluice ratelimit-gateway",
        description = "The admin address: checks of limits, forward-auth for other proxies, counts, rules.",
    ),
    paths(
        check::check, forward_auth::auth, state::state, state::reset, config::config, config::reload,
    ),
    components(schemas(domain::PolicyName, domain::UserId, domain::ProjectId)),
    tags((name = "limits"), (name = "rules")),
)]
pub(crate) struct ApiDocument;

fn require(access: &Access) -> Result<(), Problem> {
    access.require(Action::GatewayAdmin, "")
}

/// What a policy demands of somebody who was described, and does not ask by himself: then an address may be missing.
fn demand(policy: &Policy, identity: &Identity, address: Option<IpAddr>) -> Result<Demand, Problem> {
    let demand = policy.demand(identity, address.unwrap_or(NOBODY));
    let counts_address = demand.scope.as_str().split('+').any(|part| part.starts_with("ip:"));
    if address.is_none() && counts_address {
        let detail = format!(
            "policy {} counts by address here: by its scope, or for want of a user or project",
            policy.name
        );
        return Err(Problem::field("/ip", detail));
    }
    Ok(demand)
}

/// Never counted.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
