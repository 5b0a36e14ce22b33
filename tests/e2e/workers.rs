//! The demo's job with containers as workers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use sluice::demo::{self, Input, Workers};
use testkit::until;

use crate::compose::{Compose, docker};
use crate::stack::Stack;

/// Served by every worker of the stack.
const QUEUE: &str = "exports";

struct Containers<'a>(&'a Compose);

impl Workers for Containers<'_> {
    async fn start(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Kills the process, not the container: Docker takes that for a crash and starts it again.
    async fn kill(&mut self, worker: &str) -> anyhow::Result<String> {
        let containers = self.0.containers(Some("queue-worker"));
        let container = containers.iter().find(|id| worker.contains(&id[..12]));
        let container = container.with_context(|| format!("{worker} names none of {containers:?}"))?;
        let process = docker(&["inspect", "-f", "{{.State.Pid}}", container]);
        let killed = Command::new("kill").args(["-9", process.trim()]).status()?;
        if !killed.success() {
            // An engine in a machine of its own: its processes are not ours to see.
            docker(&["kill", "--signal", "KILL", container]);
        }
        Ok(format!("{} (container {})", process.trim(), &container[..12]))
    }

    async fn replace(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

pub(crate) async fn the_demo_holds_with_a_container_killed(compose: &Compose, stack: &Stack) {
    let mut input = Input::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))).unwrap();
    input.fill_up();

    let outcome = demo::export(stack.demo.clone(), QUEUE, &input, &mut Containers(compose)).await.unwrap();

    assert_eq!(outcome.crashes, 1);
    let running = async || {
        let ids = compose.containers(Some("queue-worker"));
        ids.iter().all(|id| docker(&["inspect", "-f", "{{.State.Running}}", id]).trim() == "true")
    };
    until(running, Duration::from_secs(30)).await;
}
