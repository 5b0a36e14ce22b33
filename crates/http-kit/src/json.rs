//! A JSON body, read into a type; what is wrong is named by a JSON pointer.

use crate::Problem;
use crate::body;
use crate::json_depth;
use crate::json_object::Outermost;
use crate::tracked::pointer;
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use actix_web::{FromRequest, HttpRequest};
use domain::ErrorCode;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use std::ops::Deref;

/// A JSON body as a `T`, whose fields are checked by its types; give it `deny_unknown_fields`.
///
/// 415 unless it is `application/json` (a PATCH may be `application/merge-patch+json`); 400 when it is no JSON; 422 with a JSON pointer when a field is wrong, missing,
/// unknown, or nested deeper than 32 levels; 413, 408 as [`Body`](crate::Body). Cost: one pass for the depth, one to parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T> Json<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // RFC 7396 gives a patch a name of its own.
        let also = if request.method() == Method::PATCH { MERGE_PATCH } else { JSON };
        if let Err(problem) = is_json(request.headers(), also) {
            return Box::pin(std::future::ready(Err(problem)));
        }
        let reading = body::read(request, payload);
        Box::pin(async move { parse(&reading.await?).map(Self) })
    }
}

fn is_json(headers: &HeaderMap, also: &str) -> Result<(), Problem> {
    let refuse = |detail: String| Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return refuse(format!(
            "Content-Encoding `{}` is not read here",
            String::from_utf8_lossy(encoding.as_bytes())
        ));
    }
    let sent = headers.get(CONTENT_TYPE).map(|sent| String::from_utf8_lossy(sent.as_bytes()));
    match sent {
        None => refuse("a Content-Type is needed: application/json".to_owned()),
        Some(sent) if [JSON, also].iter().any(|kind| is_kind(&sent, kind)) => Ok(()),
        Some(sent) => refuse(format!("Content-Type is `{sent}`; application/json is needed")),
    }
}

fn is_kind(sent: &str, kind: &str) -> bool {
    sent.split(';').next().is_some_and(|sent| sent.trim().eq_ignore_ascii_case(kind))
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Problem> {
    if json.is_empty() {
        return Err(Problem::new(ErrorCode::MalformedRequest, "the body is empty; JSON is needed"));
    }
    if let Some(pointer) = json_depth::beyond(json, DEEPEST) {
        return Err(Problem::field(pointer, format!("nested deeper than {DEEPEST} levels")));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(Outermost(&mut deserializer)).map_err(|error| {
        let pointer = pointer(error.path(), &error.inner().to_string());
        wrong(pointer, error.inner())
    })?;
    deserializer.end().map_err(|error| wrong(String::new(), &error))?;
    Ok(value)
}

fn wrong(pointer: String, error: &serde_json::Error) -> Problem {
    let detail = error.to_string();
    let problem = if error.is_data() {
        Problem::new(ErrorCode::InvalidInput, "a field breaks its rule")
    } else {
        // Bytes that are no UTF-8, NUL and other control characters, and all that is no JSON.
        Problem::new(ErrorCode::MalformedRequest, "the body is not valid JSON")
    };
    problem.and_field(pointer, detail)
}

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters here")]
    struct Batch {
        tasks: Vec<Task>,
        #[serde(default)]
        note: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters here")]
    struct Task {
        queue: domain::QueueName,
        #[serde(default)]
        priority: u8,
    }

    #[test]
    fn each_mistake_is_named_by_its_pointer() {
        let deep = format!(r#"{{"tasks":[],"note":{}1}}"#, "[".repeat(40));
        for (json, status, pointer) in [
            (r#"{"tasks":[{"queue":"a"},{"queue":"b","priority":"high"}]}"#, 422, "/tasks/1/priority"),
            (r#"{"tasks":[{"queue":"NO"}]}"#, 422, "/tasks/0/queue"),
            (r#"{"tasks":[{"priority":1}]}"#, 422, "/tasks/0/queue"),
            (r#"{"tasks":[{"queue":"a","prioritaet":1}]}"#, 422, "/tasks/0/prioritaet"),
            (r#"{"tasks":[],"tasks":[]}"#, 422, "/tasks"),
            (r#"{"note":"x"}"#, 422, "/tasks"),
            (r#"{"tasks":[],"a/b":1}"#, 422, "/a~1b"),
            (r#"[]"#, 422, ""),
            (r#"[[],"positional"]"#, 422, ""),
            (&deep, 422, "/note/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0"),
            ("{\"tasks\":[],\"note\":\"nul\0\"}", 400, "/note"),
            (r#"{"tasks":[],"#, 400, ""),
            (r#"{"tasks":[]} more"#, 400, ""),
        ] {
            let problem = parse::<Batch>(json.as_bytes()).unwrap_err();
            assert_eq!((problem.status().as_u16(), &*problem.errors[0].pointer), (status, pointer), "{json}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_named() {
        let problem = parse::<Batch>(b"{\"tasks\":[],\"note\":\"\xff\"}").unwrap_err();
        assert_eq!((problem.status().as_u16(), &*problem.errors[0].pointer), (400, "/note"));
    }
}
