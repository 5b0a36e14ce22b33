//! `/metrics`: what is measured of requests, and with which labels.

use crate::process::running;
use crate::support::{DEADLINE, LOCAL, Served, config, keys_file, open, routes, server};
use http_kit::{ApiKey, AuthConfig, AuthMode, Authenticator, Server};
use testkit::{Collector, until};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A service whose metrics are told from those of the other tests in this process by its name.
fn start(name: &'static str) -> Served {
    Served::start(Server::bind(name, LOCAL, config(), open()).unwrap(), routes)
}

/// The one line of this metric with all of these labels, and its value.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let is = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    };
    let mut lines = text.lines().filter(is);
    let line = lines.next()?;
    assert_eq!(lines.next(), None, "{name} {labels:?} twice");
    line.rsplit(' ').next()?.parse().ok()
}

/// What the service says of itself.
async fn metrics(service: &Served, name: &str) -> String {
    let answer = service.get("/metrics").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{answer:?}");
    let own = format!("sluice_service=\"{name}\"");
    answer.body.lines().filter(|line| line.contains(&own)).map(|line| line.to_owned() + "\n").collect()
}

#[tokio::test]
async fn metrics_need_ops_read() {
    let (reader, may) = ApiKey::generate("prometheus", &["ops:read"]).unwrap();
    let (other, may_not) = ApiKey::generate("web", &["cache:read@*"]).unwrap();
    let (_folder, file) = keys_file(&[may, may_not]);
    let auth = AuthConfig { mode: AuthMode::Keys, keys_file: Some(file), ..AuthConfig::default() };
    let auth = Authenticator::new(&auth, LOCAL).unwrap();
    let service = Served::start(server(config(), auth), routes);

    service.get("/metrics").await.problem(401, "unauthenticated");
    service.get_with_key("/metrics", &other).await.problem(403, "forbidden");
    assert_eq!(service.get_with_key("/metrics", &reader).await.status, 200);
}

#[tokio::test]
async fn a_request_is_measured_by_method_route_and_status() {
    let service = start("measured");
    for _ in 0..3 {
        service.get("/v1/queues/exports").await;
    }
    let body = r#"{"queue":"exports"}"#;
    service.post_json("/v1/tasks", body).await;
    service.get("/v1/panic").await;
    let text = metrics(&service, "measured").await;

    let duration = |labels: &[&str]| sample(&text, "http_server_request_duration_seconds_count", labels);
    let queue =
        [r#"http_route="/v1/queues/{queue}""#, r#"http_request_method="GET""#, r#"status_code="200""#];
    assert_eq!(duration(&queue), Some(3.0), "{text}");
    assert_eq!(duration(&[r#"error_type="500""#, r#"url_scheme="http""#]), Some(1.0));

    let task = [r#"http_route="/v1/tasks""#, r#"http_request_method="POST""#];
    let bytes = |name: &str, labels: &[&str]| {
        sample(&text, &format!("http_server_{name}_body_size_bytes_sum"), labels)
    };
    assert_eq!(bytes("request", &task), Some(body.len() as f64), "{text}");
    assert_eq!(bytes("response", &queue), Some(3.0 * r#""exports""#.len() as f64), "{text}");
    assert_eq!(bytes("request", &queue), None, "a GET has no body");
}

#[tokio::test]
async fn what_anybody_can_make_up_is_one_label() {
    let service = start("invented");
    for number in 0..20 {
        let path = format!("/v1/made-up-{number}");
        service.get(&path).await;
        let method = reqwest::Method::from_bytes(format!("MADE{number}").as_bytes()).unwrap();
        service.client.request(method, service.url(&path)).send().await.unwrap();
        service.get(&format!("/v1/queues/made-up-{number}")).await;
    }
    let text = metrics(&service, "invented").await;

    assert!(!text.contains("made-up") && !text.contains("MADE"), "{text}");
    let counted: Vec<_> =
        text.lines().filter(|line| line.starts_with("http_server_request_duration_seconds_count")).collect();
    assert_eq!(counted.len(), 3, "{counted:#?}");
    let unknown = [r#"http_request_method="_OTHER""#];
    assert_eq!(sample(&text, "http_server_request_duration_seconds_count", &unknown), Some(20.0), "{text}");
}

#[tokio::test]
async fn an_active_request_is_counted_until_its_end_or_its_client_has_gone() {
    let service = start("active");
    let active = async || {
        let text = metrics(&service, "active").await;
        sample(&text, "http_server_active_requests", &[r#"http_request_method="PUT""#])
    };
    let mut stream = TcpStream::connect(service.address).await.unwrap();
    let head = b"PUT /v1/bytes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab";
    stream.write_all(head).await.unwrap();
    until(async || active().await == Some(1.0), DEADLINE).await;

    drop(stream);
    until(async || active().await == Some(0.0), DEADLINE).await;
}

#[tokio::test]
async fn what_a_silent_collector_makes_us_drop_is_counted() {
    for (timeout_ms, metric, reason) in [
        // It never gives up, so the queue fills.
        ("3600000", "otel_sdk_processor_span_processed_total", "queue_full"),
        ("1", "otel_sdk_exporter_span_exported_total", "export_failed"),
    ] {
        let collector = Collector::silent().await;
        let (child, bind) = running(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint()),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout_ms),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ])
        .await;
        let client = reqwest::Client::new();
        let get = async |path: &str| client.get(format!("http://{bind}{path}")).send().await.unwrap();
        let counted = async || {
            get("/v1/correlation").await;
            let text = get("/metrics").await.text().await.unwrap();
            sample(&text, metric, &[&format!("error_type=\"{reason}\"")]).is_some_and(|count| count > 0.0)
        };
        until(counted, DEADLINE).await;
        drop(child);
    }
}

#[tokio::test]
async fn where_the_sdk_is_disabled_nothing_is_measured() {
    let (_child, bind) = running(&[("OTEL_SDK_DISABLED", "true")]).await;
    let get = async |path: &str| reqwest::get(format!("http://{bind}{path}")).await.unwrap();
    assert_eq!(get("/v1/correlation").await.status(), 200);
    let answer = get("/metrics").await;
    assert_eq!((answer.status().as_u16(), &*answer.text().await.unwrap()), (200, ""));
}
