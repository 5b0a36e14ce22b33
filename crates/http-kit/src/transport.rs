//! How bytes come and go: from an accepted connection, over TLS when it is configured, to actix's HTTP/1.
//!
//! In place of actix-web's `HttpServer`, which serves only sockets of its own making: docs/adr/0016-connections-of-the-services.md.

use crate::addresses::Addresses;
use crate::connection::{Connection, Patience};
use crate::server::HttpConfig;
use crate::socket::Socket;
use crate::tls::Tls;
use actix_http::body::MessageBody;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::{Server, ServerBuilder};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::Error;
use actix_web::dev::AppConfig;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What holds for every connection of a server.
pub(crate) struct Transport {
    pub(crate) tls: Option<Tls>,
    pub(crate) config: HttpConfig,
    pub(crate) half_closed: bool,
    pub(crate) write_buffer_bytes: Option<usize>,
}

impl Transport {
    /// Not async: what actix builds on the way may not cross an `.await` of a future that is sent to another thread.
    pub(crate) fn serve<F, I, S, B>(self, listener: TcpListener, app: F) -> io::Result<Server>
    where
        F: Fn() -> I + Clone + Send + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        S::Service: 'static,
        <S::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
    {
        let Self { tls, config, half_closed, write_buffer_bytes } = self;
        let workers = config.worker_threads();
        let door = Door {
            tls,
            addresses: Addresses::new(config.connections_per_address_max),
            patience: Patience {
                head: Duration::from_millis(config.head_timeout_ms.get()),
                write: Duration::from_millis(config.write_timeout_ms.get()),
            },
        };
        let builder = ServerBuilder::default()
            .workers(workers)
            .max_concurrent_connections(config.connections_max.get().div_ceil(workers))
            .shutdown_timeout(config.grace_ms.div_ceil(1000))
            .disable_signals();
        let stopping = builder.graceful_shutdown_signal();
        let builder = builder.listen("http", listener, move || {
            let (door, stopping) = (door.clone(), stopping.clone());
            // Only actix itself can fill it in; what it would tell, host and scheme, we take from the request's head.
            let app = map_config(app(), |()| AppConfig::default());
            let http = HttpService::build()
                .keep_alive(Duration::from_millis(config.keep_alive_ms))
                .client_request_timeout(Duration::from_millis(config.head_timeout_ms.get()))
                .client_disconnect_timeout(LINGER)
                .h1_allow_half_closed(half_closed)
                .on_connect_ext(|connection: &Connection, data| drop(data.insert(connection.requests())))
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                });
            let http = match write_buffer_bytes {
                Some(bytes) => http.h1_write_buffer_size(bytes),
                None => http,
            };
            let http = http.finish(app.map_err(|error| error.into().error_response()));
            fn_service(move |stream| door.clone().open(stream)).and_then(http)
        })?;
        Ok(builder.run())
    }
}

/// How a connection begins.
#[derive(Clone)]
struct Door {
    tls: Option<Tls>,
    addresses: Arc<Addresses>,
    patience: Patience,
}

impl Door {
    async fn open(
        self,
        stream: TcpStream,
    ) -> Result<(Connection, Protocol, Option<SocketAddr>), DispatchError> {
        let peer = stream.peer_addr()?;
        let Some(place) = self.addresses.enter(peer.ip()) else {
            tracing::debug!("closed a connection: its address has as many as it may");
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        };
        // Small answers go out at once; without it they wait for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let socket = match &self.tls {
            None => Socket::from(stream),
            Some(tls) => {
                let shaken = timeout(self.patience.head, tls.accept(stream)).await;
                let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                shaken
                    .inspect_err(|error| tracing::debug!(error = %error, "no TLS with a client: {error}"))?
            }
        };
        Ok((Connection::new(socket, place, self.patience), Protocol::Http1, Some(peer)))
    }
}

/// How long the rest of a body is read after its answer: a client that is still sending would see a reset connection in
/// place of the answer.
const LINGER: Duration = Duration::from_secs(5);
