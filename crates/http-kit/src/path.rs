//! The parameters of a path, percent-decoded strictly.

use crate::Problem;
use crate::tracked::{Mistake, Tracked};
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use domain::ErrorCode;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use std::borrow::Cow;
use std::future::{Ready, ready};
use std::ops::Deref;

/// The parameters of a route as a `T`: a name, a tuple in the order of the path, or a struct with their names.
///
/// Also for a tail: `/entries/{name:.*}` gives the rest of the path, slashes included, percent-decoded.
/// 400 that names the parameter when it holds a broken escape, a NUL, or no UTF-8; 422 when it breaks the rule of its
/// type. (The router's own decoding replaces bad bytes silently, so the raw path is checked first.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T> Path<T> {
    /// The parameters.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Path<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(parse(request).map(Self))
    }
}

fn parse<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let parameters = request.match_info();
    if let Err(flaw) = decode(request.uri().path()) {
        let damaged =
            parameters.iter().find(|(_, value)| flaw.shows_in(value)).map_or("path", |(name, _)| name);
        let problem = Problem::new(ErrorCode::MalformedRequest, "the path cannot be decoded");
        return Err(problem.and_field(damaged, flaw.rule()));
    }
    let Tracked(parsed) = parameters.load().map_err(|error| Problem::field("path", error.to_string()))?;
    parsed.map_err(|Mistake { path, rule }| {
        let name = match path.iter().next() {
            Some(Segment::Map { key }) => Some(&**key),
            Some(Segment::Seq { index }) => parameters.iter().nth(*index).map(|(name, _)| name),
            // A type that stands for the only parameter.
            _ => parameters.iter().last().map(|(name, _)| name),
        };
        Problem::field(name.unwrap_or("path"), rule)
    })
}

/// What can be wrong with text that was percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    BadEscape,
    Nul,
    NotUtf8,
}

impl Flaw {
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::BadEscape => "a % is followed by two hexadecimal digits",
            Self::Nul => "no NUL byte",
            Self::NotUtf8 => "UTF-8, percent-encoded",
        }
    }

    /// Whether a parameter, decoded by the router with replacements, is the one that has it.
    fn shows_in(self, value: &str) -> bool {
        match self {
            Self::BadEscape => has_bad_escape(value),
            Self::Nul => value.contains('\0'),
            Self::NotUtf8 => value.contains('\u{FFFD}'),
        }
    }
}

/// Decodes strictly. Cost: nothing but a scan when there is nothing to decode.
pub(crate) fn decode(encoded: &str) -> Result<Cow<'_, str>, Flaw> {
    if has_bad_escape(encoded) {
        return Err(Flaw::BadEscape);
    }
    let text = percent_decode_str(encoded).decode_utf8().map_err(|_| Flaw::NotUtf8)?;
    if text.contains('\0') { Err(Flaw::Nul) } else { Ok(text) }
}

fn has_bad_escape(text: &str) -> bool {
    let hex = |part: &str| part.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    text.split('%').skip(1).any(|part| !hex(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_is_strict() {
        for (encoded, decoded) in [
            ("plain/tail", Ok("plain/tail")),
            ("a%2Fb%20c%25", Ok("a/b c%")),
            ("na%C3%AFve", Ok("naïve")),
            ("+", Ok("+")),
            ("%", Err(Flaw::BadEscape)),
            ("%zz", Err(Flaw::BadEscape)),
            ("%2", Err(Flaw::BadEscape)),
            ("a%00b", Err(Flaw::Nul)),
            ("%ff", Err(Flaw::NotUtf8)),
            ("%C3", Err(Flaw::NotUtf8)),
        ] {
            assert_eq!(decode(encoded).as_deref().map_err(|flaw| *flaw), decoded, "{encoded}");
        }
    }
}
