//! An OpenTelemetry collector in the test's process: takes OTLP by gRPC and by http/protobuf, and shows what came.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Attributes by name; a value that is no string is shown as one.
pub type Attributes = BTreeMap<String, String>;

/// A span that a collector got. Ids are in hexadecimal digits, empty where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectedSpan {
    /// `service.name` of its resource.
    pub service: String,
    /// The trace.
    pub trace_id: String,
    /// The span.
    pub span_id: String,
    /// The span that it is a part of.
    pub parent_id: String,
    /// Its name.
    pub name: String,
    /// `Server`, `Client`, `Producer`, `Consumer`, `Internal`.
    pub kind: String,
    /// Whether it says that it failed.
    pub failed: bool,
    /// What it says.
    pub attributes: Attributes,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
}

/// A record of log that a collector got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectedLog {
    /// `service.name` of its resource.
    pub service: String,
    /// `info`, `warn`, …
    pub level: String,
    /// The message.
    pub body: String,
    /// The trace that it belongs to, empty if none.
    pub trace_id: String,
    /// What it says besides.
    pub attributes: Attributes,
}

/// One point of a metric that a collector got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectedPoint {
    /// `service.name` of its resource.
    pub service: String,
    /// The metric.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// What tells the point from the others.
    pub attributes: Attributes,
    /// Of a sum or a gauge its value, of a histogram how many it has seen.
    pub value: f64,
}

/// An OTLP receiver on a free port. Dropping it closes it.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    got: Arc<Got>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Got {
    spans: Mutex<Vec<CollectedSpan>>,
    logs: Mutex<Vec<CollectedLog>>,
    points: Mutex<Vec<CollectedPoint>>,
    grpc_calls: AtomicUsize,
    http_calls: AtomicUsize,
    /// It takes what comes and never answers.
    silent: bool,
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        Self::listen(false).await
    }

    /// One that accepts every connection and answers nothing.
    pub async fn silent() -> Self {
        Self::listen(true).await
    }

    /// `http://127.0.0.1:<port>`, for `OTEL_EXPORTER_OTLP_ENDPOINT`, whatever the protocol.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans that came, in the order of their coming.
    pub fn spans(&self) -> Vec<CollectedSpan> {
        copy(&self.got.spans)
    }

    /// The records of log that came.
    pub fn logs(&self) -> Vec<CollectedLog> {
        copy(&self.got.logs)
    }

    /// The points of metrics that came; those of each export, one after the other.
    pub fn points(&self) -> Vec<CollectedPoint> {
        copy(&self.got.points)
    }

    /// How many exports came by gRPC.
    pub fn grpc_calls(&self) -> usize {
        self.got.grpc_calls.load(Ordering::Relaxed)
    }

    /// How many exports came by http/protobuf.
    pub fn http_calls(&self) -> usize {
        self.got.http_calls.load(Ordering::Relaxed)
    }

    async fn listen(silent: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let got = Arc::new(Got { silent, ..Got::default() });
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&got);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { port, got, _tasks: tasks }
    }
}

/// HTTP/2 with prior knowledge is gRPC, HTTP/1.1 is http/protobuf.
async fn serve(stream: TcpStream, got: Arc<Got>) {
    let mut begin = [0; 3];
    let _ = stream.peek(&mut begin).await;
    let service = service_fn(move |request| answer(request, Arc::clone(&got)));
    // How a connection ends is the business of the exporter under test.
    let _ = if &begin == b"PRI" {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    };
}

type Body = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(request: Request<Incoming>, got: Arc<Got>) -> Result<Response<Body>, hyper::Error> {
    let (head, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    if got.silent {
        std::future::pending::<()>().await;
    }
    let is_grpc =
        head.headers.get("content-type").is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    let calls = if is_grpc { &got.grpc_calls } else { &got.http_calls };
    calls.fetch_add(1, Ordering::Relaxed);
    if is_grpc {
        // A byte for "compressed", four of length.
        body.advance(5);
    }
    got.take(head.uri.path(), &body);

    // The answer is an empty message: everything was taken.
    let frames = if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a header value"));
        vec![Ok(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))]
    } else {
        Vec::new()
    };
    let content_type = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
    let response = Response::builder().header("content-type", content_type);
    Ok(response.body(StreamBody::new(stream::iter(frames))).expect("a valid head"))
}

