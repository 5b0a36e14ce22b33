#![doc = include_str!("../README.md")]

mod app;
mod archive;
mod config;
mod followed;
mod handlers;
mod openapi;
mod push;
mod reporter;
mod routes;
mod views;
mod workers;

pub use archive::{FileRecord, Manifest, PartRecord, SkipReason, Skipped};
pub use config::{Config, HandlerName, InvalidTarget, QueueConfig, QueueNames, QueueWorkerConfig, Target};

use app::App;
use correlation::{Recorder, Recording};
use http_kit::{Authenticator, HopSink, Server};
use progress::{Lifetimes, Operations};
use queue::{Queues, QueuesOptions};
use redis_core::Redis;
use reporter::ProgressReporter;
use serde_json::json;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Serves HTTP and works on the configured queues until `stop`; then takes no more tasks, lets running ones finish within
/// the grace, gives the rest back, and returns.
///
/// # Errors
/// The address is taken, a secret file cannot be read, or the server broke down.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let redis = Redis::connect(&config.redis);
    redis.observe();
    let settings = &config.queue_worker;
    let options = QueuesOptions {
        max_queues: settings.max_queues,
        max_bytes: (settings.max_bytes > 0).then_some(settings.max_bytes),
        ..QueuesOptions::default()
    };
    let queues = Queues::new(redis.clone(), options);
    let reporter =
        ProgressReporter::new(Operations::new(redis.clone(), Lifetimes::default()), redis.clock().clone());
    let recording = Recording::start(&redis, "queue-worker");
    // Before any work begins: an address that is taken ends the start.
    let server = settings.http.then(|| bind(&config, &redis, recording.recorder())).transpose()?;
    let workers = workers::all(settings, &queues, &redis, &reporter, &recording.recorder())?;

    let mut jobs = JoinSet::new();
    jobs.spawn(workers::register(queues.clone(), settings.all_queues().into_keys().collect(), stop.clone()));
    let (tended, told, stop_tending) = (queues.clone(), Arc::new(reporter.clone()), stop.clone());
    jobs.spawn(async move { tended.tend_and_tell(told, stop_tending).await });
    for worker in workers {
        jobs.spawn(worker.run(stop.clone()));
    }

    let served = match server {
        Some(server) => {
            let app = App::new(queues.clone(), reporter, settings, stop.clone());
            let served = server.run(routes::table(app.clone()), stop.clone()).await;
            app.close().await;
            served
        }
        None => {
            stop.cancelled().await;
            Ok(())
        }
    };
    // Also when the server broke down: the workers give back what they hold.
    stop.cancel();
    while jobs.join_next().await.is_some() {}
    queues.close().await;
    recording.stop().await;
    redis.close().await;
    Ok(served?)
}

fn bind(config: &Config, redis: &Redis, recorder: Recorder) -> anyhow::Result<Server> {
    let address = config.queue_worker.bind;
    let auth = Authenticator::new(&config.auth, address)?;
    let served: Vec<String> = config.queue_worker.served().keys().map(ToString::to_string).collect();
    let server = Server::bind("queue-worker", address, config.http.clone(), auth)?
        // A client that hangs up in a long poll must not be given tasks.
        .half_closed(false)
        .backed_by(redis)
        .hops(HopSink::new(move |id, hop| recorder.record(id, hop)))
        .health(move || std::future::ready(json!({ "serves": served })))
        .openapi(openapi::document());
    Ok(server)
}
