//! What ties a request to others: `X-Correlation-ID` and `traceparent`.

use crate::Problem;
use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpRequest};
use domain::CorrelationId;
use std::future::{Ready, ready};
use telemetry::TraceContext;

/// The header of a request, and of every answer.
pub(crate) const X_CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The request's correlation id: the client's when it sent a valid one, else a UUIDv7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation(pub CorrelationId);

impl FromRequest for Correlation {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // The edge has put it in place; outside of it (in a test of a handler) the header decides again.
        let id = telemetry::current().unwrap_or_else(|| of(request.headers()));
        ready(Ok(Self(id)))
    }
}

/// The W3C `traceparent` to pass on: of this service's own span where it exports traces, else as it came; none when there
/// was none, or an invalid one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceParent(pub Option<String>);

impl FromRequest for TraceParent {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let trace = telemetry::current_trace().or_else(|| trace_of(request.headers()));
        ready(Ok(Self(trace.and_then(|trace| trace.traceparent()))))
    }
}

pub(crate) fn of(headers: &HeaderMap) -> CorrelationId {
    telemetry::accept(headers.get(X_CORRELATION_ID).and_then(|value| value.to_str().ok()))
}

/// Where in a trace the caller is.
pub(crate) fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let one = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (parent, baggage) = (one(TRACEPARENT), one(BAGGAGE));
    if parent.is_none() && baggage.is_none() {
        return None;
    }
    // The one of the three that may come in several lines.
    let mut states = headers.get_all(TRACESTATE).filter_map(|value| value.to_str().ok());
    let state = states.next().map(|first| states.fold(first.to_owned(), |all, next| all + "," + next));
    TraceContext::from_headers(parent, state.as_deref(), baggage)
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