impl Got {
    fn take(&self, path: &str, body: &[u8]) {
        match path {
            "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
                let request = ExportTraceServiceRequest::decode(body).expect("protobuf of traces");
                extend(&self.spans, spans(request));
            }
            "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
                let request = ExportLogsServiceRequest::decode(body).expect("protobuf of logs");
                extend(&self.logs, logs(request));
            }
            "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                let request = ExportMetricsServiceRequest::decode(body).expect("protobuf of metrics");
                extend(&self.points, points(request));
            }
            other => panic!("a collector has no {other}"),
        }
    }
}

fn spans(request: ExportTraceServiceRequest) -> Vec<CollectedSpan> {
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let service = service(of_resource.resource.as_ref());
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let kind = format!("{:?}", span.kind());
            spans.push(CollectedSpan {
                service: service.clone(),
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent_id: hex(&span.parent_span_id),
                name: span.name,
                kind,
                failed: span.status.is_some_and(|status| status.code == 2),
                attributes: attributes(span.attributes),
                links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
            });
        }
    }
    spans
}

fn logs(request: ExportLogsServiceRequest) -> Vec<CollectedLog> {
    let mut logs = Vec::new();
    for of_resource in request.resource_logs {
        let service = service(of_resource.resource.as_ref());
        for record in of_resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            logs.push(CollectedLog {
                service: service.clone(),
                level: record.severity_text,
                body: record.body.and_then(|body| body.value).map(text).unwrap_or_default(),
                trace_id: hex(&record.trace_id),
                attributes: attributes(record.attributes),
            });
        }
    }
    logs
}

fn points(request: ExportMetricsServiceRequest) -> Vec<CollectedPoint> {
    let mut points = Vec::new();
    for of_resource in request.resource_metrics {
        let service = service(of_resource.resource.as_ref());
        for metric in of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let mut add = |labels: Vec<KeyValue>, value: f64| {
                let (name, unit) = (metric.name.clone(), metric.unit.clone());
                let (service, attributes) = (service.clone(), attributes(labels));
                points.push(CollectedPoint { service, name, unit, attributes, value });
            };
            match metric.data {
                Some(Data::Gauge(gauge)) => {
                    gauge
                        .data_points
                        .into_iter()
                        .for_each(|point| add(point.attributes, number(point.value)));
                }
                Some(Data::Sum(sum)) => {
                    sum.data_points.into_iter().for_each(|point| add(point.attributes, number(point.value)));
                }
                Some(Data::Histogram(histogram)) => {
                    histogram
                        .data_points
                        .into_iter()
                        .for_each(|point| add(point.attributes, point.count as f64));
                }
                _ => {}
            }
        }
    }
    points
}

fn number(value: Option<opentelemetry_proto::tonic::metrics::v1::number_data_point::Value>) -> f64 {
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    match value {
        Some(Value::AsDouble(value)) => value,
        Some(Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    }
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = attributes(resource.map(|resource| resource.attributes.clone()).unwrap_or_default());
    attributes.get("service.name").cloned().unwrap_or_default()
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let value =
        |pair: KeyValue| (pair.key, pair.value.and_then(|value| value.value).map(text).unwrap_or_default());
    pairs.into_iter().map(value).collect()
}

fn text(value: Value) -> String {
    match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn copy<T: Clone>(items: &Mutex<Vec<T>>) -> Vec<T> {
    items.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn extend<T>(items: &Mutex<Vec<T>>, more: Vec<T>) {
    items.lock().unwrap_or_else(PoisonError::into_inner).extend(more);
}
