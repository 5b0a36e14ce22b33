//! An answer's body on its way to the client.

use super::pool::Lease;
use super::timer::Timer;
use super::upload::Progress;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// The body of an upstream's answer. Once it and the request are whole, the connection goes back to the pool; else it is
/// cut.
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
        let Some(lease) = self.lease.take() else { return };
        match &self.upload {
            Some(upload) if !upload.is_whole() => upload.cut(),
            _ => lease.give_back(),
        }
    }

    fn cut(&mut self) {
        self.lease = None;
        if let Some(upload) = &self.upload {
            upload.cut();
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
            this.cut();
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
                this.cut();
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

impl Drop for Relay {
    fn drop(&mut self) {
        // The client is gone, or the answer broke off.
        if self.lease.is_some() {
            self.cut();
        }
    }
}
