//! Session tokens of cache-api: the field `Sluice-Session`, else the cookie `__Host-sluice-session`.

use super::{Identity, Unidentified, Wrong, text};
use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};
use redis_core::RedisError;
use serde::Deserialize;
use session::{SessionError, Sessions, Token};
use std::time::Duration;

/// `[identity.session]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionRules {
    /// The attribute of a session that is its user's project, a text or a number; none if absent.
    project_attribute: Option<String>,
    /// The one that is its tier.
    tier_attribute: Option<String>,
}

/// A token that a request shows, and what its session means for limits.
#[derive(Debug)]
pub(crate) struct ShownSession {
    token: Token,
    /// A browser sends it unasked, also after its session is over.
    by_cookie: bool,
    rules: SessionRules,
}

/// Finds out whose a session is.
#[derive(Debug)]
pub(crate) struct SessionCheck {
    sessions: Sessions,
    /// How long Redis may take.
    deadline: Duration,
}

impl SessionRules {
    /// The token of a request, if it shows one. The field comes before the cookie, as for cache-api. A cookie that is no token
    /// is none.
    ///
    /// # Errors
    /// [`Wrong`]: the field is no token, or there are several.
    pub(super) fn shown(&self, headers: &HeaderMap) -> Result<Option<ShownSession>, Wrong> {
        let mut fields = headers.get_all(SESSION).iter().map(HeaderValue::as_bytes);
        let (token, by_cookie) = match only(&mut fields)? {
            Some(field) => (Some(token(field).ok_or(OVER)?), false),
            None => (only(&mut cookies(headers))?.and_then(token), true),
        };
        Ok(token.map(|token| ShownSession { token, by_cookie, rules: self.clone() }))
    }
}

impl SessionCheck {
    pub(crate) fn new(sessions: Sessions, deadline: Duration) -> Self {
        Self { sessions, deadline }
    }

    /// Whose session it is; it lives on by that. Nobody's, when a cookie outlived it. One round trip.
    ///
    /// # Errors
    /// [`Unidentified`]
    pub(crate) async fn identify(&self, shown: &ShownSession) -> Result<Identity, Unidentified> {
        let ShownSession { token, by_cookie, rules } = shown;
        // It may be dropped at any time: what it writes is that the session lives on.
        let validated = tokio::time::timeout(self.deadline, self.sessions.validate(token)).await;
        let session = match validated.unwrap_or(Err(RedisError::Unknown.into())) {
            Ok(session) => session,
            // Else nobody whose session is over could see the page where one logs in.
            Err(SessionError::Unauthenticated) if *by_cookie => return Ok(Identity::default()),
            Err(SessionError::Unauthenticated) => return Err(OVER.into()),
            Err(SessionError::Redis(RedisError::Unavailable { .. } | RedisError::Unknown)) => {
                return Err(Unidentified::Away);
            }
            Err(error) => {
                tracing::error!(error = ?error, "no session can be judged: {error}");
                return Err(Unidentified::Away);
            }
        };
        let project = text(&session.attributes, rules.project_attribute.as_deref())?;
        let tier = text(&session.attributes, rules.tier_attribute.as_deref())?;
        Ok(Identity::of_token(session.user, project, tier)?)
    }
}

fn token(text: &[u8]) -> Option<Token> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The values of our cookie. HTTP/2 may split cookies over several fields.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(COOKIE).iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.filter_map(|pair| pair.strip_prefix(NAME)?.strip_prefix(b"="))
}

/// Of two the upstream might believe the other.
fn only<'a>(shown: &mut impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, Wrong> {
    let first = shown.next();
    match shown.next() {
        Some(_) => Err(Wrong("there is more than one session token")),
        None => Ok(first),
    }
}

/// One and the same for all that is wrong with one, so that nobody learns which.
const OVER: Wrong = Wrong("the session token is unknown, or its session is over");
const SESSION: HeaderName = HeaderName::from_static("sluice-session");
const NAME: &[u8] = b"__Host-sluice-session";

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &[(&'static str, &str)]) -> Result<Option<String>, Wrong> {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let mut headers = HeaderMap::new();
        for (name, text) in fields {
            headers.append(*name, value(text));
        }
        let shown = SessionRules::default().shown(&headers)?;
        Ok(shown.map(|shown| shown.token.expose()))
    }

    #[test]
    fn a_token_is_shown_by_the_field_else_by_the_cookie() {
        let (a, b) = (TOKEN.to_owned(), TOKEN.replace('A', "Q"));
        let cookie = |token: &str| format!("__Host-sluice-session={token}");
        for (fields, token) in [
            (vec![], None),
            (
                vec![(
                    "cookie",
                    "a=1; session=x; __host-sluice-session=x; X__Host-sluice-session=x".to_owned(),
                )],
                None,
            ),
            (vec![("cookie", "__Host-sluice-session=".to_owned())], None),
            (vec![("cookie", cookie("x"))], None),
            (vec![("sluice-session", a.clone())], Some(&a)),
            (vec![("cookie", format!("a=1;{} ; b=2", cookie(&a)))], Some(&a)),
            (vec![("cookie", "a=1".to_owned()), ("cookie", cookie(&a))], Some(&a)),
            (vec![("sluice-session", a.clone()), ("cookie", cookie(&b))], Some(&a)),
        ] {
            let fields: Vec<_> = fields.iter().map(|(name, text)| (*name, &**text)).collect();
            assert_eq!(shown(&fields), Ok(token.cloned()), "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_token_or_two_is_wrong_and_not_nobody() {
        let cookie = format!("__Host-sluice-session={TOKEN}");
        let twice = format!("{cookie}; {cookie}");
        for fields in [
            vec![("sluice-session", "")],
            vec![("sluice-session", "x")],
            vec![("sluice-session", "x"), ("cookie", &cookie)],
            vec![("sluice-session", TOKEN), ("sluice-session", TOKEN)],
            vec![("cookie", &twice)],
            vec![("cookie", &cookie), ("cookie", &cookie)],
        ] {
            assert!(shown(&fields).is_err(), "{fields:?}");
        }
    }

    const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
}
