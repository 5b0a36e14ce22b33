//! `/openapi.json`

use crate::support::Stage;
use testkit::described_routes;

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let stage = Stage::new().await;
    assert_eq!(
        described_routes(&stage.api).await,
        [
            "DELETE /v1/queues/{queue}/tasks/{id}",
            "GET /v1/queues",
            "GET /v1/queues/{queue}",
            "GET /v1/queues/{queue}/dead",
            "GET /v1/queues/{queue}/tasks",
            "GET /v1/queues/{queue}/tasks/{id}",
            "POST /v1/queues/{queue}/leases",
            "POST /v1/queues/{queue}/leases/ack",
            "POST /v1/queues/{queue}/leases/extend",
            "POST /v1/queues/{queue}/leases/nack",
            "POST /v1/queues/{queue}/leases/progress",
            "POST /v1/queues/{queue}/tasks",
            "POST /v1/queues/{queue}/tasks/batch",
            "POST /v1/queues/{queue}/tasks/status",
            "POST /v1/queues/{queue}/tasks/{id}/retry",
        ]
    );
}
