//! On a full Redis what protects and what ends still runs; what brings in new data is refused.

use crate::support::{DAY, create, id, new, token, updates, with_clock};
use domain::progress::LastWords;
use domain::{Coded, ErrorCode, OperationState};
use progress::Ending;
use testkit::RedisServer;

#[tokio::test]
async fn on_a_full_redis_operations_end_but_do_not_grow() {
    let redis = RedisServer::start().await;
    let (operations, clock) = with_clock(&redis.url());
    let running = create(&operations, r#"{"id":"running","steps":[{"name":"s"}]}"#).await;
    let leased = id("q.1-00000000");
    operations.announce(&leased, token(1), &new("{}")).await.unwrap();
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).await;

    let full = [
        operations.create(&new("{}")).await.unwrap_err(),
        operations.update(&running, None, &updates(r#"{"step":"s","percent":1}"#)).await.unwrap_err(),
        operations.announce(&id("q.2-00000000"), token(1), &new("{}")).await.unwrap_err(),
    ];
    assert!(full.iter().all(|error| error.code() == ErrorCode::Full), "{full:?}");

    operations.announce(&leased, token(2), &new("{}")).await.unwrap();
    operations.end(&running, None, Ending::Completed, &LastWords::default()).await.unwrap();
    operations.snapshot(&running).await.unwrap().unwrap();
    clock.advance(DAY);
    for shard in 0..progress::SHARDS {
        operations.expire(shard).await.unwrap();
    }
    assert_eq!(operations.snapshot(&leased).await.unwrap().unwrap().state, OperationState::Failed);
    operations.delete(&running).await.unwrap();
}
