//! The services of an embedded stack, each on threads and a runtime of its own.
//!
//! Nothing is handed to two of them: what they have in common is the address of Redis.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use http_kit::ServiceConfig;
use redis_acl::User;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// Longer than a service's own grace time.
const STOP_WITHIN: Duration = Duration::from_secs(45);

type Ended = (&'static str, anyhow::Result<()>);

#[derive(Default)]
pub(crate) struct Services {
    running: JoinSet<Ended>,
    stop: CancellationToken,
}

impl Services {
    /// Starts all of them.
    pub(crate) fn start(&mut self, settings: &Settings) -> anyhow::Result<()> {
        self.start_one(settings, User::CacheApi, cache_api::run)?;
        self.start_one(settings, User::RatelimitGateway, ratelimit_gateway::run)?;
        self.start_one(settings, User::QueueWorker, queue_worker::run)?;
        self.start_one(settings, User::ProgressSse, progress_sse::run)?;
        Ok(())
    }

    /// The future is made where it runs: an HTTP server cannot move between threads.
    fn start_one<C, F>(
        &mut self,
        settings: &Settings,
        user: User,
        run: fn(C, CancellationToken) -> F,
    ) -> anyhow::Result<()>
    where
        C: ServiceConfig + Send + 'static,
        F: Future<Output = anyhow::Result<()>> + 'static,
    {
        let (name, config) = (user.name(), settings.of(user)?);
        let stop = self.stop.clone();
        self.running.spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name(name)
                .enable_all()
                .build()
                .context("cannot make a runtime");
            (name, runtime.and_then(|runtime| runtime.block_on(run(config, stop))))
        });
        Ok(())
    }

    /// Waits until one ends by itself; for ever when none was started.
    pub(crate) async fn ended(&mut self) -> Ended {
        match self.running.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => ("a service", Err(panic.into())),
            None => std::future::pending().await,
        }
    }

    /// Stops them all and waits for each, as long as one may take to give its work back.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        let _ = timeout(STOP_WITHIN, all).await;
    }
}
