//! What is measured of each request, by the semantic conventions for HTTP servers, and `/metrics`, which shows all that
//! the process measures.
//!
//! Every label has a small set of values: the route is a template, a path that leads nowhere has none, and a method that
//! nobody knows is `_OTHER`.

use crate::access::{Access, Action};
use crate::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::web;
use domain::CorrelationId;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;
use telemetry::Span;
use telemetry::metrics::{
    BoundHistogram, BoundUpDownCounter, DURATION_BOUNDS, Histogram, KeyValue, PROMETHEUS_TEXT, SIZE_BOUNDS,
    UpDownCounter, is_off, meter, prometheus,
};

/// What one thread of a server measures.
///
/// A request costs one look-up by route and some 100 ns: whatever it has in common with an earlier one of the thread is
/// bound already. Source: docs/adr/0015-telemetry.md.
pub struct HttpMetrics {
    service: &'static str,
    /// By route; those without one under the empty text.
    routes: RefCell<HashMap<Box<str>, Vec<Known>>>,
    active: RefCell<Vec<(Kind, BoundUpDownCounter<i64>)>>,
}

/// A request and the head of its answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The method, as it came.
    pub method: &'a str,
    /// Whether it came by TLS.
    pub secure: bool,
    /// The template of its route; none when no route leads there.
    pub route: Option<&'a str>,
    /// The answer's status.
    pub status: u16,
    /// From the request's head to the answer's.
    pub duration: Duration,
    /// The request's correlation id.
    pub correlation: &'a CorrelationId,
    /// Bytes of the request's body, where its length is known.
    pub request_bytes: Option<u64>,
    /// Bytes of the answer's body, where its length is known.
    pub answer_bytes: Option<u64>,
}

/// A request that is being answered; counted until it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Active(Option<BoundUpDownCounter<i64>>);

/// The part of a request that says how it is counted while it is active.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    method: &'static str,
    secure: bool,
}

struct Known {
    kind: Kind,
    status: u16,
    duration: BoundHistogram<f64>,
    // Bound when there is something to say: one that is bound shows, also with nothing in it.
    request_bytes: OnceCell<BoundHistogram<u64>>,
    answer_bytes: OnceCell<BoundHistogram<u64>>,
    labels: Vec<KeyValue>,
}

impl HttpMetrics {
    /// For one thread of this service.
    pub fn new(service: &'static str) -> Self {
        Self { service, routes: RefCell::default(), active: RefCell::default() }
    }

    /// Counts a request among the active ones.
    pub fn begin(&self, method: &str, secure: bool) -> Active {
        if is_off() {
            return Active(None);
        }
        let kind = Kind { method: known_method(method), secure };
        let mut active = self.active.borrow_mut();
        let found = active.iter().find(|(known, _)| *known == kind).map(|(_, counter)| counter.clone());
        let counter = found.unwrap_or_else(|| {
            let counter = instruments().active.bind(&self.labels(kind));
            active.push((kind, counter.clone()));
            counter
        });
        counter.add(1);
        Active(Some(counter))
    }

    /// Measures it, once the head of its answer is known, and ends its span if it has one.
    ///
    /// Whoever reads traces sees the route's template, never a path, which may hold ids and names.
    pub fn record(&self, exchange: &Exchange<'_>, span: Option<Span>) {
        if let Some(span) = span.filter(Span::is_recording) {
            end(span, exchange);
        }
        if is_off() {
            return;
        }
        let Exchange { route, status, .. } = *exchange;
        let kind = Kind { method: known_method(exchange.method), secure: exchange.secure };
        let mut routes = self.routes.borrow_mut();
        let name = route.unwrap_or_default();
        if !routes.contains_key(name) {
            routes.insert(name.into(), Vec::new());
        }
        let Some(known) = routes.get_mut(name) else { return };
        let position = known.iter().position(|known| known.kind == kind && known.status == status);
        let position = position.unwrap_or_else(|| {
            known.push(Known::bind(kind, status, self.labels_of(kind, route, status)));
            known.len() - 1
        });
        known[position].record(exchange);
    }

