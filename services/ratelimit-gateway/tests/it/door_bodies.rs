//! Trailers, `Expect: 100-continue`, and bodies that break off.

use crate::door_support::{Door, Upstream, expect_problem, field};
use crate::support::{Gateway, all, policy};

#[tokio::test]
async fn trailers_pass_both_ways() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client
        .send("POST /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        .await;
    client.send("2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n").await;
    let (mut served, head) = upstream.request().await;
    assert_eq!(field(&head, "te").as_deref(), Some("trailers"));
    assert_eq!(served.until("\r\n\r\n").await.to_lowercase(), "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");

    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n2\r\nok\r\n0\r\nX-End: 2\r\n\r\n").await;
    client.head().await;
    assert_eq!(client.until("\r\n\r\n").await.to_lowercase(), "2\r\nok\r\n0\r\nx-end: 2\r\n\r\n");
}

const EXPECTING: &str = "HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n";

#[tokio::test]
async fn a_request_that_may_not_pass_gets_its_answer_and_no_100() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send(format!("POST /a {}", EXPECTING.replace("Host: a", "Host: nowhere"))).await;
    let head = expect_problem(&mut client, 404).await;
    assert_eq!(field(&head, "connection").as_deref(), Some("close"));
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_request_over_its_limit_gets_its_answer_and_no_100() {
    let gateway = Gateway::start(&(policy("p", "[\"ip\"]", 1, "1h") + &all("policies = [\"p\"]"))).await;
    assert_eq!(gateway.status("/", &[]).await, 200);

    // Also not to throw a small body away.
    for length in ["1000000000", "2"] {
        let mut client = gateway.connect().await;
        client.send(format!("POST /a {}", EXPECTING.replace("1000000000", length))).await;
        let head = expect_problem(&mut client, 429).await;
        assert_eq!(field(&head, "connection").as_deref(), Some("close"));
        assert!(field(&head, "retry-after").is_some(), "{head}");
        assert_eq!(client.rest().await, "", "{length}");
    }
}

#[tokio::test]
async fn a_final_answer_in_place_of_the_100_is_relayed_and_ends_the_connection() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send(format!("POST /a {EXPECTING}")).await;
    let (mut served, head) = upstream.request().await;
    assert_eq!(field(&head, "expect").as_deref(), Some("100-continue"));
    served.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig").await;

    let (head, body) = client.message().await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!((field(&head, "connection").as_deref(), &*body), (Some("close"), "big"));
    assert_eq!(client.rest().await, "");
    assert_eq!(served.rest().await, "", "the connection whose request was cut is not kept");
}

#[tokio::test]
async fn a_100_comes_only_after_the_upstreams() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.expect_wait_ms", "86400000")]).await;
    let mut client = door.connect().await;

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    assert_eq!(served.exactly(2).await, "hi");
    served.answer("ok").await;
    assert_eq!(client.message().await.1, "ok");
}

#[tokio::test]
async fn an_upstream_that_knows_no_100_gets_the_body_all_the_same() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.expect_wait_ms", "1")]).await;
    let mut client = door.connect().await;

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hi").await;
    assert_eq!(served.exactly(2).await, "hi");
    served.answer("ok").await;
    assert_eq!(client.message().await.1, "ok");
}

#[tokio::test]
async fn a_malformed_chunk_is_answered_and_cuts_the_upstreams_request() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    client.send("2\r\nhi\r\n0x1\r\n!\r\n0\r\n\r\n").await;

    expect_problem(&mut client, 400).await;
    assert_eq!(client.rest().await, "");
    assert!(!served.rest().await.ends_with("0\r\n\r\n"), "the request was ended as if it were whole");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    drop(client);
    assert_eq!(served.rest().await, "");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_whole_answer() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    client.until("first\r\n").await;
    drop(served);
    assert_eq!(client.rest().await, "");

    let mut client = door.connect().await;
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    drop(upstream.request().await);
    expect_problem(&mut client, 502).await;
}

#[tokio::test]
async fn an_answer_to_head_keeps_its_length_and_has_no_body() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.workers", "1")]).await;
    let mut client = door.connect().await;

    client.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n").await;
    assert_eq!(field(&client.head().await, "content-length").as_deref(), Some("77"));

    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(served.head().await.starts_with("GET /b "), "the connection was kept");
    served.answer("ok").await;
    assert_eq!(client.message().await.1, "ok");
}

#[tokio::test]
async fn an_answer_that_says_its_length_in_two_ways_is_framed_once() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served
        .send(
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        )
        .await;
    let head = client.head().await;
    assert_eq!(field(&head, "content-length"), None, "{head}");
    assert_eq!(client.until("0\r\n\r\n").await, "2\r\nok\r\n0\r\n\r\n");
}

#[tokio::test]
async fn an_answer_in_a_coding_of_its_own_is_a_502() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    expect_problem(&mut client, 502).await;
}

#[tokio::test]
async fn a_refused_request_with_a_small_body_keeps_its_connection() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send("POST /a HTTP/1.1\r\nHost: nowhere\r\nContent-Length: 5\r\n\r\nhe").await;
    client.send("llo").await;
    let head = expect_problem(&mut client, 404).await;
    assert_eq!(field(&head, "connection"), None);
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut served, _) = upstream.request().await;
    served.answer("ok").await;
    assert_eq!(client.message().await.1, "ok");

    client.send("POST /a HTTP/1.1\r\nHost: nowhere\r\nContent-Length: 100000\r\n\r\n").await;
    client.send("x".repeat(100_000)).await;
    let head = expect_problem(&mut client, 404).await;
    assert_eq!(field(&head, "connection").as_deref(), Some("close"));
    assert_eq!(client.rest().await, "");
}
