//! Names of upstreams, resolved again and again, so that new replicas take part.

use crate::rules::{Target, Upstream};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

/// The addresses of names, as one worker knows them. A name whose lookup fails keeps the addresses that it had.
pub(super) struct Resolver {
    ttl: Duration,
    tasks: TaskTracker,
    names: RefCell<HashMap<Target, Rc<Name>>>,
}

struct Name {
    addresses: RefCell<Vec<SocketAddr>>,
    /// None until the first lookup has ended.
    fresh_until: Cell<Option<Instant>>,
    resolving: Cell<bool>,
    resolved: Notify,
}

impl Resolver {
    pub(super) fn new(ttl: Duration, tasks: TaskTracker) -> Self {
        Self { ttl, tasks, names: RefCell::default() }
    }

    /// All addresses of an upstream. Waits only for names that were never looked up; old answers are renewed behind.
    pub(super) async fn addresses(&self, upstream: &Upstream) -> Vec<SocketAddr> {
        let mut all = Vec::with_capacity(upstream.targets.len());
        for target in &upstream.targets {
            let name = self.name(target);
            // Registered before the look, so that an answer in between is not missed.
            let resolved = name.resolved.notified();
            if name.fresh_until.get().is_none_or(|until| until <= Instant::now()) {
                self.renew(target, &name);
            }
            if name.fresh_until.get().is_none() {
                resolved.await;
            }
            all.extend_from_slice(&name.addresses.borrow());
        }
        all
    }

    fn name(&self, target: &Target) -> Rc<Name> {
        if let Some(name) = self.names.borrow().get(target) {
            return name.clone();
        }
        let address = target.host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let name = Rc::new(Name {
            addresses: RefCell::new(address.map(|ip| SocketAddr::new(ip, target.port)).into_iter().collect()),
            // A number never changes.
            fresh_until: Cell::new(address.map(|_| Instant::now() + FOREVER)),
            resolving: Cell::new(false),
            resolved: Notify::new(),
        });
        self.names.borrow_mut().insert(target.clone(), name.clone());
        name
    }

    fn renew(&self, target: &Target, name: &Rc<Name>) {
        if name.resolving.replace(true) {
            return;
        }
        let (ttl, name, target) = (self.ttl, name.clone(), target.clone());
        self.tasks.spawn_local(async move {
            let Target { host, port } = &target;
            match timeout(DEADLINE, lookup_host((&**host, *port))).await {
                Ok(Ok(found)) => *name.addresses.borrow_mut() = found.collect(),
                Ok(Err(error)) => {
                    tracing::warn!(upstream.host = host, error = %error, "cannot resolve {host}: {error}");
                }
                Err(_) => tracing::warn!(upstream.host = host, "resolving {host} took too long"),
            }
            name.fresh_until.set(Some(Instant::now() + ttl));
            name.resolving.set(false);
            name.resolved.notify_waiters();
        });
    }
}

const DEADLINE: Duration = Duration::from_secs(5);
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
