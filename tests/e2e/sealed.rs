//! What the containers may do: as little as the compose file says.

use serde_json::{Value, json};

use crate::compose::{Compose, docker};

pub(crate) fn every_container_has_no_right_that_it_does_not_need(compose: &Compose) {
    for (service, user, added) in [
        ("redis", "999:1000", json!(null)),
        ("cache-api", "5241:5241", json!(null)),
        ("ratelimit-gateway", "5242:5242", json!(null)),
        ("queue-worker", "5243:5243", json!(null)),
        ("progress-sse", "5244:5244", json!(null)),
        ("init", "0:0", json!(["CHOWN", "DAC_OVERRIDE", "FOWNER"])),
    ] {
        let containers = compose.containers(Some(service));
        assert!(!containers.is_empty(), "{service}");
        for container in containers {
            let all: Value = serde_json::from_str(&docker(&["inspect", &container])).unwrap();
            let (config, host) = (&all[0]["Config"], &all[0]["HostConfig"]);
            assert_eq!(config["User"], user, "{service}");
            assert_eq!(host["ReadonlyRootfs"], true, "{service}");
            assert_eq!(host["CapDrop"], json!(["ALL"]), "{service}");
            assert_eq!(capabilities(&host["CapAdd"]), capabilities(&added), "{service}");
            assert!(host["Memory"].as_u64().unwrap() > 0, "{service} has a memory limit");
            published_on_loopback_only(service, &host["PortBindings"]);
        }
    }
    a_service_reads_no_other_services_secrets(compose);
    redis_is_not_published(compose);
    if compose.with_tls {
        redis_speaks_to_nobody_without_a_certificate(compose);
    }
}

fn capabilities(list: &Value) -> Vec<String> {
    let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.map(|name| name.trim_start_matches("CAP_").to_owned()).collect()
}

fn published_on_loopback_only(service: &str, bindings: &Value) {
    for binding in bindings.as_object().into_iter().flatten().flat_map(|(_, list)| list.as_array()).flatten()
    {
        assert_eq!(binding["HostIp"], "127.0.0.1", "{service}");
    }
}

fn a_service_reads_no_other_services_secrets(compose: &Compose) {
    let script = "cat /secrets/queue-worker/redis.password >/dev/null || exit 1; \
                  cat /secrets/cache-api/redis.password 2>/dev/null && exit 2; \
                  cat /secrets/init/bootstrap.key 2>/dev/null && exit 3; \
                  touch /secrets/queue-worker/new 2>/dev/null && exit 4; exit 0";
    compose.run(&["exec", "-T", "queue-worker", "sh", "-c", script]);
}

fn redis_speaks_to_nobody_without_a_certificate(compose: &Compose) {
    let script = "cd /secrets/redis; export REDISCLI_AUTH=$(cat health.password); \
                  ping() { redis-cli -p 5240 --user health \"$@\" ping 2>&1 | grep -q PONG; }; \
                  ping && exit 1; \
                  ping --tls --cacert redis.ca.crt && exit 2; \
                  ping --tls --cacert redis.ca.crt --cert redis.crt --key redis.key || exit 3; exit 0";
    compose.run(&["exec", "-T", "redis", "sh", "-c", script]);
}

fn redis_is_not_published(compose: &Compose) {
    for container in compose.containers(Some("redis")) {
        assert_eq!(docker(&["port", &container]), "");
    }
}
