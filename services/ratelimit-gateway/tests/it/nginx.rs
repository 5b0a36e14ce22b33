//! Forward-auth, asked by a real nginx with the recipe of docs/gateway.md.

use crate::support::{DEADLINE, Gateway, all, of, policy, route};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use testkit::{Client, expect_problem, free_port, until};

/// nginx, from a configuration in a folder of its own.
struct Nginx {
    process: Child,
    client: Client,
    folder: TempDir,
}

impl Nginx {
    async fn start(gateway: &Gateway) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let recipe = include_str!("../../../../docs/gateway.md");
        let recipe = recipe.split("```nginx\n").nth(1).and_then(|text| text.split("```").next()).unwrap();
        let recipe = recipe
            .replace("listen 80;", &format!("listen 127.0.0.1:{port};"))
            .replace("127.0.0.1:5252", &format!("127.0.0.1:{}", gateway.service.admin_port()))
            .replace("127.0.0.1:8000", &format!("127.0.0.1:{}", gateway.upstream))
            .replace("sk_nginx_…", &gateway.key);
        let temp = |kind: &str| format!("{kind}_temp_path {kind};");
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(temp).join(" ");
        let text = format!(
            "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr;\n\
             events {{}}\nhttp {{ access_log off; {paths}\n{recipe}\n}}"
        );
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let log = std::fs::File::create(folder.path().join("stderr")).unwrap();
        let mut command = Command::new(if std::path::Path::new("/usr/sbin/nginx").exists() {
            "/usr/sbin/nginx"
        } else {
            "nginx"
        });
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(folder.path());
        let process =
            command.stderr(log).stdout(Stdio::null()).spawn().expect("nginx is installed: make bootstrap");
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        let nginx = Self { process, client, folder };
        let log = nginx.folder.path().join("stderr");
        let answers = || async { nginx.client.get("/open").send().await.is_ok() };
        until(answers, DEADLINE).await;
        assert!(!std::fs::read_to_string(log).unwrap().contains("[emerg]"));
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn rules() -> String {
    policy("p", "[\"ip\"]", 5, "1m")
        + "[identity.api_key]\n"
        + &route("open", "")
        + &route("known", "identity_required = true")
        + &all("policies = [\"p\"]")
}

#[tokio::test]
async fn the_user_of_an_nginx_sees_the_limit_and_when_to_come_again() {
    let gateway = Gateway::start(&rules()).await;
    let nginx = Nginx::start(&gateway).await;

    for turn in 1..=5 {
        let answer = nginx.client.get("/a").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{turn}");
    }
    let denied = nginx.client.get("/a").send().await.unwrap();
    assert_eq!(denied.status(), 429);
    let wait: u64 = of(&denied, "retry-after").parse().unwrap();
    assert!((50..=61).contains(&wait), "{wait}");
    assert!(of(&denied, "ratelimit").starts_with("\"p\";r=0;t="));
    assert_eq!(of(&denied, "content-type"), "application/problem+json");
    assert_eq!(gateway.used("p", "ip=127.0.0.1").await, 5, "counted for nginx's client");
    assert_eq!(nginx.client.get("/open").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_nginx_passes_on_who_asks_and_refuses_who_does_not_say() {
    let gateway = Gateway::start(&rules()).await;
    let nginx = Nginx::start(&gateway).await;

    let known = || nginx.client.get("/known");
    assert_eq!(known().send().await.unwrap().status(), 401);
    for name in ["x-forwarded-uri", "x-original-uri", "x-original-url"] {
        assert_eq!(known().header(name, "/open").send().await.unwrap().status(), 401, "{name}");
    }
    let user = nginx.client.with_key(&gateway.key);
    let forged = ["sluice-user", "sluice-project", "sluice-tier"];
    let asked = forged.iter().fold(user.get("/known"), |asked, name| asked.header(*name, "forged"));
    let head = asked.send().await.unwrap().text().await.unwrap();
    let fields: Vec<&str> = head.lines().filter(|line| line.to_lowercase().starts_with("sluice-")).collect();
    assert_eq!(fields, ["Sluice-User: key:admin"], "{head}");
}

#[tokio::test]
async fn another_proxy_hears_the_status_itself() {
    let gateway = Gateway::start(&rules()).await;
    let ask = |uri: &str, client: &str| {
        let request = Client::new(&gateway.service.admin_url()).get("/v1/ratelimit/auth");
        let request = request.header("sluice-gateway-key", &gateway.key).header("x-forwarded-for", client);
        request.header("x-forwarded-uri", uri).header("x-forwarded-method", "POST").send()
    };

    for _ in 0..5 {
        assert_eq!(ask("/a?b=c", "192.0.2.7").await.unwrap().status(), 200);
    }
    let denied = ask("/a", "9.9.9.9, 192.0.2.7").await.unwrap();
    assert!(!of(&denied, "retry-after").is_empty());
    expect_problem_of(denied, 429).await;
    assert_eq!(ask("/a", "192.0.2.8").await.unwrap().status(), 200);
    assert_eq!(ask("/a%2Fb", "192.0.2.8").await.unwrap().status(), 400);
    assert_eq!(ask("/known", "192.0.2.8").await.unwrap().status(), 401);
    let nothing = gateway.admin.get("/v1/ratelimit/auth").header("sluice-gateway-key", &gateway.key);
    expect_problem(nothing.send().await.unwrap(), 422, "X-Forwarded-Uri").await;
}

/// A proxy that sets one kind of field passes on what its client wrote into the other.
#[tokio::test]
async fn a_request_that_is_described_in_two_ways_is_not_judged() {
    let rules =
        route("open", "") + &route("posted", "methods = [\"POST\"]") + &route("at", "hosts = [\"a.org\"]");
    let gateway = Gateway::start(&rules).await;
    let ask = async |fields: &[(&str, &str)]| {
        let request = Client::new(&gateway.service.admin_url()).get("/v1/ratelimit/auth");
        let request = request.header("sluice-gateway-key", &gateway.key);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };

    for (fields, status) in [
        (&[("x-forwarded-uri", "/open")][..], 200),
        (&[("x-original-uri", "/open")], 200),
        (&[("x-original-url", "http://x.org/open")], 200),
        (&[("x-original-uri", "/closed"), ("x-forwarded-uri", "/open")], 422),
        (&[("x-original-url", "http://x.org/closed"), ("x-original-uri", "/open")], 422),
        (&[("x-forwarded-uri", "/open"), ("x-forwarded-uri", "/closed")], 422),
        (&[("x-original-uri", "/posted"), ("x-original-method", "POST")], 200),
        (&[("x-original-uri", "/posted"), ("x-forwarded-method", "POST")], 405),
        (&[("x-forwarded-uri", "/posted"), ("x-original-method", "POST")], 405),
        (
            &[("x-forwarded-uri", "/posted"), ("x-forwarded-method", "POST"), ("x-forwarded-method", "GET")],
            422,
        ),
        (&[("x-original-url", "http://a.org/at")], 200),
        (&[("x-original-url", "http://b.org/at"), ("x-forwarded-host", "a.org")], 404),
        (&[("x-original-uri", "/at"), ("x-forwarded-host", "a.org")], 200),
        (&[("x-original-uri", "/at"), ("x-forwarded-host", "a.org"), ("x-forwarded-host", "b.org")], 422),
    ] {
        assert_eq!(ask(fields).await, status, "{fields:?}");
    }
}

/// The instance is the path that the other proxy was asked for.
async fn expect_problem_of(answer: reqwest::Response, status: u16) {
    assert_eq!(answer.status(), status);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!((&problem["status"], &problem["instance"]), (&status.into(), &"/a".into()));
}
