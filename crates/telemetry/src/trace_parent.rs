//! The `traceparent` header, W3C Trace Context level 2, section 3.2. Parsed, checked, passed on; no trace begins here.

use std::fmt;
use std::str::FromStr;

/// A valid `traceparent`: `00-<trace id, 32 hex>-<parent id, 16 hex>-<flags, 2 hex>`, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

/// A `traceparent` that has to be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent: `00-<32 hex>-<16 hex>-<2 hex>` with ids that are not all zero")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// The whole header, as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let mut parts = text.split('-');
        let mut part =
            |digits: usize| parts.next().filter(|part| is_hex(part, digits)).ok_or(InvalidTraceParent);
        let (version, trace, parent, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let zero = |id: &str| id.bytes().all(|digit| digit == b'0');
        // A later version may append fields, and is read as far as version 00 goes; ff is forbidden.
        let more = parts.next().is_some();
        if version == "ff" || zero(trace) || zero(parent) || (version == "00" && more) || text.len() > 256 {
            return Err(InvalidTraceParent);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn a_valid_header_is_passed_on_unchanged() {
        for text in [format!("00-{TRACE}-{PARENT}-01"), format!("cc-{TRACE}-{PARENT}-00-what.comes-next")] {
            assert_eq!(text.parse::<TraceParent>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            String::new(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{PARENT}-zz"),
            format!("00-ü{}-{PARENT}-01", &TRACE[2..]),
            format!("01-{TRACE}-{PARENT}-01-{}", "x".repeat(256)),
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(InvalidTraceParent), "{text}");
        }
    }
}
