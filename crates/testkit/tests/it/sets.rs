//! Sets of servers that stand in for each other.

use std::time::Duration;

use testkit::{Authority, Cluster, RedisOptions, RedisServer, Watched, until};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_cluster_hands_slots_over_and_survives_the_loss_of_a_primary() {
    let mut cluster = Cluster::start().await;
    assert_eq!((cluster.owner(0).await, cluster.owner(16_383).await), (0, 2));

    cluster.fail_over(0).await;
    until(async || cluster.owner(0).await == 3, SOON).await;

    cluster.node_mut(1).kill();
    let slot = 16_384 / 2;
    until(async || cluster.owner(slot).await == 4, SOON).await;
}

#[tokio::test]
async fn a_slot_of_a_cluster_moves_with_its_keys() {
    let cluster = Cluster::start().await;
    let slot = cluster.slot("{a}1").await;
    let from = cluster.owner(slot).await;
    let to = (from + 1) % 3;
    for key in ["{a}1", "{a}2"] {
        cluster.node(from).cli(&["SET", key, "x"]).await;
    }

    cluster.begin_migration(slot, to).await;
    let asked = cluster.node(from).cli(&["GET", "{a}3"]).await;
    assert!(asked.starts_with("ASK "), "{asked}");
    cluster.migrate_keys(slot, to).await;
    cluster.end_migration(slot, to).await;

    assert_eq!(cluster.owner(slot).await, to);
    assert_eq!(cluster.node(to).cli(&["GET", "{a}2"]).await, "x");
}

#[tokio::test]
async fn sentinels_replace_a_primary_by_order_and_by_need() {
    let mut watched = Watched::start().await;
    watched.fail_over().await;
    let primary = watched.primary().await;
    assert_ne!(primary, 0);

    watched.server_mut(primary).kill();
    until(async || watched.primary().await != primary, SOON).await;
}

#[tokio::test]
async fn a_server_with_tls_has_a_certificate_of_the_authority() {
    let authority = Authority::new();
    let server = RedisServer::with_tls(RedisOptions::default(), &authority, false).await;
    let certificate = reqwest::Certificate::from_pem(authority.certificate_pem().as_bytes()).unwrap();
    let trusting = reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap();
    let asked = trusting.get(format!("https://localhost:{}", server.tls_port())).send().await;

    // Redis closes on whom speaks HTTP to it, but only after the handshake.
    let error = format!("{:?}", asked.unwrap_err());
    assert!(!error.to_lowercase().contains("certificate"), "{error}");
}
