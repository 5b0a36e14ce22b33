//! WebSocket: a tunnel once the upstream agrees, and nothing of it when not.

use crate::door_support::{Door, Upstream, expect_problem, field};

/// As Firefox sends it.
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[tokio::test]
async fn a_websocket_is_a_tunnel_both_ways() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send(UPGRADE).await;
    let (mut served, head) = upstream.request().await;
    assert_eq!(field(&head, "upgrade").as_deref(), Some("websocket"));
    assert_eq!(field(&head, "connection").as_deref(), Some("upgrade"));
    assert_eq!(field(&head, "sec-websocket-key").as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    // The first frame right behind the head.
    served
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello")
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(field(&head, "connection").as_deref(), Some("upgrade"));
    assert_eq!(field(&head, "sec-websocket-accept").as_deref(), Some("x"));
    assert_eq!(client.exactly(5).await, "hello");

    client.send("\0\n\nGET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(served.exactly(21).await, "\0\n\nGET / HTTP/1.1\r\n\r\n");
    served.send("bye").await;
    drop(served);
    assert_eq!(client.rest().await, "bye");
}

#[tokio::test]
async fn after_a_refused_upgrade_the_tail_goes_nowhere() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.workers", "1")]).await;
    let mut client = door.connect().await;

    client.send(format!("{UPGRADE}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    let (mut served, _) = upstream.request().await;
    served.answer("no websocket here").await;

    let (head, body) = client.message().await;
    assert_eq!((field(&head, "connection").as_deref(), &*body), (Some("close"), "no websocket here"));
    assert_eq!(client.rest().await, "");
    let mut next = door.connect().await;
    next.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(served.head().await.starts_with("GET /next "), "the next thing that the upstream hears");
}

#[tokio::test]
async fn any_other_upgrade_is_refused() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;

    for upgrade in ["h2c", "websocket, h2c", "TLS/1.0"] {
        let mut client = door.connect().await;
        client
            .send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"))
            .await;
        expect_problem(&mut client, 501).await;
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn an_upstream_that_switches_unasked_is_a_502() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    expect_problem(&mut client, 502).await;
    assert_eq!(served.rest().await, "");
}
