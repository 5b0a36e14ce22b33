//! How a session lives: used, extended, changed, rotated, ended.

use crate::support::{HOUR, MS, SECOND, ada, attributes, create, is_over, read, ring, turned, with};
use domain::UserId;
use serde_json::{Value, json};
use session::{SessionConfig, SessionError};
use std::time::Duration;
use testkit::{RedisServer, both};

#[tokio::test]
async fn a_session_is_what_it_was_made_with() {
    both(async |server| {
        let (sessions, clock) = turned(&server);
        let made = attributes(json!({ "theme": "dark", "cart": [1, 2] }));
        let (token, session) = sessions.create(&ada(), made.clone(), Some(HOUR)).await.unwrap();
        assert_eq!((&session.user, &session.attributes, session.revision), (&ada(), &made, 1));
        assert_eq!((session.times.created_at, session.times.expires_at), (clock.now(), clock.now() + HOUR));
        assert_eq!(session.id, token.id());
        assert_eq!(read(&sessions, &token).await, session);
    })
    .await;
}

#[tokio::test]
async fn it_ends_when_nobody_uses_it_and_lives_on_when_somebody_does() {
    both(async |server| {
        let (sessions, clock) = turned(&server);
        let (used, unused) = (create(&sessions, json!({})).await, create(&sessions, json!({})).await);
        for _ in 0..4 {
            clock.advance(HOUR);
            read(&sessions, &used).await;
        }
        assert!(is_over(&sessions, &unused).await);
        clock.advance(HOUR * 2 - MS);
        read(&sessions, &used).await;
        clock.advance(HOUR * 2);
        assert!(is_over(&sessions, &used).await);
    })
    .await;
}

#[tokio::test]
async fn it_ends_at_its_absolute_end_however_much_it_is_used() {
    both(async |server| {
        let (_, clock) = turned(&server);
        let config = SessionConfig { absolute_ttl_ms: 3 * 3600 * 1000, ..SessionConfig::default() };
        let sessions = with(&server, &clock, crate::support::keys(), config);
        let token = create(&sessions, json!({})).await;
        for _ in 0..17 {
            clock.advance(SECOND * 600);
            let times = read(&sessions, &token).await.times;
            assert!(times.expires_at <= times.ends_at);
        }
        clock.advance(SECOND * 600);
        assert!(is_over(&sessions, &token).await);
    })
    .await;
}

#[tokio::test]
async fn whoever_keeps_its_token_knows_for_how_long() {
    both(async |server| {
        let (sessions, clock) = turned(&server);
        let (token, made) = sessions.create(&ada(), attributes(json!({})), None).await.unwrap();
        assert_eq!(sessions.most_left(&made.times), HOUR * 24 * 30);
        clock.advance(SECOND * 600);
        let (_, rotated) = sessions.rotate(&token).await.unwrap();
        assert_eq!(sessions.most_left(&rotated.times), HOUR * 24 * 30 - SECOND * 600);
        clock.advance(HOUR * 24 * 31);
        assert_eq!(sessions.most_left(&rotated.times), Duration::ZERO);
    })
    .await;
}

#[tokio::test]
async fn it_is_written_at_most_four_times_in_an_idle_time_to_let_it_live_on() {
    both(async |server| {
        let (sessions, clock) = turned(&server);
        let token = create(&sessions, json!({})).await;
        let mut extended = 0;
        for _ in 0..720 {
            clock.advance(SECOND * 10);
            extended += u32::from(read(&sessions, &token).await.extended);
        }
        assert!((3..=4).contains(&extended), "{extended} writes in an idle time");
    })
    .await;
}

#[tokio::test]
async fn attributes_are_merged_and_the_revision_counts() {
    both(async |server| {
        let (sessions, _) = turned(&server);
        let token = create(&sessions, json!({ "a": 1, "b": { "c": 2, "d": 3 } })).await;
        let patch = |json: Value| attributes(json);
        let changed =
            sessions.patch(&token, &patch(json!({ "a": null, "b": { "c": 9 } })), None).await.unwrap();
        assert_eq!(
            (Value::Object(changed.attributes), changed.revision),
            (json!({ "b": { "c": 9, "d": 3 } }), 2)
        );

        let late = sessions.patch(&token, &patch(json!({ "x": 1 })), Some(1)).await;
        assert_eq!(late, Err(SessionError::Changed(2)));
        let now = sessions.patch(&token, &patch(json!({ "x": 1 })), Some(2)).await.unwrap();
        assert_eq!((now.revision, read(&sessions, &token).await.attributes), (3, now.attributes));
    })
    .await;
}

#[tokio::test]
async fn no_change_is_lost_when_many_change_at_once() {
    both(async |server| {
        let (sessions, _) = turned(&server);
        let token = create(&sessions, json!({})).await;
        let change = async |n: usize| {
            let patch = attributes(json!({ n.to_string(): n }));
            loop {
                match sessions.patch(&token, &patch, None).await {
                    Err(SessionError::Contended) => {}
                    done => return done.unwrap(),
                }
            }
        };
        futures_util::future::join_all((0..12).map(change)).await;
        let session = read(&sessions, &token).await;
        assert_eq!((session.attributes.len(), session.revision), (12, 13));
    })
    .await;
}

