//! The workers of this process: one for each queue that it serves.

use crate::config::{HandlerName, QueueConfig, QueueWorkerConfig};
use crate::followed::Followed;
use crate::handlers::ExportProject;
use crate::push::Push;
use crate::reporter::ProgressReporter;
use cache::{Cache, Limits};
use correlation::Recorder;
use domain::queue::Executor;
use domain::{QueueName, WorkerName};
use queue::{EnqueueError, Queues, Worker, WorkerOptions};
use rand::RngExt;
use redis_core::Redis;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A worker of one queue, whatever its executor.
pub(crate) enum AnyWorker {
    Push(Worker<Followed<Push>>),
    Export(Worker<Followed<ExportProject>>),
}

impl AnyWorker {
    /// Works until `stop`, then drains.
    pub(crate) async fn run(self, stop: CancellationToken) {
        match self {
            Self::Push(worker) => worker.run(stop).await,
            Self::Export(worker) => worker.run(stop).await,
        }
    }
}

/// A worker for each queue that the configuration lets this process serve. None of them has begun.
pub(crate) fn all(
    config: &QueueWorkerConfig,
    queues: &Queues,
    redis: &Redis,
    reporter: &ProgressReporter,
    recorder: &Recorder,
) -> anyhow::Result<Vec<AnyWorker>> {
    let name = config.worker.clone().unwrap_or_else(usual_name);
    let mut workers = Vec::new();
    for (queue_name, settings) in config.served() {
        let queue = queues.of(&queue_name);
        let options = options(config, &settings, name.clone());
        workers.push(match (settings.executor_of(&queue_name), settings.handler) {
            (Executor::Push, _) => {
                let push =
                    Followed::new(Push::new(queue.clone(), redis.clock().clone(), &settings)?, recorder);
                AnyWorker::Push(Worker::new(queue, push, options).with_reporter(Arc::new(reporter.clone())))
            }
            (Executor::Native, HandlerName::ExportProject) => {
                let cache = Cache::new(redis.clone(), Limits::default());
                let handler = Followed::new(ExportProject::new(cache, config.spool_dir.clone()), recorder);
                AnyWorker::Export(
                    Worker::new(queue, handler, options).with_reporter(Arc::new(reporter.clone())),
                )
            }
            (Executor::None, _) => continue,
        });
        tracing::info!(queue.name = %queue_name, worker.name = %name, "works on {queue_name} as {name}");
    }
    Ok(workers)
}

/// Makes the configured queues known, so that they can be seen and leased from before their first task. Tries again
/// while Redis is away.
pub(crate) async fn register(queues: Queues, names: Vec<QueueName>, stop: CancellationToken) {
    for name in names {
        while let Err(error) = queues.register(&name).await {
            if let EnqueueError::TooManyQueues(most) = error {
                tracing::warn!(queue.name = %name, "the queue {name} is not made: there are {most} already");
                break;
            }
            tokio::select! { // Both may be dropped.
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

fn options(config: &QueueWorkerConfig, settings: &QueueConfig, name: WorkerName) -> WorkerOptions {
    WorkerOptions {
        name,
        slots: settings.slots.get(),
        lease: settings.lease(),
        timeout: Duration::from_millis(settings.timeout_ms),
        grace: Duration::from_millis(config.grace_ms),
        keep: settings.keep(),
    }
}

/// Host, process id and a random part: containers share process ids, and restarts share hosts.
fn usual_name() -> WorkerName {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let host = host.unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let host: String = host.trim().chars().filter(allowed).take(LONGEST_HOST).collect();
    let host = if host.is_empty() { "worker" } else { &host };
    let random: u32 = rand::rng().random();
    format!("{host}-{}-{random:08x}", std::process::id()).parse().expect("its letters and length are allowed")
}

const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_HOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_workers_are_called_alike() {
        assert_ne!(usual_name(), usual_name());
    }
}
