//! `/openapi.json`

use crate::support::Stage;
use serde_json::Value;

#[tokio::test]
async fn every_route_is_described_and_every_reference_leads_somewhere() {
    let stage = Stage::new().await;
    let document = stage.api.json(stage.api.get("/openapi.json")).await;

    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|_| path.starts_with("/v1"));
        described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    described.sort();
    assert_eq!(
        described,
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
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
