//! `/v1/queues/{queue}/leases`

use crate::support::{SOON, Stage};
use domain::TaskState;
use queue::{Queues, QueuesOptions};
use serde_json::{Value, json};
use testkit::{expect_problem, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_worker_that_waits_gets_a_task_the_moment_it_is_enqueued() {
    let stage = Stage::new().await;
    let waiting = async { (stage.lease("embeddings").await, std::time::Instant::now()) };
    let enqueuing = async {
        // The worker listens: one of the two connections that subscribe is its.
        let listens = || stage.redis.cli(&["PUBSUB", "SHARDCHANNELS", "queue:{embeddings}:wake"]);
        until(async || !listens().await.is_empty(), SOON).await;
        stage.enqueue("embeddings", json!({"payload": 1})).await;
        std::time::Instant::now()
    };
    let ((task, leased), enqueued) = tokio::join!(waiting, enqueuing);
    assert_eq!(task["payload"], 1);
    assert!(leased.saturating_duration_since(enqueued).as_millis() < 500, "it was woken, and did not poll");
}

#[tokio::test]
async fn without_work_the_answer_is_an_empty_list() {
    let stage = Stage::new().await;
    let request = json!({"worker": "w", "max": 5, "lease_ms": 1000, "wait_ms": 50});
    let leased = stage.api.json(stage.api.post("/v1/queues/embeddings/leases", &request)).await;
    assert_eq!(leased, json!({"tasks": []}));
}

#[tokio::test]
async fn a_worker_that_hangs_up_in_a_long_poll_loses_nobody_a_task() {
    let stage = Stage::new().await;
    for round in 0..5 {
        let gone = Polling::begin(&stage, "embeddings").await;
        let listens = || stage.redis.cli(&["PUBSUB", "SHARDNUMSUB", "queue:{embeddings}:wake"]);
        until(async || listens().await.contains('1'), SOON).await;

        // Cut just as the task comes.
        let (id, ()) = tokio::join!(stage.enqueue("embeddings", json!({"payload": round})), async {
            drop(gone);
        });
        stage.is_back("embeddings", &id).await;
    }
}

#[tokio::test]
async fn a_worker_that_hangs_up_while_its_lease_is_under_way_loses_nobody_the_task() {
    let (stage, proxy) = Stage::behind_a_proxy().await;
    // A first lease, so that Redis has the script.
    let first = stage.enqueue("mail", json!({"payload": 1})).await;
    stage.is_back("mail", &first).await;
    let id = stage.enqueue("mail", json!({"payload": 2})).await;

    // Redis has leased the task, and the service does not know it yet. (Its thread may have to connect first.)
    proxy.hold_replies_once_asked("gone");
    let gone = Polling::begin(&stage, "mail").await;
    let queue = Queues::new(stage.handle(), QueuesOptions::default()).of(&"mail".parse().unwrap());
    let task = id.parse().unwrap();
    until(async || queue.get(task).await.unwrap().state == TaskState::Leased, SOON).await;
    gone.hang_up().await;
    proxy.hold_replies(false);

    stage.is_back("mail", &id).await;
}

#[tokio::test]
async fn a_worker_that_hangs_up_while_its_task_is_announced_loses_nobody_the_task() {
    let (stage, proxy) = Stage::behind_a_proxy().await;
    let id = stage.enqueue("mail", json!({"payload": 1, "progress": true})).await;

    // The service knows of the lease, and tells the operation of it before it answers.
    proxy.hold_replies_once_asked(&format!("mail.{id}"));
    let gone = Polling::begin(&stage, "mail").await;
    until(async || proxy.holds_replies(), SOON).await;
    gone.hang_up().await;
    proxy.hold_replies(false);

    stage.is_back("mail", &id).await;
}

/// A worker's long poll on a connection of its own.
struct Polling(TcpStream);

impl Polling {
    async fn begin(stage: &Stage, queue: &str) -> Self {
        let mut connection = TcpStream::connect(("127.0.0.1", stage.service.port())).await.unwrap();
        let body = r#"{"worker":"gone","wait_ms":30000}"#;
        let (key, length) = (&stage.key, body.len());
        let request = format!(
            "POST /v1/queues/{queue}/leases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        Self(connection)
    }

    /// Ends once the service has noticed it; it says nothing more to a worker that has gone.
    async fn hang_up(mut self) {
        self.0.shutdown().await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(SOON, self.0.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "");
    }
}

impl Stage {
    /// The next worker gets the task long before any lease ends, and as if nobody had had it.
    async fn is_back(&self, queue: &str, id: &str) {
        let leased = async || Some(self.lease(queue).await).filter(|task| task["id"] == id);
        let task = until(leased, SOON).await;
        assert_eq!((&task["attempt"], &task["crashes"]), (&json!(1), &json!(0)));
        self.say(queue, "ack", json!({"id": id, "token": task["token"]})).await;
    }
}

#[tokio::test]
async fn an_ack_counts_once_and_a_stale_one_changes_nothing() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let request = json!({"worker": "slow", "lease_ms": 1000});
    let slow = stage.api.json(stage.api.post("/v1/queues/mail/leases", &request)).await;
    let lost = slow["tasks"][0]["token"].clone();
    // Waits until the first lease is over.
    let held = stage.lease("mail").await;
    assert_eq!((&held["attempt"], &held["crashes"]), (&json!(1), &json!(1)));
    assert!(held["token"].as_u64() > lost.as_u64());

    let stale = stage.say("mail", "ack", json!({"id": id, "token": lost, "result": "a"})).await;
    let problem = expect_problem(stale, 409, None).await;
    assert_eq!(problem["type"], "https://sluice.dev/problems/lease-lost");
    let mine = json!({"id": id, "token": held["token"], "result": "b"});
    for _ in 0..2 {
        let answer = stage.say("mail", "ack", mine.clone()).await;
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({"id": id, "state": "succeeded"}));
    }
    assert_eq!(stage.task("mail", &id).await["result"], "b");
}

