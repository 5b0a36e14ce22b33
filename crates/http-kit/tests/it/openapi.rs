//! The description that clients are generated from.

use crate::support::{Served, config, open, routes, server, start};
use utoipa::OpenApi;

#[utoipa::path(get, path = "/v1/tasks", params(("limit" = u16, Query)), responses((status = 200, body = String)))]
#[expect(dead_code, reason = "only its description matters")]
fn list() {}

#[derive(OpenApi)]
#[openapi(paths(list), info(title = "test", description = "a <test>"))]
struct Api;

#[tokio::test]
async fn the_document_is_3_1_and_resolves_all_its_references() {
    let service = Served::start(server(config(), open()).openapi(Api::openapi()), routes);
    let answer = service.get("/openapi.json").await;
    let document = answer.json();

    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(
        document["paths"]["/v1/tasks"]["get"]["responses"]["422"]["$ref"],
        "#/components/responses/InvalidInput"
    );
    assert_eq!(document["security"][0]["api_key"], serde_json::json!([]));
    let references = answer.body.split(r##""$ref":"#"##).skip(1).map(|rest| rest.split('"').next().unwrap());
    for pointer in references {
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn a_service_that_says_nothing_of_itself_is_named_all_the_same() {
    let document = start().get("/openapi.json").await.json();
    assert_eq!(document["info"]["title"], "test");
    assert!(document["paths"].get("/health/ready").is_some());
}

#[tokio::test]
async fn the_page_shows_it_and_loads_nothing() {
    let service = Served::start(server(config(), open()).openapi(Api::openapi()), routes);
    let answer = service.get("/docs").await;
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    assert!(answer.body.contains("<code>/v1/tasks</code>") && answer.body.contains("a &lt;test&gt;"));
    assert!(answer.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
}
