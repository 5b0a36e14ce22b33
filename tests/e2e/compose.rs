//! `docker compose` as a newcomer types it, for one project that is gone after the test.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use testkit::{Client, until};

use crate::stack::{Addresses, Stack};

const READY_WITHIN: Duration = Duration::from_secs(120);
/// Each service with the port that tells its health.
const SERVICES: [(&str, u16); 4] =
    [("cache-api", 5241), ("ratelimit-gateway", 5252), ("queue-worker", 5243), ("progress-sse", 5244)];
const PORTS: [&str; 4] =
    ["SLUICE_CACHE_API_PORT", "SLUICE_GATEWAY_PORT", "SLUICE_GATEWAY_ADMIN_PORT", "SLUICE_PROGRESS_SSE_PORT"];

pub(crate) struct Compose {
    project: String,
    /// `docker compose`, or `docker-compose` where there is no plugin.
    program: Vec<String>,
    /// With `docker-compose.tls.yml` laid over the stack.
    pub(crate) with_tls: bool,
}

impl Compose {
    /// Builds the images with the shipped files.
    pub(crate) fn build() -> Self {
        let plugin = Command::new("docker").args(["compose", "version"]).output();
        let program = match plugin {
            Ok(output) if output.status.success() => vec!["docker".to_owned(), "compose".to_owned()],
            _ => vec!["docker-compose".to_owned()],
        };
        let compose =
            Self { project: format!("sluice-e2e-{}", std::process::id()), program, with_tls: false };
        compose.run(&["build"]);
        compose
    }

    /// Starts two of each service, of the gateway too.
    pub(crate) fn up(&self) {
        let scales = SERVICES.map(|(service, _)| format!("--scale={service}=2"));
        let scales = scales.iter().map(String::as_str);
        self.run(&["up", "-d"].into_iter().chain(scales).collect::<Vec<_>>());
    }

    /// Stops all, and removes containers, networks and volumes.
    pub(crate) fn down(&self) {
        self.run(&["down", "--volumes", "--remove-orphans"]);
    }

    /// Waits until every replica says that it is ready.
    pub(crate) async fn ready(&self) -> Stack {
        let key = self.run(&["run", "--rm", "init", "show-key"]);
        // Compose may say more before it; the key is the last word.
        let key = key.split_whitespace().last().unwrap();
        for (service, port) in SERVICES {
            for url in self.urls(service, port) {
                let client = Client::new(&url);
                let ready = async || {
                    client.get("/health/ready").send().await.is_ok_and(|it| it.status().is_success())
                };
                until(ready, READY_WITHIN).await;
            }
        }
        let addresses = Addresses {
            gateways: self.urls("ratelimit-gateway", 5242),
            caches: self.urls("cache-api", 5241),
            queues: self.urls("queue-worker", 5243),
            progress: self.urls("progress-sse", 5244),
        };
        Stack::at(&addresses, key)
    }

    /// Runs a compose command, which has to succeed, and returns what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(["-f", "docker-compose.yml"]);
        if self.with_tls {
            command.args(["-f", "docker-compose.tls.yml"]);
        }
        command.args(["-p", &self.project]).args(arguments).current_dir(root());
        // Two of a service cannot have one port: any free ones.
        command.envs(PORTS.map(|name| (name, "")));
        succeeded(&format!("compose {}", arguments.join(" ")), command.output().unwrap())
    }

    /// The ids of a service's containers, or of all.
    pub(crate) fn containers(&self, service: Option<&str>) -> Vec<String> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let service = service.map(|service| format!("label=com.docker.compose.service={service}"));
        let mut arguments = vec!["ps", "-a", "-q", "--no-trunc", "--filter", &project];
        if let Some(service) = &service {
            arguments.extend(["--filter", service]);
        }
        docker(&arguments).lines().map(str::to_owned).collect()
    }

    /// What is left of the project: containers, volumes, networks.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let mut left = self.containers(None);
        for kind in ["volume", "network"] {
            left.extend(docker(&[kind, "ls", "-q", "--filter", &filter]).lines().map(str::to_owned));
        }
        left
    }

    fn urls(&self, service: &str, port: u16) -> Vec<String> {
        let url = |index: usize| {
            let address = self.run(&["port", &format!("--index={index}"), service, &port.to_string()]);
            format!("http://{}", address.trim())
        };
        (1..=2).map(url).collect()
    }
}

/// A failed test leaves nothing behind either.
impl Drop for Compose {
    #[expect(clippy::print_stderr, reason = "a failed test says what it saw")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for container in self.containers(None) {
                let log = Command::new("docker").args(["logs", "--tail", "40", &container]).output();
                let log = log.map(|it| [it.stdout, it.stderr].concat()).unwrap_or_default();
                eprintln!("--- {container}\n{}", String::from_utf8_lossy(&log));
            }
            self.down();
        }
    }
}

/// Runs a docker command, which has to succeed, and returns what it printed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    succeeded(&format!("docker {}", arguments.join(" ")), output)
}

fn succeeded(what: &str, output: Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}:\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