    fn labels_of(&self, kind: Kind, route: Option<&str>, status: u16) -> Vec<KeyValue> {
        let mut labels = Vec::from(self.labels(kind));
        labels.push(KeyValue::new("http.response.status_code", i64::from(status)));
        labels.extend(route.map(|route| KeyValue::new("http.route", route.to_owned())));
        if is_failure(status) {
            labels.push(KeyValue::new("error.type", status.to_string()));
        }
        labels
    }

    fn labels(&self, kind: Kind) -> [KeyValue; 3] {
        [
            KeyValue::new("http.request.method", kind.method),
            KeyValue::new("url.scheme", scheme(kind.secure)),
            // `sluice up` runs all services in one process.
            KeyValue::new("sluice.service", self.service),
        ]
    }
}

impl Known {
    fn bind(kind: Kind, status: u16, labels: Vec<KeyValue>) -> Self {
        let duration = instruments().duration.bind(&labels);
        let (request_bytes, answer_bytes) = (OnceCell::new(), OnceCell::new());
        Self { kind, status, duration, request_bytes, answer_bytes, labels }
    }

    fn record(&self, exchange: &Exchange<'_>) {
        self.duration.record(exchange.duration.as_secs_f64());
        if let Some(bytes) = exchange.request_bytes {
            self.request_bytes.get_or_init(|| instruments().request_bytes.bind(&self.labels)).record(bytes);
        }
        if let Some(bytes) = exchange.answer_bytes {
            self.answer_bytes.get_or_init(|| instruments().answer_bytes.bind(&self.labels)).record(bytes);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.add(-1);
        }
    }
}

impl std::fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpMetrics").field("service", &self.service).finish_non_exhaustive()
    }
}

fn end(mut span: Span, exchange: &Exchange<'_>) {
    let method = known_method(exchange.method);
    span.set("http.request.method", method);
    span.set("url.scheme", scheme(exchange.secure));
    if let Some(route) = exchange.route {
        span.rename(format!("{method} {route}"));
        span.set("http.route", route.to_owned());
    }
    span.set("http.response.status_code", i64::from(exchange.status));
    span.set("sluice.correlation_id", exchange.correlation.as_str().to_owned());
    if is_failure(exchange.status) {
        span.fail(exchange.status.to_string());
    }
}

/// By the conventions what the caller did wrong is no failure of the server.
fn is_failure(status: u16) -> bool {
    status >= 500
}

fn scheme(secure: bool) -> &'static str {
    if secure { "https" } else { "http" }
}

/// The method, or `_OTHER`: anybody can make up as many as they like.
pub fn known_method(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "CONNECT" => "CONNECT",
        _ => "_OTHER",
    }
}

/// The route; it needs `ops:read`.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config.service(web::resource("/metrics").route(web::get().to(metrics)));
}

/// `GET /metrics`: every metric of the process, in the text format of Prometheus.
async fn metrics(access: Access) -> Result<HttpResponse, Problem> {
    access.require(Action::OpsRead, "")?;
    let head = (CONTENT_TYPE, HeaderValue::from_static(PROMETHEUS_TEXT));
    let fresh = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(HttpResponse::Ok().insert_header(head).insert_header(fresh).body(prometheus()))
}

struct Instruments {
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
    request_bytes: Histogram<u64>,
    answer_bytes: Histogram<u64>,
}

fn instruments() -> &'static Instruments {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| {
        let sizes = |name, about| {
            let histogram = meter().u64_histogram(name).with_unit("By").with_description(about);
            histogram.with_boundaries(SIZE_BOUNDS.to_vec()).build()
        };
        Instruments {
            duration: meter()
                .f64_histogram("http.server.request.duration")
                .with_unit("s")
                .with_description("From the head of a request to the head of its answer")
                .with_boundaries(DURATION_BOUNDS.to_vec())
                .build(),
            active: meter()
                .i64_up_down_counter("http.server.active_requests")
                .with_unit("{request}")
                .with_description("Requests that are being answered")
                .build(),
            request_bytes: sizes("http.server.request.body.size", "Bodies of requests of a known length"),
            answer_bytes: sizes("http.server.response.body.size", "Bodies of answers of a known length"),
        }
    })
}
