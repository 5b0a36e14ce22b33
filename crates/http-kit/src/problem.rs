//! Problem details, RFC 9457: the one form of every error, and the one place that knows statuses.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use domain::{Coded, ErrorCode, FieldError};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// An error as a client sees it: `application/problem+json`.
///
/// A handler returns it, or any error that is [`Coded`], through `?`. The server adds `instance` and
/// `correlation_id` when it writes the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What kind; status, type and title follow from it.
    pub code: ErrorCode,
    /// What went wrong this time, for a person.
    pub detail: String,
    /// The fields that are wrong.
    pub errors: Vec<FieldError>,
    /// How long to wait before the same request may succeed.
    pub retry_after: Option<Duration>,
    extension: Option<Box<Extension>>,
}

/// What few problems have: a type that others defined, and members of its own.
#[derive(Clone, Debug, Default, PartialEq)]
struct Extension {
    /// `type` and `title`.
    defined_as: Option<(&'static str, &'static str)>,
    members: Vec<(&'static str, serde_json::Value)>,
}

impl Problem {
    /// A problem without fields.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None, extension: None }
    }

    /// 422, naming one field: a JSON pointer into the body, or the name of a parameter or header.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidInput, "a field breaks its rule").and_field(pointer, detail)
    }

    /// Names one more field.
    pub fn and_field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError::new(clipped(pointer.into()), clipped(detail.into())));
        self
    }

    /// Says when to come again; a `Retry-After` header, in whole seconds and rounded up, says so too.
    pub fn and_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A `type` that is defined elsewhere, with its title, in place of ours.
    pub fn and_type(mut self, uri: &'static str, title: &'static str) -> Self {
        self.extension.get_or_insert_default().defined_as = Some((uri, title));
        self
    }

    /// One more member of the body, RFC 9457, section 3.2.
    pub fn and_member(mut self, name: &'static str, value: serde_json::Value) -> Self {
        self.extension.get_or_insert_default().members.push((name, value));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        meaning(self.code).0
    }

    /// The last part of `type`, in kebab case, such as `lease-lost`.
    pub fn kind(&self) -> &'static str {
        meaning(self.code).1
    }

    /// What a library answered with, without a problem of ours; a status that we do not use becomes 400 or 500.
    pub(crate) fn of_status(status: StatusCode, detail: Option<String>) -> Self {
        let code = match status.as_u16() {
            401 => ErrorCode::Unauthenticated,
            403 => ErrorCode::Forbidden,
            404 => ErrorCode::NotFound,
            405 => ErrorCode::MethodNotAllowed,
            406 => ErrorCode::NotAcceptable,
            408 => ErrorCode::RequestTimeout,
            409 => ErrorCode::Conflict,
            412 => ErrorCode::PreconditionFailed,
            413 => ErrorCode::TooLarge,
            414 => ErrorCode::UriTooLong,
            415 => ErrorCode::UnsupportedMediaType,
            422 => ErrorCode::InvalidInput,
            429 => ErrorCode::RateLimited,
            431 => ErrorCode::HeadTooLarge,
            501 => ErrorCode::NotImplemented,
            502 => ErrorCode::BadGateway,
            503 => ErrorCode::Unavailable,
            504 => ErrorCode::GatewayTimeout,
            400..=499 => ErrorCode::MalformedRequest,
            _ => return Self::internal(),
        };
        let detail = detail.unwrap_or_else(|| meaning(code).2.to_lowercase());
        Self::new(code, detail)
    }

    /// Our own mistake. What it was stands in the log, under the correlation id; a client is not told.
    pub(crate) fn internal() -> Self {
        Self::new(ErrorCode::Internal, "an error of ours; the log knows more under this correlation id")
    }

    /// The fields of the answer's head: name, in lower case, and value.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
        let is_stranger = self.code == ErrorCode::Unauthenticated;
        // A 503 without a time would be retried at once, by everybody.
        let wait = self.retry_after.or((self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(SECOND));
        let fields = [
            Some(("content-type", "application/problem+json".into())),
            is_stranger.then(|| ("www-authenticate", r#"Bearer realm="sluice""#.into())),
            wait.map(|wait| ("retry-after", seconds(wait).to_string().into())),
        ];
        fields.into_iter().flatten()
    }

    /// The body of the answer, for a server that is not this crate's; `instance` is the path.
    pub fn render(&self, instance: &str, correlation: &str) -> Vec<u8> {
        let page = Page { problem: self, instance, correlation };
        let mut body = Vec::with_capacity(512);
        serde_json::to_writer(&mut body, &page).expect("strings and numbers are always JSON");
        body
    }
}

impl<E: Coded + 'static> From<E> for Problem {
    fn from(error: E) -> Self {
        if error.code() == ErrorCode::Internal {
            let causes = causes(&error);
            tracing::error!(error = causes, "a request failed by a mistake of ours: {causes}");
            return Self::internal();
        }
        Self {
            code: error.code(),
            detail: error.to_string(),
            errors: error.fields(),
            retry_after: error.retry_after(),
            extension: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    /// The head alone: the edge writes the body, for it knows the path and the correlation id.
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status());
        for (name, value) in self.fields() {
            let value = HeaderValue::from_str(&value).expect("the values above are visible ASCII");
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
        response
    }
}

/// A wait as the value of `Retry-After`: whole seconds, rounded up, so that nobody comes too early.
pub fn retry_after(wait: Duration) -> HeaderValue {
    HeaderValue::from(seconds(wait))
}

fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).max(1).min(u128::from(u32::MAX)) as u64
}

