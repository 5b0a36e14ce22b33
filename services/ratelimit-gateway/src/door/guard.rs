//! The client's socket, with a judge in front of hyper: a head reaches hyper only after it was found clean.

use super::config::DoorConfig;
use super::framing::{Scanner, Step};
use super::refusal::Reason;
use bytes::{Buf, BytesMut};
use http_kit::Timer;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How many requests of a connection are in flight: from their head to the last byte of their answer.
#[derive(Clone, Debug)]
pub(super) struct InFlight(Arc<Requests>);

#[derive(Debug)]
struct Requests {
    count: AtomicUsize,
    began: Instant,
    /// Milliseconds from `began` to the end of the last one that ended.
    ended_ms: AtomicU64,
}

impl InFlight {
    pub(super) fn none() -> Self {
        let (count, ended_ms) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Requests { count, began: Instant::now(), ended_ms }))
    }

    pub(super) fn begin(&self) -> RequestInFlight {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        RequestInFlight(self.clone())
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) == 0
    }

    /// When the last request ended, or the connection began.
    fn ended(&self) -> Instant {
        self.0.began + Duration::from_millis(self.0.ended_ms.load(Ordering::Relaxed))
    }
}

/// One request, until this is dropped.
#[derive(Debug)]
pub(super) struct RequestInFlight(InFlight);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        let Requests { count, began, ended_ms } = &*self.0.0;
        ended_ms.store(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads and writes one HTTP/1 connection.
///
/// A refused head is replaced by one that only the guard can write, `GET refused://<reason>/`; so hyper answers what came
/// before it, then asks the service, which answers with the problem. A malformed body is an error of the read.
pub(super) struct Guard<S> {
    stream: S,
    scanner: Scanner,
    in_flight: InFlight,
    times: Times,
    /// Read, and not yet judged: the beginning of a head.
    held: BytesMut,
    /// Judged, and not yet given to hyper.
    passed: BytesMut,
    end: Option<End>,
    /// When the head in `held` began, or the connection came to rest.
    since: Option<Instant>,
    had_request: bool,
    read_timer: Timer,
    write_stalled: Option<Instant>,
    write_timer: Timer,
    lingering: Option<Lingering>,
}

/// Nothing is read any more, because
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// the client closed its side or idled too long.
    Closed,
    /// a head was refused.
    Refused,
    /// a body was malformed.
    Broken,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    head: Duration,
    keep_alive: Duration,
    write: Duration,
}

#[derive(Debug)]
struct Lingering {
    until: Instant,
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// `first` was read from the stream already.
    pub(super) fn new(stream: S, first: BytesMut, settings: &DoorConfig, in_flight: InFlight) -> Self {
        let mut guard = Self {
            stream,
            scanner: Scanner::new(settings.head_bounds()),
            in_flight,
            times: Times {
                head: Duration::from_millis(settings.head_timeout_ms),
                keep_alive: settings.keep_alive(),
                write: Duration::from_millis(settings.write_timeout_ms),
            },
            held: first,
            passed: BytesMut::new(),
            end: None,
            since: None,
            had_request: false,
            read_timer: Timer::default(),
            write_stalled: None,
            write_timer: Timer::default(),
            lingering: None,
        };
        guard.judge_held();
        guard
    }

