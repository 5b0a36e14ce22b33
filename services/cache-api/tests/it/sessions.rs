//! Sessions over HTTP.

use crate::support::{Stack, header, sent};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use testkit::{Keys, expect_problem};

const CURRENT: &str = "/v1/sessions/current";

impl Stack {
    async fn session(&self, body: Value) -> (String, Value) {
        let answer = sent(self.admin.post("/v1/sessions", &body)).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let made: Value = answer.json().await.unwrap();
        (made["token"].as_str().unwrap().to_owned(), made["session"].clone())
    }

    fn with_token(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.admin.request(method, path).header("Sluice-Session", token)
    }
}

async fn json_of(answer: Response) -> Value {
    assert!(answer.status().is_success(), "{answer:?}");
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_session_is_made_read_changed_and_ended() {
    let stack = Stack::start().await;
    let (token, made) =
        stack.session(json!({ "user_id": "ada", "attributes": { "n": 1 }, "idle_ttl_ms": 60_000 })).await;
    assert_eq!(
        (&made["user_id"], &made["revision"], &made["idle_ttl_ms"]),
        (&json!("ada"), &json!(1), &json!(60_000))
    );

    let read = sent(stack.with_token(Method::GET, CURRENT, &token)).await;
    assert_eq!(
        (header(&read, "etag"), header(&read, "cache-control")),
        ("\"1\"".to_owned(), "no-store".to_owned())
    );
    assert_eq!(json_of(read).await, made);

    let patch = |at: &str| {
        let request = stack.with_token(Method::PATCH, CURRENT, &token).header("If-Match", at);
        request.header("Content-Type", "application/merge-patch+json").body(r#"{"n":null,"m":{"x":2}}"#)
    };
    let changed = json_of(sent(patch("\"1\"")).await).await;
    assert_eq!((&changed["attributes"], &changed["revision"]), (&json!({ "m": { "x": 2 } }), &json!(2)));
    for stale in ["\"1\"", "\"nothing\"", "W/\"2\""] {
        expect_problem(sent(patch(stale)).await, 412, None).await;
    }
    assert_eq!(sent(patch("*")).await.status(), StatusCode::OK);

    assert_eq!(
        sent(stack.with_token(Method::DELETE, CURRENT, &token)).await.status(),
        StatusCode::NO_CONTENT
    );
    expect_problem(sent(stack.with_token(Method::GET, CURRENT, &token)).await, 401, None).await;
}

#[tokio::test]
async fn whatever_is_no_good_token_gets_the_same_401_byte_for_byte() {
    let stack = Stack::start().await;
    let (good, _) = stack.session(json!({ "user_id": "ada" })).await;
    let (rotated, _) = stack.session(json!({ "user_id": "ada" })).await;
    let next =
        json_of(sent(stack.with_token(Method::POST, "/v1/sessions/current/rotate", &rotated)).await).await;
    let next = next["token"].as_str().unwrap().to_owned();
    let (ended, _) = stack.session(json!({ "user_id": "bob" })).await;
    sent(stack.with_token(Method::DELETE, CURRENT, &ended)).await;
    let (first, last) = good.split_at(good.len() - 1);
    let altered = format!("{first}{}", if last == "A" { "E" } else { "A" });
    let mut answers = Vec::new();
    for token in [
        "",
        "x",
        &good[1..],
        first,
        &altered,
        &rotated,
        &ended,
        &format!("{good}A"),
        "AAAAAAAAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let answer = sent(stack.with_token(Method::GET, CURRENT, token)).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{token}");
        let correlation = header(&answer, "x-correlation-id");
        let mut fields: Vec<_> =
            answer.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        fields.retain(|field| !field.starts_with("date") && !field.starts_with("x-correlation-id"));
        fields.sort();
        answers.push((fields, answer.text().await.unwrap().replace(&correlation, "")));
    }
    let none = sent(stack.admin.get(CURRENT)).await;
    assert_eq!(none.status(), StatusCode::UNAUTHORIZED);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(sent(stack.with_token(Method::GET, CURRENT, &next)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_cookie_is_set_for_this_host_and_kept_as_long_as_its_session_can_live() {
    let stack = Stack::start().await;
    let body = json!({ "user_id": "ada", "cookie": true, "idle_ttl_ms": 4_000 });
    let made = sent(stack.admin.post("/v1/sessions", &body)).await;
    let set = header(&made, "set-cookie");
    let (pair, attributes) = set.split_once("; ").unwrap();
    let (name, token) = pair.split_once('=').unwrap();
    assert_eq!(name, "__Host-sluice-session");
    let mut attributes: Vec<_> = attributes.split("; ").collect();
    attributes.sort_unstable();
    let kept_s: u32 = attributes.remove(1).strip_prefix("Max-Age=").unwrap().parse().unwrap();
    assert!((2_591_000..=2_592_000).contains(&kept_s), "{kept_s} s of 30 days");
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);

    let ask = |method: Method, path: &str, cookie: &str| {
        let request = stack.admin.request(method, path);
        request.header("Cookie", format!("other=1; __Host-sluice-session={cookie}; last=2"))
    };
    let read = sent(ask(Method::GET, CURRENT, token)).await;
    assert_eq!((read.status(), header(&read, "set-cookie")), (StatusCode::OK, String::new()));
    let rotated = sent(ask(Method::POST, "/v1/sessions/current/rotate", token)).await;
    let set = header(&rotated, "set-cookie");
    let next = set.split_once('=').unwrap().1.split_once(';').unwrap().0.to_owned();
    assert_ne!(next, token);
    assert!(set.contains("Max-Age=259"), "{set}");
    assert_eq!(sent(ask(Method::GET, CURRENT, token)).await.status(), StatusCode::UNAUTHORIZED);
    let gone = sent(ask(Method::DELETE, CURRENT, &next)).await;
    assert!(header(&gone, "set-cookie").contains("Max-Age=0"), "{gone:?}");

    let (by_header, _) = stack.session(json!({ "user_id": "ada" })).await;
    let read = sent(stack.with_token(Method::DELETE, CURRENT, &by_header)).await;
    assert_eq!(header(&read, "set-cookie"), "", "whoever came without a cookie gets none");
}

#[tokio::test]
async fn the_sessions_of_a_user_are_listed_and_ended() {
    let stack = Stack::start().await;
    let (one, made) = stack.session(json!({ "user_id": "ada" })).await;
    let (two, _) = stack.session(json!({ "user_id": "ada" })).await;
    let of_ada = "/v1/users/ada/sessions";
    let listed = json_of(sent(stack.admin.get(of_ada)).await).await;
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(one.split_once('.').unwrap().1), "a list opens nothing");

    let id = made["id"].as_str().unwrap();
    let end = |id: &str| stack.admin.request(Method::DELETE, &format!("{of_ada}/{id}"));
    assert_eq!(sent(end(id)).await.status(), StatusCode::NO_CONTENT);
    expect_problem(sent(end(id)).await, 404, None).await;
    expect_problem(sent(end("nonsense")).await, 404, None).await;
    assert_eq!(sent(stack.with_token(Method::GET, CURRENT, &one)).await.status(), StatusCode::UNAUTHORIZED);

    let ended = json_of(sent(stack.admin.request(Method::DELETE, of_ada)).await).await;
    assert_eq!(ended, json!({ "ended": 1 }));
    assert_eq!(sent(stack.with_token(Method::GET, CURRENT, &two)).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_user_is_found_by_the_name_that_its_provider_gave() {
    let stack = Stack::start().await;
    for (user, path) in [
        ("auth0|1", "/v1/users/auth0%7C1/sessions"),
        ("some%2Bone@example.org", "/v1/users/some%252Bone@example.org/sessions"),
    ] {
        let (_, made) = stack.session(json!({ "user_id": user })).await;
        let listed = json_of(sent(stack.admin.get(path)).await).await;
        assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1), "{user}");
        assert_eq!(listed["sessions"][0]["id"], made["id"]);
    }
}

#[tokio::test]
async fn bad_input_is_named_and_a_key_without_the_scope_is_refused_first() {
    let mut keys = Keys::new();
    let admin = keys.add("admin", &["*"]);
    let other = keys.add("other", &["cache:read@*", "cache:write@*"]);
    let stack = Stack::with((keys, admin), &[]).await;
    for (body, status, field) in [
        (json!({ "user_id": "no way" }), 422, Some("/user_id")),
        (json!({ "user_id": "ada", "attributes": [] }), 422, Some("/attributes")),
        (json!({ "user_id": "ada", "idle_ttl_ms": 1 }), 422, Some("/idle_ttl_ms")),
        (json!({ "user_id": "ada", "admin": true }), 422, Some("/admin")),
        (json!({ "user_id": "ada", "attributes": { "a": "x".repeat(16_384) } }), 413, None),
    ] {
        expect_problem(sent(stack.admin.post("/v1/sessions", &body)).await, status, field).await;
    }
    let stranger = stack.service.client(&other);
    for (method, path) in [
        (Method::POST, "/v1/sessions"),
        (Method::GET, CURRENT),
        (Method::PATCH, CURRENT),
        (Method::DELETE, CURRENT),
        (Method::POST, "/v1/sessions/current/rotate"),
        (Method::GET, "/v1/users/ada/sessions"),
        (Method::DELETE, "/v1/users/ada/sessions"),
        (Method::DELETE, "/v1/users/ada/sessions/x"),
    ] {
        expect_problem(sent(stranger.request(method, path)).await, 403, None).await;
    }
}

#[tokio::test]
async fn no_token_and_no_attribute_is_in_the_log() {
    let stack = Stack::with(Keys::admin(), &[("SLUICE__LOG__LEVEL", "trace")]).await;
    let (token, _) = stack.session(json!({ "user_id": "ada", "attributes": { "n": "whispered" } })).await;
    sent(stack.with_token(Method::GET, CURRENT, &token)).await;
    sent(stack.with_token(Method::GET, CURRENT, &token[..40])).await;
    let log = stack.service.log();
    let (_, secret) = token.split_once('.').unwrap();
    assert!(!log.contains(&secret[..16]) && !log.contains("whispered"), "{log}");
}
