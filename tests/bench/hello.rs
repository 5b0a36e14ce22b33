//! The floor of HTTP: hyper, one thread or as many as the services have, and an answer that is always the same.

use std::convert::Infallible;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until it is killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let bind = std::env::var("SLUICE__HELLO__BIND").context("SLUICE__HELLO__BIND")?;
    let workers = std::env::var("SLUICE__HTTP__WORKERS").context("SLUICE__HTTP__WORKERS")?.parse()?;
    let mut runtime = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.worker_threads(workers).enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(bind).await?;
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let answer = service_fn(async |_| {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"Hello, world!"))))
            });
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    })
}
