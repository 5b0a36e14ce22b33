//! Connections to upstreams: kept, never reused after a cut, and chosen among several.

use crate::door_support::{Door, Upstream, Wire, expect_problem, within};
use tempfile::NamedTempFile;
use testkit::free_port;

async fn ask(client: &mut Wire, path: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.workers", "1")]).await;

    let mut client = door.connect().await;
    ask(&mut client, "/1").await;
    let (mut served, _) = upstream.request().await;
    served.answer("ok").await;
    client.message().await;

    let mut other = door.connect().await;
    ask(&mut other, "/2").await;
    assert!(served.head().await.starts_with("GET /2 "));
    served.answer("ok").await;
    other.message().await;
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closed_costs_no_request() {
    let upstream = Upstream::listen().await;
    let mut door = Door::with(&[upstream.port()], &[("door.workers", "1")]).await;
    let mut client = door.connect().await;
    ask(&mut client, "/1").await;
    let (mut served, _) = upstream.request().await;
    served.answer("ok").await;
    client.message().await;

    // The gateway finds both at once: the request, and behind it the end of the connection that it would take.
    door.service.pause();
    ask(&mut client, "/2").await;
    drop(served);
    door.service.resume();

    let (mut served, head) = upstream.request().await;
    assert!(head.starts_with("GET /2 "), "{head}");
    served.answer("ok").await;
    assert_eq!(client.message().await.1, "ok");
}

#[tokio::test]
async fn a_connection_whose_answer_was_cut_is_not_used_again() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.workers", "1")]).await;

    let mut client = door.connect().await;
    ask(&mut client, "/1").await;
    let (mut first, _) = upstream.request().await;
    first.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345").await;
    client.head().await;
    drop(client);
    assert_eq!(first.rest().await, "");

    let mut client = door.connect().await;
    ask(&mut client, "/2").await;
    let (mut second, head) = upstream.request().await;
    assert!(head.starts_with("GET /2 "));
    second.answer("ok").await;
    client.message().await;
}

#[tokio::test]
async fn the_address_with_the_fewest_requests_is_next() {
    let (one, two) = (Upstream::listen().await, Upstream::listen().await);
    let door = Door::with(&[one.port(), two.port()], &[("door.workers", "1")]).await;

    let mut slow = door.connect().await;
    ask(&mut slow, "/slow").await;
    let ((mut busy, _), idle) = tokio::select! {
        asked = one.request() => (asked, &two),
        asked = two.request() => (asked, &one),
    };
    let mut quick = door.connect().await;
    let mut served = None;
    for _ in 0..6 {
        ask(&mut quick, "/quick").await;
        let wire = match &mut served {
            Some(wire) => wire,
            none => none.insert(idle.accept().await),
        };
        wire.head().await;
        wire.answer("ok").await;
        quick.message().await;
    }
    busy.answer("ok").await;
    slow.message().await;
}

#[tokio::test]
async fn an_address_that_refuses_is_passed_over() {
    let upstream = Upstream::listen().await;
    let gone = free_port();
    let door = Door::with(&[gone, upstream.port()], &[("door.workers", "1")]).await;
    let mut client = door.connect().await;

    let mut served = None;
    for _ in 0..6 {
        ask(&mut client, "/a").await;
        let wire = match &mut served {
            Some(wire) => wire,
            none => none.insert(upstream.accept().await),
        };
        wire.head().await;
        wire.answer("ok").await;
        assert_eq!(client.message().await.1, "ok");
    }
}

#[tokio::test]
async fn an_upstream_that_nobody_serves_is_a_502() {
    let door = Door::to(&[free_port()]).await;
    let mut client = door.connect().await;
    for _ in 0..2 {
        ask(&mut client, "/a").await;
        expect_problem(&mut client, 502).await;
    }

    let door = Door::start(&["no-such-name.invalid:80".to_owned()], &[]).await;
    let mut client = door.connect().await;
    ask(&mut client, "/a").await;
    expect_problem(&mut client, 502).await;
}

#[tokio::test]
async fn a_name_leads_to_its_addresses() {
    let upstream = Upstream::listen().await;
    let door = Door::start(&[format!("localhost:{}", upstream.port())], &[]).await;
    let mut client = door.connect().await;
    ask(&mut client, "/a").await;
    let (mut served, _) = upstream.request().await;
    served.answer("ok").await;
    assert_eq!(client.message().await.1, "ok");
}

#[tokio::test]
async fn a_name_is_resolved_again_and_keeps_its_addresses_while_it_cannot_be() {
    let one = Upstream::listen().await;
    let target = format!("replicas.test:{}", one.port());
    let hosts = NamedTempFile::new().unwrap();
    let leads_to = |address: &str| {
        let line = if address.is_empty() { String::new() } else { format!("{address} replicas.test\n") };
        std::fs::write(hosts.path(), line).unwrap();
    };
    leads_to("127.0.0.1");
    let settings = [("door.workers", "1"), ("door.resolve_ttl_ms", "1")];
    let Some(door) = Door::with_hosts(hosts.path(), &[target], &settings).await else {
        eprintln!("not tested here: it takes a mount namespace");
        return;
    };
    let two = one.beside("127.0.0.2").await;
    let mut client = door.connect().await;

    let mut of_one = Connection::to(&one);
    let mut of_two = Connection::to(&two);
    assert_eq!(ask_any(&mut client, &mut of_one, &mut of_two).await, "one");
    leads_to("127.0.0.2");
    within(async { while ask_any(&mut client, &mut of_one, &mut of_two).await == "one" {} }).await;

    leads_to("");
    within(async {
        while !door.service.log().contains("cannot resolve replicas.test") {
            assert_eq!(ask_any(&mut client, &mut of_one, &mut of_two).await, "two");
        }
    })
    .await;
    assert_eq!(ask_any(&mut client, &mut of_one, &mut of_two).await, "two");
}

/// An upstream, and the connection that the gateway keeps to it.
struct Connection<'a> {
    upstream: &'a Upstream,
    wire: Option<Wire>,
}

impl<'a> Connection<'a> {
    fn to(upstream: &'a Upstream) -> Self {
        Self { upstream, wire: None }
    }

    async fn answer(&mut self, body: &str) {
        loop {
            let wire = match &mut self.wire {
                Some(wire) => wire,
                none => none.insert(self.upstream.accept().await),
            };
            if wire.next_head().await.is_some() {
                return wire.answer(body).await;
            }
            self.wire = None;
        }
    }
}

/// Whoever is asked answers with its name.
async fn ask_any(client: &mut Wire, one: &mut Connection<'_>, two: &mut Connection<'_>) -> String {
    ask(client, "/a").await;
    tokio::select! {
        () = one.answer("one") => {}
        () = two.answer("two") => {}
    }
    client.message().await.1
}

#[tokio::test]
async fn beyond_the_bound_of_connections_to_an_address_there_is_503() {
    let upstream = Upstream::listen().await;
    let settings = [("door.workers", "1"), ("door.upstream_connections_max", "1")];
    let door = Door::with(&[upstream.port()], &settings).await;

    let mut first = door.connect().await;
    ask(&mut first, "/1").await;
    let (mut served, _) = upstream.request().await;
    let mut second = door.connect().await;
    ask(&mut second, "/2").await;
    let head = expect_problem(&mut second, 503).await;
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    served.answer("ok").await;
    first.message().await;
}
