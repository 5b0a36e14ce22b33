//! One request: asked at the gate, sent to an upstream, its answer brought back.

use super::answer::{self, AnswerBody, Kind};
use super::config::DoorConfig;
use super::connection::Peer;
use super::fields::{self, Hops};
use super::followed::{self, Followed, Routed};
use super::guard::{REFUSED, RequestInFlight};
use super::head;
use super::pool::{Lease, NoConnection, Pool};
use super::refusal::Reason;
use super::relay::Relay;
use super::tunnel;
use super::upload::{Progress, Upload};
use crate::gate::{Asked, CORRELATION, Forward, Gate, NOT_THE_CLIENTS, Passage, Refusal, correlation_of};
use crate::rules::{Route, Timeouts};
use domain::ErrorCode;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_kit::{HopSink, HttpMetrics, Problem};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

/// What a worker needs to answer requests.
pub(super) struct Proxy {
    gate: Arc<Gate>,
    pool: Pool,
    tasks: TaskTracker,
    body_bytes_max: u64,
    url_bytes_max: usize,
    expect_wait: Duration,
    metrics: HttpMetrics,
    access_log: bool,
}

type Answered = Result<Response<AnswerBody>, Infallible>;

impl Proxy {
    pub(super) fn new(gate: Arc<Gate>, pool: Pool, settings: &DoorConfig, tasks: TaskTracker) -> Self {
        Self {
            gate,
            pool,
            tasks,
            body_bytes_max: settings.body_bytes_max,
            url_bytes_max: settings.url_bytes_max,
            expect_wait: settings.expect_wait(),
            metrics: HttpMetrics::new("ratelimit-gateway"),
            access_log: settings.access_log,
        }
    }

    pub(super) fn metrics(&self) -> &HttpMetrics {
        &self.metrics
    }

    pub(super) fn hops(&self) -> &HopSink {
        &self.gate.hops
    }

    pub(super) fn has_access_log(&self) -> bool {
        self.access_log
    }

    /// Answers a request whose head the guard has judged.
    pub(super) async fn answer_http1(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        in_flight: RequestInFlight,
    ) -> Answered {
        let followed = Followed::begin(self, &request, peer);
        let answer = followed.follow(pin!(self.http1(request, peer))).await;
        Ok(answer.map(|kind| AnswerBody::new(kind, in_flight)))
    }

    async fn http1(&self, request: Request<Incoming>, peer: Peer) -> Response<Kind> {
        if request.uri().scheme_str() == Some(REFUSED) {
            let reason = request.uri().host().and_then(Reason::named).unwrap_or(Reason::RequestLine);
            return closing(refuse(reason, "/", request.headers()));
        }
        let is_upgrade = request.headers().contains_key(UPGRADE);
        let has_body = !request.body().is_end_stream();
        let answer = match single_host(request.headers()) {
            Some(host) => self.pass(request, host, peer).await,
            None => refuse(Reason::Host, request.uri().path(), request.headers()),
        };
        // What follows a refused upgrade, or a body that was not read, is never taken for a request.
        let is_own = matches!(answer.body(), Kind::Own(_));
        let is_read = !has_body || answer.extensions().get::<BodyRead>().is_some();
        let close =
            answer.status() != StatusCode::SWITCHING_PROTOCOLS && (is_upgrade || (is_own && !is_read));
        if close { closing(answer) } else { answer }
    }

    /// Answers a request of HTTP/2; h2 has refused what concerns a connection, and bodies of another length than said.
    pub(super) async fn answer_http2(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        in_flight: RequestInFlight,
    ) -> Answered {
        let followed = Followed::begin(self, &request, peer);
        let answer = followed.follow(pin!(self.http2(request, peer))).await;
        Ok(answer.map(|kind| AnswerBody::new(kind, in_flight)))
    }

    async fn http2(&self, mut request: Request<Incoming>, peer: Peer) -> Response<Kind> {
        match self.judge_http2(&request) {
            Ok(host) => {
                // hyper cannot send a 100 here, and the client does not need one.
                request.headers_mut().remove(EXPECT);
                self.pass(request, host, peer).await
            }
            Err(reason) => refuse(reason, request.uri().path(), request.headers()),
        }
    }

