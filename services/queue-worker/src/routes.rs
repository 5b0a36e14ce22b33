//! The table of routes.

mod idempotency;
pub(crate) mod leases;
pub(crate) mod queues;
pub(crate) mod tasks;

use crate::app::App;
use actix_web::web::{Data, ServiceConfig, delete, get, post, resource, scope};
use http_kit::BodyLimit;
use queue::{MAX_BATCH_BYTES, MAX_PAYLOAD_BYTES, MAX_RESULT_BYTES};

/// What each worker thread serves.
pub(crate) fn table(app: App) -> impl Fn(&mut ServiceConfig) + Clone + Send + 'static {
    let app = Data::new(app);
    move |services| {
        let queues = scope("/v1/queues")
            .service(resource("").get(queues::list))
            .service(resource("/{queue}").get(queues::show))
            .service(resource("/{queue}/dead").get(queues::dead))
            .service(
                resource("/{queue}/tasks")
                    .app_data(BodyLimit::new("task", MAX_PAYLOAD_BYTES + FIELDS_BYTES))
                    .route(post().to(tasks::enqueue))
                    .route(get().to(tasks::list)),
            )
            .service(
                resource("/{queue}/tasks/batch")
                    .app_data(BodyLimit::new("batch of tasks", 2 * MAX_BATCH_BYTES))
                    .post(tasks::enqueue_batch),
            )
            .service(resource("/{queue}/tasks/status").post(tasks::status))
            .service(
                resource("/{queue}/tasks/{id}")
                    .route(get().to(tasks::show))
                    .route(delete().to(tasks::cancel)),
            )
            .service(resource("/{queue}/tasks/{id}/retry").post(tasks::retry))
            .service(resource("/{queue}/leases").post(leases::lease))
            .service(
                resource("/{queue}/leases/ack")
                    .app_data(BodyLimit::new("batch of results", 2 * MAX_RESULT_BYTES))
                    .post(leases::ack),
            )
            .service(resource("/{queue}/leases/nack").post(leases::nack))
            .service(resource("/{queue}/leases/extend").post(leases::extend))
            .service(
                resource("/{queue}/leases/progress")
                    .app_data(BodyLimit::new("batch of reports", MAX_RESULT_BYTES))
                    .post(leases::progress),
            );
        services.app_data(app.clone()).service(queues);
    }
}

/// What stands in the body of an enqueue beside the payload.
const FIELDS_BYTES: usize = 8 * 1024;
