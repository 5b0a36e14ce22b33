//! The one decision: where a request goes and whether it may. The public door, the check API and forward-auth ask here.

use crate::rules::{Route, Rules};
use domain::ErrorCode;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
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
#[derive(Debug)]
pub(crate) struct Gate {
    rules: Rules,
}

impl Gate {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules }
    }

    /// The first route that fits. The way of the request is told from here on: nobody before us is trusted.
    pub(crate) async fn admit(&self, asked: &Asked<'_>) -> Passage {
        let correlation = asked.headers.get(CORRELATION).and_then(|value| value.to_str().ok());
        let correlation = telemetry::accept(correlation).as_str().to_owned();
        let mut answer_fields = HeaderMap::new();
        answer_fields.extend(HeaderValue::from_str(&correlation).ok().map(|value| (CORRELATION, value)));
        let Some(route) = self.rules.routes.iter().find(|route| route.fits(asked)) else {
            let problem = Problem::new(ErrorCode::NotFound, "no route");
            return Passage::Refuse(Refusal { problem, correlation, answer_fields });
        };
        let mut request_fields = answer_fields.clone();
        for (name, text) in [
            (FORWARDED_FOR, &*asked.peer.to_string()),
            (FORWARDED_HOST, asked.host),
            (FORWARDED_PROTO, "http"),
        ] {
            request_fields.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
        }
        let removed = Arc::new([FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, FORWARDED]);
        Passage::Forward(Forward { route: route.clone(), removed, request_fields, answer_fields })
    }
}

const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
