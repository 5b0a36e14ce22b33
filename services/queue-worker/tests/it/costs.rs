//! What a request costs in round trips to Redis.

use crate::support::Stage;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Proxy, Service};

/// The least of several tries: the process also tends its queues once a second.
async fn least(wire: &Proxy, mut request: impl AsyncFnMut()) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..10 {
        let ((), cost) = wire.round_trips_of(request()).await;
        least = least.min(cost);
    }
    least
}

#[tokio::test]
async fn each_request_of_a_tasks_life_is_one_round_trip() {
    let stage = Stage::new().await;
    let wire = Proxy::to(&stage.redis).await;
    let service = Service::start(
        "queue-worker",
        &[
            ("SLUICE__REDIS__URL", &wire.url()),
            ("SLUICE__AUTH__KEYS_FILE", stage.keys.path().to_str().unwrap()),
            // One thread, and no native worker that looks for work of its own.
            ("SLUICE__HTTP__WORKERS", "1"),
            ("SLUICE__QUEUE_WORKER__QUEUES__EXPORTS__EXECUTOR", "none"),
        ],
    )
    .await;
    let api = service.client(&stage.key);
    let tasks = "/v1/queues/mail/tasks";
    api.json(api.post(tasks, &json!({"payload": 0}))).await;

    let enqueue = least(&wire, async || drop(api.json(api.post(tasks, &json!({"payload": 1}))).await)).await;
    assert_eq!(enqueue, 1, "enqueue");

    let mut held = Vec::new();
    let lease = least(&wire, async || {
        let leased = api.json(api.post("/v1/queues/mail/leases", &json!({"worker": "w"}))).await;
        held.push(leased["tasks"][0].clone());
    })
    .await;
    assert_eq!(lease, 1, "lease");

    let show = |task: &Value| format!("{tasks}/{}", task["id"].as_str().unwrap());
    let look = least(&wire, async || drop(api.json(api.get(&show(&held[0]))).await)).await;
    assert_eq!(look, 1, "show");

    let ack = least(&wire, async || {
        let task = held.pop().unwrap();
        let ack = json!({"id": task["id"], "token": task["token"]});
        tokio::time::timeout(Duration::from_secs(20), api.json(api.post("/v1/queues/mail/leases/ack", &ack)))
            .await
            .unwrap();
    })
    .await;
    assert_eq!(ack, 1, "ack");
}
