//! Whether the service lives, is ready, and how it feels.

use crate::access::{Access, Action};
use crate::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::{self, Data};
use domain::ErrorCode;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether requests can be served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They can.
    Ready,
    /// They cannot, and why, for a person without any right: no address, no secret.
    NotReady(String),
}

pub(crate) type AskReadiness = Box<dyn Fn() -> BoxFuture<'static, Readiness> + Send + Sync>;
pub(crate) type AskDetail = Box<dyn Fn() -> BoxFuture<'static, Value> + Send + Sync>;

/// What the health endpoints of one server know; shared by its workers.
pub(crate) struct Health {
    pub(crate) service: &'static str,
    pub(crate) started: Instant,
    pub(crate) stopping: AtomicBool,
    pub(crate) ask_readiness: AskReadiness,
    pub(crate) ask_detail: AskDetail,
    last: Mutex<Option<(Instant, Readiness)>>,
}

impl Health {
    pub(crate) fn new(service: &'static str, ask_readiness: AskReadiness, ask_detail: AskDetail) -> Self {
        let started = Instant::now();
        let stopping = AtomicBool::new(false);
        Self { service, started, stopping, ask_readiness, ask_detail, last: Mutex::new(None) }
    }

    /// What was found within the last second, else a new finding. Nobody waits for another's question, so some that
    /// come together may ask together.
    async fn readiness(&self) -> Readiness {
        if self.stopping.load(Ordering::Relaxed) {
            return Readiness::NotReady("stopping".to_owned());
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, found)) = last.filter(|(when, _)| when.elapsed() < HOLDS_FOR) {
            return found;
        }
        let asked = tokio::time::timeout(DEADLINE, (self.ask_readiness)()).await;
        let found = asked.unwrap_or_else(|_| Readiness::NotReady("no answer in time".to_owned()));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), found.clone()));
        found
    }
}

/// The routes; `/health` itself needs `ops:read`.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/health/live").get(live))
        .service(web::resource("/health/ready").get(ready))
        .service(web::resource("/health").get(detail));
}

/// `GET /health/live`: 200 as long as the process answers at all.
async fn live() -> HttpResponse {
    answer(&json!({"status": "live"}))
}

/// `GET /health/ready`: 200, or 503 with the reason. Asks at most about once a second, however often it is called.
async fn ready(health: Data<Health>) -> Result<HttpResponse, Problem> {
    match health.readiness().await {
        Readiness::Ready => Ok(answer(&json!({"status": "ready"}))),
        Readiness::NotReady(reason) => {
            Err(Problem::new(ErrorCode::Unavailable, format!("not ready: {reason}")))
        }
    }
}

/// `GET /health`: 200 with all that is known, whatever it is.
async fn detail(access: Access, health: Data<Health>) -> Result<HttpResponse, Problem> {
    access.require(Action::OpsRead, "")?;
    let readiness = health.readiness().await;
    let checks = tokio::time::timeout(DEADLINE, (health.ask_detail)()).await;
    let reason = match &readiness {
        Readiness::Ready => Value::Null,
        Readiness::NotReady(reason) => reason.as_str().into(),
    };
    Ok(answer(&json!({
        "service": health.service,
        "version": env!("CARGO_PKG_VERSION"),
        "status": if readiness == Readiness::Ready { "ready" } else { "not_ready" },
        "reason": reason,
        "uptime_ms": u64::try_from(health.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "checks": checks.unwrap_or_else(|_| json!({"error": "no answer in time"})),
    })))
}

fn answer(body: &Value) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store"))).json(body)
}

const HOLDS_FOR: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(1);
