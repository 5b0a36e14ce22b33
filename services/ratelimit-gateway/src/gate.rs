//! The one decision: where a request goes and whether it may. The public door, the check API and forward-auth ask here.

use crate::rules::Route;
use http::{HeaderMap, HeaderName, Method, Uri};
use http_kit::Problem;
use std::net::IpAddr;
use std::sync::Arc;

/// The head of a request, before anything of its body was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// As it came: the path is forwarded raw.
    pub(crate) uri: &'a Uri,
    /// The one `Host` or `:authority`.
    pub(crate) host: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: IpAddr,
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Passage {
    Forward(Forward),
    Refuse(Refusal),
}

/// It may pass.
#[derive(Debug)]
pub(crate) struct Forward {
    pub(crate) route: Arc<Route>,
    /// Fields that a client must not be able to set: removed from the request before `request_fields` are added.
    pub(crate) removed: Arc<[HeaderName]>,
    /// Identity, correlation, `X-Forwarded-*`.
    pub(crate) request_fields: HeaderMap,
    /// For the answer: `RateLimit`, `RateLimit-Policy`, mode, correlation.
    pub(crate) answer_fields: HeaderMap,
}

/// It may not.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    pub(crate) correlation: String,
    pub(crate) answer_fields: HeaderMap,
}

/// Decides by the rules.
pub(crate) struct Gate;

impl Gate {
    /// Without rules there are no routes.
    pub(crate) async fn admit(&self, _asked: &Asked<'_>) -> Passage {
        let problem = Problem::new(domain::ErrorCode::NotFound, "no route");
        let correlation = telemetry::accept(None).as_str().to_owned();
        Passage::Refuse(Refusal { problem, correlation, answer_fields: HeaderMap::new() })
    }
}
