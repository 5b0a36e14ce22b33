//! Whether a service does what its description says.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;

use crate::Client;

/// The routes that a service describes, such as `GET /v1/queues`, in order, without those that all services have.
///
/// # Panics
/// The document is not OpenAPI 3.1, a reference in it leads nowhere, an operation has no name of its own, a parameter
/// of a path is not described, or a path answers to other methods than the document says.
pub async fn described_routes(client: &Client) -> Vec<String> {
    let document = client.json(client.get("/openapi.json")).await;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")), "{document}");
    require_references(&document, &document);

    let (mut routes, mut names) = (Vec::new(), BTreeSet::new());
    let paths = document["paths"].as_object().expect("paths are an object");
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().expect("a path has operations") {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(!name.is_empty() && names.insert(name.to_owned()), "{method} {path}: the name {name:?}");
            require_parameters(path, operation);
            routes.push(format!("{} {path}", method.to_uppercase()));
        }
        let (own, allowed) = (methods(operations), allowed(client, path).await);
        // An entry may be called `batch`, too: then a path answers also as the one that takes any name.
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let any_name = paths.iter().find(|(other, _)| other.starts_with(&format!("{parent}/{{")));
        let with_any = any_name.map(|(_, operations)| &methods(operations) | &own);
        assert!(
            allowed == own || Some(&allowed) == with_any.as_ref(),
            "{path}: {own:?}, and it answers to {allowed:?}"
        );
    }
    routes.retain(|route| !COMMON.contains(&route.as_str()));
    routes.sort();
    routes
}

fn methods(operations: &Value) -> BTreeSet<String> {
    operations.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()).collect()
}

/// Every `$ref` leads somewhere.
fn require_references(document: &Value, value: &Value) {
    if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some(), "{reference} leads nowhere");
    }
    match value {
        Value::Object(members) => members.values().for_each(|value| require_references(document, value)),
        Value::Array(items) => items.iter().for_each(|value| require_references(document, value)),
        _ => {}
    }
}

/// What stands in braces in a path is a parameter of it.
fn require_parameters(path: &str, operation: &Value) {
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        let describes = |parameter: &&&Value| parameter["in"] == "path" && parameter["name"] == name;
        assert!(parameters.iter().any(|parameter| describes(&parameter)), "{path}: {name} is not described");
    }
}

/// What a path answers to: no service knows TRACE, so the answer is a 405 that says so.
async fn allowed(client: &Client, path: &str) -> BTreeSet<String> {
    let path = path.replace(['{', '}'], "");
    let answer = client.request(Method::TRACE, &path).send().await.expect("an answer");
    assert_eq!(answer.status(), 405, "{path}");
    let allow = answer.headers().get("allow").and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    allow.split(',').map(|method| method.trim().to_owned()).collect()
}

const COMMON: [&str; 6] = [
    "GET /docs",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /openapi.json",
];
