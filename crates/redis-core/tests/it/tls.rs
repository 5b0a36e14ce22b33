//! TLS to Redis, and secrets that change while we run.
#![expect(clippy::unwrap_used, reason = "a helper of a test may, as the test itself")]

use crate::support::{LONG, connections, counter};
use redis_core::{Hint, Redis, RedisConfig, RedisError, RedisTls};
use std::path::Path;
use tempfile::TempDir;
use testkit::{Authority, RedisOptions, RedisServer, until};

fn folder_with(authority: &Authority) -> (TempDir, RedisTls) {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.crt");
    std::fs::write(&ca_file, authority.certificate_pem()).unwrap();
    (folder, RedisTls { ca_file: Some(ca_file), ..RedisTls::default() })
}

fn with_client_certificate(tls: RedisTls, authority: &Authority, folder: &Path) -> RedisTls {
    let (cert, key) = authority.issue(&["client"]).write(folder, "client");
    RedisTls { cert_file: Some(cert), key_file: Some(key), ..tls }
}

fn connect(url: String, tls: &RedisTls) -> Redis {
    Redis::connect(&RedisConfig { tls: tls.clone(), ..RedisConfig::at(url) })
}

/// Both kinds of connection: the one for commands, and the one that listens.
async fn works(redis: &Redis) {
    redis.ping(LONG).await.unwrap();
    let channel = redis.channel("c:{a}");
    let mut subscription = redis.subscribe(&channel).await.unwrap();
    redis.publish(&channel, "hello").await.unwrap();
    while subscription.recv().await != Hint::Message("hello".into()) {}
}

#[tokio::test]
async fn redis_is_reached_by_tls_when_the_url_says_so() {
    let authority = Authority::new();
    let (_folder, tls) = folder_with(&authority);
    for cluster in [false, true] {
        let options = RedisOptions { cluster, ..RedisOptions::default() };
        let server = RedisServer::with_tls(options, &authority, false).await;
        let url = server.tls_url();
        let url = if cluster { url.replace("rediss", "rediss-cluster") } else { url };
        works(&connect(url.clone(), &tls)).await;
        works(&connect(url.replace("127.0.0.1", "localhost"), &tls)).await;
    }
}

#[tokio::test]
async fn a_server_with_the_certificate_of_another_authority_or_name_is_not_trusted() {
    let authority = Authority::new();
    let server = RedisServer::with_tls(RedisOptions::default(), &authority, false).await;
    let (_other, others) = folder_with(&Authority::new());
    let (_folder, ours) = folder_with(&authority);
    for (url, tls) in [
        (server.tls_url(), &others),
        (server.tls_url(), &RedisTls::default()),
        // Every name that ends so is this machine, and none of them is in the certificate.
        (server.tls_url().replace("127.0.0.1", "other.localhost"), &ours),
    ] {
        let redis = connect(url, tls);
        assert!(redis.ping(LONG).await.is_err());
        assert!(redis.subscribe(&redis.channel("c:{a}")).await.is_err());
    }
}

#[tokio::test]
async fn a_server_that_asks_for_certificates_gets_ours() {
    let authority = Authority::new();
    let server = RedisServer::with_tls(RedisOptions::default(), &authority, true).await;
    let (folder, tls) = folder_with(&authority);

    assert!(connect(server.tls_url(), &tls).ping(LONG).await.is_err());
    let tls = with_client_certificate(tls, &authority, folder.path());
    works(&connect(server.tls_url(), &tls)).await;
}

