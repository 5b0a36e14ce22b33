//! HTTP/2 with prior knowledge, by hyper's client and by frames written by hand.

use crate::door_support::{Door, Upstream, Wire, field, within};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

type Piece = Result<Frame<Bytes>, io::Error>;
type Body = http_body_util::combinators::BoxBody<Bytes, io::Error>;

/// A client and the tasks that drive it.
async fn client(door: &Door) -> (SendRequest<Body>, JoinSet<()>) {
    let stream = TcpStream::connect(("127.0.0.1", door.service.port())).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    (sender, tasks)
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn whole(text: &'static str) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed()
}

async fn text(answer: Response<Incoming>) -> String {
    let bytes = within(answer.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn many_requests_share_one_connection_and_become_http1_upstream() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let (mut sender, _tasks) = client(&door).await;

    let first = Request::get("http://api.example/a%3Fb?c").header("cookie", "a=1").header("cookie", "b=2");
    let first = sender.send_request(first.body(empty()).unwrap());
    let second = sender.send_request(Request::post("http://api.example/2").body(whole("hi")).unwrap());
    let upstreams = async {
        for _ in 0..2 {
            let (mut served, head) = upstream.request().await;
            assert_eq!(field(&head, "host").as_deref(), Some("api.example"));
            assert_eq!(field(&head, "via").as_deref(), Some("2 sluice"));
            if head.starts_with("GET /a%3Fb?c HTTP/1.1\r\n") {
                assert_eq!(field(&head, "cookie").as_deref(), Some("a=1; b=2"));
                served.answer("one").await;
            } else {
                assert_eq!(served.exactly(2).await, "hi");
                served.answer("two").await;
            }
        }
    };
    let (first, second, ()) = within(async { tokio::join!(first, second, upstreams) }).await;
    assert_eq!((text(first.unwrap()).await, text(second.unwrap()).await), ("one".into(), "two".into()));
}

#[tokio::test]
async fn bodies_stream_and_trailers_pass() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let (mut sender, _tasks) = client(&door).await;

    let (pieces, receiver) = tokio::sync::mpsc::channel(4);
    let received =
        unfold(receiver, async |mut receiver: Receiver<Piece>| Some((receiver.recv().await?, receiver)));
    let body = BodyExt::boxed(StreamBody::new(received));
    let request =
        Request::post("http://a/").header("te", "trailers").header("trailer", "x-sum").body(body).unwrap();
    let answer = sender.send_request(request);
    let upstreams = async {
        pieces.send(Ok(Frame::data(Bytes::from("first")))).await.unwrap();
        let (mut served, _) = upstream.request().await;
        served.until("first\r\n").await;
        let trailers = [("x-sum".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
        pieces.send(Ok(Frame::trailers(trailers))).await.unwrap();
        drop(pieces);
        assert_eq!(served.until("\r\n\r\n").await, "0\r\nx-sum: 1\r\n\r\n");
        served
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n")
            .await;
    };
    let (answer, ()) = within(async { tokio::join!(answer, upstreams) }).await;
    let collected = within(answer.unwrap().into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), "ok");
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_is_refused() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let (mut sender, _tasks) = client(&door).await;

    let long = format!("http://a/{}", "a".repeat(8192));
    for (request, status) in [
        (Request::get("http://a/").header("host", "b"), StatusCode::BAD_REQUEST),
        (Request::get("http://a/a\\b"), StatusCode::BAD_REQUEST),
        (Request::get("http://a_b@c/"), StatusCode::BAD_REQUEST),
        (Request::get(&long), StatusCode::URI_TOO_LONG),
    ] {
        let Ok(request) = request.body(empty()) else { continue };
        let uri = request.uri().to_string();
        let answer = within(sender.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), status, "{uri:.40}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn a_refused_request_of_http2_leaves_the_others_alone() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let (mut sender, _tasks) = client(&door).await;

    let answer =
        within(sender.send_request(Request::post("http://nowhere/").body(whole("hi")).unwrap())).await;
    assert_eq!(answer.unwrap().status(), StatusCode::NOT_FOUND);
    let answer = sender.send_request(Request::get("http://a/").body(empty()).unwrap());
    let served = async { upstream.request().await.0.answer("ok").await };
    let (answer, ()) = within(async { tokio::join!(answer, served) }).await;
    assert_eq!(text(answer.unwrap()).await, "ok");
}

#[tokio::test]
async fn a_stop_says_goodbye_and_lets_streams_finish() {
    let upstream = Upstream::listen().await;
    let mut door = Door::with(&[upstream.port()], &[("door.grace_ms", "86400000")]).await;
    let (mut sender, mut tasks) = client(&door).await;

    let answer = sender.send_request(Request::get("http://a/").body(empty()).unwrap());
    let port = door.service.port();
    let served = async {
        let (mut served, _) = upstream.request().await;
        let answered = async {
            let shut = async || TcpStream::connect(("127.0.0.1", port)).await.is_err();
            testkit::until(shut, Duration::from_secs(60)).await;
            served.answer("ok").await;
        };
        tokio::join!(door.service.stop(), answered).0
    };
    let (answer, code) =
        within(async { tokio::join!(async { text(answer.await.unwrap()).await }, served) }).await;
    assert_eq!((&*answer, code), ("ok", 0));
    within(tasks.join_next()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_of_http2_that_idles_too_long_is_closed() {
    let door = Door::with(&[1], &[("door.keep_alive_ms", "50")]).await;
    let (_sender, mut tasks) = client(&door).await;
    within(tasks.join_next()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_head_of_http2_is_the_streams_alone() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let (mut sender, _tasks) = client(&door).await;

    // Over the bound of a head: h2 answers 431 by itself, or resets the stream.
    let request = Request::get("http://a/").header("x", "a".repeat(17_000)).body(empty()).unwrap();
    match within(sender.send_request(request)).await {
        Ok(answer) => assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(error) => assert!(!error.is_closed(), "{error:?}"),
    }
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_cut() {
    let upstream = Upstream::listen().await;
    let door = Door::with(&[upstream.port()], &[("door.write_timeout_ms", "50")]).await;
    let (mut sender, _tasks) = client(&door).await;

    let answer = sender.send_request(Request::get("http://a/").body(empty()).unwrap());
    let served = async {
        let (mut served, _) = upstream.request().await;
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
        served
    };
    let (answer, mut served) = within(async { tokio::join!(answer, served) }).await;
    // More than all windows on the way hold; it ends only because the gateway gives up.
    let chunk = vec![b'x'; 1024 * 1024];
    within(async { while served.stream.write_all(&chunk).await.is_ok() {} }).await;
    assert!(within(answer.unwrap().into_body().collect()).await.is_err());
}

#[tokio::test]
async fn a_stream_that_is_reset_takes_its_request_with_it() {
    let upstream = Upstream::listen().await;
    let door = Door::to(&[upstream.port()]).await;
    let mut client = door.connect().await;

    client.send([PREFACE, &request(1)].concat()).await;
    let (mut served, _) = upstream.request().await;
    client.send(reset(1)).await;
    assert_eq!(served.rest().await, "");

    client.send(request(3)).await;
    upstream.request().await.0.answer("ok").await;
    assert_eq!(until_frame(&mut client, DATA).await, b"ok", "the connection goes on");
}

/// CVE-2023-44487: requests that are cancelled at once count against no bound of streams in flight.
#[tokio::test]
async fn who_resets_many_streams_at_once_is_sent_away() {
    let upstream = Upstream::listen().await;
    let mut door = Door::to(&[upstream.port()]).await;

    let cancelled = |stream| [request(stream), reset(stream)].concat();
    // A field that HTTP/2 does not have is a mistake of the stream's, which we reset.
    let mistaken = |stream| frame(HEADERS, 0x5, stream, b"\x82\x86\x84\x01\x01a\0\x0aconnection\x01x");
    for of_stream in [&cancelled as &dyn Fn(u32) -> Vec<u8>, &mistaken] {
        let mut client = door.connect().await;
        client.send([PREFACE, &request(1)].concat()).await;
        let (mut served, _) = upstream.request().await;
        // All of them wait when the gateway looks.
        door.service.pause();
        client.send((1..=30).flat_map(|turn| of_stream(2 * turn + 1)).collect::<Vec<u8>>()).await;
        door.service.resume();

        let goodbye = until_frame(&mut client, GOAWAY).await;
        assert_eq!(goodbye[4..8], ENHANCE_YOUR_CALM.to_be_bytes());
        client.rest().await;
        assert_eq!(served.rest().await, "", "and its request goes, too");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://a/`, its end with it: fields of the static table, and a literal.
fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, 0x5, stream, b"\x82\x86\x84\x01\x01a")
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// The payload of the next frame of this kind.
async fn until_frame(client: &mut Wire, wanted: u8) -> Vec<u8> {
    loop {
        let head = client.bytes(9).await;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = client.bytes(length as usize).await;
        if head[3] == wanted {
            return payload;
        }
    }
}

/// The client's, with its empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
