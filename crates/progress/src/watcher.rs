//! `Watcher`: a cursor and a waker. It has no queue: frames lie in the ring of its topic, once for all.

use crate::Operations;
use crate::ProgressError;
use crate::frame::{Reset, retry};
use crate::hub::Seat;
use crate::topic::{Next, Place, Topic, Whole};
use bytes::Bytes;
use futures_util::Stream;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A stream of SSE frames, one or several in a piece. It ends after the final event, a drain, or the operation's
/// removal. Polled only when its reader takes more, it costs a slow one nothing.
#[derive(Debug)]
pub struct Watcher {
    seat: Seat,
    operations: Operations,
    phase: Phase,
    beats: bool,
}

enum Phase {
    Reading(Place),
    /// Waits for a snapshot.
    Opening(Option<Reset>, Pin<Box<Snapshot>>),
    Over,
}

type Snapshot = dyn Future<Output = Result<Option<Arc<Whole>>, ProgressError>> + Send;

impl Watcher {
    pub(crate) fn at(seat: Seat, operations: Operations, place: Place) -> Self {
        Self { seat, operations, phase: Phase::Reading(place), beats: true }
    }

    pub(crate) fn anew(seat: Seat, operations: Operations, reset: Option<Reset>) -> Self {
        let phase = opening(&seat.topic, &operations, reset);
        Self { seat, operations, phase, beats: true }
    }

    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    pub(crate) fn without_heartbeats(&mut self) {
        self.beats = false;
    }

    /// [`Watcher::next`] for hand-written bodies.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Reading(place) => {
                    match self.seat.topic.next(place, self.seat.slot, self.beats, context.waker()) {
                        Next::Wait => return Poll::Pending,
                        Next::Send(bytes) => return Poll::Ready(Some(bytes)),
                        Next::Last(bytes) => return self.end_with(bytes),
                        Next::Reset(reason) => {
                            self.phase = opening(&self.seat.topic, &self.operations, Some(reason));
                        }
                    }
                }
                Phase::Opening(reset, snapshot) => {
                    let reset = *reset;
                    return match ready!(snapshot.as_mut().poll(context)) {
                        Ok(Some(whole)) => {
                            let (bytes, place) = self.seat.topic.open_with(&whole, reset);
                            self.phase = place.map_or(Phase::Over, Phase::Reading);
                            Poll::Ready(Some(bytes))
                        }
                        Ok(None) => self.end_with(crate::frame::gone(&self.seat.topic.id)),
                        // Redis went away just now: the browser asks again, with the cursor that it has.
                        Err(_) => self.end_with(retry(RETRY_MS)),
                    };
                }
            }
        }
    }

    fn end_with(&mut self, bytes: Bytes) -> Poll<Option<Bytes>> {
        self.phase = Phase::Over;
        Poll::Ready(Some(bytes))
    }
}

impl Stream for Watcher {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.get_mut().poll(context)
    }
}

fn opening(topic: &Arc<Topic>, operations: &Operations, reset: Option<Reset>) -> Phase {
    let (topic, operations) = (Arc::clone(topic), operations.clone());
    Phase::Opening(reset, Box::pin(async move { topic.whole(&operations).await }))
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reading(place) => place.fmt(f),
            Self::Opening(reset, _) => write!(f, "Opening({reset:?})"),
            Self::Over => f.write_str("Over"),
        }
    }
}

const RETRY_MS: u64 = 2_000;
