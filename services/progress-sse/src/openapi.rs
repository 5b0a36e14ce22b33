//! The description of this service's own routes.

use crate::routes::{correlations, events, operations, updates, watch};
use utoipa::OpenApi;

/// What `/openapi.json` says, before the common parts are added.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "progress-sse", description = "Live progress of operations over Server-Sent Events."),
    paths(
        operations::create,
        operations::read,
        operations::delete,
        updates::update,
        updates::complete,
        updates::fail,
        updates::cancel,
        events::events,
        correlations::read,
        correlations::delete,
        watch::page,
    )
)]
struct Document;
