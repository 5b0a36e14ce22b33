//! The table of routes.

pub(crate) mod correlations;
pub(crate) mod events;
pub(crate) mod operations;
pub(crate) mod updates;
pub(crate) mod watch;

use actix_web::web::{ServiceConfig, get, post, resource};
use progress::Hub;
use serde_json::{Value, json};

/// Everything that this service answers, besides what all services do.
pub(crate) fn table(app: &mut ServiceConfig) {
    app.service(resource("/v1/operations").route(post().to(operations::create)))
        .service(
            resource("/v1/operations/{id}")
                .route(get().to(operations::read))
                .route(actix_web::web::delete().to(operations::delete)),
        )
        .service(resource("/v1/operations/{id}/updates").route(post().to(updates::update)))
        .service(resource("/v1/operations/{id}/complete").route(post().to(updates::complete)))
        .service(resource("/v1/operations/{id}/fail").route(post().to(updates::fail)))
        .service(resource("/v1/operations/{id}/cancel").route(post().to(updates::cancel)))
        .service(resource("/v1/operations/{id}/events").route(get().to(events::events)))
        .service(
            resource("/v1/correlations/{id}")
                .route(get().to(correlations::read))
                .route(actix_web::web::delete().to(correlations::delete)),
        )
        .service(resource("/watch/{id}").route(get().to(watch::page)));
}

/// What `/health` adds.
pub(crate) fn health(hub: &Hub) -> Value {
    json!({ "watchers": hub.watchers(), "watched_operations": hub.topics() })
}
