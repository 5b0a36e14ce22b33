//! Spans: made by the SDK itself, not by `tracing`, whose registry would cost every request although few are recorded.

use crate::{TraceContext, current_trace, export};
use opentelemetry::trace::{Link, Span as _, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, Value};
use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

pub use opentelemetry::trace::SpanKind;

/// One piece of work in a trace; ends when it is dropped.
///
/// Attributes have names from the semantic conventions and values of a small set: no key, no path with an id, no secret.
pub struct Span {
    span: opentelemetry_sdk::trace::Span,
    context: TraceContext,
}

impl Span {
    /// The work for a caller's request; none when this process exports no traces.
    ///
    /// It exists although it is not sampled, since what is called next must know so.
    pub fn server(name: impl Into<Cow<'static, str>>, caller: Option<&TraceContext>) -> Option<Self> {
        let tracer = export::tracer()?;
        let parent = caller.map(TraceContext::span).filter(|span| span.is_valid()).cloned();
        // An invalid parent would count as one that is not sampled.
        let parent = parent.map_or_else(Context::new, |span| Context::new().with_remote_span_context(span));
        let builder = tracer.span_builder(name).with_kind(SpanKind::Server);
        Some(Self::of(tracer.build_with_context(builder, &parent), caller))
    }

    /// A part of the current work; none when that is not recorded.
    /// Its name is made only then.
    pub fn child<N: Into<Cow<'static, str>>>(name: impl FnOnce() -> N, kind: SpanKind) -> Option<Self> {
        let tracer = export::tracer()?;
        let current = current_trace().filter(TraceContext::is_sampled)?;
        let builder = tracer.span_builder(name()).with_kind(kind);
        let parent = Context::new().with_remote_span_context(current.span().clone());
        Some(Self::of(tracer.build_with_context(builder, &parent), Some(&current)))
    }

    /// Work that was asked for earlier: a trace of its own with a link to `cause`, and recorded if that is. None when
    /// this process exports no traces.
    ///
    /// A link, as the cause may have ended hours ago; a trace that is open for hours can be neither sampled nor shown.
    pub fn linked(
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        cause: Option<&TraceContext>,
    ) -> Option<Self> {
        let tracer = export::tracer()?;
        let link = cause.map(TraceContext::span).filter(|span| span.is_valid()).cloned();
        let links = link.into_iter().map(Link::with_context).collect();
        let builder = tracer.span_builder(name).with_kind(kind).with_links(links);
        Some(Self::of(tracer.build_with_context(builder, &Context::new()), cause))
    }

    /// Where in its trace it is, to run its work in and to send on.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Whether anything that is said about it will be seen.
    pub fn is_recording(&self) -> bool {
        self.span.is_recording()
    }

    /// Names it, once more is known than at its begin.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        self.span.update_name(name);
    }

    /// Says something about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.span.set_attribute(KeyValue::new(name, value));
    }

    /// It did not succeed, for this kind of reason: a word, not a message.
    pub fn fail(&mut self, error_type: impl Into<Cow<'static, str>>) {
        self.span.set_status(Status::error(""));
        let kind = match error_type.into() {
            Cow::Borrowed(kind) => Value::from(kind),
            Cow::Owned(kind) => Value::from(kind),
        };
        self.span.set_attribute(KeyValue::new("error.type", kind));
    }

    /// Ends it at another moment than that at which it is dropped.
    pub fn end_at(mut self, moment: SystemTime) {
        self.span.end_with_timestamp(moment);
    }

    fn of(span: opentelemetry_sdk::trace::Span, caller: Option<&TraceContext>) -> Self {
        let context = TraceContext::of_span(span.span_context().clone(), caller);
        Self { span, context }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Span").field(&self.context).finish()
    }
}
