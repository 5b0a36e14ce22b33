//! One entry over HTTP, and the listing.

use crate::support::{Stack, entry, header, sent};
use reqwest::Method;
use serde_json::Value;
use testkit::expect_problem;

#[tokio::test]
async fn an_entry_comes_back_as_it_was_put_with_all_that_clients_need() {
    let stack = Stack::start().await;
    let put = stack.put("a/b%20c.json", r#"{"n":1}"#).header("Content-Type", "application/json");
    let put = sent(put.header("Sluice-TTL", "60").header("Sluice-Tags", "x, y,x")).await;
    assert_eq!((put.status(), header(&put, "etag").len()), (reqwest::StatusCode::CREATED, 34));

    let got = sent(stack.get("a%2Fb%20c.json")).await;
    assert_eq!(got.status(), 200, "a slash is a slash, escaped or not");
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "7"),
        ("age", "0"),
        ("cache-control", "private, no-cache"),
        ("sluice-cache", "redis"),
        ("x-content-type-options", "nosniff"),
        ("etag", &header(&put, "etag")),
        ("sluice-stamp", &header(&put, "sluice-stamp")),
    ] {
        assert_eq!(header(&got, name), value, "{name}");
    }
    let ttl: u64 = header(&got, "sluice-ttl").parse().unwrap();
    assert!((58..=60).contains(&ttl), "{ttl}");
    assert_eq!(got.text().await.unwrap(), r#"{"n":1}"#);

    let again = sent(stack.put("a/b%20c.json", r#"{"n":2}"#)).await;
    assert_eq!(again.status(), 204);
    let got = sent(stack.get("a/b%20c.json")).await;
    assert_eq!(header(&got, "content-type"), "application/octet-stream");
}

#[tokio::test]
async fn head_tells_all_but_the_bytes() {
    let stack = Stack::start().await;
    sent(stack.put("data", vec![7; 100_000]).header("Content-Type", "image/png")).await;
    let head = sent(stack.admin.request(Method::HEAD, &entry("data"))).await;
    assert_eq!(head.status(), 200);
    assert_eq!(
        (header(&head, "content-length"), header(&head, "content-type")),
        ("100000".into(), "image/png".into())
    );
    assert_eq!(header(&head, "etag"), header(&sent(stack.get("data")).await, "etag"));
    assert_eq!(sent(stack.admin.request(Method::HEAD, &entry("nope"))).await.status(), 404);
}

#[tokio::test]
async fn an_empty_entry_is_an_entry() {
    let stack = Stack::start().await;
    sent(stack.put("empty", "")).await;
    let got = sent(stack.get("empty")).await;
    assert_eq!((got.status().as_u16(), header(&got, "content-length")), (200, "0".into()));
}

#[tokio::test]
async fn a_miss_is_a_404_that_says_so() {
    let stack = Stack::start().await;
    let miss = sent(stack.get("nope")).await;
    assert_eq!(header(&miss, "sluice-cache"), "miss");
    expect_problem(miss, 404, None).await;

    sent(stack.put("data", "1")).await;
    let deleted = sent(stack.admin.delete(&entry("data"))).await;
    assert_eq!(deleted.status(), 204);
    let miss = sent(stack.get("data")).await;
    assert_eq!(header(&miss, "sluice-stamp"), header(&deleted, "sluice-stamp"));
    expect_problem(miss, 404, None).await;
    assert_eq!(sent(stack.admin.delete(&entry("data"))).await.status(), 204, "deleting again is fine");
}

#[tokio::test]
async fn conditions_are_those_of_rfc_9110() {
    let stack = Stack::start().await;
    let first = header(&sent(stack.put("data", "1")).await, "etag");
    let weak = format!("W/{first}");
    let foreign = "\"someone-elses\"";

    for (name, value, status) in [
        ("If-None-Match", &*first, 304),
        ("If-None-Match", &*weak, 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", foreign, 200),
        ("If-Match", &*first, 200),
        ("If-Match", "*", 200),
        ("If-Match", &*weak, 412),
        ("If-Match", foreign, 412),
    ] {
        let got = sent(stack.get("data").header(name, value)).await;
        assert_eq!(got.status(), status, "GET {name}: {value}");
        if status == 304 {
            assert_eq!((header(&got, "etag"), header(&got, "sluice-cache")), (first.clone(), "redis".into()));
            assert_eq!(got.bytes().await.unwrap(), "");
        }
    }
    for (name, value, status) in [
        ("If-None-Match", "*", 412),
        ("If-None-Match", &*first, 412),
        ("If-None-Match", &*weak, 412),
        ("If-Match", &*weak, 412),
        ("If-Match", foreign, 412),
        ("If-Match", &*first, 204),
        ("If-Match", &*first, 412),
        ("If-None-Match", foreign, 204),
    ] {
        let put = sent(stack.put("data", "2").header(name, value)).await;
        assert_eq!(put.status(), status, "PUT {name}: {value}");
    }
    let delete = |name, value: &str| sent(stack.admin.delete(&entry("data")).header(name, value));
    expect_problem(delete("If-Match", &first).await, 412, None).await;
    assert_eq!(delete("If-Match", "*").await.status(), 204);
    expect_problem(delete("If-Match", "*").await, 412, None).await;
    let missing = sent(stack.get("data").header("If-Match", "*")).await;
    expect_problem(missing, 404, None).await;
}

#[tokio::test]
async fn a_stamp_that_comes_back_gets_nothing_older() {
    let stack = Stack::start().await;
    let old = sent(stack.put("data", "1")).await;
    let kept = stack.redis.cli(&["GET", "seq:{acme}"]).await;
    let new = header(&sent(stack.put("other", "2")).await, "sluice-stamp");
    let get = |stamp: &str| sent(stack.get("data").header("Sluice-Min-Stamp", stamp));

    assert_eq!(get(&header(&old, "sluice-stamp")).await.status(), 200);
    assert_eq!(get(&new).await.status(), 200);
    // A failover lost the last write.
    stack.redis.cli(&["SET", "seq:{acme}", &kept]).await;
    expect_problem(get(&new).await, 404, None).await;
    assert_eq!(sent(stack.get("data")).await.status(), 404, "nobody is shown what may be old");
}

#[tokio::test]
async fn a_listing_pages_through_the_live_entries() {
    let stack = Stack::start().await;
    for (at, name) in ["a", "b/c", "ü", "batch"].into_iter().enumerate() {
        sent(
            stack.put(name, "12345").header("Sluice-TTL", (100 + at).to_string()).header("Sluice-Tags", "t"),
        )
        .await;
    }
    sent(stack.admin.delete(&entry("a"))).await;
    let (mut names, mut query, mut pages) = (Vec::new(), "?limit=2".to_owned(), 0);
    loop {
        let page = stack.admin.json(stack.admin.get(&format!("/v1/projects/acme/entries{query}"))).await;
        assert_eq!(page["complete"], true);
        names.extend(page["entries"].as_array().unwrap().iter().map(|entry| entry["name"].clone()));
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&after={next}");
    }
    assert_eq!((names, pages), (vec![Value::from("b/c"), "ü".into(), "batch".into()], 2));

    let page = stack.admin.json(stack.admin.get("/v1/projects/acme/entries")).await;
    let first = &page["entries"][0];
    assert_eq!((&first["size_bytes"], &first["tags"][0]), (&5.into(), &"t".into()));
    assert!(first["ttl_ms"].as_u64().unwrap() > 99_000, "{first}");
}

#[tokio::test]
async fn eight_mebibytes_pass_and_one_byte_more_does_not() {
    let stack = Stack::start().await;
    let bytes: Vec<u8> = (0..8 << 20).map(|i: u32| (i % 251) as u8).collect();
    assert_eq!(sent(stack.put("large", bytes.clone())).await.status(), 201);
    let got = sent(stack.get("large")).await.bytes().await.unwrap();
    assert!(got == bytes);
    let mut over = bytes;
    over.push(0);
    expect_problem(sent(stack.put("larger", over)).await, 413, None).await;
    expect_problem(sent(stack.get("larger")).await, 404, None).await;
}
