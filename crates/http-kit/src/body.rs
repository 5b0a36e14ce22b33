//! The bytes of a request, never more than the route allows.

use crate::Problem;
use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use domain::ErrorCode;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use std::time::Duration;

/// How long a body of one route may be: `resource.app_data(BodyLimit::new("cache entry", 8 << 20))`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    name: &'static str,
    bytes: usize,
}

impl BodyLimit {
    /// `name` is what the client reads when it sent too much, such as `cache entry`.
    pub const fn new(name: &'static str, bytes: usize) -> Self {
        Self { name, bytes }
    }
}

/// The body as it came. Cost: no copy when it arrived in one piece, else one.
///
/// 413 beyond the route's [`BodyLimit`] (judged by `Content-Length` before a byte is read, and again while reading),
/// 400 when it ends early, 408 when it takes longer than `http.body_timeout_ms`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read(request, payload);
        Box::pin(async move { reading.await.map(Self) })
    }
}

/// How long a body may take; one per server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyTimeout(pub(crate) Duration);

/// Reads the body of a request within the limit and the time of its route.
pub(crate) fn read(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let limit = request.app_data::<BodyLimit>().copied().unwrap_or(FALLBACK);
    let BodyTimeout(within) =
        request.app_data::<BodyTimeout>().copied().unwrap_or(BodyTimeout(FALLBACK_TIMEOUT));
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let payload = payload.take();
    async move {
        let late = |_| {
            let detail = format!("the body did not arrive within {} ms", within.as_millis());
            Problem::new(ErrorCode::RequestTimeout, detail)
        };
        tokio::time::timeout(within, collect(payload, limit, length)).await.map_err(late)?
    }
}

async fn collect(mut payload: Payload, limit: BodyLimit, length: Option<usize>) -> Result<Bytes, Problem> {
    if length.is_some_and(|length| length > limit.bytes) {
        return Err(too_large(limit));
    }
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|error| broken(&error))?;
    // A length that a client states is trusted only as far as the limit, and the first piece often is all.
    if first.len() <= limit.bytes && length == Some(first.len()) {
        return Ok(first);
    }
    let mut body = BytesMut::with_capacity(length.unwrap_or(first.len()).min(limit.bytes));
    let mut piece = Some(Ok(first));
    while let Some(bytes) = piece {
        let bytes = bytes.map_err(|error| broken(&error))?;
        if body.len() + bytes.len() > limit.bytes {
            return Err(too_large(limit));
        }
        body.extend_from_slice(&bytes);
        piece = payload.next().await;
    }
    Ok(body.freeze())
}

fn too_large(limit: BodyLimit) -> Problem {
    let BodyLimit { name, bytes } = limit;
    Problem::new(ErrorCode::TooLarge, format!("the body is larger than {bytes} bytes, the bound of a {name}"))
}

fn broken(error: &actix_web::error::PayloadError) -> Problem {
    Problem::new(ErrorCode::MalformedRequest, format!("the body cannot be read: {error}"))
}

const FALLBACK: BodyLimit = BodyLimit::new("request", 256 * 1024);
const FALLBACK_TIMEOUT: Duration = Duration::from_secs(30);
