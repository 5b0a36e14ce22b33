//! The request's body on its way to the upstream.

use super::refusal::Reason;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// A client's body, as hyper sends it to the upstream.
pub(super) struct Upload {
    body: Incoming,
    left: u64,
    /// None when there is no body.
    progress: Option<Arc<Progress>>,
}

/// How far a body has come. The proxy watches it, and may open the gate.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds from `began` to the last piece.
    moved_ms: AtomicU64,
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Upload {
    /// `gated`: the body is asked for only once the gate is opened.
    pub(super) fn new(body: Incoming, bytes_max: u64, gated: bool) -> (Self, Option<Arc<Progress>>) {
        let progress = (!http_body::Body::is_end_stream(&body)).then(|| {
            Arc::new(Progress {
                began: Instant::now(),
                moved_ms: AtomicU64::new(0),
                state: AtomicU8::new(if gated { GATED } else { ASKED }),
                waker: AtomicWaker::new(),
            })
        });
        (Self { body, left: bytes_max, progress: progress.clone() }, progress)
    }
}

impl Progress {
    /// Lets the body be asked for: the upstream wants it.
    pub(super) fn open(&self) {
        let _ = self.state.compare_exchange(GATED, ASKED, Ordering::Relaxed, Ordering::Relaxed);
        self.waker.wake();
    }

    pub(super) fn is_whole(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WHOLE
    }

    pub(super) fn is_gated(&self) -> bool {
        self.state.load(Ordering::Relaxed) == GATED
    }

    /// Why the client's body ended too early, if it did.
    pub(super) fn failure(&self) -> Option<Reason> {
        match self.state.load(Ordering::Relaxed) {
            BROKEN => Some(Reason::Body),
            TOO_LARGE => Some(Reason::BodyTooLarge),
            _ => None,
        }
    }

    /// Whether the client is the one to wait for.
    pub(super) fn waits_for_client(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WAITING
    }

    /// When the last piece passed, or the body began.
    pub(super) fn moved(&self) -> Instant {
        self.began + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    fn moves(&self, state: u8) {
        let moved = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(moved, Ordering::Relaxed);
        self.state.store(state, Ordering::Relaxed);
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let Some(progress) = &this.progress else { return Poll::Ready(None) };
        // Registered before the look, so that a gate opened in between is not missed.
        progress.waker.register(cx.waker());
        if progress.is_gated() {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending() {
            progress.state.store(WAITING, Ordering::Relaxed);
        }
        Poll::Ready(Some(match ready!(polled) {
            None => {
                progress.moves(WHOLE);
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                progress.moves(BROKEN);
                Err(io::Error::other(error))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                if length > this.left {
                    progress.moves(TOO_LARGE);
                    return Poll::Ready(Some(Err(io::ErrorKind::FileTooLarge.into())));
                }
                this.left -= length;
                let whole = frame.is_trailers() || this.body.is_end_stream();
                progress.moves(if whole { WHOLE } else { ASKED });
                Ok(frame)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.progress.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Not asked for yet: the client waits for a 100.
const GATED: u8 = 0;
/// The upstream may take the next piece.
const ASKED: u8 = 1;
/// The upstream wants a piece and the client has sent none.
const WAITING: u8 = 2;
const WHOLE: u8 = 3;
const BROKEN: u8 = 4;
const TOO_LARGE: u8 = 5;
