//! The whole job of each service.

use crate::job::Job;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::until;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn of_cache_api() {
    let mut job = Job::of("cache-api", &[]).await;
    const ENTRY: &str = "/v1/projects/{project}/entries/{name}";
    let at = |name| ["acme", name];
    // One that goes through a script, and one that is sent ahead of it.
    for (name, size) in [("small", 1), ("large", 1024 * 1024)] {
        let put =
            |request: reqwest::RequestBuilder| request.header("Sluice-Tags", "t").body("x".repeat(size));
        job.ask_with(&format!("PUT {ENTRY}"), &at(name), put).await;
        job.ask(&format!("GET {ENTRY}"), &at(name), None).await;
        job.ask(&format!("HEAD {ENTRY}"), &at(name), None).await;
    }
    let batch = json!({ "put": [{ "name": "b", "text": "1" }], "get": ["small", "b"] });
    job.ask("POST /v1/projects/{project}/entries/batch", &["acme"], Some(batch)).await;
    let listed = job.ask("GET /v1/projects/{project}/entries", &["acme"], None).await;
    assert_eq!(listed["entries"].as_array().unwrap().len(), 3, "{listed}");
    for body in [json!({ "tags": ["t"] }), json!({ "names": ["b"] }), json!({})] {
        job.ask("POST /v1/projects/{project}/invalidate", &["acme"], Some(body)).await;
    }
    job.ask(&format!("DELETE {ENTRY}"), &at("small"), None).await;
    // A stamp that this Redis has lost.
    let stamp = {
        let put = job.ask(
            "POST /v1/projects/{project}/entries/batch",
            &["lost"],
            Some(json!({ "put": [{ "name": "b", "text": "1" }] })),
        );
        put.await["put"][0]["stamp"].as_str().unwrap().to_owned()
    };
    job.redis.cli(&["FLUSHALL"]).await;
    job.ask_with(&format!("PUT {ENTRY}"), &["lost", "c"], |request| {
        request.header("Sluice-Min-Stamp", stamp).body("1")
    })
    .await;
    job.ask("GET /v1/cache/stats", &[], None).await;

    let mut tokens = Vec::new();
    for _ in 0..3 {
        let made = job
            .ask("POST /v1/sessions", &[], Some(json!({ "user_id": "ada", "attributes": { "n": 1 } })))
            .await;
        tokens.push((
            made["token"].as_str().unwrap().to_owned(),
            made["session"]["id"].as_str().unwrap().to_owned(),
        ));
    }
    let token = &tokens[0].0;
    job.ask_with("GET /v1/sessions/current", &[], |it| it.header("Sluice-Session", token)).await;
    let patch = |it: reqwest::RequestBuilder| {
        let it = it.header("Sluice-Session", token).header("If-Match", "*");
        it.header("Content-Type", "application/merge-patch+json").body(r#"{"n":2}"#)
    };
    job.ask_with("PATCH /v1/sessions/current", &[], patch).await;
    let rotated =
        job.ask_with("POST /v1/sessions/current/rotate", &[], |it| it.header("Sluice-Session", token)).await;
    job.ask("GET /v1/users/{user}/sessions", &["ada"], None).await;
    job.ask("DELETE /v1/users/{user}/sessions/{session}", &["ada", &tokens[1].1], None).await;
    let token = rotated["token"].as_str().unwrap();
    job.ask_with("DELETE /v1/sessions/current", &[], |it| it.header("Sluice-Session", token)).await;
    job.ask("DELETE /v1/users/{user}/sessions", &["ada"], None).await;

    job.is_done().await;
}

#[tokio::test]
async fn of_ratelimit_gateway() {
    let rules = tempfile::NamedTempFile::new().unwrap();
    let text = "[upstreams.app]\ntargets = [\"http://127.0.0.1:1\"]\n\
        [policies.user]\nscope = [\"user\"]\nwindows = [{ limit = 2, window = \"1h\" }]\n\
        [[routes]]\nname = \"all\"\npath = \"/\"\nupstream = \"app\"\npolicies = [\"user\"]\n";
    std::fs::write(rules.path(), text).unwrap();
    let rules = rules.path().display().to_string();
    let mut job = Job::of("ratelimit-gateway", &[("SLUICE__RATELIMIT_GATEWAY__RULES_FILE", &rules)]).await;

    let of_ada = json!({ "policy": "user", "user": "ada" });
    job.ask("POST /v1/ratelimit/check", &[], Some(of_ada)).await;
    let key = job.key.clone();
    let forwarded =
        |it: reqwest::RequestBuilder| it.header("X-Forwarded-Uri", "/").header("Sluice-Gateway-Key", key);
    job.ask_with("GET /v1/ratelimit/auth", &[], forwarded).await;
    job.ask("GET /v1/ratelimit/state?policy=user&user=ada", &[], None).await;
    job.ask("DELETE /v1/ratelimit/state?policy=user&user=ada", &[], None).await;
    job.ask("GET /v1/config", &[], None).await;
    job.ask("POST /v1/config/reload", &[], None).await;
    // It hears of resets of other processes.
    until(async || job.redis.cli(&["PUBSUB", "SHARDCHANNELS"]).await.contains("rl:{resets}"), SOON).await;

    job.is_done().await;
}

#[tokio::test]
async fn of_queue_worker() {
    let mut job = Job::of("queue-worker", &[]).await;
    let tasks = "/v1/queues/{queue}/tasks";
    let enqueue = format!("POST {tasks}");
    let of_one = |id: &Value, token: &Value| json!({ "id": id, "token": token });
    let lease = json!({ "worker": "w", "max": 1, "wait_ms": 10_000 });

    // Waiting, cancelled, delayed.
    let waiting = job
        .ask(
            &enqueue,
            &["mail"],
            Some(json!({ "payload": 1, "delay_ms": 60_000, "expires_at": "2999-01-01T00:00:00Z" })),
        )
        .await;
    let id = waiting["id"].as_str().unwrap().to_owned();
    let once = |it: reqwest::RequestBuilder| it.header("Idempotency-Key", "k").json(&json!({ "payload": 2 }));
    job.ask_with(&enqueue, &["mail"], once).await;
    job.ask_with(&enqueue, &["mail"], once).await;
    job.ask(
        &format!("POST {tasks}/batch"),
        &["mail"],
        Some(json!({ "tasks": [{ "payload": 3 }, { "payload": 4, "priority": 0 }] })),
    )
    .await;
    job.ask(&format!("POST {tasks}/status"), &["mail"], Some(json!({ "ids": [id] }))).await;
    for state in ["scheduled", "leased", "retrying", "dead", "succeeded"] {
        job.ask(&format!("GET {tasks}?state={state}"), &["mail"], None).await;
    }
    job.ask(&format!("DELETE {tasks}/{{id}}"), &["mail", &id], None).await;

    // Pulled: worked on, given back, ended, dead and alive again.
    let mut held = Vec::new();
    for _ in 0..3 {
        let leased = job.ask("POST /v1/queues/{queue}/leases", &["mail"], Some(lease.clone())).await;
        held.push((leased["tasks"][0]["id"].clone(), leased["tasks"][0]["token"].clone()));
    }
    let (id, token) = &held[0];
    job.ask("POST /v1/queues/{queue}/leases/extend", &["mail"], Some(of_one(id, token))).await;
    let mut report = of_one(id, token);
    report["updates"] = json!([{ "percent": 5 }]);
    job.ask("POST /v1/queues/{queue}/leases/progress", &["mail"], Some(report)).await;
    let mut acked = of_one(id, token);
    acked["result"] = json!("done");
    job.ask("POST /v1/queues/{queue}/leases/ack", &["mail"], Some(acked)).await;
    job.ask(&format!("GET {tasks}/{{id}}?wait_ms=1000"), &["mail", id.as_str().unwrap()], None).await;
    for (held, then) in held[1..].iter().zip(["give_back", "die"]) {
        let mut nack = of_one(&held.0, &held.1);
        nack["then"] = json!(then);
        job.ask("POST /v1/queues/{queue}/leases/nack", &["mail"], Some(nack)).await;
    }
    job.ask("GET /v1/queues/{queue}/dead", &["mail"], None).await;
    job.ask(&format!("POST {tasks}/{{id}}/retry"), &["mail", held[2].0.as_str().unwrap()], None).await;
    job.ask("GET /v1/queues", &[], None).await;
    job.ask("GET /v1/queues/{queue}", &["mail"], None).await;

    // The handler reads and writes a project's entries, and reports.
    let export = json!({ "payload": { "project": "acme", "archive": "a" }, "progress": true });
    let exported = job.ask(&enqueue, &["exports"], Some(export)).await;
    let path = ["exports", exported["id"].as_str().unwrap()];
    let ended = job.ask(&format!("GET {tasks}/{{id}}?wait_ms=20000"), &path, None).await;
    assert_eq!(ended["state"], "succeeded", "{ended}");

    job.is_done().await;
}

#[tokio::test]
async fn of_progress_sse() {
    let mut job = Job::of("progress-sse", &[]).await;
    let mut made = Vec::new();
    for _ in 0..4 {
        let body = json!({ "title": "t", "project": "acme", "steps": [{ "name": "a" }] });
        let operation = job.ask("POST /v1/operations", &[], Some(body)).await;
        made.push(operation["id"].as_str().unwrap().to_owned());
    }
    job.ask("POST /v1/operations/{id}/updates", &[&made[0]], Some(json!({ "step": "a", "percent": 5 })))
        .await;
    job.ask("GET /v1/operations/{id}", &[&made[0]], None).await;
    job.ask("GET /watch/{id}", &[&made[0]], None).await;
    for (id, verb) in made.iter().zip(["complete", "fail", "cancel"]) {
        job.ask(&format!("POST /v1/operations/{{id}}/{verb}"), &[id], None).await;
        // The stream of one that has ended ends.
        job.ask("GET /v1/operations/{id}/events", &[id], None).await;
    }
    job.ask("DELETE /v1/operations/{id}", &[&made[3]], None).await;

    // Its hops are written behind the request.
    let followed = |it: reqwest::RequestBuilder| {
        it.header("X-Correlation-ID", "job-1").json(&json!({ "project": "acme" }))
    };
    job.ask_with("POST /v1/operations", &[], followed).await;
    until(async || job.redis.cli(&["EXISTS", "correlation:{job-1}"]).await == "1", SOON).await;
    job.ask("GET /v1/correlations/{id}", &["job-1"], None).await;
    job.ask("DELETE /v1/correlations/{id}", &["job-1"], None).await;

    job.is_done().await;
}
