//! A whole process: command line, signals, exit codes. The process is this test binary itself, run as [`child`].

use crate::configuration::Config;
use crate::support::{DEADLINE, keys_file, routes};
use http_kit::{ApiKey, Authenticator, ConfigError, Exit, HttpConfig, Server, Sources, start};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::collections::HashMap;
use std::process::{ExitStatus, Output, Stdio};
use testkit::{Authority, free_port, until};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const ARGUMENTS: &str = "CHILD_ARGUMENTS";

/// Not a test: the service that the tests below start as a process.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments = arguments.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let exit = start("cache-api", arguments, &Sources::of_process(), run);
    std::process::exit(i32::from(exit.code()));
}

async fn run(
    config: Config,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if config.cache_api.fails {
        return Err("no luck today".into());
    }
    let auth = Authenticator::new(&config.auth, config.cache_api.bind)?;
    let does = config.cache_api.token.as_ref().map_or("", ExposeSecret::expose_secret).to_owned();
    if does == "blocks" {
        drop(tokio::task::spawn_blocking(std::thread::park));
    }
    let http = HttpConfig { workers: 1, ..config.http };
    let server = Server::bind("cache-api", config.cache_api.bind, http, auth)?.before_stop(|| async move {
        if does == "hangs" {
            std::future::pending::<()>().await;
        }
    });
    Ok(server.run(routes, stop).await?)
}

fn process(arguments: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["process::child", "--exact", "--nocapture"])
        .env(ARGUMENTS, arguments)
        .env("SLUICE__LOG__FORMAT", "json")
        .env("SLUICE__HTTP__STOP_DELAY_MS", "0")
        .envs(environment.iter().copied())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(arguments: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = process(arguments, environment).output().await.unwrap();
    let text = [stdout, stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (status.code(), text)
}

pub(crate) async fn running(environment: &[(&str, &str)]) -> (Child, String) {
    let bind = format!("127.0.0.1:{}", free_port());
    let defaults = [("SLUICE__CACHE_API__BIND", &*bind), ("SLUICE__AUTH__MODE", "none")];
    let environment = [&defaults, environment].concat();
    let child = process("", &environment).spawn().unwrap();
    let url = format!("http://{bind}/health/live");
    until(async || reqwest::get(&url).await.is_ok(), DEADLINE).await;
    (child, bind)
}

pub(crate) async fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().await.unwrap().success());
}

