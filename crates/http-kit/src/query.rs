//! The parameters of a query, percent-decoded strictly.

use crate::Problem;
use crate::path::decode;
use crate::tracked::{Mistake, Tracked, pointer};
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use domain::ErrorCode;
use serde::de::DeserializeOwned;
use std::future::{Ready, ready};
use std::ops::Deref;

/// The query as a `T`; give it `deny_unknown_fields`. No query is an empty one.
///
/// 400 that names the parameter when it holds a broken escape, a NUL, or no UTF-8; 422 that names it when it is wrong,
/// missing, unknown, or given twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T> Query<T> {
    /// The parameters.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Query<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(request.query_string()).map(Self))
    }
}

fn parse<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let problem = || Problem::new(ErrorCode::MalformedRequest, "the query cannot be decoded");
        let name = decode(name).map_err(|flaw| problem().and_field("query", flaw.rule()))?;
        decode(value).map_err(|flaw| problem().and_field(name, flaw.rule()))?;
    }
    let unreadable = |error: serde_urlencoded::de::Error| Problem::field("query", error.to_string());
    let Tracked(parsed) = serde_urlencoded::from_str(query).map_err(unreadable)?;
    parsed.map_err(|Mistake { path, rule }| {
        let name = pointer(&path, &rule);
        Problem::field(name.strip_prefix('/').unwrap_or("query"), rule)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        limit: u16,
        after: Option<String>,
    }

    #[test]
    fn a_query_is_read_into_its_type() {
        let list = |limit, after: Option<&str>| List { limit, after: after.map(str::to_owned) };
        assert_eq!(parse::<List>("limit=5"), Ok(list(5, None)));
        assert_eq!(parse::<List>("after=na%C3%AFve+one&&limit=5&"), Ok(list(5, Some("naïve one"))));
    }

    #[test]
    fn each_mistake_names_its_parameter() {
        for (query, status, name) in [
            ("limit=many", 422, "limit"),
            ("limit=70000", 422, "limit"),
            ("", 422, "limit"),
            ("limit=1&limit=2", 422, "limit"),
            ("limit=1&page=2", 422, "page"),
            ("limit=1&after=%ff", 400, "after"),
            ("limit=1&after=a%00", 400, "after"),
            ("limit=1&after=%4", 400, "after"),
            ("%ff=1", 400, "query"),
        ] {
            let problem = parse::<List>(query).unwrap_err();
            assert_eq!((problem.status().as_u16(), &*problem.errors[0].pointer), (status, name), "{query}");
        }
    }
}
