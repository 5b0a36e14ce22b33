//! A Redis over its memory bound: what brings data in is refused, what lets users in or out runs.

use crate::support::{HOUR, ada, attributes, create, is_over, read, ring, turned, with};
use redis_core::RedisError;
use serde_json::json;
use session::{SessionConfig, SessionError};
use testkit::{RedisServer, both};

const FULL: Result<(), SessionError> = Err(SessionError::Redis(RedisError::Full));

/// Below what any server takes when it is empty: Redis 8.2 takes less than a megabyte.
async fn fill(server: &RedisServer) {
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "100kb"]).await;
}

#[tokio::test]
async fn a_full_redis_refuses_new_sessions_and_changes_and_nothing_else() {
    both(async |server| {
        let (sessions, clock) = turned(&server);
        let (token, other) = (create(&sessions, json!({})).await, create(&sessions, json!({})).await);
        create(&sessions, json!({})).await;
        fill(&server).await;

        assert_eq!(sessions.create(&ada(), attributes(json!({})), None).await.map(drop), FULL);
        assert_eq!(sessions.patch(&token, &attributes(json!({ "a": 1 })), None).await.map(drop), FULL);
        clock.advance(HOUR);
        for token in [&token, &other] {
            assert!(read(&sessions, token).await.extended);
        }
        let (next, _) = sessions.rotate(&token).await.unwrap();
        assert_eq!(sessions.list(&ada()).await.unwrap().len(), 3);
        sessions.log_out(&next).await.unwrap();
        assert_eq!(sessions.log_out_all(&ada()).await.unwrap(), 2);
        assert!(is_over(&sessions, &next).await && is_over(&sessions, &other).await);
    })
    .await;
}

#[tokio::test]
async fn a_session_under_an_older_key_is_good_on_a_full_redis_and_takes_the_newest_when_it_can() {
    both(async |server| {
        let (old, clock) = turned(&server);
        let token = create(&old, json!({ "a": 1 })).await;
        let (one, two) = ("1 ".to_owned() + &"11".repeat(32), "2 ".to_owned() + &"22".repeat(32));
        let both = with(&server, &clock, ring(&format!("{one}\n{two}")), SessionConfig::default());
        let new = with(&server, &clock, ring(&two), SessionConfig::default());
        fill(&server).await;

        let session = read(&both, &token).await;
        assert!(is_over(&new, &token).await, "it keeps its key");
        server.cli(&["CONFIG", "SET", "maxmemory", "0"]).await;
        assert_eq!(read(&both, &token).await, session);
        assert_eq!(read(&new, &token).await, session);
    })
    .await;
}