pub(crate) async fn end(mut child: Child) -> ExitStatus {
    tokio::time::timeout(DEADLINE, child.wait()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_wrong_configuration_is_exit_code_78_and_names_itself() {
    for (environment, named) in [
        (("SLUICE__CACHE_API__BIND", "nowhere"), "cache_api.bind"),
        (("SLUICE__CACHE_API__COLOUR", "red"), "cache_api.colour"),
        (("SLUICE__AUTH__KEYS_FILE", "/nowhere"), "auth.keys_file: /nowhere"),
        (("SLUICE_CONFIG", "/nowhere/sluice.toml"), "/nowhere/sluice.toml"),
    ] {
        for arguments in ["", "--check-config", "health"] {
            let (code, text) = output(arguments, &[environment]).await;
            assert_eq!(code, Some(78), "{text}");
            assert!(text.contains(named), "{named}: {text}");
        }
    }
}

#[tokio::test]
async fn check_config_prints_what_holds_and_masks_secrets() {
    let (code, text) = output("--check-config", &[("SLUICE__CACHE_API__TOKEN", "hunter2")]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("127.0.0.1:5241") && text.contains("REDACTED") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_wrong_command_line_is_exit_code_64_and_shows_the_usage() {
    let (code, text) = output("--verbose", &[]).await;
    assert_eq!(code, Some(64));
    assert!(text.contains("unknown arguments: --verbose") && text.contains("usage: cache-api"), "{text}");
    assert_eq!(output("--version", &[]).await.0, Some(0));
    assert_eq!(output("--help", &[]).await.0, Some(0));
}

#[tokio::test]
async fn a_service_that_fails_says_why_in_its_log() {
    let (code, text) = output("", &[("SLUICE__CACHE_API__FAILS", "true")]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains(r#""message":"cache-api failed: no luck today""#), "{text}");
}

#[tokio::test]
async fn health_asks_the_running_service() {
    let (child, bind) = running(&[]).await;
    let bind = [("SLUICE__CACHE_API__BIND", &*bind)];
    assert_eq!(output("health", &bind).await.0, Some(0));
    signal(&child, "TERM").await;
    end(child).await;
    assert_eq!(output("health", &bind).await.0, Some(1));
}

#[tokio::test]
async fn health_asks_by_tls_where_the_service_speaks_it() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (cert, key) = authority.issue(&["api.example.org"]).write(folder.path(), "server");
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    for (client_ca, said) in [("", "cache-api lives\n"), (cert, "lives, and asks for a client's certificate")]
    {
        let bind = format!("127.0.0.1:{}", free_port());
        let environment = [
            ("SLUICE__CACHE_API__BIND", &*bind),
            ("SLUICE__HTTP__TLS__CERT_FILE", cert),
            ("SLUICE__HTTP__TLS__KEY_FILE", key),
            ("SLUICE__HTTP__TLS__CLIENT_CA_FILE", client_ca),
        ];
        let _child = process("", &environment).spawn().unwrap();
        until(async || output("health", &environment).await.0 == Some(0), DEADLINE).await;

        let (_, text) = output("health", &environment).await;
        assert!(text.contains(said), "{text}");
        assert_eq!(output("health", &environment[..1]).await.0, Some(1), "plain HTTP is no answer");
    }
}

#[tokio::test]
async fn health_wants_a_200_within_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bind = listener.local_addr().unwrap().to_string();
    let mut answers = JoinSet::new();
    answers.spawn(async move {
        let mut open = Vec::new();
        for answer in ["HTTP/1.1 503 No\r\n\r\n", ""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            open.push(stream);
        }
        std::future::pending::<()>().await;
    });
    for said in ["answers HTTP/1.1 503", "does not answer on"] {
        let bind = [("SLUICE__CACHE_API__BIND", &*bind)];
        let (code, text) = tokio::time::timeout(DEADLINE, output("health", &bind)).await.unwrap();
        assert!(code == Some(1) && text.contains(said), "{said}: {text}");
    }
}

#[tokio::test]
async fn sluice_toml_of_the_working_folder_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sluice.toml"), "[cache_api]\nbind = \"127.0.0.1:9\"\n").unwrap();
    let output = process("--check-config", &[]).current_dir(folder.path()).output().await.unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("127.0.0.1:9"));
}

#[tokio::test]
async fn the_log_tells_failures_of_ours_by_their_correlation_id_and_not_each_request() {
    let (child, bind) = running(&[]).await;
    let get = |path: &str, id: &str| {
        let request = reqwest::Client::new().get(format!("http://{bind}{path}"));
        request.header("X-Correlation-ID", id).send()
    };
    for (path, id) in [("/v1/panic", "panic-1"), ("/v1/correlation", "fine-1"), ("/v1/none", "none-1")] {
        get(path, id).await.unwrap();
    }
    let begin = std::time::Instant::now();
    for _ in 0..50 {
        get("/v1/mistake", "mistake-1").await.unwrap();
    }
    let seconds = begin.elapsed().as_secs() as usize;
    signal(&child, "TERM").await;

    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |message: &str, level: &str, id: &str| {
        let is = |line: &&Value| line["message"].as_str().unwrap().starts_with(message);
        lines.iter().filter(is).filter(|line| line["level"] == level && line["correlation_id"] == id).count()
    };
    assert_eq!(count("panicked: on purpose", "error", "panic-1"), 1, "{log}");
    assert_eq!(
        count("a request failed by a mistake of ours: the password", "error", "mistake-1"),
        50,
        "{log}"
    );
    let warned = count("answered 500 on /v1/mistake", "warn", "mistake-1");
    assert!((1..=10 * (seconds + 2)).contains(&warned), "{warned} in {seconds} s");
    assert_eq!(count("", "info", "fine-1") + count("", "info", "none-1"), 0, "{log}");
}

#[tokio::test]
async fn the_access_log_tells_each_answer_by_its_route_and_nothing_that_the_client_wrote() {
    let (child, bind) = running(&[("SLUICE__HTTP__ACCESS_LOG", "true")]).await;
    for (path, id) in [
        ("/v1/entries/hunter2/hunter2?key=hunter2", "found-1"),
        ("/hunter2", "none-1"),
        (&*format!("/{}", "hunter2".repeat(2000)), "long-1"),
        ("/v1/panic", "panic-1"),
        ("/v1/mistake", "mistake-1"),
    ] {
        let request = reqwest::Client::new().get(format!("http://{bind}{path}"));
        request.header("X-Correlation-ID", id).send().await.unwrap();
    }
    signal(&child, "TERM").await;

    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (id, level, route, status) in [
        ("found-1", "info", "/v1/entries/{project}/{name:.*}", 200),
        ("none-1", "info", "none", 404),
        ("long-1", "info", "none", 414),
        ("panic-1", "warn", "none", 500),
        ("mistake-1", "warn", "/v1/mistake", 500),
    ] {
        let of_answer =
            |line: &&Value| line["correlation_id"] == id && line["fields"]["http.status"] == status;
        let of_answer: Vec<_> = lines.iter().filter(of_answer).collect();
        let [line] = of_answer[..] else { panic!("{id}: {log}") };
        assert_eq!((&line["level"], &line["target"]), (&level.into(), &"access".into()), "{line}");
        let fields = &line["fields"];
        assert_eq!((&fields["http.method"], &fields["http.route"]), (&"GET".into(), &route.into()), "{line}");
        assert!(fields["latency_us"].is_u64(), "{line}");
    }
    let answers = log.lines().filter(|line| line.contains("http.status"));
    assert!(answers.clone().count() >= 5 && !answers.clone().any(|line| line.contains("hunter2")), "{log}");
}

#[tokio::test]
async fn a_signal_stops_the_service_cleanly() {
    for name in ["TERM", "INT"] {
        let (child, _) = running(&[]).await;
        signal(&child, name).await;
        assert_eq!(end(child).await.code(), Some(0), "{name}");
    }
}

#[tokio::test]
async fn a_thread_that_blocks_does_not_hold_the_stop() {
    let (child, _) = running(&[("SLUICE__CACHE_API__TOKEN", "blocks")]).await;
    signal(&child, "TERM").await;
    assert_eq!(end(child).await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_quits_at_once() {
    let (child, bind) =
        running(&[("SLUICE__CACHE_API__TOKEN", "hangs"), ("SLUICE__HTTP__GRACE_MS", "3600000")]).await;
    signal(&child, "TERM").await;
    let ready = format!("http://{bind}/health/ready");
    until(async || reqwest::get(&ready).await.unwrap().status() == 503, DEADLINE).await;

    signal(&child, "TERM").await;
    assert_eq!(end(child).await.code(), Some(1));
}

#[tokio::test]
async fn neither_a_key_nor_a_body_shows_in_the_log_at_any_level() {
    let (key, record) = ApiKey::generate("web", &["*"]).unwrap();
    let (_folder, file) = keys_file(&[record]);
    let wrong = format!("sk_web_{}", "w".repeat(43));
    let (child, bind) = running(&[
        ("SLUICE__AUTH__MODE", "keys"),
        ("SLUICE__AUTH__KEYS_FILE", file.to_str().unwrap()),
        ("SLUICE__LOG__LEVEL", "trace"),
        ("SLUICE__HTTP__ACCESS_LOG", "true"),
    ])
    .await;
    let client = reqwest::Client::new();
    for (key, path, status) in [
        (key.expose_secret(), "/v1/cached/acme", 200),
        (&*wrong, "/v1/cached/acme", 401),
        (key.expose_secret(), "/v1/panic", 500),
    ] {
        let answer = client.get(format!("http://{bind}{path}")).bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
    for body in [
        r#"{"queue":"a","payload":"hunter2"}"#,
        r#"{"queue":"hunter2!"}"#,
        r#"{"queue":"a","priority":"hunter2"}"#,
        r#"{"hunter2"#,
    ] {
        let request =
            client.post(format!("http://{bind}/v1/tasks")).header("Content-Type", "application/json");
        request.body(body).send().await.unwrap();
    }
    signal(&child, "TERM").await;

    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("answered 401") && log.contains("answered 422"), "{log}");
    for secret in [key.expose_secret(), &*wrong, "hunter2"] {
        assert!(!log.contains(secret), "{}", log.lines().find(|line| line.contains(secret)).unwrap());
    }
}

#[test]
fn an_exit_has_the_code_of_sysexits() {
    assert_eq!([Exit::OK, Exit::FAILED, Exit::USAGE, Exit::CONFIG].map(Exit::code), [0, 1, 64, 78]);
    let error = ConfigError::value("http.workers", "too many");
    assert_eq!(error.to_string(), "http.workers: too many");
    let _: HashMap<String, String> = Sources::default().environment;
}
