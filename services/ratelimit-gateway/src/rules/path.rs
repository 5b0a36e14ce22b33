//! Paths in the one form in which routes see them. Upstreams get them as they came.

use std::borrow::Cow;

/// A path that servers read in different ways: whoever guards one reading is passed by in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ambiguous {
    /// `%` without two hexadecimal digits.
    #[error("the path has a `%` without two hexadecimal digits behind it")]
    Percent,
    /// Some servers split there and some do not.
    #[error(
        "the path has an encoded slash, a backslash or a control character, which servers read in different ways"
    )]
    Separator,
    /// `..;x`: Java's servers drop what follows the `;`.
    #[error("the path has a dot segment with a parameter, which servers read in different ways")]
    DotParameter,
}

/// Decodes what needs no encoding (RFC 3986, 6.2.2.2), resolves `.` and `..`, drops empty segments and a slash at the end.
/// What stays encoded is in upper case. `*` (of OPTIONS) is the root.
///
/// ```text
/// /v1//%71ueues/./a/../b%c3%a9/  is  /v1/queues/b%C3%A9
/// ```
///
/// # Errors
/// [`Ambiguous`]: answered with 400, and never forwarded.
pub(crate) fn normalised(raw: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if raw == "*" || raw.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    let is_plain = raw.bytes().all(|byte| !matches!(byte, b'%' | b'\\' | 0..=0x1f | 0x7f));
    if is_plain && !raw.contains("//") && !raw.contains("/.") {
        let trimmed = raw.strip_suffix('/').unwrap_or(raw);
        return Ok(Cow::Borrowed(if trimmed.is_empty() { "/" } else { trimmed }));
    }
    let mut segments: Vec<Cow<'_, str>> = Vec::new();
    for segment in raw.split('/') {
        let segment = decoded(segment)?;
        match &*segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            dots if dots.starts_with(".;") || dots.starts_with("..;") => return Err(Ambiguous::DotParameter),
            _ => segments.push(segment),
        }
    }
    Ok(Cow::Owned(format!("/{}", segments.join("/"))))
}

fn decoded(segment: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if segment.bytes().any(|byte| matches!(byte, b'\\' | 0..=0x1f | 0x7f)) {
        return Err(Ambiguous::Separator);
    }
    if !segment.contains('%') {
        return Ok(Cow::Borrowed(segment));
    }
    let mut text = String::with_capacity(segment.len());
    let mut pieces = segment.split('%');
    text.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).ok_or(Ambiguous::Percent)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Ambiguous::Percent);
        }
        match u8::from_str_radix(digits, 16).map_err(|_| Ambiguous::Percent)? {
            b'/' | b'\\' | 0..=0x1f | 0x7f => return Err(Ambiguous::Separator),
            byte @ (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => {
                text.push(char::from(byte));
            }
            _ => {
                text.push('%');
                text.push_str(&digits.to_ascii_uppercase());
            }
        }
        text.push_str(rest);
    }
    Ok(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_path_are_one() {
        for (raw, seen) in [
            ("/", "/"),
            ("*", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b"),
            ("//a///b//", "/a/b"),
            ("/%61%2D%7e", "/a-~"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/b", "/b"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/.hidden/...", "/.hidden/..."),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%252Fb", "/a%252Fb"),
            ("/a%3Fb%20c", "/a%3Fb%20c"),
        ] {
            assert_eq!(normalised(raw).as_deref(), Ok(seen), "{raw}");
        }
    }

    #[test]
    fn a_path_of_two_readings_is_refused() {
        use Ambiguous::{DotParameter, Percent, Separator};
        for (raw, why) in [
            ("/a%2Fb", Separator),
            ("/a%2fb", Separator),
            ("/a%5Cb", Separator),
            ("/a\\b", Separator),
            ("/a%00", Separator),
            ("/a%0A", Separator),
            ("/a%7f", Separator),
            ("/a%", Percent),
            ("/a%2", Percent),
            ("/a%zz", Percent),
            ("/a%+1", Percent),
            ("/a%é", Percent),
            ("/a/..;/b", DotParameter),
            ("/a/%2e.;x/b", DotParameter),
            ("/a/.;/b", DotParameter),
        ] {
            assert_eq!(normalised(raw), Err(why), "{raw}");
        }
    }
}
