//! What the rules file says, checked: routes, and where they lead.

use crate::gate::Asked;
use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The rules file, read and checked.
#[derive(Debug)]
pub(crate) struct Rules {
    /// In the order of the file.
    pub(crate) routes: Vec<Arc<Route>>,
}

impl Rules {
    /// Reads the file. A mistake names the line, or the route.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text)?;
        let upstream = |(name, entry): (String, UpstreamEntry)| {
            let targets = entry.targets.iter().map(|target| target_of(target)).collect::<Result<_, _>>();
            let targets = targets.with_context(|| format!("upstream {name}"))?;
            Ok((name.clone(), Arc::new(Upstream { name, targets })))
        };
        let upstreams =
            file.upstreams.into_iter().map(upstream).collect::<anyhow::Result<BTreeMap<_, _>>>()?;
        let route = |RouteEntry { name, path, methods, hosts, upstream, timeouts }| {
            let Some(upstream) = upstreams.get(&upstream).cloned() else {
                bail!("route {name}: there is no upstream {upstream}");
            };
            Ok(Arc::new(Route { name, path, methods, hosts, upstream, timeouts: timeouts.into() }))
        };
        Ok(Self { routes: file.routes.into_iter().map(route).collect::<anyhow::Result<_>>()? })
    }
}

fn target_of(text: &str) -> anyhow::Result<Target> {
    let authority = text.strip_prefix("http://").with_context(|| format!("{text}: http://host:port"))?;
    let (host, port) = authority.rsplit_once(':').with_context(|| format!("{text}: a port is missing"))?;
    Ok(Target { host: host.to_owned(), port: port.parse().with_context(|| text.to_owned())? })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    upstreams: BTreeMap<String, UpstreamEntry>,
    routes: Vec<RouteEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamEntry {
    targets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteEntry {
    name: String,
    path: String,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
    upstream: String,
    #[serde(default)]
    timeouts: TimeoutsEntry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TimeoutsEntry {
    connect_ms: u64,
    head_ms: u64,
    idle_ms: u64,
}

impl Default for TimeoutsEntry {
    fn default() -> Self {
        Self { connect_ms: 3_000, head_ms: 60_000, idle_ms: 60_000 }
    }
}

impl From<TimeoutsEntry> for Timeouts {
    fn from(TimeoutsEntry { connect_ms, head_ms, idle_ms }: TimeoutsEntry) -> Self {
        let ms = Duration::from_millis;
        Self { connect: ms(connect_ms), head: ms(head_ms), idle: ms(idle_ms) }
    }
}

/// Where requests of one kind go, and under which terms.
#[derive(Debug)]
pub(crate) struct Route {
    /// Its name in the file, in logs and in metrics.
    pub(crate) name: String,
    /// Whatever begins with it, at the end of a segment.
    pub(crate) path: String,
    /// Any if empty.
    pub(crate) methods: Vec<String>,
    /// As in `Host`; any if empty.
    pub(crate) hosts: Vec<String>,
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

impl Route {
    /// Whether a request is one of this route's.
    pub(crate) fn fits(&self, asked: &Asked<'_>) -> bool {
        let fits = |wanted: &[String], given: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(given))
        };
        let below = asked.uri.path().strip_prefix(self.path.trim_end_matches('/'));
        let is_below = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let is_asterisk = asked.uri.path() == "*" && self.path == "/";
        (is_below || is_asterisk)
            && fits(&self.methods, asked.method.as_str())
            && fits(&self.hosts, asked.host)
    }
}
