//! `/v1/correlations/{id}`: where a request went, and the end of that knowledge.

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use correlation::Correlations;
use domain::CorrelationId;
use domain::correlation::Trail;
use http_kit::{Access, Action, Path, Problem};

/// Where a request went: its hops through the services and tasks, with times and trace ids.
///
/// `GET /v1/correlations/{id}`: 200. A hop shows a moment after it happened. Needs `ops:read`, since a correlation may
/// touch many projects.
#[utoipa::path(get, path = "/v1/correlations/{id}", tag = "correlations", operation_id = "read_correlation",
    params(("id" = CorrelationId, Path)), responses(
    (status = 200, description = "Its last 100 hops.", body = Trail),
    (status = 404, description = "It touched no task and no operation and was not sampled, or it is over."),
))]
pub(crate) async fn read(
    access: Access,
    id: Path<CorrelationId>,
    correlations: Data<Correlations>,
) -> Result<HttpResponse, Problem> {
    access.require(Action::OpsRead, "")?;
    let trail = correlations.read(&id).await?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(trail))
}

/// Forgets where a request went; its tasks and operations stay.
///
/// `DELETE /v1/correlations/{id}`: 204. Needs `progress:write` on everything.
#[utoipa::path(delete, path = "/v1/correlations/{id}", tag = "correlations", operation_id = "delete_correlation",
    params(("id" = CorrelationId, Path)), responses(
    (status = 204, description = "Forgotten."),
    (status = 404, description = "Nothing was known of it."),
))]
pub(crate) async fn delete(
    access: Access,
    id: Path<CorrelationId>,
    correlations: Data<Correlations>,
) -> Result<HttpResponse, Problem> {
    // No name is `*`: only a scope on everything grants it.
    access.require(Action::ProgressWrite, "*")?;
    correlations.delete(&id).await?;
    Ok(HttpResponse::NoContent().finish())
}
