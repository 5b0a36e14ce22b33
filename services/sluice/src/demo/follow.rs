//! Follows an operation to its end, over lost streams.

use std::time::Duration;

use anyhow::{bail, ensure};
use bytes::Bytes;
use domain::progress::Step;
use domain::{OperationState, StepState};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use super::client::Client;
use super::events::{Event, Events};

/// What an event says of the operation.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) state: OperationState,
    pub(crate) percent: f64,
    #[serde(default)]
    pub(crate) step: Option<Step>,
    /// In a snapshot.
    #[serde(default)]
    steps: Vec<Step>,
    #[serde(default)]
    pub(crate) message: Option<String>,
}

impl Report {
    pub(crate) fn is_final(&self) -> bool {
        self.state.is_final()
    }

    /// The step that it is about; of a snapshot the one that runs.
    pub(crate) fn step(&self) -> Option<&Step> {
        self.step.as_ref().or_else(|| self.steps.iter().rfind(|step| step.state == StepState::Running))
    }
}

/// A reader of one operation's events.
pub(crate) struct Follower<'a> {
    client: &'a Client,
    operation: String,
    last: Option<String>,
    stream: Option<Events<BoxStream<'static, reqwest::Result<Bytes>>>>,
    deadline: Instant,
}

impl<'a> Follower<'a> {
    /// Follows `operation`, which may not exist yet, for at most `within`.
    pub(crate) fn new(client: &'a Client, operation: String, within: Duration) -> Self {
        Self { client, operation, last: None, stream: None, deadline: Instant::now() + within }
    }

    /// The next report. A lost stream is opened again after the last event that was read.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Report> {
        loop {
            let Ok(event) = timeout_at(self.deadline, self.event()).await else {
                bail!("{} has not ended in time", self.operation);
            };
            let event = event?;
            if let Some(id) = event.id {
                self.last = Some(id);
            }
            match event.name.as_str() {
                "heartbeat" | "degraded" => {}
                _ => return Ok(serde_json::from_str(&event.data)?),
            }
        }
    }

    async fn event(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(stream) = &mut self.stream {
                if let Ok(Some(event)) = stream.next().await {
                    return Ok(event);
                }
                self.stream = None;
            }
            match self.client.events(&self.operation, self.last.as_deref()).await {
                Ok(Some(answer)) => self.stream = Some(Events::new(answer.bytes_stream().boxed())),
                // Not leased yet: then there is no operation. After an event, it cannot be gone.
                Ok(None) => {
                    ensure!(self.last.is_none(), "{} ended without a final event", self.operation);
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) if Instant::now() >= self.deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}
