//! What every route needs.

use crate::config::{QueueConfig, QueueWorkerConfig};
use crate::reporter::ProgressReporter;
use domain::{ErrorCode, QueueName};
use http_kit::Problem;
use queue::{End, Lease, Queue, Queues, Settlement};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Shared by all threads that serve. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    queues: Queues,
    reporter: ProgressReporter,
    settings: BTreeMap<QueueName, QueueConfig>,
    /// Long polls end when it fires.
    stop: CancellationToken,
    /// What goes on after its request: tasks on their way back.
    background: TaskTracker,
}

impl App {
    pub(crate) fn new(
        queues: Queues,
        reporter: ProgressReporter,
        config: &QueueWorkerConfig,
        stop: CancellationToken,
    ) -> Self {
        let settings = config.all_queues();
        Self(Arc::new(Inner { queues, reporter, settings, stop, background: TaskTracker::new() }))
    }

    /// All queues.
    pub(crate) fn queues(&self) -> &Queues {
        &self.0.queues
    }

    /// A queue that may be new: its first task makes it.
    pub(crate) fn queue(&self, name: &QueueName) -> Queue {
        self.0.queues.of(name)
    }

    /// A queue that exists: a configured one from the start on, before it is registered, too. One round trip when this
    /// process neither has it configured nor has used it, else none.
    ///
    /// # Errors
    /// 404 that names the queue.
    pub(crate) async fn existing(&self, name: &QueueName) -> Result<Queue, Problem> {
        if self.0.settings.contains_key(name) || self.0.queues.exists(name).await? {
            return Ok(self.queue(name));
        }
        let problem = Problem::new(ErrorCode::NotFound, format!("there is no queue {name}"));
        Err(problem.and_field("queue", "the first task makes a queue"))
    }

    /// What holds for a queue, configured or not.
    pub(crate) fn settings(&self, name: &QueueName) -> &QueueConfig {
        static USUAL: LazyLock<QueueConfig> = LazyLock::new(QueueConfig::default);
        self.0.settings.get(name).unwrap_or(&USUAL)
    }

    /// Where progress goes.
    pub(crate) fn reporter(&self) -> &ProgressReporter {
        &self.0.reporter
    }

    /// Fires when the service stops: a long poll answers with what there is.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// Hands tasks back whose worker has gone before it got them.
    pub(crate) fn give_back(&self, queue: Queue, leases: Vec<Lease>) {
        let ends: Vec<_> = leases.into_iter().map(|lease| Settlement { lease, end: End::GiveBack }).collect();
        self.0.background.spawn(async move {
            if let Err(error) = queue.settle(&ends).await {
                let (queue, count) = (queue.name(), ends.len());
                tracing::warn!(queue.name = %queue, error = %error, "{count} tasks of {queue} come back only when their lease ends: {error}");
            }
        });
    }

    /// Waits for what goes on in the background.
    pub(crate) async fn close(&self) {
        self.0.background.close();
        self.0.background.wait().await;
    }
}
