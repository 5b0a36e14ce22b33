//! `/v1/operations/{id}/updates`, `/complete`, `/fail`, `/cancel`: what producers say.

use crate::rights::require;
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use domain::progress::{LastWords, Standing, Updates};
use domain::{FencingToken, OperationId};
use futures_util::future::LocalBoxFuture;
use http_kit::{Access, Action, Json, Path, Problem, Touched};
use progress::{Ending, Operations};
use std::future::{Ready, ready};

/// Reports one update, or an array of them, all or none.
///
/// `POST /v1/operations/{id}/updates`: 200. Needs `progress:write`, and the fencing token of the latest lease when the
/// operation is a task's: else 409.
#[utoipa::path(post, path = "/v1/operations/{id}/updates", tag = "progress", request_body = Updates,
    params(("id" = OperationId, Path), ("Sluice-Fencing-Token" = Option<u64>, Header)), responses(
    (status = 200, description = "Applied.", body = Standing),
    (status = 404, description = "There is no such operation."),
    (status = 409, description = "It has ended, a step's state forbids it, or a later lease speaks for it."),
))]
pub(crate) async fn update(
    access: Access,
    id: Path<OperationId>,
    token: Token,
    updates: Json<Updates>,
    operations: Data<Operations>,
) -> Result<HttpResponse, Problem> {
    require(&access, Action::ProgressWrite, &operations, &id).await?;
    Ok(HttpResponse::Ok().json(operations.update(&id, token.0, &updates).await?))
}

/// Ends an operation well.
///
/// `POST /v1/operations/{id}/complete`: 200, also for a repeat. The body may be left out.
#[utoipa::path(post, path = "/v1/operations/{id}/complete", tag = "progress", request_body = Option<LastWords>,
    params(("id" = OperationId, Path), ("Sluice-Fencing-Token" = Option<u64>, Header)), responses(
    (status = 200, description = "It has ended.", body = Standing),
    (status = 404, description = "There is no such operation."),
    (status = 409, description = "It has ended otherwise, or a later lease speaks for it."),
))]
pub(crate) async fn complete(
    access: Access,
    id: Path<OperationId>,
    token: Token,
    words: Words,
    operations: Data<Operations>,
) -> Result<HttpResponse, Problem> {
    end(&access, &id, token, Ending::Completed, &words, &operations).await
}

/// Ends an operation badly.
///
/// `POST /v1/operations/{id}/fail`: 200, also for a repeat. The body may be left out.
#[utoipa::path(post, path = "/v1/operations/{id}/fail", tag = "progress", request_body = Option<LastWords>,
    params(("id" = OperationId, Path), ("Sluice-Fencing-Token" = Option<u64>, Header)), responses(
    (status = 200, description = "It has ended.", body = Standing),
    (status = 404, description = "There is no such operation."),
    (status = 409, description = "It has ended otherwise, or a later lease speaks for it."),
))]
pub(crate) async fn fail(
    access: Access,
    id: Path<OperationId>,
    token: Token,
    words: Words,
    operations: Data<Operations>,
) -> Result<HttpResponse, Problem> {
    end(&access, &id, token, Ending::Failed, &words, &operations).await
}

/// Takes an operation back. (A task's is taken back with its task, in its queue.)
///
/// `POST /v1/operations/{id}/cancel`: 200, also for a repeat. The body may be left out.
#[utoipa::path(post, path = "/v1/operations/{id}/cancel", tag = "progress", request_body = Option<LastWords>,
    params(("id" = OperationId, Path), ("Sluice-Fencing-Token" = Option<u64>, Header)), responses(
    (status = 200, description = "It has ended.", body = Standing),
    (status = 404, description = "There is no such operation."),
    (status = 409, description = "It has ended otherwise, or a later lease speaks for it."),
))]
pub(crate) async fn cancel(
    access: Access,
    id: Path<OperationId>,
    token: Token,
    words: Words,
    operations: Data<Operations>,
) -> Result<HttpResponse, Problem> {
    end(&access, &id, token, Ending::Cancelled, &words, &operations).await
}

async fn end(
    access: &Access,
    id: &OperationId,
    token: Token,
    ending: Ending,
    words: &Words,
    operations: &Operations,
) -> Result<HttpResponse, Problem> {
    require(access, Action::ProgressWrite, operations, id).await?;
    let mut answer = HttpResponse::Ok().json(operations.end(id, token.0, ending, &words.0).await?);
    answer.extensions_mut().insert(Touched { operation_id: Some(id.clone()), ..Touched::default() });
    Ok(answer)
}

/// The fencing token of a task's lease, when there is one.
pub(crate) struct Token(Option<FencingToken>);

impl FromRequest for Token {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(header) = request.headers().get(FENCING_TOKEN) else { return ready(Ok(Self(None))) };
        let token = header.to_str().ok().and_then(|text| text.parse().ok());
        let rule = || Problem::field("Sluice-Fencing-Token", "a decimal number below 2^53");
        ready(token.map(|token| Self(Some(token))).ok_or_else(rule))
    }
}

/// Last words; none for a request without a body.
pub(crate) struct Words(LastWords);

impl FromRequest for Words {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let headers = request.headers();
        let is_empty = headers.get(CONTENT_LENGTH).is_none_or(|length| length == "0");
        if is_empty && !headers.contains_key(TRANSFER_ENCODING) {
            return Box::pin(ready(Ok(Self(LastWords::default()))));
        }
        let body = Json::<LastWords>::from_request(request, payload);
        Box::pin(async move { Ok(Self(body.await?.into_inner())) })
    }
}

const FENCING_TOKEN: &str = "sluice-fencing-token";
