//! `/watch/{id}`: the live page.

use crate::page::WATCH;
use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use domain::OperationId;
use http_kit::{Path, Problem};

/// The live page of an operation, for a browser.
///
/// `GET /watch/{id}`: 200, open to all; what it shows it asks for with the reader's own key.
#[utoipa::path(
    get, path = "/watch/{id}", tag = "progress", operation_id = "watch", params(("id" = OperationId, Path)), security(()),
    responses((status = 200, description = "The page.", content_type = "text/html", body = String)),
)]
pub(crate) async fn page(_id: Path<OperationId>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, WATCH.policy.as_str()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(WATCH.html.as_str()))
}
