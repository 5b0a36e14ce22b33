//! The one decision: where a request goes and whether it may. The public door, the check API and forward-auth ask here.

use crate::fields;
use crate::identity::address::{FORWARDED_FOR, Way};
use crate::identity::{Identity, Kind, SessionCheck, Shown, Unidentified, Wrong};
use crate::rules::{Live, Route, Rules, normalised};
use domain::ErrorCode;
use http::header::ALLOW;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_kit::{Authenticator, HopSink, Problem};
use ratelimit::{Away, Demand, LimitError, Limiter};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
    /// Whether it came by TLS.
    pub(crate) secure: bool,
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
    /// Identity, correlation, `X-Forwarded-*`: in place of what the request says there, and of [`NOT_THE_CLIENTS`].
    pub(crate) request_fields: HeaderMap,
    /// For the answer: `RateLimit`, `RateLimit-Policy`, mode, correlation.
    pub(crate) answer_fields: HeaderMap,
}

/// It may not.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// None when no route leads from there.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) problem: Problem,
    /// As for [`Forward::answer_fields`].
    pub(crate) answer_fields: HeaderMap,
}

/// Decides by the rules of the moment.
pub(crate) struct Gate {
    pub(crate) rules: Live,
    pub(crate) limiter: Limiter,
    keys: Authenticator,
    /// None without the keys of sessions; then no rules name them.
    sessions: Option<SessionCheck>,
    /// Where requests at the door leave their hops.
    pub(crate) hops: HopSink,
}

impl Gate {
    pub(crate) fn new(
        rules: Live,
        limiter: Limiter,
        keys: Authenticator,
        sessions: Option<SessionCheck>,
        hops: HopSink,
    ) -> Self {
        Self { rules, limiter, keys, sessions, hops }
    }

    /// Which route, who asks, and whether all of its policies have room; charges them if so. One round trip to Redis, none
    /// without policies, and none for whoever is known to be denied; one more for whoever shows a session.
    pub(crate) async fn admit(&self, asked: &Asked<'_>) -> Passage {
        self.decide(asked, 0).await
    }

    /// As [`Gate::admit`], asked by so many proxies that are trusted in addition.
    pub(crate) async fn decide(&self, asked: &Asked<'_>, proxies: usize) -> Passage {
        let correlation = correlation_of(asked.headers);
        let mut answer_fields = HeaderMap::with_capacity(FIELDS);
        answer_fields.insert(CORRELATION, correlation.clone());
        let Found { route, way, shown } = match self.find(asked, proxies, &mut answer_fields) {
            Ok(found) => found,
            Err(problem) => return Passage::Refuse(Refusal { route: None, problem, answer_fields }),
        };
        let judged = match self.recognise(&route, &way, shown).await {
            Ok(identity) => {
                let judged = self.judge(&route, &identity, &way, &mut answer_fields).await;
                judged.map(|()| identity)
            }
            Err(problem) => Err(problem),
        };
        match judged {
            Ok(identity) => {
                let mut request_fields = upstream_fields(asked, &identity, &way);
                request_fields.insert(CORRELATION, correlation);
                Passage::Forward(Forward { route, request_fields, answer_fields })
            }
            Err(problem) => Passage::Refuse(Refusal { route: Some(route), problem, answer_fields }),
        }
    }

    /// Which route, by the rules of the moment, and what the request shows.
    fn find(
        &self,
        asked: &Asked<'_>,
        proxies: usize,
        answer_fields: &mut HeaderMap,
    ) -> Result<Found, Problem> {
        let rules = self.rules.now();
        let way = Way::new(asked.headers, asked.peer, rules.identity.trusted_hops + proxies);
        let route = route_of(&rules, asked, answer_fields)?.clone();
        let shown = rules.identity.shown(asked.headers, &route.accepts, &self.keys);
        Ok(Found { route, way, shown })
    }

    /// Who asks. One round trip for a session, else none.
    async fn recognise(
        &self,
        route: &Route,
        way: &Way,
        shown: Result<Shown, Wrong>,
    ) -> Result<Identity, Problem> {
        let identity = match self.identify(shown).await {
            Ok(identity) => identity,
            Err(Unidentified::Wrong(wrong)) => return Err(self.refused(wrong, way.client)),
            // Nobody's rights, and counted by address.
            Err(Unidentified::Away) if route.redis_away != Away::Closed && !route.identity_required => {
                Identity::default()
            }
            Err(Unidentified::Away) => {
                return Err(fields::reduced_capacity("sessions", Duration::from_secs(1)));
            }
        };
        if route.identity_required && identity.user.is_none() {
            return Err(Problem::new(ErrorCode::Unauthenticated, needed(&route.accepts)));
        }
        Ok(identity)
    }

    async fn identify(&self, shown: Result<Shown, Wrong>) -> Result<Identity, Unidentified> {
        match (shown?, &self.sessions) {
            (Shown::Identity(identity), _) => Ok(identity),
            // Its future is ten times as large as all else here together, and every request would carry it along.
            (Shown::Session(session), Some(sessions)) => Box::pin(sessions.identify(&session)).await,
            (Shown::Session(_), None) => Err(Unidentified::Away),
        }
    }

