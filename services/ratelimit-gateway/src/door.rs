//! The public door: a streaming reverse proxy. Everything else that the gateway serves is actix-web.
//!
//! Each worker is a thread with a runtime, a pool of upstream connections and tasks of its own: no lock and no wake-up
//! crosses threads while a request passes. Connections are handed to the worker that has the fewest.

mod answer;
mod config;
mod connection;
mod fields;
mod framing;
mod guard;
mod head;
mod patience;
mod pool;
mod proxy;
mod refusal;
mod relay;
mod resolver;
mod timer;
mod tunnel;
mod upload;
mod worker;

pub use config::DoorConfig;

use crate::gate::Gate;
use anyhow::Context;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use worker::{Arrival, Worker};

/// Serves until `stop`, lets requests in flight finish within the grace time, and ends.
///
/// # Errors
/// The listener cannot be used, or a thread cannot be started.
pub(crate) async fn serve(
    listener: TcpListener,
    gate: Arc<Gate>,
    settings: DoorConfig,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true).context("the public listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("the public listener")?;
    let places = Arc::new(Semaphore::new(settings.connections_max.get().min(Semaphore::MAX_PERMITS)));
    let workers = (0..settings.worker_threads())
        .map(|number| Worker::start(number, gate.clone(), settings.clone(), stop.child_token()))
        .collect::<Result<Vec<_>, _>>()
        .context("a thread of the public door")?;
    tokio::select! {
        () = accept(&listener, &workers, &places) => {}
        () = stop.cancelled() => {}
    }
    // Nobody waits in the backlog for a door that stays shut.
    drop(listener);
    let ended = tokio::task::spawn_blocking(move || workers.into_iter().try_for_each(Worker::join)).await;
    ended.context("the public door")?.context("a worker of the public door")
}

async fn accept(listener: &tokio::net::TcpListener, workers: &[Worker], places: &Arc<Semaphore>) {
    loop {
        // Beyond the bound, connections wait in the backlog.
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, address)) => {
                let least = workers.iter().min_by_key(|worker| worker.connections());
                let Some(worker) = least else { return };
                let Ok(stream) = stream.into_std() else { continue };
                worker.take(Arrival { stream, peer: address.ip().to_canonical(), _place: place }).await;
            }
            Err(error) => {
                tracing::warn!(error = %error, "the public door cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
