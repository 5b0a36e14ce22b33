//! Requests that are wrong, each with the answer that says so.

use crate::support::{Stack, entry, sent};
use reqwest::Method;
use testkit::expect_problem;

#[tokio::test]
async fn a_bad_project_or_name_is_named() {
    let stack = Stack::start().await;
    let longest = "n".repeat(256);
    assert_eq!(sent(stack.put(&longest, "1")).await.status(), 201);
    for (path, status, field) in [
        ("/v1/projects/a%20b/entries/x".to_owned(), 422, "project"),
        ("/v1/projects/%7Ba%7D/entries/x".to_owned(), 422, "project"),
        (format!("/v1/projects/{}/entries/x", "p".repeat(65)), 422, "project"),
        ("/v1/projects/%ff/entries/x".to_owned(), 400, "project"),
        (entry(""), 422, "name"),
        (entry(&format!("{longest}n")), 422, "name"),
        (entry(&"ü".repeat(129)), 422, "name"),
        (entry("tab%09"), 422, "name"),
        (entry("line%0Aend"), 422, "name"),
        (entry("nul%00"), 400, "name"),
        (entry("bad%ff"), 400, "name"),
        (entry("bad%zz"), 400, "name"),
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = sent(stack.admin.request(method, &path)).await;
            expect_problem(answer, status, field).await;
        }
    }
}

#[tokio::test]
async fn a_bad_header_is_named_and_nothing_is_put() {
    let stack = Stack::start().await;
    let seventeen = (0..17).map(|tag| format!("t{tag}")).collect::<Vec<_>>().join(",");
    for (name, value, status) in [
        ("Sluice-TTL", "0", 422),
        ("Sluice-TTL", "-1", 422),
        ("Sluice-TTL", "+1", 422),
        ("Sluice-TTL", "1.5", 422),
        ("Sluice-TTL", "soon", 422),
        ("Sluice-TTL", "", 422),
        ("Sluice-TTL", "2592001", 422),
        ("Sluice-TTL", "99999999999999999999", 422),
        ("Sluice-Tags", &*seventeen, 422),
        ("Sluice-Tags", "a b", 422),
        ("Sluice-Tags", &*"t".repeat(65), 422),
        ("Content-Type", "nonsense", 422),
        ("Content-Type", &*format!("a/{}", "b".repeat(254)), 422),
        ("Content-Encoding", "gzip", 415),
        ("Content-Range", "bytes 0-1/2", 400),
        ("If-Match", "unquoted", 400),
        ("If-None-Match", "\"open", 400),
    ] {
        let answer = sent(stack.put("data", "1").header(name, value)).await;
        expect_problem(answer, status, name).await;
    }
    let latin = reqwest::header::HeaderValue::from_bytes(b"\xfc").unwrap();
    for name in ["Sluice-TTL", "Sluice-Tags", "Content-Type"] {
        expect_problem(sent(stack.put("data", "1").header(name, &latin)).await, 422, name).await;
    }
    assert_eq!(sent(stack.get("data")).await.status(), 404);
    let sixteen = seventeen.rsplit_once(',').unwrap().0;
    let most = stack.put("data", "1").header("Sluice-Tags", sixteen).header("Sluice-TTL", "2592000");
    assert_eq!(sent(most).await.status(), 201);
}

#[tokio::test]
async fn a_forged_stamp_is_refused_everywhere() {
    let stack = Stack::start().await;
    let stamp = crate::support::header(&sent(stack.put("data", "1")).await, "sluice-stamp");
    let future = format!("9{}", &stamp[1..]);
    for forged in ["1", "", "x", &stamp[..stamp.len() - 1], &*future] {
        let get = sent(stack.get("data").header("Sluice-Min-Stamp", forged)).await;
        expect_problem(get, 422, "Sluice-Min-Stamp").await;
        let batch = stack.admin.post(&entry("batch"), &serde_json::json!({ "get": ["data"] }));
        expect_problem(sent(batch.header("Sluice-Min-Stamp", forged)).await, 422, "Sluice-Min-Stamp").await;
    }
    let elsewhere = stack.admin.get("/v1/projects/other/entries/data").header("Sluice-Min-Stamp", stamp);
    expect_problem(sent(elsewhere).await, 422, "Sluice-Min-Stamp").await;
    assert_eq!(sent(stack.get("data")).await.status(), 200);
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused() {
    let stack = Stack::start().await;
    for (path, field) in
        [("/v1/projects/acme/invalidate", "names"), ("/v1/projects/acme/entries/batch", "get")]
    {
        let deep = format!("{{\"{field}\":{}{}}}", "[".repeat(40), "]".repeat(40));
        let of_field = |text: &[u8]| [format!("{{\"{field}\":[\"").as_bytes(), text, b"\"]}"].concat();
        let post = |kind: &str, body: Vec<u8>| {
            sent(stack.admin.request(Method::POST, path).header("Content-Type", kind).body(body))
        };
        expect_problem(post("text/plain", b"{}".to_vec()).await, 415, None).await;
        expect_problem(sent(stack.admin.request(Method::POST, path).body("{}")).await, 415, None).await;
        for body in [&b""[..], b"{", b"{} {}", b"\xff", b"nul\0", &of_field(b"\0"), &of_field(b"\xff")] {
            expect_problem(post("application/json", body.to_vec()).await, 400, None).await;
        }
        expect_problem(post("application/json", deep.into_bytes()).await, 422, None).await;
    }
    let large = format!("{{\"names\":[\"{}\"]}}", "x".repeat(300 * 1024));
    let large = stack.admin.request(Method::POST, "/v1/projects/acme/invalidate").body(large);
    expect_problem(sent(large.header("Content-Type", "application/json")).await, 413, None).await;
}

#[tokio::test]
async fn a_bad_query_is_named() {
    let stack = Stack::start().await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=many", "limit"),
        ("after=nowhere", "after"),
        ("page=2", "page"),
    ] {
        let answer = sent(stack.admin.get(&format!("/v1/projects/acme/entries?{query}"))).await;
        expect_problem(answer, 422, field).await;
    }
    assert_eq!(sent(stack.admin.get("/v1/projects/acme/entries?limit=500")).await.status(), 200);
}

#[tokio::test]
async fn a_path_or_method_that_is_not_there_is_a_problem_too() {
    let stack = Stack::start().await;
    for (method, path, status) in [
        (Method::POST, entry("data"), 405),
        (Method::PATCH, entry("data"), 405),
        (Method::POST, "/v1/projects/acme/entries".to_owned(), 405),
        (Method::GET, "/v1/projects/acme/invalidate".to_owned(), 405),
        (Method::GET, "/v1/projects/acme".to_owned(), 404),
        (Method::GET, "/v2".to_owned(), 404),
    ] {
        expect_problem(sent(stack.admin.request(method, &path)).await, status, None).await;
    }
    expect_problem(sent(stack.get(&"n".repeat(9000))).await, 414, None).await;
    expect_problem(sent(stack.get("data").header("X-Large", "x".repeat(17_000))).await, 431, None).await;
}
