//! `/v1/operations`: create, read, wait, forget.

use crate::support::{SOON, Stand};
use serde_json::json;
use testkit::{described_routes, expect_problem, until};

#[tokio::test]
async fn an_operation_is_created_read_and_forgotten() {
    let stand = Stand::start().await;
    let api = &stand.api;

    let made = api
        .post(
            "/v1/operations",
            &json!({"id": "job", "title": "A job", "project": "acme", "steps": [{"name": "a"}]}),
        )
        .header("X-Correlation-ID", "corr-1")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (made.status().as_u16(), &made.headers()["location"]),
        (201, &"/v1/operations/job".parse().unwrap())
    );
    let snapshot = stand.snapshot("job").await;
    assert_eq!(
        (&snapshot["state"], &snapshot["title"], &snapshot["correlation_id"], &snapshot["steps"][0]["state"]),
        (&json!("pending"), &json!("A job"), &json!("corr-1"), &json!("pending"))
    );
    let taken = api.post("/v1/operations", &json!({"id": "job"})).send().await.unwrap();
    expect_problem(taken, 409, None).await;

    assert_eq!(api.delete("/v1/operations/job").send().await.unwrap().status(), 204);
    expect_problem(api.delete("/v1/operations/job").send().await.unwrap(), 404, None).await;
    for gone in ["/v1/operations/job", "/v1/operations/job/events"] {
        expect_problem(api.get(gone).send().await.unwrap(), 404, None).await;
    }
    let random = stand.create(json!({})).await;
    assert_eq!(random.len(), 32);
}

#[tokio::test]
async fn a_poller_waits_for_news_and_no_longer_than_it_said() {
    let stand = Stand::start().await;
    let id = stand.create(json!({})).await;
    let cursor = stand.snapshot(&id).await["cursor"].as_str().unwrap().to_owned();
    let wait = |ms: u64| stand.api.get(&format!("/v1/operations/{id}?wait_ms={ms}&after={cursor}"));

    let nothing = stand.api.json(wait(50)).await;
    let mut waiting = std::pin::pin!(stand.api.json(wait(30_000)));
    let meanwhile = async {
        for _ in 0..30 {
            stand.snapshot(&id).await;
        }
    };
    tokio::select! {
        early = &mut waiting => panic!("nothing has happened yet: {early}"),
        () = meanwhile => {}
    }
    stand.update(&id, json!({"percent": 30})).await;
    let news = waiting.await;
    let at_once = stand.api.json(wait(30_000)).await;

    assert_eq!(nothing["cursor"], cursor);
    assert_eq!((&news["percent"], &at_once["percent"]), (&json!(30.0), &json!(30.0)));
}

#[tokio::test]
async fn what_nobody_reports_to_is_failed_by_the_service() {
    let stand = Stand::with(&[("RUNNING_MS", "1000"), ("SWEEP_MS", "100")]).await;
    let id = stand.create(json!({})).await;

    let failed = async || Some(stand.snapshot(&id).await).filter(|shown| shown["state"] == "failed");
    let shown = until(failed, SOON).await;
    assert_eq!(shown["message"], "nothing was reported until its deadline");
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let stand = Stand::start().await;
    assert_eq!(
        described_routes(&stand.api).await,
        [
            "DELETE /v1/correlations/{id}",
            "DELETE /v1/operations/{id}",
            "GET /v1/correlations/{id}",
            "GET /v1/operations/{id}",
            "GET /v1/operations/{id}/events",
            "GET /watch/{id}",
            "POST /v1/operations",
            "POST /v1/operations/{id}/cancel",
            "POST /v1/operations/{id}/complete",
            "POST /v1/operations/{id}/fail",
            "POST /v1/operations/{id}/updates",
        ]
    );
}