    /// What the guard judges of HTTP/1, as far as HTTP/2 can have it. The host, if all is well.
    fn judge_http2(&self, request: &Request<Incoming>) -> Result<HeaderValue, Reason> {
        let (uri, headers) = (request.uri(), request.headers());
        if request.method() == Method::CONNECT {
            return Err(Reason::Connect);
        }
        if uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
            return Err(Reason::Target);
        }
        let target = uri.path_and_query().map_or("", |path| path.as_str());
        if target.len() > self.url_bytes_max {
            return Err(Reason::UrlTooLong);
        }
        let is_asterisk = target == "*" && request.method() == Method::OPTIONS;
        let is_path = target.starts_with('/') && head::is_path(target.as_bytes());
        if !is_asterisk && !is_path {
            return Err(Reason::Target);
        }
        let authority = uri.authority().map(Authority::as_str);
        let host = match (authority, headers.contains_key(HOST)) {
            (Some(authority), false) => HeaderValue::from_str(authority).map_err(|_| Reason::Host)?,
            (authority, true) => {
                let host = single_host(headers).ok_or(Reason::Host)?;
                let is_other = |authority: &str| !authority.as_bytes().eq_ignore_ascii_case(host.as_bytes());
                if authority.is_some_and(is_other) {
                    return Err(Reason::OtherHost);
                }
                host
            }
            (None, false) => return Err(Reason::Host),
        };
        if head::is_host(host.as_bytes()) { Ok(host) } else { Err(Reason::Host) }
    }

    async fn pass(&self, request: Request<Incoming>, host: HeaderValue, peer: Peer) -> Response<Kind> {
        let (parts, body) = request.into_parts();
        if body.size_hint().lower() > self.body_bytes_max {
            return refuse(Reason::BodyTooLarge, parts.uri.path(), &parts.headers);
        }
        let Ok(name) = host.to_str() else { return refuse(Reason::Host, parts.uri.path(), &parts.headers) };
        let asked = Asked {
            method: &parts.method,
            uri: &parts.uri,
            host: name,
            headers: &parts.headers,
            peer: peer.address,
            secure: peer.secure,
        };
        match self.gate.admit(&asked).await {
            Passage::Forward(forward) => {
                let route = forward.route.clone();
                let answer = self.forward(parts, body, host, forward).await;
                routed(answer, Some(route))
            }
            Passage::Refuse(Refusal { route, problem, answer_fields }) => {
                let mut answer = answer::problem(&problem, parts.uri.path(), answer_fields);
                // A client that waits for a 100 sends nothing more.
                if parts.version == Version::HTTP_11 && !expects_100(&parts.headers) && drained(body).await {
                    answer.extensions_mut().insert(BodyRead);
                }
                routed(answer, route)
            }
        }
    }

    async fn forward(
        &self,
        mut parts: Parts,
        body: Incoming,
        host: HeaderValue,
        mut forward: Forward,
    ) -> Response<Kind> {
        if fields::count_hop(&parts.method, &mut parts.headers) == Hops::EndHere {
            return end_here(&parts, forward.answer_fields);
        }
        let upgrade =
            parts.headers.contains_key(UPGRADE).then(|| parts.extensions.remove::<OnUpgrade>()).flatten();
        let gated = parts.version == Version::HTTP_11 && expects_100(&parts.headers);
        let (upload, progress) = Upload::new(body, self.body_bytes_max, gated);
        let mut told = std::mem::take(&mut forward.request_fields);
        followed::tell(&mut told);
        prepare(&mut parts, host, told, progress.is_some(), upgrade.is_some());

        let uri = parts.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        let mut request = Request::new(upload);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = std::mem::take(&mut parts.headers);
        if let Some(progress) = progress.clone().filter(|progress| progress.is_gated()) {
            hyper::ext::on_informational(&mut request, move |answer| {
                if answer.status() == StatusCode::CONTINUE {
                    progress.open();
                }
            });
        }
        let exchange = Exchange {
            proxy: self,
            forward: &forward,
            progress: progress.as_deref(),
            may_switch: upgrade.is_some(),
        };
        match exchange.send(request).await {
            Ok((answer, lease)) => self.bring_back(answer, lease, &forward, progress, upgrade),
            Err(problem) => answer::problem(&problem, parts.uri.path(), forward.answer_fields),
        }
    }

    fn bring_back(
        &self,
        mut answer: Response<Incoming>,
        lease: Lease,
        forward: &Forward,
        progress: Option<Arc<Progress>>,
        upgrade: Option<OnUpgrade>,
    ) -> Response<Kind> {
        let idle = forward.route.timeouts.idle;
        let switched =
            (answer.status() == StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut answer));
        let (mut parts, body) = answer.into_parts();
        let protocol = parts.headers.get(UPGRADE).cloned();
        fields::frame_once(&mut parts.headers);
        fields::strip_hop(&mut parts.headers);
        fields::add_via(&mut parts.headers, parts.version);
        fields::set(&mut parts.headers, &forward.answer_fields);
        parts.version = Version::HTTP_11;
        if let (Some(client), Some(upstream)) = (upgrade, switched) {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.extend(protocol.map(|protocol| (UPGRADE, protocol)));
            self.tasks.spawn_local(async move {
                tunnel::run(client, upstream, idle).await;
                drop(lease);
            });
            return Response::from_parts(parts, Kind::Own(None));
        }
        // A final answer in place of the 100: the client may or may not send its body now, so nothing can follow.
        if progress.as_ref().is_some_and(|progress| progress.is_gated()) {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let relay = Relay::new(body, lease, progress, idle);
        Response::from_parts(parts, Kind::Relay(Box::new(relay)))
    }
}

