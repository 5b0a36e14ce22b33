//! Asking a service over HTTP, and what every problem answer must be.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

/// A client of one service: paths instead of addresses, the key sent by itself.
#[derive(Clone, Debug)]
pub struct Client {
    base_url: String,
    key: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// A client without a key. `base_url` has no slash at its end.
    ///
    /// Uses no proxy, follows no redirect, and gives up after 60 s.
    pub fn new(base_url: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(60));
        Self { base_url: base_url.to_owned(), key: None, http: http.build().expect("a client can be made") }
    }

    /// The same client (and its connections), sending this API key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// Any request; `path` begins with a slash and is sent as it stands.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base_url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// `GET`
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// `POST` with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    /// `PUT` without a body yet.
    pub fn put(&self, path: &str) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    /// `PATCH` with a JSON body.
    pub fn patch(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::PATCH, path).json(body)
    }

    /// `DELETE`
    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// Sends it and returns the JSON of a 2xx answer.
    ///
    /// # Panics
    /// When there is no answer, or another one; the message holds its body.
    #[track_caller]
    pub fn json(&self, request: RequestBuilder) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = request.send().await.unwrap_or_else(|error| panic!("{caller}: {error:?}"));
            let status = answer.status();
            let body = answer.text().await.unwrap_or_default();
            assert!(status.is_success(), "{caller}: {status}: {body}");
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{caller}: {error}: {body}"))
        }
    }
}

/// Requires a problem answer as every service must give it, and returns its JSON.
///
/// That is: this status, `application/problem+json`, an absolute `type`, `title`, the status again, `detail`,
/// the path as `instance`, the correlation id of the header, and, when `field` is given, an entry of `errors`
/// whose `pointer` it is.
///
/// # Panics
/// When the answer is another one; the message holds its body.
#[track_caller]
pub fn expect_problem<'a>(
    answer: Response,
    status: u16,
    field: impl Into<Option<&'a str>>,
) -> impl Future<Output = Value> {
    let caller = std::panic::Location::caller();
    let field = field.into();
    async move {
        let actual = answer.status();
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (media_type, correlation) = (header("content-type"), header("x-correlation-id"));
        let text = answer.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let complaint = complaint(&problem, actual, status, &media_type, &correlation, field);
        assert!(complaint.is_none(), "{caller}: {}: {actual} {text}", complaint.unwrap_or_default());
        problem
    }
}

/// What is wrong with a problem answer, if anything.
fn complaint(
    problem: &Value,
    actual: StatusCode,
    status: u16,
    media_type: &str,
    correlation: &str,
    field: Option<&str>,
) -> Option<String> {
    let text = |name: &str| problem[name].as_str().unwrap_or_default();
    let has = |pointer| {
        let errors = problem["errors"].as_array();
        errors.is_some_and(|errors| errors.iter().any(|error| error["pointer"] == pointer))
    };
    if actual.as_u16() != status {
        return Some(format!("the status is not {status}"));
    }
    if media_type != "application/problem+json" {
        return Some(format!("the media type is {media_type:?}"));
    }
    if !text("type").starts_with("https://") || text("title").is_empty() || problem["status"] != status {
        return Some("type, title or status is missing or wrong".to_owned());
    }
    if text("detail").is_empty() || !text("instance").starts_with('/') {
        return Some("detail or instance is missing".to_owned());
    }
    if correlation.is_empty() || text("correlation_id") != correlation {
        return Some(format!("the correlation id of the header is {correlation:?}"));
    }
    field.filter(|field| !has(*field)).map(|field| format!("no error names {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_lacks_something_is_reported() {
        let good = serde_json::json!({
            "type": "https://sluice.dev/problems/invalid-input", "title": "Invalid input", "status": 422,
            "detail": "a field breaks its rule", "instance": "/v1/x", "correlation_id": "c", "errors": [{"pointer": "/payload", "detail": "too large"}],
        });
        let ask = |problem: &Value, status: u16, media_type: &str, correlation: &str, field| {
            let actual = StatusCode::UNPROCESSABLE_ENTITY;
            complaint(problem, actual, status, media_type, correlation, field)
        };
        let kind = "application/problem+json";
        assert_eq!(ask(&good, 422, kind, "c", Some("/payload")), None);
        assert_eq!(ask(&good, 422, kind, "c", None), None);

        assert!(ask(&good, 400, kind, "c", None).is_some(), "another status");
        assert!(ask(&good, 422, "application/json", "c", None).is_some(), "another media type");
        assert!(ask(&good, 422, kind, "", None).is_some(), "no header");
        assert!(ask(&good, 422, kind, "c", Some("/priority")).is_some(), "another field");
        for member in ["type", "title", "status", "detail", "instance", "correlation_id"] {
            let mut bad = good.clone();
            bad[member] = Value::Null;
            assert!(ask(&bad, 422, kind, "c", None).is_some(), "no {member}");
        }
    }
}
