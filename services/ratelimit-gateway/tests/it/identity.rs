//! Who asks: what is believed, what is not, and what the upstream hears of it.

use crate::door_support::field;
use crate::support::{DEADLINE, Gateway, all, of, policy, route};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use session::{Sessions, Token};
use testkit::{Service, expect_problem, until};

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

    let mut client = gateway.connect().await;
    let forged = "Sluice-User: a\r\nSLUICE-USER: b\r\nsluice_user: c\r\nSluice-Project: d\r\nSluice-Tier: e\r\n\
                  Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Host: f\r\n\
                  X-Original-URL: /admin\r\nX-Rewrite_Url: /admin\r\n\
                  X-Forwarded-Proto: https\r\n";
    client.send(format!("GET / HTTP/1.1\r\nHost: h.example\r\n{forged}\r\n")).await;
    let (_, head) = client.message().await;
    let names = ["sluice-user", "sluice_user", "sluice-project", "sluice-tier", "forwarded", "x-real-ip"];
    for name in names.into_iter().chain(["x-original-url", "x-rewrite_url"]) {
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
async fn keys_of_tokens_are_read_again_and_the_log_says_which_are_of_no_use() {
    let keys = |secret: &[u8]| {
        let usable = json!({ "kty": "oct", "kid": "a", "k": BASE64URL_NOPAD.encode(secret) });
        json!({ "keys": [usable, { "kty": "AKP", "kid": "b", "alg": "ML-DSA-44", "pub": "AA" }] }).to_string()
    };
    let bearer = |secret: &[u8]| {
        let claims = json!({ "sub": "auth0|1", "exp": 4_000_000_000_u64 });
        let header = Header { kid: Some("a".to_owned()), ..Header::default() };
        format!("Bearer {}", encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap())
    };
    let (old, new) = ([1; 32], [2; 32]);
    let rules = "[identity.jwt]\njwks_file = \"jwks.json\"\n".to_owned() + &all("");
    let gateway = Gateway::with(&rules, &[("jwks.json", &keys(&old))]).await;
    let head = gateway.seen("/", &[("authorization", &bearer(&old))]).await;
    assert_eq!(field(&head, "sluice-user").as_deref(), Some("auth0|1"));
    assert!(gateway.service.log().contains("jwks.json: skipped key 1: "), "{}", gateway.service.log());

    gateway.write("jwks.json", &keys(&new));
    let reloaded = || async { gateway.admin.json(gateway.admin.get("/v1/config")).await["reloads"] == 1 };
    until(reloaded, DEADLINE).await;
    assert_eq!(gateway.status("/", &[("authorization", &bearer(&old))]).await, 401);
    assert_eq!(gateway.status("/", &[("authorization", &bearer(&new))]).await, 200);
}

#[tokio::test]
async fn a_route_says_which_ways_it_accepts_and_whether_it_needs_one() {
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
async fn a_session_is_its_user_by_any_token_from_any_address() {
    let rules = "[identity]\ntrusted_hops = 1\n[identity.session]\n".to_owned()
        + &policy("p", "[\"user\"]", 2, "1h")
        + &all("policies = [\"p\"]");
    let gateway = Gateway::start(&rules).await;
    let sessions = gateway.sessions();
    let (first, second, other) =
        (login(&sessions, "ada").await, login(&sessions, "ada").await, login(&sessions, "bob").await);
    let from = async |address: &str, token: &Token| {
        gateway.status("/", &[("x-forwarded-for", address), ("sluice-session", &token.expose())]).await
    };

    assert_eq!(from("192.0.2.1", &first).await, 200);
    assert_eq!(from("192.0.2.2", &second).await, 200);
    assert_eq!(from("192.0.2.3", &first).await, 429);
    assert_eq!(from("192.0.2.3", &other).await, 200);
    assert_eq!(gateway.used("p", "user=ada").await, 2);
}

#[tokio::test]
async fn the_upstream_hears_whose_session_it_is_and_gets_the_token_as_it_came() {
    let session = "[identity.session]\nproject_attribute = \"org\"\ntier_attribute = \"plan\"\n";
    let gateway = Gateway::start(&(KEYS.to_owned() + session + &all(""))).await;
    let sessions = gateway.sessions();
    let of_session = json!({ "org": "acme", "plan": "gold" });
    let token = login_with(&sessions, "ada", &of_session).await.expose();
    let cookie = format!("a=1; __Host-sluice-session={token}; b=2");
    let identity =
        |head: &str| ["sluice-user", "sluice-project", "sluice-tier"].map(|name| field(head, name));
    let ada = ["ada", "acme", "gold"].map(|text| Some(text.to_owned()));

    for (name, value) in [("sluice-session", &token), ("cookie", &cookie)] {
        let head = gateway.seen("/", &[(name, value)]).await;
        assert_eq!(identity(&head), ada, "{name}");
        assert_eq!(field(&head, name).as_ref(), Some(value));
    }
    let bearer = format!("Bearer {}", gateway.key);
    let head = gateway.seen("/", &[("authorization", &bearer), ("sluice-session", &token)]).await;
    assert_eq!(identity(&head)[0].as_deref(), Some("key:admin"), "Authorization comes first");
    let head = gateway.seen("/", &[("authorization", "Basic eA=="), ("sluice-session", &token)]).await;
    assert_eq!(identity(&head), ada, "another scheme says nobody");
}

#[tokio::test]
async fn a_session_that_is_none_is_not_taken_for_nobody() {
    let gateway = Gateway::start(&("[identity.session]\n".to_owned() + &all(""))).await;
    let sessions = gateway.sessions();
    let (good, over) = (login(&sessions, "ada").await, login(&sessions, "ada").await);
    let key = login(&sessions, "key:admin").await.expose();
    let ill = login_with(&sessions, "ada", &json!({ "plan": "no tier" })).await.expose();
    sessions.log_out(&over).await.unwrap();
    let (good, over) = (good.expose(), over.expose());
    let guessed = format!("{}.{}", &good[..22], "A".repeat(43));

    for (name, wrong) in [
        ("sluice-session", ""),
        ("sluice-session", "x"),
        ("sluice-session", &*guessed),
        ("sluice-session", &*over),
        ("sluice-session", &*key),
    ] {
        let answer = gateway.public.get("/").header(name, wrong).send().await.unwrap();
        expect_problem(answer, 401, None).await;
    }
    assert_eq!(gateway.status("/", &[("sluice-session", &good)]).await, 200);
    assert_eq!(gateway.status("/", &[("sluice-session", &ill)]).await, 200, "no attribute is asked for");
    assert_eq!(gateway.status("/", &[]).await, 200);
}

#[tokio::test]
async fn a_cookie_that_outlived_its_session_is_nobodys_and_counts_by_address() {
    let rules = "[identity.session]\n".to_owned()
        + &policy("p", "[\"user\"]", 2, "1h")
        + &route("login", "policies = [\"p\"]")
        + &route("account", "identity_required = true");
    let gateway = Gateway::start(&rules).await;
    let sessions = gateway.sessions();
    let token = login(&sessions, "ada").await;
    let cookie = format!("__Host-sluice-session={}", token.expose());
    let shown = [("cookie", &*cookie)];
    let head = gateway.seen("/login", &shown).await;
    assert_eq!(field(&head, "sluice-user").as_deref(), Some("ada"));
    sessions.log_out(&token).await.unwrap();

    let head = gateway.seen("/login", &shown).await;
    assert_eq!(field(&head, "sluice-user"), None);
    assert_eq!(gateway.status("/account", &shown).await, 401);
    assert_eq!(gateway.status("/login", &[("cookie", "__Host-sluice-session=x")]).await, 200);
    assert_eq!(gateway.status("/login", &shown).await, 429, "one address, whatever it shows");
    assert_eq!(gateway.used("p", "user=ada").await, 1);
}

#[tokio::test]
async fn a_route_of_sessions_alone_leaves_authorization_to_its_upstream() {
    let rules =
        KEYS.to_owned() + "[identity.session]\n" + &all("identity = [\"session\"]\nidentity_required = true");
    let gateway = Gateway::start(&rules).await;
    let token = login(&gateway.sessions(), "ada").await.expose();

    let head = gateway.seen("/", &[("authorization", "Bearer sk_x"), ("sluice-session", &token)]).await;
    assert_eq!(field(&head, "sluice-user").as_deref(), Some("ada"));
    assert_eq!(field(&head, "authorization").as_deref(), Some("Bearer sk_x"));
    assert_eq!(gateway.status("/", &[]).await, 401);
    let key = format!("Bearer {}", gateway.key);
    assert_eq!(gateway.status("/", &[("authorization", &key)]).await, 401);
}

#[tokio::test]
async fn without_redis_a_session_is_nobody_where_the_route_is_open_and_503_elsewhere() {
    let rules = "[identity.session]\n".to_owned()
        + &policy("p", "[\"user\"]", 2, "1h")
        + &route("open", "redis_away = \"open\"")
        + &route("local", "redis_away = \"local\"\npolicies = [\"p\"]")
        + &route("closed", "redis_away = \"closed\"")
        + &route("needs", "redis_away = \"open\"\nidentity_required = true");
    let mut gateway = Gateway::start(&rules).await;
    let token = login(&gateway.sessions(), "ada").await.expose();
    let shown = [("sluice-session", &*token)];
    assert_eq!(gateway.status("/closed", &shown).await, 200);
    gateway.redis.kill();
    until(async || gateway.status("/closed", &shown).await == 503, DEADLINE).await;

    let head = gateway.seen("/open", &shown).await;
    assert_eq!(field(&head, "sluice-user"), None);
    for path in ["/closed", "/needs"] {
        let answer = gateway.public.get(path).header("sluice-session", &token).send().await.unwrap();
        assert_eq!(of(&answer, "retry-after"), "1");
        expect_problem(answer, 503, None).await;
    }
    assert_eq!(gateway.status("/closed", &[]).await, 200, "who shows none needs no Redis here");
    for (fields, status) in [(&shown[..], 200), (&[], 200), (&shown, 429)] {
        assert_eq!(gateway.status("/local", fields).await, status, "one address, whoever it is");
    }
    assert_eq!(
        gateway.status("/open", &[("sluice-session", "x")]).await,
        401,
        "that is none, whatever Redis says"
    );
}

#[tokio::test]
async fn rules_with_sessions_need_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.toml");
    let text = "[upstreams.app]\ntargets = [\"http://a:1\"]\n[identity.session]\n".to_owned() + &all("");
    std::fs::write(&file, text).unwrap();
    let env = [("SLUICE__RATELIMIT_GATEWAY__RULES_FILE", &*file.display().to_string())];
    let mut service = Service::spawn("ratelimit-gateway", &["--check-config"], &env);

    assert_eq!(service.wait_for_end().await, 78);
    assert!(service.log().contains("[identity.session] needs session.user_key_file"), "{}", service.log());
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
    // What a proxy cannot mean is not passed on.
    let chain = ("x-forwarded-for", "203.0.113.10");
    let head = gateway.seen("/", &[chain, ("x-forwarded-proto", "javascript")]).await;
    assert_eq!(field(&head, "x-forwarded-proto").as_deref(), Some("http"));
    let twice = [("x-forwarded-for", "203.0.113.11"), ("x-forwarded-host", "a"), ("x-forwarded-host", "b")];
    let head = gateway.seen("/", &twice).await;
    let own = format!("127.0.0.1:{}", gateway.service.port());
    assert_eq!(field(&head, "x-forwarded-host"), Some(own), "of two nobody knows which");
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

async fn login(sessions: &Sessions, user: &str) -> Token {
    login_with(sessions, user, &json!({})).await
}

async fn login_with(sessions: &Sessions, user: &str, attributes: &Value) -> Token {
    let attributes = attributes.as_object().unwrap().clone();
    sessions.create(&user.parse().unwrap(), attributes, None).await.unwrap().0
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
