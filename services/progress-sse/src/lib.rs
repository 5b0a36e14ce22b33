#![doc = include_str!("../README.md")]

mod config;
mod openapi;
mod page;
mod rights;
mod routes;

pub use config::{Config, ProgressSseConfig};

use actix_web::web::Data;
use correlation::{Correlations, Recording};
use http_kit::{Authenticator, HopSink, Server};
use progress::{Hub, Operations, sweep};
use redis_core::Redis;
use std::num::NonZeroUsize;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Serves until `stop`, then ends the watchers in waves, finishes what was begun, and returns.
///
/// # Errors
/// The address cannot be listened on, the keys cannot be read, or the server broke down.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let settings = &config.progress_sse;
    let redis = Redis::connect(&config.redis);
    redis.observe();
    let operations = Operations::new(redis.clone(), settings.lifetimes());
    let hub = Hub::new(operations.clone(), settings.hub());
    let auth = Authenticator::new(&config.auth, settings.bind)?;

    let ended = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(sweep(operations.clone(), Duration::from_millis(settings.sweep_ms), ended.clone()));

    let drain = Duration::from_millis(settings.drain_ms);
    let (watched, drained) = (hub.clone(), hub.clone());
    let shared = (Data::new(operations), Data::new(hub.clone()));
    let correlations = Data::new(Correlations::new(redis.clone()));
    let recording = Recording::start(&redis, "progress-sse");
    let recorder = recording.recorder();
    let server = Server::bind("progress-sse", settings.bind, config.http.clone(), auth)?
        .backed_by(&redis)
        .hops(HopSink::new(move |id, hop| recorder.record(id, hop)))
        .health(move || std::future::ready(routes::health(&watched)))
        .openapi(openapi::document())
        // A reader that went away is no reader; and thousands of them share the memory.
        .half_closed(false)
        .write_buffer_bytes(WRITE_BUFFER_BYTES)
        .unread_for(Duration::from_millis(settings.unread_ms))
        .before_stop(move || async move { drained.drain(drain).await });
    let served = server
        .run(
            move |app| {
                app.app_data(shared.0.clone()).app_data(shared.1.clone()).app_data(correlations.clone());
                app.configure(routes::table);
            },
            stop,
        )
        .await;

    ended.cancel();
    tasks.join_all().await;
    hub.close().await;
    recording.stop().await;
    redis.close().await;
    Ok(served?)
}

const WRITE_BUFFER_BYTES: NonZeroUsize = NonZeroUsize::new(8 * 1024).expect("not zero");
