//! What ties a request to others: `X-Correlation-ID` and `traceparent`.

use crate::Problem;
use actix_web::dev::Payload;
use actix_web::http::header::HeaderName;
use actix_web::{FromRequest, HttpRequest};
use domain::CorrelationId;
use std::future::{Ready, ready};

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

/// The W3C `traceparent` as it came, to be passed on; none when there was none, or an invalid one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceParent(pub Option<String>);

impl FromRequest for TraceParent {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let valid = header.filter(|text| text.parse::<telemetry::TraceParent>().is_ok());
        ready(Ok(Self(valid.map(str::to_owned))))
    }
}

pub(crate) fn of(headers: &actix_web::http::header::HeaderMap) -> CorrelationId {
    telemetry::accept(headers.get(X_CORRELATION_ID).and_then(|value| value.to_str().ok()))
}
