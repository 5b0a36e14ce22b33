//! A connection that is served: its bytes, and how long they may be waited for.
//!
//! actix bounds the first head of a connection and its rest between requests. What it leaves open is here: a later head that
//! begins and does not end, and a client that does not take its answer.

use crate::addresses::Place;
use crate::socket::Socket;
use crate::timer::Timer;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a connection is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a head, from its first byte.
    pub(crate) head: Duration,
    /// Until the client takes something of what is sent.
    pub(crate) write: Duration,
}

pub(crate) struct Connection {
    socket: Socket,
    /// Counts it until it ends.
    _place: Place,
    patience: Patience,
    requests: Rc<Requests>,
    /// When bytes came that no request had begun for, and how many requests there had been.
    head_began: Option<(Instant, u64)>,
    read_timer: Timer,
    write_stalled: Option<Instant>,
    write_timer: Timer,
}

impl Connection {
    pub(crate) fn new(socket: Socket, place: Place, patience: Patience) -> Self {
        Self {
            socket,
            _place: place,
            patience,
            requests: Rc::default(),
            head_began: None,
            read_timer: Timer::default(),
            write_stalled: None,
            write_timer: Timer::default(),
        }
    }

    /// For its requests, which say here when they begin and end.
    pub(crate) fn requests(&self) -> Rc<Requests> {
        Rc::clone(&self.requests)
    }

    /// Bytes came: of a head, unless a request is in flight, whose body they may be.
    fn came(&mut self) {
        let Requests { begun, in_flight } = &*self.requests;
        if in_flight.get() == 0 && self.head_began.is_none_or(|(_, before)| before != begun.get()) {
            self.head_began = Some((Instant::now(), begun.get()));
        }
    }

    /// Ready when a head that has begun did not become a request in time. The first one is actix's, which answers 408.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begun = self.requests.begun.get();
        match self.head_began {
            Some((since, before)) if before == begun && begun > 0 => {
                self.read_timer.poll(cx, since + self.patience.head)
            }
            _ => Poll::Pending,
        }
    }

    fn poll_taken<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.write_stalled = None;
            return wrote;
        }
        let since = *self.write_stalled.get_or_insert_with(Instant::now);
        ready!(self.write_timer.poll(cx, since + self.patience.write));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buffer) {
            // As if the client had closed: there is no request to answer.
            Poll::Pending => this.poll_patience(cx).map(Ok),
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    this.came();
                }
                Poll::Ready(read)
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.poll_taken(cx, wrote)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        this.poll_taken(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

/// The requests of a connection, all on its thread.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    begun: Cell<u64>,
    in_flight: Cell<usize>,
}

impl Requests {
    /// Its head is whole.
    pub(crate) fn begin(self: &Rc<Self>) -> InFlight {
        self.begun.set(self.begun.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
        InFlight(Rc::clone(self))
    }
}

/// One request, until the last byte of its answer was taken from its body.
#[derive(Debug)]
pub(crate) struct InFlight(Rc<Requests>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// The body of an answer, whose request is in flight as long.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    pub(crate) body: BoxBody,
    /// None outside of a server.
    pub(crate) in_flight: Option<InFlight>,
}

impl MessageBody for AnswerBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(cx)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, in_flight } = self;
        body.try_into_bytes().map_err(|body| Self { body, in_flight })
    }
}
