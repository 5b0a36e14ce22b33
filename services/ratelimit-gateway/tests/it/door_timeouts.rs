//! Nobody is waited for without an end.

use crate::door_support::{Door, Upstream, expect_problem, within};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

#[tokio::test]
async fn a_head_that_does_not_end_is_answered_with_408() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.head_timeout_ms", "50")]).await;

    let mut client = door.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    expect_problem(&mut client, 408).await;
    assert_eq!(client.rest().await, "");
    // Silence from the beginning is closed without a word.
    assert_eq!(door.connect().await.rest().await, "");
}

#[tokio::test]
async fn a_connection_that_idles_too_long_is_closed() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.keep_alive_ms", "50")]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.answer("ok").await;
    client.message().await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_answered_with_408_and_cut_upstream() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("idle_ms", "50")]).await;
    let mut client = door.connect().await;

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345").await;
    let (mut served, _) = upstream.request().await;
    expect_problem(&mut client, 408).await;
    assert_eq!(client.rest().await, "");
    assert_eq!(served.rest().await, "12345");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_a_504() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("head_ms", "50")]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    expect_problem(&mut client, 504).await;
    assert_eq!(served.rest().await, "", "the request is not left running");

    // The time begins with the last byte of the body.
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
    let (mut served, _) = upstream.request().await;
    expect_problem(&mut client, 504).await;
    assert_eq!(served.rest().await, "hi");
}

#[tokio::test]
async fn an_answer_that_stops_is_cut() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("idle_ms", "50")]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345").await;
    client.head().await;
    assert_eq!(client.rest().await, "12345");
    assert_eq!(served.rest().await, "");
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("idle_ms", "50")]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.rest().await, "");
    assert_eq!(served.rest().await, "");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.write_timeout_ms", "50")]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
    // More than all buffers on the way hold; it ends only because the gateway gives up.
    let chunk = vec![b'x'; 1024 * 1024];
    within(async { while served.stream.write_all(&chunk).await.is_ok() {} }).await;
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_of_a_body_is_a_504() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("idle_ms", "50")]).await;
    let mut client = door.connect().await;

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n").await;
    let (_served, _) = upstream.request().await;
    // More than all buffers on the way hold; it ends only because the gateway gives up.
    let chunk = vec![b'x'; 1024 * 1024];
    within(async { while client.stream.write_all(&chunk).await.is_ok() {} }).await;
    assert!(client.rest().await.starts_with("HTTP/1.1 504 "));
}

#[tokio::test]
async fn a_long_request_is_not_idle() {
    let upstream = Upstream::listen().await;
    let door =
        Door::with(&[upstream.port()], &[("door.keep_alive_ms", "20"), ("door.head_timeout_ms", "20")]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    // Another connection idles out meanwhile, twice as long.
    for _ in 0..2 {
        assert_eq!(door.connect().await.rest().await, "");
    }
    served.answer("ok").await;
    assert_eq!(client.message().await.1, "ok");
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_a_504() {
    // A backlog that is full: the kernel answers no further connection.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    let door = Door::with(&[address.port()], &[("connect_ms", "50")]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    expect_problem(&mut client, 504).await;
}
