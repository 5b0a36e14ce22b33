//! A task while it runs: its correlation id and its span in every line of log, a hop when it is over.

use correlation::Recorder;
use domain::correlation::Hop;
use queue::{Context, Done, Failure, Handler};
use std::time::Instant;
use telemetry::{Correlated, Span, SpanKind, TraceContext};

/// A handler whose every task can be followed.
pub(crate) struct Followed<H> {
    handler: H,
    recorder: Recorder,
}

impl<H> Followed<H> {
    pub(crate) fn new(handler: H, recorder: &Recorder) -> Self {
        Self { handler, recorder: recorder.clone() }
    }
}

impl<H: Handler> Handler for Followed<H> {
    type Payload = H::Payload;

    /// Runs the task in a trace of its own, with a link to the request that enqueued it: that may have been hours ago.
    async fn handle(&self, payload: H::Payload, context: Context) -> Result<Done, Failure> {
        let (queue, task_id, attempt) = (context.queue().clone(), context.task().id, context.attempt());
        let correlation = context.task().correlation.clone();
        let cause = TraceContext::from_headers(context.task().traceparent.as_deref(), None, None);
        let span = Span::linked(format!("process {queue}"), SpanKind::Consumer, cause.as_ref());
        let trace = span.as_ref().map(|span| span.context().clone()).or(cause);
        let began = Instant::now();

        let handled = Box::pin(self.handler.handle(payload, context));
        let handled = match &correlation {
            Some(id) => Correlated::new(id.clone(), handled).in_trace(trace.clone()).await,
            None => handled.await,
        };

        let outcome = outcome(&handled);
        if let Some(mut span) = span.filter(Span::is_recording) {
            span.set("messaging.system", "sluice");
            span.set("messaging.operation.type", "process");
            span.set("messaging.destination.name", queue.as_str().to_owned());
            span.set("messaging.message.id", task_id.to_string());
            span.set("sluice.task.attempt", i64::from(attempt));
            if let Some(id) = &correlation {
                span.set("sluice.correlation_id", id.as_str().to_owned());
            }
            if handled.is_err() {
                span.fail(outcome);
            }
        }
        if let Some(id) = &correlation {
            let hop = Hop {
                what: format!("attempt {attempt}"),
                outcome: Some(outcome.to_owned()),
                duration_ms: u64::try_from(began.elapsed().as_millis()).ok(),
                queue: Some(queue),
                task_id: Some(task_id),
                trace_id: trace.as_ref().and_then(TraceContext::trace_id),
                span_id: trace.as_ref().and_then(TraceContext::span_id),
                ..Hop::default()
            };
            self.recorder.record(id, hop);
        }
        handled
    }
}

fn outcome(handled: &Result<Done, Failure>) -> &'static str {
    match handled {
        Ok(Done::Later) => "accepted",
        Ok(Done::GiveBack) => "given back",
        Ok(Done::Result(_)) => "done",
        Err(_) => "failed",
    }
}
