//! Conditional requests, RFC 9110, sections 8.8.3 and 13: entity tags and what is asked of them.

use crate::Problem;
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use actix_web::{FromRequest, HttpRequest};
use domain::ErrorCode;
use std::fmt;
use std::future::{Ready, ready};
use std::str::FromStr;

/// An entity tag: `"abc"`, or `W/"abc"` when it is weak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag {
    weak: bool,
    opaque: String,
}

/// Text that is no entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entity tag: visible ASCII in double quotes, such as \"v17\"")]
pub struct InvalidETag;

impl ETag {
    /// A strong tag: two representations with it are the same byte for byte.
    ///
    /// # Errors
    /// [`InvalidETag`]: `opaque` holds a quote, a blank or a control character.
    pub fn strong(opaque: impl Into<String>) -> Result<Self, InvalidETag> {
        let opaque = opaque.into();
        let allowed = |c: char| c == '!' || ('#'..='~').contains(&c) || !c.is_ascii();
        if opaque.chars().all(allowed) { Ok(Self { weak: false, opaque }) } else { Err(InvalidETag) }
    }

    /// What stands between the quotes.
    pub fn opaque(&self) -> &str {
        &self.opaque
    }

    /// It only says that two representations mean the same; no condition of a write holds by it.
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// The tag as a header.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.to_string().as_bytes()).expect("a tag holds no control character")
    }

    /// Both are strong and equal: fit for `If-Match`.
    fn is_strongly(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Equal, weak or not: fit for `If-None-Match`.
    fn is_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }
}

impl FromStr for ETag {
    type Err = InvalidETag;

    fn from_str(text: &str) -> Result<Self, InvalidETag> {
        let (weak, quoted) = text.strip_prefix("W/").map_or((false, text), |quoted| (true, quoted));
        let opaque = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(InvalidETag)?;
        Ok(Self { weak, ..Self::strong(opaque)? })
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\"{}\"", if self.weak { "W/" } else { "" }, self.opaque)
    }
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`: whatever there is.
    Any,
    /// One of these.
    OneOf(Vec<ETag>),
}

/// What a request asks of the present state of a thing, from `If-Match` and `If-None-Match`.
///
/// 400 that names the header when it is malformed: ignoring it could overwrite what it was to protect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`: go on only if the thing is still this one.
    pub if_match: Option<EntityTags>,
    /// `If-None-Match`: go on only if the thing is another one by now, or is not there.
    pub if_none_match: Option<EntityTags>,
}

/// What follows from [`Conditions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Do what the request asks.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: it is not what the client thought.
    Failed,
}

impl Conditions {
    /// Whether nothing is asked, so that the present state need not be known.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Judges in the order of RFC 9110, section 13.2.2. `current` is the tag of what there is, if anything.
    pub fn judge(&self, method: &Method, current: Option<&ETag>) -> Verdict {
        if let Some(wanted) = &self.if_match
            && !wanted.hold(current, ETag::is_strongly)
        {
            return Verdict::Failed;
        }
        match &self.if_none_match {
            Some(unwanted) if unwanted.hold(current, ETag::is_weakly) => {
                if matches!(*method, Method::GET | Method::HEAD) {
                    Verdict::NotModified
                } else {
                    Verdict::Failed
                }
            }
            _ => Verdict::Proceed,
        }
    }
}

impl EntityTags {
    fn hold(&self, current: Option<&ETag>, same: fn(&ETag, &ETag) -> bool) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(tags), Some(current)) => tags.iter().any(|tag| same(tag, current)),
        }
    }
}

impl FromStr for EntityTags {
    type Err = InvalidETag;

    fn from_str(text: &str) -> Result<Self, InvalidETag> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        // A tag may hold a comma, so the list is split at the quotes.
        let (mut tags, mut rest) = (Vec::new(), text.trim_matches([' ', '\t', ',']));
        while !rest.is_empty() {
            let opening = rest.find('"').ok_or(InvalidETag)?;
            let closing = opening + 1 + rest[opening + 1..].find('"').ok_or(InvalidETag)?;
            tags.push(rest[..=closing].parse()?);
            let behind = rest[closing + 1..].trim_start_matches([' ', '\t']);
            if !behind.is_empty() && !behind.starts_with(',') {
                return Err(InvalidETag);
            }
            rest = behind.trim_start_matches([' ', '\t', ',']);
        }
        if tags.is_empty() { Err(InvalidETag) } else { Ok(Self::OneOf(tags)) }
    }
}

