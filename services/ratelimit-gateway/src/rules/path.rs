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
    /// `/a//../b` is `/a/b` by RFC 3986, 5.2.4, and `/b` for servers that drop empty segments first.
    #[error("the path goes up from an empty segment, which servers read in different ways")]
    Up,
}

/// Decodes what needs no encoding (RFC 3986, 6.2.2.2), resolves `.` and `..`, drops the parameters of segments (`;a=b`), empty
/// segments, and a slash at the end. What stays encoded is in upper case. `*` (of OPTIONS) is the root.
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
    let is_plain = raw.bytes().all(|byte| !matches!(byte, b'%' | b';' | b'\\' | 0..=0x1f | 0x7f));
    if is_plain && !raw.contains("//") && !raw.contains("/.") {
        let trimmed = raw.strip_suffix('/').unwrap_or(raw);
        return Ok(Cow::Borrowed(if trimmed.is_empty() { "/" } else { trimmed }));
    }
    let mut segments: Vec<Cow<'_, str>> = Vec::new();
    for segment in raw.strip_prefix('/').unwrap_or(raw).split('/') {
        let segment = without_parameters(decoded(segment)?)?;
        match &*segment {
            "." => {}
            ".." if segments.pop().is_some_and(|left| left.is_empty()) => return Err(Ambiguous::Up),
            ".." => {}
            _ => segments.push(segment),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    Ok(Cow::Owned(format!("/{}", segments.join("/"))))
}

/// Java's servers look for what stands before the `;`; those that do not would find nothing of this name.
fn without_parameters(segment: Cow<'_, str>) -> Result<Cow<'_, str>, Ambiguous> {
    match segment.find(';') {
        None => Ok(segment),
        Some(_) if segment.starts_with(".;") || segment.starts_with("..;") => Err(Ambiguous::DotParameter),
        Some(end) => Ok(match segment {
            Cow::Borrowed(segment) => Cow::Borrowed(&segment[..end]),
            Cow::Owned(mut segment) => {
                segment.truncate(end);
                Cow::Owned(segment)
            }
        }),
    }
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
    use proptest::collection::vec;
    use proptest::prelude::*;

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
            ("/a;b=c/d;/;e/f", "/a/d/f"),
            ("/a%3Bb", "/a%3Bb"),
        ] {
            assert_eq!(normalised(raw).as_deref(), Ok(seen), "{raw}");
        }
    }

    #[test]
    fn a_path_of_two_readings_is_refused() {
        use Ambiguous::{DotParameter, Percent, Separator, Up};
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
            ("/a//../b", Up),
            ("/a//b/../../c", Up),
            ("/a/;x/%2e%2e/b", Up),
            ("//../b", Up),
        ] {
            assert_eq!(normalised(raw), Err(why), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn however_a_path_is_spelt_it_is_seen_as_one(
            words in vec("[a-z0-9_~][a-z0-9._~-]{0,5}", 0..5),
            dice in vec(0_u8..8, 64),
        ) {
            let mut dice = dice.iter().copied().cycle();
            let mut spelt = String::new();
            for word in &words {
                spelt += match dice.next().unwrap() {
                    0 => "//",
                    1 => "/./",
                    2 => "/x/../",
                    3 => "/%2e/%78/.%2E/",
                    4 => "/;x/",
                    _ => "/",
                };
                for letter in word.chars() {
                    match dice.next().unwrap() {
                        0 => spelt += &format!("%{:02x}", u32::from(letter)),
                        1 => spelt += &format!("%{:02X}", u32::from(letter)),
                        _ => spelt.push(letter),
                    }
                }
                spelt += if dice.next().unwrap() == 0 { ";a=b" } else { "" };
            }
            let seen = normalised(&spelt).unwrap().into_owned();
            prop_assert_eq!(&seen, &format!("/{}", words.join("/")), "{}", spelt);
        }

        #[test]
        fn what_is_seen_of_a_path_is_seen_of_itself(raw in "/[a-c/.%;2eEfF\\\\\u{e9} ]{0,20}") {
            if let Ok(seen) = normalised(&raw) {
                let again = normalised(&seen);
                prop_assert_eq!(again.as_ref(), Ok(&seen), "{}", raw);
                prop_assert!(!seen.split('/').any(|segment| [".", ".."].contains(&segment)), "{}", raw);
            }
        }
    }
}
