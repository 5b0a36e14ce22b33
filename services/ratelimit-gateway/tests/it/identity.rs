//! Who asks: what is believed, what is not, and what the upstream hears of it.

use crate::door_support::{Wire, field};
use crate::support::{Gateway, all, policy};
use testkit::expect_problem;
use tokio::net::TcpStream;

const KEYS: &str = "[identity.api_key.keys.admin]\nproject = \"acme\"\ntier = \"gold\"\n";

#[tokio::test]
async fn the_upstream_hears_who_asks_and_nobody_can_forge_it() {
    let gateway = Gateway::start(&(KEYS.to_owned() + &all(""))).await;
    let bearer = format!("Bearer {}", gateway.key);

    let head = gateway.seen("/", &[("authorization", &bearer)]).await;
    assert_eq!(field(&head, "sluice-user").as_deref(), Some("key:admin"));
    assert_eq!(field(&head, "sluice-project").as_deref(), Some("acme"));
    assert_eq!(field(&head, "sluice-tier").as_deref(), Some("gold"));
    assert_eq!(field(&head, "authorization").as_deref(), Some(&*bearer), "the services ask for it again");

    let mut client = Wire::new(TcpStream::connect(("127.0.0.1", gateway.service.port())).await.unwrap());
    let forged = "Sluice-User: a\r\nSLUICE-USER: b\r\nsluice_user: c\r\nSluice-Project: d\r\nSluice-Tier: e\r\n\
                  Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Host: f\r\n\
                  X-Forwarded-Proto: https\r\n";
    client.send(format!("GET / HTTP/1.1\r\nHost: h.example\r\n{forged}\r\n")).await;
    let (_, head) = client.message().await;
    for name in ["sluice-user", "sluice_user", "sluice-project", "sluice-tier", "forwarded", "x-real-ip"] {
        assert_eq!(field(&head, name), None, "{name}");
    }
    assert_eq!(field(&head, "x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(field(&head, "x-forwarded-host").as_deref(), Some("h.example"));
    assert_eq!(field(&head, "x-forwarded-proto").as_deref(), Some("http"));
}

#[tokio::test]
async fn who_shows_a_wrong_identity_is_not_taken_for_nobody() {
    let gateway = Gateway::start(&(KEYS.to_owned() + &all(""))).await;

    for wrong in ["Bearer sk_admin_wrong", "bearer sk_x", "Bearer", "Bearer a.b.c", "BEARER sk_admin_\u{e9}"]
    {
        let answer = gateway.public.get("/").header("authorization", wrong).send().await.unwrap();
        expect_problem(answer, 401, None).await;
    }
    let twice = gateway.public.with_key(&gateway.key).get("/").header("authorization", "Basic eA==");
    expect_problem(twice.send().await.unwrap(), 401, None).await;
    let head = gateway.seen("/", &[("authorization", "Basic eA==")]).await;
    assert_eq!(field(&head, "sluice-user"), None, "another scheme is the upstream's");
}

#[tokio::test]
async fn wrong_credentials_are_throttled_by_address_and_right_ones_never() {
    let gateway = Gateway::start(&(KEYS.to_owned() + &all(""))).await;

    let mut statuses = Vec::new();
    for _ in 0..22 {
        statuses.push(gateway.status("/", &[("authorization", "Bearer sk_admin_wrong")]).await);
    }
    assert_eq!((statuses[19], statuses[20], statuses[21]), (401, 429, 429));
    assert_eq!(gateway.public.with_key(&gateway.key).get("/").send().await.unwrap().status(), 200);
    assert_eq!(gateway.status("/", &[]).await, 200);
}

#[tokio::test]
async fn a_route_says_which_ways_it_accepts_and_whether_it_needs_one() {
    let route = |name: &str, terms: &str| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"app\"\n{terms}\n")
    };
    let rules =
        KEYS.to_owned() + &route("needs", "identity_required = true") + &route("none", "identity = []");
    let gateway = Gateway::start(&rules).await;
    let right = format!("Bearer {}", gateway.key);

    assert_eq!(gateway.status("/needs", &[]).await, 401);
    assert_eq!(gateway.status("/needs", &[("authorization", &right)]).await, 200);
    let head = gateway.seen("/none", &[("authorization", "Bearer whatever")]).await;
    assert_eq!(field(&head, "authorization").as_deref(), Some("Bearer whatever"));
    let head = gateway.seen("/none", &[("authorization", &right)]).await;
    assert_eq!(field(&head, "sluice-user"), None);
}

#[tokio::test]
async fn an_address_counts_as_the_trusted_proxy_saw_it() {
    let rules = "[identity]\ntrusted_hops = 1\n".to_owned()
        + &policy("p", "[\"ip\"]", 1, "1h")
        + &all("policies = [\"p\"]");
    let gateway = Gateway::start(&rules).await;

    let head = gateway
        .seen("/", &[("x-forwarded-for", "9.9.9.9, 203.0.113.9:5555"), ("x-forwarded-proto", "https")])
        .await;
    assert_eq!(field(&head, "x-forwarded-for").as_deref(), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(field(&head, "x-forwarded-proto").as_deref(), Some("https"));
    for (chain, status) in [
        ("8.8.8.8, 203.0.113.9", 429),
        ("[::ffff:203.0.113.9]:1", 429),
        ("64:ff9b::203.0.113.9", 429),
        ("2001:db8::1", 200),
        ("2001:db8::ffff:2", 429),
        ("2001:db8:0:1::1", 200),
        ("garbage", 200),
        ("", 429),
    ] {
        assert_eq!(gateway.status("/", &[("x-forwarded-for", chain)]).await, status, "{chain}");
    }
    assert_eq!(gateway.used("p", "ip=127.0.0.1").await, 1, "garbage is the socket's");
}

#[tokio::test]
async fn a_correlation_id_goes_through_and_is_made_where_there_is_none() {
    let gateway = Gateway::start(&all("")).await;

    let answer = gateway
        .public
        .get("/")
        .header("x-correlation-id", "c-1")
        .header("traceparent", TRACE)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-correlation-id"], "c-1");
    let head = answer.text().await.unwrap();
    assert_eq!(field(&head, "x-correlation-id").as_deref(), Some("c-1"));
    assert_eq!(field(&head, "traceparent").as_deref(), Some(TRACE));

    let answer = gateway.public.get("/").header("x-correlation-id", "not one!").send().await.unwrap();
    let made = answer.headers()["x-correlation-id"].to_str().unwrap().to_owned();
    let head = answer.text().await.unwrap();
    assert_eq!((made.len(), made.as_bytes()[14]), (36, b'7'), "{made}");
    assert_eq!(field(&head, "x-correlation-id"), Some(made));
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
