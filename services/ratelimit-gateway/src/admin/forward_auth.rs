//! `/v1/ratelimit/auth`: another proxy asks before it forwards. The recipes are in docs/gateway.md.

use super::check::{copy, refused};
use super::{Admin, require};
use crate::gate::{Asked, PROJECT, Passage, TIER, USER};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use domain::ErrorCode;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_kit::{Authenticator, Correlation, Problem, Query};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use utoipa::IntoParams;

/// How to say no.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Denial {
    /// Refuse with 401 or 403 alone, and the real status in `Sluice-Status`: nginx makes a 500 of every other.
    #[serde(default)]
    nginx: bool,
}

/// `GET /v1/ratelimit/auth`: 200 with the fields for upstream and client, or what the gate would have refused with.
#[utoipa::path(
    get, path = "/v1/ratelimit/auth", tag = "limits", operation_id = "ratelimit_auth",
    summary = "Forward-auth: may the request of `X-Forwarded-*` (or `X-Original-*`) pass? `Sluice-Gateway-Key` carries a \
        key with `gateway:admin`, since `Authorization` is the user's",
    params(
        Denial,
        ("Sluice-Gateway-Key" = Option<String>, Header, description = "The asking proxy's key"),
        ("X-Forwarded-Uri" = Option<String>, Header, description = "Or X-Original-URI, X-Original-URL"),
        ("X-Forwarded-Method" = Option<String>, Header, description = "Or X-Original-Method; GET when absent"),
        ("X-Forwarded-Host" = Option<String>, Header, description = "Or Host"),
        ("X-Forwarded-For" = Option<String>, Header, description = "The client, as the asking proxy sees it"),
    ),
    responses((
        status = 200, description = "It may",
        headers(("RateLimit" = String), ("RateLimit-Policy" = String), ("Sluice-User" = String)),
    )),
)]
pub(crate) async fn auth(
    request: HttpRequest,
    Correlation(correlation): Correlation,
    query: Query<Denial>,
    admin: Data<Admin>,
) -> Result<HttpResponse, Problem> {
    let headers = foreign(&request);
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    asking_proxy(&admin.auth, &headers, peer)?;
    let original = Original::of(&headers)?;
    let Original { method, uri, host } = &original;
    let asked = Asked { method, uri, host, headers: &headers, peer };

    // The asking proxy is one more whose word counts.
    match admin.gate.decide(&asked, 1).await {
        Passage::Forward(forward) => {
            let mut answer = HttpResponse::Ok().finish();
            copy(&forward.answer_fields, answer.headers_mut());
            let mut identity = HeaderMap::new();
            for name in [USER, PROJECT, TIER] {
                identity.extend(forward.request_fields.get(&name).cloned().map(|value| (name, value)));
            }
            copy(&identity, answer.headers_mut());
            Ok(answer)
        }
        Passage::Refuse(refusal) => {
            let mut answer = refused(&refusal.problem, original.uri.path(), correlation.as_str());
            copy(&refusal.answer_fields, answer.headers_mut());
            if query.into_inner().nginx {
                for_nginx(&mut answer);
            }
            Ok(answer)
        }
    }
}

/// The key of the asking proxy: not in `Authorization`, which is the user's.
fn asking_proxy(auth: &Authenticator, headers: &HeaderMap, peer: IpAddr) -> Result<(), Problem> {
    if auth.is_open() {
        return Ok(());
    }
    let key = headers.get(GATEWAY_KEY).and_then(|value| value.to_str().ok());
    match key.map(|key| auth.access_of(key)) {
        Some(Some(access)) => require(&access),
        Some(None) => Err(match auth.failed(Some(peer)) {
            None => {
                Problem::new(ErrorCode::Unauthenticated, "Sluice-Gateway-Key is unknown, revoked or expired")
            }
            Some(wait) => Problem::new(ErrorCode::RateLimited, "too many wrong API keys from this address")
                .and_retry_after(wait),
        }),
        None => Err(Problem::new(ErrorCode::Unauthenticated, "a Sluice-Gateway-Key is needed")),
    }
}

/// What nginx lets through from `auth_request`: 401 and 403.
fn for_nginx(answer: &mut HttpResponse) {
    use actix_web::http::StatusCode;
    use actix_web::http::header::{HeaderName, HeaderValue};
    let status = answer.status();
    answer.headers_mut().insert(HeaderName::from_static("sluice-status"), HeaderValue::from(status.as_u16()));
    if status != StatusCode::UNAUTHORIZED {
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
}

/// The request that the asking proxy got.
struct Original {
    method: Method,
    uri: Uri,
    host: String,
}

impl Original {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let first = |names: &[&str]| {
            names.iter().find_map(|name| headers.get(*name)).and_then(|value| value.to_str().ok())
        };
        let missing = |field: &str, rule: &str| Problem::field(field, rule);
        let uri = first(&["x-forwarded-uri", "x-original-uri", "x-original-url"]);
        let uri = uri.ok_or_else(|| missing("X-Forwarded-Uri", "it says which path is asked for"))?;
        let method = first(&["x-forwarded-method", "x-original-method"]).unwrap_or("GET");
        Ok(Self {
            method: method.parse().map_err(|_| missing("X-Forwarded-Method", "a method"))?,
            uri: uri.parse().map_err(|_| missing("X-Forwarded-Uri", "a path, or a URL"))?,
            host: first(&["x-forwarded-host", "host"]).unwrap_or_default().to_owned(),
        })
    }
}

/// As [`copy`], the other way.
fn foreign(request: &HttpRequest) -> HeaderMap {
    let field =
        |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
            let name = HeaderName::try_from(name.as_str()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        };
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers().iter().filter_map(field) {
        headers.append(name, value);
    }
    headers
}

const GATEWAY_KEY: HeaderName = HeaderName::from_static("sluice-gateway-key");
