//! What is no token of ours gets one and the same answer.

use crate::support::{HOUR, create, read, turned};
use serde_json::json;
use session::{SessionError, Token};
use testkit::both;

#[tokio::test]
async fn guessed_altered_foreign_and_replayed_tokens_are_told_the_same() {
    both(async |server| {
        let (sessions, clock) = turned(&server);
        let good = create(&sessions, json!({})).await;
        let text = good.expose();
        let (tag, secret) = text.split_once('.').unwrap();
        let flipped = |text: &str| {
            let (first, rest) = text.split_at(1);
            format!("{}{rest}", if first == "A" { "B" } else { "A" })
        };
        let other =
            sessions.create(&"bob".parse().unwrap(), Default::default(), None).await.unwrap().0.expose();
        let (other_tag, other_secret) = other.split_once('.').unwrap();
        let rotated = create(&sessions, json!({})).await;
        sessions.rotate(&rotated).await.unwrap();
        let logged_out = create(&sessions, json!({})).await;
        sessions.log_out(&logged_out).await.unwrap();
        let wrong = [
            format!("{}.{secret}", flipped(tag)),
            format!("{tag}.{}", flipped(secret)),
            format!("{other_tag}.{secret}"),
            format!("{tag}.{other_secret}"),
            rotated.expose(),
            logged_out.expose(),
        ];
        for text in &wrong {
            let token: Token = text.parse().unwrap();
            let empty = Default::default();
            for answer in [
                sessions.validate(&token).await.map(drop),
                sessions.patch(&token, &empty, None).await.map(drop),
                sessions.patch(&token, &empty, Some(1)).await.map(drop),
                sessions.rotate(&token).await.map(drop),
                sessions.log_out(&token).await,
            ] {
                assert_eq!(answer, Err(SessionError::Unauthenticated), "{text}");
            }
        }
        read(&sessions, &good).await;

        clock.advance(HOUR * 2);
        assert_eq!(sessions.validate(&good).await.map(drop), Err(SessionError::Unauthenticated));
    })
    .await;
}
