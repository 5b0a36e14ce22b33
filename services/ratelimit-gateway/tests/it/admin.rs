//! The admin address: checks, counts, rules.

use crate::support::{DEADLINE, Gateway, all, of, of_user, policy, route};
use serde_json::json;
use testkit::{Client, described_routes, expect_problem, until};

fn rules() -> String {
    policy("user", "[\"user\"]", 2, "1h")
        + "tiers.gold = [{ limit = 5, window = \"1h\" }]\n"
        + &policy("ip", "[\"ip\"]", 100, "1h")
        + &all("policies = [\"user\", \"ip\"]")
}

#[tokio::test]
async fn a_check_says_what_the_gate_would_and_counts_as_it_does() {
    let gateway = Gateway::start(&rules()).await;

    let allowed = gateway.check(of_user("user", "42")).await;
    assert_eq!(
        (allowed.status().as_u16(), of(&allowed, "ratelimit")),
        (200, r#""user";r=1;t=3601"#.to_owned())
    );
    assert_eq!(
        allowed.json::<serde_json::Value>().await.unwrap(),
        json!({ "allowed": true, "mode": "exact" })
    );
    assert_eq!(gateway.check(json!({ "policy": "user", "user": "42", "cost": 0 })).await.status(), 200);
    assert_eq!(gateway.check(of_user("user", "42")).await.status(), 200);
    let denied = gateway.check(of_user("user", "42")).await;
    assert!(of(&denied, "retry-after").parse::<u64>().unwrap() > 3590);
    assert!(of(&denied, "ratelimit").starts_with(r#""user";r=0;t="#));
    let problem = expect_problem(denied, 429, None).await;
    assert_eq!(problem["violated-policies"], json!(["user"]));
    assert_eq!(gateway.check(of_user("user", "43")).await.status(), 200);
    let gold = json!({ "policy": "user", "user": "42", "tier": "gold" });
    assert_eq!(gateway.check(gold).await.status(), 200);
}

#[tokio::test]
async fn explain_names_every_limit_and_where_it_stands() {
    let gateway = Gateway::start(&rules()).await;
    let ask = || gateway.check(json!({ "route": "all", "user": "42", "ip": "192.0.2.7", "explain": true }));

    let allowed: serde_json::Value = ask().await.json().await.unwrap();
    assert_eq!(allowed["limits"][0]["scope"], "user:42");
    assert_eq!(allowed["limits"][1]["scope"], "ip:192.0.2.7");
    assert_eq!(allowed["limits"][1]["used"], 1);
    ask().await;
    // The second denial is one that the process remembers, and still it explains all.
    for _ in 0..2 {
        let problem = expect_problem(ask().await, 429, None).await;
        let limits = problem["limits"].as_array().unwrap();
        assert_eq!(limits.len(), 2, "{problem}");
        assert_eq!((&limits[0]["used"], &limits[0]["denies"]), (&json!(2), &json!(true)));
        assert!(limits[0]["next_admission_ms"].as_u64().unwrap() > 3_590_000);
        assert_eq!((&limits[1]["used"], &limits[1]["denies"]), (&json!(2), &json!(false)));
    }
}

#[tokio::test]
async fn a_check_of_a_route_takes_its_cost_and_its_word_for_when_redis_is_away() {
    let rules = policy("ip", "[\"ip\"]", 5, "1h")
        + &route("dear", "policies = [\"ip\"]\ncost = 3")
        + &route("closed", "policies = [\"ip\"]\nredis_away = \"closed\"");
    let mut gateway = Gateway::start(&rules).await;
    let check = |route: &str| gateway.check(json!({ "route": route, "ip": "192.0.2.7" }));

    assert_eq!(of(&check("dear").await, "ratelimit"), r#""ip";r=2;t=3601"#);
    assert_eq!(check("dear").await.status(), 429);
    assert_eq!(check("closed").await.status(), 200);

    gateway.redis.kill();
    let check = |route: &str| gateway.check(json!({ "route": route, "ip": "192.0.2.8" }));
    until(|| async { of(&check("dear").await, "sluice-ratelimit-mode") == "open" }, DEADLINE).await;
    let refused = check("closed").await;
    assert!(!of(&refused, "retry-after").is_empty());
    expect_problem(refused, 503, None).await;
}

#[tokio::test]
async fn a_check_that_makes_no_sense_names_its_field() {
    let gateway = Gateway::start(&rules()).await;
    for (body, field) in [
        (json!({}), "/policy"),
        (json!({ "policy": "user", "route": "all" }), "/policy"),
        (json!({ "policy": "none" }), "/policy"),
        (json!({ "route": "none" }), "/route"),
        (json!({ "policy": "user" }), "/ip"),
        (json!({ "policy": "ip", "user": "42" }), "/ip"),
        (json!({ "policy": "user", "user": "42", "cost": 3 }), "/cost"),
        (json!({ "policy": "user", "user": "4 2" }), "/user"),
        (json!({ "policy": "user", "users": "42" }), "/users"),
    ] {
        expect_problem(gateway.check(body).await, 422, field).await;
    }
}

#[tokio::test]
async fn a_count_can_be_seen_and_forgotten() {
    let gateway = Gateway::start(&rules()).await;
    for _ in 0..3 {
        gateway.check(of_user("user", "42")).await;
    }
    assert_eq!(gateway.used("user", "user=42").await, 2);

    let path = "/v1/ratelimit/state?policy=user&user=42";
    assert_eq!(gateway.admin.json(gateway.admin.delete(path)).await, json!({ "forgotten": true }));
    assert_eq!(gateway.used("user", "user=42").await, 0);
    assert_eq!(gateway.check(of_user("user", "42")).await.status(), 200);
    let missing = gateway.admin.get("/v1/ratelimit/state?policy=none&user=42").send().await.unwrap();
    expect_problem(missing, 422, "policy").await;
}

#[tokio::test]
async fn the_rules_that_hold_are_shown_whole() {
    let route = "[[routes]]\nname = \"a\"\nhosts = [\"x.org\", \"*.X.org\"]\npath = \"/a/{b}\"\nexact = true\nmethods = [\"GET\"]\n\
                 upstream = \"app\"\npolicies = [\"user\"]\ncost = 2\nredis_away = \"local\"\nidentity_required = true\n\
                 timeouts = { head_ms = 5 }\n";
    let gateway = Gateway::start(&(rules() + "[identity.api_key]\n" + route)).await;

    let config = gateway.admin.json(gateway.admin.get("/v1/config")).await;
    let shown = json!({
        "name": "a", "hosts": ["x.org", "*.x.org"], "path": "/a/{b}", "exact": true, "methods": ["GET", "HEAD"],
        "upstream": "app", "policies": ["user"], "cost": 2, "redis_away": "local", "identity": ["api_key"],
        "identity_required": true, "timeouts": { "connect_ms": 3000, "head_ms": 5, "idle_ms": 60000 },
    });
    assert_eq!(config["routes"][1], shown);
    let windows = |limit: u32| json!([{ "limit": limit, "window_ms": 3_600_000 }]);
    assert_eq!(
        config["policies"]["user"],
        json!({ "scope": ["user"], "windows": windows(2), "tiers": { "gold": windows(5) }, "dry_run": false })
    );
    assert_eq!(config["upstreams"], json!({ "app": [format!("http://127.0.0.1:{}", gateway.upstream)] }));
    assert_eq!(config["file"], gateway.rules_file().display().to_string());
}

#[tokio::test]
async fn the_admin_address_is_for_gateway_admins() {
    let gateway = Gateway::start(&rules()).await;
    let stranger = Client::new(&gateway.service.admin_url());
    let reader = stranger.with_key(&gateway.reader);
    for (status, client) in [(401, &stranger), (403, &reader)] {
        for request in [
            client.post("/v1/ratelimit/check", &of_user("user", "42")),
            client.get("/v1/ratelimit/state?policy=user&user=42"),
            client.delete("/v1/ratelimit/state?policy=user&user=42"),
            client.get("/v1/config"),
            client.post("/v1/config/reload", &json!(null)),
        ] {
            expect_problem(request.send().await.unwrap(), status, None).await;
        }
    }
    let auth = |key: Option<&str>| {
        let request = stranger.get("/v1/ratelimit/auth").header("x-forwarded-uri", "/");
        key.into_iter().fold(request, |request, key| request.header("sluice-gateway-key", key)).send()
    };
    assert_eq!(auth(None).await.unwrap().status(), 401);
    assert_eq!(auth(Some("sk_wrong")).await.unwrap().status(), 401);
    assert_eq!(auth(Some(&gateway.reader)).await.unwrap().status(), 403);
    assert_eq!(auth(Some(&gateway.key)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn every_route_is_described_and_every_description_is_a_route() {
    let gateway = Gateway::start(&rules()).await;
    assert_eq!(
        described_routes(&gateway.admin).await,
        [
            "DELETE /v1/ratelimit/state",
            "GET /v1/config",
            "GET /v1/ratelimit/auth",
            "GET /v1/ratelimit/state",
            "POST /v1/config/reload",
            "POST /v1/ratelimit/check",
        ]
    );
}