    /// Moves what may pass from `held` to `passed`.
    fn judge_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        let (passed, end) = judge(&mut self.scanner, &held);
        self.passed.extend_from_slice(&held.split_to(passed));
        self.held = held;
        self.ended(end);
    }

    fn ended(&mut self, step: Option<Step>) {
        match step {
            Some(Step::Refuse(reason)) => self.refuse(reason),
            Some(Step::Broken) => self.end = Some(End::Broken),
            _ => {}
        }
    }

    fn refuse(&mut self, reason: Reason) {
        let name = reason.name();
        self.held.clear();
        self.passed.extend_from_slice(
            format!("GET {REFUSED}://{name}/ HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        );
        self.end = Some(End::Refused);
    }

    /// Reads once, straight into the buffer of hyper unless a head has begun.
    fn poll_more(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.held.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let bytes = &buffer.filled()[before..];
            if bytes.is_empty() {
                self.end = Some(End::Closed);
                return Poll::Ready(Ok(()));
            }
            let (passed, end) = judge(&mut self.scanner, bytes);
            self.held.extend_from_slice(&bytes[passed..]);
            // A head that begins here counts from now, not from when the connection came to rest.
            self.since = None;
            buffer.set_filled(before + passed);
            self.ended(end);
        } else {
            let mut chunk = [0; 4096];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                self.end = Some(End::Closed);
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(chunk.filled());
            self.judge_held();
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing came: a head may take only so long, and so may a pause between requests.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let in_head = !self.held.is_empty();
        if !in_head && !self.scanner.is_between_messages() {
            return Poll::Pending;
        }
        loop {
            let since = *self.since.get_or_insert_with(Instant::now);
            let (since, wait) = match in_head {
                true => (since, self.times.head),
                false if self.had_request => (since.max(self.in_flight.ended()), self.times.keep_alive),
                false => (since, self.times.head),
            };
            ready!(self.read_timer.poll(cx, since + wait));
            if in_head {
                self.refuse(Reason::HeadTimeout);
            } else if self.in_flight.is_none() {
                self.end = Some(End::Closed);
            } else {
                // hyper does not ask again when the answer is out; so the timer runs on meanwhile.
                self.since = None;
                continue;
            }
            return Poll::Ready(());
        }
    }

    /// A client that takes no byte of its answer holds the connection only so long.
    fn write_patience<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.write_stalled = None;
            return wrote;
        }
        let since = *self.write_stalled.get_or_insert_with(Instant::now);
        ready!(self.write_timer.poll(cx, since + self.times.write));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// How many bytes pass, and what ended it.
fn judge(scanner: &mut Scanner, bytes: &[u8]) -> (usize, Option<Step>) {
    let mut passed = 0;
    while passed < bytes.len() {
        match scanner.step(&bytes[passed..]) {
            Step::Pass(count) => passed += count,
            end => return (passed, Some(end)),
        }
    }
    (passed, None)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        loop {
            if !this.passed.is_empty() {
                let count = this.passed.len().min(buffer.remaining());
                buffer.put_slice(&this.passed[..count]);
                this.passed.advance(count);
            }
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                this.had_request = true;
                return Poll::Ready(Ok(()));
            }
            match this.end {
                None => {}
                Some(End::Closed) => return Poll::Ready(Ok(())),
                // hyper closes after the answer; until then there is nothing to read.
                Some(End::Refused) => return Poll::Pending,
                Some(End::Broken) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            match this.poll_more(cx, buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending => ready!(this.poll_patience(cx)),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.write_patience(cx, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.write_patience(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// Closes our side; and where the client may still be sending, reads on for a moment: a reset on unread bytes would
    /// take the answer with it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            let is_clean = this.held.is_empty() && this.end.is_none() && this.scanner.is_between_messages();
            if is_clean || this.end == Some(End::Closed) || this.scanner.is_tunnel() {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering = this
            .lingering
            .get_or_insert_with(|| Lingering { until: Instant::now() + LINGER, left: LINGER_BYTES });
        let mut chunk = [0; 4096];
        loop {
            let mut chunk = ReadBuf::new(&mut chunk);
            match Pin::new(&mut this.stream).poll_read(cx, &mut chunk) {
                Poll::Ready(Ok(())) if !chunk.filled().is_empty() && lingering.left > 0 => {
                    lingering.left = lingering.left.saturating_sub(chunk.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.read_timer.poll(cx, lingering.until).map(Ok),
            }
        }
    }
}

/// The scheme of a request that the guard wrote itself; the scanner lets none of a client's through.
pub(super) const REFUSED: &str = "refused";
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 * 1024 * 1024;
