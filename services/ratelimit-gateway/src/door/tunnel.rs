//! Two upgraded connections, joined: what one side says, the other hears, until both are silent.

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until};

/// Copies both ways until both sides have ended, one breaks, or neither says anything for `idle`.
pub(super) async fn run(client: OnUpgrade, upstream: OnUpgrade, idle: Duration) {
    let moved = Cell::new(Instant::now());
    let joined = async {
        let (client, upstream) = tokio::try_join!(client, upstream).map_err(io::Error::other)?;
        let (from_client, to_client) = split(TokioIo::new(client));
        let (from_upstream, to_upstream) = split(TokioIo::new(upstream));
        tokio::try_join!(pump(from_client, to_upstream, &moved), pump(from_upstream, to_client, &moved))
    };
    tokio::select! {
        ended = joined => if let Err(error) = ended {
            tracing::debug!(error = %error, "a tunnel broke: {error}");
        },
        () = silence(&moved, idle) => tracing::debug!("a tunnel was silent for too long"),
    }
}

async fn pump(
    mut from: ReadHalf<TokioIo<Upgraded>>,
    mut to: WriteHalf<TokioIo<Upgraded>>,
    moved: &Cell<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        moved.set(Instant::now());
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
        moved.set(Instant::now());
    }
}

/// Ends when nothing moved for so long.
async fn silence(moved: &Cell<Instant>, idle: Duration) {
    loop {
        let deadline = moved.get() + idle;
        if deadline <= Instant::now() {
            return;
        }
        sleep_until(deadline).await;
    }
}

const BUFFER_BYTES: usize = 8 * 1024;
