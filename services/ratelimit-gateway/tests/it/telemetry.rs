//! What the public door tells of its requests: to the upstream, to Prometheus, to a collector, in the log.

use crate::door_support::{Door, Upstream, field};
use crate::support::{Gateway, all};
use serde_json::Value;
use testkit::Collector;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_request_is_a_span_between_its_caller_and_the_upstream() {
    let collector = Collector::start().await;
    let rules = all("");
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint())];
    let mut gateway = Gateway::with_variables(&rules, &variables).await;
    let head = gateway
        .seen(
            "/orders/hunter2",
            &[
                ("traceparent", &format!("00-{TRACE}-{CALLER}-01")),
                ("tracestate", "vendor=a"),
                ("baggage", "tenant=acme"),
                ("x-correlation-id", "order-7"),
            ],
        )
        .await;
    gateway.service.stop().await;

    let spans = collector.spans();
    let span = spans.iter().find(|span| span.attributes["sluice.correlation_id"] == "order-7").unwrap();
    assert_eq!((&*span.kind, &*span.trace_id, &*span.parent_id), ("Server", TRACE, CALLER), "{span:?}");
    assert_eq!(span.attributes["http.route"], "/", "{span:?}");
    assert!(!format!("{spans:?}").contains("hunter2"), "{spans:?}");
    let sent_on = format!("00-{TRACE}-{}-01", span.span_id);
    assert_eq!(field(&head, "traceparent"), Some(sent_on), "{head}");
    assert_eq!(field(&head, "tracestate").as_deref(), Some("vendor=a"), "{head}");
    assert_eq!(field(&head, "baggage").as_deref(), Some("tenant=acme"), "{head}");
}

#[tokio::test]
async fn without_a_collector_what_the_caller_says_of_its_trace_goes_through() {
    let gateway = Gateway::start(&all("")).await;
    let sent = [("traceparent", "not one"), ("tracestate", "vendor=a"), ("baggage", "tenant=acme")];
    let head = gateway.seen("/", &sent).await;
    for (name, value) in sent {
        assert_eq!(field(&head, name).as_deref(), Some(value), "{head}");
    }
}

#[tokio::test]
async fn a_request_is_measured_by_the_path_of_its_route() {
    let gateway = Gateway::start(&all("")).await;
    for number in 0..3 {
        gateway.status(&format!("/orders/{number}"), &[]).await;
    }
    let text = gateway.admin.get("/metrics").send().await.unwrap().text().await.unwrap();
    let line = text
        .lines()
        .find(|line| {
            line.starts_with("http_server_request_duration_seconds_count")
                && line.contains("http_route=\"/\"")
        })
        .unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(r#"status_code="200""#) && line.ends_with(" 3"), "{line}");
    assert!(!text.contains("/orders/"), "{text}");
}

#[tokio::test]
async fn what_is_logged_on_the_way_names_the_correlation_id_and_the_trace() {
    let upstream = Upstream::listen().await;
    let mut door = Door::with(&[upstream.port()], &[]).await;
    let mut client = door.connect().await;
    let head = format!("Host: a\r\nX-Correlation-ID: order-7\r\ntraceparent: 00-{TRACE}-{CALLER}-01");
    client.send(format!("GET /orders HTTP/1.1\r\n{head}\r\n\r\n")).await;
    drop(upstream.request().await);
    client.message().await;
    door.service.stop().await;

    let log = door.service.log();
    let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let broken = lines.find(|line| line["message"].as_str().is_some_and(|text| text.contains("broke off")));
    let broken = broken.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(
        (&broken["correlation_id"], &broken["trace_id"]),
        (&"order-7".into(), &TRACE.into()),
        "{broken}"
    );
}
