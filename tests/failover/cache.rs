//! Entries that are put and read.

use crate::{Life, expected};
use cache::{Cache, Conditions, ContentType, Draft, Limits, Read, Tags};
use domain::{EntryName, ProjectId};
use futures_util::future::join_all;
use redis_core::Redis;
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) async fn work(redis: &Redis, life: &Life) {
    let cache = Cache::new(redis.clone(), Limits::default());
    join_all((0..4).map(|number| one(&cache, format!("p{number}").parse().unwrap(), life))).await;
}

async fn one(cache: &Cache, project: ProjectId, life: &Life) {
    let name: EntryName = "data".parse().unwrap();
    let (mut acknowledged, mut unknown) = (0, BTreeSet::new());
    for number in 1.. {
        let is_last = life.is_over();
        let draft = Draft {
            content_type: ContentType::try_from("text/plain".to_owned()).unwrap(),
            tags: Tags::default(),
            ttl: Duration::from_secs(3600),
            payload: number.to_string().into(),
        };
        match cache.put(&project, &name, draft, &Conditions::default()).await {
            Ok(_) => acknowledged = number,
            Err(error) => {
                expected(&error);
                unknown.insert(number);
            }
        }
        match cache.read(&project, &name, None).await {
            Ok(Read::Hit(hit)) => {
                let seen: u64 = std::str::from_utf8(&hit.payload).unwrap().parse().unwrap();
                let is_there = seen >= acknowledged || unknown.contains(&seen);
                assert!(is_there || !life.lossless, "{project}: {seen} after {acknowledged}");
                if is_last && acknowledged == number {
                    return;
                }
            }
            Ok(Read::Miss(miss)) => assert!(acknowledged == 0 || !life.lossless, "{project}: {miss:?}"),
            Err(error) => expected(&error),
        }
        tokio::task::yield_now().await;
    }
}