/// A request on its way to the upstream.
struct Exchange<'a> {
    proxy: &'a Proxy,
    forward: &'a Forward,
    progress: Option<&'a Progress>,
    /// Whether the upstream may answer with 101.
    may_switch: bool,
}

impl Exchange<'_> {
    /// Sends it on a kept connection; if that was closed before it took anything of the request, on a new one.
    async fn send(&self, mut request: Request<Upload>) -> Result<(Response<Incoming>, Lease), Problem> {
        let Timeouts { connect, .. } = self.forward.route.timeouts;
        let mut fresh = false;
        loop {
            let leased =
                self.proxy.pool.lease(&self.forward.route.upstream, Instant::now() + connect, fresh).await;
            let mut lease = leased.map_err(unreachable)?;
            let sending = lease.sender().try_send_request(request);
            let mut failure = match self.watch(sending).await? {
                Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS && !self.may_switch => {
                    return Err(Problem::new(
                        ErrorCode::BadGateway,
                        "the upstream switched protocols unasked",
                    ));
                }
                Ok(answer) if fields::has_other_coding(answer.headers()) => {
                    return Err(Problem::new(
                        ErrorCode::BadGateway,
                        "the upstream used a transfer coding that was not asked for",
                    ));
                }
                Ok(answer) => return Ok((answer, lease)),
                Err(failure) => failure,
            };
            match failure.take_message() {
                Some(unsent) if lease.is_reused => (request, fresh) = (unsent, true),
                _ => return Err(self.broken(failure.error())),
            }
        }
    }

    /// Waits for the head of the answer, for as long as the body moves, and then for as long as the route allows.
    async fn watch<T>(&self, sending: impl Future<Output = T>) -> Result<T, Problem> {
        let Timeouts { head, idle, .. } = self.forward.route.timeouts;
        let began = Instant::now();
        let mut sending = pin!(sending);
        let deadline = || match self.progress {
            None => began + head,
            Some(upload) if upload.is_gated() => began + self.proxy.expect_wait,
            Some(upload) if upload.is_whole() => upload.moved() + head,
            Some(upload) => upload.moved() + idle,
        };
        loop {
            // Looked at again after `head`: the body may be whole by then, and the time for the head running.
            let wake = deadline().min(Instant::now() + head);
            if let Ok(sent) = timeout_at(wake, sending.as_mut()).await {
                return Ok(sent);
            }
            if deadline() > Instant::now() {
                continue;
            }
            match self.progress {
                // The upstream says neither 100 nor no: ask for the body, as if there were no `Expect`.
                Some(upload) if upload.is_gated() => upload.open(),
                Some(upload) if upload.waits_for_client() => return Err(Reason::BodyTimeout.problem()),
                _ => {
                    return Err(Problem::new(
                        ErrorCode::GatewayTimeout,
                        "the upstream did not answer in time",
                    ));
                }
            }
        }
    }

    fn broken(&self, error: &hyper::Error) -> Problem {
        if let Some(reason) = self.progress.and_then(Progress::failure) {
            return reason.problem();
        }
        let upstream = &self.forward.route.upstream.name;
        tracing::warn!(upstream.name = upstream, error = %error, "upstream {upstream} broke off: {error}");
        Problem::new(ErrorCode::BadGateway, "the upstream broke off")
    }
}