impl FromRequest for Conditions {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let read = || {
            let if_match = tags(request.headers(), &IF_MATCH)?;
            Ok(Self { if_match, if_none_match: tags(request.headers(), &IF_NONE_MATCH)? })
        };
        ready(read())
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<EntityTags>, Problem> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    // A header sent twice is a list (RFC 9110, section 5.3).
    let lines: Result<Vec<_>, _> =
        headers.get_all(name).map(|line| std::str::from_utf8(line.as_bytes())).collect();
    let parsed = lines.map_err(|_| InvalidETag).and_then(|lines| lines.join(",").parse());
    let title = if *name == IF_MATCH { "If-Match" } else { "If-None-Match" };
    let malformed = |rule: InvalidETag| {
        Problem::new(ErrorCode::MalformedRequest, format!("{title} cannot be read"))
            .and_field(title, rule.to_string())
    };
    parsed.map(Some).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> ETag {
        text.parse().unwrap()
    }

    #[test]
    fn tags_are_read_as_they_are_written() {
        for text in [r#""v17""#, r#"W/"v17""#, r#""""#, r#""a,b;c=é""#] {
            assert_eq!(tag(text).to_string(), text);
        }
        for text in ["", "v17", r#""v17"#, r#""a"b""#, r#"w/"v""#, r#""a b""#, "\"a\nb\"", r#"""#] {
            assert_eq!(text.parse::<ETag>(), Err(InvalidETag), "{text:?}");
        }
    }

    #[test]
    fn a_list_is_split_at_its_quotes() {
        let list: EntityTags = r#" "a,b" ,, W/"c","d" "#.parse().unwrap();
        assert_eq!(list, EntityTags::OneOf(vec![tag(r#""a,b""#), tag(r#"W/"c""#), tag(r#""d""#)]));
        assert_eq!(" * ".parse(), Ok(EntityTags::Any));
        for text in
            ["", ",", "a", r#""a" "b""#, r#""a", *"#, r#""a","#.trim_end_matches(',').get(..2).unwrap()]
        {
            assert_eq!(text.parse::<EntityTags>(), Err(InvalidETag), "{text:?}");
        }
    }

    #[test]
    fn conditions_are_judged_as_rfc_9110_says() {
        use Verdict::{Failed, NotModified, Proceed};
        let (get, put) = (Method::GET, Method::PUT);
        for (if_match, if_none_match, current, on_get, on_put) in [
            (None, None, None, Proceed, Proceed),
            (Some("*"), None, None, Failed, Failed),
            (Some("*"), None, Some(r#""a""#), Proceed, Proceed),
            (Some(r#""a", "b""#), None, Some(r#""b""#), Proceed, Proceed),
            (Some(r#""a""#), None, Some(r#""b""#), Failed, Failed),
            (Some(r#"W/"a""#), None, Some(r#"W/"a""#), Failed, Failed),
            (None, Some("*"), None, Proceed, Proceed),
            (None, Some("*"), Some(r#""a""#), NotModified, Failed),
            (None, Some(r#""a""#), Some(r#""b""#), Proceed, Proceed),
            (None, Some(r#"W/"a""#), Some(r#""a""#), NotModified, Failed),
            (Some(r#""a""#), Some(r#""a""#), Some(r#""a""#), NotModified, Failed),
            (Some(r#""b""#), Some(r#""a""#), Some(r#""a""#), Failed, Failed),
        ] {
            let tags = |text: Option<&str>| text.map(|text| text.parse().unwrap());
            let conditions = Conditions { if_match: tags(if_match), if_none_match: tags(if_none_match) };
            let current = current.map(tag);
            let judged = [&get, &put].map(|method| conditions.judge(method, current.as_ref()));
            assert_eq!(judged, [on_get, on_put], "{if_match:?} {if_none_match:?} {current:?}");
        }
    }
}
