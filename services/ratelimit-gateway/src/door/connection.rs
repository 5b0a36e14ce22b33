//! One connection of a client, from its first byte to its end.

use super::config::DoorConfig;
use super::guard::{Guard, InFlight};
use super::patience;
use super::proxy::Proxy;
use bytes::BytesMut;
use http_kit::{Socket, Tls};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all connections of a worker share.
pub(super) struct Shared {
    pub(super) settings: DoorConfig,
    pub(super) tls: Option<Tls>,
    pub(super) proxy: Proxy,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// Who is on the other side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Whether by TLS.
    pub(super) secure: bool,
}

/// Serves it to its end. After `stop` it takes no new request.
pub(super) async fn serve(shared: Rc<Shared>, stream: TcpStream, address: IpAddr) {
    let patience = Duration::from_millis(shared.settings.head_timeout_ms);
    let began = tokio::select! {
        began = timeout(patience, begin(shared.tls.as_ref(), stream)) => began,
        () = shared.stop.cancelled() => return,
    };
    let peer = Peer { address, secure: shared.tls.is_some() };
    let ended = match began {
        Ok(Ok((socket, Version::Http1, first))) => http1(&shared, socket, first, peer).await,
        Ok(Ok((socket, Version::Http2, first))) => http2(&shared, socket, first, peer).await,
        // Closed, or silent for too long: there is nobody to answer.
        Ok(Err(_)) | Err(_) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a client's connection broke: {error}");
    }
}

enum Version {
    Http1,
    Http2,
}

/// Shakes hands where there is TLS, and reads until it is clear which version the client speaks; with what was read.
///
/// Its first bytes tell, also after TLS: a client that agreed on `h2` by ALPN begins as one with prior knowledge does.
async fn begin(tls: Option<&Tls>, stream: TcpStream) -> io::Result<(Socket, Version, BytesMut)> {
    let mut socket = match tls {
        None => Socket::from(stream),
        Some(tls) => tls.accept(stream).await?,
    };
    let mut first = BytesMut::with_capacity(4096);
    loop {
        let common = first.len().min(PREFACE.len());
        if first[..common] != PREFACE[..common] {
            return Ok((socket, Version::Http1, first));
        }
        if common == PREFACE.len() {
            return Ok((socket, Version::Http2, first));
        }
        if socket.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn http1(shared: &Rc<Shared>, stream: Socket, first: BytesMut, peer: Peer) -> Result<(), hyper::Error> {
    let in_flight = InFlight::none();
    let guard = Guard::new(stream, first, &shared.settings, in_flight.clone());
    let service = service_fn(|request| {
        let (shared, request_in_flight) = (shared.clone(), in_flight.begin());
        async move { shared.proxy.answer_http1(request, peer, request_in_flight).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        // The guard keeps the time; its bound of a head is below this one.
        .header_read_timeout(None)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(guard), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shared.stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn http2(shared: &Rc<Shared>, stream: Socket, first: BytesMut, peer: Peer) -> Result<(), hyper::Error> {
    let in_flight = InFlight::none();
    let service = service_fn(|request| {
        let (shared, request_in_flight) = (shared.clone(), in_flight.begin());
        async move {
            let mut answer = pin!(shared.proxy.answer_http2(request, peer, request_in_flight));
            poll_fn(|cx| patience::noted(answer.as_mut().poll(cx))).await
        }
    });
    let settings = &shared.settings;
    let patience = Duration::from_millis(settings.write_timeout_ms);
    let streams = Streams { tasks: shared.tasks.clone(), patience };
    let connection = hyper::server::conn::http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(settings.streams_max.get())
        .max_header_list_size(u32::try_from(settings.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(Replayed { stream, first }), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shared.stop.cancelled() => {}
        () = rested(&in_flight, settings.keep_alive()) => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that began a request and does not go on would stay for ever: once the goodbye is said, rest ends it.
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = rested(&in_flight, GOODBYE) => Ok(()),
    }
}

/// Ends once no request was in flight for so long, looked at ten times.
async fn rested(in_flight: &InFlight, long: Duration) {
    let mut quiet = 0;
    while quiet < 10 {
        sleep(long / 10).await;
        quiet = if in_flight.is_none() { quiet + 1 } else { 0 };
    }
}

/// Runs the streams of HTTP/2 as tasks of the worker.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    patience: Duration,
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.tasks.spawn_local(patience::bounded(stream, self.patience));
    }
}

/// A stream whose first bytes were read already.
struct Replayed {
    stream: Socket,
    first: BytesMut,
}

impl AsyncRead for Replayed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        let count = this.first.len().min(buffer.remaining());
        buffer.put_slice(&this.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What one connection may hold of a body on its way, in each direction.
pub(super) const BUFFER_BYTES: usize = 128 * 1024;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const RESETS_MAX: usize = 20;
/// How long an HTTP/2 client may be silent before it is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
const GOODBYE: Duration = Duration::from_secs(5);