#[tokio::test]
async fn in_an_array_each_item_has_an_answer_of_its_own() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let token = stage.lease("mail").await["token"].clone();
    let items =
        json!([{"id": id, "token": 1}, {"id": "77-00000000", "token": 1}, {"id": id, "token": token}]);

    let extended = stage.say("mail", "extend", items.clone()).await.json::<Value>().await.unwrap();
    let results = &extended["results"];
    assert_eq!(results[0]["problem"], "lease-lost");
    assert_eq!(results[1]["problem"], "not-found");
    assert_eq!(results[2]["state"], "leased");
    assert!(results[2]["lease_ends_at"].is_string());

    let acked = stage.say("mail", "ack", items).await.json::<Value>().await.unwrap();
    let results = &acked["results"];
    assert_eq!(results[0]["problem"], "lease-lost");
    assert_eq!(results[1]["problem"], "not-found");
    assert_eq!(results[2], json!({"id": id, "state": "succeeded"}));
}

#[tokio::test]
async fn an_extended_lease_outlives_its_first_end() {
    let stage = Stage::new().await;
    let id = stage.enqueue("mail", json!({"payload": 1})).await;
    let request = json!({"worker": "w", "lease_ms": 1000});
    let leased = stage.api.json(stage.api.post("/v1/queues/mail/leases", &request)).await;
    let task = &leased["tasks"][0];
    let longer = json!({"id": id, "token": task["token"], "lease_ms": 60_000});
    let answer = stage.say("mail", "extend", longer).await.json::<Value>().await.unwrap();
    assert!(answer["lease_ends_at"].as_str() > task["lease_ends_at"].as_str());

    // Another task's lease, given later and as long as the first one was, ends before: the first is still held.
    let other = stage.enqueue("mail", json!({"payload": 2})).await;
    stage.api.json(stage.api.post("/v1/queues/mail/leases", &request)).await;
    until(async || stage.task("mail", &other).await["crashes"] == 1, SOON).await;
    assert_eq!(stage.task("mail", &id).await["state"], "leased");
}

#[tokio::test]
async fn a_nack_says_what_follows() {
    let stage = Stage::new().await;
    for (then, state) in [
        (json!({"then": "die"}), "dead"),
        (json!({"then": "retry", "retry_after_ms": 3_600_000}), "retrying"),
        (json!({"then": "give_back"}), "ready"),
        (json!({}), "retrying"),
    ] {
        // A queue each, so that what is ready again is not leased next.
        let queue = format!("nack-{}", state.len() + then.to_string().len());
        let id = stage
            .enqueue(&queue, json!({"payload": 1, "backoff": {"base_ms": 60_000, "cap_ms": 60_000}}))
            .await;
        let mut body = json!({"id": id, "token": stage.lease(&queue).await["token"], "error": "why"});
        body.as_object_mut().unwrap().extend(then.as_object().unwrap().clone());
        let answer = stage.say(&queue, "nack", body).await.json::<Value>().await.unwrap();
        assert_eq!(answer["state"], state, "{then}");
    }
}

#[tokio::test]
async fn a_long_poll_ends_when_the_service_stops() {
    let mut stage = Stage::new().await;
    let (api, redis) = (stage.api.clone(), &stage.redis);
    let waiting = async {
        let request = json!({"worker": "w", "wait_ms": 30_000});
        api.json(api.post("/v1/queues/embeddings/leases", &request)).await
    };
    let stopping = async {
        let listens = || redis.cli(&["PUBSUB", "SHARDCHANNELS", "queue:{embeddings}:wake"]);
        until(async || !listens().await.is_empty(), SOON).await;
        let begin = std::time::Instant::now();
        assert_eq!(stage.service.stop().await, 0);
        begin.elapsed()
    };
    let (leased, took) = tokio::join!(waiting, stopping);
    assert_eq!(leased, json!({"tasks": []}));
    assert!(took < SOON, "{took:?}");
}

#[tokio::test]
async fn a_long_poll_over_an_outage_ends_and_the_next_one_works() {
    let mut stage = Stage::new().await;
    stage.enqueue("mail", json!({"payload": 1})).await;
    let held = stage.lease("mail").await;
    let (api, redis) = (stage.api.clone(), &mut stage.redis);
    let polling = async {
        let request = json!({"worker": "w", "wait_ms": 30_000});
        api.post("/v1/queues/mail/leases", &request).send().await.unwrap()
    };
    let breaking = async {
        until(async || !redis.cli(&["PUBSUB", "SHARDCHANNELS", "queue:{mail}:wake"]).await.is_empty(), SOON)
            .await;
        redis.kill();
    };
    let (answer, ()) = tokio::join!(polling, breaking);
    assert!(answer.headers().contains_key("retry-after"));
    expect_problem(answer, 503, None).await;

    // An empty Redis: the queue is known again by itself, the lease is not.
    stage.redis.restart().await;
    let enqueue = || stage.api.post("/v1/queues/mail/tasks", &json!({"payload": 2})).send();
    until(async || enqueue().await.unwrap().status() == 201, SOON).await;
    assert_eq!(stage.lease("mail").await["payload"], 2);
    let lost = stage.say("mail", "ack", json!({"id": "77-00000000", "token": held["token"]})).await;
    expect_problem(lost, 404, None).await;
}
