//! What a server says of itself in `INFO`.

use serde::Serialize;
use std::collections::HashMap;

/// A server that holds keys. What it does not say is zero, empty or none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServerHealth {
    /// `redis` or `valkey`.
    pub name: String,
    /// Of the server itself: `9.1.0`.
    pub version: String,
    /// `master` or `slave`, in its own words.
    pub role: String,
    /// How long it runs.
    pub uptime_s: u64,
    /// Its memory.
    pub memory: Memory,
    /// What it keeps on disk.
    pub persistence: Persistence,
    /// Its copies, or its primary.
    pub replication: Replication,
    /// What it does.
    pub activity: Activity,
}

/// What a server does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// Clients that are connected.
    pub clients: u64,
    /// Keys that had to go for others since its start.
    pub evicted_keys: u64,
    /// Keys whose time was over since its start.
    pub expired_keys: u64,
}

/// How full a server is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// In use.
    pub used_bytes: u64,
    /// `maxmemory`; 0 is no bound.
    pub max_bytes: u64,
    /// What goes first when it is full.
    pub policy: String,
    /// Memory of the process by memory in use; high when it is torn to shreds.
    pub fragmentation_ratio: f64,
}

/// Whether what is written survives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// It reads its files, and answers nothing yet.
    pub loading: bool,
    /// The append-only file is on.
    pub aof_enabled: bool,
    /// The last write to the append-only file succeeded.
    pub aof_ok: bool,
    /// The last snapshot succeeded.
    pub rdb_ok: bool,
    /// A snapshot is being written.
    pub rdb_saving: bool,
    /// Changes since the last snapshot.
    pub rdb_unsaved_changes: u64,
}

/// How far copies are behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replication {
    /// Copies that are connected.
    pub replicas: u64,
    /// How many bytes the last of the copies is behind; of a copy, how many it is behind its primary. None without copies.
    pub lag_bytes: Option<u64>,
    /// Of a copy: whether it has its primary.
    pub primary_up: Option<bool>,
}

impl ServerHealth {
    /// Reads the sections `server`, `memory`, `persistence`, `replication`, `stats` and `clients`.
    pub(crate) fn of(info: &str) -> Self {
        let info = Info(info.lines().filter_map(|line| line.trim_end().split_once(':')).collect());
        let (name, version) = match info.text("valkey_version") {
            "" => ("redis", info.text("redis_version")),
            version => ("valkey", version),
        };
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            role: info.text("role").to_owned(),
            uptime_s: info.number("uptime_in_seconds"),
            memory: Memory {
                used_bytes: info.number("used_memory"),
                max_bytes: info.number("maxmemory"),
                policy: info.text("maxmemory_policy").to_owned(),
                fragmentation_ratio: info.text("mem_fragmentation_ratio").parse().unwrap_or_default(),
            },
            persistence: Persistence {
                loading: info.is("loading", "1"),
                aof_enabled: info.is("aof_enabled", "1"),
                aof_ok: info.is("aof_last_write_status", "ok"),
                rdb_ok: info.is("rdb_last_bgsave_status", "ok"),
                rdb_saving: info.is("rdb_bgsave_in_progress", "1"),
                rdb_unsaved_changes: info.number("rdb_changes_since_last_save"),
            },
            replication: info.replication(),
            activity: Activity {
                clients: info.number("connected_clients"),
                evicted_keys: info.number("evicted_keys"),
                expired_keys: info.number("expired_keys"),
            },
        }
    }
}

struct Info<'a>(HashMap<&'a str, &'a str>);

impl Info<'_> {
    fn text(&self, field: &str) -> &str {
        self.0.get(field).copied().unwrap_or_default()
    }

    fn number(&self, field: &str) -> u64 {
        self.text(field).parse().unwrap_or_default()
    }

    fn is(&self, field: &str, value: &str) -> bool {
        self.text(field) == value
    }

    fn replication(&self) -> Replication {
        let replicas = self.number("connected_slaves");
        if self.is("role", "slave") {
            // What it has read of its primary, and what of that it has applied.
            let read = self.number("slave_read_repl_offset");
            let behind = read.saturating_sub(self.number("slave_repl_offset"));
            let primary_up = Some(self.is("master_link_status", "up"));
            return Replication { replicas, lag_bytes: Some(behind), primary_up };
        }
        let sent = self.number("master_repl_offset");
        // `slave0:ip=127.0.0.1,port=6380,state=online,offset=28,lag=1`
        let has = |number: u64| {
            let fields = self.0.get(format!("slave{number}").as_str())?;
            let offset = fields.split(',').find_map(|field| field.strip_prefix("offset="))?;
            Some(sent.saturating_sub(offset.parse().ok()?))
        };
        Replication { replicas, lag_bytes: (0..replicas).filter_map(has).max(), primary_up: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_that_is_farthest_behind_says_the_lag() {
        let info = "role:master\r\nconnected_slaves:2\r\nmaster_repl_offset:100\r\n\
            slave0:ip=127.0.0.1,port=1,state=online,offset=99,lag=0\r\n\
            slave1:ip=127.0.0.1,port=2,state=online,offset=60,lag=1\r\n";
        let expected = Replication { replicas: 2, lag_bytes: Some(40), primary_up: None };
        assert_eq!(ServerHealth::of(info).replication, expected);

        let alone = ServerHealth::of("role:master\r\nconnected_slaves:0\r\nmaster_repl_offset:100\r\n");
        assert_eq!(alone.replication.lag_bytes, None);
    }

    #[test]
    fn valkey_says_its_own_version_beside_that_of_the_redis_it_came_from() {
        let health =
            ServerHealth::of("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.0\r\n");
        assert_eq!((&*health.name, &*health.version), ("valkey", "9.1.0"));
        assert_eq!(ServerHealth::of("redis_version:7.0.15\r\n").name, "redis");
    }

    #[test]
    fn what_says_nothing_is_no_panic() {
        for text in ["", ":", "role", "connected_slaves:9\nslave0:offset=x", "used_memory:-1"] {
            ServerHealth::of(text);
        }
    }
}
