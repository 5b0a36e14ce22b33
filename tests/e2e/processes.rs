//! The services as processes of this machine, each twice, on one Redis: nothing but Redis connects them.

use testkit::{Keys, RedisServer, Service};

use crate::stack::{Addresses, Stack};

/// The processes end with it.
pub(crate) struct Processes {
    pub(crate) stack: Stack,
    _services: Vec<Service>,
    _keys: Keys,
    _secrets: tempfile::TempDir,
    _redis: RedisServer,
}

impl Processes {
    /// Two of each, ready. Each gateway has the shipped rules, and leads to one of each.
    pub(crate) async fn two_of_each() -> Self {
        let redis = RedisServer::start().await;
        let (keys, key) = Keys::admin();
        let secrets = tempfile::tempdir().unwrap();
        let secret = |name: &str, text: String| {
            let path = secrets.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let common = [
            ("SLUICE__REDIS__URL", redis.url()),
            ("SLUICE__AUTH__KEYS_FILE", keys.path().display().to_string()),
            ("SLUICE__SESSION__USER_KEY_FILE", secret("user.key", "ab".repeat(32))),
            ("SLUICE__SESSION__KEYS_FILE", secret("session.keys", format!("1 {}", "cd".repeat(32)))),
        ];
        let mut addresses = Addresses::default();
        let mut services = Vec::new();
        for _ in 0..2 {
            let mut own = common.to_vec();
            for (name, variable, urls) in [
                ("cache-api", "SLUICE_CACHE_API_URL", &mut addresses.caches),
                ("queue-worker", "SLUICE_QUEUE_WORKER_URL", &mut addresses.queues),
                ("progress-sse", "SLUICE_PROGRESS_SSE_URL", &mut addresses.progress),
            ] {
                let service = Service::start(name, &borrowed(&common)).await;
                own.push((variable, service.base_url()));
                urls.push(service.base_url());
                services.push(service);
            }
            let gateway = Service::start_with_admin("ratelimit-gateway", &borrowed(&own)).await;
            addresses.gateways.push(gateway.base_url());
            services.push(gateway);
        }
        let stack = Stack::at(&addresses, &key);
        Self { stack, _services: services, _keys: keys, _secrets: secrets, _redis: redis }
    }
}

fn borrowed<'a>(variables: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
