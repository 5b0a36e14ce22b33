//! The proxy: what it counts, and the faults it makes.

use std::io;
use std::time::{Duration, Instant};

use testkit::{Proxy, RedisServer, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(5);
const A_MOMENT: Duration = Duration::from_millis(50);

/// Writes what it is told and reads what it expects, so that a test sees the wire.
struct Wire(TcpStream);

impl Wire {
    async fn to(proxy: &Proxy) -> io::Result<Self> {
        TcpStream::connect(("127.0.0.1", proxy.port())).await.map(Self)
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn expect(&mut self, text: &str) {
        let mut answer = vec![0; text.len()];
        tokio::time::timeout(SOON, self.0.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), text);
    }

    async fn is_silent(&self) -> bool {
        tokio::time::timeout(A_MOMENT, self.0.peek(&mut [0])).await.is_err()
    }

    async fn is_closed(&mut self) -> bool {
        let end = tokio::time::timeout(SOON, self.0.read(&mut [0])).await.unwrap();
        end.map_or(true, |length| length == 0)
    }
}

async fn pair() -> (RedisServer, Proxy) {
    let server = RedisServer::start().await;
    let proxy = Proxy::to(&server).await;
    (server, proxy)
}

#[tokio::test]
async fn what_is_sent_together_is_one_round_trip() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();

    wire.send("PING\r\nPING\r\nPING\r\n").await;
    wire.expect("+PONG\r\n+PONG\r\n+PONG\r\n").await;
    assert_eq!(proxy.round_trips(), 1);

    wire.send("PING\r\n").await;
    wire.expect("+PONG\r\n").await;
    assert_eq!(proxy.round_trips(), 2);
}

#[tokio::test]
async fn a_request_in_many_pieces_is_one_round_trip() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    let value = "x".repeat(3_000_000);

    wire.send(&format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n{value}\r\n", value.len())).await;
    wire.expect("+OK\r\n").await;

    assert_eq!(proxy.round_trips(), 1);
    assert!(proxy.bytes().0 > 3_000_000);
    assert_eq!(proxy.bytes().1, 5);
}

#[tokio::test]
async fn round_trips_add_up_over_connections() {
    let (_server, proxy) = pair().await;
    let mut one = Wire::to(&proxy).await.unwrap();
    let mut other = Wire::to(&proxy).await.unwrap();

    let ((), round_trips) = proxy
        .round_trips_of(async {
            for wire in [&mut one, &mut other] {
                wire.send("PING\r\n").await;
                wire.expect("+PONG\r\n").await;
            }
        })
        .await;

    assert_eq!(round_trips, 2);
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn replies_are_held_from_one_request_on() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    proxy.hold_replies_once_asked("that one");

    wire.send("SET a before\r\n").await;
    wire.expect("+OK\r\n").await;
    assert!(!proxy.holds_replies());
    wire.send("SET a \"that one\"\r\n").await;
    until(async || server.cli(&["GET", "a"]).await == "that one", SOON).await;
    assert!(proxy.holds_replies() && wire.is_silent().await);

    proxy.hold_replies(false);
    wire.expect("+OK\r\n").await;
    wire.send("SET a \"that one\"\r\n").await;
    wire.expect("+OK\r\n").await;
}

#[tokio::test]
async fn a_cut_closes_open_connections_and_new_ones_work() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    wire.send("PING\r\n").await;
    wire.expect("+PONG\r\n").await;

    proxy.cut();

    assert!(wire.is_closed().await);
    let mut again = Wire::to(&proxy).await.unwrap();
    again.send("PING\r\n").await;
    again.expect("+PONG\r\n").await;
}

#[tokio::test]
async fn while_it_refuses_nobody_connects_and_open_connections_stay() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    wire.send("PING\r\n").await;
    wire.expect("+PONG\r\n").await;

    proxy.refuse(true);
    assert_eq!(Wire::to(&proxy).await.err().unwrap().kind(), io::ErrorKind::ConnectionRefused);
    wire.send("PING\r\n").await;
    wire.expect("+PONG\r\n").await;

    proxy.refuse(false);
    assert!(Wire::to(&proxy).await.is_ok());
}

#[tokio::test]
async fn a_held_reply_comes_late_though_its_request_was_executed() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();

    proxy.hold_replies(true);
    wire.send("INCR a\r\n").await;
    until(async || server.cli(&["GET", "a"]).await == "1", SOON).await;
    assert!(wire.is_silent().await);

    proxy.hold_replies(false);
    wire.expect(":1\r\n").await;
}

#[tokio::test]
async fn a_held_reply_is_lost_by_a_cut() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();

    proxy.hold_replies(true);
    wire.send("INCR a\r\n").await;
    until(async || server.cli(&["GET", "a"]).await == "1", SOON).await;
    proxy.cut();

    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_black_hole_lets_nothing_through_and_closes_nothing() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();

    proxy.black_hole(true);
    wire.send("INCR a\r\n").await;
    assert!(wire.is_silent().await);
    assert_eq!(server.cli(&["GET", "a"]).await, "(nil)");

    proxy.black_hole(false);
    wire.expect(":1\r\n").await;
}

