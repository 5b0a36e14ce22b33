//! Only the holder of the latest lease speaks.

use crate::support::{id, new, operations, token, updates};
use domain::OperationState;
use domain::progress::LastWords;
use progress::{Ending, ProgressError};
use testkit::{RedisServer, both};

const TASK: &str = r#"{"title":"Export","project":"acme","open_steps":true}"#;

#[tokio::test]
async fn a_zombie_worker_cannot_speak() {
    both(async |redis| {
        let operations = operations(&redis.url());
        let id = id("exports.1-0a0b0c0d");
        operations.announce(&id, token(10), &new(TASK)).await.unwrap();
        operations.update(&id, Some(token(10)), &updates(r#"{"step":"list","percent":60}"#)).await.unwrap();
        operations.announce(&id, token(20), &new(TASK)).await.unwrap();

        for speaker in [Some(token(10)), None] {
            let report = operations.update(&id, speaker, &updates(r#"{"step":"list","percent":90}"#)).await;
            assert!(matches!(report, Err(ProgressError::LeaseLost)), "{report:?}");
            let end = operations.end(&id, speaker, Ending::Failed, &LastWords::default()).await;
            assert!(matches!(end, Err(ProgressError::LeaseLost)), "{end:?}");
        }
        let again = operations.announce(&id, token(10), &new(TASK)).await;
        assert!(matches!(again, Err(ProgressError::LeaseLost)), "{again:?}");

        let snapshot = operations.snapshot(&id).await.unwrap().unwrap();
        assert_eq!((snapshot.state, snapshot.percent), (OperationState::Running, 0.0));
        assert_eq!(snapshot.steps[0].state.as_str(), "pending", "what ran under the lost lease begins again");
    })
    .await;
}

#[tokio::test]
async fn the_first_report_of_a_task_creates_its_operation() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let id = id("exports.2-0a0b0c0d");
    let report = updates(r#"{"step":"list","state":"running","message":"listing"}"#);

    let unknown = operations.update(&id, Some(token(5)), &report).await;
    let standing = operations.report(&id, token(5), &report, &new(TASK)).await.unwrap();
    operations.report(&id, token(6), &report, &new(TASK)).await.unwrap();
    let zombie = operations.report(&id, token(5), &report, &new(TASK)).await;

    assert!(matches!(unknown, Err(ProgressError::NotFound)));
    assert_eq!(standing.state, OperationState::Running);
    assert!(matches!(zombie, Err(ProgressError::LeaseLost)));
    let snapshot = operations.snapshot(&id).await.unwrap().unwrap();
    assert_eq!((snapshot.title.as_deref(), snapshot.steps.len()), (Some("Export"), 1));
}

#[tokio::test]
async fn a_task_that_is_retried_by_hand_begins_a_new_life() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let id = id("exports.3-0a0b0c0d");
    let first = operations.announce(&id, token(5), &new(TASK)).await.unwrap();
    operations.end(&id, Some(token(5)), Ending::Failed, &LastWords::default()).await.unwrap();

    let late = operations.report(&id, token(5), &updates(r#"{"message":"x"}"#), &new(TASK)).await;
    let second = operations.announce(&id, token(6), &new(TASK)).await.unwrap();

    assert!(matches!(late, Err(ProgressError::Finished(OperationState::Failed))), "{late:?}");
    assert_eq!(second.state, OperationState::Running);
    assert_ne!(first.cursor.split_once('.').unwrap().0, second.cursor.split_once('.').unwrap().0);
    assert_eq!(redis.cli(&["PTTL", "progress:{exports.3-0a0b0c0d}:state"]).await, "-1");
}

#[tokio::test]
async fn an_operation_created_before_its_lease_is_fenced_by_it() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    let id = id("exports.4-0a0b0c0d");
    let created = operations.create(&new(r#"{"id":"exports.4-0a0b0c0d","open_steps":true}"#)).await.unwrap();

    let announced = operations.announce(&id, token(9), &new(TASK)).await.unwrap();
    let repeat = operations.announce(&id, token(9), &new(TASK)).await.unwrap();

    assert_eq!((created.state, announced.state), (OperationState::Pending, OperationState::Running));
    assert_eq!(announced, repeat);
    let unfenced = operations.update(&id, None, &updates(r#"{"message":"x"}"#)).await;
    assert!(matches!(unfenced, Err(ProgressError::LeaseLost)));
}
