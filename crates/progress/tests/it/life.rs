//! What may follow what: the pure functions and the scripts agree on every pair.

use crate::support::{create, id, new, operations, token, updates, watch};
use domain::progress::LastWords;
use domain::{OperationState, StepState};
use progress::{Change, Ending, Event, Hub, HubSettings, ProgressError, after};
use testkit::{RedisServer, both};

/// What brings a fresh step into a state.
fn into(state: StepState) -> Option<&'static str> {
    match state {
        StepState::Pending => None,
        StepState::Running => Some("running"),
        StepState::Completed => Some("completed"),
        StepState::Failed => Some("failed"),
        StepState::Skipped => Some("skipped"),
    }
}

#[tokio::test]
async fn steps_move_in_lua_as_in_rust() {
    both(async |redis| {
        let operations = operations(&redis.url());
        for state in StepState::ALL {
            for change in Change::ALL {
                let id = create(&operations, r#"{"steps":[{"name":"s"}]}"#).await;
                if let Some(word) = into(state) {
                    let there = updates(&format!(r#"{{"step":"s","state":"{word}"}}"#));
                    operations.update(&id, None, &there).await.unwrap();
                }
                let say = match change {
                    Change::Reset => r#""state":"pending""#,
                    Change::Started => r#""state":"running""#,
                    Change::Progressed => r#""percent":30"#,
                    Change::Completed => r#""state":"completed""#,
                    Change::Failed => r#""state":"failed""#,
                    Change::Skipped => r#""state":"skipped""#,
                };

                let applied =
                    operations.update(&id, None, &updates(&format!(r#"{{"step":"s",{say}}}"#))).await;

                let now = operations.snapshot(&id).await.unwrap().unwrap().steps[0].state;
                match change.on(state) {
                    Ok(after) => {
                        applied.unwrap();
                        assert_eq!(now, after, "{state} {change:?}");
                    }
                    Err(illegal) => {
                        let source = match applied {
                            Err(ProgressError::Illegal { source, .. }) => source,
                            other => panic!("{state} {change:?}: {other:?}"),
                        };
                        assert_eq!((source, now), (illegal, state));
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn operations_move_in_lua_as_in_rust() {
    let redis = RedisServer::start().await;
    let (operations, clock) = crate::support::with_clock(&redis.url());
    let events = [Event::Announced, Event::Reported, Event::Overdue]
        .into_iter()
        .chain(Ending::ALL.into_iter().map(Event::Ended));
    for event in events {
        for state in OperationState::ALL {
            let id = create(&operations, "{}").await;
            match state {
                OperationState::Pending => {}
                OperationState::Running => {
                    operations.update(&id, None, &updates(r#"{"percent":1}"#)).await.map(drop).unwrap();
                }
                ended => {
                    let ending = Ending::ALL.into_iter().find(|ending| ending.state() == ended).unwrap();
                    operations.end(&id, None, ending, &LastWords::default()).await.map(drop).unwrap();
                }
            }
            let epoch = |cursor: &str| cursor.split_once('.').unwrap().0.to_owned();
            let life = epoch(&operations.snapshot(&id).await.unwrap().unwrap().cursor);

            let applied = match event {
                Event::Announced => operations.announce(&id, token(7), &new("{}")).await.is_ok(),
                Event::Reported => operations.update(&id, None, &updates(r#"{"percent":2}"#)).await.is_ok(),
                Event::Ended(ending) => {
                    operations.end(&id, None, ending, &LastWords::default()).await.is_ok()
                }
                Event::Overdue => {
                    clock.advance(crate::support::DAY);
                    for shard in 0..progress::SHARDS {
                        operations.expire(shard).await.unwrap();
                    }
                    true
                }
            };

            let now = operations.snapshot(&id).await.unwrap().unwrap();
            match after(state, event) {
                Some(after) => assert_eq!((applied, now.state), (true, after), "{state} {event:?}"),
                // A new lease of what has ended begins a new life instead.
                None if event == Event::Announced => assert_ne!(epoch(&now.cursor), life),
                None => assert_eq!(
                    (applied && event != Event::Overdue, now.state),
                    (false, state),
                    "{state} {event:?}"
                ),
            }
        }
    }
}

#[tokio::test]
async fn the_end_of_an_operation_ends_its_running_steps_and_says_so() {
    let redis = RedisServer::start().await;
    let operations = operations(&redis.url());
    for (ending, step) in
        [(Ending::Completed, "completed"), (Ending::Failed, "failed"), (Ending::Cancelled, "skipped")]
    {
        let id = create(&operations, r#"{"steps":[{"name":"done"},{"name":"runs"},{"name":"waits"}]}"#).await;
        let hub = Hub::new(operations.clone(), HubSettings::default());
        let start = r#"[{"step":"done","state":"completed"},{"step":"runs","percent":40}]"#;
        operations.update(&id, None, &updates(start)).await.unwrap();
        let cursor = operations.snapshot(&id).await.unwrap().unwrap().cursor;
        let mut watcher = watch(&hub, &id, Some(&cursor)).await;

        operations.end(&id, None, ending, &LastWords::default()).await.unwrap();

        let seen = crate::support::rest(&mut watcher).await;
        let kinds: Vec<&str> = seen.iter().map(|seen| seen.kind.as_str()).collect();
        assert_eq!(kinds, ["step", ending.as_str()]);
        assert_eq!(seen[0].data["step"]["name"], "runs");
        let steps = operations.snapshot(&id).await.unwrap().unwrap().steps;
        let states: Vec<&str> = steps.iter().map(|step| step.state.as_str()).collect();
        assert_eq!(states, ["completed", step, "pending"], "{ending:?}");
    }
    assert!(operations.snapshot(&id("nobody")).await.unwrap().is_none());
}
