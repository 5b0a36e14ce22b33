//! Where in a trace the running code is: W3C Trace Context level 2 and Baggage, in and out.

use opentelemetry::trace::{SpanContext, TraceState};
use opentelemetry::{SpanId, TraceFlags, TraceId};
use std::fmt;
use std::sync::Arc;

/// A place in a trace, and the baggage that travels with it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext(Arc<Place>);

#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Invalid when there is baggage alone.
    span: SpanContext,
    baggage: Option<Box<str>>,
}

impl TraceContext {
    /// What a caller sent in `traceparent`, `tracestate` and `baggage`; none when nothing of it can be used.
    ///
    /// A `tracestate` without a valid `traceparent` is dropped, as the standard says; so is one of more than 512 bytes,
    /// and baggage of more than 8,192.
    pub fn from_headers(
        traceparent: Option<&str>,
        tracestate: Option<&str>,
        baggage: Option<&str>,
    ) -> Option<Self> {
        let span = traceparent.and_then(|text| parse(text, tracestate)).unwrap_or(SpanContext::NONE);
        let fits = |text: &&str| !text.is_empty() && text.len() <= BAGGAGE_BYTES_MAX && is_field(text);
        let baggage = baggage.map(str::trim).filter(fits).map(Box::from);
        (span.is_valid() || baggage.is_some()).then(|| Self(Arc::new(Place { span, baggage })))
    }

    pub(crate) fn of_span(span: SpanContext, baggage: Option<&Self>) -> Self {
        Self(Arc::new(Place { span, baggage: baggage.and_then(|context| context.0.baggage.clone()) }))
    }

    /// The `traceparent` to send on; none when there is baggage alone.
    pub fn traceparent(&self) -> Option<String> {
        let span = self.valid()?;
        Some(format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
    }

    /// The `tracestate` to send on.
    pub fn tracestate(&self) -> Option<String> {
        Some(self.valid()?.trace_state().header()).filter(|text| !text.is_empty())
    }

    /// The `baggage` to send on.
    pub fn baggage(&self) -> Option<&str> {
        self.0.baggage.as_deref()
    }

    /// The trace, 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<String> {
        Some(self.valid()?.trace_id().to_string())
    }

    /// The span, 16 hexadecimal digits.
    pub fn span_id(&self) -> Option<String> {
        Some(self.valid()?.span_id().to_string())
    }

    /// Whether whoever began the trace records it.
    pub fn is_sampled(&self) -> bool {
        self.0.span.is_sampled()
    }

    pub(crate) fn span(&self) -> &SpanContext {
        &self.0.span
    }

    fn valid(&self) -> Option<&SpanContext> {
        Some(&self.0.span).filter(|span| span.is_valid())
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent().unwrap_or_default())
    }
}

/// `00-<trace id, 32 hex>-<parent id, 16 hex>-<flags, 2 hex>`, lower case.
fn parse(text: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let mut part = |digits: usize| parts.next().filter(|part| is_hex(part, digits));
    let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // A later version may append fields, and is read as far as version 00 goes; ff is forbidden.
    if version == "ff" || (version == "00" && parts.next().is_some()) || text.len() > 256 {
        return None;
    }
    // Of the flags, a later version may mean something else by all but the lowest.
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & TraceFlags::SAMPLED.to_u8());
    let state = tracestate.filter(|state| state.len() <= TRACESTATE_BYTES_MAX);
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
    // One with an id of zeros is not valid; whoever asks sees to it.
    Some(SpanContext::new(trace, parent, flags, true, state))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a header may carry: nothing that could end it.
fn is_field(text: &str) -> bool {
    text.bytes().all(|c| matches!(c, b' '..=b'~' | b'\t'))
}

const TRACESTATE_BYTES_MAX: usize = 512;
const BAGGAGE_BYTES_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn parsed(text: &str) -> Option<TraceContext> {
        TraceContext::from_headers(Some(text), None, None)
    }

    #[test]
    fn a_valid_header_comes_out_as_it_went_in() {
        for flags in ["00", "01"] {
            let text = format!("00-{TRACE}-{PARENT}-{flags}");
            let context = parsed(&text).unwrap();
            assert_eq!(context.traceparent(), Some(text));
            assert_eq!(context.trace_id().as_deref(), Some(TRACE));
            assert_eq!(context.span_id().as_deref(), Some(PARENT));
            assert_eq!(context.is_sampled(), flags == "01");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let context = parsed(&format!("cc-{TRACE}-{PARENT}-03-what.comes-next")).unwrap();
        assert_eq!(context.traceparent(), Some(format!("00-{TRACE}-{PARENT}-01")));
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
            assert_eq!(parsed(&text), None, "{text}");
        }
    }

    #[test]
    fn state_and_baggage_travel_along_within_their_bounds() {
        let parent = format!("00-{TRACE}-{PARENT}-01");
        let sent = |state: &str, baggage: &str| {
            let context = TraceContext::from_headers(Some(&parent), Some(state), Some(baggage)).unwrap();
            (context.tracestate(), context.baggage().map(str::to_owned))
        };
        assert_eq!(
            sent("vendor=a,other=b", "tenant=acme"),
            (Some("vendor=a,other=b".to_owned()), Some("tenant=acme".to_owned()))
        );
        for (state, baggage) in [
            ("not a state".to_owned(), String::new()),
            // Each member of it would do.
            (vec!["vendor=xxxxxxxxxxxxxxxxxxxxxxxx"; 20].join(","), "x".repeat(8_193)),
            (String::new(), "a=b\r\nX-Evil: 1".to_owned()),
        ] {
            assert_eq!(sent(&state, &baggage), (None, None), "{state} {baggage}");
        }
    }

    #[test]
    fn a_state_without_a_parent_is_dropped_and_baggage_alone_is_kept() {
        assert_eq!(TraceContext::from_headers(Some("nonsense"), Some("vendor=a"), None), None);
        let context = TraceContext::from_headers(None, Some("vendor=a"), Some("tenant=acme")).unwrap();
        assert_eq!((context.traceparent(), context.tracestate()), (None, None));
        assert_eq!(context.baggage(), Some("tenant=acme"));
    }
}
