//! Operations that are updated, watched and ended.

use crate::{Life, expected};
use domain::OperationId;
use domain::progress::{LastWords, NewOperation, Updates};
use futures_util::future::join_all;
use progress::{Ending, Hub, HubSettings, Lifetimes, Operations, ProgressError, Watched};
use redis_core::Redis;
use std::collections::BTreeSet;

pub(crate) async fn work(redis: &Redis, life: &Life) {
    let operations = Operations::new(redis.clone(), Lifetimes::default());
    let hub = Hub::new(operations.clone(), HubSettings::default());
    join_all((0..4).map(|number| one(&operations, &hub, format!("o{number}").parse().unwrap(), life))).await;
}

async fn one(operations: &Operations, hub: &Hub, id: OperationId, life: &Life) {
    create(operations, &id, life).await;
    let working = async {
        let (mut acknowledged, mut unknown) = (0, BTreeSet::new());
        for number in 1_u64.. {
            let is_last = life.is_over();
            let update: Updates = serde_json::from_str(&format!(r#"{{"message":"{number}"}}"#)).unwrap();
            match operations.update(&id, None, &update).await {
                Ok(_) => acknowledged = number,
                Err(ProgressError::NotFound) if !life.lossless => create(operations, &id, life).await,
                Err(error) => {
                    expected(&error);
                    unknown.insert(number);
                }
            }
            match operations.snapshot(&id).await {
                Ok(Some(snapshot)) => {
                    let seen = snapshot.message.map_or(0, |message| message.parse().unwrap());
                    let is_there = seen >= acknowledged || unknown.contains(&seen);
                    assert!(is_there || !life.lossless, "{id}: {seen} after {acknowledged}");
                    if is_last && acknowledged == number {
                        break;
                    }
                }
                Ok(None) => assert!(!life.lossless, "{id} is gone"),
                Err(error) => expected(&error),
            }
            tokio::task::yield_now().await;
        }
        let end = async || match operations.end(&id, None, Ending::Completed, &LastWords::default()).await {
            Ok(_) | Err(ProgressError::Finished(_)) => Ok(()),
            Err(ProgressError::NotFound) if !life.lossless => Ok(()),
            Err(error) => Err(error),
        };
        life.insist(end).await;
    };
    // Where a primary died, the operation may begin anew, and its watcher with it.
    let watching = async {
        if life.lossless {
            watch_to_the_end(hub, &id).await;
        }
    };
    tokio::join!(working, watching);
}

async fn create(operations: &Operations, id: &OperationId, life: &Life) {
    let new: NewOperation = serde_json::from_str(&format!(r#"{{"id":"{id}"}}"#)).unwrap();
    let create = async || match operations.create(&new).await {
        Ok(_) | Err(ProgressError::AlreadyExists) => Ok(()),
        Err(error) => Err(error),
    };
    life.insist(create).await;
}

/// Comes back whenever its stream ends, as a browser does, until it has seen the end.
async fn watch_to_the_end(hub: &Hub, id: &OperationId) {
    loop {
        if let Ok(Watched::Stream(mut watcher)) = hub.watch(id, None).await {
            while let Some(frame) = watcher.next().await {
                if String::from_utf8_lossy(&frame).contains("event: completed") {
                    return;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}
