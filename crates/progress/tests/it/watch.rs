//! Watching: snapshots, replays, resets, slow readers, ends.

use crate::support::{Seen, complete, create, hub, id, next, operations, rest, update, updates, watch};
use domain::OperationId;
use progress::{Hub, HubSettings, Operations, WatchError, Watched};
use std::time::Duration;
use testkit::{RedisServer, both, until};
use tokio::task::JoinSet;

#[tokio::test]
async fn a_late_viewer_gets_one_snapshot_and_then_what_happens() {
    both(async |redis| {
        let operations = operations(&redis.url());
        let hub = hub(&operations);
        let id = create(&operations, r#"{"steps":[{"name":"a"},{"name":"b"}]}"#).await;
        for percent in 1..=50 {
            update(&operations, &id, &format!(r#"{{"step":"a","percent":{percent}}}"#)).await;
        }
        let mut watcher = watch(&hub, &id, None).await;

        let first = next(&mut watcher).await;
        update(&operations, &id, r#"{"step":"b","state":"running","message":"on"}"#).await;
        let second = next(&mut watcher).await;
        complete(&operations, &id).await;
        let last = rest(&mut watcher).await;

        assert_eq!((first.len(), first[0].kind.as_str(), first[0].seq()), (1, "snapshot", 50));
        assert_eq!(first[0].data["steps"][0]["percent"], 50.0);
        assert_eq!((second[0].kind.as_str(), second[0].seq()), ("step", 51));
        assert_eq!((last.last().unwrap().kind.as_str(), last.last().unwrap().seq()), ("completed", 54));
        assert!(watcher.next().await.is_none());
    })
    .await;
}

#[tokio::test]
async fn who_comes_late_to_the_end_sees_it_once_and_then_nothing_more() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    let id = create(&operations, "{}").await;
    update(&operations, &id, r#"{"percent":10}"#).await;
    complete(&operations, &id).await;

    let seen = rest(&mut watch(&hub, &id, None).await).await;
    let end = seen.last().unwrap().id.clone().unwrap();
    let again = hub.watch(&id, Some(&end)).await;

    let kinds: Vec<&str> = seen.iter().map(|seen| seen.kind.as_str()).collect();
    assert_eq!(kinds, ["snapshot", "completed"]);
    assert!(seen[0].id.is_none(), "the cursor moves with the final event");
    assert!(matches!(again, Ok(Watched::Over)));
    assert!(matches!(hub.watch(&crate::support::id("nobody"), None).await, Err(WatchError::NotFound)));
}

#[tokio::test]
async fn a_cursor_that_leads_nowhere_is_reset_with_the_snapshot() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    let id = create(&operations, r#"{"id":"x"}"#).await;
    let hundred = updates(&format!("[{}]", vec![r#"{"message":"m"}"#; 100].join(",")));
    for _ in 0..12 {
        operations.update(&id, None, &hundred).await.unwrap();
    }
    let epoch = operations.snapshot(&id).await.unwrap().unwrap().cursor.split_once('.').unwrap().0.to_owned();

    for (cursor, reason) in [
        ("nonsense".to_owned(), Some("unknown")),
        (String::new(), Some("unknown")),
        ("aaaaaaaaaaaa.1150".to_owned(), Some("foreign")),
        (format!("{epoch}.199"), Some("too_old")),
        (format!("{epoch}.0"), Some("too_old")),
        (format!("{epoch}.1201"), Some("future")),
        (format!("{epoch}.18446744073709551615"), Some("future")),
        (format!("{epoch}.200"), None),
        (format!("{epoch}.1199"), None),
    ] {
        let mut watcher = watch(&hub, &id, Some(&cursor)).await;
        let first = &next(&mut watcher).await[0];
        match reason {
            Some(reason) => {
                assert_eq!(
                    (first.kind.as_str(), first.data["reason"].as_str()),
                    ("reset", Some(reason)),
                    "{cursor}"
                );
                assert_eq!((first.seq(), first.data["id"].as_str()), (1_200, Some("x")), "{cursor}");
            }
            None => assert_eq!(first.seq(), cursor.split_once('.').unwrap().1.parse::<u64>().unwrap() + 1),
        }
    }
}

#[tokio::test]
async fn watchers_of_an_operation_that_goes_or_is_replaced_are_told() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    let id = create(&operations, r#"{"id":"x"}"#).await;
    update(&operations, &id, r#"{"percent":10}"#).await;
    let mut watcher = watch(&hub, &id, None).await;
    next(&mut watcher).await;

    // Between two hints: whoever watches finds another life.
    redis.cli(&["DEL", "progress:{x}:state", "progress:{x}:log"]).await;
    create(&operations, r#"{"id":"x","title":"second"}"#).await;
    update(&operations, &id, r#"{"percent":20}"#).await;
    let reset = next(&mut watcher).await;
    operations.delete(&id).await.unwrap();
    let gone = rest(&mut watcher).await;

    assert_eq!((reset[0].kind.as_str(), reset[0].data["reason"].as_str()), ("reset", Some("foreign")));
    assert_eq!(reset[0].data["title"], "second");
    assert_eq!(gone.last().unwrap().data["reason"], "gone");
    assert!(matches!(hub.watch(&id, None).await, Err(WatchError::NotFound)));
    create(&operations, r#"{"id":"x"}"#).await;
    watch(&hub, &id, None).await;
}

#[tokio::test]
async fn a_lost_last_hint_is_found_without_another_one() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    let id = create(&operations, r#"{"id":"x"}"#).await;
    let mut watcher = watch(&hub, &id, None).await;
    next(&mut watcher).await;

    // What an update writes, without what it says.
    let event = "1\t1764000000000\tprogress\t\trunning\t4200\t\t\t\t\t\t\t";
    redis.cli(&["RPUSH", "progress:{x}:log", event]).await;
    redis.cli(&["HSET", "progress:{x}:state", "seq", "1"]).await;

    let found = next(&mut watcher).await;
    assert_eq!((found[0].seq(), found[0].data["percent"].as_f64()), (1, Some(42.0)));
}

#[tokio::test]
async fn a_hub_listens_only_to_what_is_watched() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    let id = create(&operations, r#"{"id":"x"}"#).await;
    let listeners = async || {
        redis.cli(&["PUBSUB", "SHARDNUMSUB", "progress:{x}:log"]).await.lines().last().unwrap().to_owned()
    };

    let first = watch(&hub, &id, None).await;
    let second = watch(&hub, &id, None).await;
    assert_eq!((listeners().await.as_str(), hub.watchers(), hub.topics()), ("1", 2, 1));
    drop(first);
    assert_eq!((listeners().await.as_str(), hub.watchers()), ("1", 1));
    drop(second);

    until(async || listeners().await == "0", Duration::from_secs(5)).await;
    assert_eq!((hub.watchers(), hub.topics()), (0, 0));
    hub.close().await;
}

#[tokio::test]
async fn a_full_or_draining_hub_sheds_and_ends_its_watchers_with_a_time_to_come_back() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = Hub::new(operations.clone(), HubSettings { watchers_max: 2, ..HubSettings::default() });
    let id = create(&operations, "{}").await;
    let mut watchers = [watch(&hub, &id, None).await, watch(&hub, &id, None).await];
    assert!(matches!(hub.watch(&id, None).await, Err(WatchError::Shed)));

    let drain = hub.drain(Duration::from_millis(100));
    let ends = async {
        for watcher in &mut watchers {
            next(watcher).await;
            let last = watcher.next().await.unwrap();
            let retry: u64 =
                std::str::from_utf8(&last).unwrap().trim().strip_prefix("retry: ").unwrap().parse().unwrap();
            assert!((1_000..=10_000).contains(&retry));
            assert!(watcher.next().await.is_none());
        }
    };
    tokio::join!(drain, ends);
    drop(watchers);
    assert!(matches!(hub.watch(&id, None).await, Err(WatchError::Shed)));
    hub.close().await;
}

#[tokio::test]
async fn a_poller_waits_for_what_comes_after_its_cursor() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    let id = create(&operations, "{}").await;
    let cursor = operations.snapshot(&id).await.unwrap().unwrap().cursor;
    let report = updates(r#"{"percent":5}"#);

    // The node knows the operation, so that nothing but the wait itself takes long.
    let mut other = watch(&hub, &id, None).await;
    next(&mut other).await;
    let mut waiting = std::pin::pin!(hub.wait(&id, &cursor, crate::support::SOON));
    let meanwhile = async {
        for _ in 0..50 {
            operations.snapshot(&id).await.unwrap();
        }
    };
    tokio::select! {
        waited = &mut waiting => panic!("nothing has happened yet: {waited:?}"),
        () = meanwhile => {}
    }
    operations.update(&id, None, &report).await.unwrap();
    waiting.await.unwrap();
    // The old cursor has something after it, a strange one is answered at once, and so is the end.
    hub.wait(&id, &cursor, crate::support::SOON).await.unwrap();
    hub.wait(&id, "strange", crate::support::SOON).await.unwrap();
    complete(&operations, &id).await;
    let end = operations.snapshot(&id).await.unwrap().unwrap().cursor;
    hub.wait(&id, &end, crate::support::SOON).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_misses_only_replaced_percentages_and_is_told_how_many() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    let id = create(&operations, r#"{"steps":[{"name":"a"},{"name":"b"},{"name":"c"}]}"#).await;
    let mut slow = watch(&hub, &id, None).await;
    let mut fast = watch(&hub, &id, None).await;
    next(&mut slow).await;
    next(&mut fast).await;

    for step in ["a", "b", "c"] {
        update(&operations, &id, &format!(r#"{{"step":"{step}","state":"running"}}"#)).await;
        for hundred in 0..10 {
            let many: Vec<String> = (0..100)
                .map(|n| format!(r#"{{"step":"{step}","percent":{}}}"#, hundred * 10 + n / 10))
                .collect();
            update(&operations, &id, &format!("[{}]", many.join(","))).await;
        }
        update(&operations, &id, &format!(r#"{{"step":"{step}","state":"completed"}}"#)).await;
    }
    complete(&operations, &id).await;
    // The ring is up to date once another watcher has read it to the end.
    let _ = rest(&mut fast).await;
    let seen = rest(&mut slow).await;

    let mut before = 0;
    for event in &seen {
        assert_eq!(event.seq(), before + 1 + event.skipped());
        before = event.seq();
    }
    let transitions: Vec<String> = seen
        .iter()
        .filter(|seen| seen.kind == "step")
        .map(|seen| {
            format!(
                "{} {}",
                seen.data["step"]["name"].as_str().unwrap(),
                seen.data["step"]["state"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        transitions,
        ["a running", "a completed", "b running", "b completed", "c running", "c completed"]
    );
    assert_eq!((before, seen.last().unwrap().kind.as_str()), (3_007, "completed"));
    assert!(seen.len() < 400, "{} events", seen.len());
}

/// Reads from a cursor, leaves after some events, comes back with the last id: until the end. Checks each sequence.
async fn come_and_go(hub: Hub, operations: Operations, id: OperationId, stay: usize) -> usize {
    let mut cursor = operations.snapshot(&id).await.unwrap().unwrap().cursor;
    let mut at: u64 = cursor.split_once('.').unwrap().1.parse().unwrap();
    let mut visits = 0;
    loop {
        visits += 1;
        let Ok(watched) = hub.watch(&id, Some(&cursor)).await else { panic!("shed") };
        let Watched::Stream(mut watcher) = watched else { return visits };
        let mut left = stay;
        while left > 0 {
            let seen: Vec<Seen> = next(&mut watcher).await;
            if seen.is_empty() {
                break;
            }
            for event in &seen {
                assert_ne!(event.kind, "reset");
                assert_eq!(event.seq(), at + 1 + event.skipped(), "after {at}");
                at = event.seq();
            }
            left = left.saturating_sub(seen.len());
            cursor = seen.last().unwrap().id.clone().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_watchers_that_come_and_go_while_two_thousand_updates_are_written_miss_nothing() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hubs = [hub(&operations), hub(&operations)];
    let id = create(&operations, r#"{"steps":[{"name":"a"},{"name":"b"}]}"#).await;
    let mut watchers = JoinSet::new();
    for number in 1..=2_000 {
        let step = ["a", "b"][number % 2];
        update(&operations, &id, &format!(r#"{{"step":"{step}","percent":{}}}"#, number / 20)).await;
        if number % 40 == 0 {
            let hub = hubs[number / 40 % 2].clone();
            watchers.spawn(come_and_go(hub, operations.clone(), id.clone(), 7 + number % 61));
        }
    }
    complete(&operations, &id).await;

    let visits: Vec<usize> = watchers.join_all().await;
    assert_eq!(visits.len(), 50);
    assert!(visits.iter().sum::<usize>() > 100, "{visits:?}");
    for hub in hubs {
        assert_eq!(hub.watchers(), 0);
        hub.close().await;
    }
}

#[tokio::test]
async fn an_operation_whose_log_was_evicted_still_ends() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let hub = hub(&operations);
    let job = create(&operations, r#"{"id":"x"}"#).await;
    update(&operations, &job, r#"{"percent":10}"#).await;
    let start = operations.snapshot(&job).await.unwrap().unwrap().cursor;
    complete(&operations, &job).await;
    redis.cli(&["DEL", "progress:{x}:log"]).await;

    let fresh = rest(&mut watch(&hub, &id("x"), None).await).await;
    let late = rest(&mut watch(&hub, &id("x"), Some(&start)).await).await;

    assert_eq!((fresh.len(), fresh[0].kind.as_str()), (1, "snapshot"));
    assert_eq!((late.len(), late[0].kind.as_str()), (1, "reset"));
    let end = fresh[0].id.clone().unwrap();
    assert!(matches!(hub.watch(&job, Some(&end)).await, Ok(Watched::Over)));
}
