//! One HTTP server: bounds, workers, the common endpoints, and a stop that finishes what was begun.

use crate::authenticator::Authenticator;
use crate::body::{BodyLimit, BodyTimeout};
use crate::configuration::ConfigError;
use crate::connection::AnswerBody;
use crate::edge::Edge;
use crate::health::{self, Health, Questions};
use crate::hops::HopSink;
use crate::metrics;
use crate::openapi::{self, Description};
use crate::problem::Problem;
use crate::tls::{Tls, TlsConfig};
use crate::transport::Transport;
use actix_service::ServiceFactory;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::web::{self, Data};
use actix_web::{App, HttpResponse};
use domain::{Backend, ErrorCode, Readiness};
use futures_util::future::BoxFuture;
use serde::Deserialize;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;

/// `[http]` in `sluice.toml`, `SLUICE__HTTP__*` in the environment; each service also has a `bind` of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Threads that serve requests; 0 (default) is one for each core.
    pub workers: usize,
    /// Connections open at once, over all workers; more wait to be accepted. Default 20,000.
    pub connections_max: NonZeroUsize,
    /// Connections that wait to be accepted. Default 1024.
    pub backlog: u32,
    /// A request head, in bytes; beyond it 431. Default 16,384.
    pub head_bytes_max: NonZeroUsize,
    /// A URL, in bytes; beyond it 414. Default 8192.
    pub url_bytes_max: NonZeroUsize,
    /// A body on a route without a bound of its own, in bytes; beyond it 413. Default 262,144.
    pub body_bytes_max: usize,
    /// Connections open at once from one client address (of IPv6: from one /64); more are closed at once. 0 (default) is
    /// no bound of its own, for all that comes through a gateway comes from its address.
    pub connections_per_address_max: usize,
    /// How long a new connection may take for its TLS handshake, and then for its first request head, and any later head
    /// from its first byte on, in milliseconds. Default 5000.
    pub head_timeout_ms: NonZeroU64,
    /// How long a body may take to arrive, in milliseconds; after it 408. Default 30,000.
    pub body_timeout_ms: NonZeroU64,
    /// How long a client may take nothing of an answer, in milliseconds; then its connection is cut. Default 60,000.
    pub write_timeout_ms: NonZeroU64,
    /// How long a connection may idle between requests, in milliseconds; 0 closes it after each. Default 75,000.
    pub keep_alive_ms: u64,
    /// How long the service goes on as before once it was asked to stop, while `/health/ready` says no, in milliseconds:
    /// so balancers learn of it before they are refused. Default 1000; never more than `grace_ms`.
    pub stop_delay_ms: u64,
    /// How long a stop may take in all, in milliseconds; requests that are still in flight then are cut. Default 10,000.
    pub grace_ms: u64,
    /// Whether each answer is a line of the log, at `info` with the target `access`: method, route, status, how long its
    /// head took in microseconds, correlation id; never a path, a query or a key. Default false: failures of ours are
    /// lines in any case, ten a second and worker at most.
    pub access_log: bool,
    /// `[http.tls]`
    pub tls: TlsConfig,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            workers: 0,
            connections_max: NonZeroUsize::new(20_000).expect("not zero"),
            connections_per_address_max: 0,
            backlog: 1024,
            head_bytes_max: NonZeroUsize::new(16 * 1024).expect("not zero"),
            url_bytes_max: NonZeroUsize::new(8 * 1024).expect("not zero"),
            body_bytes_max: 256 * 1024,
            head_timeout_ms: NonZeroU64::new(5_000).expect("not zero"),
            body_timeout_ms: NonZeroU64::new(30_000).expect("not zero"),
            write_timeout_ms: NonZeroU64::new(60_000).expect("not zero"),
            keep_alive_ms: 75_000,
            stop_delay_ms: 1_000,
            grace_ms: 10_000,
            access_log: false,
            tls: TlsConfig::default(),
        }
    }
}

impl HttpConfig {
    /// How long the service goes on as before once it was asked to stop.
    pub fn stop_delay(&self) -> Duration {
        Duration::from_millis(self.stop_delay_ms.min(self.grace_ms))
    }

    /// Reads what else a start would read.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.tls().map(drop)
    }

    fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        Tls::open(&self.tls, "http.tls", &["http/1.1"])
    }

    /// Threads that serve requests.
    pub fn worker_threads(&self) -> usize {
        let wanted = if self.workers == 0 {
            available_parallelism().map_or(1, NonZeroUsize::get)
        } else {
            self.workers
        };
        wanted.min(WORKERS_MAX)
    }
}