/// What a client sent comes back in pointers and rules, but not all of it: a name may be as long as a body.
fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(ECHOED_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// An error and what caused it, in one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const SECOND: Duration = Duration::from_secs(1);
const ECHOED_CHARS: usize = 300;

/// The members of a problem, in the order of RFC 9457.
struct Page<'a> {
    problem: &'a Problem,
    instance: &'a str,
    correlation: &'a str,
}

impl Serialize for Page<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (status, kind, title) = meaning(self.problem.code);
        let mut page = serializer.serialize_struct("Problem", 7)?;
        let extension = self.problem.extension.as_deref();
        match extension.and_then(|extension| extension.defined_as) {
            Some((uri, title)) => {
                page.serialize_field("type", uri)?;
                page.serialize_field("title", title)?;
            }
            None => {
                page.serialize_field("type", &format_args!("https://sluice.dev/problems/{kind}"))?;
                page.serialize_field("title", title)?;
            }
        }
        page.serialize_field("status", &status.as_u16())?;
        page.serialize_field("detail", &self.problem.detail)?;
        page.serialize_field("instance", self.instance)?;
        page.serialize_field("correlation_id", self.correlation)?;
        if !self.problem.errors.is_empty() {
            page.serialize_field("errors", &Fields(&self.problem.errors))?;
        }
        for (name, value) in extension.map_or(&[][..], |extension| &extension.members) {
            page.serialize_field(name, value)?;
        }
        page.end()
    }
}

struct Fields<'a>(&'a [FieldError]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Item<'a> {
            pointer: &'a str,
            detail: &'a str,
        }
        serializer
            .collect_seq(self.0.iter().map(|field| Item { pointer: &field.pointer, detail: &field.detail }))
    }
}

/// Status, last part of `type`, and title of each code.
fn meaning(code: ErrorCode) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match code {
        ErrorCode::MalformedRequest => (S::BAD_REQUEST, "malformed-request", "Malformed request"),
        ErrorCode::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated", "Unauthenticated"),
        ErrorCode::Forbidden => (S::FORBIDDEN, "forbidden", "Forbidden"),
        ErrorCode::NotFound => (S::NOT_FOUND, "not-found", "Not found"),
        ErrorCode::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
        ErrorCode::NotAcceptable => (S::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable"),
        ErrorCode::RequestTimeout => (S::REQUEST_TIMEOUT, "request-timeout", "Request timeout"),
        ErrorCode::Conflict => (S::CONFLICT, "conflict", "Conflict"),
        ErrorCode::LeaseLost => (S::CONFLICT, "lease-lost", "Lease lost"),
        ErrorCode::AlreadyExists => (S::CONFLICT, "already-exists", "Already exists"),
        ErrorCode::Finished => (S::CONFLICT, "finished", "Finished"),
        ErrorCode::FillLost => (S::CONFLICT, "fill-lost", "Fill lease lost"),
        ErrorCode::PreconditionFailed => {
            (S::PRECONDITION_FAILED, "precondition-failed", "Precondition failed")
        }
        ErrorCode::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "Too large"),
        ErrorCode::UriTooLong => (S::URI_TOO_LONG, "uri-too-long", "URL too long"),
        ErrorCode::UnsupportedMediaType => {
            (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
        }
        ErrorCode::InvalidInput => (S::UNPROCESSABLE_ENTITY, "invalid-input", "Invalid input"),
        ErrorCode::IdempotencyMismatch => {
            (S::UNPROCESSABLE_ENTITY, "idempotency-mismatch", "Idempotency key used with another body")
        }
        ErrorCode::RateLimited => (S::TOO_MANY_REQUESTS, "rate-limited", "Rate limited"),
        ErrorCode::HeadTooLarge => {
            (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "Request head too large")
        }
        ErrorCode::NotImplemented => (S::NOT_IMPLEMENTED, "not-implemented", "Not implemented"),
        ErrorCode::BadGateway => (S::BAD_GATEWAY, "bad-gateway", "Bad gateway"),
        ErrorCode::GatewayTimeout => (S::GATEWAY_TIMEOUT, "gateway-timeout", "Gateway timeout"),
        ErrorCode::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        ErrorCode::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Unavailable"),
        ErrorCode::OutcomeUnknown => (S::SERVICE_UNAVAILABLE, "outcome-unknown", "Outcome unknown"),
        ErrorCode::Full => (S::SERVICE_UNAVAILABLE, "full", "Full"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
            assert_eq!(retry_after(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
    }

    #[test]
    fn a_problem_has_the_members_of_rfc_9457_and_names_its_fields() {
        let problem = Problem::field("/tasks/3/priority", "0 to 9");
        let page: serde_json::Value = serde_json::from_slice(&problem.render("/v1/x", "c-1")).unwrap();
        assert_eq!(
            page,
            serde_json::json!({
                "type": "https://sluice.dev/problems/invalid-input", "title": "Invalid input", "status": 422,
                "detail": "a field breaks its rule", "instance": "/v1/x", "correlation_id": "c-1",
                "errors": [{"pointer": "/tasks/3/priority", "detail": "0 to 9"}],
            })
        );
    }

    #[test]
    fn a_type_that_others_defined_stands_in_place_of_ours_and_brings_its_members() {
        let problem = Problem::new(ErrorCode::RateLimited, "wait")
            .and_type("https://example.org/types#quota", "Quota exceeded")
            .and_member("violated-policies", serde_json::json!(["a"]));
        let page: serde_json::Value = serde_json::from_slice(&problem.render("/", "c-1")).unwrap();
        assert_eq!(page["type"], "https://example.org/types#quota");
        assert_eq!(page["title"], "Quota exceeded");
        assert_eq!(page["status"], 429);
        assert_eq!(page["violated-policies"], serde_json::json!(["a"]));
    }
}
