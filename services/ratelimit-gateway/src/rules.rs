//! What the rules file says, checked: routes, and where they lead.

use std::sync::Arc;
use std::time::Duration;

/// Where requests of one kind go, and under which terms.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in the file, in logs and in metrics.
    pub(crate) name: String,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) timeouts: Timeouts,
}

/// Servers that answer alike. Names are resolved again and again, so that new replicas take part.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Its name in the file.
    pub(crate) name: String,
    /// `host:port` each, plain HTTP.
    pub(crate) targets: Vec<Target>,
}

/// One address, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// How long the upstream may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// To a connection.
    pub(crate) connect: Duration,
    /// From the last byte of the request to the head of the answer.
    pub(crate) head: Duration,
    /// Between two pieces of a body or of a tunnel, in either direction.
    pub(crate) idle: Duration,
}
