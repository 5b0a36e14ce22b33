//! The code that runs tasks.

use crate::lease::{Failure, Lease};
use crate::report::{PlannedStep, Report, Reporter, Subject, Update};
use crate::task::Task;
use bytes::Bytes;
use domain::{FencingToken, QueueName};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Runs the tasks of one queue.
///
/// The payload is JSON; one that does not parse makes the task dead at once. `Box<serde_json::value::RawValue>` takes
/// it as it is. The future is dropped when the task's timeout passes, when its lease was lost and it does not end soon,
/// and at the end of a shutdown's grace: it must be fine with that at each `.await`.
pub trait Handler: Send + Sync + 'static {
    /// What the payload is.
    type Payload: DeserializeOwned + Send;

    /// Does the work. A panic counts as a failure of this task, and hurts no other.
    fn handle(
        &self,
        payload: Self::Payload,
        context: Context,
    ) -> impl Future<Output = Result<Done, Failure>> + Send;
}

/// What a report may take.
pub(crate) const REPORT_BOUND: Duration = Duration::from_secs(5);

/// How a handler ends well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The task is done; its result, at most [`crate::MAX_RESULT_BYTES`], may be empty.
    Result(Bytes),
    /// Somebody else acks or nacks with the same token, before the lease ends (a push that was answered with 202).
    Later,
    /// Not tried: hand it back, it costs no attempt.
    GiveBack,
}

impl From<()> for Done {
    fn from((): ()) -> Self {
        Self::Result(Bytes::new())
    }
}

impl From<Bytes> for Done {
    fn from(result: Bytes) -> Self {
        Self::Result(result)
    }
}

/// Any error may be mended by another attempt, unless the handler says otherwise.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::retry(message)
    }
}

/// What a handler knows about its task.
#[derive(Clone)]
pub struct Context {
    pub(crate) subject: Subject,
    pub(crate) lease_time: Duration,
    pub(crate) cancelled: CancellationToken,
    pub(crate) reporter: Option<Arc<dyn Reporter>>,
    /// The task's lease was announced to the reporter.
    pub(crate) announced: Arc<AtomicBool>,
}

impl Context {
    /// The queue.
    pub fn queue(&self) -> &QueueName {
        &self.subject.queue
    }

    /// The task as it was leased, without its payload.
    pub fn task(&self) -> &Task {
        &self.subject.task
    }

    /// The lease. Whoever ends the task later needs it.
    pub fn lease(&self) -> Lease {
        Lease { task: self.subject.task.id, token: self.subject.token }
    }

    /// How long the lease lasts without a heartbeat.
    pub fn lease_time(&self) -> Duration {
        self.lease_time
    }

    /// The fencing token: pass it on to what the task writes elsewhere, and refuse an older one there.
    pub fn token(&self) -> FencingToken {
        self.subject.token
    }

    /// Which attempt this is, from 1 on; lost leases do not count.
    pub fn attempt(&self) -> u8 {
        self.subject.task.attempts.saturating_add(1)
    }

    /// Fires when the work is in vain: the lease was lost, the task was cancelled, or the grace of a shutdown is over.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Announces the steps that will be taken.
    pub async fn plan(&self, steps: Vec<PlannedStep>) {
        self.report(Report::Planned(steps)).await;
    }

    /// Tells how far the task is. Returns when the report was taken, or given up.
    pub async fn progress(&self, update: Update) {
        self.report(Report::Updated(update)).await;
    }

    /// Announces the lease first when it was not yet, so that an operation exists, and knows the newest token.
    pub(crate) async fn report(&self, report: Report) {
        let Some(reporter) = &self.reporter else { return };
        let reports = async {
            if !self.announced.swap(true, Ordering::Relaxed) && !matches!(report, Report::Leased) {
                reporter.report(self.subject.clone(), Report::Leased).await;
            }
            reporter.report(self.subject.clone(), report).await;
        };
        // Bounded: a reporter that hangs must not hold the task up.
        if tokio::time::timeout(REPORT_BOUND, reports).await.is_err() {
            let id = self.subject.task.id;
            tracing::warn!(task.id = %id, "gave up a report about task {id}");
        }
    }

    pub(crate) fn was_announced(&self) -> bool {
        self.announced.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("subject", &self.subject).finish_non_exhaustive()
    }
}
