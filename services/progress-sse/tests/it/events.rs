//! The stream: frames, replays, ends, slow and frozen readers, stops.

use crate::support::{EventReader, SOON, Stand};
use serde_json::json;
use std::time::Duration;
use testkit::until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

#[tokio::test]
async fn a_stream_is_what_an_event_source_expects() {
    let stand = Stand::with(&[("HEARTBEAT_MS", "100")]).await;
    let id = stand.create(json!({"steps": [{"name": "a"}]})).await;
    let answer = stand.events(&id).send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("cache-control"), "no-cache, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");
    assert!(answer.headers().get("content-encoding").is_none());
    let mut events = EventReader::new(answer);

    let snapshot = events.next().await.unwrap();
    stand
        .update(&id, json!({"step": "a", "percent": 50, "message": "half\nway", "data": {"n": [1, 2]}}))
        .await;
    let step = events.next().await.unwrap();
    stand.update(&id, json!({"step": "a", "percent": 60})).await;
    let progress = events.next().await.unwrap();
    let beat = events.any().await.unwrap();
    stand.complete(&id).await;
    let rest = events.rest().await;

    assert_eq!(
        (snapshot.kind.as_str(), snapshot.seq(), &snapshot.data["state"]),
        ("snapshot", 0, &json!("pending"))
    );
    assert!((1_000..=3_000).contains(&events.retry.unwrap()));
    assert_eq!((step.kind.as_str(), step.seq()), ("step", 1));
    assert_eq!(step.data["step"], json!({"name": "a", "state": "running", "percent": 50}));
    assert_eq!((&step.data["message"], &step.data["data"]), (&json!("half\nway"), &json!({"n": [1, 2]})));
    assert_eq!((progress.kind.as_str(), &progress.data["percent"]), ("progress", &json!(60)));
    assert_eq!((beat.kind.as_str(), beat.seq()), ("heartbeat", 2));
    assert!(beat.data["at"].as_str().unwrap().ends_with('Z') && events.comments > 0);
    let kinds: Vec<_> = rest.iter().map(|event| (event.kind.as_str(), event.seq())).collect();
    assert_eq!(kinds, [("step", 3), ("completed", 4)]);
}

#[tokio::test]
async fn a_reader_that_comes_back_goes_on_and_is_sent_home_at_the_end() {
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    for percent in 1..=9 {
        stand.update(&id, json!({"percent": percent})).await;
    }
    let mut first = EventReader::open(stand.events(&id)).await;
    let at = first.next().await.unwrap().cursor;
    drop(first);
    stand.update(&id, json!({"percent": 10})).await;
    stand.complete(&id).await;

    let mut by_header = EventReader::open(stand.events(&id).header("Last-Event-ID", &at)).await;
    let by_query = stand.api.get(&format!("/v1/operations/{id}/events?last_event_id={at}"));
    let mut by_query = EventReader::open(by_query).await;
    for events in [by_header.rest().await, by_query.rest().await] {
        let seen: Vec<_> = events.iter().map(|event| (event.kind.as_str(), event.seq())).collect();
        assert_eq!(seen, [("progress", 10), ("completed", 11)]);
    }
    let end = stand.events(&id).header("Last-Event-ID", &by_header.cursor).send().await.unwrap();
    assert_eq!(end.status(), 204);
    let mut whole = EventReader::open(stand.events(&id)).await;
    let kinds: Vec<_> = whole.rest().await.into_iter().map(|event| event.kind).collect();
    assert_eq!(
        (kinds, whole.cursor),
        (vec!["snapshot".to_owned(), "completed".to_owned()], by_header.cursor)
    );
}

#[tokio::test]
async fn the_header_is_newer_than_the_address_and_an_empty_one_says_nothing() {
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    let begin = EventReader::open(stand.events(&id)).await.next().await.unwrap().cursor;
    for percent in [1, 2] {
        stand.update(&id, json!({"percent": percent})).await;
    }
    let after_one = format!("{}.1", begin.split_once('.').unwrap().0);

    // An EventSource repeats its first address and adds the header when it comes back.
    let both = stand.api.get(&format!("/v1/operations/{id}/events?last_event_id={begin}"));
    let mut both = EventReader::open(both.header("Last-Event-ID", &after_one)).await;
    let mut empty = EventReader::open(stand.events(&id).header("Last-Event-ID", "")).await;

    assert_eq!(both.next().await.unwrap().seq(), 2);
    assert_eq!(empty.next().await.unwrap().kind, "snapshot");
}

