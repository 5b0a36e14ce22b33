//! Bad input is a 4xx that names the field.

use crate::support::{Answer, start};

#[tokio::test]
async fn json_that_fits_its_type_is_taken() {
    let service = start();
    let answer = service.post_json("/v1/tasks", r#"{"queue":"exports","payload":{"any":["thing"]}}"#).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["payload"]["any"][0], "thing");
}

#[tokio::test]
async fn json_that_does_not_fit_is_named_by_a_pointer() {
    let service = start();
    let deep = format!(r#"{{"queue":"a","payload":{}{}}}"#, "[".repeat(32), "]".repeat(32));
    for (body, status, kind, pointer) in [
        (&br#"{"queue":"a","priority":"high"}"#[..], 422, "invalid-input", "/priority"),
        (br#"{"queue":"a","priority":256}"#, 422, "invalid-input", "/priority"),
        (br#"{"queue":"Not A Queue"}"#, 422, "invalid-input", "/queue"),
        (br#"{"priority":1}"#, 422, "invalid-input", "/queue"),
        (br#"{"queue":"a","colour":"red"}"#, 422, "invalid-input", "/colour"),
        (br#"{"queue":"a\u0000"}"#, 422, "invalid-input", "/queue"),
        (deep.as_bytes(), 422, "invalid-input", &format!("/payload{}", "/0".repeat(31))),
        (b"{\"queue\":\"a\0\"}", 400, "malformed-request", "/queue"),
        (b"{\"queue\":\"\xff\xfe\"}", 400, "malformed-request", "/queue"),
        (br#"{"queue":"\ud800"}"#, 400, "malformed-request", "/queue"),
        (b"{\"queue\":", 400, "malformed-request", "/queue"),
        (b"\0", 400, "malformed-request", ""),
    ] {
        let answer = service.post_json("/v1/tasks", body.to_vec()).await;
        assert_eq!(answer.field(status, kind), pointer, "{}", String::from_utf8_lossy(body));
    }
    service.post_json("/v1/tasks", "").await.problem(400, "malformed-request");
}

#[tokio::test]
async fn only_json_is_read_as_json() {
    let service = start();
    let post = |headers: &[(&'static str, &'static str)]| {
        let request = service.client.post(service.url("/v1/tasks")).body(r#"{"queue":"a"}"#);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    for accepted in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(Answer::of(post(&[("Content-Type", accepted)])).await.status, 201, "{accepted}");
    }
    for refused in [
        &[][..],
        &[("Content-Type", "text/plain")],
        &[("Content-Type", "application/json-seq")],
        &[("Content-Type", "application/x-www-form-urlencoded")],
        &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
    ] {
        Answer::of(post(refused)).await.problem(415, "unsupported-media-type");
    }
}

#[tokio::test]
async fn a_patch_may_be_a_merge_patch() {
    let service = start();
    for (method, status) in [("PATCH", 201), ("POST", 415)] {
        let request = service.client.request(method.parse().unwrap(), service.url("/v1/tasks"));
        let request = request.header("Content-Type", "application/merge-patch+json").body(r#"{"queue":"a"}"#);
        assert_eq!(Answer::of(request).await.status, status, "{method}");
    }
}

#[tokio::test]
async fn the_rest_of_a_path_is_a_name_percent_decoded() {
    let service = start();
    for (tail, name) in [
        ("report", "report"),
        ("a/b/c", "a/b/c"),
        ("a%2Fb", "a/b"),
        ("a//b/", "a//b/"),
        ("100%25", "100%"),
        ("%2541", "%41"),
        ("a+b%2Bc%20d", "a+b+c d"),
        ("na%C3%AFve/%E6%97%A5", "naïve/日"),
    ] {
        let answer = service
            .raw(format!("GET /v1/entries/acme/{tail} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
            .await;
        assert_eq!(answer.json(), serde_json::json!(["acme", name]), "{tail}");
    }
}

#[tokio::test]
async fn a_bad_parameter_of_a_path_is_named() {
    let service = start();
    let long = format!("/v1/entries/acme/{}", "x".repeat(257));
    for (path, status, kind, name) in [
        ("/v1/entries/acme/%ff", 400, "malformed-request", "name"),
        ("/v1/entries/%C3/ok", 400, "malformed-request", "project"),
        ("/v1/entries/acme/a%00b", 400, "malformed-request", "name"),
        ("/v1/entries/a%zz/ok", 400, "malformed-request", "project"),
        ("/v1/entries/acme/50%", 400, "malformed-request", "name"),
        ("/v1/entries/acme/a%0Ab", 422, "invalid-input", "name"),
        ("/v1/entries/acme/", 422, "invalid-input", "name"),
        (&long, 422, "invalid-input", "name"),
        ("/v1/entries/%7Bacme%7D/ok", 422, "invalid-input", "project"),
        ("/v1/queues/Exports", 422, "invalid-input", "queue"),
    ] {
        let answer =
            service.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(answer.field(status, kind), name, "{path}");
    }
}

#[tokio::test]
async fn a_bad_parameter_of_a_query_is_named() {
    let service = start();
    assert_eq!(service.get("/v1/tasks?limit=10").await.json()["limit"], 10);
    for (query, status, kind, name) in [
        ("limit=-1", 422, "invalid-input", "limit"),
        ("", 422, "invalid-input", "limit"),
        ("limit=1&offset=2", 422, "invalid-input", "offset"),
        ("limit=%ff", 400, "malformed-request", "limit"),
        ("limit=1%00", 400, "malformed-request", "limit"),
    ] {
        assert_eq!(service.get(&format!("/v1/tasks?{query}")).await.field(status, kind), name, "{query}");
    }
}
