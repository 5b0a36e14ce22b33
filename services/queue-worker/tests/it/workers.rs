//! Worker processes that die, stop, and share a queue.

use crate::support::{SOON, Stage};
use bytes::Bytes;
use cache::{Cache, Conditions, ContentType, Draft, Limits, Tags};
use domain::StepState;
use serde_json::json;
use std::time::Duration;
use testkit::{Service, until};

const WORKER: [(&str, &str); 4] = [
    ("QUEUES__DEMO_EXPORTS__EXECUTOR", "native"),
    ("QUEUES__DEMO_EXPORTS__LEASE_MS", "1000"),
    ("SERVE", "demo_exports"),
    ("GRACE_MS", "20000"),
];

/// A task that takes a while: an export of ten entries that waits between them.
async fn slow_export(stage: &Stage) -> String {
    let cache = Cache::new(stage.handle(), Limits::default());
    for n in 0..10 {
        let draft = Draft {
            content_type: ContentType::octets(),
            tags: Tags::default(),
            ttl: Duration::from_secs(3600),
            payload: Bytes::from(vec![b'x'; 1000]),
        };
        let name = format!("file-{n}").parse().unwrap();
        cache.put(&"acme".parse().unwrap(), &name, draft, &Conditions::default()).await.unwrap();
    }
    let payload = json!({"project": "acme", "archive": "exports/a", "throttle_ms": 150});
    stage.enqueue("demo_exports", json!({"payload": payload, "progress": true})).await
}

/// Until the second step has got somewhere.
async fn is_reading(stage: &Stage, id: &str) {
    let reads = |shown: &domain::progress::Snapshot| {
        shown.steps.get(1).is_some_and(|step| step.state == StepState::Running && step.percent > 0.0)
    };
    stage.operation("demo_exports", id, reads).await;
}

#[tokio::test]
async fn another_worker_finishes_what_a_killed_one_began() {
    let stage = Stage::new().await;
    let mut first = stage.another(&WORKER).await;
    let id = slow_export(&stage).await;
    is_reading(&stage, &id).await;
    let before = stage.task("demo_exports", &id).await;

    first.kill();
    let _second = stage.another(&WORKER).await;

    let after = stage.ended("demo_exports", &id).await;
    assert_eq!(after["state"], "succeeded", "{after}");
    assert_eq!((&before["crashes"], &after["crashes"]), (&json!(0), &json!(1)));
    assert_eq!(after["attempts"], 0);
    assert!(after["lease"]["token"].as_u64() > before["lease"]["token"].as_u64());
    assert_ne!(after["lease"]["worker"], before["lease"]["worker"]);
    let shown = stage.operation("demo_exports", &id, |shown| shown.state.is_final()).await;
    assert!(shown.steps.len() == 5 && shown.steps.iter().all(|step| step.state == StepState::Completed));
}

#[tokio::test]
async fn a_worker_that_is_stopped_gives_its_task_back_when_the_grace_is_over() {
    let stage = Stage::new().await;
    let mut impatient = WORKER;
    impatient[3].1 = "0";
    let mut first = stage.another(&impatient).await;
    let id = slow_export(&stage).await;
    is_reading(&stage, &id).await;

    assert_eq!(first.stop().await, 0);

    let returned = stage.task("demo_exports", &id).await;
    assert_eq!(returned["state"], "ready");
    assert_eq!((&returned["attempts"], &returned["crashes"]), (&json!(0), &json!(0)));
    let _second = stage.another(&WORKER).await;
    assert_eq!(stage.ended("demo_exports", &id).await["state"], "succeeded");
}

#[tokio::test]
async fn a_worker_that_is_stopped_finishes_its_task_within_the_grace() {
    let stage = Stage::new().await;
    let mut worker = stage.another(&WORKER).await;
    let id = slow_export(&stage).await;
    is_reading(&stage, &id).await;

    assert_eq!(worker.stop().await, 0);

    let task = stage.task("demo_exports", &id).await;
    assert_eq!((&task["state"], &task["crashes"]), (&json!("succeeded"), &json!(0)));
}

#[tokio::test]
async fn a_process_may_work_without_a_port() {
    let stage = Stage::new().await;
    let (url, keys) = (stage.redis.url(), stage.keys.path().to_str().unwrap());
    let worker = Service::spawn(
        "queue-worker",
        &[],
        &[
            ("SLUICE__REDIS__URL", &url),
            ("SLUICE__AUTH__KEYS_FILE", keys),
            ("SLUICE__QUEUE_WORKER__HTTP", "false"),
            ("SLUICE__QUEUE_WORKER__WORKER", "quiet-1"),
            ("SLUICE__QUEUE_WORKER__SERVE", "demo_exports"),
            ("SLUICE__QUEUE_WORKER__QUEUES__DEMO_EXPORTS__EXECUTOR", "native"),
        ],
    );
    let id = slow_export(&stage).await;

    let task = stage.ended("demo_exports", &id).await;
    assert_eq!((&task["state"], &task["lease"]["worker"]), (&json!("succeeded"), &json!("quiet-1")));
    assert!(std::net::TcpStream::connect(("127.0.0.1", worker.port())).is_err());
}

#[tokio::test]
async fn a_wrong_configuration_names_its_key_and_stops_the_start() {
    for (name, value, key) in [
        ("SLUICE__QUEUE_WORKER__QUEUES__MAIL__EXECUTOR", "push", "queue_worker.queues.mail.url"),
        ("SLUICE__QUEUE_WORKER__PORT", "1", "queue_worker.port"),
    ] {
        let mut service = Service::spawn("queue-worker", &[], &[(name, value)]);
        assert_eq!(service.wait_for_end().await, 78);
        assert!(service.log().contains(key), "{}", service.log());
    }
}

#[tokio::test]
async fn a_worker_goes_on_when_redis_was_away() {
    let mut stage = Stage::new().await;
    let _worker = stage.another(&WORKER).await;
    stage.redis.kill();
    stage.redis.restart().await;
    until(async || stage.api.get("/health/ready").send().await.unwrap().status() == 200, SOON).await;
    let id = slow_export(&stage).await;
    assert_eq!(stage.ended("demo_exports", &id).await["state"], "succeeded");
}

#[tokio::test]
async fn a_process_that_starts_before_redis_works_once_redis_is_there() {
    let mut stage = Stage::new().await;
    stage.redis.kill();
    let (url, keys) = (stage.redis.url(), stage.keys.path().to_str().unwrap().to_owned());
    let environment = [("SLUICE__REDIS__URL", url.as_str()), ("SLUICE__AUTH__KEYS_FILE", keys.as_str())];
    let early = Service::start_live("queue-worker", &environment).await;
    let api = early.client(&stage.key);
    assert_eq!(api.get("/health/ready").send().await.unwrap().status(), 503);

    stage.redis.restart().await;
    until(async || api.get("/health/ready").send().await.unwrap().status() == 200, SOON).await;
    let knows = async || api.get("/v1/queues/embeddings").send().await.unwrap().status() == 200;
    until(knows, SOON).await;
}
