//! Limits at the door: what a client sees, and what is counted.

use crate::support::{Gateway, all, of, policy, route};
use std::time::Duration;
use testkit::{expect_problem, until};

#[tokio::test]
async fn retry_after_is_a_promise() {
    let windows = "windows = [{ limit = 1, window = \"700ms\" }, { limit = 3, window = \"1h\" }]";
    let rules = format!("[policies.p]\nscope = [\"ip\"]\n{windows}\n{}", all("policies = [\"p\"]"));
    let gateway = Gateway::start(&rules).await;
    assert_eq!(gateway.status("/", &[]).await, 200);

    let denied = gateway.public.get("/").send().await.unwrap();
    let (limit, policies) = (of(&denied, "ratelimit"), of(&denied, "ratelimit-policy"));
    let wait: u64 = of(&denied, "retry-after").parse().unwrap();
    assert_eq!(policies, r#""p/700ms";q=1;w=1;sluice-window-ms=700, "p/1h";q=3;w=3600"#);
    assert_eq!(limit, r#""p/700ms";r=0;t=1, "p/1h";r=2"#);
    assert_eq!(of(&denied, "sluice-ratelimit-mode"), "exact");
    let problem = expect_problem(denied, 429, None).await;
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["violated-policies"], serde_json::json!(["p/700ms"]));

    assert_eq!(wait, 1);
    tokio::time::sleep(Duration::from_secs(wait)).await; // The promise is about time itself.
    assert_eq!(gateway.status("/", &[]).await, 200);
}

#[tokio::test]
async fn an_answer_that_passes_says_what_is_left_beside_the_upstreams_own() {
    let gateway =
        Gateway::start(&(policy("p", "[\"ip\"]", 5, "1h") + &all("policies = [\"p\"]\ncost = 2"))).await;

    let answer = gateway.public.get("/").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(of(&answer, "ratelimit-policy"), r#""own";q=2;w=3, "p";q=5;w=3600"#);
    // The window is closed: it ends a millisecond after its hour.
    assert_eq!(of(&answer, "ratelimit"), r#""own";r=1, "p";r=3;t=3601"#);
    assert_eq!(of(&answer, "sluice-ratelimit-mode"), "exact");
}

#[tokio::test]
async fn a_denial_charges_none() {
    let rules = policy("user", "[\"user\"]", 5, "1m")
        + &policy("ip", "[\"ip\"]", 1000, "1m")
        + "[identity.api_key]\n"
        + &all("policies = [\"user\", \"ip\"]");
    let gateway = Gateway::start(&rules).await;
    let user = gateway.public.with_key(&gateway.key);
    let mut passed = 0;
    for _ in 0..12 {
        passed += u32::from(user.get("/").send().await.unwrap().status() == 200);
    }

    assert_eq!(passed, 5);
    assert_eq!(gateway.used("user", "user=key:admin").await, 5);
    assert_eq!(gateway.used("ip", "ip=127.0.0.1").await, 5);
}

#[tokio::test]
async fn a_dry_run_is_counted_and_neither_refuses_nor_shows() {
    let rules = policy("p", "[\"ip\"]", 1, "1h") + "dry_run = true\n" + &all("policies = [\"p\"]");
    let gateway = Gateway::start(&rules).await;

    for _ in 0..3 {
        let answer = gateway.public.get("/").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(of(&answer, "ratelimit"), r#""own";r=1"#);
    }
    assert!(gateway.used("p", "ip=127.0.0.1").await >= 1);
}

#[tokio::test]
async fn without_redis_each_route_does_what_its_rules_say() {
    let away = |name: &str| route(name, &format!("policies = [\"p\"]\nredis_away = \"{name}\""));
    let rules = policy("p", "[\"ip\"]", 2, "1h") + &away("open") + &away("closed") + &away("local");
    let mut gateway = Gateway::start(&rules).await;
    gateway.redis.kill();
    let is_away = || async {
        let answer = gateway.public.get("/open").send().await.unwrap();
        of(&answer, "sluice-ratelimit-mode") == "open"
    };
    until(is_away, Duration::from_secs(60)).await;

    assert_eq!(gateway.status("/open", &[]).await, 200);
    let closed = gateway.public.get("/closed").send().await.unwrap();
    assert!(!of(&closed, "retry-after").is_empty());
    let problem = expect_problem(closed, 503, None).await;
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answer = gateway.public.get("/local").send().await.unwrap();
        assert_eq!(of(&answer, "sluice-ratelimit-mode"), "local");
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429]);
}
