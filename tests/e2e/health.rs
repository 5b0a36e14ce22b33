//! How the four services say how they and their Redis are: alike.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Client, Keys, Proxy, RedisServer, Service, until};

const LONG: Duration = Duration::from_secs(30);

struct Stand {
    /// The last is the gateway's admin address.
    clients: Vec<Client>,
    proxy: Proxy,
    redis: RedisServer,
    _services: Vec<Service>,
    _keys: Keys,
}

impl Stand {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let proxy = Proxy::to(&redis).await;
        let (keys, key) = Keys::admin();
        let (path, url) = (keys.path().display().to_string(), proxy.url());
        let env = [("SLUICE__REDIS__URL", &*url), ("SLUICE__AUTH__KEYS_FILE", &*path)];
        let mut services = Vec::new();
        for name in ["cache-api", "queue-worker", "progress-sse"] {
            services.push(Service::start(name, &env).await);
        }
        services.push(Service::start_with_admin("ratelimit-gateway", &env).await);
        let client = |service: &Service| Client::new(&service.admin_url()).with_key(&key);
        let clients = services.iter().map(client).collect();
        Self { clients, proxy, redis, _services: services, _keys: keys }
    }

    async fn statuses(&self, path: &str) -> Vec<u16> {
        let mut statuses = Vec::new();
        for client in &self.clients {
            statuses.push(client.get(path).send().await.unwrap().status().as_u16());
        }
        statuses
    }

    /// What `/health` of each shows of Redis.
    async fn redis(&self) -> Vec<Value> {
        let mut shown = Vec::new();
        for client in &self.clients {
            shown.push(client.json(client.get("/health")).await["checks"]["redis"].clone());
        }
        shown
    }
}

#[tokio::test]
async fn every_service_shows_the_same_of_redis_and_none_but_the_gateway_is_ready_without_it() {
    let stand = Stand::start().await;
    until(async || stand.redis().await.iter().all(|redis| redis["ready"] == true), LONG).await;
    let shown = stand.redis().await;
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    for redis in &shown {
        assert_eq!(fields(redis), fields(&shown[0]));
        assert!(redis["latency_us"].as_u64().unwrap() > 0, "{redis}");
        assert_eq!(
            (&redis["breaker"]["state"], &redis["servers"][0]["role"]),
            (&json!("closed"), &json!("master"))
        );
    }

    stand.proxy.black_hole(true);
    until(async || stand.statuses("/health/ready").await == [503, 503, 503, 200], LONG).await;
    assert_eq!(stand.statuses("/health/live").await, [200; 4]);
    assert_eq!(stand.statuses("/health").await, [200; 4]);
    assert!(stand.redis().await.iter().all(|redis| redis["ready"] == false && redis["reason"].is_string()));

    stand.proxy.black_hole(false);
    until(async || stand.statuses("/health/ready").await == [200; 4], LONG).await;
}

#[tokio::test]
async fn a_full_redis_is_said_to_be_full_and_liveness_asks_it_nothing() {
    let stand = Stand::start().await;
    stand.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    stand.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    until(async || stand.statuses("/health/ready").await == [503, 503, 503, 200], LONG).await;
    for client in &stand.clients[..3] {
        let problem: Value = client.get("/health/ready").send().await.unwrap().json().await.unwrap();
        assert_eq!(problem["detail"], "not ready: redis is full (OOM)");
    }

    stand.proxy.refuse(true);
    stand.proxy.cut();
    assert_eq!(stand.statuses("/health/live").await, [200; 4]);
}
