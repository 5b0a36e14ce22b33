//! What every request passes, outermost: bounds of the head, correlation id, panics, problems, the access log.
//!
//! It is on the path of a cached read, so it boxes nothing, and formats nothing unless it is logged or recorded.

use crate::connection::{AnswerBody, InFlight, Requests};
use crate::correlation::{self, X_CORRELATION_ID};
use crate::hops::{HopSink, Touched};
use crate::metrics::{Active, Exchange, HttpMetrics, known_method};
use crate::problem::{PROBLEM_JSON, Problem};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{RequestHead, Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, CROSS_ORIGIN_RESOURCE_POLICY, HeaderMap,
    HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{StatusCode, Uri};
use actix_web::{Error, HttpResponse, ResponseError};
use domain::{CorrelationId, ErrorCode};
use std::cell::Cell;
use std::fmt;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use telemetry::{Correlated, Span, TraceContext};

/// The outermost middleware of a [`Server`](crate::Server).
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) service: &'static str,
    pub(crate) hops: Option<HopSink>,
    pub(crate) head_bytes_max: usize,
    pub(crate) url_bytes_max: usize,
    /// Whether clients come by TLS.
    pub(crate) secure: bool,
    /// Whether each answer is a line of the log.
    pub(crate) access_log: bool,
}

impl<S> Transform<S, ServiceRequest> for Edge
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error>,
    S::Future: Unpin,
{
    type Response = ServiceResponse<AnswerBody>;
    type Error = Error;
    type Transform = EdgeService<S>;
    type InitError = ();
    type Future = Ready<Result<EdgeService<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let (warnings, metrics) = (WarningBudget::new(), HttpMetrics::new(self.service));
        let shared = Rc::new(Shared { edge: self.clone(), warnings, metrics });
        ready(Ok(EdgeService { inner, shared }))
    }
}

pub(crate) struct EdgeService<S> {
    inner: S,
    shared: Rc<Shared>,
}

/// What all requests of a worker share.
struct Shared {
    edge: Edge,
    warnings: WarningBudget,
    metrics: HttpMetrics,
}

impl<S> Service<ServiceRequest> for EdgeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error>,
    S::Future: Unpin,
{
    type Response = ServiceResponse<AnswerBody>;
    type Error = Error;
    type Future = Answer<S::Future>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let started = Instant::now();
        let in_flight = request.conn_data::<Rc<Requests>>().map(Requests::begin);
        let correlation = correlation::of(request.headers());
        let (method, uri) = (known_method(request.method().as_str()), request.uri().clone());
        let active = self.shared.metrics.begin(method, self.shared.edge.secure);
        let length = || request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let request_bytes = if matches!(method, "GET" | "HEAD") { None } else { length() };
        let caller = correlation::trace_of(request.headers());
        let span = if is_probe(uri.path()) { None } else { Span::server(method, caller.as_ref()) };
        let trace = span.as_ref().map(|span| span.context().clone()).or(caller);
        let step = match self.shared.edge.check(request.head()) {
            Ok(()) => {
                let handled = Correlated::new(correlation.clone(), self.inner.call(request));
                Step::Handled(handled.in_trace(trace.clone()))
            }
            Err(problem) => Step::Refused(Some(request.error_response(problem))),
        };
        let shared = Rc::clone(&self.shared);
        Answer {
            step,
            correlation,
            trace,
            span,
            method,
            request_bytes,
            uri,
            started,
            shared,
            in_flight,
            _active: active,
        }
    }
}

