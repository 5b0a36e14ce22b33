//! The demo's two workers as processes of this machine, and the stack that they work for.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use redis_acl::User;
use secrecy::SecretString;
use tokio::process::{Child, Command};

use super::{Stack, Workers};
use crate::home::{Home, Running};
use crate::process::{process, terminate};
use crate::secrets::{BOOTSTRAP_KEY, Secrets};
use crate::settings::Settings;

/// Served by nobody else, so that it is known who has the task.
pub(crate) const QUEUE: &str = "demo-exports";
/// Short, so that a killed worker's task is soon another's.
const LEASE_MS: u64 = 2_000;

pub(crate) struct Processes {
    running: Running,
    secrets: Secrets,
    settings: Settings,
    log: PathBuf,
    worker: Option<Child>,
    started: usize,
}

impl Processes {
    pub(crate) fn of(home: &Home, running: &Running) -> anyhow::Result<Self> {
        let secrets = Secrets::make_once(&home.secrets())?;
        let redis = running.address("redis").context("the stack has no Redis")?;
        let settings = Settings::load(&secrets, redis.port())?;
        let log = home.folder().join("log/demo-workers.log");
        Ok(Self { running: running.clone(), secrets, settings, log, worker: None, started: 0 })
    }

    pub(crate) fn stack(&self) -> anyhow::Result<Stack> {
        let gateway = self.running.address("ratelimit-gateway").context("the stack has no gateway")?;
        ensure!(
            !self.running.secure,
            "the demo speaks plain HTTP: run it without ratelimit_gateway.door.tls"
        );
        let key = SecretString::from(self.secrets.read(BOOTSTRAP_KEY)?);
        Ok(Stack { url: format!("http://{gateway}"), key })
    }

    /// Lets the last worker end in its own time.
    pub(crate) async fn stop(mut self) {
        if let Some(mut worker) = self.worker.take() {
            if let Some(process) = worker.id().and_then(process) {
                let _ = terminate(process);
            }
            let _ = tokio::time::timeout(std::time::Duration::from_secs(15), worker.wait()).await;
        }
    }

    async fn start_one(&mut self) -> anyhow::Result<()> {
        self.started += 1;
        // Built together, they lie together.
        let program = std::env::current_exe()?.with_file_name("queue-worker");
        ensure!(program.exists(), "{} is missing: `make demo` builds it", program.display());
        let log = std::fs::File::options().create(true).append(true).open(&self.log)?;
        let worker = Command::new(program)
            .envs(self.settings.environment(User::QueueWorker))
            // It only works: it needs no port.
            .env("SLUICE__QUEUE_WORKER__HTTP", "false")
            .env("SLUICE__QUEUE_WORKER__WORKER", format!("demo-worker-{}", self.started))
            .env("SLUICE__QUEUE_WORKER__SERVE", QUEUE)
            .env("SLUICE__QUEUE_WORKER__QUEUES__DEMO-EXPORTS__EXECUTOR", "native")
            .env("SLUICE__QUEUE_WORKER__QUEUES__DEMO-EXPORTS__LEASE_MS", LEASE_MS.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a worker")?;
        self.worker = Some(worker);
        Ok(())
    }
}

impl Workers for Processes {
    async fn start(&mut self) -> anyhow::Result<()> {
        self.start_one().await
    }

    async fn kill(&mut self, _worker: &str) -> anyhow::Result<String> {
        let mut worker = self.worker.take().context("no worker runs")?;
        let id = worker.id().context("the worker ended by itself")?;
        // SIGKILL: it says goodbye to nobody.
        worker.kill().await?;
        Ok(format!("{id} (demo-worker-{})", self.started))
    }

    async fn replace(&mut self) -> anyhow::Result<()> {
        self.start_one().await
    }
}
