//! Where one run takes place: a Redis of its own, one process in front of it, and nothing left of the run before.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use testkit::{Keys, Proxy, RedisOptions, RedisServer, Service, until};

use crate::peers::Peer;
use crate::process::{cpu_seconds, machine_cpu_seconds};
use crate::report::{Repetition, Wire};

/// A private Redis as production has it: AOF, fsync once a second, no snapshots.
pub(crate) async fn redis() -> RedisServer {
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let settings =
        vec![setting("appendonly", "yes"), setting("appendfsync", "everysec"), setting("save", "")];
    RedisServer::with(RedisOptions { settings, ..RedisOptions::default() }).await
}

/// How a process is started: where its Redis is, its keys, its threads.
pub(crate) struct Settings {
    redis_url: String,
    workers: String,
    keys: Keys,
    key: String,
}

impl Settings {
    pub(crate) fn new(redis_url: String, workers: usize) -> Self {
        let (keys, key) = Keys::admin();
        Self { redis_url, workers: workers.to_string(), keys, key }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// A service as it is shipped: the real binary, with keys.
    pub(crate) async fn service(&self, name: &str) -> anyhow::Result<Service> {
        Ok(Service::start(name, &self.env()?).await)
    }

    /// The same, where nothing is measured.
    pub(crate) async fn unmeasured(&self, name: &str) -> anyhow::Result<Service> {
        Ok(Service::start(name, &[&self.env()?[..], &[("OTEL_SDK_DISABLED", "true")]].concat()).await)
    }

    /// The gateway as it is shipped, with these rules.
    pub(crate) async fn gateway(&self, rules: &Path) -> anyhow::Result<Service> {
        let own = [
            ("SLUICE__RATELIMIT_GATEWAY__DOOR__WORKERS", &*self.workers),
            ("SLUICE__RATELIMIT_GATEWAY__RULES_FILE", rules.to_str().context("a readable temp folder")?),
        ];
        Ok(Service::start_with_admin("ratelimit-gateway", &[&self.env()?[..], &own].concat()).await)
    }

    /// This binary once more, as a server.
    pub(crate) async fn own(&self, role: &str) -> anyhow::Result<Service> {
        let mut server = self.spawn_own(&[role])?;
        server.wait_until_ready().await;
        Ok(server)
    }

    /// This binary once more, as something else. Waits for nothing.
    pub(crate) fn spawn_own(&self, args: &[&str]) -> anyhow::Result<Service> {
        let role = args.first().context("a role")?;
        Ok(Service::spawn_program(&std::env::current_exe()?, role, args, &self.env()?))
    }

    /// A peer, in whose environment `REDIS_PORT` says where to go. Waits for nothing.
    pub(crate) fn peer(&self, peer: &Peer, args: &[&str]) -> anyhow::Result<Service> {
        let port = self.redis_url.rsplit(':').next().context("a url with a port")?;
        let args: Vec<&str> = peer.args.iter().map(String::as_str).chain(args.iter().copied()).collect();
        Ok(Service::spawn_program(Path::new(&peer.program), "peer", &args, &[("REDIS_PORT", port)]))
    }

    fn env(&self) -> anyhow::Result<[(&str, &str); 4]> {
        let keys = self.keys.path().to_str().context("a temp folder with a readable name")?;
        Ok([
            ("SLUICE__REDIS__URL", &*self.redis_url),
            ("SLUICE__HTTP__WORKERS", &*self.workers),
            ("SLUICE__AUTH__KEYS_FILE", keys),
            ("SLUICE__LOG__LEVEL", "warn"),
        ])
    }
}

/// Waits for something that a process brings about; its log tells why it did not.
pub(crate) async fn wait_for<F>(process: &Service, what: &str, probe: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = bool>,
{
    // Twice the deadline: `until` would not tell the log.
    let reached = tokio::time::timeout(DEADLINE, until(probe, DEADLINE * 2)).await;
    reached.with_context(|| format!("{what}; the log:\n{}", process.log()))
}

/// A moment's CPU seconds, of everything that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    process: f64,
    redis: f64,
    bench: f64,
    machine: f64,
}

impl Look {
    pub(crate) fn at(process: u32, redis: u32) -> anyhow::Result<Self> {
        Ok(Self {
            process: cpu_seconds(process)?,
            redis: cpu_seconds(redis)?,
            bench: cpu_seconds(std::process::id())?,
            machine: machine_cpu_seconds()?,
        })
    }

