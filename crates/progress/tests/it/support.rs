//! What the tests of this crate share.

use bytes::Bytes;
use domain::progress::{LastWords, NewOperation, Updates};
use domain::{FencingToken, OperationId, Timestamp};
use progress::{Ending, Hub, HubSettings, Lifetimes, Operations, WatchError, Watched, Watcher};
use redis_core::{Clock, Redis, RedisConfig};
use std::time::Duration;

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn operations(url: &str) -> Operations {
    Operations::new(Redis::connect(&RedisConfig::at(url)), Lifetimes::default())
}

pub(crate) fn with_clock(url: &str) -> (Operations, Clock) {
    let clock = Clock::manual(Timestamp::from_millis(1_764_000_000_000));
    let redis = Redis::connect(&RedisConfig::at(url)).with_clock(clock.clone());
    (Operations::new(redis, Lifetimes::default()), clock)
}

pub(crate) fn hub(operations: &Operations) -> Hub {
    let settings = HubSettings { position_check: Duration::from_millis(100), ..HubSettings::default() };
    Hub::new(operations.clone(), settings)
}

pub(crate) fn id(text: &str) -> OperationId {
    text.parse().unwrap()
}

pub(crate) fn token(number: u64) -> FencingToken {
    number.try_into().unwrap()
}

pub(crate) fn new(json: &str) -> NewOperation {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn updates(json: &str) -> Updates {
    serde_json::from_str(json).unwrap()
}

pub(crate) async fn create(operations: &Operations, json: &str) -> OperationId {
    operations.create(&new(json)).await.unwrap().id
}

pub(crate) async fn update(operations: &Operations, id: &OperationId, json: &str) {
    operations.update(id, None, &updates(json)).await.unwrap();
}

pub(crate) async fn complete(operations: &Operations, id: &OperationId) {
    operations.end(id, None, Ending::Completed, &LastWords::default()).await.unwrap();
}

pub(crate) async fn watch(hub: &Hub, id: &OperationId, cursor: Option<&str>) -> Watcher {
    match hub.watch(id, cursor).await {
        Ok(Watched::Stream(watcher)) => watcher,
        other => panic!("no stream: {other:?}"),
    }
}

/// [`watch`] by one who comes back while a node is without Redis: shed, and tries again.
pub(crate) async fn watch_again(hub: &Hub, id: &OperationId, cursor: Option<&str>) -> Option<Watcher> {
    loop {
        match hub.watch(id, cursor).await {
            Ok(Watched::Stream(watcher)) => return Some(watcher),
            Ok(Watched::Over) => return None,
            Err(WatchError::Shed) => tokio::task::yield_now().await,
            Err(WatchError::NotFound) => panic!("the operation is not there"),
        }
    }
}

/// One event as an EventSource dispatches it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) data: serde_json::Value,
}

impl Seen {
    pub(crate) fn seq(&self) -> u64 {
        self.id.as_ref().unwrap().split_once('.').unwrap().1.parse().unwrap()
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.data.get("skipped").map_or(0, |skipped| skipped.as_u64().unwrap())
    }
}

/// The events of whole frames, without heartbeats.
pub(crate) fn parse(bytes: &Bytes) -> Vec<Seen> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.ends_with("\n\n"), "a piece is whole frames: {text:?}");
    let field =
        |frame: &str, name: &str| frame.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
    text.split_terminator("\n\n")
        .filter_map(|frame| {
            let kind = field(frame, "event: ")?;
            let data = serde_json::from_str(&field(frame, "data: ").unwrap()).unwrap();
            Some(Seen { kind, id: field(frame, "id: "), data })
        })
        .filter(|seen| seen.kind != "heartbeat")
        .collect()
}

/// The next piece with an event in it; none at the end.
pub(crate) async fn next(watcher: &mut Watcher) -> Vec<Seen> {
    let next = async {
        loop {
            let Some(piece) = watcher.next().await else { return Vec::new() };
            let seen = parse(&piece);
            if !seen.is_empty() {
                return seen;
            }
        }
    };
    // Around the loop: heartbeats come for ever.
    tokio::time::timeout(SOON, next).await.expect("nothing came")
}

/// Everything until the stream ends.
pub(crate) async fn rest(watcher: &mut Watcher) -> Vec<Seen> {
    let mut all = Vec::new();
    loop {
        let seen = next(watcher).await;
        if seen.is_empty() {
            return all;
        }
        all.extend(seen);
    }
}