#[tokio::test]
async fn without_redis_a_reader_is_told_to_come_back_not_that_it_failed() {
    let mut stand = Stand::start().await;
    let id = stand.create(json!({"project": "acme"})).await;
    let key = stand.keys.add("acme", &["progress:read@acme"]);
    stand.service.restart().await;
    stand.redis.kill();

    // An EventSource gives up for good on any status but 200.
    for client in [stand.api.clone(), stand.service.client(&key)] {
        let answer = client.get(&format!("/v1/operations/{id}/events")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut events = EventReader::new(answer);
        assert!(events.next().await.is_none());
        assert!(events.retry.unwrap() >= 10_000);
    }
}

#[tokio::test]
async fn a_cursor_that_leads_nowhere_begins_with_a_reset() {
    let stand = Stand::start().await;
    let id = stand.create(json!({"title": "T"})).await;
    stand.update(&id, json!({"percent": 5})).await;
    for (cursor, reason) in [("nonsense", "unknown"), ("aaaaaaaaaaaa.1", "foreign")] {
        let mut events = EventReader::open(stand.events(&id).header("Last-Event-ID", cursor)).await;
        let reset = events.next().await.unwrap();
        assert_eq!(
            (reset.kind.as_str(), &reset.data["reason"], &reset.data["title"]),
            ("reset", &json!(reason), &json!("T"))
        );
        stand.update(&id, json!({"message": "on"})).await;
        assert_eq!(events.next().await.unwrap().kind, "message");
    }
}

#[tokio::test]
async fn too_many_watchers_are_sent_away_with_a_time_to_come_back() {
    let stand = Stand::with(&[("WATCHERS_MAX", "1")]).await;
    let id = stand.create(json!({})).await;
    let mut first = EventReader::open(stand.events(&id)).await;
    first.next().await.unwrap();

    let mut second = EventReader::open(stand.events(&id)).await;
    assert!(second.next().await.is_none());
    assert!((10_000..=20_000).contains(&second.retry.unwrap()));
    drop(first);
    until(async || stand.watchers().await == 0, SOON).await;
    assert!(EventReader::open(stand.events(&id)).await.next().await.is_some());
}

#[tokio::test]
async fn a_stop_ends_streams_softly_and_another_node_goes_on_from_the_cursor() {
    let mut stand = Stand::with(&[("DRAIN_MS", "200")]).await;
    let key = stand.keys.add("reader", &["progress:read", "progress:write"]);
    let other = Stand::node(&stand.redis, &stand.keys, &[]).await;
    let other = other.client(&key);
    let id = stand.create(json!({})).await;
    let mut events = EventReader::open(stand.events(&id)).await;
    events.next().await.unwrap();
    stand.update(&id, json!({"percent": 10})).await;
    events.next().await.unwrap();

    events.retry = None; // what the stream began with
    assert_eq!(stand.service.stop().await, 0);
    assert!(events.rest().await.is_empty());
    assert!((1_000..=10_000).contains(&events.retry.unwrap()));

    let path = format!("/v1/operations/{id}");
    other.json(other.post(&format!("{path}/updates"), &json!({"percent": 20}))).await;
    let again = other.get(&format!("{path}/events")).header("Last-Event-ID", &events.cursor);
    let next = EventReader::open(again).await.next().await.unwrap();
    assert_eq!((next.seq(), &next.data["percent"]), (2, &json!(20)));
}

#[tokio::test]
async fn an_event_source_sees_each_event_once_over_restarts_of_redis_and_of_the_service() {
    let mut stand = Stand::with(&[("DRAIN_MS", "0"), ("POSITION_CHECK_MS", "100")]).await;
    let id = stand.create(json!({"steps": [{"name": "a"}]})).await;
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    for round in 0..4_u32 {
        for number in 0..25 {
            stand.update(&id, json!({"step": "a", "percent": round * 25 + number})).await;
        }
        // As a browser: what has come is read, then the connection is lost.
        let mut events = EventReader::open(stand.events(&id).header("Last-Event-ID", &cursor)).await;
        while seen.len() < (round as usize + 1) * 25 - usize::from(round == 0) * 24 {
            let event = events.next().await.unwrap();
            seen.push(event.seq());
            cursor = event.cursor;
        }
        if round == 0 {
            seen = (1..=25).collect(); // the snapshot stands for what was before it
            assert!(cursor.ends_with(".25"));
        }
        if round % 2 == 0 {
            stand.redis.restart().await
        } else {
            stand.service.restart().await
        }
        until(
            async || stand.api.get("/health/ready").send().await.is_ok_and(|answer| answer.status() == 200),
            SOON,
        )
        .await;
    }
    assert_eq!(seen, (1..=100).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_reader_that_went_away_is_forgotten() {
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    let mut reader = EventReader::open(stand.events(&id)).await;
    reader.next().await.unwrap();
    assert_eq!(stand.watchers().await, 1);
    drop(reader);
    until(async || stand.watchers().await == 0, SOON).await;
}

#[tokio::test]
async fn a_frozen_reader_is_dropped() {
    let stand = Stand::with(&[("UNREAD_MS", "500")]).await;
    let api = stand.api.clone();
    let id = stand.create(json!({})).await;
    let mut keys = stand.keys;
    let reader = keys.add("frozen", &["progress:read"]);
    let mut service = stand.service;
    service.restart().await;

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut frozen = socket.connect(([127, 0, 0, 1], service.port()).into()).await.unwrap();
    let request = format!(
        "GET /v1/operations/{id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {reader}\r\n\r\n"
    );
    frozen.write_all(request.as_bytes()).await.unwrap();
    let watchers = async || api.json(api.get("/health")).await["checks"]["watchers"].as_u64().unwrap();
    until(async || watchers().await == 1, SOON).await;

    // It stays open and takes nothing; the buffers between fill up.
    let much = serde_json::Value::from(vec![json!({"message": "m", "data": "x".repeat(4_000)}); 50]);
    let drop_it = async || {
        api.json(api.post(&format!("/v1/operations/{id}/updates"), &much)).await;
        watchers().await == 0
    };
    until(drop_it, Duration::from_secs(30)).await;
    drop(frozen);
}
