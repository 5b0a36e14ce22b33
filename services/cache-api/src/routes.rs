//! The table of routes.

mod batch;
mod entries;
mod invalidate;
mod stats;

use crate::api::Api;
use actix_web::web::{self, Data, ServiceConfig};
use http_kit::BodyLimit;
use utoipa::OpenApi;

/// Every route of this service.
pub(crate) fn configure(services: &mut ServiceConfig, api: &Data<Api>) {
    let entry_limit = BodyLimit::new("cache entry", api.max_entry_bytes);
    let batch_limit = BodyLimit::new("batch", api.max_batch_bytes);
    services
        .app_data(api.clone())
        .service(web::resource("/v1/projects/{project}/entries").get(entries::list))
        .service(
            // Only POST: an entry may be called `batch`, too.
            web::resource("/v1/projects/{project}/entries/batch")
                .guard(actix_web::guard::Post())
                .app_data(batch_limit)
                .post(batch::batch),
        )
        .service(
            web::resource("/v1/projects/{project}/entries/{name:.*}")
                .app_data(entry_limit)
                .get(entries::get)
                .route(web::head().to(entries::head))
                .put(entries::put)
                .delete(entries::delete),
        )
        .service(web::resource("/v1/projects/{project}/invalidate").post(invalidate::invalidate))
        .service(web::resource("/v1/cache/stats").get(stats::stats));
}

/// What `/openapi.json` says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluice cache-api",
        description = "Project data: bytes under names, kept for a time, invalidated together by project or tag.",
    ),
    paths(
        entries::get, entries::head, entries::put, entries::delete, entries::list,
        batch::batch, invalidate::invalidate, stats::stats,
    ),
    components(schemas(domain::ProjectId, domain::EntryName)),
    tags((name = "entries"), (name = "invalidation"), (name = "operations")),
)]
pub(crate) struct ApiDocument;