impl Edge {
    /// Sets what keeps a browser from making more of an answer than it is, unless the handler has set its own.
    fn protect(&self, headers: &mut HeaderMap) {
        for (name, value) in &FOR_BROWSERS {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
        if self.secure {
            headers.insert(STRICT_TRANSPORT_SECURITY, A_YEAR);
        }
    }

    fn check(&self, head: &RequestHead) -> Result<(), Problem> {
        let url = head.uri.path().len() + head.uri.query().map_or(0, |query| query.len() + 1);
        if url > self.url_bytes_max {
            let detail = format!("the URL has {url} bytes; the bound is {}", self.url_bytes_max);
            return Err(Problem::new(ErrorCode::UriTooLong, detail));
        }
        // As on the wire: `name: value\r\n`, after `GET <url> HTTP/1.1\r\n`.
        let lines = head.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        let bytes = lines.sum::<usize>() + head.method.as_str().len() + url + 12;
        if bytes > self.head_bytes_max {
            let detail = format!("the request head has {bytes} bytes; the bound is {}", self.head_bytes_max);
            return Err(Problem::new(ErrorCode::HeadTooLarge, detail));
        }
        Ok(())
    }
}

/// The answer to one request, while it is made.
pub(crate) struct Answer<F> {
    step: Step<F>,
    correlation: CorrelationId,
    trace: Option<TraceContext>,
    /// Ends with the head of the answer.
    span: Option<Span>,
    /// `_OTHER` when the client made it up.
    method: &'static str,
    request_bytes: Option<u64>,
    /// Kept for the one case without a request at hand, a panic: two counters are cheaper than a clone of the path.
    uri: Uri,
    started: Instant,
    shared: Rc<Shared>,
    /// Goes on with the body of the answer.
    in_flight: Option<InFlight>,
    _active: Active,
}

enum Step<F> {
    Handled(Correlated<F>),
    Refused(Option<ServiceResponse>),
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<ServiceResponse, Error>> + Unpin,
{
    type Output = Result<ServiceResponse<AnswerBody>, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let polled = match &mut this.step {
            Step::Refused(response) => Ok(Poll::Ready(Ok(response.take().expect("polled once")))),
            // The state of a handler that panicked is dropped right after: nobody sees it half done.
            Step::Handled(handled) => catch_unwind(AssertUnwindSafe(|| Pin::new(handled).poll(context))),
        };
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => Poll::Ready(Ok(this.finish(response))),
            Ok(Poll::Ready(Err(error))) => Poll::Ready(Err(this.bare(problem_of(&error)))),
            // The hook of `telemetry` has logged it.
            Err(_) => Poll::Ready(Err(this.bare(Problem::internal()))),
        }
    }
}

impl<F> Answer<F> {
    fn finish(&mut self, response: ServiceResponse) -> ServiceResponse<AnswerBody> {
        let status = response.status();
        let route = response.request().match_pattern();
        let failed = status.is_client_error() || status.is_server_error();
        let mut response = if failed { self.as_problem(response) } else { response };
        response.headers_mut().insert(X_CORRELATION_ID, header(&self.correlation));
        self.shared.edge.protect(response.headers_mut());
        let touched = response.response_mut().extensions_mut().remove::<Touched>();
        self.measure(route.as_deref(), status, body_length(response.response().body()), touched);
        self.log(route.as_deref(), status);
        let in_flight = self.in_flight.take();
        response.map_body(|_, body| AnswerBody { body, in_flight })
    }

    fn measure(
        &mut self,
        route: Option<&str>,
        status: StatusCode,
        answer_bytes: Option<u64>,
        touched: Option<Touched>,
    ) {
        let exchange = Exchange {
            method: self.method,
            secure: self.shared.edge.secure,
            route,
            status: status.as_u16(),
            duration: self.started.elapsed(),
            correlation: &self.correlation,
            request_bytes: self.request_bytes,
            answer_bytes,
        };
        if let Some(hops) = self.shared.edge.hops.as_ref().filter(|_| !is_probe(self.uri.path())) {
            hops.note(&exchange, self.trace.as_ref(), touched);
        }
        self.shared.metrics.record(&exchange, self.span.take());
    }

    /// Gives an error its body, unless the handler wrote one of its own.
    fn as_problem(&self, response: ServiceResponse) -> ServiceResponse {
        let (request, response) = response.into_parts();
        let empty = matches!(response.body().size(), BodySize::None | BodySize::Sized(0));
        let problem = match response.error() {
            Some(error) => problem_of(error),
            None if empty => Problem::of_status(response.status(), None),
            None => return ServiceResponse::new(request, response),
        };
        let body = problem.render(self.uri.path(), self.correlation.as_str());
        let mut response = response.set_body(BoxBody::new(body));
        *response.status_mut() = problem.status();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        ServiceResponse::new(request, response)
    }

