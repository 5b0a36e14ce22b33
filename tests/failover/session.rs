//! Sessions that are changed and validated.

use crate::{Life, expected};
use domain::UserId;
use futures_util::future::join_all;
use redis_core::Redis;
use serde_json::json;
use session::{Attributes, SessionConfig, SessionError, SessionKeys, Sessions, Token};
use std::collections::BTreeSet;

pub(crate) async fn work(redis: &Redis, life: &Life) {
    let ring = format!("1 {}", "11".repeat(32));
    let keys = SessionKeys::parse(&"ab".repeat(32), &ring).unwrap();
    let sessions = Sessions::new(redis.clone(), keys, SessionConfig::default());
    join_all((0..4).map(|number| one(&sessions, format!("u{number}").parse().unwrap(), life))).await;
}

async fn one(sessions: &Sessions, user: UserId, life: &Life) {
    let mut token = create(sessions, &user, life).await;
    let (mut acknowledged, mut unknown) = (0, BTreeSet::new());
    for number in 1_u64.. {
        let is_last = life.is_over();
        let patch: Attributes = json!({ "n": number }).as_object().unwrap().clone();
        match sessions.patch(&token, &patch, None).await {
            Ok(_) => acknowledged = number,
            Err(SessionError::Unauthenticated) if !life.lossless => {
                token = create(sessions, &user, life).await;
            }
            Err(error) => {
                expected(&error);
                unknown.insert(number);
            }
        }
        match sessions.validate(&token).await {
            Ok(session) => {
                let seen = session.attributes.get("n").map_or(0, |n| n.as_u64().unwrap());
                let is_there = seen >= acknowledged || unknown.contains(&seen);
                assert!(is_there || !life.lossless, "{user}: {seen} after {acknowledged}");
                if is_last && acknowledged == number {
                    return;
                }
            }
            Err(SessionError::Unauthenticated) if !life.lossless => {}
            Err(error) => expected(&error),
        }
        tokio::task::yield_now().await;
    }
}

async fn create(sessions: &Sessions, user: &UserId, life: &Life) -> Token {
    life.insist(async || sessions.create(user, Attributes::new(), None).await).await.0
}
