//! From a request to Redis, without a wait for either.

use crate::correlations::Appender;
use domain::CorrelationId;
use domain::correlation::Hop;
use futures_util::future::join_all;
use redis_core::{Clock, Redis};
use std::time::Duration;
use telemetry::metrics::{BoundCounter, KeyValue, meter};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Where services leave their hops. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    service: &'static str,
    clock: Clock,
    queue: mpsc::Sender<(CorrelationId, Hop)>,
    dropped: BoundCounter<u64>,
}

/// Writes what a recorder is given. Somebody has to [`run`](Self::run) it.
pub struct Writer {
    queue: mpsc::Receiver<(CorrelationId, Hop)>,
    appender: Appender,
    written: BoundCounter<u64>,
    failed: BoundCounter<u64>,
}

/// A recorder with its writer at work. Stopped, it writes what is left; dropped, it does not.
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    stop: CancellationToken,
    writing: JoinSet<()>,
}

impl Recording {
    /// Begins to record this service's hops. Called within a Tokio runtime.
    pub fn start(redis: &Redis, service: &'static str) -> Self {
        let (recorder, writer) = recorder(redis, service);
        let (stop, mut writing) = (CancellationToken::new(), JoinSet::new());
        writing.spawn(writer.run(stop.clone()));
        Self { recorder, stop, writing }
    }

    /// Where to leave hops.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Writes what is left, and ends.
    pub async fn stop(self) {
        self.stop.cancel();
        self.writing.join_all().await;
    }
}

/// A recorder of this service's hops, and the writer behind it.
pub fn recorder(redis: &Redis, service: &'static str) -> (Recorder, Writer) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let counter = meter()
        .u64_counter("sluice.correlation.hops")
        .with_unit("{hop}")
        .with_description("Hops by what became of them: written, dropped (their queue was full), failed")
        .build();
    let counted = |outcome: &'static str| counter.bind(&[KeyValue::new("outcome", outcome)]);
    let recorder =
        Recorder { service, clock: redis.clock().clone(), queue: sender, dropped: counted("dropped") };
    let appender = Appender::new(redis.clone());
    (recorder, Writer { queue, appender, written: counted("written"), failed: counted("failed") })
}

impl Recorder {
    /// Notes a hop that ends now, at this place in the current trace. Never waits; when the queue is full the hop is
    /// dropped and counted. Texts are cut to what a hop may hold.
    pub fn record(&self, id: &CorrelationId, mut hop: Hop) {
        hop.at = self.clock.now();
        hop.service = self.service.to_owned();
        cut(&mut hop.what);
        hop.outcome.iter_mut().for_each(cut);
        if self.queue.try_send((id.clone(), hop)).is_err() {
            self.dropped.add(1);
        }
    }
}

impl Writer {
    /// Writes until `stop`, and then what is still there. What Redis does not take is dropped and counted.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut hops = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! { // Nothing has been taken from the queue by a branch that is dropped.
                biased;
                () = stop.cancelled() => break,
                taken = self.queue.recv_many(&mut hops, BATCH_MAX) => if taken == 0 { return },
            }
            self.write(&mut hops).await;
            // More come together meanwhile; and however many there are, Redis has its time for requests.
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        self.queue.close();
        while self.queue.recv_many(&mut hops, BATCH_MAX).await > 0 {
            self.write(&mut hops).await;
        }
    }

    async fn write(&self, hops: &mut Vec<(CorrelationId, Hop)>) {
        let appending = hops.iter().map(|(id, hop)| self.appender.append(id, hop));
        let (written, failed): (Vec<_>, Vec<_>) =
            join_all(appending).await.into_iter().partition(Result::is_ok);
        self.written.add(written.len() as u64);
        self.failed.add(failed.len() as u64);
        if let Some(Err(error)) = failed.first() {
            tracing::debug!(error = %error, "{} hops of correlations are lost: {error}", failed.len());
        }
        hops.clear();
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// At a boundary of characters.
fn cut(text: &mut String) {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
}

/// Hops that wait to be written.
const QUEUE_MAX: usize = 1_024;
/// Hops that are written together.
const BATCH_MAX: usize = 64;
/// Between two batches: 3,200 hops a second at most, some hundredths of a core of Redis.
const PAUSE: Duration = Duration::from_millis(20);
const TEXT_BYTES_MAX: usize = 128;
