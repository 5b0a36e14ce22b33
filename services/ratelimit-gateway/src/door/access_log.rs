//! A line of the log for each answer, where `door.access_log` wants it: the route stands for the path, and the query is left
//! out, for either may hold what nobody else should read.

use super::answer::Kind;
use crate::gate::CORRELATION;
use crate::rules::Route;
use http::{Method, Response};
use std::sync::Arc;
use tokio::time::Instant;

/// The route of an answer, in its extensions, for its line.
#[derive(Clone)]
pub(super) struct Routed(pub(super) Arc<Route>);

/// What is known of a line when its request comes.
pub(super) struct Line {
    began: Instant,
    method: &'static str,
}

impl Line {
    /// `method`: none when the head was refused before anybody read it.
    pub(super) fn begin(method: Option<&Method>) -> Self {
        // Anybody can make up a method.
        let known = |method: &Method| {
            METHODS.iter().copied().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
        };
        Self { began: Instant::now(), method: method.map_or("none", known) }
    }

    /// Writes it, now that the head of the answer is there.
    pub(super) fn end(self, answer: &Response<Kind>) {
        let code = answer.status().as_u16();
        let route = answer.extensions().get::<Routed>().map_or("none", |routed| &*routed.0.name);
        let correlation = answer.headers().get(CORRELATION).and_then(|value| value.to_str().ok());
        tracing::info!(
            target: "access",
            latency_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            correlation_id = correlation.unwrap_or_default(),
            http.method = self.method,
            route.name = route,
            http.status = code,
            "answered {code} on {route}"
        );
    }
}

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
