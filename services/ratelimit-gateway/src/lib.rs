#![doc = include_str!("../README.md")]

mod config;
mod door;
#[cfg_attr(not(test), expect(dead_code, reason = "the gate says it from its first limit on"))]
mod fields;
mod gate;
mod rules;

pub use config::{Config, GatewayConfig};
pub use door::DoorConfig;

use crate::gate::Gate;
use crate::rules::Rules;
use anyhow::Context;
use http_kit::{Authenticator, Readiness, Server};
use std::net::TcpListener;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Serves until `stop`: the public door, and behind another address what operators ask.
///
/// # Errors
/// An address is taken, the rules are wrong, a secret cannot be read, or a server broke down.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let own = config.ratelimit_gateway;
    let rules = Rules::read(&own.rules_file).context("the rules")?;
    let gate = Arc::new(Gate::new(rules));
    let listener = TcpListener::bind(own.bind).with_context(|| format!("cannot listen on {}", own.bind))?;
    let auth = Authenticator::new(&config.auth, own.admin_bind).context("the API keys")?;
    let admin = Server::bind("ratelimit-gateway", own.admin_bind, config.http, auth)?
        .readiness(|| async { Readiness::Ready });
    // One that breaks down takes the other with it.
    let both = stop.child_token();
    let public = async {
        let _stop = both.clone().drop_guard();
        door::serve(listener, gate, own.door, both.clone()).await
    };
    let admin = async {
        let _stop = both.clone().drop_guard();
        admin.run(|_| {}, both.clone()).await.context("the admin server")
    };
    let (public, admin) = tokio::join!(public, admin);
    public.and(admin)
}