#[tokio::test]
async fn rotation_changes_the_token_and_nothing_else() {
    both(async |server| {
        let (sessions, _) = turned(&server);
        let token = create(&sessions, json!({ "a": 1 })).await;
        let before = read(&sessions, &token).await;
        let (next, after) = sessions.rotate(&token).await.unwrap();

        assert!(is_over(&sessions, &token).await);
        assert_eq!(read(&sessions, &next).await, after);
        assert_eq!((after.attributes, after.times), (before.attributes, before.times));
        assert_ne!(after.id, before.id);
        assert_eq!(sessions.list(&ada()).await.unwrap().len(), 1);
        assert_eq!(sessions.rotate(&token).await.map(drop), Err(SessionError::Unauthenticated));
    })
    .await;
}

#[tokio::test]
async fn logging_out_ends_one_or_all_and_nobody_elses() {
    both(async |server| {
        let (sessions, _) = turned(&server);
        let bob: UserId = "bob".parse().unwrap();
        let (other, _) = sessions.create(&bob, attributes(json!({})), None).await.unwrap();
        let one = create(&sessions, json!({})).await;
        let two = create(&sessions, json!({})).await;
        let three = create(&sessions, json!({})).await;

        sessions.log_out(&one).await.unwrap();
        assert_eq!(sessions.log_out(&one).await, Err(SessionError::Unauthenticated));
        assert!(is_over(&sessions, &one).await && !is_over(&sessions, &two).await);

        assert!(sessions.end(&ada(), &two.id()).await.unwrap());
        assert!(!sessions.end(&ada(), &two.id()).await.unwrap());
        assert!(!sessions.end(&bob, &three.id()).await.unwrap(), "of another user");
        assert!(is_over(&sessions, &two).await && !is_over(&sessions, &three).await);

        create(&sessions, json!({})).await;
        assert_eq!(sessions.log_out_all(&ada()).await.unwrap(), 2);
        assert!(is_over(&sessions, &three).await && !is_over(&sessions, &other).await);
        assert_eq!(sessions.list(&ada()).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn the_sessions_of_a_user_are_listed_the_last_to_expire_first() {
    both(async |server| {
        let (sessions, clock) = turned(&server);
        let mut tokens = Vec::new();
        for _ in 0..3 {
            tokens.push(create(&sessions, json!({})).await);
            clock.advance(HOUR / 2);
        }
        let ids =
            async || sessions.list(&ada()).await.unwrap().into_iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids().await, [tokens[2].id(), tokens[1].id(), tokens[0].id()]);
        clock.advance(HOUR / 2);
        assert_eq!(ids().await, [tokens[2].id(), tokens[1].id()], "the first is over");
    })
    .await;
}

#[tokio::test]
async fn who_has_too_many_loses_the_one_that_would_expire_first() {
    both(async |server| {
        let (sessions, clock) = turned(&server);
        let mut tokens = Vec::new();
        for _ in 0..50 {
            tokens.push(create(&sessions, json!({})).await);
            clock.advance(SECOND * 10);
        }
        clock.advance(HOUR);
        read(&sessions, &tokens[0]).await;
        create(&sessions, json!({})).await;

        assert_eq!(sessions.list(&ada()).await.unwrap().len(), 50);
        assert!(is_over(&sessions, &tokens[1]).await, "the least recently used");
        assert!(!is_over(&sessions, &tokens[0]).await && !is_over(&sessions, &tokens[2]).await);
    })
    .await;
}

#[tokio::test]
async fn a_lost_index_logs_out_and_never_in() {
    both(async |server| {
        let (sessions, _) = turned(&server);
        let token = create(&sessions, json!({})).await;
        let index = server.cli(&["KEYS", "session:*:index"]).await;
        server.cli(&["DEL", &index]).await;
        assert!(is_over(&sessions, &token).await);
        create(&sessions, json!({})).await;
        assert!(is_over(&sessions, &token).await);
        assert_eq!(sessions.list(&ada()).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_session_takes_the_newest_key_when_it_is_used() {
    let server = RedisServer::start().await;
    let (old, clock) = turned(&server);
    let token = create(&old, json!({ "a": 1 })).await;
    let before = read(&old, &token).await;
    let (one, two) = ("1 ".to_owned() + &"11".repeat(32), "2 ".to_owned() + &"22".repeat(32));
    let both = with(&server, &clock, ring(&format!("{one}\n{two}")), SessionConfig::default());
    let new = with(&server, &clock, ring(&two), SessionConfig::default());

    assert!(is_over(&new, &token).await, "its key is not there");
    assert_eq!(read(&both, &token).await, before, "the change of keys is no change of content");
    assert_eq!(read(&new, &token).await, before);
}

#[tokio::test]
async fn what_is_too_large_or_too_long_is_refused() {
    let server = RedisServer::start().await;
    let (sessions, _) = turned(&server);
    let sized = |bytes: usize| attributes(json!({ "a": "x".repeat(bytes - r#"{"a":""}"#.len()) }));
    let create = async |attributes, idle| sessions.create(&ada(), attributes, idle).await.map(drop);
    assert_eq!(create(sized(16_384), None).await, Ok(()));
    let over = SessionError::TooLarge { bytes: 16_385, most: 16_384 };
    assert_eq!(create(sized(16_385), None).await, Err(over.clone()));
    let (token, _) = sessions.create(&ada(), attributes(json!({})), None).await.unwrap();
    assert_eq!(sessions.patch(&token, &sized(16_385), None).await.map(drop), Err(over));
    for idle in [SECOND - MS, SECOND * 30 * 86_400 + MS] {
        assert!(matches!(create(sized(10), Some(idle)).await, Err(SessionError::Idle { .. })), "{idle:?}");
    }
}
