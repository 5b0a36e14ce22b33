//! A stack of one test: its folder, its ports, and the commands that a person would type.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use testkit::{Client, Service, free_port, service_binary, until};

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            errors: text(&output.stderr),
        }
    }
}

pub(crate) struct Stack {
    folder: TempDir,
    pub(crate) redis_port: u16,
    pub(crate) cache_port: u16,
    variables: Vec<(&'static str, String)>,
}

impl Stack {
    /// Nothing runs yet.
    pub(crate) fn new() -> Self {
        let [redis_port, cache_port, gateway_port, admin_port, queue_port, progress_port] =
            [(); 6].map(|()| free_port());
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut variables = vec![
            ("SLUICE_REDIS_PORT", redis_port.to_string()),
            ("SLUICE__CACHE_API__BIND", at(cache_port)),
            ("SLUICE__RATELIMIT_GATEWAY__BIND", at(gateway_port)),
            ("SLUICE__RATELIMIT_GATEWAY__ADMIN_BIND", at(admin_port)),
            ("SLUICE__QUEUE_WORKER__BIND", at(queue_port)),
            ("SLUICE__PROGRESS_SSE__BIND", at(progress_port)),
        ];
        // The server that all tests of this run are about.
        if let Ok(server) = std::env::var("SLUICE_TEST_REDIS") {
            variables.push(("SLUICE_REDIS_SERVER", server));
        }
        Self { folder: tempfile::tempdir().unwrap(), redis_port, cache_port, variables }
    }

    /// With one more setting.
    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.variables.push((variable, value.to_owned()));
        self
    }

    /// What a variable of this stack says, such as where a service listens.
    pub(crate) fn variable(&self, name: &str) -> &str {
        &self.variables.iter().find(|(found, _)| *found == name).unwrap().1
    }

    /// A file or folder in `.sluice/`.
    pub(crate) fn path(&self, inner: &str) -> PathBuf {
        self.folder.path().join(".sluice").join(inner)
    }

    /// A command of the same stack.
    pub(crate) fn command(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(service_binary("sluice"));
        command.arg("--data").arg(self.path("")).args(arguments);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        command.output().unwrap().into()
    }

    /// Starts `sluice up` in a process of the test, which ends with the test, and waits until it is ready.
    pub(crate) async fn up(&self) -> Service {
        let service = self.spawn();
        let ready = async || self.command(&["status"]).code == 0 || service.log().contains("sluice: ");
        until(ready, SOON).await;
        assert_eq!(self.command(&["status"]).code, 0, "{}", service.log());
        service
    }

    /// As [`Stack::up`], without the wait.
    pub(crate) fn spawn(&self) -> Service {
        let data = self.path("").display().to_string();
        // The ports of the test, not the one that `Service` takes.
        let variables: Vec<_> = self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Service::spawn("sluice", &["--data", &data, "up"], &variables)
    }

    /// A client of its cache-api with the first key.
    pub(crate) fn cache(&self) -> Client {
        let key = std::fs::read_to_string(self.path("secrets/bootstrap.key")).unwrap();
        Client::new(&format!("http://127.0.0.1:{}", self.cache_port)).with_key(key.trim())
    }

    /// The process id of its Redis.
    pub(crate) fn redis_process(&self) -> u32 {
        std::fs::read_to_string(self.path("run/redis.pid")).unwrap().trim().parse().unwrap()
    }

    /// Whether nothing of it listens any more.
    pub(crate) fn is_gone(&self) -> bool {
        [self.redis_port, self.cache_port].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
    }
}

/// A stack in the background that a failed test left behind is stopped all the same.
impl Drop for Stack {
    fn drop(&mut self) {
        self.command(&["down"]);
    }
}
