//! The engine on real Redis servers, through its public API.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails, also in helpers")]

use correlation::{CorrelationError, Correlations, Recorder, recorder};
use domain::CorrelationId;
use domain::correlation::Hop;
use redis_core::{Redis, RedisConfig};
use std::time::Duration;
use testkit::{RedisServer, both, until};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

/// A recorder whose writer runs until it is stopped.
struct Running {
    redis: Redis,
    recorder: Recorder,
    stop: CancellationToken,
    writing: JoinSet<()>,
}

impl Running {
    fn on(server: &RedisServer) -> Self {
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        let (recorder, writer) = recorder(&redis, "test");
        let (stop, mut writing) = (CancellationToken::new(), JoinSet::new());
        writing.spawn(writer.run(stop.clone()));
        Self { redis, recorder, stop, writing }
    }

    fn correlations(&self) -> Correlations {
        Correlations::new(self.redis.clone())
    }

    /// Stops the writer, which writes what is left.
    async fn stop(self) -> Redis {
        self.stop.cancel();
        self.writing.join_all().await;
        self.redis
    }
}

fn id(text: &str) -> CorrelationId {
    text.parse().unwrap()
}

fn hop(what: &str) -> Hop {
    Hop { what: what.to_owned(), ..Hop::default() }
}

#[tokio::test]
async fn hops_come_back_in_their_order_with_their_operations_and_traces() {
    both(async |server| {
        let running = Running::on(&server);
        let (order, other) = (id("order-7"), id("order-8"));
        let operation = Some("exports.1-00000000".parse().unwrap());
        running.recorder.record(&order, Hop { trace_id: Some("t1".to_owned()), ..hop("POST /v1/tasks") });
        running.recorder.record(&other, hop("elsewhere"));
        running.recorder.record(&order, Hop { operation_id: operation.clone(), ..hop("ran a task") });
        let redis = running.stop().await;

        let trail = Correlations::new(redis).read(&order).await.unwrap();
        let seen: Vec<_> = trail.hops.iter().map(|hop| (&*hop.service, &*hop.what)).collect();
        assert_eq!(seen, [("test", "POST /v1/tasks"), ("test", "ran a task")]);
        assert!(trail.hops.iter().all(|hop| hop.at.millis() > 0), "{trail:?}");
        assert_eq!(trail.operations, operation.into_iter().collect());
        assert_eq!(trail.trace_ids, ["t1".to_owned()].into());
    })
    .await;
}

#[tokio::test]
async fn a_correlation_keeps_its_newest_hundred_hops_for_six_hours_and_each_is_small() {
    let server = RedisServer::start().await;
    let running = Running::on(&server);
    let order = id("order-7");
    for number in 0..150 {
        running.recorder.record(&order, hop(&format!("{number} {}", "ä".repeat(1_000))));
    }
    running.stop().await;

    let trail = Correlations::new(Redis::connect(&RedisConfig::at(server.url()))).read(&order).await.unwrap();
    assert_eq!(trail.hops.len(), 100);
    assert!(trail.hops[0].what.starts_with("50 ") && trail.hops[99].what.starts_with("149 "), "{trail:?}");
    assert!(trail.hops.iter().all(|hop| hop.what.len() <= 128), "{trail:?}");
    let life: u64 = server.cli(&["PTTL", "correlation:{order-7}"]).await.trim().parse().unwrap();
    assert!((5 * 3_600_000..=6 * 3_600_000).contains(&life), "{life}");
    let bytes: u64 = server
        .cli(&["MEMORY", "USAGE", "correlation:{order-7}", "SAMPLES", "0"])
        .await
        .trim()
        .parse()
        .unwrap();
    assert!(bytes < 100 * 512, "{bytes}");
}

#[tokio::test]
async fn a_correlation_that_was_deleted_is_gone() {
    let server = RedisServer::start().await;
    let running = Running::on(&server);
    let (order, correlations) = (id("order-7"), running.correlations());
    assert_eq!(correlations.read(&order).await, Err(CorrelationError::NotFound));
    running.recorder.record(&order, hop("here"));
    until(async || correlations.read(&order).await.is_ok(), SOON).await;

    correlations.delete(&order).await.unwrap();
    assert_eq!(correlations.read(&order).await, Err(CorrelationError::NotFound));
    assert_eq!(correlations.delete(&order).await, Err(CorrelationError::NotFound));
    running.stop().await;
}

#[tokio::test]
async fn hops_are_written_many_at_a_time_and_cost_their_requests_nothing() {
    let server = RedisServer::start().await;
    let redis = Redis::connect(&RedisConfig::at(server.url()));
    let (recorder, writer) = recorder(&redis, "test");
    for number in 0..640 {
        recorder.record(&id(&format!("order-{number}")), hop("here"));
    }
    assert_eq!(redis.round_trips(), 0, "nothing is sent by who records");

    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(stop).await;
    assert_eq!(server.cli(&["DBSIZE"]).await.trim(), "640");
    // Of each 64 the first goes alone; once more, where the server learns the script.
    assert!(redis.round_trips() <= 2 * 10 + 1, "{}", redis.round_trips());
}

#[tokio::test]
async fn what_no_writer_takes_is_dropped_and_counted_and_nobody_waits() {
    let server = RedisServer::start().await;
    let (recorder, writer) = recorder(&Redis::connect(&RedisConfig::at(server.url())), "test");
    for _ in 0..1_024 + 7 {
        recorder.record(&id("order-7"), hop("here"));
    }
    assert_eq!(counted("dropped"), 7.0);
    drop(writer);
}

#[tokio::test]
async fn what_a_full_redis_refuses_is_counted() {
    let server = RedisServer::start().await;
    let running = Running::on(&server);
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let before = counted("failed");
    running.recorder.record(&id("order-7"), hop("here"));
    until(async || counted("failed") > before, SOON).await;
    running.stop().await;
}

/// How many hops of this process came to this end.
fn counted(outcome: &str) -> f64 {
    let text = telemetry::metrics::prometheus();
    let line = text.lines().find(|line| {
        line.starts_with("sluice_correlation_hops_total") && line.contains(&format!("\"{outcome}\""))
    });
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}
