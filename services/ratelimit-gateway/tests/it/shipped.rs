//! The rules that are shipped, and built in: where each of their routes leads, and what no route leads to.

use crate::door_support::{Wire, field};
use crate::support::echo;
use std::collections::BTreeSet;
use testkit::{Client, Keys, RedisServer, Service};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The gateway without a file of rules, before four upstreams that answer with their names.
struct Shipped {
    service: Service,
    admin: Client,
    key: String,
    _redis: RedisServer,
    _keys: Keys,
    _upstreams: [JoinSet<()>; 4],
}

impl Shipped {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let (keys, key) = Keys::admin();
        let ((app, one), (cache, two)) = (echo("app").await, echo("cache-api").await);
        let ((queue, three), (progress, four)) = (echo("queue-worker").await, echo("progress-sse").await);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let service = Service::start_with_admin(
            "ratelimit-gateway",
            &[
                ("SLUICE__REDIS__URL", &redis.url()),
                ("SLUICE__AUTH__KEYS_FILE", &keys.path().display().to_string()),
                ("SLUICE_APP_URL", &url(app)),
                ("SLUICE_CACHE_API_URL", &url(cache)),
                ("SLUICE_QUEUE_WORKER_URL", &url(queue)),
                ("SLUICE_PROGRESS_SSE_URL", &url(progress)),
            ],
        )
        .await;
        let admin = Client::new(&service.admin_url()).with_key(&key);
        Self { service, admin, key, _redis: redis, _keys: keys, _upstreams: [one, two, three, four] }
    }

    /// Head and body of the answer to a request that is sent as it stands here.
    async fn ask(&self, method: &str, path: &str, authorization: &str) -> (String, String) {
        let stream = TcpStream::connect(("127.0.0.1", self.service.port())).await.unwrap();
        let mut client = Wire::new(stream);
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{authorization}\r\n")).await;
        client.message().await
    }
}

const ROUTES: &[(&str, &str, &str, &[&str])] = &[
    ("GET", "/api", "app", &["per-address", "per-user"]),
    ("POST", "/api/orders/1?a=b", "app", &["per-address", "per-user"]),
    ("GET", "/v1/projects/acme/entries", "cache-api", &["per-address"]),
    ("PUT", "/v1/projects/acme/entries/a/b", "cache-api", &["per-address"]),
    ("GET", "/v1/projects/acme/entries/invalidate", "cache-api", &["per-address"]),
    ("POST", "/v1/projects/acme/invalidate", "cache-api", &["per-address", "invalidations"]),
    ("POST", "/v1//projects/acme/%69nvalidate/", "cache-api", &["per-address", "invalidations"]),
    ("POST", "/v1/projects/acme/invalidate/x", "cache-api", &["per-address"]),
    ("GET", "/v1/queues", "queue-worker", &["per-address"]),
    ("POST", "/v1/queues/exports/tasks", "queue-worker", &["per-address"]),
    ("DELETE", "/v1/queues/exports/tasks/1", "queue-worker", &["per-address"]),
    ("GET", "/console", "queue-worker", &["per-address"]),
    ("GET", "/console/app.js", "queue-worker", &["per-address"]),
    ("POST", "/v1/operations", "progress-sse", &["per-address"]),
    ("GET", "/v1/operations/1/events", "progress-sse", &["per-address"]),
    ("GET", "/v1/events?operation=1", "progress-sse", &["per-address"]),
    ("POST", "/v1/tickets", "progress-sse", &["per-address"]),
    ("DELETE", "/v1/correlations/c", "progress-sse", &["per-address"]),
    ("GET", "/watch/1", "progress-sse", &["per-address"]),
];

#[tokio::test]
async fn each_route_leads_where_it_should_under_its_policies_and_knows_a_key() {
    let shipped = Shipped::start().await;
    let (right, wrong) =
        (format!("Authorization: Bearer {}\r\n", shipped.key), "Authorization: Bearer sk_x\r\n");

    for (method, path, upstream, policies) in ROUTES {
        let (head, seen) = shipped.ask(method, path, &right).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{method} {path}: {head}");
        assert_eq!(field(&head, "server").as_deref(), Some(*upstream), "{method} {path}");
        let counted = field(&head, "ratelimit-policy").unwrap();
        let names = counted.split('"').skip(1).step_by(2).map(|name| name.split('/').next().unwrap());
        let names: BTreeSet<&str> = names.filter(|name| *name != "own").collect();
        assert_eq!(names, policies.iter().copied().collect(), "{method} {path}");
        assert!(seen.starts_with(&format!("{method} {path} HTTP/1.1\r\n")), "{seen}");
        assert_eq!(field(&seen, "sluice-user").as_deref(), Some("key:admin"), "{method} {path}");

        let (head, seen) = shipped.ask(method, path, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "services ask for keys themselves: {head}");
        assert_eq!(field(&seen, "sluice-user"), None);
    }
    let (head, _) = shipped.ask("GET", "/v1/queues", wrong).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");

    let config = shipped.admin.json(shipped.admin.get("/v1/config")).await;
    let asked = |route: &serde_json::Value| {
        let path = route["path"].as_str().unwrap().replace("{project}", "acme");
        ROUTES
            .iter()
            .any(|(_, asked, upstream, _)| asked.starts_with(&path) && route["upstream"] == *upstream)
    };
    let routes = config["routes"].as_array().unwrap();
    assert!(routes.iter().all(asked), "one that is not tested above: {config}");
    assert_eq!(routes.len(), 10);
}

#[tokio::test]
async fn nothing_leads_to_what_is_for_operators_or_stays_inside() {
    let shipped = Shipped::start().await;
    let right = format!("Authorization: Bearer {}\r\n", shipped.key);

    for (path, status) in [
        ("/", 404),
        ("/v1", 404),
        ("/health", 404),
        ("/health/live", 404),
        ("/health/ready", 404),
        ("/metrics", 404),
        ("/openapi.json", 404),
        ("/docs", 404),
        ("/v1/sessions", 404),
        ("/v1/sessions/current", 404),
        ("/v1/users/42/sessions", 404),
        ("/v1/cache/stats", 404),
        ("/v1/cache/cleanup", 404),
        ("/v1/alerts", 404),
        ("/v1/clock/advance", 404),
        ("/v1/config", 404),
        ("/v1/config/reload", 404),
        ("/v1/ratelimit/check", 404),
        ("/v1/ratelimit/auth", 404),
        ("/v1/ratelimit/state", 404),
        ("/apis", 404),
        ("/API", 404),
        ("/v1/queue", 404),
        ("/watchers", 404),
        ("//metrics", 404),
        ("/api/../metrics", 404),
        ("/v1/projects/../sessions", 404),
        ("/v1/projects/%2e%2e/sessions", 404),
        ("/v1/projects/acme/entries/%2E%2e/../../sessions/current", 404),
        ("/v1/queues/./../cache/stats", 404),
        ("/watch/../health", 404),
        ("/v1/projects/..%2fsessions", 400),
        ("/v1/projects/..;/sessions", 400),
        ("/v1/projects\\..\\sessions", 400),
        ("/console/%2e%2e%5cmetrics", 400),
    ] {
        for method in ["GET", "POST"] {
            let (head, _) = shipped.ask(method, path, &right).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {head}");
            assert_eq!(field(&head, "server"), None, "{method} {path} reached an upstream: {head}");
        }
    }
}
