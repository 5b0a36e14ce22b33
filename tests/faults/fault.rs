//! What can happen to Redis, and how it is made to happen.

use crate::stand::Ground;
use anyhow::bail;
use std::time::Duration;
use testkit::{RedisServer, Watched, until};

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing, to see that the clients are content on a good day.
    Nothing,
    /// SIGKILL, and a start a while later.
    Kill,
    /// SIGSTOP: connections stay open, nothing answers.
    Pause,
    /// SIGKILL and a start at once.
    Restart,
    /// Another server becomes the primary.
    FailOver,
    /// Writes are refused: READONLY.
    ReadOnly,
    /// Writes are refused: OOM.
    Full,
    /// Packets get lost, in both directions.
    BlackHole,
    /// The other side of every open connection is gone, and does not say so.
    HalfOpen,
    /// No script is known any more.
    ScriptFlush,
}

impl Fault {
    pub(crate) const ALL: [Self; 10] = [
        Self::Nothing,
        Self::Kill,
        Self::Pause,
        Self::Restart,
        Self::FailOver,
        Self::ReadOnly,
        Self::Full,
        Self::BlackHole,
        Self::HalfOpen,
        Self::ScriptFlush,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::FailOver => "fail-over",
            Self::ReadOnly => "read-only",
            Self::Full => "full",
            Self::BlackHole => "black-hole",
            Self::HalfOpen => "half-open",
            Self::ScriptFlush => "script-flush",
        }
    }

    /// Makes it happen, for so long where it lasts at all. When this returns, all is well again.
    pub(crate) async fn happen(self, ground: &mut Ground, lasts: Duration) -> anyhow::Result<()> {
        let (redis, proxy) = match (self, ground) {
            (Self::FailOver, Ground::Watched(watched)) => {
                fail_over(watched).await;
                return Ok(());
            }
            (_, Ground::One(both)) => (&mut both.0, &both.1),
            (_, Ground::Watched(_)) => bail!("{} happens to one server", self.name()),
        };
        match self {
            Self::Nothing => tokio::time::sleep(lasts).await,
            Self::Kill => {
                redis.kill();
                tokio::time::sleep(lasts).await;
                redis.restart().await;
            }
            Self::Pause => {
                redis.pause();
                tokio::time::sleep(lasts).await;
                redis.resume();
            }
            Self::Restart => redis.restart().await,
            Self::ReadOnly => {
                // The replica of a port on which nobody listens.
                redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
                tokio::time::sleep(lasts).await;
                redis.cli(&["REPLICAOF", "NO", "ONE"]).await;
            }
            Self::Full => {
                redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
                redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
                tokio::time::sleep(lasts).await;
                redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
            }
            Self::BlackHole => {
                proxy.black_hole(true);
                tokio::time::sleep(lasts).await;
                proxy.black_hole(false);
            }
            Self::HalfOpen => proxy.half_open(),
            Self::ScriptFlush => drop(redis.cli(&["SCRIPT", "FLUSH"]).await),
            Self::FailOver => bail!("a fail-over needs another server"),
        }
        Ok(())
    }
}

/// As an operator does it who wants to lose nothing: no writes until a replica has them all. (Replication is asynchronous;
/// a primary that dies takes its last moment along, and no client of it can help that.)
async fn fail_over(watched: &Watched) {
    let old = watched.server(watched.primary().await);
    old.cli(&["CONFIG", "SET", "min-replicas-to-write", "100"]).await;
    until(async || are_level(old).await, Duration::from_secs(5)).await;
    watched.fail_over().await;
}

/// Every replica has every byte.
async fn are_level(primary: &RedisServer) -> bool {
    let info = primary.cli(&["INFO", "replication"]).await;
    let own = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
    let offsets: Vec<_> = info
        .lines()
        .filter(|line| line.starts_with("slave"))
        .filter_map(|line| line.split(',').find_map(|part| part.strip_prefix("offset=")))
        .collect();
    !offsets.is_empty() && offsets.iter().all(|offset| own.is_some_and(|own| own.trim() == *offset))
}
