//! Whether the service lives, is ready, and how it feels.

use crate::access::{Access, Action};
use crate::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::{self, Data};
use domain::{ErrorCode, Readiness};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) type AskReadiness = Box<dyn Fn() -> BoxFuture<'static, Readiness> + Send + Sync>;
pub(crate) type AskDetail = Box<dyn Fn() -> BoxFuture<'static, Value> + Send + Sync>;

/// What the health endpoints of one server know; shared by its workers.
pub(crate) struct Health {
    pub(crate) service: &'static str,
    pub(crate) started: Instant,
    pub(crate) stopping: AtomicBool,
    pub(crate) ask: Questions,
}

/// What they ask, each with an answer of its own.
pub(crate) struct Questions {
    pub(crate) readiness: AskReadiness,
    /// By the name under which `/health` shows it.
    pub(crate) backend: Option<(&'static str, AskDetail)>,
    pub(crate) detail: AskDetail,
}

impl Health {
    pub(crate) fn new(service: &'static str, ask: Questions) -> Self {
        Self { service, started: Instant::now(), stopping: AtomicBool::new(false), ask }
    }

    async fn readiness(&self) -> Readiness {
        if self.stopping.load(Ordering::Relaxed) {
            return Readiness::NotReady("stopping".to_owned());
        }
        let asked = tokio::time::timeout(DEADLINE, (self.ask.readiness)()).await;
        asked.unwrap_or_else(|_| Readiness::NotReady("no answer in time".to_owned()))
    }

    /// What the service shows of itself, and its backend beside it.
    async fn checks(&self) -> Value {
        let in_time = async |ask: &AskDetail| {
            let asked = tokio::time::timeout(DEADLINE, ask()).await;
            asked.unwrap_or_else(|_| json!({"error": "no answer in time"}))
        };
        let backend = async {
            match &self.ask.backend {
                Some((name, ask)) => Some((*name, in_time(ask).await)),
                None => None,
            }
        };
        let (mut checks, backend) = tokio::join!(in_time(&self.ask.detail), backend);
        if let (Some(checks), Some((name, backend))) = (checks.as_object_mut(), backend) {
            checks.insert(name.to_owned(), backend);
        }
        checks
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

/// `GET /health/ready`: 200, or 503 with the reason.
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
    let (readiness, checks) = tokio::join!(health.readiness(), health.checks());
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
        "checks": checks,
    })))
}

fn answer(body: &Value) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store"))).json(body)
}

const DEADLINE: Duration = Duration::from_secs(1);
