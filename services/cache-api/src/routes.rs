//! The table of routes.

mod batch;
mod entries;
mod invalidate;
mod sessions;
mod stats;

use crate::api::Api;
use actix_web::web::{self, Data, ServiceConfig};
use http_kit::BodyLimit;
use utoipa::OpenApi;

/// Every route of this service.
pub(crate) fn configure(services: &mut ServiceConfig, api: &Data<Api>) {
    let entry_limit = BodyLimit::new("cache entry", api.max_entry_bytes);
    // Attributes with some air around them; the engine has the bound that counts.
    let session_limit = BodyLimit::new("session", api.max_session_bytes);
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
        .service(web::resource("/v1/sessions").app_data(session_limit).post(sessions::create))
        .service(
            web::resource("/v1/sessions/current")
                .app_data(session_limit)
                .get(sessions::get)
                .patch(sessions::patch)
                .delete(sessions::log_out),
        )
        .service(web::resource("/v1/sessions/current/rotate").post(sessions::rotate))
        .service(web::resource("/v1/users/{user}/sessions").get(sessions::list).delete(sessions::log_out_all))
        .service(web::resource("/v1/users/{user}/sessions/{session}").delete(sessions::end))
        .service(web::resource("/v1/cache/stats").get(stats::stats));
}

/// What `/openapi.json` says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sluice cache-api",
        description = "Project data: bytes under names, kept for a time, invalidated together by project or tag. User sessions.",
    ),
    paths(
        entries::get, entries::head, entries::put, entries::delete, entries::list,
        batch::batch, invalidate::invalidate, stats::stats,
        sessions::create, sessions::get, sessions::patch, sessions::log_out, sessions::rotate,
        sessions::list, sessions::log_out_all, sessions::end,
    ),
    components(schemas(domain::ProjectId, domain::EntryName)),
    tags((name = "entries"), (name = "invalidation"), (name = "sessions"), (name = "operations")),
)]
pub(crate) struct ApiDocument;
