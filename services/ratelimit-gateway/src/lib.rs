#![doc = include_str!("../README.md")]

mod admin;
mod config;
mod door;
mod fields;
mod gate;
mod identity;
mod keys;
mod rules;

pub use config::{Config, GatewayConfig};
pub use door::DoorConfig;

use crate::admin::Admin;
use crate::gate::Gate;
use crate::identity::SessionCheck;
use crate::rules::Live;
use actix_web::web::Data;
use anyhow::Context;
use http_kit::{Authenticator, KeySourceError, Readiness, Server};
use ratelimit::Limiter;
use redis_core::{Redis, RedisError, Reply};
use session::Sessions;
use std::net::TcpListener;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

/// Serves until `stop`: the public door, and behind another address what operators ask.
///
/// Redis may be away, at the start too: each route says what passes then.
///
/// # Errors
/// An address is taken, the rules are wrong, a secret cannot be read, or a server broke down.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let (source, session_keys) = (config.rules(), config.session_keys()?);
    let own = config.ratelimit_gateway;
    let redis = Redis::connect(&config.redis);
    let for_keys = redis.clone();
    let auth = Authenticator::new(&config.auth, own.admin_bind)
        .context("the API keys")?
        .with_source(move || api_keys(for_keys.clone()));
    let rules = Live::open(source).context("the rules")?;
    let limiter = Limiter::new(redis.clone(), own.limiter());
    let sessions = session_keys.map(|keys| {
        SessionCheck::new(Sessions::new(redis.clone(), keys, config.session), own.check_timeout())
    });
    let gate = Arc::new(Gate::new(rules, limiter, auth.clone(), sessions));

    let listener = TcpListener::bind(own.bind).with_context(|| format!("cannot listen on {}", own.bind))?;
    let api = Data::new(Admin::new(gate.clone(), auth.clone()));
    let for_health = redis.clone();
    let admin = Server::bind("ratelimit-gateway", own.admin_bind, config.http, auth)?
        // Also without Redis: what passes then is for the rules to say.
        .readiness(|| async { Readiness::Ready })
        .health(move || health(for_health.clone()))
        .openapi(admin::ApiDocument::openapi());

    // One that breaks down takes the others with it.
    let all = stop.child_token();
    let public = async {
        let _stop = all.clone().drop_guard();
        door::serve(listener, gate.clone(), own.door, all.clone()).await
    };
    let admin = async {
        let _stop = all.clone().drop_guard();
        admin
            .run(move |services| admin::configure(services, &api), all.clone())
            .await
            .context("the admin server")
    };
    let watch = async {
        let _stop = all.clone().drop_guard();
        gate.rules.watch(all.clone()).await.context("the watch over the rules")
    };
    let (public, admin, watch) = tokio::join!(public, admin, watch);
    redis.close().await;
    public.and(admin).and(watch)
}

/// The keys that were made at run time, as the JSON of each.
async fn api_keys(redis: Redis) -> Result<Vec<String>, KeySourceError> {
    let records = redis.command("HVALS", &keys::api_keys(&redis), Vec::new()).await?.into_array()?;
    Ok(records.into_iter().map(Reply::into_string).collect::<Result<_, RedisError>>()?)
}

async fn health(redis: Redis) -> serde_json::Value {
    let redis = match redis.readiness().await {
        redis_core::Readiness::Ready { latency } => {
            serde_json::json!({ "ready": true, "latency_us": u64::try_from(latency.as_micros()).unwrap_or(u64::MAX) })
        }
        redis_core::Readiness::NotReady { reason } => serde_json::json!({ "ready": false, "reason": reason }),
    };
    serde_json::json!({ "redis": redis })
}
