//! The description of the service; `http-kit` adds what all services have in common.

use crate::routes::{leases, queues, tasks};
use utoipa::OpenApi;

/// OpenAPI 3.1.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "queue-worker", description = "Task queues: enqueue, lease, retry, dead letters, results."),
    tags(
        (name = "queues", description = "What there is, and how deep."),
        (name = "tasks", description = "For whoever has work to be done."),
        (name = "leases", description = "For workers that pull."),
    ),
    paths(
        queues::list, queues::show, queues::dead,
        tasks::enqueue, tasks::enqueue_batch, tasks::status, tasks::list, tasks::show, tasks::cancel, tasks::retry,
        leases::lease, leases::ack, leases::nack, leases::extend, leases::progress,
    ),
    components(schemas(domain::queue::LeaseAnswers)),
)]
struct Document;
