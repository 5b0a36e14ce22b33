//! What a service tells a collector: a process of this test binary, and a real receiver that decodes what it sends.

use crate::process::{end, running, signal};
use crate::support::{DEADLINE, keys_file};
use http_kit::ApiKey;
use secrecy::ExposeSecret;
use testkit::{CollectedPoint, Collector, free_port, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

#[tokio::test]
async fn traces_logs_and_metrics_reach_a_collector_by_either_protocol() {
    for (protocol, is_grpc) in [("grpc", true), ("http/protobuf", false), ("", false)] {
        let collector = Collector::start().await;
        let (child, bind) = running(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ])
        .await;
        let request = reqwest::Client::new().get(format!("http://{bind}/v1/panic"));
        let request = request.header("traceparent", traceparent("01")).header("X-Correlation-ID", "order-7");
        request.send().await.unwrap();
        signal(&child, "TERM").await;
        assert_eq!(end(child).await.code(), Some(0), "{protocol}");

        let spans = collector.spans();
        assert_eq!(spans.len(), 1, "{protocol}: {spans:?}");
        let span = &spans[0];
        assert_eq!((&*span.service, &*span.name, &*span.kind), ("cache-api", "GET", "Server"), "{protocol}");
        assert_eq!((&*span.trace_id, &*span.parent_id, span.failed), (TRACE, CALLER, true), "{protocol}");

        let logs = collector.logs();
        let panicked = logs.iter().find(|log| log.body == "panicked: on purpose").expect(protocol);
        assert_eq!((&*panicked.level, &*panicked.trace_id), ("error", TRACE), "{protocol}");
        assert_eq!(panicked.attributes["correlation_id"], "order-7", "{protocol}");
        assert!(logs.iter().any(|log| log.body.contains("listens on")), "{protocol}: {logs:?}");

        let is = |point: &&CollectedPoint| point.name == "http.server.request.duration";
        let points: Vec<_> = collector.points().into_iter().filter(|point| is(&point)).collect();
        let measured = points.iter().find(|point| point.attributes["http.response.status_code"] == "500");
        let measured = measured.unwrap_or_else(|| panic!("{protocol}: {points:?}"));
        assert_eq!(
            (&*measured.unit, measured.value, &*measured.service),
            ("s", 1.0, "cache-api"),
            "{protocol}"
        );

        assert_eq!(collector.grpc_calls() > 0, is_grpc, "{protocol}");
        assert_eq!(collector.http_calls() > 0, !is_grpc, "{protocol}");
    }
}

#[tokio::test]
async fn without_an_endpoint_nothing_of_an_exporter_is_there() {
    for environment in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("OTEL_SDK_DISABLED", "true")],
    ] {
        let (child, _) = running(environment).await;
        let threads = threads(child.id().unwrap());
        assert!(threads.iter().any(|name| name.starts_with("actix")), "{threads:?}");
        let is_exporter = |name: &String| name.starts_with("OpenTelemetry") || name.starts_with("telemetry");
        assert!(!threads.iter().any(is_exporter), "{environment:?}: {threads:?}");
    }
}

#[tokio::test]
async fn a_signal_is_exported_alone_where_the_others_are_off() {
    let collector = Collector::start().await;
    let (child, bind) = running(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/v1/traces", collector.endpoint())),
        ("OTEL_SERVICE_NAME", "renamed"),
    ])
    .await;
    reqwest::get(format!("http://{bind}/v1/correlation")).await.unwrap();
    signal(&child, "TERM").await;
    end(child).await;

    assert_eq!(collector.spans()[0].service, "renamed");
    assert_eq!((collector.logs(), collector.points()), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn sampling_honours_the_parent_and_says_so_to_whoever_is_called_next() {
    let collector = Collector::start().await;
    let (child, bind) = running(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())]).await;
    let client = reqwest::Client::new();
    for flags in ["00", "01"] {
        let request = client.get(format!("http://{bind}/v1/correlation"));
        let answer = request.header("traceparent", traceparent(flags)).send().await.unwrap();
        let (_, passed_on): (String, String) = answer.json().await.unwrap();
        assert!(passed_on.starts_with(&format!("00-{TRACE}-")), "{passed_on}");
        assert!(passed_on.ends_with(flags) && !passed_on.contains(CALLER), "{passed_on}");
    }
    signal(&child, "TERM").await;
    end(child).await;

    assert_eq!(collector.spans().len(), 1);
}

#[tokio::test]
async fn a_span_says_the_route_and_neither_a_path_nor_a_secret() {
    let collector = Collector::start().await;
    let (key, record) = ApiKey::generate("web", &["*"]).unwrap();
    let (_folder, file) = keys_file(&[record]);
    let (child, bind) = running(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()),
        ("SLUICE__AUTH__MODE", "keys"),
        ("SLUICE__AUTH__KEYS_FILE", file.to_str().unwrap()),
    ])
    .await;
    let client = reqwest::Client::new();
    let url = format!("http://{bind}/v1/cached/acme-payroll?token=hunter2");
    client.get(&url).bearer_auth(key.expose_secret()).send().await.unwrap();
    let method = reqwest::Method::from_bytes(b"BREW").unwrap();
    client.request(method, format!("http://{bind}/v1/teapot")).send().await.unwrap();
    reqwest::get(format!("http://{bind}/health/live")).await.unwrap();
    signal(&child, "TERM").await;
    end(child).await;

    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["GET /v1/cached/{project}", "_OTHER"]);
    assert_eq!(spans[0].attributes["http.route"], "/v1/cached/{project}");
    assert_eq!(spans[0].attributes["http.response.status_code"], "200");
    let all = format!("{spans:?} {:?} {:?}", collector.logs(), collector.points());
    for secret in [key.expose_secret(), "acme-payroll", "hunter2", "BREW", "teapot"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

#[tokio::test]
async fn a_collector_that_is_silent_or_away_holds_neither_a_request_nor_the_stop() {
    let (silent, away) = (Collector::silent().await, format!("http://127.0.0.1:{}", free_port()));
    let case = async |endpoint: String, protocol: &str| {
        let (child, bind) = running(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_SCHEDULE_DELAY", "1"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16"),
            // Far longer than the stop may take.
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
        ])
        .await;
        let (url, client) = (format!("http://{bind}/v1/correlation"), reqwest::Client::new());
        let answers = async {
            for _ in 0..200 {
                assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
            }
        };
        tokio::time::timeout(DEADLINE, answers).await.expect("answers in time");

        signal(&child, "TERM").await;
        assert_eq!(end(child).await.code(), Some(0), "{endpoint} {protocol}");
    };
    tokio::join!(
        case(silent.endpoint(), "grpc"),
        case(silent.endpoint(), "http/protobuf"),
        case(away, "grpc")
    );
}

#[tokio::test]
async fn an_endpoint_that_is_none_is_said_and_the_service_runs() {
    let (child, bind) =
        running(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])
            .await;
    until(async || reqwest::get(format!("http://{bind}/health/live")).await.is_ok(), DEADLINE).await;
    signal(&child, "TERM").await;
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    for signal in ["traces", "metrics", "logs"] {
        assert!(log.contains(&format!("{signal} are not exported: ")), "{signal}: {log}");
    }
}

/// The names of a process's threads.
fn threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let name =
        |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.unwrap().path().join("comm"));
    tasks.filter_map(|task| name(task).ok()).collect()
}
