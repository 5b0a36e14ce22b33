//! The span of a request, by the semantic conventions for HTTP servers.

use actix_web::HttpRequest;
use actix_web::http::{Method, StatusCode};
use domain::CorrelationId;
use telemetry::{Span, TraceContext};

/// Begins it; none when this process exports no traces.
pub(crate) fn begin(method: &'static str, caller: Option<&TraceContext>) -> Option<Span> {
    Span::server(method, caller)
}

/// Ends it. Whoever reads traces sees the route's template, never a path, which may hold ids and names.
pub(crate) fn end(mut span: Span, request: &HttpRequest, status: StatusCode, correlation: &CorrelationId) {
    if !span.is_recording() {
        return;
    }
    let method = known(request.method());
    span.set("http.request.method", method);
    if let Some(route) = request.match_pattern() {
        span.rename(format!("{method} {route}"));
        span.set("http.route", route);
    }
    span.set("http.response.status_code", i64::from(status.as_u16()));
    span.set("sluice.correlation_id", correlation.as_str().to_owned());
    // By the conventions what the caller did wrong is no failure of the server.
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
}

/// The method, or `_OTHER`: anybody can make up as many as they like.
pub(crate) fn known(method: &Method) -> &'static str {
    match method.as_str() {
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
