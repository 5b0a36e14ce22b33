//! A real cluster: three primaries with a replica each.

use std::time::Duration;

use crate::redis::{Kind, Ports, arguments, binary, folder};
use crate::{RedisOptions, RedisServer, until};

/// Three primaries with a third of the slots each, then their three replicas. All of them end with it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Starts one; takes a bit over 2 s, since primaries refuse writes for that long after their start.
    pub async fn start() -> Self {
        let folders: Vec<_> = (0..NODES).map(|_| (folder(), Ports::take())).collect();
        let addresses: Vec<_> =
            folders.iter().map(|(_, ports)| (ports.main.number, ports.bus.number)).collect();
        let settings = [
            ("cluster-node-timeout", "1000"),
            ("repl-diskless-sync-delay", "0"),
            ("repl-ping-replica-period", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = RedisOptions { cluster: true, settings: settings.into(), ..RedisOptions::default() };
        let mut nodes = Vec::new();
        for (index, (folder, ports)) in folders.into_iter().enumerate() {
            // Each knows all others from its file, rather than by rumour, which takes seconds.
            std::fs::write(folder.path().join("nodes.conf"), nodes_file(index, &addresses))
                .expect("the folder can be written");
            let args = arguments(&options, &ports);
            nodes.push(RedisServer::run(binary(), args, folder, ports, Kind::Member).await);
        }
        let cluster = Self { nodes };
        cluster.wait_until_whole().await;
        cluster
    }

    /// `redis-cluster://127.0.0.1:<port>` of the first node.
    pub fn url(&self) -> String {
        self.nodes[0].cluster_url()
    }

    /// A node: 0 to 2 began as primaries, 3 to 5 as their replicas in the same order.
    pub fn node(&self, index: usize) -> &RedisServer {
        &self.nodes[index]
    }

    /// The same, to do something to it.
    pub fn node_mut(&mut self, index: usize) -> &mut RedisServer {
        &mut self.nodes[index]
    }

    /// The node that owns a slot now, as the first living node tells it.
    pub async fn owner(&self, slot: u16) -> usize {
        let at = self.slot_owners().await;
        at.into_iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).expect("it has an owner").2
    }

    /// The slot of a key.
    pub async fn slot(&self, key: &str) -> u16 {
        let answer = self.living().cli(&["CLUSTER", "KEYSLOT", key]).await;
        answer.parse().expect("a slot")
    }

    /// Hands the slots of a primary over to its replica, without the loss of a write.
    pub async fn fail_over(&self, primary: usize) {
        let replica = &self.nodes[primary + PRIMARIES];
        // It may not know yet that it has a primary to take over from.
        until(async || replica.cli(&["CLUSTER", "FAILOVER"]).await == "OK", SOON).await;
        until(async || replica.cli(&["ROLE"]).await.starts_with("master"), SOON).await;
        self.wait_until_whole().await;
    }

    /// Begins to move a slot to another primary: what its owner does not have any more is asked for there.
    pub async fn begin_migration(&self, slot: u16, to: usize) {
        let from = self.owner(slot).await;
        let slot = slot.to_string();
        let importing = ["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)];
        assert_eq!(self.nodes[to].cli(&importing).await, "OK");
        let migrating = ["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)];
        assert_eq!(self.nodes[from].cli(&migrating).await, "OK");
    }

    /// Moves the keys of a slot to the node that has begun to take it.
    pub async fn migrate_keys(&self, slot: u16, to: usize) {
        while self.migrate_some(slot, to, "100").await {}
    }

    /// Moves one of the keys of a slot.
    pub async fn migrate_one_key(&self, slot: u16, to: usize) {
        self.migrate_some(slot, to, "1").await;
    }

    /// False when there was none.
    async fn migrate_some(&self, slot: u16, to: usize, most: &str) -> bool {
        let owner = &self.nodes[self.owner(slot).await];
        let keys = owner.cli(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), most]).await;
        let port = self.nodes[to].port().to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.lines());
        if keys.is_empty() {
            return false;
        }
        let answer = owner.cli(&migrate).await;
        assert!(["OK", "NOKEY"].contains(&answer.as_str()), "{answer}");
        true
    }

    /// The slot belongs to the node that took it; the others are told, too.
    pub async fn end_migration(&self, slot: u16, to: usize) {
        let slot = slot.to_string();
        // The new owner first, so that no moment is without one.
        let order = std::iter::once(to).chain((0..PRIMARIES).filter(|node| *node != to));
        for node in order {
            let set = ["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)];
            assert_eq!(self.nodes[node].cli(&set).await, "OK");
        }
    }

    /// Every living node sees all slots served, and every replica follows its primary.
    pub async fn wait_until_whole(&self) {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            let is_whole = async || {
                let info = node.cli(&["CLUSTER", "INFO"]).await;
                let follows = node.cli(&["ROLE"]).await;
                info.contains("cluster_state:ok")
                    && (follows.starts_with("master") || follows.contains("connected"))
            };
            until(is_whole, SOON).await;
        }
    }

    fn living(&self) -> &RedisServer {
        self.nodes.iter().find(|node| node.is_running()).expect("a node that lives")
    }

    /// First slot, last slot, owner.
    async fn slot_owners(&self) -> Vec<(u16, u16, usize)> {
        let text = self.living().cli(&["CLUSTER", "NODES"]).await;
        let mut owners = Vec::new();
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let owner = (0..NODES).find(|node| id(*node) == words[0]).expect("one of ours");
            // What is being moved is in brackets.
            for range in words.iter().skip(8).filter(|word| !word.starts_with('[')) {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                owners.push((first.parse().expect("a slot"), last.parse().expect("a slot"), owner));
            }
        }
        owners
    }
}

/// What the node `myself` knows of the cluster before its first start.
fn nodes_file(myself: usize, addresses: &[(u16, u16)]) -> String {
    let mut file = String::new();
    for (index, (port, bus)) in addresses.iter().enumerate() {
        let mut flags = if index < PRIMARIES { "master".to_owned() } else { "slave".to_owned() };
        if index == myself {
            flags = format!("myself,{flags}");
        }
        let (primary, slots) = if index < PRIMARIES {
            let (first, last) = (16_384 * index / PRIMARIES, 16_384 * (index + 1) / PRIMARIES - 1);
            ("-".to_owned(), format!(" {first}-{last}"))
        } else {
            (id(index - PRIMARIES), String::new())
        };
        let epoch = index % PRIMARIES + 1;
        let id = id(index);
        file += &format!("{id} 127.0.0.1:{port}@{bus} {flags} {primary} 0 0 {epoch} connected{slots}\n");
    }
    file + &format!("vars currentEpoch {PRIMARIES} lastVoteEpoch 0\n")
}

/// The name by which the cluster knows a node.
fn id(index: usize) -> String {
    format!("{:040x}", index + 1)
}

const PRIMARIES: usize = 3;
const NODES: usize = 2 * PRIMARIES;
const SOON: Duration = Duration::from_secs(20);
