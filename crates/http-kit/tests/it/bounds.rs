//! What is too much, each with its own answer.

use crate::support::{Answer, DEADLINE, Served, config, open, routes, server, start};
use http_kit::HttpConfig;
use std::time::Duration;
use testkit::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[tokio::test]
async fn a_head_over_16_kib_is_431() {
    let service = start();
    for (padding, status) in [(15 * 1024, 404), (16 * 1024, 431)] {
        let head = format!(
            "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Pad: {}\r\n\r\n",
            "p".repeat(padding)
        );
        let answer = service.raw(head).await;
        assert_eq!(answer.status, status, "{padding}");
    }
    let pads = "X-Pad: pppppppppppppppppppppppppppppppp\r\n".repeat(90);
    let head = format!(
        "GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Big: {}\r\n{pads}\r\n",
        "p".repeat(13_000)
    );
    let detail = service.raw(head).await.problem(431, "head-too-large")["detail"].clone();
    assert!(detail.as_str().unwrap().contains("the bound is 16384"), "{detail}");
}

#[tokio::test]
async fn a_url_over_8_kib_is_414() {
    let service = start();
    assert_eq!(service.get(&format!("/{}", "a".repeat(8191))).await.status, 404);
    let answer = service.get(&format!("/{}", "a".repeat(8192))).await;
    assert!(answer.problem(414, "uri-too-long")["detail"].as_str().unwrap().contains("the bound is 8192"));
    service.get(&format!("/a?{}", "b".repeat(8190))).await.problem(414, "uri-too-long");
}

#[tokio::test]
async fn a_body_over_the_bound_of_its_route_is_413_and_the_bound_is_named() {
    let service = start();
    let json = |bytes: usize| format!(r#"{{"queue":"a","payload":"{}"}}"#, "p".repeat(bytes - 26));
    assert_eq!(service.post_json("/v1/tasks", json(1000)).await.status, 201);

    let refused = service.post_json("/v1/tasks", json(1001)).await;
    let problem = refused.problem(413, "too-large");
    assert_eq!(problem["detail"], "the body is larger than 1000 bytes, the bound of a task");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_bounded_too() {
    let service = start();
    let chunks = |count: usize| {
        let chunk = || Ok::<_, std::io::Error>("x".repeat(1024));
        let stream = futures_util::stream::iter((0..count).map(move |_| chunk()));
        service.client.put(service.url("/v1/bytes")).body(reqwest::Body::wrap_stream(stream))
    };
    assert_eq!(Answer::of(chunks(256)).await.body, "262144");
    let problem = Answer::of(chunks(257)).await.problem(413, "too-large");
    assert_eq!(problem["detail"], "the body is larger than 262144 bytes, the bound of a request");
}

#[tokio::test]
async fn a_length_beyond_the_bound_is_413_before_the_body_has_come() {
    let service = start();
    let head =
        "PUT /v1/bytes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\n";
    // What waits for the body would wait for `http.body_timeout_ms`, which is 30 s.
    let answer = tokio::time::timeout(Duration::from_secs(3), service.raw(head));
    answer.await.unwrap().problem(413, "too-large");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_still_reads_the_answer() {
    let service = start();
    for chunked in [false, true] {
        let kind = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 33554432" };
        let head = format!("PUT /v1/bytes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{kind}\r\n\r\n");
        let (begin, end) = if chunked { ("2000000\r\n", "\r\n0\r\n\r\n") } else { ("", "") };
        // Reads only after it has sent everything, which is more than the sockets hold.
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        stream.write_all(format!("{head}{begin}").as_bytes()).await.unwrap();
        for _ in 0..512 {
            stream.write_all(&[b'x'; 1 << 16]).await.unwrap();
        }
        stream.write_all(end.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await.problem(413, "too-large");
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_408() {
    let slow = HttpConfig { body_timeout_ms: 50.try_into().unwrap(), ..config() };
    let service = Served::start(server(slow, open()), routes);
    let answer = service
        .raw("PUT /v1/bytes HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    answer.problem(408, "request-timeout");
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_has_no_more_time() {
    let slow = HttpConfig { body_timeout_ms: 50.try_into().unwrap(), ..config() };
    let service = Served::start(server(slow, open()), routes);
    let stream = TcpStream::connect(service.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut answer, mut body) = stream.into_split();
    let head = "PUT /v1/bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 262144\r\n\r\n";
    body.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = JoinSet::new();
    bytes.spawn(async move {
        while body.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await
        }
    });

    let answer = tokio::time::timeout(DEADLINE, Answer::read(&mut answer)).await.unwrap();
    answer.problem(408, "request-timeout");
}

#[tokio::test]
async fn a_body_that_ends_early_does_not_reach_the_handler() {
    let service = start();
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(b"PUT /v1/bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_arrive_in_time_ends_the_connection() {
    let slow = HttpConfig { head_timeout_ms: 50.try_into().unwrap(), ..config() };
    let service = Served::start(server(slow, open()), routes);
    // The library's own time would be 5 s.
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(3), stream.read_to_string(&mut answer));
    read.await.expect("closed").unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn connections_over_the_bound_wait_and_are_served_later() {
    let one = HttpConfig { connections_max: 1.try_into().unwrap(), ..config() };
    let service = Served::start(server(one, open()), routes);
    let mut first = TcpStream::connect(service.address).await.unwrap();
    let request = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    first.write_all(request).await.unwrap();
    first.read_u8().await.unwrap();

    let mut second = TcpStream::connect(service.address).await.unwrap();
    second.write_all(request).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "the second is not accepted while the first is open");
    drop(first);
    assert_eq!(second.read_u8().await.unwrap(), b'H');
}

#[tokio::test]
async fn an_address_with_as_many_connections_as_it_may_gets_no_other() {
    let one = HttpConfig { connections_per_address_max: 1, ..config() };
    let service = Served::start(server(one, open()), routes);
    let request = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let connect = async || {
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        let _ = stream.write_all(request).await;
        (stream.read_u8().await.ok(), stream)
    };
    let (served, first) = connect().await;
    assert_eq!(served, Some(b'H'));

    assert_eq!(connect().await.0, None, "closed at once");
    drop(first);
    until(async || connect().await.0.is_some(), DEADLINE).await;
}

#[tokio::test]
async fn what_is_no_http_is_refused_by_the_parser() {
    let service = start();
    for head in ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n"] {
        assert_eq!(service.raw(head).await.status, 400, "{head:?}");
    }
    let both = "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(service.raw(both).await.status, 400, "smuggling");
}
