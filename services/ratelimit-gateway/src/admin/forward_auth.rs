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
        ("X-Forwarded-Uri" = Option<String>, Header, description = "Or X-Original-URI, or X-Original-URL; one of them alone"),
        ("X-Forwarded-Method" = Option<String>, Header, description = "Beside the others X-Original-Method; GET when absent"),
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
    let asked = Asked { method, uri, host, headers: &headers, peer, secure: false };

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
    /// Of one kind of fields alone: the asking proxy sets those that it knows, and passes on what its client wrote into others.
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let uris = [FORWARDED_URI, ORIGINAL_URI, ORIGINAL_URL].map(|name| only(headers, name));
        let method = match &uris {
            [Ok(Some(_)), ..] => only(headers, "X-Forwarded-Method")?,
            _ => only(headers, "X-Original-Method")?,
        };
        let mut said = uris.into_iter().filter_map(Result::transpose);
        let uri =
            said.next().ok_or_else(|| Problem::field(FORWARDED_URI, "it says which path is asked for"))??;
        if said.next().is_some() {
            let rule =
                "one of this, X-Original-URI and X-Original-URL; let the asking proxy clear the others";
            return Err(Problem::field(FORWARDED_URI, rule));
        }
        let uri: Uri = uri.parse().map_err(|_| Problem::field(FORWARDED_URI, "a path, or a URL"))?;
        let method = method.unwrap_or("GET").parse();
        let host = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => only(headers, "X-Forwarded-Host")?.or(only(headers, "Host")?).unwrap_or_default(),
        };
        Ok(Self {
            host: host.to_owned(),
            method: method.map_err(|_| Problem::field("X-Forwarded-Method", "a method"))?,
            uri,
        })
    }
}

/// The value of a field that is there once, if it is.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(Some).ok_or_else(|| Problem::field(name, "once, and of visible characters"))
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

const FORWARDED_URI: &str = "X-Forwarded-Uri";
const ORIGINAL_URI: &str = "X-Original-URI";
const ORIGINAL_URL: &str = "X-Original-URL";
const GATEWAY_KEY: HeaderName = HeaderName::from_static("sluice-gateway-key");
