//! What is too much, and how the door closes.

use crate::door_support::{Door, Upstream, Wire, expect_problem, field, within};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn what_is_too_large_is_a_problem_and_reaches_nobody() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.body_bytes_max", "1000")]).await;

    let url = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192));
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(17_000));
    let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n".to_owned();
    for (bytes, status) in [(url, 414), (head, 431), (body, 413)] {
        let mut client = door.connect().await;
        client.send(bytes).await;
        expect_problem(&mut client, status).await;
        assert_eq!(client.rest().await, "", "{status}");
    }

    let mut client = door.connect().await;
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, head) = upstream.request().await;
    assert!(head.starts_with("GET /next "), "{head}");
    served.answer("ok").await;
    client.message().await;
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.body_bytes_max", "1000")]).await;
    let mut client = door.connect().await;

    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    client.send(format!("3e9\r\n{}\r\n", "a".repeat(1001))).await;
    expect_problem(&mut client, 413).await;
    assert!(!served.rest().await.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn beyond_the_bound_connections_wait_their_turn() {
    let upstream = Upstream::listen().await;
    let settings = [("door.connections_max", "1"), ("door.workers", "1")];
    let door = Door::with(&[upstream.port()], &settings).await;
    let mut first = door.connect().await;
    first.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;

    let mut second = door.connect().await;
    second.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    served.answer("ok").await;
    first.message().await;
    first.send("GET /3 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(served.head().await.starts_with("GET /3 "));
    served.answer("ok").await;
    first.message().await;
    drop(first);
    assert!(served.head().await.starts_with("GET /2 "));
    served.answer("ok").await;
    second.message().await;
}

#[tokio::test]
async fn an_address_with_as_many_connections_as_it_may_gets_no_other_unless_it_is_a_proxy_of_ours() {
    for (hops, served) in [("0", false), ("1", true)] {
        let upstream = Upstream::listen().await;
        let settings = [("door.connections_per_address_max", "1"), ("identity.trusted_hops", hops)];
        let door = Door::with(&[upstream.port()], &settings).await;
        // The one that waited for the door to listen may not have ended yet.
        let mut first = loop {
            let mut client = door.connect().await;
            if answered(&mut client).await {
                break client;
            }
        };

        assert_eq!(answered(&mut door.connect().await).await, served, "{hops} hops");
        assert!(answered(&mut first).await);
        drop(first);
        testkit::until(async || answered(&mut door.connect().await).await, LONG).await;
    }
}

/// Whether a request gets an answer, here one of the door itself.
async fn answered(client: &mut Wire) -> bool {
    let _ = client.stream.write_all(b"GET / HTTP/1.1\r\nHost: nowhere\r\n\r\n").await;
    match client.next_head().await {
        None => false,
        Some(head) => {
            let length = field(&head, "content-length").unwrap().parse().unwrap();
            client.exactly(length).await;
            head.starts_with("HTTP/1.1 404 ")
        }
    }
}

const LONG: std::time::Duration = std::time::Duration::from_secs(10);

#[tokio::test]
async fn a_stop_lets_requests_finish_and_ends_what_idles() {
    let upstream = Upstream::listen().await;
    let mut door = Door::to(&[upstream.port()]).await;
    let mut idle = door.connect().await;
    idle.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.answer("ok").await;
    idle.message().await;
    let mut busy = door.connect().await;
    busy.send("POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab").await;
    let mut served = match tokio::time::timeout(std::time::Duration::from_millis(200), served.head()).await {
        Ok(_) => served,
        Err(_) => upstream.request().await.0,
    };

    let port = door.service.port();
    let ended = tokio::join!(door.service.stop(), async {
        assert_eq!(idle.rest().await, "");
        testkit::until(
            async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err(),
            std::time::Duration::from_secs(60),
        )
        .await;
        within(busy.stream.write_all(b"cd")).await.unwrap();
        assert_eq!(served.exactly(4).await, "abcd");
        served.answer("done").await;
        let (head, body) = busy.message().await;
        assert_eq!(body, "done");
        assert!(head.contains("connection: close\r\n"), "{head}");
        assert_eq!(busy.rest().await, "");
    });
    assert_eq!(ended.0, 0);
}

#[tokio::test]
async fn the_door_stands_open_while_balancers_learn_that_it_will_shut() {
    let upstream = Upstream::listen().await;
    let hour = "3600000";
    let settings = [("http.stop_delay_ms", hour), ("http.grace_ms", hour), ("door.grace_ms", hour)];
    let mut door = Door::with(&[upstream.port()], &settings).await;
    let admin = testkit::Client::new(&door.service.admin_url());
    let mut client = door.connect().await;

    let asked = async {
        let ready = async || admin.get("/health/ready").send().await.unwrap().status() == 200;
        testkit::until(async || !ready().await, std::time::Duration::from_secs(60)).await;
        client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        upstream.request().await.0.answer("served").await;
        client.message().await
    };
    tokio::select! {
        code = door.service.stop() => panic!("it ended with {code}"),
        (_, body) = asked => assert_eq!(body, "served"),
    }
}

#[tokio::test]
async fn a_stop_takes_the_grace_time_in_all_and_nothing_of_it_for_longer_than_that() {
    let upstream = Upstream::listen().await;
    let settings = [("http.stop_delay_ms", "1500"), ("http.grace_ms", "2000"), ("door.grace_ms", "2000")];
    let mut door = Door::with(&[upstream.port()], &settings).await;
    let mut client = door.connect().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let _held = upstream.request().await;

    let asked = std::time::Instant::now();
    assert_eq!(door.service.stop().await, 0);
    let took = asked.elapsed().as_millis();
    assert!((1_900..3_400).contains(&took), "{took} ms: the delay is a part of the grace time");
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_the_grace_time() {
    let upstream = Upstream::listen().await;
    let mut door = Door::with(&[upstream.port()], &[("door.grace_ms", "50")]).await;
    let mut client = door.connect().await;
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let _held = upstream.request().await;

    assert_eq!(door.service.stop().await, 0);
    assert_eq!(client.rest().await, "");
}
