//! The services as processes of this machine, each twice, on one Redis: nothing but Redis connects them.

use std::path::Path;
use std::process::Command;

use testkit::{Authority, Keys, RedisOptions, RedisServer, Service, service_binary};

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
        let url = redis.url();
        Self::at(redis, tempfile::tempdir().unwrap(), |_| vec![("SLUICE__REDIS__URL", url.clone())]).await
    }

    /// The same with the certificates of `sluice init`, as in `docker-compose.tls.yml`.
    pub(crate) async fn two_of_each_by_tls() -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let mut init = Command::new(service_binary("sluice"));
        init.arg("init").arg("--volume").arg(secrets.path());
        assert!(init.status().unwrap().success());

        let redis = RedisServer::with_tls(RedisOptions::default(), &Authority::new(), true).await;
        let [authority, certificate, key] = certificates(secrets.path(), "redis");
        let files =
            [["tls-ca-cert-file", &authority], ["tls-cert-file", &certificate], ["tls-key-file", &key]];
        let set = redis.cli(&[&["CONFIG", "SET"], files.as_flattened()].concat()).await;
        assert_eq!(set, "OK");

        let (url, folder) = (redis.tls_url(), secrets.path().to_owned());
        let way = move |service: &str| {
            let [authority, certificate, key] = certificates(&folder, service);
            vec![
                ("SLUICE__REDIS__URL", url.clone()),
                ("SLUICE__REDIS__TLS__CA_FILE", authority),
                ("SLUICE__REDIS__TLS__CERT_FILE", certificate),
                ("SLUICE__REDIS__TLS__KEY_FILE", key),
            ]
        };
        Self::at(redis, secrets, way).await
    }

    async fn at(
        redis: RedisServer,
        secrets: tempfile::TempDir,
        way_to_redis: impl Fn(&str) -> Vec<(&'static str, String)>,
    ) -> Self {
        let (keys, key) = Keys::admin();
        let secret = |name: &str, text: String| {
            let path = secrets.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let common = [
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
                let all = [&common[..], &way_to_redis(name)].concat();
                let service = Service::start(name, &borrowed(&all)).await;
                own.push((variable, service.base_url()));
                urls.push(service.base_url());
                services.push(service);
            }
            own.extend(way_to_redis("ratelimit-gateway"));
            let gateway = Service::start_with_admin("ratelimit-gateway", &borrowed(&own)).await;
            addresses.gateways.push(gateway.base_url());
            services.push(gateway);
        }
        let stack = Stack::at(&addresses, &key);
        Self { stack, _services: services, _keys: keys, _secrets: secrets, _redis: redis }
    }
}

/// The authority's, and certificate and key of whoever owns this folder of the volume.
fn certificates(volume: &Path, name: &str) -> [String; 3] {
    ["redis.ca.crt", "redis.crt", "redis.key"].map(|file| volume.join(name).join(file).display().to_string())
}

fn borrowed<'a>(variables: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
