#![doc = include_str!("../README.md")]

mod api;
mod config;
mod routes;

pub use config::{CacheApiConfig, Config};

use crate::api::Api;
use actix_web::web::Data;
use anyhow::Context;
use cache::Cache;
use correlation::Recording;
use http_kit::{Authenticator, HopSink, Server};
use redis_core::Redis;
use session::Sessions;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

/// Serves until `stop`. Redis may be away, at the start too: requests get 503 until it is there.
///
/// # Errors
/// The address is taken, a secret cannot be read, or the server broke down.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let redis = Redis::connect(&config.redis);
    redis.observe();
    let own = &config.cache_api;
    let sessions = Sessions::new(redis.clone(), config.session_keys()?, config.session.clone());
    let cache = Cache::new(redis.clone(), own.limits());
    let api = Data::new(Api::new(cache, sessions, own.stamp_seal()?, &config));

    let auth = Authenticator::new(&config.auth, own.bind).context("the API keys")?;
    let recording = Recording::start(&redis, "cache-api");
    let recorder = recording.recorder();
    let server = Server::bind("cache-api", own.bind, config.http.clone(), auth)?
        .backed_by(&redis)
        .hops(HopSink::new(move |id, hop| recorder.record(id, hop)))
        .openapi(routes::ApiDocument::openapi());
    let served = server.run(move |services| routes::configure(services, &api), stop).await;
    recording.stop().await;
    redis.close().await;
    Ok(served?)
}
