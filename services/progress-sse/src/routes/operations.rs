//! `/v1/operations`: create, read, forget.

use crate::rights::{require, resource};
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::web::Data;
use domain::progress::{NewOperation, Snapshot, Standing};
use domain::{LongPoll, OperationId};
use http_kit::{Access, Action, Correlation, Json, Path, Problem, Query, Touched};
use progress::{Hub, Operations, ProgressError, WatchError};
use serde::Deserialize;
use std::time::Duration;

/// Begins an operation.
///
/// `POST /v1/operations`: 201 with its place in `Location`, 409 when the id is taken. Needs `progress:write` on the
/// project, or on the id when there is none.
#[utoipa::path(post, path = "/v1/operations", tag = "progress", request_body = NewOperation, responses(
    (status = 201, description = "Begun.", body = Standing, headers(("Location" = String, description = "Its address."))),
    (status = 409, description = "An operation of that id exists."),
))]
pub(crate) async fn create(
    access: Access,
    correlation: Correlation,
    new: Json<NewOperation>,
    operations: Data<Operations>,
) -> Result<HttpResponse, Problem> {
    let mut new = new.into_inner();
    let id = new.id.get_or_insert_with(Operations::random_id);
    access.require(Action::ProgressWrite, resource(new.project.as_ref(), id))?;
    new.correlation_id.get_or_insert(correlation.0);
    let standing = operations.create(&new).await?;
    let place = format!("/v1/operations/{}", standing.id);
    let touched = Touched { operation_id: Some(standing.id.clone()), ..Touched::default() };
    let mut answer = HttpResponse::Created().insert_header((LOCATION, place)).json(standing);
    answer.extensions_mut().insert(touched);
    Ok(answer)
}

/// The long-poll of a snapshot.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    /// Wait until there is something after `after`, in milliseconds; at most 30,000.
    #[param(value_type = Option<u64>)]
    wait_ms: Option<LongPoll>,
    /// The cursor of the last snapshot.
    after: Option<String>,
}

impl Wait {
    /// After which cursor, and how long; nothing when only one of them was given.
    fn asked(&self) -> Option<(&str, Duration)> {
        Some((self.after.as_deref()?, self.wait_ms?.duration()))
    }
}

/// The state of an operation now.
///
/// `GET /v1/operations/{id}`: 200. With `wait_ms` and `after` it answers when something has happened after that
/// cursor, or when the time is over. Needs `progress:read`.
#[utoipa::path(get, path = "/v1/operations/{id}", tag = "progress", params(("id" = OperationId, Path), Wait), responses(
    (status = 200, description = "The state.", body = Snapshot),
    (status = 404, description = "There is no such operation."),
))]
pub(crate) async fn read(
    access: Access,
    id: Path<OperationId>,
    query: Query<Wait>,
    operations: Data<Operations>,
    hub: Data<Hub>,
) -> Result<HttpResponse, Problem> {
    require(&access, Action::ProgressRead, &operations, &id).await?;
    if let Some((after, wait)) = query.asked() {
        match hub.wait(&id, after, wait).await {
            Err(WatchError::NotFound) => return Err(ProgressError::NotFound.into()),
            // Without a place to wait the state as it is serves as well.
            Ok(()) | Err(WatchError::Shed) => {}
        }
    }
    let snapshot = operations.snapshot(&id).await?.ok_or(ProgressError::NotFound)?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(snapshot))
}

/// Forgets an operation, running or not.
///
/// `DELETE /v1/operations/{id}`: 204; whoever watches it is told. Needs `progress:write`.
#[utoipa::path(delete, path = "/v1/operations/{id}", tag = "progress", params(("id" = OperationId, Path)), responses(
    (status = 204, description = "Forgotten."),
    (status = 404, description = "There is no such operation."),
))]
pub(crate) async fn delete(
    access: Access,
    id: Path<OperationId>,
    operations: Data<Operations>,
) -> Result<HttpResponse, Problem> {
    require(&access, Action::ProgressWrite, &operations, &id).await?;
    operations.delete(&id).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_poll_says_how_long_and_after_what() {
        let (after, wait_ms) = (Some("e.1".to_owned()), Some(LongPoll::from_millis(7)));
        let asked = |after: &Option<String>, wait_ms| {
            let wait = Wait { wait_ms, after: after.clone() };
            wait.asked().map(|(after, wait)| (after.to_owned(), wait))
        };
        assert_eq!(asked(&after, wait_ms), Some(("e.1".to_owned(), Duration::from_millis(7))));
        assert_eq!((asked(&None, wait_ms), asked(&after, None)), (None, None));
    }
}
