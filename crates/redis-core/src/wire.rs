//! A small connection of our own: one question at a time, and what the server pushes in between.
//!
//! fred serves commands. What has to see every push, or to know which server answers, speaks through this: the
//! subscriber, and the questions to Sentinels and cluster nodes. Source: docs/adr/0014-connections.md.

use crate::target::Address;
use crate::{RedisError, Reply};
use bytes::Bytes;
use fred::types::Resp3Frame;
use futures_util::{SinkExt, StreamExt};
use redis_protocol::codec::Resp3;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::codec::Framed;

/// Who we are to a server.
#[derive(Clone, Default)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

/// What a server says unasked: its kind, such as `smessage`, then what belongs to it.
pub(crate) struct Push {
    pub(crate) kind: String,
    pub(crate) rest: Vec<Reply>,
}

/// A connection that has said HELLO.
pub(crate) struct Wire {
    frames: Framed<Box<dyn Socket>, Resp3>,
    pushes: VecDeque<Push>,
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Wire {
    /// Connects and logs in. The caller bounds how long that may take.
    ///
    /// # Errors
    /// `Unavailable` when there is nobody; `Reply` when the server refuses us.
    pub(crate) async fn open(
        address: &Address,
        tls: Option<Arc<ClientConfig>>,
        login: &Login,
    ) -> Result<Self, RedisError> {
        let socket = connect(address, tls).await.map_err(|error| {
            tracing::debug!(error = %error, "cannot connect to {address}: {error}");
            RedisError::away()
        })?;
        let mut wire = Self { frames: Framed::new(socket, Resp3::default()), pushes: VecDeque::new() };
        let mut hello = vec!["HELLO", "3"];
        if let Some(password) = &login.password {
            hello.extend(["AUTH", login.username.as_deref().unwrap_or("default"), password]);
        }
        wire.ask(&hello).await?.ok()?;
        Ok(wire)
    }

    /// One question, one answer; an error of the server is a [`Reply::Error`]. Not to be dropped before its end.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> Result<Reply, RedisError> {
        self.send(words).await?;
        loop {
            match self.frame().await? {
                Resp3Frame::Push { data, .. } => self.keep(data),
                answer => return Ok(Reply::from_frame(answer)),
            }
        }
    }

    /// Writes a question whose answer is a push, or comes through [`Wire::next`].
    pub(crate) async fn send(&mut self, words: &[&str]) -> Result<(), RedisError> {
        let word = |word: &&str| Resp3Frame::BlobString {
            data: Bytes::copy_from_slice(word.as_bytes()),
            attributes: None,
        };
        let data = words.iter().map(word).collect();
        self.frames.send(Resp3Frame::Array { data, attributes: None }).await.map_err(|_| RedisError::away())
    }

    /// The next thing that comes: a push, or the answer to what was [sent](Wire::send). May be dropped.
    pub(crate) async fn next(&mut self) -> Result<Result<Push, Reply>, RedisError> {
        if let Some(push) = self.pushes.pop_front() {
            return Ok(Ok(push));
        }
        match self.frame().await? {
            Resp3Frame::Push { data, .. } => {
                self.keep(data);
                Ok(Ok(self.pushes.pop_front().expect("it was kept just now")))
            }
            answer => Ok(Err(Reply::from_frame(answer))),
        }
    }

    fn keep(&mut self, data: Vec<Resp3Frame>) {
        let mut parts = data.into_iter().map(Reply::from_frame);
        let kind = parts.next().map(|kind| kind.word().to_owned()).unwrap_or_default();
        self.pushes.push_back(Push { kind, rest: parts.collect() });
    }

    async fn frame(&mut self) -> Result<Resp3Frame, RedisError> {
        match self.frames.next().await {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(_)) | None => Err(RedisError::away()),
        }
    }
}

async fn connect(address: &Address, tls: Option<Arc<ClientConfig>>) -> io::Result<Box<dyn Socket>> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(tls).connect(name, stream).await?))
}
