//! What is noted of a request for whoever looks at its correlation later.

use crate::metrics::{Exchange, known_method};
use domain::correlation::Hop;
use domain::{CorrelationId, OperationId, QueueName, TaskId};
use std::fmt;
use std::sync::Arc;
use telemetry::TraceContext;

/// Takes hops, and never waits. Cheap to clone.
#[derive(Clone)]
pub struct HopSink(Arc<Take>);

type Take = dyn Fn(&CorrelationId, Hop) + Send + Sync;

/// A task or an operation that a request touched: put into the extensions of its answer, the request is a hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The queue.
    pub queue: Option<QueueName>,
    /// The task.
    pub task_id: Option<TaskId>,
    /// The operation.
    pub operation_id: Option<OperationId>,
}

impl HopSink {
    /// A sink that does this with each.
    pub fn new(take: impl Fn(&CorrelationId, Hop) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// Notes a request that touched something, or whose trace is sampled. Others leave no hop.
    pub fn note(&self, exchange: &Exchange<'_>, trace: Option<&TraceContext>, touched: Option<Touched>) {
        if touched.is_none() && !trace.is_some_and(TraceContext::is_sampled) {
            return;
        }
        let method = known_method(exchange.method);
        let Touched { queue, task_id, operation_id } = touched.unwrap_or_default();
        let hop = Hop {
            what: exchange.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")),
            outcome: Some(exchange.status.to_string()),
            duration_ms: u64::try_from(exchange.duration.as_millis()).ok(),
            queue,
            task_id,
            operation_id,
            trace_id: trace.and_then(TraceContext::trace_id),
            span_id: trace.and_then(TraceContext::span_id),
            ..Hop::default()
        };
        (self.0)(exchange.correlation, hop);
    }
}

impl fmt::Debug for HopSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HopSink").finish_non_exhaustive()
    }
}