/// The server could not start or broke down.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The certificates cannot be used.
    #[error("no TLS is possible")]
    Tls(#[source] ConfigError),
    /// The server ended by itself.
    #[error("the server broke down")]
    Broken(#[source] io::Error),
}

/// A server that listens already and serves once it is [`run`](Self::run).
///
/// ```no_run
/// # use domain::Readiness;
/// # use http_kit::{Authenticator, AuthConfig, HttpConfig, Problem, Server};
/// # use actix_web::{HttpResponse, web};
/// # #[derive(utoipa::OpenApi)] #[openapi()] struct Api;
/// # async fn run(stop: tokio_util::sync::CancellationToken) -> Result<(), Box<dyn std::error::Error>> {
/// let bind = "127.0.0.1:5241".parse()?;
/// let auth = Authenticator::new(&AuthConfig::default(), bind)?;
/// Server::bind("cache-api", bind, HttpConfig::default(), auth)?
///     .readiness(|| async { Readiness::Ready })
///     .openapi(<Api as utoipa::OpenApi>::openapi())
///     .run(|routes| { routes.route("/v1/hello", web::get().to(HttpResponse::NoContent)); }, stop)
///     .await?;
/// # Ok(()) }
/// ```
pub struct Server {
    service: &'static str,
    hops: Option<HopSink>,
    listener: TcpListener,
    tls: Option<Tls>,
    config: HttpConfig,
    auth: Authenticator,
    ask: Questions,
    before_stop: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>,
    openapi: OpenApi,
    half_closed: bool,
    write_buffer_bytes: Option<usize>,
}

impl Server {
    /// Listens on `bind`; port 0 takes any free port. Called within a Tokio runtime.
    ///
    /// # Errors
    /// [`ServeError::Bind`]: the address is taken, or not ours. [`ServeError::Tls`]: a file is wrong.
    pub fn bind(
        service: &'static str,
        bind: SocketAddr,
        config: HttpConfig,
        auth: Authenticator,
    ) -> Result<Self, ServeError> {
        let tls = config.tls().map_err(ServeError::Tls)?;
        let listener =
            listen(bind, config.backlog).map_err(|cause| ServeError::Bind { address: bind, cause })?;
        Ok(Self {
            service,
            hops: None,
            listener,
            tls,
            config,
            auth,
            ask: Questions {
                readiness: Box::new(|| Box::pin(async { Readiness::Ready })),
                backend: None,
                detail: Box::new(|| Box::pin(async { serde_json::json!({}) })),
            },
            before_stop: Box::new(|| Box::pin(async {})),
            openapi: OpenApi::default(),
            half_closed: true,
            write_buffer_bytes: None,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What the service stands on: `/health/ready` asks it, `/health` shows it under its name, further API keys are
    /// read from it, and it notes when keys were last used.
    pub fn backed_by<B: Backend + Clone>(mut self, backend: &B) -> Self {
        let (for_readiness, for_detail) = (backend.clone(), backend.clone());
        let (for_keys, for_last_uses) = (backend.clone(), backend.clone());
        let detail = move || -> BoxFuture<'static, serde_json::Value> {
            let backend = for_detail.clone();
            Box::pin(async move { backend.health().await })
        };
        self.ask.backend = Some((B::NAME, Box::new(detail)));
        self.auth = self.auth.with_source(move || {
            let backend = for_keys.clone();
            async move { backend.api_keys().await }
        });
        self.auth = self.auth.with_last_uses(move |uses| {
            let backend = for_last_uses.clone();
            async move { backend.note_last_uses(uses).await }
        });
        self.readiness(move || {
            let backend = for_readiness.clone();
            async move { backend.readiness().await }
        })
    }

    /// What `/health/ready` asks, each time that it is asked, in place of the backend.
    pub fn readiness<F>(mut self, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Readiness> + Send + 'static,
    {
        self.ask.readiness = Box::new(move || Box::pin(ask()));
        self
    }

    /// What `/health` shows under `checks` beside the backend: an object.
    pub fn health<F>(mut self, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = serde_json::Value> + Send + 'static,
    {
        self.ask.detail = Box::new(move || Box::pin(ask()));
        self
    }

    /// Where it is noted that a request touched a task or an operation, or is sampled.
    pub fn hops(mut self, sink: HopSink) -> Self {
        self.hops = Some(sink);
        self
    }

    /// What `/openapi.json` and `/docs` show; the key, the problems and the common endpoints are added.
    pub fn openapi(mut self, document: OpenApi) -> Self {
        self.openapi = document;
        self
    }

    /// Whether an answer goes on when the client has closed its half of the connection. Default true; a server of
    /// streams says false, else it would write to clients that are gone.
    pub fn half_closed(mut self, allowed: bool) -> Self {
        self.half_closed = allowed;
        self
    }

    /// How much of an answer is buffered per connection, in bytes. Default 32 KiB; a server of streams wants less.
    pub fn write_buffer_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.write_buffer_bytes = Some(bytes.get());
        self
    }

    /// Drops a connection whose peer took nothing of what was sent for so long; for servers of streams, whose answers
    /// nobody waits for. Linux only; elsewhere the system's own time holds, which is some minutes.
    pub fn unread_for(self, longest: Duration) -> Self {
        // Connections inherit it from the socket that accepts them. Source: tcp(7), TCP_USER_TIMEOUT.
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(&self.listener).set_tcp_user_timeout(Some(longest)) {
            tracing::warn!(error = %error, "readers that take nothing are not dropped: {error}");
        }
        #[cfg(not(target_os = "linux"))]
        let _ = longest;
        self
    }

    /// Runs once when the service stops, after `http.stop_delay_ms` and before the server stops, within the grace time: to
    /// end what would never end by itself, such as streams. Until it returns, requests are still accepted, and
    /// `/health/ready` says 503.
    pub fn before_stop<F>(mut self, act: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.before_stop = Box::new(move || Box::pin(act()));
        self
    }

    /// Serves until `stop`. From then on `/health/ready` says no; after `http.stop_delay_ms` nothing more is accepted, and
    /// requests in flight finish. All of it takes `http.grace_ms` at most: what is left then is cut.
    ///
    /// `routes` is called once on each worker's thread.
    ///
    /// # Errors
    /// [`ServeError::Broken`]: the server ended by itself.
    pub async fn run<R>(self, routes: R, stop: CancellationToken) -> Result<(), ServeError>
    where
        R: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    {
        let Self { service, listener, tls, config, auth, before_stop, .. } = self;
        let health = Data::new(Health::new(service, self.ask));
        let common = Common {
            auth: auth.clone(),
            health: health.clone(),
            description: Data::new(Description::new(service, &self.openapi)),
            config: config.clone(),
            hops: self.hops,
        };
        let (address, workers) =
            (listener.local_addr().map_err(ServeError::Broken)?, config.worker_threads());
        let (delay, grace) = (config.stop_delay(), Duration::from_millis(config.grace_ms));
        let transport = Transport {
            tls: tls.clone(),
            config,
            half_closed: self.half_closed,
            write_buffer_bytes: self.write_buffer_bytes,
        };
        let server = transport.serve(listener, move || common.app(&routes)).map_err(ServeError::Broken)?;
        let handle = server.handle();
        tracing::info!(http.address = %address, http.workers = workers, "{service} listens on {address}");
        let fresh_certificates = async {
            match tls {
                Some(tls) => tls.keep_fresh().await,
                None => std::future::pending().await,
            }
        };

        let stopping = async {
            stop.cancelled().await;
            let over = tokio::time::Instant::now() + grace;
            health.stopping.store(true, Ordering::Relaxed);
            tokio::time::sleep(delay).await;
            if tokio::time::timeout_at(over, before_stop()).await.is_err() {
                tracing::warn!("{service} stops although what it had to end first has not ended");
            }
            // actix counts whole seconds from here; what is left of the grace time ends earlier.
            if tokio::time::timeout_at(over, handle.stop(true)).await.is_err() {
                tracing::warn!("requests in flight outlasted the grace time: {service} cuts them");
            }
        };
        tokio::select! { // Any of them may be dropped at any time: a server that is dropped cuts its connections.
            ended = server => ended.map_err(ServeError::Broken)?,
            () = stopping => {}
            () = auth.keep_fresh() => {}
            () = fresh_certificates => {}
        }
        tracing::info!("{service} has stopped");
        Ok(())
    }
}

/// What every route may need, whatever the service.
#[derive(Clone)]
struct Common {
    auth: Authenticator,
    health: Data<Health>,
    description: Data<Description>,
    config: HttpConfig,
    hops: Option<HopSink>,
}

impl Common {
    /// Called once on each worker's thread.
    fn app<R: Fn(&mut web::ServiceConfig)>(
        &self,
        routes: &R,
    ) -> App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<AnswerBody>,
            Error = actix_web::Error,
            InitError = (),
        > + use<R>,
    > {
        App::new()
            .configure(|services| self.install(services))
            .configure(routes)
            .default_service(web::to(no_route))
            .wrap(Edge {
                service: self.health.service,
                hops: self.hops.clone(),
                head_bytes_max: self.config.head_bytes_max.get(),
                url_bytes_max: self.config.url_bytes_max.get(),
                secure: self.config.tls.is_on(),
                access_log: self.config.access_log,
            })
    }

    fn install(&self, services: &mut web::ServiceConfig) {
        services
            .app_data(self.auth.clone())
            .app_data(BodyLimit::new("request", self.config.body_bytes_max))
            .app_data(BodyTimeout(Duration::from_millis(self.config.body_timeout_ms.get())))
            .app_data(self.health.clone())
            .app_data(self.description.clone())
            .configure(health::routes)
            .configure(metrics::routes)
            .configure(openapi::routes);
    }
}

/// More are refused by actix with a panic.
const WORKERS_MAX: usize = 512;

async fn no_route() -> Result<HttpResponse, Problem> {
    Err(Problem::new(ErrorCode::NotFound, "there is nothing at this path"))
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait until the last connections of the old process are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)?.into_std()
}
