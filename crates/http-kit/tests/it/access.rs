//! Keys, scopes, reload.

use crate::support::{Answer, DEADLINE, LOCAL, Log, Served, config, keys_file, routes, server, start};
use domain::Timestamp;
use http_kit::{ApiKey, AuthConfig, Authenticator};
use secrecy::{ExposeSecret, SecretString};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use testkit::until;

fn with_keys(keys: &[ApiKey]) -> Authenticator {
    let (_folder, file) = keys_file(keys);
    Authenticator::new(&AuthConfig { keys_file: Some(file), ..AuthConfig::default() }, LOCAL).unwrap()
}

fn serve(auth: Authenticator) -> Served {
    Served::start(server(config(), auth), routes)
}

#[tokio::test]
async fn without_a_key_nothing_is_told() {
    let (key, record) = ApiKey::generate("web", &["*"]).unwrap();
    let service = serve(with_keys(&[record]));
    let get = || service.client.get(service.url("/v1/cached/acme"));
    let text = key.expose_secret();
    let basic = format!("Basic {text}");
    for header in [None, Some(&*basic), Some("Bearer"), Some("Bearer sk_web_"), Some(text)] {
        let request = header.map_or_else(get, |header| get().header("Authorization", header));
        let answer = Answer::of(request).await;
        answer.problem(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="sluice""#));
    }
    for header in [format!("Bearer {text}"), format!("bearer  {text}")] {
        assert_eq!(Answer::of(get().header("Authorization", header)).await.body, r#""web""#);
    }
}

#[tokio::test]
async fn a_key_does_what_its_scopes_name_and_403_says_what_is_missing() {
    let (key, record) = ApiKey::generate("web", &["cache:read@acme-*", "cache:write@acme-1"]).unwrap();
    let service = serve(with_keys(&[record]));
    for (method, project, missing) in [
        ("GET", "acme-1", None),
        ("GET", "acme-2", None),
        ("GET", "globex", Some("cache:read@globex")),
        ("PUT", "acme-1", None),
        ("PUT", "acme-2", Some("cache:write@acme-2")),
    ] {
        let url = service.url(&format!("/v1/cached/{project}"));
        let answer =
            Answer::of(service.client.request(method.parse().unwrap(), url).bearer_auth(key.expose_secret()))
                .await;
        match missing {
            None => assert_eq!(answer.status, 200, "{method} {project}"),
            Some(scope) => {
                let detail = answer.problem(403, "forbidden")["detail"].clone();
                assert_eq!(detail, format!("the key lacks the scope {scope}"), "{method} {project}");
            }
        }
    }
}

#[tokio::test]
async fn an_expired_key_is_a_wrong_key() {
    let (key, record) = ApiKey::generate("web", &["*"]).unwrap();
    let past = ApiKey { expires_at: Some(Timestamp::from_millis(1_000)), ..record.clone() };
    let far = ApiKey { expires_at: Some("2999-01-01T00:00:00Z".parse().unwrap()), ..record };
    for (record, status) in [(past, 401), (far, 200)] {
        let service = serve(with_keys(&[record]));
        assert_eq!(service.get_with_key("/v1/cached/acme", &key).await.status, status);
    }
}

#[tokio::test]
async fn whoever_tries_keys_is_slowed_down_and_a_right_key_still_passes() {
    let (key, record) = ApiKey::generate("web", &["*"]).unwrap();
    let service = serve(with_keys(&[record]));
    let wrong = SecretString::from("sk_web_0000000000000000000000000000000000000000000");
    for _ in 0..20 {
        service.get_with_key("/v1/cached/acme", &wrong).await.problem(401, "unauthenticated");
    }

    let answer = service.get_with_key("/v1/cached/acme", &wrong).await;
    answer.problem(429, "rate-limited");
    assert!((1..=60).contains(&answer.header("retry-after").unwrap().parse::<u32>().unwrap()));
    assert_eq!(service.get_with_key("/v1/cached/acme", &key).await.status, 200);
}

#[tokio::test]
async fn keys_come_and_go_while_the_service_runs() {
    let (key, record) = ApiKey::generate("later", &["*"]).unwrap();
    let (bootstrap_key, bootstrap) = ApiKey::generate("bootstrap", &["*"]).unwrap();
    let (_, usurper) = ApiKey::generate("bootstrap", &["*"]).unwrap();
    let stored: Arc<Mutex<Result<Vec<String>, String>>> = Arc::new(Mutex::new(Ok(Vec::new())));
    let (_folder, file) = keys_file(&[bootstrap]);
    let auth = AuthConfig { keys_file: Some(file), reload_ms: 10, ..AuthConfig::default() };
    let (source, asked) = (Arc::clone(&stored), Arc::new(AtomicU32::new(0)));
    let count = Arc::clone(&asked);
    let auth = Authenticator::new(&auth, LOCAL).unwrap().with_source(move || {
        let found = source.lock().unwrap().clone();
        count.fetch_add(1, Ordering::Relaxed);
        async move { found.map_err(Into::into) }
    });
    let service = serve(auth);
    let status = async || service.get_with_key("/v1/cached/acme", &key).await.status;
    let json = |key: &ApiKey| serde_json::to_string(key).unwrap();
    assert_eq!(status().await, 401);

    *stored.lock().unwrap() = Ok(vec!["nonsense".to_owned(), json(&record), json(&usurper)]);
    until(async || status().await == 200, DEADLINE).await;
    assert_eq!(
        service.get_with_key("/v1/cached/acme", &bootstrap_key).await.status,
        200,
        "the file's key wins"
    );

    *stored.lock().unwrap() = Err("Redis is away".to_owned());
    let before = asked.load(Ordering::Relaxed);
    until(async || asked.load(Ordering::Relaxed) >= before + 3, DEADLINE).await;
    assert_eq!(status().await, 200, "kept while the source fails");

    *stored.lock().unwrap() = Ok(Vec::new());
    until(async || status().await == 401, DEADLINE).await;
}

#[tokio::test]
async fn the_last_use_of_a_key_is_told_until_somebody_knows_it_and_over_every_reading() {
    let (key, record) = ApiKey::generate("web", &["*"]).unwrap();
    let (_, unused) = ApiKey::generate("unused", &["*"]).unwrap();
    let record = serde_json::to_string(&record).unwrap();
    let (_folder, file) = keys_file(&[unused]);
    let told: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let (asked, telling) = (Arc::new(AtomicU32::new(0)), Arc::clone(&told));
    let count = Arc::clone(&asked);
    let auth = AuthConfig {
        keys_file: Some(file),
        reload_ms: 10,
        last_use_ms: 10.try_into().unwrap(),
        ..AuthConfig::default()
    };
    let auth = Authenticator::new(&auth, LOCAL)
        .unwrap()
        .with_source(move || {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(vec![record.clone()]))
        })
        .with_last_uses(move |uses| {
            let mut told = telling.lock().unwrap();
            told.push(uses.into_iter().map(|(id, _)| id).collect());
            let refused = told.len() < 3;
            async move { if refused { Err("Redis is away".into()) } else { Ok(()) } }
        });
    let service = serve(auth);
    until(async || service.get_with_key("/v1/cached/acme", &key).await.status == 200, DEADLINE).await;

    until(async || told.lock().unwrap().len() == 3, DEADLINE).await;
    let before = asked.load(Ordering::Relaxed);
    until(async || asked.load(Ordering::Relaxed) >= before + 10, DEADLINE).await;
    assert_eq!(
        *told.lock().unwrap(),
        [["web"]; 3],
        "twice in vain, then known; a key that nobody used is not named"
    );
}

#[tokio::test]
async fn a_telling_that_never_ends_holds_up_no_reading() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let (key, record) = ApiKey::generate("web", &["*"]).unwrap();
    let (_folder, file) = keys_file(&[record]);
    let auth = AuthConfig {
        keys_file: Some(file),
        reload_ms: 10,
        last_use_ms: 10.try_into().unwrap(),
        ..AuthConfig::default()
    };
    let begun = Arc::new(AtomicU32::new(0));
    let telling = Arc::clone(&begun);
    let auth = Authenticator::new(&auth, LOCAL)
        .unwrap()
        .with_source(move || {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(Vec::new()))
        })
        .with_last_uses(move |_| {
            telling.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        });
    let service = serve(auth);
    service.get_with_key("/v1/cached/acme", &key).await;
    until(async || begun.load(Ordering::Relaxed) == 1, DEADLINE).await;

    let before = asked.load(Ordering::Relaxed);
    until(async || asked.load(Ordering::Relaxed) >= before + 5, DEADLINE).await;
    assert_eq!(begun.load(Ordering::Relaxed), 1, "it is still waited for");
}

