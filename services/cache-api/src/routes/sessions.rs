//! `/v1/sessions` and `/v1/users/{user}/sessions`: user sessions, by token or as a cookie.

use crate::api::Api;
use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header::{CACHE_CONTROL, ETAG, HeaderName};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder};
use domain::session as wire;
use domain::{ErrorCode, UserId};
use http_kit::{Access, Action, Conditions, ETag, EntityTags, Json, Path, Problem};
use serde_json::{Map, Value};
use session::{Revision, Session, SessionError, SessionId, Times, Token};
use std::future::{Ready, ready};
use std::time::Duration;

/// `POST /v1/sessions`: 201 with the token, which is never shown again. One round trip.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", operation_id = "create_session",
    summary = "Make a session after a login", request_body = wire::NewSession,
    responses((status = 201, description = "The session and its token", body = wire::SessionWithToken)),
)]
pub(crate) async fn create(
    _may: MaySessions,
    body: Json<wire::NewSession>,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let wire::NewSession { user_id, attributes, idle_ttl_ms, cookie } = body.into_inner();
    let idle = idle_ttl_ms.map(Duration::from_millis);
    let (token, session) = api.sessions.create(&user_id, attributes, idle).await?;
    Ok(api.with_token(HttpResponse::Created(), &token, session, cookie))
}

/// `GET /v1/sessions/current`: the session of the token, which lives on by being used. One round trip.
#[utoipa::path(
    get, path = "/v1/sessions/current", tag = "sessions", operation_id = "get_session",
    summary = "Read a session by its token",
    params(("Sluice-Session" = Option<String>, Header, description = "The token; else the cookie `__Host-sluice-session`")),
    responses((status = 200, description = "The session", body = wire::Session, headers(("ETag" = String)))),
)]
pub(crate) async fn get(shown: Shown, api: Data<Api>) -> Result<HttpResponse, Problem> {
    let session = api.sessions.validate(&shown.token).await?;
    Ok(answer(session))
}

/// `PATCH /v1/sessions/current`: a JSON merge patch (RFC 7396) of the attributes. Two round trips.
#[utoipa::path(
    patch, path = "/v1/sessions/current", tag = "sessions", operation_id = "patch_session",
    summary = "Change attributes: members replace, null removes",
    params(
        ("Sluice-Session" = Option<String>, Header, description = "The token; else the cookie"),
        ("If-Match" = Option<String>, Header, description = "Only at this revision"),
    ),
    request_body(content = Object, content_type = "application/merge-patch+json"),
    responses((status = 200, description = "The session as it is now", body = wire::Session, headers(("ETag" = String)))),
)]
pub(crate) async fn patch(
    shown: Shown,
    conditions: Conditions,
    body: Json<Map<String, Value>>,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let at = revision(&conditions)?;
    let session = api.sessions.patch(&shown.token, &body.into_inner(), at).await?;
    Ok(answer(session))
}

/// `POST /v1/sessions/current/rotate`: another token for the same session; the old one is dead. Two round trips.
#[utoipa::path(
    post, path = "/v1/sessions/current/rotate", tag = "sessions", operation_id = "rotate_session",
    summary = "Replace the token, after a login or a change of rights",
    params(("Sluice-Session" = Option<String>, Header, description = "The token; else the cookie")),
    responses((status = 200, description = "The session and its new token", body = wire::SessionWithToken)),
)]
pub(crate) async fn rotate(shown: Shown, api: Data<Api>) -> Result<HttpResponse, Problem> {
    let (token, session) = api.sessions.rotate(&shown.token).await?;
    Ok(api.with_token(HttpResponse::Ok(), &token, session, shown.by_cookie))
}

/// `DELETE /v1/sessions/current`: 204; whatever was begun with it before is refused from now on. One round trip.
#[utoipa::path(
    delete, path = "/v1/sessions/current", tag = "sessions", operation_id = "log_out",
    summary = "Log out",
    params(("Sluice-Session" = Option<String>, Header, description = "The token; else the cookie")),
    responses((status = 204, description = "It is over")),
)]
pub(crate) async fn log_out(shown: Shown, api: Data<Api>) -> Result<HttpResponse, Problem> {
    api.sessions.log_out(&shown.token).await?;
    let mut answer = HttpResponse::NoContent();
    if shown.by_cookie {
        let mut gone = cookie(String::new());
        gone.set_max_age(CookieDuration::ZERO);
        answer.cookie(gone);
    }
    Ok(answer.finish())
}

/// `GET /v1/users/{user}/sessions`: the sessions of a user. One round trip.
#[utoipa::path(
    get, path = "/v1/users/{user}/sessions", tag = "sessions", operation_id = "list_sessions",
    summary = "List a user's sessions", params(("user" = UserId, Path,)),
    responses((status = 200, description = "Those that count", body = wire::SessionList)),
)]
pub(crate) async fn list(
    _may: MaySessions,
    user: Path<UserId>,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let listed = api.sessions.list(&user.into_inner()).await?.into_iter();
    let sessions = listed.map(|it| wire::ListedSession { id: it.id.to_string(), times: times(&it.times) });
    Ok(private(HttpResponse::Ok()).json(wire::SessionList { sessions: sessions.collect() }))
}

