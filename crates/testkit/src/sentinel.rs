//! A real Sentinel set-up: a primary, two replicas, and three Sentinels that watch them.

use std::time::Duration;

use crate::redis::{Kind, Ports, binary, folder};
use crate::{RedisOptions, RedisServer, until};

/// One primary with two replicas under three Sentinels, which know it as `sluice`. All of them end with it.
#[derive(Debug)]
pub struct Watched {
    servers: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Watched {
    /// Starts one; the Sentinels find a primary dead after half a second.
    pub async fn start() -> Self {
        Self::with(RedisOptions::default(), &[]).await
    }

    /// Starts one whose servers have these options, and whose Sentinels have these further lines in their files.
    pub async fn with(options: RedisOptions, sentinel_lines: &[&str]) -> Self {
        let primary = RedisServer::with(options.clone()).await;
        let mut servers = vec![primary];
        for _ in 0..REPLICAS {
            let mut options = options.clone();
            let of = format!("127.0.0.1 {}", servers[0].port());
            for (name, value) in
                [("replicaof", of.as_str()), ("repl-diskless-sync-delay", "0"), ("replica-priority", "10")]
            {
                options.settings.push((name.to_owned(), value.to_owned()));
            }
            servers.push(RedisServer::with(options).await);
        }
        servers[0].cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await;

        let ports: Vec<_> = (0..SENTINELS).map(|_| Ports::take()).collect();
        let numbers: Vec<_> = ports.iter().map(|ports| ports.main.number).collect();
        let mut sentinels = Vec::new();
        for (index, ports) in ports.into_iter().enumerate() {
            let folder = folder();
            let file = folder.path().join("sentinel.conf");
            let text = sentinel_file(index, &servers, &numbers) + &sentinel_lines.join("\n") + "\n";
            std::fs::write(&file, text).expect("the folder can be written");
            let args = vec![file.into_os_string(), "--sentinel".into()];
            sentinels.push(RedisServer::run(binary(), args, folder, ports, Kind::Sentinel).await);
        }
        let watched = Self { servers, sentinels };
        watched.wait_until_watched().await;
        watched
    }

    /// `redis-sentinel://127.0.0.1:<port>?node=…&sentinelServiceName=sluice`, with all three Sentinels.
    pub fn url(&self) -> String {
        let [first, rest @ ..] = self.sentinels.as_slice() else { unreachable!("there are three") };
        let nodes: String = rest.iter().map(|node| format!("node=127.0.0.1:{}&", node.port())).collect();
        format!("redis-sentinel://127.0.0.1:{}?{nodes}sentinelServiceName={NAME}", first.port())
    }

    /// The server that is primary now, as a living Sentinel tells it.
    pub async fn primary(&self) -> usize {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.is_running()).expect("one lives");
        let answer = sentinel.cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).await;
        let port: u16 = answer.lines().nth(1).and_then(|port| port.parse().ok()).expect("an address");
        self.servers.iter().position(|server| server.port() == port).expect("one of ours")
    }

    /// A server: 0 began as the primary.
    pub fn server(&self, index: usize) -> &RedisServer {
        &self.servers[index]
    }

    /// The same, to do something to it.
    pub fn server_mut(&mut self, index: usize) -> &mut RedisServer {
        &mut self.servers[index]
    }

    /// One of the three Sentinels.
    pub fn sentinel(&self, index: usize) -> &RedisServer {
        &self.sentinels[index]
    }

    /// The same, to do something to it.
    pub fn sentinel_mut(&mut self, index: usize) -> &mut RedisServer {
        &mut self.sentinels[index]
    }

    /// Lets the Sentinels make another server the primary, while the old one lives.
    pub async fn fail_over(&self) {
        let before = self.primary().await;
        until(async || self.sentinels[0].cli(&["SENTINEL", "FAILOVER", NAME]).await == "OK", SOON).await;
        until(async || self.primary().await != before, SOON).await;
    }

    /// Each Sentinel has seen the primary, both replicas and the two others.
    async fn wait_until_watched(&self) {
        for sentinel in &self.sentinels {
            let is_ready = async || {
                let quorum = sentinel.cli(&["SENTINEL", "CKQUORUM", NAME]).await;
                let replicas = sentinel.cli(&["SENTINEL", "REPLICAS", NAME]).await;
                quorum.starts_with("OK 3") && replicas.matches("master-link-status\nok").count() == REPLICAS
            };
            until(is_ready, SOON).await;
        }
    }
}

/// What a Sentinel knows before its first start: all others, so that none has to be found by rumour.
fn sentinel_file(myself: usize, servers: &[RedisServer], ports: &[u16]) -> String {
    let id = |index: usize| format!("{:040x}", index + 1);
    let mut file = format!(
        "port {}\nbind 127.0.0.1\nsentinel myid {}\nsentinel monitor {NAME} 127.0.0.1 {} 2\n",
        ports[myself],
        id(myself),
        servers[0].port(),
    );
    file += &format!("sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 2000\n");
    for replica in &servers[1..] {
        file += &format!("sentinel known-replica {NAME} 127.0.0.1 {}\n", replica.port());
    }
    for (index, port) in ports.iter().enumerate().filter(|(index, _)| *index != myself) {
        file += &format!("sentinel known-sentinel {NAME} 127.0.0.1 {port} {}\n", id(index));
    }
    file
}

const NAME: &str = "sluice";
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;
const SOON: Duration = Duration::from_secs(20);