    fn bare(&mut self, problem: Problem) -> Error {
        // Its request, and with it the route, is gone.
        self.measure(None, problem.status(), None, None);
        let body = problem.render(self.uri.path(), self.correlation.as_str());
        self.log(None, problem.status());
        Bare { problem, correlation: self.correlation.clone(), edge: self.shared.edge.clone(), body }.into()
    }

    /// Failures of ours at `warn`, all else with the access log: a line per request is not free. The route stands for the
    /// path, whose names may be secrets, and for the query.
    fn log(&self, route: Option<&str>, status: StatusCode) {
        let failed = status.is_server_error() && self.shared.warnings.take();
        if !failed && !self.shared.edge.access_log {
            return;
        }
        let route = route.unwrap_or("none");
        let latency_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let trace_id = self.trace.as_ref().and_then(TraceContext::trace_id);
        let (method, code, correlation_id) = (self.method, status.as_u16(), self.correlation.as_str());
        if failed {
            tracing::warn!(
                target: "access",
                latency_us, correlation_id, trace_id, http.method = method, http.route = route, http.status = code,
                "answered {code} on {route}"
            );
        } else {
            tracing::info!(
                target: "access",
                latency_us, correlation_id, trace_id, http.method = method, http.route = route, http.status = code,
                "answered {code} on {route}"
            );
        }
    }
}

fn body_length(body: &impl MessageBody) -> Option<u64> {
    match body.size() {
        BodySize::None => Some(0),
        BodySize::Sized(bytes) => Some(bytes),
        BodySize::Stream => None,
    }
}

/// Asked every few seconds by machines: a trace of it tells nobody anything.
fn is_probe(path: &str) -> bool {
    path.starts_with("/health") || path == "/metrics"
}

/// Entries are bytes of users with a type of theirs, at the origin of our own pages: none of them runs a script, stands in
/// a frame, or is read by another origin's page.
static FOR_BROWSERS: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
];
const A_YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");

fn header(correlation: &CorrelationId) -> HeaderValue {
    HeaderValue::from_str(correlation.as_str()).expect("a correlation id is visible ASCII")
}

/// The problem that an error is, or stands for when a library made it.
fn problem_of(error: &Error) -> Problem {
    if let Some(problem) = error.as_error::<Problem>() {
        return problem.clone();
    }
    let status = error.as_response_error().status_code();
    if status.is_server_error() {
        tracing::error!(error = %error, "a request failed by a mistake of ours: {error}");
    }
    Problem::of_status(status, Some(error.to_string()))
}

/// A problem that never became a response inside: it has to write itself.
#[derive(Debug)]
struct Bare {
    problem: Problem,
    correlation: CorrelationId,
    edge: Edge,
    body: Vec<u8>,
}

impl fmt::Display for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl ResponseError for Bare {
    fn status_code(&self) -> StatusCode {
        self.problem.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.problem.error_response();
        response.headers_mut().insert(X_CORRELATION_ID, header(&self.correlation));
        self.edge.protect(response.headers_mut());
        response.set_body(BoxBody::new(self.body.clone()))
    }
}

/// At most so many warnings a second and worker, so that an outage does not drown its own cause.
struct WarningBudget {
    since: Cell<Instant>,
    used: Cell<u32>,
}

impl WarningBudget {
    const PER_SECOND: u32 = 10;

    fn new() -> Self {
        Self { since: Cell::new(Instant::now()), used: Cell::new(0) }
    }

    fn take(&self) -> bool {
        if self.since.get().elapsed() >= Duration::from_secs(1) {
            self.since.set(Instant::now());
            self.used.set(0);
        }
        self.used.set(self.used.get() + 1);
        self.used.get() <= Self::PER_SECOND
    }
}