    /// The same look, with what another process of the bench took.
    pub(crate) fn with_own(self, process: u32) -> anyhow::Result<Self> {
        Ok(Self { bench: self.bench + cpu_seconds(process)?, ..self })
    }

    /// What happened from one look to another, in which that much was done.
    #[expect(clippy::cast_precision_loss, reason = "operations of a run that lasts seconds")]
    pub(crate) fn until(self, later: Self, operations: u64, seconds: f64) -> Repetition {
        let operations = operations as f64;
        let (process, redis) = (later.process - self.process, later.redis - self.redis);
        let others = later.machine - self.machine - process - redis - (later.bench - self.bench);
        Repetition {
            per_second: operations / seconds,
            process_cpu_us: process * 1e6 / operations,
            redis_cpu_us: redis * 1e6 / operations,
            foreign_cpus: (others / seconds).max(0.0),
        }
    }
}

/// What the wire and Redis had counted at a moment.
pub(crate) struct Counted {
    round_trips: u64,
    bytes: (u64, u64),
    commands: Vec<(String, u64)>,
}

impl Counted {
    pub(crate) async fn now(wire: &Proxy, redis: &RedisServer) -> Self {
        let commands = commands(&redis.cli(&["INFO", "commandstats"]).await);
        Self { round_trips: wire.round_trips(), bytes: wire.bytes(), commands }
    }

    /// What each of some operations took since then.
    #[expect(clippy::cast_precision_loss, reason = "counts of a small pass")]
    pub(crate) async fn per_operation(self, wire: &Proxy, redis: &RedisServer, operations: u64) -> Wire {
        let now = Self::now(wire, redis).await;
        let each = |before: u64, after: u64| (after - before) as f64 / operations as f64;
        let before =
            |name: &str| self.commands.iter().find(|(known, _)| known == name).map_or(0, |(_, calls)| *calls);
        let commands = now.commands.iter().map(|(name, calls)| (name.clone(), each(before(name), *calls)));
        Wire {
            round_trips: each(self.round_trips, now.round_trips),
            bytes_sent: each(self.bytes.0, now.bytes.0),
            bytes_received: each(self.bytes.1, now.bytes.1),
            // What runs once a second, or once a connection, is no part of an operation.
            commands: commands.filter(|(_, each)| *each >= SELDOM).collect(),
        }
    }
}

/// Names and calls of `INFO commandstats`.
fn commands(info: &str) -> Vec<(String, u64)> {
    let line = |line: &str| {
        let (name, fields) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), fields.split(',').next()?.parse().ok()?))
    };
    info.lines().filter_map(line).collect()
}

const DEADLINE: Duration = Duration::from_secs(30);
/// Less often than this per operation, a command belongs to the background.
const SELDOM: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_statistics_are_read() {
        let info = "# Commandstats\r\ncmdstat_get:calls=7,usec=1,usec_per_call=0.1\r\ncmdstat_client|setinfo:calls=2,usec=3\r\n";
        assert_eq!(commands(info), [("get".to_owned(), 7), ("client|setinfo".to_owned(), 2)]);
    }

    #[test]
    fn a_repetition_is_what_changed_between_two_looks() {
        let before = Look { process: 1.0, redis: 1.0, bench: 1.0, machine: 10.0 };
        let after = Look { process: 2.0, redis: 1.5, bench: 1.25, machine: 12.0 };
        let run = before.until(after, 100_000, 2.0);
        assert_eq!((run.per_second, run.process_cpu_us, run.redis_cpu_us), (50_000.0, 10.0, 5.0));
        assert_eq!(run.foreign_cpus, 0.125);
    }
}
