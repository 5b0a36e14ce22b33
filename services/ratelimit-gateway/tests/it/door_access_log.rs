//! What the log tells of each answer, and what it keeps to itself.

use crate::door_support::{Door, Upstream};
use serde_json::Value;

#[tokio::test]
async fn each_answer_is_a_line_with_its_route_and_nothing_that_the_client_wrote() {
    let upstream = Upstream::listen().await;
    let mut door = Door::with(&[upstream.port()], &[("door.access_log", "true")]).await;
    let request = |host: &str, id: &str| {
        format!(
            "GET /hunter2?key=hunter2 HTTP/1.1\r\nHost: {host}\r\nX-Correlation-ID: {id}\r\nAuthorization: hunter2\r\n\r\n"
        )
    };
    let mut client = door.connect().await;
    client.send(request("a", "passed-1")).await;
    let (mut served, _) = upstream.request().await;
    served.answer("hunter2").await;
    client.message().await;
    client.send(request("nowhere", "nowhere-1")).await;
    client.message().await;
    client.send("HUNTER2 / HTTP/1.1\r\nHost: nowhere\r\nX-Correlation-ID: method-1\r\n\r\n").await;
    client.message().await;
    client.send("GET /hunter2 hunter2\r\n\r\n").await;
    client.message().await;
    drop(served);
    drop(upstream);
    let mut client = door.connect().await;
    client.send(request("a", "broken-1")).await;
    client.message().await;
    door.service.stop().await;

    let log = door.service.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<_> = lines.filter(|line| line["target"] == "access").collect();
    for (id, method, route, status) in [
        (Some("passed-1"), "GET", "all", 200),
        (Some("nowhere-1"), "GET", "none", 404),
        (Some("method-1"), "_OTHER", "none", 404),
        (None, "none", "none", 400),
        (Some("broken-1"), "GET", "all", 502),
    ] {
        let is = |line: &&Value| {
            line["fields"]["http.status"] == status && id.is_none_or(|id| line["correlation_id"] == id)
        };
        let line = lines.iter().find(is).unwrap_or_else(|| panic!("{status}: {log}"));
        let fields = &line["fields"];
        assert_eq!(
            (&fields["http.method"], &fields["route.name"]),
            (&method.into(), &route.into()),
            "{line}"
        );
        assert!(fields["latency_us"].is_u64(), "{line}");
    }
    assert!(!log.to_lowercase().contains("hunter2"), "{log}");
}
