//! Where a request went: what progress-sse shows of a correlation.

use crate::{CorrelationId, OperationId, QueueName, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// `GET /v1/correlations/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Trail {
    /// The correlation.
    pub correlation_id: CorrelationId,
    /// Where it was, in the order in which that was noted: the last 100.
    pub hops: Vec<Hop>,
    /// The operations among the hops, to be watched.
    pub operations: BTreeSet<OperationId>,
    /// The traces among the hops, to be looked up where traces are kept.
    pub trace_ids: BTreeSet<String>,
}

/// A request that was answered, or a task that ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hop {
    /// When it ended, by the clock of its service's machine.
    pub at: Timestamp,
    /// Who noted it.
    pub service: String,
    /// A method and the template of a route, or what was done with a task.
    pub what: String,
    /// What came of it: a status, or a word about a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The queue that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueName>,
    /// The task that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The operation that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<OperationId>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Its span in that trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
}

impl Trail {
    /// The trail that these hops make.
    pub fn new(correlation_id: CorrelationId, hops: Vec<Hop>) -> Self {
        let operations = hops.iter().filter_map(|hop| hop.operation_id.clone()).collect();
        let trace_ids = hops.iter().filter_map(|hop| hop.trace_id.clone()).collect();
        Self { correlation_id, hops, operations, trace_ids }
    }
}
