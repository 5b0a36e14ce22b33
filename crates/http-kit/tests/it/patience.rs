//! How long a client is waited for: while it sends its next head, and while it takes an answer.

use crate::support::{DEADLINE, Served, config, open, routes, server};
use actix_web::HttpResponse;
use actix_web::web::{self, Bytes, Data};
use futures_util::Stream;
use http_kit::HttpConfig;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use testkit::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

const HEAD: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
const BODY_END: &[u8] = br#"{"status":"live"}"#;

/// A test on a busy machine may be late by some of it.
const SOON_MS: u64 = 400;
/// Long enough for what happens soon.
const A_WHILE: Duration = Duration::from_millis(2 * SOON_MS);

async fn answered(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(BODY_END) {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "{}", String::from_utf8_lossy(&read));
    }
}

/// Whether the server closes within a while; nothing may come before.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    match tokio::time::timeout(within, stream.read_u8()).await {
        Ok(Ok(byte)) => panic!("unasked: {byte}"),
        Ok(Err(_)) => true,
        Err(_) => false,
    }
}

fn quick() -> HttpConfig {
    HttpConfig { head_timeout_ms: SOON_MS.try_into().unwrap(), ..config() }
}

#[tokio::test]
async fn a_later_head_that_does_not_arrive_in_time_ends_the_connection_and_a_rest_does_not() {
    let service = Served::start(server(quick(), open()), routes);
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(HEAD).await.unwrap();
        answered(&mut stream).await;
        assert!(!is_closed(&mut stream, A_WHILE).await, "a rest has the time of keep_alive_ms");
    }

    stream.write_all(&HEAD[..10]).await.unwrap();
    assert!(is_closed(&mut stream, DEADLINE).await);
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_has_no_more_time() {
    let service = Served::start(server(quick(), open()), routes);
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(HEAD).await.unwrap();
    answered(&mut stream).await;

    stream.set_nodelay(true).unwrap();
    let (mut answers, mut head) = stream.into_split();
    head.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    let slowly = async {
        while head.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let closed = async { answers.read_u8().await.unwrap_err() };
    tokio::time::timeout(DEADLINE, async { tokio::join!(slowly, closed) }).await.expect("closed");
}

#[tokio::test]
async fn bytes_that_come_while_a_request_is_answered_end_nothing() {
    let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let shared = (Data::from(Arc::clone(&entered)), Data::new(Arc::clone(&go)));
    let service = Served::start(server(quick(), open()), move |routes| {
        let (entered, go) = (shared.0.clone(), shared.1.clone());
        let wait = move || {
            let (entered, go) = (entered.clone(), go.clone());
            async move {
                entered.notify_one();
                go.notified().await;
                HttpResponse::Ok().body(BODY_END)
            }
        };
        routes.route("/v1/wait", web::get().to(wait));
    });
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET /v1/wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        entered.notified().await;
        // The beginning of the next one.
        stream.write_all(&HEAD[..10]).await.unwrap();
        assert!(!is_closed(&mut stream, A_WHILE).await);
        go.notify_one();
        answered(&mut stream).await;
        stream.write_all(&HEAD[10..]).await.unwrap();
        answered(&mut stream).await;
    }
}

/// A body without an end, which says when it is dropped.
struct Endless(Arc<AtomicBool>);

impl Stream for Endless {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(Some(Ok(Bytes::from_static(&[0; 4096]))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_and_one_that_reads_is_not() {
    let cut = Arc::new(AtomicBool::new(false));
    let (dropped, slow) =
        (Arc::clone(&cut), HttpConfig { write_timeout_ms: SOON_MS.try_into().unwrap(), ..config() });
    let service = Served::start(server(slow, open()), move |routes| {
        let dropped = Arc::clone(&dropped);
        let endless = move || {
            let body = Endless(Arc::clone(&dropped));
            async move { HttpResponse::Ok().streaming(body) }
        };
        routes.route("/v1/endless", web::get().to(endless));
    });
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    stream.write_all(b"GET /v1/endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut chunk = vec![0; 1 << 16];
    let reading = tokio::time::timeout(A_WHILE, async {
        while stream.read(&mut chunk).await.is_ok_and(|count| count > 0) {}
    });
    assert!(reading.await.is_err() && !cut.load(Ordering::Relaxed), "whoever reads goes on");

    until(async || cut.load(Ordering::Relaxed), DEADLINE).await;
}
