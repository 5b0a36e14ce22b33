//! The description of a service, OpenAPI 3.1: what the service says of itself, completed by what all have in common.

use crate::access::{Access, Action};
use crate::docs_page;
use crate::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType};
use actix_web::web::{self, Bytes, Data};
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

/// The description in its two forms, made once.
pub(crate) struct Description {
    json: Bytes,
    html: Bytes,
}

impl Description {
    pub(crate) fn new(service: &str, document: &OpenApi) -> Self {
        let mut document = complete(serde_json::to_value(document).expect("a document is JSON"));
        for (member, fallback) in [("title", service), ("version", env!("CARGO_PKG_VERSION"))] {
            let member = &mut document["info"][member];
            if member.as_str().is_none_or(str::is_empty) {
                *member = fallback.into();
            }
        }
        let json = serde_json::to_vec(&document).expect("a value is JSON");
        Self { json: json.into(), html: docs_page::render(&document).into() }
    }
}

/// The routes; both need `ops:read`.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/openapi.json").route(web::get().to(openapi_json)))
        .service(web::resource("/docs").route(web::get().to(docs)));
}

/// `GET /openapi.json`: the document.
async fn openapi_json(access: Access, description: Data<Description>) -> Result<HttpResponse, Problem> {
    access.require(Action::OpsRead, "")?;
    Ok(HttpResponse::Ok().content_type(ContentType::json()).body(description.json.clone()))
}

/// `GET /docs`: the document for people, one page that loads nothing.
async fn docs(access: Access, description: Data<Description>) -> Result<HttpResponse, Problem> {
    access.require(Action::OpsRead, "")?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ))
        .body(description.html.clone()))
}

/// Adds the key, the problems, the correlation id, and the endpoints that every service has.
fn complete(mut document: Value) -> Value {
    document["openapi"] = json!("3.1.0");
    merge(&mut document["paths"], common_paths());
    merge(&mut document["components"], common_components());
    document["security"] = json!([{ "api_key": [] }]);
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let items = paths.filter_map(|(_, item)| item.as_object_mut()).flatten();
    for (_, operation) in items.filter(|(method, _)| METHODS.contains(&&***method)) {
        complete_operation(operation);
    }
    document
}

fn complete_operation(operation: &mut Value) {
    let open = operation["security"].as_array().is_some_and(Vec::is_empty);
    let takes_input = operation.get("requestBody").is_some() || operation.get("parameters").is_some();
    let takes_body = operation.get("requestBody").is_some();
    let responses = entry(operation, "responses", json!({}));
    let mut add = |status: &str, response: &str| {
        let reference = json!({ "$ref": format!("#/components/responses/{response}") });
        let known = responses.as_object_mut().expect("responses are an object");
        known.entry(status).or_insert(reference);
    };
    for (applies, status, response) in [
        (takes_input, "400", "MalformedRequest"),
        (!open, "401", "Unauthenticated"),
        (!open, "403", "Forbidden"),
        (takes_body, "413", "TooLarge"),
        (takes_body, "415", "UnsupportedMediaType"),
        (takes_input, "422", "InvalidInput"),
        (true, "503", "Unavailable"),
        (true, "default", "Problem"),
    ] {
        if applies {
            add(status, response);
        }
    }
    let parameters = entry(operation, "parameters", json!([]));
    if let Some(parameters) = parameters.as_array_mut() {
        parameters.push(json!({ "$ref": "#/components/parameters/CorrelationId" }));
    }
}

