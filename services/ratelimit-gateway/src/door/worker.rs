//! A thread of the public door: takes connections and runs them, and everything that belongs to them.

use super::config::DoorConfig;
use super::connection::{self, Shared};
use super::pool::Pool;
use super::proxy::Proxy;
use crate::gate::Gate;
use http_kit::{Place, Tls};
use std::io;
use std::net::{IpAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A connection that was accepted.
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: IpAddr,
    /// Counts it until it ends.
    pub(super) _place: OwnedSemaphorePermit,
    /// And among those of its address.
    pub(super) _address: Option<Place>,
}

/// A running thread.
pub(super) struct Worker {
    arrivals: mpsc::Sender<Arrival>,
    connections: Arc<AtomicUsize>,
    thread: JoinHandle<io::Result<()>>,
}

impl Worker {
    /// Starts it. After `stop` it drains and ends.
    pub(super) fn start(
        number: usize,
        gate: Arc<Gate>,
        settings: DoorConfig,
        tls: Option<Tls>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let (arrivals, received) = mpsc::channel(ARRIVALS_MAX);
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let thread = std::thread::Builder::new().name(format!("door-{number}")).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let local = LocalSet::new();
            local.block_on(&runtime, run(received, gate, settings, tls, stop, counter));
            Ok(())
        })?;
        Ok(Self { arrivals, connections, thread })
    }

    /// Connections that it has, or is about to have.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Hands it a connection. Waits while a burst of them is still on the way.
    pub(super) async fn take(&self, arrival: Arrival) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        // It is gone only when the door is shutting; the connection is closed then.
        let _ = self.arrivals.send(arrival).await;
    }

    /// Waits for its end.
    pub(super) fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a worker panicked")))
    }
}

async fn run(
    mut arrivals: mpsc::Receiver<Arrival>,
    gate: Arc<Gate>,
    settings: DoorConfig,
    tls: Option<Tls>,
    stop: CancellationToken,
    connections: Arc<AtomicUsize>,
) {
    let tasks = TaskTracker::new();
    let pool = Pool::new(&settings, tasks.clone());
    let grace = settings.grace();
    let proxy = Proxy::new(gate, pool.clone(), &settings, tasks.clone());
    let shared = Rc::new(Shared { settings, tls, proxy, tasks: tasks.clone(), stop: stop.clone() });
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        let arrival = tokio::select! {
            arrival = arrivals.recv() => arrival,
            () = stop.cancelled() => None,
            _ = sweep.tick() => {
                pool.sweep();
                continue;
            }
        };
        let Some(arrival) = arrival else { break };
        let (shared, counted) = (shared.clone(), Counted(connections.clone()));
        tasks.spawn_local(async move {
            let _counted = counted;
            let Arrival { stream, peer, _place, _address } = arrival;
            if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                // Small answers go out at once; without it they wait for the client's acknowledgement.
                let _ = stream.set_nodelay(true);
                connection::serve(shared, stream, peer).await;
            }
        });
    }
    drop(arrivals);
    pool.close();
    tasks.close();
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        let left = tasks.len();
        tracing::warn!(tasks = left, "requests in flight outlasted the grace time: cut them");
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const ARRIVALS_MAX: usize = 1024;
/// How often connections that idled too long are looked for.
const SWEEP: Duration = Duration::from_secs(1);
