//! What a service does while Redis does not take its password.

use std::time::{Duration, Instant};
use testkit::{Client, Keys, RedisServer, Service, expect_problem, until};

const SOON: Duration = Duration::from_secs(30);

/// A service, its Redis, and the file with its password.
struct Stage {
    redis: RedisServer,
    service: Service,
    client: Client,
    file: tempfile::NamedTempFile,
    _keys: Keys,
}

impl Stage {
    /// A service with this password in its file, and a Redis that takes `right-secret`.
    async fn of(name: &str, said: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), said).unwrap();
        let path = file.path().display().to_string();
        let redis = RedisServer::start().await;
        redis.cli(&["ACL", "SETUSER", name, "resetpass", ">right-secret"]).await;
        Self::with(redis, name, file, &[("SLUICE__REDIS__PASSWORD_FILE", &path)]).await
    }

    async fn with(
        redis: RedisServer,
        name: &str,
        file: tempfile::NamedTempFile,
        login: &[(&str, &str)],
    ) -> Self {
        let (keys, key) = Keys::admin();
        let (url, keys_file) = (redis.url(), keys.path().display().to_string());
        let env = [
            ("SLUICE__REDIS__URL", &*url),
            ("SLUICE__AUTH__KEYS_FILE", &*keys_file),
            ("SLUICE__LOG__LEVEL", "trace"),
        ];
        let env = [&env[..], login].concat();
        let service = match name {
            "ratelimit-gateway" => Service::start_with_admin(name, &env).await,
            _ => Service::start_live(name, &env).await,
        };
        let client = Client::new(&service.admin_url()).with_key(&key);
        Self { redis, service, client, file, _keys: keys }
    }

    /// Why Redis is not ready, as `/health` says; nothing once it is.
    async fn reason(&self) -> Option<String> {
        let health = self.client.json(self.client.get("/health")).await;
        health.pointer("/checks/redis/reason").and_then(|reason| reason.as_str()).map(str::to_owned)
    }

    /// How often somebody came with a wrong password.
    async fn tries(&self) -> u64 {
        let count = self.redis.info("errorstat_WRONGPASS").await;
        count.trim_start_matches("count=").parse().unwrap()
    }

    /// Whether ten more tries, over all connections, take longer than a second.
    async fn tries_slowly(&self) -> bool {
        let (before, begin) = (self.tries().await, Instant::now());
        until(async || self.tries().await >= before + 10, SOON).await;
        begin.elapsed() > Duration::from_secs(1)
    }

    fn told_in_log(&self, text: &str) -> bool {
        let log = self.service.log();
        log.lines().any(|line| {
            line.contains("\"warn\"") && line.contains("cannot connect to redis") && line.contains(text)
        })
    }
}

async fn a_wrong_password_holds_until_it_is_put_right(name: &str) {
    let stage = Stage::of(name, "wrong-secret").await;

    let reason = until(async || stage.reason().await, SOON).await;
    assert!(reason.contains("WRONGPASS"), "{name}: {reason}");
    assert!(stage.told_in_log("WRONGPASS"), "{name}: {}", stage.service.log());
    let ready = stage.client.get("/health/ready").send().await.unwrap();
    // What passes at the gateway without Redis, its rules say; the others wait.
    if name != "ratelimit-gateway" {
        let problem = expect_problem(ready, 503, None).await;
        assert_eq!(problem["detail"], "not ready: redis refuses the service", "{name}");
    }
    until(async || stage.tries_slowly().await, SOON).await;

    std::fs::write(stage.file.path(), "right-secret\n").unwrap();
    until(async || stage.reason().await.is_none(), SOON).await;
    assert_eq!(stage.client.get("/health/ready").send().await.unwrap().status(), 200, "{name}");
    let log = stage.service.log();
    assert!(!log.contains("wrong-secret") && !log.contains("right-secret"), "{name}: {log}");
    let denied = stage.redis.denials().await;
    assert!(denied.iter().all(|denial| denial.ends_with("(auth)")), "{denied:?}");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it_tried_more_and_more_slowly_and_put_right_in_place() {
    // Built before, where they are old: nobody's deadline runs meanwhile.
    for name in ["cache-api", "ratelimit-gateway", "queue-worker", "progress-sse"] {
        testkit::service_binary(name);
    }
    tokio::join!(
        a_wrong_password_holds_until_it_is_put_right("cache-api"),
        a_wrong_password_holds_until_it_is_put_right("ratelimit-gateway"),
        a_wrong_password_holds_until_it_is_put_right("queue-worker"),
        a_wrong_password_holds_until_it_is_put_right("progress-sse"),
    );
}

#[tokio::test]
async fn a_missing_password_is_told_by_its_setting_or_by_redis() {
    let file = || tempfile::NamedTempFile::new().unwrap();
    let gone = [("SLUICE__REDIS__PASSWORD_FILE", "/nowhere/redis.password")];
    let stage = Stage::with(RedisServer::start().await, "cache-api", file(), &gone).await;
    let reason = until(async || stage.reason().await, SOON).await;
    assert!(reason.contains("password") && reason.contains("No such file"), "{reason}");
    assert!(stage.told_in_log("password"), "{}", stage.service.log());

    // As in production: who gives no name may do nothing.
    let redis = RedisServer::start().await;
    redis.cli(&["ACL", "SETUSER", "default", "resetpass"]).await;
    let stage = Stage::with(redis, "cache-api", file(), &[("SLUICE__REDIS__PASSWORD", "")]).await;
    let reason = until(async || stage.reason().await, SOON).await;
    assert!(reason.contains("NOAUTH"), "{reason}");
    assert!(stage.told_in_log("NOAUTH"), "{}", stage.service.log());
}
