//! `/v1/operations/{id}/events`: the stream.

use crate::rights::require;
use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Data;
use bytes::Bytes;
use domain::OperationId;
use http_kit::{Access, Action, Path, Problem, Query};
use progress::{Hub, Operations, ProgressError, WatchError, Watched, Watcher, retry};
use serde::Deserialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Where to go on, for clients that cannot set a header.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct From {
    /// As the header `Last-Event-ID`, which wins.
    last_event_id: Option<String>,
}

/// Follows an operation by Server-Sent Events.
///
/// `GET /v1/operations/{id}/events`: 200 with a stream that begins with a `snapshot`, or goes on after
/// `Last-Event-ID`; 204 when the operation has ended and that was its last event. Needs `progress:read`.
#[utoipa::path(get, path = "/v1/operations/{id}/events", tag = "progress",
    params(("id" = OperationId, Path), ("Last-Event-ID" = Option<String>, Header), From), responses(
    (status = 200, description = "A stream of events: snapshot, step, progress, message, completed, failed, cancelled, \
        reset, heartbeat. A node that takes no more watchers sends only `retry`.", body = String,
        content_type = "text/event-stream"),
    (status = 204, description = "It has ended, and nothing will follow."),
    (status = 404, description = "There is no such operation."),
))]
pub(crate) async fn events(
    access: Access,
    id: Path<OperationId>,
    query: Query<From>,
    request: HttpRequest,
    operations: Data<Operations>,
    hub: Data<Hub>,
) -> Result<HttpResponse, Problem> {
    // An EventSource takes any status but 200 and 204 for the end of all: so the rest comes as a stream that ends.
    match require(&access, Action::ProgressRead, &operations, &id).await {
        Err(problem) if problem.status().is_server_error() => return Ok(shed()),
        allowed => allowed?,
    }
    let header =
        request.headers().get("last-event-id").map(|cursor| String::from_utf8_lossy(cursor.as_bytes()));
    let cursor = header.as_deref().or(query.last_event_id.as_deref()).filter(|cursor| !cursor.is_empty());
    match hub.watch(&id, cursor).await {
        Ok(Watched::Stream(watcher)) => Ok(stream(EventStream { opening: Some(opening()), watcher })),
        Ok(Watched::Over) => Ok(HttpResponse::NoContent().finish()),
        Err(WatchError::NotFound) => Err(ProgressError::NotFound.into()),
        Err(WatchError::Shed) => Ok(shed()),
    }
}

/// Frames as they come. Pulled by the connection only while it takes more, so that a slow reader holds nothing.
struct EventStream {
    opening: Option<Bytes>,
    watcher: Watcher,
}

impl MessageBody for EventStream {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = self.get_mut();
        if let Some(opening) = this.opening.take() {
            return Poll::Ready(Some(Ok(opening)));
        }
        this.watcher.poll(context).map(|piece| piece.map(Ok))
    }
}

/// Spread, so that the readers of a node that dies do not come back as one.
fn opening() -> Bytes {
    retry(rand::random_range(1_000..=3_000))
}

fn shed() -> HttpResponse {
    stream(retry(rand::random_range(10_000..=20_000)))
}

fn stream(body: impl MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        // Neither kept nor packed nor held back by anyone on the way.
        .insert_header((CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"))
        .body(body)
}
