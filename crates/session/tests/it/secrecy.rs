//! What somebody learns who reads all of Redis.

use crate::support::{ada, attributes, turned};
use serde_json::json;
use testkit::RedisServer;

/// Every key with its raw bytes, as text whatever they are.
async fn dump(server: &RedisServer) -> String {
    let mut text = String::new();
    for key in server.cli(&["KEYS", "*"]).await.lines() {
        let value = match server.cli(&["TYPE", key]).await.as_str() {
            "string" => server.cli(&["GET", key]).await,
            _ => server.cli(&["ZRANGE", key, "0", "-1", "WITHSCORES"]).await,
        };
        text.push_str(&format!("{key}\n{value}\n"));
    }
    text
}

#[tokio::test]
async fn a_dump_holds_no_token_no_user_and_no_attribute() {
    let server = RedisServer::start().await;
    let (sessions, _) = turned(&server);
    let user = "ada-lovelace@example.com".parse().unwrap();
    let secret = attributes(json!({ "diagnosis": "confidential", "role": "administrator" }));
    let (token, _) = sessions.create(&user, secret.clone(), None).await.unwrap();
    sessions.patch(&token, &attributes(json!({ "note": "whispered" })), None).await.unwrap();
    let (next, _) = sessions.rotate(&token).await.unwrap();

    let dump = dump(&server).await;
    assert!(dump.matches("session:{").count() >= 2, "{dump}");
    let texts = [token.expose(), next.expose()];
    let secrets = texts.iter().map(|text| text.split_once('.').unwrap().1);
    for hidden in secrets.chain([
        "ada-lovelace",
        "example.com",
        "diagnosis",
        "confidential",
        "administrator",
        "whispered",
    ]) {
        assert!(!dump.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn what_was_altered_in_redis_opens_for_nobody() {
    let server = RedisServer::start().await;
    let (sessions, _) = turned(&server);
    let (token, session) =
        sessions.create(&ada(), attributes(json!({ "role": "user" })), None).await.unwrap();
    let other = sessions.create(&ada(), attributes(json!({ "role": "admin" })), None).await.unwrap().1;
    let key = async |id: &session::SessionId| server.cli(&["KEYS", &format!("*{id}")]).await;
    let (own, foreign) = (key(&session.id).await, key(&other.id).await);

    // The content of another session under this one's name.
    server.cli(&["COPY", &foreign, &own, "REPLACE"]).await;
    assert!(sessions.validate(&token).await.is_err());

    // A longer life than it was made with: the absolute end is sealed with it.
    let (token, session) = sessions.create(&ada(), attributes(json!({})), None).await.unwrap();
    let own = key(&session.id).await;
    server.cli(&["SETRANGE", &own, "23", "zzzzz"]).await;
    assert!(sessions.validate(&token).await.is_err());
}
