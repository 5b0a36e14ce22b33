//! A stop finishes what was begun, accepts nothing more, and ends.

use crate::support::{DEADLINE, Served, config, open, server};
use actix_web::{HttpResponse, web};
use http_kit::HttpConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A service whose handler waits for a permit, and says when it has begun.
struct Held {
    service: Served,
    begun: Arc<Semaphore>,
    release: Arc<Semaphore>,
}

fn held(config: HttpConfig, build: impl FnOnce(http_kit::Server) -> http_kit::Server) -> Held {
    let (begun, release) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = {
        let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
        move || {
            let (begun, release) = (Arc::clone(&begun), Arc::clone(&release));
            async move {
                begun.add_permits(1);
                release.acquire().await.unwrap().forget();
                HttpResponse::Ok().body("finished")
            }
        }
    };
    let service = Served::start(build(server(config, open())), move |routes| {
        routes.route("/v1/held", web::get().to(handler.clone()));
    });
    Held { service, begun, release }
}

#[tokio::test]
async fn a_request_in_flight_finishes_while_new_ones_are_refused() {
    let Held { service, begun, release } = held(config(), |server| server);
    let address = service.address;
    let mut in_flight = JoinSet::new();
    in_flight.spawn(reqwest::get(service.url("/v1/held")));
    begun.acquire().await.unwrap().forget();

    service.stop.cancel();
    until(async || TcpStream::connect(address).await.is_err(), DEADLINE).await;
    release.add_permits(1);

    let answer = in_flight.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "finished");
    assert!(service.ended().await.is_ok());
}

#[tokio::test]
async fn a_request_that_outlives_the_grace_time_does_not_hold_the_stop() {
    let Held { service, begun, .. } = held(HttpConfig { grace_ms: 1, ..config() }, |server| server);
    let mut in_flight = JoinSet::new();
    in_flight.spawn(reqwest::get(service.url("/v1/held")));
    begun.acquire().await.unwrap().forget();

    service.stop.cancel();
    assert!(service.ended().await.is_ok());
    assert!(in_flight.join_next().await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_stop() {
    let Held { service, .. } = held(HttpConfig { grace_ms: 3_600_000, ..config() }, |server| server);
    let client = reqwest::Client::new();
    client.get(service.url("/health/live")).send().await.unwrap().text().await.unwrap();

    service.stop.cancel();
    assert!(service.ended().await.is_ok());
}

#[tokio::test]
async fn streams_are_ended_first_while_the_service_says_that_it_is_not_ready() {
    let (asked, ended) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let hook = (Arc::clone(&asked), Arc::clone(&ended));
    let Held { service, .. } = held(config(), |server| {
        server.half_closed(false).write_buffer_bytes(8192.try_into().unwrap()).before_stop(
            move || async move {
                hook.0.add_permits(1);
                hook.1.acquire().await.unwrap().forget();
            },
        )
    });

    service.stop.cancel();
    asked.acquire().await.unwrap().forget();
    let problem = service.get("/health/ready").await.problem(503, "unavailable");
    assert_eq!(problem["detail"], "not ready: stopping");
    assert_eq!(service.get("/health/live").await.status, 200);

    ended.add_permits(1);
    assert!(service.ended().await.is_ok());
}

#[tokio::test]
async fn it_goes_on_as_before_while_balancers_learn_that_it_stops() {
    let hour = 3_600_000;
    let late = HttpConfig { stop_delay_ms: hour, grace_ms: hour, ..config() };
    let Held { service, begun, release } = held(late, |server| server);

    service.stop.cancel();
    let not_ready = async || service.get("/health/ready").await.status == 503;
    until(not_ready, DEADLINE).await;

    let new = reqwest::get(service.url("/v1/held"));
    let (answer, ()) = tokio::join!(new, async {
        begun.acquire().await.unwrap().forget();
        release.add_permits(1);
    });
    assert_eq!(answer.unwrap().text().await.unwrap(), "finished", "on a new connection");
}

#[tokio::test]
async fn all_that_a_stop_waits_for_has_the_grace_time_together() {
    let grace = Duration::from_millis(1_400);
    let limits = HttpConfig { stop_delay_ms: 1_300, grace_ms: 1_400, ..config() };
    let Held { service, begun, .. } = held(limits, |server| server.before_stop(std::future::pending::<()>));
    let mut in_flight = JoinSet::new();
    in_flight.spawn(reqwest::get(service.url("/v1/held")));
    begun.acquire().await.unwrap().forget();

    let asked = Instant::now();
    service.stop.cancel();
    assert!(service.ended().await.is_ok());
    let took = asked.elapsed();
    assert!(took >= grace && took < grace * 3 / 2, "delay, hook and request after each other: {took:?}");
    assert!(in_flight.join_next().await.unwrap().unwrap().is_err(), "it was cut");
}

#[tokio::test]
async fn what_hangs_before_the_stop_has_the_grace_time_and_no_more() {
    let short = HttpConfig { grace_ms: 50, ..config() };
    let Held { service, .. } = held(short, |server| server.before_stop(std::future::pending::<()>));

    service.stop.cancel();
    assert!(service.ended().await.is_ok());
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let first = server(config(), open());
    let address = first.address().unwrap();
    let second = http_kit::Server::bind("test", address, config(), open());
    assert_eq!(second.err().unwrap().to_string(), format!("cannot listen on {address}"));
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_request_where_half_closed_connections_are_off() {
    let (begun, ended) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let handler = {
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        move || {
            let (begun, ended) = (Arc::clone(&begun), PermitOnDrop(Arc::clone(&ended)));
            async move {
                begun.add_permits(1);
                std::future::pending::<()>().await;
                drop(ended);
                HttpResponse::Ok().finish()
            }
        }
    };
    let service = Served::start(server(config(), open()).half_closed(false), move |routes| {
        routes.route("/v1/watch", web::get().to(handler.clone()));
    });
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.write_all(b"GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    begun.acquire().await.unwrap().forget();

    client.shutdown().await.unwrap();
    tokio::time::timeout(DEADLINE, ended.acquire()).await.unwrap().unwrap().forget();
}

/// Tells that the future that holds it is gone.
struct PermitOnDrop(Arc<Semaphore>);

impl Drop for PermitOnDrop {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}
