#![doc = include_str!("../README.md")]

mod api;
mod config;
mod keys;
mod routes;

pub use config::{CacheApiConfig, Config};

use crate::api::Api;
use actix_web::web::Data;
use anyhow::Context;
use cache::Cache;
use http_kit::{Authenticator, Readiness, Server};
use redis_core::{Redis, RedisError, Reply};
use session::Sessions;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

/// Serves until `stop`. Redis may be away, at the start too: requests get 503 until it is there.
///
/// # Errors
/// The address is taken, a secret cannot be read, or the server broke down.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let redis = Redis::connect(&config.redis);
    let own = &config.cache_api;
    let sessions = Sessions::new(redis.clone(), config.session_keys()?, config.session.clone());
    let cache = Cache::new(redis.clone(), own.limits());
    let api = Data::new(Api::new(cache, sessions, own.stamp_seal()?, &config));

    let for_keys = redis.clone();
    let auth = Authenticator::new(&config.auth, own.bind)
        .context("the API keys")?
        .with_source(move || api_keys(for_keys.clone()));
    let (for_readiness, for_health) = (redis.clone(), redis.clone());
    let server = Server::bind("cache-api", own.bind, config.http.clone(), auth)?
        .readiness(move || readiness(for_readiness.clone()))
        .health(move || health(for_health.clone()))
        .openapi(routes::ApiDocument::openapi());
    server.run(move |services| routes::configure(services, &api), stop).await?;
    redis.close().await;
    Ok(())
}

/// The keys that were made at run time, as the JSON of each.
async fn api_keys(redis: Redis) -> Result<Vec<String>, http_kit::KeySourceError> {
    let records = redis.command("HVALS", &keys::api_keys(&redis), Vec::new()).await?.into_array()?;
    Ok(records.into_iter().map(Reply::into_string).collect::<Result<_, RedisError>>()?)
}

async fn readiness(redis: Redis) -> Readiness {
    match redis.readiness().await {
        redis_core::Readiness::Ready { .. } => Readiness::Ready,
        redis_core::Readiness::NotReady { reason } => Readiness::NotReady(reason),
    }
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
