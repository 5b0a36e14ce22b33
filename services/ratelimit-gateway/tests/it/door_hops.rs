//! What concerns one hop stays there; the rest passes as it came.

use crate::door_support::{Door, Upstream, expect_problem, field};

#[tokio::test]
async fn fields_of_one_hop_stay_behind_and_the_way_is_noted() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client
        .send("GET /a HTTP/1.1\r\nHost: api.example\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: deflate\r\nX-Kept: 2\r\nVia: 1.0 before\r\n\r\n")
        .await;
    let (mut served, head) = upstream.request().await;
    for name in ["connection", "x-hop", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(field(&head, name), None, "{name}");
    }
    assert_eq!(field(&head, "host").as_deref(), Some("api.example"));
    assert_eq!(field(&head, "x-kept").as_deref(), Some("2"));
    assert_eq!(field(&head, "via").as_deref(), Some("1.0 before, 1.1 sluice"));

    served
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 2\r\n\r\nok")
        .await;
    let (head, _) = client.message().await;
    for name in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(field(&head, name), None, "{name}");
    }
    assert_eq!(field(&head, "x-kept").as_deref(), Some("2"));
    assert_eq!(field(&head, "via").as_deref(), Some("1.1 sluice"));
}

#[tokio::test]
async fn the_target_is_forwarded_byte_for_byte() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    let mut served = None;
    for (sent, expected) in [
        ("/a%3Fb//c/../d/./%7e?x=%2F&y={\\}|^`", "/a%3Fb//c/../d/./%7e?x=%2F&y={\\}|^`"),
        ("/?", "/?"),
        ("http://a/b?c", "/b?c"),
        ("http://a", "/"),
    ] {
        client.send(format!("GET {sent} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let wire = match &mut served {
            Some(wire) => wire,
            none => none.insert(upstream.accept().await),
        };
        assert_eq!(wire.head().await.lines().next(), Some(&*format!("GET {expected} HTTP/1.1")));
        wire.answer("ok").await;
        client.message().await;
    }
}

#[tokio::test]
async fn max_forwards_ends_here_or_is_counted_down() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 204 "));
    client.send("TRACE /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n").await;
    expect_problem(&mut client, 501).await;
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\n\r\n").await;
    let (mut served, head) = upstream.request().await;
    assert!(head.starts_with("OPTIONS * HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "max-forwards").as_deref(), Some("1"));
    served.answer("").await;
    client.message().await;
}