fn common_components() -> Value {
    let problem = |description: &str| {
        json!({
            "description": description,
            "headers": { "X-Correlation-ID": { "schema": { "type": "string" } } },
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        })
    };
    json!({
        "securitySchemes": {
            "api_key": { "type": "http", "scheme": "bearer", "description": "An API key: `sk_<id>_<secret>`." },
        },
        "parameters": {
            "CorrelationId": {
                "name": "X-Correlation-ID", "in": "header", "required": false,
                "description": "Follows the request through all services; made when absent or invalid.",
                "schema": { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" },
            },
        },
        "schemas": {
            "Problem": {
                "type": "object",
                "description": "RFC 9457.",
                "required": ["type", "title", "status", "detail", "instance", "correlation_id"],
                "properties": {
                    "type": { "type": "string", "format": "uri", "description": "Which problem; stable." },
                    "title": { "type": "string" },
                    "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                    "detail": { "type": "string", "description": "What went wrong this time." },
                    "instance": { "type": "string", "description": "The path that was asked for." },
                    "correlation_id": { "type": "string" },
                    "errors": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["pointer", "detail"],
                            "properties": {
                                "pointer": {
                                    "type": "string",
                                    "description": "A JSON pointer into the body, or the name of a parameter or header.",
                                },
                                "detail": { "type": "string" },
                            },
                        },
                    },
                },
            },
            "Status": {
                "type": "object",
                "required": ["status"],
                "properties": { "status": { "type": "string" } },
            },
        },
        "responses": {
            "MalformedRequest": problem("The request cannot be read."),
            "Unauthenticated": problem("No API key, or a wrong one."),
            "Forbidden": problem("The key lacks a scope; the detail names it."),
            "TooLarge": problem("The body is over its bound; the detail names it."),
            "UnsupportedMediaType": problem("This Content-Type is not read here."),
            "InvalidInput": problem("A field breaks its rule; `errors` names it."),
            "Unavailable": problem("Not now; `Retry-After` says when."),
            "Problem": problem("Any other failure."),
        },
    })
}

fn common_paths() -> Value {
    let get = |id: &str, summary: &str, open: bool, kind: &str, schema: Value| {
        let mut operation = json!({
            "tags": ["operations"], "operationId": id, "summary": summary,
            "responses": { "200": { "description": "OK", "content": { kind: { "schema": schema } } } },
        });
        if open {
            operation["security"] = json!([]);
        }
        json!({ "get": operation })
    };
    let text = || json!({ "type": "string" });
    let status = || json!({ "$ref": "#/components/schemas/Status" });
    let (json_kind, any) = ("application/json", json!({ "type": "object" }));
    json!({
        "/health/live": get("health_live", "Whether the process answers", true, json_kind, status()),
        "/health/ready": get("health_ready", "Whether requests can be served", true, json_kind, status()),
        "/health": get("health", "All that is known; needs `ops:read`", false, json_kind, any.clone()),
        "/metrics": get("metrics", "Every metric, for Prometheus; needs `ops:read`", false, "text/plain", text()),
        "/openapi.json": get("openapi", "This document; needs `ops:read`", false, json_kind, any),
        "/docs": get("docs", "This document for people; needs `ops:read`", false, "text/html", text()),
    })
}

/// Adds what is not there yet, level by level; what the service says itself stays.
fn merge(target: &mut Value, addition: Value) {
    let Value::Object(addition) = addition else { return };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in addition {
        match target.get_mut(&name) {
            Some(present) => merge(present, value),
            None => target[name] = value,
        }
    }
}

fn entry<'a>(object: &'a mut Value, name: &str, default: Value) -> &'a mut Value {
    if object.get(name).is_none() {
        object[name] = default;
    }
    &mut object[name]
}

pub(crate) const METHODS: [&str; 7] = ["get", "put", "post", "delete", "head", "patch", "options"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_knows_its_problems_and_keeps_its_own_words() {
        let document = complete(json!({
            "openapi": "3.1.0", "info": { "title": "t", "version": "1" },
            "paths": { "/v1/things/{id}": {
                "summary": "not an operation",
                "put": {
                    "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
                    "requestBody": { "content": {} },
                    "responses": { "204": { "description": "done" }, "413": { "description": "mine" } },
                },
            } },
            "components": { "schemas": { "Thing": { "type": "object" } } },
        }));

        let put = &document["paths"]["/v1/things/{id}"]["put"];
        for status in ["204", "400", "401", "403", "413", "415", "422", "503", "default"] {
            assert!(put["responses"].get(status).is_some(), "{status}");
        }
        assert_eq!(put["responses"]["413"]["description"], "mine");
        assert_eq!(put["parameters"].as_array().unwrap().len(), 2);
        assert!(document["components"]["schemas"].get("Thing").is_some());
        let live = &document["paths"]["/health/live"]["get"];
        assert_eq!(live["security"], json!([]));
        assert!(live["responses"].get("401").is_none());
    }
}