#[tokio::test]
async fn clients_of_a_killed_server_lose_their_connections_until_it_is_back() {
    let (mut server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    wire.send("PING\r\n").await;
    wire.expect("+PONG\r\n").await;

    server.kill();
    assert!(wire.is_closed().await);
    assert!(Wire::to(&proxy).await.unwrap().is_closed().await);

    server.restart().await;
    let mut again = Wire::to(&proxy).await.unwrap();
    again.send("PING\r\n").await;
    again.expect("+PONG\r\n").await;
}

#[tokio::test]
async fn a_delay_adds_to_each_answer_and_not_up_over_those_that_follow() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    let latency = 4 * A_MOMENT;
    proxy.delay(latency);

    let began = Instant::now();
    for _ in 0..5 {
        wire.send("PING\r\n").await;
        tokio::time::sleep(A_MOMENT / 5).await; // Else they would arrive as one.
    }
    wire.expect(&"+PONG\r\n".repeat(5)).await;
    let took = began.elapsed();
    assert!((2 * latency..4 * latency).contains(&took), "there and back again, once: {took:?}");

    proxy.delay(Duration::ZERO);
    let began = Instant::now();
    wire.send("PING\r\n").await;
    wire.expect("+PONG\r\n").await;
    assert!(began.elapsed() < 2 * latency);
}

#[tokio::test]
async fn a_reset_is_told_to_the_client_and_new_connections_work() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    wire.send("PING\r\n").await;
    wire.expect("+PONG\r\n").await;

    proxy.reset();

    let end = tokio::time::timeout(SOON, wire.0.read(&mut [0])).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let mut again = Wire::to(&proxy).await.unwrap();
    again.send("PING\r\n").await;
    again.expect("+PONG\r\n").await;
}

#[tokio::test]
async fn a_half_open_connection_takes_everything_and_neither_answers_nor_ends() {
    let (server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    wire.send("CLIENT SETNAME lost\r\n").await;
    wire.expect("+OK\r\n").await;

    proxy.half_open();
    until(async || !server.cli(&["CLIENT", "LIST"]).await.contains("name=lost"), SOON).await;
    // More than all the buffers on the way would take.
    wire.send(&"INCR a\r\n".repeat(1_000_000)).await;
    assert!(wire.is_silent().await);
    assert_eq!(server.cli(&["GET", "a"]).await, "(nil)");

    let mut again = Wire::to(&proxy).await.unwrap();
    again.send("PING\r\n").await;
    again.expect("+PONG\r\n").await;
    proxy.cut();
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn trickled_replies_arrive_piece_by_piece() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    proxy.trickle(2, A_MOMENT);

    let began = Instant::now();
    wire.send("PING\r\n").await;
    wire.expect("+P").await;
    assert!(wire.0.try_read(&mut [0]).is_err(), "the rest is still to come");
    wire.expect("ONG\r\n").await;
    assert!(began.elapsed() >= 3 * A_MOMENT);

    proxy.trickle(usize::MAX, Duration::ZERO);
    let began = Instant::now();
    wire.send(&"PING\r\n".repeat(100)).await;
    wire.expect(&"+PONG\r\n".repeat(100)).await;
    assert!(began.elapsed() < 10 * A_MOMENT);
}

#[tokio::test]
async fn a_cut_inside_a_reply_delivers_its_beginning_once() {
    let (_server, proxy) = pair().await;
    let mut wire = Wire::to(&proxy).await.unwrap();
    proxy.cut_inside_the_next_reply(3);

    wire.send("PING\r\n").await;
    wire.expect("+PO").await;
    assert!(wire.is_closed().await);

    let mut again = Wire::to(&proxy).await.unwrap();
    again.send("PING\r\n").await;
    again.expect("+PONG\r\n").await;
}

#[tokio::test]
async fn a_fault_hits_the_one_connection_that_asked_for_it_and_no_other() {
    type Fault = fn(&Proxy);
    let faults: [(&str, Fault); 6] = [
        ("hold replies", |proxy| proxy.hold_replies(true)),
        ("black hole", |proxy| proxy.black_hole(true)),
        ("delay", |proxy| proxy.delay(SOON)),
        ("cut inside a reply", |proxy| proxy.cut_inside_the_next_reply(0)),
        ("reset", Proxy::reset),
        ("half open", Proxy::half_open),
    ];
    for (name, fault) in faults {
        let (_server, proxy) = pair().await;
        let mut other = Wire::to(&proxy).await.unwrap();
        let mut hit = Wire::to(&proxy).await.unwrap();
        proxy.hit_only_who_asks("marked");
        for wire in [&mut other, &mut hit] {
            wire.send("PING\r\n").await;
            wire.expect("+PONG\r\n").await;
        }
        hit.send("ECHO marked\r\n").await;
        hit.expect("$6\r\nmarked\r\n").await;
        fault(&proxy);

        other.send("PING\r\n").await;
        other.expect("+PONG\r\n").await;
        let _ = hit.0.write_all(b"PING\r\n").await;
        let answer = tokio::time::timeout(A_MOMENT, hit.0.read(&mut [0])).await;
        assert!(!matches!(answer, Ok(Ok(1))), "{name}");
        let mut new = Wire::to(&proxy).await.unwrap();
        new.send("PING\r\n").await;
        new.expect("+PONG\r\n").await;
    }
}
