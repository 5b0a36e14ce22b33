//! The public door: a streaming reverse proxy. Everything else that the gateway serves is actix-web.
//!
//! Each worker is a thread with a runtime, a pool of upstream connections and tasks of its own: no lock and no wake-up
//! crosses threads while a request passes. Connections are handed to the worker that has the fewest.

mod answer;
mod config;
mod connection;
mod fields;
mod followed;
mod framing;
mod guard;
mod head;
mod patience;
mod pool;
mod proxy;
mod refusal;
mod relay;
mod resolver;
mod tunnel;
mod upload;
mod worker;

pub use config::DoorConfig;

use crate::gate::Gate;
use anyhow::Context;
use http_kit::{Addresses, Place, Tls};
use std::net::{IpAddr, TcpListener};
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
    let tls = settings.tls().context("TLS of the public door")?;
    listener.set_nonblocking(true).context("the public listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("the public listener")?;
    let places = Arc::new(Semaphore::new(settings.connections_max.get().min(Semaphore::MAX_PERMITS)));
    let workers = (0..settings.worker_threads())
        .map(|number| Worker::start(number, gate.clone(), settings.clone(), tls.clone(), stop.child_token()))
        .collect::<Result<Vec<_>, _>>()
        .context("a thread of the public door")?;
    let entrance = Entrance {
        listener,
        workers: &workers,
        places,
        addresses: Addresses::new(settings.connections_per_address_max),
        gate: &gate,
    };
    tokio::select! {
        () = entrance.accept() => {}
        () = fresh_certificates(tls) => {}
        () = stop.cancelled() => {}
    }
    // Nobody waits in the backlog for a door that stays shut.
    drop(entrance);
    let ended = tokio::task::spawn_blocking(move || workers.into_iter().try_for_each(Worker::join)).await;
    ended.context("the public door")?.context("a worker of the public door")
}

/// Where connections come in.
struct Entrance<'a> {
    listener: tokio::net::TcpListener,
    workers: &'a [Worker],
    places: Arc<Semaphore>,
    addresses: Arc<Addresses>,
    gate: &'a Gate,
}

impl Entrance<'_> {
    /// For ever.
    async fn accept(&self) {
        loop {
            // Beyond the bound, connections wait in the backlog.
            let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let peer = address.ip().to_canonical();
                    let Some(address) = self.enter(peer) else {
                        tracing::debug!("closed a connection: its address has as many as it may");
                        continue;
                    };
                    let least = self.workers.iter().min_by_key(|worker| worker.connections());
                    let Some(worker) = least else { return };
                    let Ok(stream) = stream.into_std() else { continue };
                    worker.take(Arrival { stream, peer, _place: place, _address: address }).await;
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the public door cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// None when the address has as many connections as it may. Behind proxies of ours every client has theirs, so that
    /// nothing is bounded there.
    fn enter(&self, peer: IpAddr) -> Option<Option<Place>> {
        if self.gate.rules.now().identity.trusted_hops > 0 {
            return Some(None);
        }
        self.addresses.enter(peer).map(Some)
    }
}

async fn fresh_certificates(tls: Option<Tls>) {
    match tls {
        Some(tls) => tls.keep_fresh().await,
        None => std::future::pending().await,
    }
}

/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