/// `DELETE /v1/users/{user}/sessions`: logs a user out everywhere. One round trip.
#[utoipa::path(
    delete, path = "/v1/users/{user}/sessions", tag = "sessions", operation_id = "log_out_all",
    summary = "End all sessions of a user", params(("user" = UserId, Path,)),
    responses((status = 200, description = "How many there were", body = wire::EndedSessions)),
)]
pub(crate) async fn log_out_all(
    _may: MaySessions,
    user: Path<UserId>,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let ended = api.sessions.log_out_all(&user.into_inner()).await?;
    Ok(HttpResponse::Ok().json(wire::EndedSessions { ended }))
}

/// `DELETE /v1/users/{user}/sessions/{session}`: 204, or 404 when there is none. One round trip.
#[utoipa::path(
    delete, path = "/v1/users/{user}/sessions/{session}", tag = "sessions", operation_id = "end_session",
    summary = "End one session of a user, by its id",
    params(("user" = UserId, Path,), ("session" = String, Path,)),
    responses((status = 204, description = "It is over")),
)]
pub(crate) async fn end(
    _may: MaySessions,
    path: Path<(UserId, String)>,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let (user, id) = path.into_inner();
    let none = || Problem::new(ErrorCode::NotFound, "this user has no such session");
    let id: SessionId = id.parse().map_err(|_| none())?;
    if api.sessions.end(&user, &id).await? { Ok(HttpResponse::NoContent().finish()) } else { Err(none()) }
}

/// The right to sessions. First among a handler's arguments: nothing else is read for a stranger.
pub(crate) struct MaySessions;

impl FromRequest for MaySessions {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let access = Access::from_request(request, payload).into_inner();
        ready(access.and_then(|access| access.require(Action::Sessions, "")).map(|()| Self))
    }
}

/// The token that a request shows, by a key that may have to do with sessions.
pub(crate) struct Shown {
    token: Token,
    by_cookie: bool,
}

impl FromRequest for Shown {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let may = MaySessions::from_request(request, payload).into_inner();
        ready(may.and_then(|_| shown(request).ok_or_else(|| SessionError::Unauthenticated.into())))
    }
}

/// By header, else by cookie; one that is no token is as wrong as one that nobody has.
fn shown(request: &HttpRequest) -> Option<Shown> {
    let mut headers = request.headers().get_all(SLUICE_SESSION);
    if let Some(header) = headers.next() {
        let only = headers.next().is_none().then_some(header)?;
        return Some(Shown { token: only.to_str().ok()?.parse().ok()?, by_cookie: false });
    }
    let cookie = request.cookie(COOKIE)?;
    Some(Shown { token: cookie.value().parse().ok()?, by_cookie: true })
}

fn answer(session: Session) -> HttpResponse {
    private(HttpResponse::Ok()).insert_header((ETAG, tag(session.revision).header())).json(view(session))
}

impl Api {
    fn with_token(
        &self,
        answer: HttpResponseBuilder,
        token: &Token,
        session: Session,
        as_cookie: bool,
    ) -> HttpResponse {
        let mut answer = private(answer);
        if as_cookie {
            answer.cookie(cookie_of(token, self.sessions.most_left(&session.times)));
        }
        answer.insert_header((ETAG, tag(session.revision).header()));
        answer.json(wire::SessionWithToken { token: token.expose(), session: view(session) })
    }
}

/// Nothing of a session is kept by anybody between.
fn private(mut answer: HttpResponseBuilder) -> HttpResponseBuilder {
    answer.insert_header((CACHE_CONTROL, "no-store"));
    answer
}

/// The revision that a change is for. Of several entity tags none can be meant.
fn revision(conditions: &Conditions) -> Result<Option<Revision>, Problem> {
    match &conditions.if_match {
        None | Some(EntityTags::Any) => Ok(None),
        Some(EntityTags::OneOf(tags)) => match &tags[..] {
            // A tag that is none of ours is the revision of nothing.
            [tag] => Ok(Some(tag.opaque().parse().ok().filter(|_| !tag.is_weak()).unwrap_or(0))),
            _ => Err(Problem::field("If-Match", "one revision, or `*`")),
        },
    }
}

fn tag(revision: Revision) -> ETag {
    ETag::strong(revision.to_string()).expect("digits")
}

fn view(session: Session) -> wire::Session {
    let Session { id, user, attributes, revision, times: when, .. } = session;
    wire::Session { id: id.to_string(), user_id: user, attributes, revision, times: times(&when) }
}

fn times(times: &Times) -> wire::SessionTimes {
    let Times { created_at, idle, expires_at, ends_at } = *times;
    let idle_ttl_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    wire::SessionTimes { created_at, idle_ttl_ms, expires_at, ends_at }
}

/// Kept as long as its session can live. Whether it still lives only the store knows, however the session is used meanwhile.
fn cookie_of(token: &Token, most_left: Duration) -> Cookie<'static> {
    let mut cookie = cookie(token.expose());
    cookie.set_max_age(CookieDuration::seconds(i64::try_from(most_left.as_secs()).unwrap_or(i64::MAX)));
    cookie
}

/// `__Host-`: for this host alone, over TLS alone (RFC 6265bis, section 4.1.3.2).
fn cookie(value: String) -> Cookie<'static> {
    Cookie::build(COOKIE, value).path("/").secure(true).http_only(true).same_site(SameSite::Lax).finish()
}

const COOKIE: &str = "__Host-sluice-session";
const SLUICE_SESSION: HeaderName = HeaderName::from_static("sluice-session");
