//! `/v1/ratelimit/check`: the gate's judgement for whoever is no proxy.

use super::{Admin, demand, require};
use crate::fields;
use crate::identity::Identity;
use actix_web::HttpResponse;
use actix_web::http::header::HeaderMap;
use actix_web::web::Data;
use domain::ratelimit::{Check, Checked, LimitStanding};
use http_kit::{Access, Correlation, Json, Problem};
use ratelimit::{Away, Demand, LimitError, Standing, Verdict};

/// `POST /v1/ratelimit/check`: 200 and counted, or 429 and not. One round trip, none when known to be denied.
#[utoipa::path(
    post, path = "/v1/ratelimit/check", tag = "limits", operation_id = "ratelimit_check",
    summary = "May this pass? Counts it if so; needs `gateway:admin`",
    request_body = Check,
    responses((
        status = 200, description = "It may", body = Checked,
        headers(("RateLimit" = String), ("RateLimit-Policy" = String), ("Sluice-RateLimit-Mode" = String)),
    )),
)]
pub(crate) async fn check(
    access: Access,
    Correlation(correlation): Correlation,
    body: Json<Check>,
    admin: Data<Admin>,
) -> Result<HttpResponse, Problem> {
    require(&access)?;
    let body = body.into_inner();
    let (demands, cost, away) = asked(&admin, &body)?;
    let limiter = &admin.gate.limiter;
    let verdict = match limiter.check(&demands, cost, away).await {
        Err(LimitError::Away { retry_after }) => return Err(fields::reduced_capacity("limits", retry_after)),
        Err(LimitError::Overloaded { retry_after }) => return Err(fields::overloaded(retry_after)),
        verdict => verdict?,
    };
    // A denial that this process remembered knows nothing of the policies that have room.
    let explained = match &verdict {
        Verdict { local: true, mode, .. } if body.explain && *mode == ratelimit::Mode::Exact => {
            Some(explain(&limiter.peek(&demands, cost).await?.standings, &demands))
        }
        _ => body.explain.then(|| explain(&verdict.standings, &demands)),
    };
    let mut headers = http::HeaderMap::new();
    fields::put(&mut headers, &verdict, &demands);
    let mut answer = if verdict.admitted {
        HttpResponse::Ok().json(Checked {
            allowed: true,
            mode: verdict.mode.as_str().to_owned(),
            limits: explained,
        })
    } else {
        let mut problem = fields::quota_exceeded(&verdict, &demands);
        if let Some(limits) = explained {
            problem = problem.and_member("limits", serde_json::json!(limits));
        }
        refused(&problem, "/v1/ratelimit/check", correlation.as_str())
    };
    copy(&headers, answer.headers_mut());
    Ok(answer)
}

fn asked(admin: &Admin, body: &Check) -> Result<(Vec<Demand>, u32, Away), Problem> {
    let rules = admin.gate.rules.now();
    let (policies, cost, away) = match (&body.policy, &body.route) {
        (Some(name), None) => {
            let policy = rules
                .policies
                .get(name)
                .ok_or_else(|| Problem::field("/policy", "there is no such policy"))?;
            (vec![policy.clone()], 1, Away::Open)
        }
        (None, Some(name)) => {
            let route = rules.routes.iter().find(|route| route.name == *name);
            let route = route.ok_or_else(|| Problem::field("/route", "there is no such route"))?;
            (route.policies.clone(), route.cost, route.redis_away)
        }
        _ => return Err(Problem::field("/policy", "a policy or a route")),
    };
    let identity =
        Identity { user: body.user.clone(), project: body.project.clone(), tier: body.tier.clone() };
    let demands =
        policies.iter().map(|policy| demand(policy, &identity, body.ip)).collect::<Result<_, _>>()?;
    Ok((demands, body.cost.unwrap_or(cost), away))
}

/// Every window, in words.
pub(super) fn explain(standings: &[Standing], demands: &[Demand]) -> Vec<LimitStanding> {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let one = |standing: &Standing| {
        let demand = &demands[standing.demand];
        LimitStanding {
            policy: demand.policy.clone(),
            scope: demand.scope.to_string(),
            window_ms: millis(demand.limits.windows()[standing.window].length),
            limit: standing.limit,
            used: standing.used,
            remaining: standing.remaining(),
            next_admission_ms: millis(standing.wait),
            room_in_ms: millis(standing.room_in),
            denies: standing.denies,
            dry_run: demand.dry_run,
        }
    };
    standings.iter().map(one).collect()
}

/// A problem that carries further fields, which the edge would not know.
pub(super) fn refused(problem: &Problem, path: &str, correlation: &str) -> HttpResponse {
    let mut answer = HttpResponse::build(problem.status());
    for (name, value) in problem.fields() {
        answer.insert_header((name, &*value));
    }
    answer.body(problem.render(path, correlation))
}

/// The gate speaks `http` 1, actix `http` 0.2.
pub(super) fn copy(from: &http::HeaderMap, to: &mut HeaderMap) {
    use actix_web::http::header::{HeaderName, HeaderValue};
    for (name, value) in from {
        let name = HeaderName::try_from(name.as_str());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            to.append(name, value);
        }
    }
}
