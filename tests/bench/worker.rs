//! The worker process that is measured: the queue engine with a native handler that does nothing.

use anyhow::Context as _;
use queue::{Context, Done, Failure, Handler, Queue, Queues, QueuesOptions, Worker, WorkerOptions};
use redis_core::{Redis, RedisConfig};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

/// Works until it is killed.
pub(crate) fn work() -> anyhow::Result<()> {
    let url = std::env::var("SLUICE__REDIS__URL").context("SLUICE__REDIS__URL")?;
    // As a service runs.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let (queues, queue) = queue_at(url)?;
        let options = WorkerOptions { slots: SLOTS, ..WorkerOptions::new("bench".to_owned().try_into()?) };
        let never = CancellationToken::new();
        tokio::join!(Worker::new(queue, Nothing, options).run(never.clone()), queues.tend(never));
        Ok(())
    })
}

/// The queue that is drained.
pub(crate) fn queue_at(redis_url: String) -> anyhow::Result<(Queues, Queue)> {
    let queues = Queues::new(Redis::connect(&RedisConfig::at(redis_url)), QueuesOptions::default());
    let queue = queues.of(&"bench".to_owned().try_into()?);
    Ok((queues, queue))
}

struct Nothing;

impl Handler for Nothing {
    type Payload = Box<RawValue>;

    async fn handle(&self, _: Self::Payload, _: Context) -> Result<Done, Failure> {
        Ok(().into())
    }
}

/// As many as the peer's.
const SLOTS: usize = 50;
