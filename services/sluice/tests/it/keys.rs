//! API keys as a person makes and takes them away.

use reqwest::StatusCode;
use testkit::{Client, RedisServer, until};

use crate::support::{SOON, Stack};

async fn health(client: &Client) -> StatusCode {
    client.get("/health").send().await.unwrap().status()
}

#[tokio::test]
async fn a_key_works_within_seconds_and_is_refused_within_seconds_of_its_end() {
    let stack = Stack::new().with("SLUICE__AUTH__LAST_USE_MS", "50");
    let mut up = stack.up().await;

    let made = stack.command(&["keys", "create", "ops", "--scope", "ops:read", "--expires-in-days", "1"]);
    let client = stack.cache().with_key(made.out.trim());
    until(|| async { health(&client).await == StatusCode::OK }, SOON).await;
    let list = stack.command(&["keys", "list"]).out;
    assert!(list.contains("\nops ") && list.contains("ops:read"), "{list}");
    assert!(!list.contains(made.out.trim()), "a secret is printed once");
    // To the minute, and the clock may be at its end.
    let used = || {
        stack
            .command(&["keys", "list"])
            .out
            .lines()
            .any(|line| line.starts_with("ops ") && line.matches("Z  ").count() == 2)
    };
    until(async || used(), SOON).await;

    assert_eq!(stack.command(&["keys", "revoke", "ops"]).code, 0);
    // 401, or 429 once it was tried too often.
    until(|| async { health(&client).await.is_client_error() }, SOON).await;
    assert_eq!(health(&stack.cache()).await, StatusCode::OK, "the first key stays");
    assert_eq!(up.stop().await, 0);
}

#[tokio::test]
async fn a_wrong_scope_a_taken_id_and_an_unknown_id_are_told() {
    let stack = Stack::new();
    let mut up = stack.up().await;
    let create = |id: &str, scope: &str| stack.command(&["keys", "create", id, "--scope", scope]);

    assert_eq!(create("ci", "cache:read@acme-*").code, 0);
    for (said, what) in [
        (create("ci", "*"), "a key with the id `ci` exists"),
        (create("other", "root"), "root"),
        (create("No Good", "*"), "a-z"),
        (stack.command(&["keys", "revoke", "other"]), "there is no key with the id `other`"),
    ] {
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        assert!(said.errors.contains(what), "{said:?}");
    }
    assert_eq!(up.stop().await, 0);
}

/// As compose's one-shot container calls it: no stack here, and the user of Redis who manages keys.
#[tokio::test]
async fn without_a_stack_here_the_configured_redis_has_them() {
    let redis = RedisServer::start().await;
    let stack = Stack::new()
        .with("SLUICE__REDIS__URL", &redis.url())
        .with("SLUICE__REDIS__USERNAME", "keys")
        .with("SLUICE__REDIS__PASSWORD", "any");

    let made = stack.command(&["keys", "create", "ci", "--scope", "*"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.out.starts_with("sk_ci_"), "{made:?}");
    assert!(stack.command(&["keys", "list"]).out.contains("\nci "));
    assert_eq!(stack.command(&["keys", "revoke", "ci"]).code, 0);
}