fn unreachable(cause: NoConnection) -> Problem {
    match cause {
        NoConnection::Unresolved | NoConnection::Refused => {
            Problem::new(ErrorCode::BadGateway, "the upstream cannot be reached")
        }
        NoConnection::TimedOut => {
            Problem::new(ErrorCode::GatewayTimeout, "no connection to the upstream in time")
        }
        NoConnection::Full => {
            Problem::new(ErrorCode::Unavailable, "the upstream has as many requests as may be")
        }
    }
}

/// The head as the upstream gets it.
fn prepare(parts: &mut Parts, host: HeaderValue, told: HeaderMap, has_body: bool, is_upgrade: bool) {
    let headers = &mut parts.headers;
    let takes_trailers = fields::takes_trailers(headers);
    fields::strip_hop(headers);
    fields::remove_forged(headers, &NOT_THE_CLIENTS, &told);
    if parts.version == Version::HTTP_2 {
        fields::join_cookies(headers);
    }
    // Each in place of all that the request says there.
    headers.extend(told);
    headers.insert(HOST, host);
    fields::add_via(headers, parts.version);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if is_upgrade {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if !has_body {
        headers.remove(EXPECT);
    } else if !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// `Max-Forwards: 0`: we answer in the upstream's place. `TRACE` would show fields that only the upstream may see.
fn end_here(parts: &Parts, fields: HeaderMap) -> Response<Kind> {
    if parts.method == Method::TRACE {
        return refuse(Reason::Trace, parts.uri.path(), &parts.headers);
    }
    let mut answer = answer::empty(StatusCode::NO_CONTENT);
    *answer.headers_mut() = fields;
    answer
}

/// A problem that the gate knows nothing of.
fn refuse(reason: Reason, path: &str, headers: &HeaderMap) -> Response<Kind> {
    let fields = HeaderMap::from_iter([(CORRELATION, correlation_of(headers))]);
    answer::problem(&reason.problem(), path, fields)
}

/// The request's body was read to its end, so another request may follow.
#[derive(Clone, Copy)]
struct BodyRead;

/// Reads a small body of a refused request and throws it away, so that its client can keep its connection.
async fn drained(mut body: Incoming) -> bool {
    if body.size_hint().upper().is_none_or(|length| length > DRAINED_BYTES_MAX) {
        return body.is_end_stream();
    }
    let read = timeout(DRAIN, async {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            frame?;
        }
        Ok::<_, hyper::Error>(())
    });
    matches!(read.await, Ok(Ok(())))
}

fn routed(mut answer: Response<Kind>, route: Option<Arc<Route>>) -> Response<Kind> {
    if let Some(route) = route {
        answer.extensions_mut().insert(Routed(route));
    }
    answer
}

fn closing(mut answer: Response<Kind>) -> Response<Kind> {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn single_host(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut hosts = headers.get_all(HOST).into_iter();
    let host = hosts.next()?;
    hosts.next().is_none().then(|| host.clone())
}

fn expects_100(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

const DRAINED_BYTES_MAX: u64 = 64 * 1024;
const DRAIN: Duration = Duration::from_secs(1);