    /// 401, or 429 after too many.
    fn refused(&self, wrong: Wrong, client: IpAddr) -> Problem {
        match self.keys.failed(Some(client)) {
            None => Problem::new(ErrorCode::Unauthenticated, wrong.0),
            Some(wait) => {
                Problem::new(ErrorCode::RateLimited, "too many wrong credentials from this address")
                    .and_retry_after(wait)
            }
        }
    }

    async fn judge(
        &self,
        route: &Route,
        identity: &Identity,
        way: &Way,
        answer_fields: &mut HeaderMap,
    ) -> Result<(), Problem> {
        if route.policies.is_empty() {
            return Ok(());
        }
        let demand = |policy: &Arc<crate::rules::Policy>| policy.demand(identity, way.client);
        let demands: Vec<Demand> = route.policies.iter().map(demand).collect();
        let verdict = match self.limiter.check(&demands, route.cost, route.redis_away).await {
            Ok(verdict) => verdict,
            Err(LimitError::Away { retry_after }) => {
                return Err(fields::reduced_capacity("limits", retry_after));
            }
            Err(LimitError::Overloaded { retry_after }) => return Err(fields::overloaded(retry_after)),
            Err(error) => return Err(error.into()),
        };
        fields::put(answer_fields, &verdict, &demands);
        if verdict.admitted { Ok(()) } else { Err(fields::quota_exceeded(&verdict, &demands)) }
    }
}

/// Where a request leads, and what it shows of who asks.
struct Found {
    route: Arc<Route>,
    way: Way,
    shown: Result<Shown, Wrong>,
}

fn route_of<'a>(
    rules: &'a Rules,
    asked: &Asked<'_>,
    answer_fields: &mut HeaderMap,
) -> Result<&'a Arc<Route>, Problem> {
    let path = normalised(asked.uri.path());
    let path = path.map_err(|error| Problem::new(ErrorCode::MalformedRequest, error.to_string()))?;
    rules.matcher.find(asked.host, &path, asked.method).map_err(|methods| {
        if methods.is_empty() {
            return Problem::new(ErrorCode::NotFound, "no route leads from here");
        }
        let allowed = methods.into_iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        set(answer_fields, ALLOW, &allowed);
        Problem::new(ErrorCode::MethodNotAllowed, format!("routes lead from here for {allowed} alone"))
    })
}

/// What somebody has to show who showed nothing.
fn needed(accepts: &[Kind]) -> &'static str {
    let by_bearer = accepts.iter().any(|kind| *kind != Kind::Session);
    match (by_bearer, accepts.contains(&Kind::Session)) {
        (true, true) => "this needs an `Authorization: Bearer …` or a session",
        (false, true) => "this needs a session",
        _ => "this needs an `Authorization: Bearer …`",
    }
}

/// The one that the request runs under; else that which it brought if it keeps the rule, else a new one.
pub(crate) fn correlation_of(headers: &HeaderMap) -> HeaderValue {
    let sent = || headers.get(CORRELATION).and_then(|value| value.to_str().ok());
    let id = telemetry::current().unwrap_or_else(|| telemetry::accept(sent()));
    HeaderValue::try_from(String::from(id)).expect("its rule allows visible ASCII alone")
}

/// What the upstream is told. Only what trusted proxies said is passed on.
fn upstream_fields(asked: &Asked<'_>, identity: &Identity, way: &Way) -> HeaderMap {
    let said = |name: &HeaderName| {
        let mut values = asked.headers.get_all(name).iter();
        let value = values.next().filter(|_| way.is_trusted())?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let mut fields = HeaderMap::with_capacity(FIELDS);
    set(&mut fields, FORWARDED_FOR, &way.forwarded_for());
    let ours = if asked.secure { "https" } else { "http" };
    let proto = said(&FORWARDED_PROTO).filter(|proto| matches!(*proto, "http" | "https")).unwrap_or(ours);
    set(&mut fields, FORWARDED_PROTO, proto);
    set(&mut fields, FORWARDED_HOST, said(&FORWARDED_HOST).unwrap_or(asked.host));
    for (name, text) in identity_fields(identity) {
        set(&mut fields, name, text);
    }
    fields
}

/// Who asks, in fields.
pub(crate) fn identity_fields(identity: &Identity) -> impl Iterator<Item = (HeaderName, &str)> {
    let texts = [
        (USER, identity.user.as_ref().map(|user| user.as_str())),
        (PROJECT, identity.project.as_ref().map(|project| project.as_str())),
        (TIER, identity.tier.as_deref()),
    ];
    texts.into_iter().filter_map(|(name, text)| Some((name, text?)))
}

fn set(fields: &mut HeaderMap, name: HeaderName, text: &str) {
    fields.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// How many fields are set on either side, most of the time: so that they are put in place once.
const FIELDS: usize = 8;
pub(crate) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const USER: HeaderName = HeaderName::from_static("sluice-user");
pub(crate) const PROJECT: HeaderName = HeaderName::from_static("sluice-project");
pub(crate) const TIER: HeaderName = HeaderName::from_static("sluice-tier");

/// What an upstream believes because it is ours to say. The last ones replace the path for some (IIS, old Symfony and Zend),
/// and with it the route whose limits were asked.
pub(crate) static NOT_THE_CLIENTS: [HeaderName; 12] = [
    USER,
    PROJECT,
    TIER,
    FORWARDED_FOR,
    FORWARDED_HOST,
    FORWARDED_PROTO,
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];
