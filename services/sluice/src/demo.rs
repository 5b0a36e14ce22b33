//! `sluice demo`: a real job from end to end, with its worker killed in the middle.
//!
//! A folder goes into a project's cache, a task exports it back out as one archive, a bar follows it
//! live, and what comes out is compared with what went in. The task lies on a queue that only two
//! workers serve, one after the other: the first is killed with `kill -9` while it works. All of it goes
//! through the gateway's port, and ends at a limit there.

mod archive;
mod client;
mod events;
mod follow;
mod input;
mod limit;
mod processes;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::Args;
use domain::progress::Step;
use domain::queue::{Holder, Task};
use domain::{FencingToken, OperationState, StepState, TaskId, TaskState, WorkerName};
use futures_util::{StreamExt as _, TryStreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::archive::Exported;
use self::client::Client;
pub use self::client::Stack;
use self::follow::{Follower, Report};
pub use self::input::{Input, Skipped};
use self::processes::Processes;
use crate::home::Home;
use crate::{say, settings, up};

/// What the demo may be told.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A folder of your own files instead of Sluice's documents and sources
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The port of the private Redis, should the stack have to be started
    #[arg(long, env = "SLUICE_REDIS_PORT", default_value_t = 5240)]
    redis_port: u16,
}

/// Who works on the demo's queue. The two ways: processes on this machine, containers.
#[expect(async_fn_in_trait, reason = "called from one task, never across threads")]
pub trait Workers {
    /// Brings the first worker, if it is not there yet.
    ///
    /// # Errors
    /// It cannot be started.
    async fn start(&mut self) -> anyhow::Result<()>;

    /// Kills `worker`, which has the task, with SIGKILL; returns what was killed, for a person.
    ///
    /// # Errors
    /// There is no such worker, or it cannot be killed.
    async fn kill(&mut self, worker: &str) -> anyhow::Result<String>;

    /// Brings another worker, if there is none yet.
    ///
    /// # Errors
    /// It cannot be started.
    async fn replace(&mut self) -> anyhow::Result<()>;
}

/// What the job showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The fencing token before the kill and after.
    pub tokens: (FencingToken, FencingToken),
    /// The worker before the kill and after.
    pub workers: (WorkerName, WorkerName),
    /// How often the task was left behind by a worker.
    pub crashes: u8,
}

const ENTRIES: &str = "input/";
const ARCHIVE: &str = "export.tar.zst";
/// The step at which the first worker is killed: the second of five.
const KILL_AT: &str = "read";
/// The read takes about so long, to be seen and to be killed in.
const READ_FOR_MS: usize = 3_000;
const EXPORT_WITHIN: Duration = Duration::from_secs(180);
const AT_ONCE: usize = 8;

