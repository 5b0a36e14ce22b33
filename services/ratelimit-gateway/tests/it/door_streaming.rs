//! Bodies of any length pass without being kept.

use crate::door_support::{Door, Upstream, Wire, field, within};
use std::fs::read_to_string;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn the_upstream_sees_the_first_byte_before_the_client_sent_the_last() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    let (mut served, head) = upstream.request().await;
    assert!(served.until("first\r\n").await.starts_with("5\r\n"), "{head}");
    client.send("4\r\nlast\r\n0\r\n\r\n").await;
    served.until("4\r\nlast\r\n0\r\n\r\n").await;

    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    client.until("5\r\nfirst\r\n").await;
    served.send("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn an_answer_may_come_while_the_request_is_still_sent() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    client.until("3\r\none\r\n").await;
    client.send("67890").await;
    assert_eq!(served.exactly(10).await, "1234567890");
    served.send("3\r\ntwo\r\n0\r\n\r\n").await;
    client.until("3\r\ntwo\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn an_upload_of_200_mb_grows_the_process_by_less_than_20_mb() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let before = warmed_up(&door, &upstream).await;
    let mut client = door.connect().await;

    client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 200 * MB)).await;
    let (mut served, head) = upstream.request().await;
    assert_eq!(field(&head, "content-length"), Some((200 * MB).to_string()));
    let Wire { stream, .. } = &mut client;
    tokio::join!(pour(stream, 200), drain(&mut served.stream, 200 * MB));

    grew_little("upload", &door, before);
}

#[tokio::test]
async fn a_stream_of_events_of_200_mb_grows_the_process_by_less_than_20_mb() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let before = warmed_up(&door, &upstream).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
    assert!(client.head().await.contains("text/event-stream"));
    tokio::join!(pour(&mut served.stream, 200), drain(&mut client.stream, 200 * MB));

    grew_little("stream", &door, before);
}

/// Peak memory after some ordinary requests.
async fn warmed_up(door: &Door, upstream: &Upstream) -> u64 {
    let mut client = door.connect().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    client.rest().await;
    peak_kb(door)
}

fn grew_little(what: &str, door: &Door, before: u64) {
    let grown = peak_kb(door) - before;
    assert!(grown < 20 * 1024, "{what}: grown by {grown} kB");
}

/// The most memory that the process ever had in use.
fn peak_kb(door: &Door) -> u64 {
    let status = read_to_string(format!("/proc/{}/status", door.service.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn pour(stream: &mut tokio::net::TcpStream, megabytes: usize) {
    let chunk = vec![b'x'; MB];
    for _ in 0..megabytes {
        within(stream.write_all(&chunk)).await.unwrap();
    }
}

async fn drain(stream: &mut tokio::net::TcpStream, bytes: usize) {
    let (mut chunk, mut seen) = (vec![0; 256 * 1024], 0);
    while seen < bytes {
        let count = within(stream.read(&mut chunk)).await.unwrap();
        assert!(count > 0, "ended after {seen} bytes");
        seen += count;
    }
}

const MB: usize = 1024 * 1024;
