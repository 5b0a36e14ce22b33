//! Where a fault happens: a Redis that keeps what it has answered, and the four services on it.

use crate::fault::Fault;
use anyhow::Context;
use tempfile::TempDir;
use testkit::{Keys, Proxy, RedisOptions, RedisServer, Service, Watched};

/// What the services stand on.
pub(crate) enum Ground {
    /// One server, behind a proxy.
    One(Box<(RedisServer, Proxy)>),
    /// A primary and its replicas, under Sentinels.
    Watched(Watched),
}

/// All that runs. Ends when it is dropped.
pub(crate) struct Stand {
    pub(crate) ground: Ground,
    pub(crate) cache_api: Service,
    pub(crate) gateway: Service,
    pub(crate) queue_worker: Service,
    pub(crate) progress_sse: Service,
    pub(crate) key: String,
    _files: TempDir,
    _keys: Keys,
}

impl Stand {
    /// Starts everything and waits until it is ready.
    pub(crate) async fn start(fault: Fault) -> anyhow::Result<Self> {
        let options = RedisOptions { persistent: true, ..RedisOptions::default() };
        let (ground, url) = if fault == Fault::FailOver {
            let watched = Watched::with(options, &[]).await;
            let url = watched.url();
            (Ground::Watched(watched), url)
        } else {
            let redis = RedisServer::with(options).await;
            let proxy = Proxy::to(&redis).await;
            let url = proxy.url();
            (Ground::One(Box::new((redis, proxy))), url)
        };
        let (keys, key) = Keys::admin();
        let files = tempfile::Builder::new().prefix("sluice-faults-").tempdir()?;
        let env = [
            ("SLUICE__REDIS__URL", url.as_str()),
            ("SLUICE__HTTP__WORKERS", "1"),
            ("SLUICE__AUTH__KEYS_FILE", keys.path().to_str().context("a readable temp folder")?),
            ("SLUICE__LOG__LEVEL", "warn"),
        ];
        let cache_api = Service::start("cache-api", &env).await;
        let rules = files.path().join("gateway.toml");
        // Whatever answers without Redis does as an upstream: `/health/live` of cache-api.
        std::fs::write(&rules, RULES.replace("UPSTREAM", &cache_api.port().to_string()))?;
        let rules = rules.to_str().context("a readable temp folder")?;
        let own = [("SLUICE__RATELIMIT_GATEWAY__RULES_FILE", rules)];
        Ok(Self {
            gateway: Service::start_with_admin("ratelimit-gateway", &[&env[..], &own].concat()).await,
            queue_worker: Service::start("queue-worker", &env).await,
            progress_sse: Service::start("progress-sse", &env).await,
            ground,
            cache_api,
            key,
            _files: files,
            _keys: keys,
        })
    }

    /// What the services wrote, for whoever wants to know why a promise was broken.
    pub(crate) fn logs(&self) -> String {
        [&self.cache_api, &self.gateway, &self.queue_worker, &self.progress_sse].map(Service::log).join("\n")
    }
}

const RULES: &str = include_str!("gateway.toml");