/// Runs the demo on this machine's stack, which it starts if it does not run, and then stops.
pub(crate) async fn run(home: &Home, options: Options) -> anyhow::Result<ExitCode> {
    let input = match &options.dir {
        Some(folder) => Input::read(folder)?,
        None => {
            let mut input = Input::read(&std::env::current_dir()?)?;
            input.fill_up();
            input
        }
    };
    let (running, ours) = up::running_or_start(home, options.redis_port).await?;
    let job = async {
        let mut workers = Processes::of(home, &running)?;
        let outcome = export(workers.stack()?, processes::QUEUE, &input, &mut workers).await;
        workers.stop().await;
        outcome
    };
    let outcome = tokio::select! {
        outcome = job => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if ours {
        up::down(home).await?;
    }
    outcome?;
    say(format_args!(
        "demo: holds; {}",
        if ours { "the stack is stopped again" } else { "the stack runs on" }
    ));
    Ok(ExitCode::SUCCESS)
}

/// The job itself: on any stack, with any workers that serve `queue` and nobody else does.
///
/// # Errors
/// One of its claims was not true; the message says which.
pub async fn export(
    stack: Stack,
    queue: &str,
    input: &Input,
    workers: &mut impl Workers,
) -> anyhow::Result<Outcome> {
    let client = Client::new(stack);
    let project = format!("demo-{:08x}", rand::random::<u32>());
    for skipped in &input.skipped {
        say(format_args!("  skipped {}: {}", skipped.path.display(), skipped.why));
    }

    let began = Instant::now();
    put_all(&client, &project, input).await?;
    say(format_args!(
        "  {} files ({} of them made from the others), {:.1} MB: in the cache of project {project} after {:.1} s",
        input.files.len(),
        input.generated,
        input.bytes() as f64 / 1e6,
        began.elapsed().as_secs_f64(),
    ));

    workers.start().await?;
    let payload = json!({
        "project": project,
        "prefix": ENTRIES,
        "archive": ARCHIVE,
        "throttle_ms": (READ_FOR_MS / input.files.len()).clamp(2, 1_000),
    });
    let task = client.enqueue(queue, &project, &payload).await?;
    say(format_args!("  task {task} on {queue}: export_project"));
    let outcome = follow(&client, queue, task, workers).await?;
    check_result(&client, queue, task, &project, input).await?;
    limit::run_into_it(&client, &project).await?;
    Ok(outcome)
}

async fn put_all(client: &Client, project: &str, input: &Input) -> anyhow::Result<()> {
    let put = |(name, bytes): (&String, &Bytes)| {
        let (name, bytes) = (format!("{ENTRIES}{name}"), bytes.clone());
        async move { client.put_entry(project, &name, bytes).await }
    };
    futures_util::stream::iter(input.files.iter().map(put)).buffer_unordered(AT_ONCE).try_collect().await
}

/// Watches the task to its end, and kills its worker on the way.
async fn follow(
    client: &Client,
    queue: &str,
    task: TaskId,
    workers: &mut impl Workers,
) -> anyhow::Result<Outcome> {
    let mut screen = Screen::new();
    let mut follower = Follower::new(client, format!("{queue}.{task}"), EXPORT_WITHIN);
    let mut before = None;
    let last = loop {
        let report = follower.next().await?;
        screen.show(&report);
        if before.is_none()
            && report.step().is_some_and(|step| step.name.as_str() == KILL_AT && is_running(step))
        {
            let at_step = client.task(queue, task).await?;
            let held = holder(&at_step)?;
            let killed = workers.kill(held.worker.as_str()).await?;
            let left = held.ends_at.map_or(Duration::ZERO, |end| end.since(settings::now()));
            screen.say(format_args!(
                "         kill -9 {killed} at step 2, {KILL_AT}; its lease ends in {:.1} s",
                left.as_secs_f64()
            ));
            workers.replace().await?;
            before = Some(at_step);
        }
        if report.is_final() {
            break report;
        }
    };
    drop(screen);
    let message = last.message.unwrap_or_default();
    ensure!(last.state == OperationState::Completed, "the export ended as {}: {message}", last.state);
    let before = before.context("the first worker was done before it could be killed: try more files")?;
    compare(&before, &client.task(queue, task).await?)
}

fn is_running(step: &Step) -> bool {
    step.state == StepState::Running
}

/// The proof that the second worker took over: a greater token, another worker, one crash.
fn compare(before: &Task, after: &Task) -> anyhow::Result<Outcome> {
    let (first, second) = (holder(before)?, holder(after)?);
    for (when, lease, task) in [("before:", first, before), ("after: ", second, after)] {
        say(format_args!(
            "  {when} token {}, worker {}, crashes {}",
            lease.token, lease.worker, task.crashes
        ));
    }
    let reason = after.reason.as_deref().unwrap_or_default();
    ensure!(after.state == TaskState::Succeeded, "task {} is {} {reason}", after.id, after.state);
    ensure!(second.token > first.token, "the fencing token did not grow");
    ensure!(second.worker != first.worker, "the killed worker finished the task");
    ensure!((before.crashes, after.crashes) == (0, 1), "not one crash was counted");
    Ok(Outcome {
        tokens: (first.token, second.token),
        workers: (first.worker.clone(), second.worker.clone()),
        crashes: after.crashes,
    })
}

/// Who has the task, or had it when it ended.
fn holder(task: &Task) -> anyhow::Result<&Holder> {
    task.lease.as_ref().with_context(|| format!("task {} does not say who has it", task.id))
}

/// Fetches what the task wrote and compares it with its result, its manifest, and what went in.
async fn check_result(
    client: &Client,
    queue: &str,
    task: TaskId,
    project: &str,
    input: &Input,
) -> anyhow::Result<()> {
    let result = client.task(queue, task).await?.result.context("the task has no result")?;
    let result: Exported = serde_json::from_str(result.get()).context("the task's result is not readable")?;
    let manifest = client.entry_bytes(project, &format!("{ARCHIVE}/manifest.json")).await?;
    let manifest = result.manifest(&manifest)?;
    let mut parts = Vec::with_capacity(manifest.parts.len());
    for part in &manifest.parts {
        parts.push(client.entry_bytes(project, &part.name).await?);
    }
    let expected =
        input.files.iter().map(|(name, bytes)| (format!("{ENTRIES}{name}"), bytes.clone())).collect();
    archive::verify(&manifest, &parts, &expected)?;
    say(format_args!("  manifest SHA-256 {} = the task's result", result.manifest_sha256));
    say(format_args!(
        "  {} parts, {:.1} MB: unpacked, and all {} files are what they were, byte for byte",
        parts.len(),
        parts.iter().map(Bytes::len).sum::<usize>() as f64 / 1e6,
        expected.len(),
    ));
    Ok(())
}

/// A bar at the bottom, and a line above it for each step that begins or ends.
struct Screen {
    bar: ProgressBar,
    last_line: String,
}

impl Screen {
    fn new() -> Self {
        let style = ProgressStyle::with_template("  {percent:>3} %  [{bar:40}] {msg}")
            .expect("the template is right");
        Self { bar: ProgressBar::new(100).with_style(style.progress_chars("=> ")), last_line: String::new() }
    }

    fn show(&mut self, report: &Report) {
        self.bar.set_position(report.percent as u64);
        let Some(step) = report.step() else { return };
        let count = step.current.zip(step.total).map(|(n, of)| format!(" {n}/{of}")).unwrap_or_default();
        self.bar.set_message(format!("{}{count}", step.name));
        let line = format!("{:<8} {}", step.name, step.state);
        // A step that goes back to pending begins again soon, and then says so.
        if step.state != StepState::Pending && line != self.last_line {
            self.say(format_args!("  {:>3.0} %  {line}", report.percent));
            self.last_line = line;
        }
    }

    fn say(&self, line: std::fmt::Arguments<'_>) {
        self.bar.suspend(|| say(line));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(token: u64, worker: &str, crashes: u8, state: &str) -> Task {
        let task = json!({
            "id": "1-0a0b0c0d", "queue": "demo-exports", "state": state, "attempts": 0, "max_attempts": 3,
            "crashes": crashes, "priority": 100, "place": 1, "created_at": "2026-11-25T02:48:31.123Z",
            "order_on_retry": "keep", "lease": {"token": token, "worker": worker},
        });
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn a_greater_token_another_worker_and_one_crash_are_the_proof() {
        let before = task(7, "first", 0, "leased");

        let outcome = compare(&before, &task(8, "second", 1, "succeeded")).unwrap();

        assert_eq!((outcome.tokens.0.to_string(), outcome.tokens.1.to_string()), ("7".into(), "8".into()));
        assert_eq!((outcome.workers.0.as_str(), outcome.workers.1.as_str()), ("first", "second"));
        assert_eq!(outcome.crashes, 1);
    }

    #[test]
    fn whatever_the_demo_could_not_show_is_no_proof() {
        let before = task(7, "first", 0, "leased");
        for (why, before, after) in [
            ("the same token", &before, task(7, "second", 1, "succeeded")),
            ("the same worker", &before, task(8, "first", 1, "succeeded")),
            ("no crash", &before, task(8, "second", 0, "succeeded")),
            ("two crashes", &before, task(8, "second", 2, "succeeded")),
            ("a crash before", &task(7, "first", 1, "leased"), task(8, "second", 1, "succeeded")),
            ("no success", &before, task(8, "second", 1, "dead")),
        ] {
            assert!(compare(before, &after).is_err(), "{why}");
        }
    }
}