#[tokio::test]
async fn new_connections_use_new_certificates_and_bad_files_leave_the_old_ones() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = RedisServer::with_tls(RedisOptions::default(), &first, true).await;
    let (folder, tls) = folder_with(&first);
    let tls = with_client_certificate(tls, &first, folder.path());
    let redis = connect(server.tls_url(), &tls);
    redis.ping(LONG).await.unwrap();

    // Half written: what was good holds on, also for new connections.
    std::fs::write(tls.key_file.as_ref().unwrap(), "half a k").unwrap();
    let before = connections(&server).await;
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    until(async || redis.ping(LONG).await.is_ok(), LONG).await;
    assert!(connections(&server).await > before + 1, "by a new connection");

    // The server changes its authority, and we ours; the connection that is goes on.
    let settings = ["tls-ca-cert-file", "tls-cert-file", "tls-key-file"];
    std::fs::write(server.folder().join("authority.crt"), second.certificate_pem()).unwrap();
    second.issue(&["127.0.0.1"]).write(server.folder(), "server");
    for (setting, file) in settings.into_iter().zip(["authority.crt", "server.crt", "server.key"]) {
        let path = server.folder().join(file).display().to_string();
        assert_eq!(server.cli(&["CONFIG", "SET", setting, &path]).await, "OK");
    }
    redis.ping(LONG).await.unwrap();
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    until(async || redis.ping(LONG).await.is_err(), LONG).await;

    std::fs::write(tls.ca_file.as_ref().unwrap(), second.certificate_pem()).unwrap();
    second.issue(&["client"]).write(folder.path(), "client");
    until(async || redis.ping(LONG).await.is_ok(), LONG).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_said() {
    let authority = Authority::new();
    let server = RedisServer::with_tls(RedisOptions::default(), &authority, false).await;
    let (folder, good) = folder_with(&authority);
    let full = with_client_certificate(good.clone(), &authority, folder.path());
    let other_key = authority.issue(&["other"]).write(folder.path(), "other").1;
    let missing = Some(folder.path().join("missing"));
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    for (tls, says) in [
        (RedisTls { ca_file: missing, ..good.clone() }, "redis.tls.ca_file"),
        (RedisTls { ca_file: Some(empty), ..good.clone() }, "holds no certificate"),
        (RedisTls { key_file: None, ..full.clone() }, "redis.tls.key_file"),
        (RedisTls { cert_file: None, ..full.clone() }, "redis.tls.cert_file"),
        (RedisTls { key_file: Some(other_key), ..full }, "redis.tls.key_file"),
    ] {
        let redis = connect(server.tls_url(), &tls);
        let Err(RedisError::Reply(error)) = redis.ping(LONG).await else { panic!("{tls:?} is taken") };
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[tokio::test]
async fn a_password_in_a_file_may_change_while_we_run() {
    let server = RedisServer::start().await;
    server.cli(&["ACL", "SETUSER", "worker", "on", ">one", "~*", "&*", "+@all"]).await;
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "one\n").unwrap();
    let redis = Redis::connect(&RedisConfig {
        username: Some("worker".to_owned()),
        password_file: Some(password_file.clone()),
        ..RedisConfig::at(server.url())
    });
    redis.command("INCR", &counter(&redis), vec![]).await.unwrap();

    server.cli(&["ACL", "SETUSER", "worker", "resetpass", ">two"]).await;
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    let refused = async || matches!(redis.ping(LONG).await, Err(RedisError::Reply(text)) if text.starts_with("WRONGPASS"));
    until(refused, LONG).await;
    std::fs::write(&password_file, "two\n").unwrap();
    until(async || redis.ping(LONG).await.is_ok(), LONG).await;
}

#[tokio::test]
async fn a_refused_password_is_not_tried_over_and_over() {
    let server = RedisServer::start().await;
    server.cli(&["CONFIG", "SET", "requirepass", "right"]).await;
    let config = RedisConfig { password: Some("wrong".to_owned().into()), ..RedisConfig::at(server.url()) };
    let redis = Redis::connect(&config);
    for _ in 0..1_000 {
        assert!(matches!(redis.ping(LONG).await, Err(RedisError::Reply(_))));
    }
    assert!(matches!(redis.subscribe(&redis.channel("c:{a}")).await, Err(RedisError::Reply(_))));

    let admin = Redis::connect(&RedisConfig { password: Some("right".to_owned().into()), ..config });
    let stats = admin.info(&["stats"]).await.unwrap().remove(0);
    let tried = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    assert!(tried.parse::<u64>().unwrap() < 40, "{tried} connections for 1,000 calls");
}
