//! What the proxies stand in front of: 1 KiB for every request, at as little cost as there can be, since it shares the
//! machine with what is measured.

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::request::noise;

/// Serves until it is killed. Knows requests without a body, one after the other.
pub(crate) fn serve() -> anyhow::Result<()> {
    let bind = std::env::var("SLUICE__UPSTREAM__BIND").context("SLUICE__UPSTREAM__BIND")?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
    let answer: &'static str = Box::leak(Box::from(head + &noise(BODY_BYTES, 1)));
    crate::on_one_thread(async move {
        let listener = TcpListener::bind(bind).await?;
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            connections.spawn(answer_all(stream, answer));
        }
    })
}

async fn answer_all(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    while stream.read_buf(&mut buffer).await? > 0 {
        if buffer.ends_with(b"\r\n\r\n") {
            stream.write_all(answer.as_bytes()).await?;
            buffer.clear();
        }
    }
    Ok(())
}

const BODY_BYTES: usize = 1024;
