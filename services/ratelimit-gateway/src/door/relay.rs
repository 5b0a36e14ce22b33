//! An answer's body on its way to the client.

use super::pool::Lease;
use super::upload::Progress;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_kit::Timer;
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// The body of an upstream's answer. Once it and the request are whole, the connection goes back to the pool; dropped before,
/// it takes the connection with it.
pub(super) struct Relay {
    body: Incoming,
    lease: Option<Lease>,
    upload: Option<Arc<Progress>>,
    idle: Duration,
    /// When the upstream began to be silent.
    since: Option<Instant>,
    timer: Timer,
}

impl Relay {
    pub(super) fn new(body: Incoming, lease: Lease, upload: Option<Arc<Progress>>, idle: Duration) -> Self {
        let mut relay = Self { body, lease: Some(lease), upload, idle, since: None, timer: Timer::default() };
        if relay.body.is_end_stream() {
            relay.ended();
        }
        relay
    }

    fn ended(&mut self) {
        let lease = self.lease.take();
        if self.upload.as_ref().is_none_or(|upload| upload.is_whole()) {
            lease.into_iter().for_each(Lease::give_back);
        }
    }

    /// Silence counts in both directions: while the client still sends, the upstream may wait for it.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut since = *self.since.get_or_insert_with(Instant::now);
        if let Some(upload) = &self.upload {
            since = since.max(upload.moved());
        }
        self.timer.poll(cx, since + self.idle)
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.poll_patience(cx));
            this.lease = None;
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        };
        this.since = None;
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if frame.is_trailers() || this.body.is_end_stream() {
                    this.ended();
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                this.lease = None;
                Some(Err(io::Error::other(error)))
            }
            None => {
                this.ended();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
