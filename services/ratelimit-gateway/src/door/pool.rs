//! Connections to upstreams: kept, chosen by the fewest requests in flight, and bounded. One pool for each worker.

use super::config::DoorConfig;
use super::connection::BUFFER_BYTES;
use super::resolver::Resolver;
use super::upload::Upload;
use crate::rules::Upstream;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

/// A handle; clones share the connections.
#[derive(Clone)]
pub(super) struct Pool(Rc<Inner>);

struct Inner {
    resolver: Resolver,
    addresses: RefCell<HashMap<SocketAddr, Rc<Address>>>,
    /// Moves with every choice, so that equals take turns.
    turn: Cell<usize>,
    closed: Cell<bool>,
    tasks: TaskTracker,
    in_use_max: usize,
    idle_max: usize,
    idle_time: Duration,
    skip_time: Duration,
}

/// One address of an upstream.
struct Address {
    at: SocketAddr,
    in_use: Cell<usize>,
    /// The one used last is at the end, and is taken first.
    idle: RefCell<Vec<Idle>>,
    /// It refused a connection: others are tried first until then.
    skipped_until: Cell<Option<Instant>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection, and the task that drives it.
struct Connection {
    sender: SendRequest<Upload>,
    task: AbortHandle,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoConnection {
    /// No name of the upstream could be resolved.
    Unresolved,
    /// Every address refused.
    Refused,
    TimedOut,
    /// Every address has as many requests as may be.
    Full,
}

impl Pool {
    pub(super) fn new(settings: &DoorConfig, tasks: TaskTracker) -> Self {
        let ms = Duration::from_millis;
        Self(Rc::new(Inner {
            resolver: Resolver::new(ms(settings.resolve_ttl_ms), tasks.clone()),
            addresses: RefCell::default(),
            turn: Cell::default(),
            closed: Cell::default(),
            tasks,
            in_use_max: settings.upstream_connections_max.get(),
            idle_max: settings.upstream_idle_max,
            idle_time: ms(settings.upstream_idle_ms),
            skip_time: ms(settings.upstream_skip_ms),
        }))
    }

    /// A connection for one request, new if `fresh`. The deadline covers names and all addresses that are tried.
    pub(super) async fn lease(
        &self,
        upstream: &Upstream,
        deadline: Instant,
        fresh: bool,
    ) -> Result<Lease, NoConnection> {
        let addresses = timeout_at(deadline, self.0.resolver.addresses(upstream)).await;
        let mut candidates = self.known(&addresses.map_err(|_| NoConnection::TimedOut)?);
        let mut outcome = NoConnection::Unresolved;
        while let Some(address) = self.choose(&mut candidates) {
            if address.in_use.get() >= self.0.in_use_max {
                return Err(NoConnection::Full);
            }
            let mut lease = Lease::of(self, address);
            if !fresh && lease.reuse().await {
                return Ok(lease);
            }
            // A silent address leaves time for the others.
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / (candidates.len() as u32 + 1);
            match timeout_at(now + share, lease.connect()).await {
                Ok(Ok(())) => return Ok(lease),
                Ok(Err(error)) => {
                    let at = lease.address.at;
                    tracing::debug!(upstream.address = %at, error = %error, "cannot connect to {at}: {error}");
                    outcome = NoConnection::Refused;
                }
                Err(_) => outcome = NoConnection::TimedOut,
            }
            lease.address.skipped_until.set(Some(Instant::now() + self.0.skip_time));
        }
        Err(outcome)
    }

    fn known(&self, addresses: &[SocketAddr]) -> Vec<Rc<Address>> {
        let mut known = self.0.addresses.borrow_mut();
        let entry = |at: &SocketAddr| known.entry(*at).or_insert_with(|| Rc::new(Address::at(*at))).clone();
        addresses.iter().map(entry).collect()
    }

    /// Takes out the candidate with the fewest requests; those that refused lately come last.
    fn choose(&self, candidates: &mut Vec<Rc<Address>>) -> Option<Rc<Address>> {
        if candidates.len() < 2 {
            return candidates.pop();
        }
        let (now, count) = (Instant::now(), candidates.len());
        let turn = self.0.turn.get();
        self.0.turn.set(turn.wrapping_add(1));
        let rank = |at: &usize| {
            let address = &candidates[(turn.wrapping_add(*at)) % count];
            (address.skipped_until.get().is_some_and(|until| until > now), address.in_use.get())
        };
        let best = (0..count).min_by_key(rank)?;
        Some(candidates.swap_remove(turn.wrapping_add(best) % count))
    }

    /// Drops what idled too long, and addresses that are of no use any more.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.0.addresses.borrow_mut().retain(|_, address| {
            address.idle.borrow_mut().retain(|idle| self.is_good(idle, now));
            let skipped = address.skipped_until.get().is_some_and(|until| until > now);
            // Somebody who holds it is about to use it: its connections and their count must stay the ones known here.
            Rc::strong_count(address) > 1 || !address.idle.borrow().is_empty() || skipped
        });
    }

    /// Closes what idles, now and from now on.
    pub(super) fn close(&self) {
        self.0.closed.set(true);
        self.0.addresses.borrow_mut().clear();
    }

    fn is_good(&self, idle: &Idle, now: Instant) -> bool {
        idle.since + self.0.idle_time > now && !idle.connection.sender.is_closed()
    }
}

impl Address {
    fn at(at: SocketAddr) -> Self {
        Self { at, in_use: Cell::new(0), idle: RefCell::default(), skipped_until: Cell::new(None) }
    }
}

/// A connection in use. Dropped, it is cut at once, whatever was on its way; given back, it is kept for the next request.
pub(super) struct Lease {
    pool: Pool,
    address: Rc<Address>,
    connection: Option<Connection>,
    /// It has served a request before: the upstream may have closed it meanwhile.
    pub(super) is_reused: bool,
}

impl Lease {
    fn of(pool: &Pool, address: Rc<Address>) -> Self {
        address.in_use.set(address.in_use.get() + 1);
        Self { pool: pool.clone(), address, connection: None, is_reused: false }
    }

    /// Takes an idle connection that is still open.
    async fn reuse(&mut self) -> bool {
        loop {
            let idle = self.address.idle.borrow_mut().pop();
            let Some(mut idle) = idle else { return false };
            if self.pool.is_good(&idle, Instant::now()) && idle.connection.sender.ready().await.is_ok() {
                self.connection = Some(idle.connection);
                self.is_reused = true;
                return true;
            }
        }
    }

    async fn connect(&mut self) -> io::Result<()> {
        let stream = TcpStream::connect(self.address.at).await?;
        stream.set_nodelay(true)?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(BUFFER_BYTES);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driven = self.pool.0.tasks.spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(error = %error, "a connection to an upstream broke: {error}");
            }
        });
        self.connection = Some(Connection { sender, task: driven.abort_handle() });
        Ok(())
    }

    /// The way to send the one request.
    pub(super) fn sender(&mut self) -> &mut SendRequest<Upload> {
        &mut self.connection.as_mut().expect("a lease is handed out with its connection").sender
    }

    /// Keeps the connection: its request and its answer are whole.
    pub(super) fn give_back(mut self) {
        let Inner { closed, idle_max, .. } = &*self.pool.0;
        let mut idle = self.address.idle.borrow_mut();
        if let Some(connection) = self.connection.take()
            && !closed.get()
            && !connection.sender.is_closed()
            && idle.len() < *idle_max
        {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A body that nobody takes, or that nobody sends, would keep it open.
        if let Some(connection) = &self.connection {
            connection.task.abort();
        }
        self.address.in_use.set(self.address.in_use.get() - 1);
    }
}
