//! What is said of a request at the public door: its correlation id and its span, in each line of log too; its metrics; and
//! a line of its own, where `door.access_log` wants it. The route stands for the path, and the query is left out, for either
//! may hold what nobody else should read.

use super::answer::Kind;
use super::connection::Peer;
use super::guard::REFUSED;
use super::proxy::Proxy;
use crate::gate::CORRELATION;
use crate::rules::Route;
use domain::CorrelationId;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body::Body;
use http_kit::{Active, Exchange, known_method};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use telemetry::{Correlated, Span, TraceContext};
use tokio::time::Instant;

/// A request from its head to the head of its answer.
pub(super) struct Followed<'a> {
    proxy: &'a Proxy,
    /// None when the head was refused before anybody read it.
    method: Option<&'static str>,
    secure: bool,
    request_bytes: Option<u64>,
    correlation: CorrelationId,
    trace: Option<TraceContext>,
    span: Option<Span>,
    began: Instant,
    _active: Active,
}

/// The route of an answer, in its extensions.
#[derive(Clone)]
pub(super) struct Routed(pub(super) Arc<Route>);

impl<'a> Followed<'a> {
    pub(super) fn begin(proxy: &'a Proxy, request: &Request<Incoming>, peer: Peer) -> Self {
        let headers = request.headers();
        let is_read = request.uri().scheme_str() != Some(REFUSED);
        let method = is_read.then(|| known_method(request.method().as_str()));
        let caller = trace_of(headers);
        let span = Span::server(method.unwrap_or(NO_METHOD), caller.as_ref());
        Self {
            proxy,
            method,
            secure: peer.secure,
            request_bytes: request.body().size_hint().exact().filter(|bytes| *bytes > 0),
            correlation: telemetry::accept(one(headers, &CORRELATION)),
            trace: span.as_ref().map(|span| span.context().clone()).or(caller),
            span,
            began: Instant::now(),
            _active: proxy.metrics().begin(method.unwrap_or(NO_METHOD), peer.secure),
        }
    }

    /// Answers it under its correlation id and in its trace, and says what came of it.
    pub(super) async fn follow(
        mut self,
        answering: Pin<&mut impl Future<Output = Response<Kind>>>,
    ) -> Response<Kind> {
        let answering = Correlated::new(self.correlation.clone(), answering).in_trace(self.trace.clone());
        let mut answer = answering.await;
        let routed = answer.extensions_mut().remove::<Routed>();
        let route = routed.as_ref().map(|Routed(route)| &**route);
        if self.proxy.has_access_log() {
            self.log(&answer, route);
        }
        let answer_bytes = match answer.body() {
            Kind::Own(bytes) => Some(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Kind::Relay(_) => one(answer.headers(), &CONTENT_LENGTH).and_then(|text| text.parse().ok()),
        };
        let exchange = Exchange {
            method: self.method.unwrap_or(NO_METHOD),
            secure: self.secure,
            route: route.map(|route| &*route.path.text),
            status: answer.status().as_u16(),
            duration: self.began.elapsed(),
            correlation: &self.correlation,
            request_bytes: self.request_bytes,
            answer_bytes,
        };
        self.proxy.hops().note(&exchange, self.trace.as_ref(), None);
        self.proxy.metrics().record(&exchange, self.span.take());
        answer
    }

    fn log(&self, answer: &Response<Kind>, route: Option<&Route>) {
        let code = answer.status().as_u16();
        let route = route.map_or("none", |route| &*route.name);
        tracing::info!(
            target: "access",
            latency_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            correlation_id = self.correlation.as_str(),
            trace_id = self.trace.as_ref().and_then(TraceContext::trace_id),
            http.method = self.method.unwrap_or("none"),
            route.name = route,
            http.status = code,
            "answered {code} on {route}"
        );
    }
}

/// Tells the upstream our span in place of its caller's. Without one, what the caller said goes on as it came.
pub(super) fn tell(fields: &mut HeaderMap) {
    if !telemetry::exports_traces() {
        return;
    }
    let parent = telemetry::current_trace().and_then(|trace| trace.traceparent());
    fields.extend(parent.and_then(|text| HeaderValue::try_from(text).ok()).map(|value| (TRACEPARENT, value)));
}

fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    // The other two also go through as they came.
    TraceContext::from_headers(one(headers, &TRACEPARENT), one(headers, &TRACESTATE), one(headers, &BAGGAGE))
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What the conventions call a method that nobody knows.
const NO_METHOD: &str = "_OTHER";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
