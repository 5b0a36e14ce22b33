//! Creating, reporting, ending: what callers see.

use crate::support::{DAY, complete, create, id, new, next, operations, update, updates, watch, with_clock};
use domain::OperationState;
use domain::progress::LastWords;
use progress::{Ending, Hub, HubSettings, ProgressError, SHARDS};
use testkit::{Proxy, RedisServer, both};

#[tokio::test]
async fn an_operation_is_read_back_as_it_was_reported() {
    both(async |redis| {
        let (operations, clock) = with_clock(&redis.url());
        let about = r#"{"id":"import-7","title":"Import","project":"acme","correlation_id":"c-1",
            "steps":[{"name":"read"},{"name":"write","weight":3,"total":10}]}"#;
        let id = create(&operations, about).await;
        clock.advance(std::time::Duration::from_secs(1));
        update(&operations, &id, r#"{"step":"write","current":4,"message":"four","data":{"row": 4}}"#).await;

        let snapshot = operations.snapshot(&id).await.unwrap().unwrap();

        assert_eq!((snapshot.state, snapshot.percent), (OperationState::Running, 30.0));
        assert_eq!(snapshot.title.as_deref(), Some("Import"));
        assert_eq!(snapshot.message.as_deref(), Some("four"));
        assert_eq!(snapshot.data.unwrap().get(), r#"{"row":4}"#);
        let write = &snapshot.steps[1];
        assert_eq!(
            (write.percent, write.current, write.total, write.weight),
            (40.0, Some(4), Some(10), Some(3))
        );
        assert_eq!(snapshot.started_at.unwrap().since(snapshot.created_at).as_millis(), 1_000);
        assert_eq!(operations.project(&id).await.unwrap().unwrap().as_str(), "acme");
    })
    .await;
}

#[tokio::test]
async fn percentages_only_go_back_when_a_step_begins_again() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let id = create(&operations, r#"{"steps":[{"name":"a"},{"name":"b","weight":3}]}"#).await;
    for (report, step, whole) in [
        (r#"{"step":"a","percent":80}"#, 80.0, 20.0),
        (r#"{"step":"a","percent":20}"#, 80.0, 20.0),
        (r#"{"step":"a","current":9,"total":10}"#, 90.0, 22.5),
        (r#"{"step":"a","state":"failed"}"#, 90.0, 22.5),
        (r#"{"step":"a","state":"running"}"#, 0.0, 0.0),
        (r#"{"step":"a","percent":33.333}"#, 33.33, 8.33),
        (r#"{"step":"a","state":"skipped"}"#, 100.0, 25.0),
        (r#"{"step":"a","state":"pending"}"#, 0.0, 0.0),
    ] {
        update(&operations, &id, report).await;
        let snapshot = operations.snapshot(&id).await.unwrap().unwrap();
        assert_eq!((snapshot.steps[0].percent, snapshot.percent), (step, whole), "{report}");
    }
}

#[tokio::test]
async fn a_step_that_comes_late_or_counts_too_far_moves_no_percentage_beyond_its_bounds() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let id = create(&operations, r#"{"open_steps":true}"#).await;
    for (report, step, whole) in [
        (r#"{"step":"a","current":4,"total":8}"#, 50.0, 50.0),
        // The mean would be 25.
        (r#"{"step":"b","state":"running"}"#, 50.0, 50.0),
        (r#"{"step":"a","current":9}"#, 100.0, 50.0),
        (r#"{"step":"b","percent":20}"#, 100.0, 60.0),
    ] {
        update(&operations, &id, report).await;
        let snapshot = operations.snapshot(&id).await.unwrap().unwrap();
        assert_eq!((snapshot.steps[0].percent, snapshot.percent), (step, whole), "{report}");
    }
}

#[tokio::test]
async fn steps_are_added_only_where_that_was_said() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let closed = create(&operations, r#"{"steps":[{"name":"a"}]}"#).await;
    let open = create(&operations, r#"{"open_steps":true}"#).await;
    let report = updates(r#"{"step":"new","state":"running","weight":4}"#);

    let refused = operations.update(&closed, None, &report).await;
    operations.update(&open, None, &report).await.unwrap();
    let many: Vec<String> = (0..99).map(|n| format!(r#"{{"step":"s{n}","state":"completed"}}"#)).collect();
    operations.update(&open, None, &updates(&format!("[{}]", many.join(",")))).await.unwrap();
    let crowded = operations.update(&open, None, &updates(r#"{"step":"s100","percent":1}"#)).await;

    assert!(matches!(refused, Err(ProgressError::Invalid(fields)) if fields[0].pointer == "/step"));
    assert!(matches!(crowded, Err(ProgressError::Invalid(_))));
    let steps = operations.snapshot(&open).await.unwrap().unwrap().steps;
    assert_eq!((steps.len(), steps[0].weight, steps[99].name.as_str()), (100, Some(4), "s98"));
}

#[tokio::test]
async fn many_updates_are_applied_all_or_not_at_all() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let id = create(&operations, r#"{"steps":[{"name":"a"},{"name":"b"}]}"#).await;
    let before = operations.snapshot(&id).await.unwrap().unwrap().cursor;

    let wrong = updates(r#"[{"step":"a","percent":50,"message":"no"},{"step":"c","percent":1}]"#);
    let refused = operations.update(&id, None, &wrong).await;
    let whole = updates(r#"{"percent":50}"#);
    let without_step = operations.update(&id, None, &whole).await;

    assert!(matches!(refused, Err(ProgressError::Invalid(fields)) if fields[0].pointer == "/1/step"));
    assert!(matches!(without_step, Err(ProgressError::Invalid(fields)) if fields[0].pointer == "/step"));
    let after = operations.snapshot(&id).await.unwrap().unwrap();
    assert_eq!((after.cursor, after.percent, after.message), (before, 0.0, None));
}

#[tokio::test]
async fn an_end_can_be_said_twice_and_nothing_follows_it() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let id = create(&operations, r#"{"id":"x"}"#).await;
    complete(&operations, &id).await;
    complete(&operations, &id).await;

    for shard in 0..SHARDS {
        assert_eq!(redis.cli(&["EXISTS", &format!("sluice:running:{shard}")]).await, "0", "it runs no more");
    }
    let report = operations.update(&id, None, &updates(r#"{"percent":1}"#)).await;
    let other_end = operations.end(&id, None, Ending::Failed, &LastWords::default()).await;
    let again = operations.create(&new(r#"{"id":"x"}"#)).await;

    assert!(matches!(report, Err(ProgressError::Finished(OperationState::Completed))));
    assert!(matches!(other_end, Err(ProgressError::Finished(OperationState::Completed))));
    assert!(matches!(again, Err(ProgressError::AlreadyExists)));
    for key in ["progress:{x}:state", "progress:{x}:log"] {
        let left: u64 = redis.cli(&["PTTL", key]).await.parse().unwrap();
        assert!((DAY.as_millis() as u64 - 60_000..=DAY.as_millis() as u64).contains(&left), "{key} {left}");
    }
    operations.delete(&id).await.unwrap();
    assert!(matches!(operations.delete(&id).await, Err(ProgressError::NotFound)));
    assert_eq!(redis.cli(&["DBSIZE"]).await, "0");
}

#[tokio::test]
async fn what_nobody_reports_to_for_a_day_is_failed_and_a_report_moves_that_day() {
    let redis = RedisServer::start().await;
    let (operations, clock) = with_clock(&redis.url());
    let silent = create(&operations, r#"{"id":"silent"}"#).await;
    let busy = create(&operations, r#"{"id":"busy"}"#).await;
    let expire = async || {
        for shard in 0..SHARDS {
            operations.expire(shard).await.unwrap();
        }
    };
    let state = async |id| operations.snapshot(id).await.unwrap().unwrap().state;
    clock.advance(DAY / 2);
    update(&operations, &busy, r#"{"percent":1}"#).await;
    expire().await;
    assert_eq!(state(&silent).await, OperationState::Pending);

    clock.advance(DAY / 2);
    expire().await;
    assert_eq!((state(&silent).await, state(&busy).await), (OperationState::Failed, OperationState::Running));

    clock.advance(DAY / 2);
    expire().await;
    assert_eq!(state(&busy).await, OperationState::Failed);
    clock.advance(DAY);
    expire().await;
    for shard in 0..SHARDS {
        assert_eq!(redis.cli(&["EXISTS", &format!("sluice:running:{shard}")]).await, "0");
    }
}

#[tokio::test]
async fn what_begins_later_is_missed_a_day_after_its_time_and_a_repeat_moves_nothing() {
    let redis = RedisServer::start().await;
    let (operations, clock) = with_clock(&redis.url());
    let later = new(r#"{"id":"later"}"#);
    let expire = async || {
        for shard in 0..SHARDS {
            operations.expire(shard).await.unwrap();
        }
        operations.snapshot(&id("later")).await.unwrap().unwrap().state
    };
    operations.create_ahead(&later, 2 * DAY).await.unwrap();
    let shown = operations.snapshot(&id("later")).await.unwrap().unwrap();
    assert_eq!(shown.deadline.unwrap().since(shown.created_at), 3 * DAY);

    clock.advance(2 * DAY);
    assert_eq!(expire().await, OperationState::Pending);
    let repeat = operations.create_ahead(&later, 2 * DAY).await;
    assert!(matches!(repeat, Err(ProgressError::AlreadyExists)));
    clock.advance(DAY);
    assert_eq!(expire().await, OperationState::Failed);
}

#[tokio::test]
async fn a_log_keeps_its_bounds() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let id = create(&operations, r#"{"id":"x"}"#).await;
    let hundred = |data: usize| {
        let one = format!(r#"{{"percent":1,"data":"{}"}}"#, "x".repeat(data));
        updates(&format!("[{}]", vec![one; 100].join(",")))
    };
    for _ in 0..12 {
        operations.update(&id, None, &hundred(1)).await.unwrap();
    }
    assert_eq!(redis.cli(&["LLEN", "progress:{x}:log"]).await, "1000");
    operations.update(&id, None, &hundred(4_000)).await.unwrap();

    let kept: Vec<String> =
        redis.cli(&["LRANGE", "progress:{x}:log", "0", "-1"]).await.lines().map(str::to_owned).collect();
    let bytes: usize = kept.iter().map(String::len).sum();
    assert!((250_000..=256 * 1024).contains(&bytes), "{bytes}");
    assert_eq!(redis.cli(&["HGET", "progress:{x}:state", "bytes"]).await, bytes.to_string());
}

#[tokio::test]
async fn each_operation_costs_what_it_says() {
    let redis = RedisServer::start().await;
    let wire = Proxy::to(&redis).await;
    let operations = operations(&wire.url());
    let id = id("x");
    // The scripts are known from here on.
    let warm = create(&operations, "{}").await;
    update(&operations, &warm, r#"{"percent":1}"#).await;
    complete(&operations, &warm).await;

    let (_, created) = wire.round_trips_of(create(&operations, r#"{"id":"x","steps":[{"name":"s"}]}"#)).await;
    let (_, updated) = wire.round_trips_of(update(&operations, &id, r#"{"step":"s","percent":1}"#)).await;
    let (_, read) = wire.round_trips_of(operations.snapshot(&id)).await;
    let (_, ended) = wire.round_trips_of(complete(&operations, &id)).await;

    assert_eq!((created, updated, read, ended), (2, 1, 1, 2));
}

#[tokio::test]
async fn one_more_watcher_of_a_node_costs_what_it_says() {
    let redis = RedisServer::start().await;
    let wire = Proxy::to(&redis).await;
    let operations = operations(&wire.url());
    let hub = Hub::new(operations.clone(), HubSettings::default());
    let id = create(&operations, "{}").await;
    let mut first = watch(&hub, &id, None).await;
    next(&mut first).await;
    update(&operations, &id, r#"{"percent":1}"#).await;
    let cursor = next(&mut first).await[0].id.clone().unwrap();
    update(&operations, &id, r#"{"percent":2}"#).await;
    next(&mut first).await;
    let open = async |cursor: Option<&str>| {
        let mut watcher = watch(&hub, &id, cursor).await;
        next(&mut watcher).await
    };

    let (replayed, by_cursor) = wire.round_trips_of(open(Some(&cursor))).await;
    let (_, by_snapshot) = wire.round_trips_of(open(None)).await;

    assert_eq!((replayed[0].data["percent"].as_f64(), by_cursor), (Some(2.0), 0));
    assert!(by_snapshot <= 1, "{by_snapshot}");
}
