//! Which traces are recorded: `OTEL_TRACES_SAMPLER`, and a task as its enqueue was.
//!
//! The SDK reads the same variable but does not look at links. A task is a trace of its own, tied to its enqueue by a
//! link; were it sampled anew, one in two of the tasks of recorded requests would be missing at a ratio of a half.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt};
use opentelemetry::{Context, KeyValue, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// A sampler of the standard, which for a root with a link repeats what was decided there, if it honours parents.
#[derive(Clone, Debug)]
pub(crate) struct Honouring {
    sampler: Sampler,
    parents: bool,
}

impl Honouring {
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; an unknown name is `parentbased_always_on`.
    pub(crate) fn new(name: Option<&str>, argument: Option<&str>) -> Self {
        let ratio =
            argument.and_then(|text| text.parse::<f64>().ok()).filter(|ratio| (0.0..=1.0).contains(ratio));
        let ratio = Sampler::TraceIdRatioBased(ratio.unwrap_or(1.0));
        let (root, parents) = match name {
            Some("always_on") => (Sampler::AlwaysOn, false),
            Some("always_off") => (Sampler::AlwaysOff, false),
            Some("traceidratio") => (ratio, false),
            Some("parentbased_always_off") => (Sampler::AlwaysOff, true),
            Some("parentbased_traceidratio") => (ratio, true),
            _ => (Sampler::AlwaysOn, true),
        };
        let sampler = if parents { Sampler::ParentBased(Box::new(root)) } else { root };
        Self { sampler, parents }
    }
}

impl ShouldSample for Honouring {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let has_parent = parent.is_some_and(Context::has_active_span);
        match links.first() {
            Some(link) if self.parents && !has_parent => SamplingResult {
                decision: if link.span_context.is_sampled() {
                    SamplingDecision::RecordAndSample
                } else {
                    SamplingDecision::Drop
                },
                attributes: Vec::new(),
                trace_state: link.span_context.trace_state().clone(),
            },
            _ => self.sampler.should_sample(parent, trace_id, name, kind, attributes, links),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::SpanId;
    use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};

    fn elsewhere(sampled: bool) -> SpanContext {
        let flags = TraceFlags::NOT_SAMPLED.with_sampled(sampled);
        SpanContext::new(TraceId::from(7), SpanId::from(7), flags, true, TraceState::default())
    }

    /// A trace id that a ratio of a half leaves out: its low bits are all set.
    fn is_sampled(sampler: &Honouring, parent: Option<SpanContext>, link: Option<SpanContext>) -> bool {
        let parent = parent.map(|parent| Context::new().with_remote_span_context(parent));
        let links: Vec<_> = link.into_iter().map(Link::with_context).collect();
        let left_out = TraceId::from(u128::MAX);
        let result = sampler.should_sample(parent.as_ref(), left_out, "work", &SpanKind::Server, &[], &links);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn each_name_of_the_standard_decides_roots_and_what_has_a_parent() {
        for (name, root, under_sampled, under_unsampled) in [
            (None, true, true, false),
            (Some("parentbased_always_on"), true, true, false),
            (Some("parentbased_always_off"), false, true, false),
            (Some("parentbased_traceidratio"), false, true, false),
            (Some("always_on"), true, true, true),
            (Some("always_off"), false, false, false),
            (Some("traceidratio"), false, false, false),
            (Some("unheard-of"), true, true, false),
        ] {
            let sampler = Honouring::new(name, Some("0.5"));
            assert_eq!(is_sampled(&sampler, None, None), root, "{name:?}: a root");
            assert_eq!(is_sampled(&sampler, Some(elsewhere(true)), None), under_sampled, "{name:?}: sampled");
            assert_eq!(is_sampled(&sampler, Some(elsewhere(false)), None), under_unsampled, "{name:?}: not");
        }
    }

    #[test]
    fn a_ratio_that_is_none_records_all() {
        for argument in [None, Some("half"), Some("-1"), Some("2")] {
            assert!(is_sampled(&Honouring::new(Some("traceidratio"), argument), None, None), "{argument:?}");
        }
    }

    #[test]
    fn a_task_is_recorded_as_its_enqueue_was() {
        let honouring = Honouring::new(Some("parentbased_traceidratio"), Some("0.5"));
        assert!(is_sampled(&honouring, None, Some(elsewhere(true))));
        assert!(!is_sampled(&Honouring::new(None, None), None, Some(elsewhere(false))));

        let ignoring = Honouring::new(Some("always_on"), None);
        assert!(is_sampled(&ignoring, None, Some(elsewhere(false))));
    }
}