#[tokio::test]
async fn a_source_that_never_answers_is_asked_again_and_complained_of_once() {
    let (key, record) = ApiKey::generate("late", &["*"]).unwrap();
    let (asked, log) = (Arc::new(AtomicU32::new(0)), Log::default());
    let _log = log.start();
    let (count, record) = (Arc::clone(&asked), serde_json::to_string(&record).unwrap());
    let auth = AuthConfig { reload_ms: 10, ..AuthConfig::default() };
    let auth = Authenticator::new(&auth, LOCAL).unwrap().with_source(move || {
        let (turn, record) = (count.fetch_add(1, Ordering::Relaxed), record.clone());
        async move {
            match turn {
                0 => std::future::pending().await,
                1..=5 => Err("Redis is away".into()),
                _ => Ok(vec![record, "nonsense".to_owned()]),
            }
        }
    });
    let service = serve(auth);
    until(async || asked.load(Ordering::Relaxed) >= 10, DEADLINE).await;

    assert_eq!(service.get_with_key("/v1/cached/acme", &key).await.status, 200);
    for said in ["those known so far hold", "API keys are read again", "ignoring a stored API key"] {
        assert_eq!(log.text().matches(said).count(), 1, "{}", log.text());
    }
}

#[test]
fn no_setting_makes_a_revocation_wait_longer_than_5_s() {
    let default = AuthConfig::default().reload_ms;
    for (reload_ms, starts) in [(0, false), (1, true), (default, true), (3_000, true), (3_001, false)] {
        let started = Authenticator::new(&AuthConfig { reload_ms, ..AuthConfig::default() }, LOCAL);
        let wrong = started.map_err(|error| error.key).err();
        assert_eq!(wrong, (!starts).then(|| "auth.reload_ms".to_owned()), "{reload_ms} ms");
    }
}

#[tokio::test]
async fn without_authentication_everything_is_allowed() {
    assert_eq!(start().get("/v1/cached/acme").await.body, "null");
}

#[test]
fn no_authentication_is_for_loopback_only() {
    let none = AuthConfig { mode: http_kit::AuthMode::None, ..AuthConfig::default() };
    for (bind, starts) in
        [("127.0.0.1:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("192.0.2.1:1", false)]
    {
        let started = Authenticator::new(&none, bind.parse().unwrap());
        assert_eq!(
            started.map_err(|error| error.key).err(),
            (!starts).then(|| "auth.mode".to_owned()),
            "{bind}"
        );
    }
}
