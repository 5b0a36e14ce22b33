//! What a client gets: an upstream's answer, or a problem of ours.

use super::guard::RequestInFlight;
use super::patience;
use super::relay::Relay;
use crate::gate::CORRELATION;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_kit::Problem;
use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of any answer. Its request is in flight until it is dropped.
pub(super) struct AnswerBody {
    kind: Kind,
    _in_flight: RequestInFlight,
}

pub(super) enum Kind {
    /// Bytes of our own, until they are taken.
    Own(Option<Bytes>),
    Relay(Box<Relay>),
}

impl AnswerBody {
    pub(super) fn new(kind: Kind, in_flight: RequestInFlight) -> Self {
        Self { kind, _in_flight: in_flight }
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Kind> {
    let mut answer = Response::new(Kind::Own(None));
    *answer.status_mut() = status;
    answer
}

/// A problem as an answer with these fields, the correlation id among them; `path` is its `instance`.
pub(super) fn problem(problem: &Problem, path: &str, mut fields: HeaderMap) -> Response<Kind> {
    let correlation = fields.get(CORRELATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = problem.render(path, correlation);
    for (name, value) in problem.fields() {
        let value = match value {
            Cow::Borrowed(text) => HeaderValue::from_static(text),
            Cow::Owned(text) => HeaderValue::from_str(&text).expect("http-kit writes visible ASCII"),
        };
        fields.insert(HeaderName::from_static(name), value);
    }
    let mut answer = Response::new(Kind::Own(Some(body.into())));
    *answer.status_mut() = StatusCode::from_u16(problem.status().as_u16()).expect("a status is a status");
    *answer.headers_mut() = fields;
    answer
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        patience::noted(match &mut self.get_mut().kind {
            Kind::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Relay(relay) => Pin::new(&mut **relay).poll_frame(cx),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Relay(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Relay(relay) => relay.size_hint(),
        }
    }
}
