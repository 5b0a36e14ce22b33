//! Other rules while requests pass; and rules that are none.

use crate::support::{DEADLINE, FIRST_LINE, Gateway, all, policy};
use testkit::{Service, expect_problem, until};

#[tokio::test]
async fn a_changed_file_holds_within_seconds_and_refills_no_budget() {
    let limited = |limit| policy("p", "[\"ip\"]", limit, "1h") + &all("policies = [\"p\"]");
    let gateway = Gateway::start(&limited(2)).await;
    assert_eq!(gateway.status("/", &[]).await, 200);

    gateway.rewrite(&limited(3));
    let holds = || async {
        let config = gateway.admin.json(gateway.admin.get("/v1/config")).await;
        config["policies"]["p"]["windows"][0]["limit"] == 3 && config["reloads"] == 1
    };
    until(holds, DEADLINE).await;

    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(gateway.status("/", &[]).await);
    }
    assert_eq!(statuses, [200, 200, 429], "one of three was used before");
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_rules_and_names_its_line() {
    let gateway = Gateway::start(&all("")).await;
    gateway.rewrite(&all("cots = 1"));
    let place = format!("{}:{}: unknown field `cots`", gateway.rules_file().display(), FIRST_LINE + 4);

    let refused = gateway.admin.post("/v1/config/reload", &serde_json::json!(null)).send().await.unwrap();
    let problem = expect_problem(refused, 422, &*format!("line {}", FIRST_LINE + 4)).await;
    assert!(problem["detail"].as_str().unwrap().contains(&place), "{problem}");
    let config = gateway.admin.json(gateway.admin.get("/v1/config")).await;
    assert!(config["error"].as_str().unwrap().starts_with(&place), "{config}");
    assert!(gateway.service.log().contains(&place));
    assert_eq!(gateway.status("/", &[]).await, 200);

    gateway.rewrite(&all("cost = 1"));
    let mended = gateway.admin.post("/v1/config/reload", &serde_json::json!(null));
    assert_eq!(gateway.admin.json(mended).await["routes"], 1);
    let config = gateway.admin.json(gateway.admin.get("/v1/config")).await;
    assert_eq!(config["error"], serde_json::Value::Null);
}

#[tokio::test]
async fn files_that_are_gone_keep_the_old_rules_until_they_are_back() {
    let rules = "[identity.jwt]\njwks_file = \"jwks.json\"\n".to_owned() + &all("");
    let keys = r#"{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}"#;
    let gateway = Gateway::with(&rules, &[("jwks.json", keys)]).await;
    let error = async || gateway.admin.json(gateway.admin.get("/v1/config")).await["error"].clone();
    let is_gone = async || error().await.as_str().is_some_and(|error| error.contains("No such file"));

    let keys_file = gateway.rules_file().with_file_name("jwks.json");
    for file in [gateway.rules_file(), keys_file] {
        let text = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        until(is_gone, DEADLINE).await;
        assert_eq!(gateway.status("/", &[]).await, 200, "{}", file.display());

        std::fs::write(&file, text).unwrap();
        until(async || error().await.is_null(), DEADLINE).await;
    }
}

#[tokio::test]
async fn no_request_is_dropped_by_a_reload() {
    let gateway = Gateway::start(&all("")).await;
    let reload = async {
        for _ in 0..20 {
            let again = gateway.admin.post("/v1/config/reload", &serde_json::json!(null));
            gateway.admin.json(again).await;
        }
    };
    let requests = async {
        for turn in 0..200 {
            assert_eq!(gateway.status("/", &[]).await, 200, "{turn}");
        }
    };

    tokio::join!(reload, requests);
}

/// Of files that did not change: those the watch leaves alone.
#[tokio::test]
async fn sighup_reads_the_rules_again() {
    let gateway = Gateway::start(&all("")).await;
    let pid = gateway.service.pid().to_string();
    let sent = std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap();
    assert!(sent.success());

    let reloaded = || async { gateway.admin.json(gateway.admin.get("/v1/config")).await["reloads"] == 1 };
    until(reloaded, DEADLINE).await;
    assert_eq!(gateway.status("/", &[]).await, 200);
}

#[tokio::test]
async fn a_bad_file_at_the_start_ends_it_with_78_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.toml");
    let text = "[upstreams.a]\ntargets = [\"http://a:1\"]\n[[routes]]\nname = \"a\"\npath = \"/\"\nupstream = \"b\"\n";
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    for arguments in [&[][..], &["--check-config"]] {
        let env = [("SLUICE__RATELIMIT_GATEWAY__RULES_FILE", &*path)];
        let mut service = Service::spawn("ratelimit-gateway", arguments, &env);
        assert_eq!(service.wait_for_end().await, 78);
        let log = service.log();
        assert!(log.contains(&format!("rules_file: {path}:6: there is no upstream of this name")), "{log}");
    }
}
