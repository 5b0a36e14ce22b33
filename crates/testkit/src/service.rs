//! Real service processes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis_acl::User;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::guardian::{Guarded, Program};
use crate::port::Port;
use crate::{Client, service_binary, until};

const DEADLINE: Duration = Duration::from_secs(60);

/// A service's process on a free port of 127.0.0.1. Dropping it kills it.
///
/// It logs in to Redis as its own user, as in production, unless the test gives a password.
///
/// It runs in an empty temp folder and sees no `SLUICE_*` variable but those that the test gives, so a
/// developer's own configuration does not reach it. It ends with the test's process, however that ends.
#[derive(Debug)]
pub struct Service {
    // First, so that the process ends before its folder and its port are given back.
    process: Guarded,
    program: Program,
    name: String,
    port: Port,
    /// Of one that tells its health at another address than users reach it.
    admin: Option<Port>,
    _folder: TempDir,
}

impl Service {
    /// Starts a service (`"cache-api"`) and waits until `/health/ready` answers 200.
    ///
    /// Sets `SLUICE__<NAME>__BIND` to the free port, and no delay of a stop; `env` gives the rest, such as
    /// `SLUICE__REDIS__URL`.
    ///
    /// # Panics
    /// When it ends or is not ready within a minute; the message holds its log.
    pub async fn start(name: &str, env: &[(&str, &str)]) -> Self {
        let mut service = Self::spawn(name, &[], env);
        service.wait_until_ready().await;
        service
    }

    /// As [`Service::start`], but waits only until `/health/live` answers: for a service without its Redis.
    pub async fn start_live(name: &str, env: &[(&str, &str)]) -> Self {
        let mut service = Self::spawn(name, &[], env);
        service.wait_for("/health/live").await;
        service
    }

    /// As [`Service::start`], for one whose health, and what operators ask, is at an address of its own: also sets
    /// `SLUICE__<NAME>__ADMIN_BIND`.
    pub async fn start_with_admin(name: &str, env: &[(&str, &str)]) -> Self {
        let mut service = Self::launch(service_binary(name), name, &[], env, Some(Port::take()));
        service.wait_until_ready().await;
        service
    }

    /// Starts a workspace binary with arguments and waits for nothing.
    pub fn spawn(name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::launch(service_binary(name), name, args, env, None)
    }

    /// Starts any program in the same way (its address in `SLUICE__<NAME>__BIND`) and waits for nothing.
    pub fn spawn_program(path: &Path, name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::launch(path.to_owned(), name, args, env, None)
    }

    fn launch(path: PathBuf, name: &str, args: &[&str], env: &[(&str, &str)], admin: Option<Port>) -> Self {
        let folder = tempfile::Builder::new().prefix("sluice-service-").tempdir().expect("a temp folder");
        let port = Port::take();
        let mut program = Program {
            path,
            args: args.iter().map(OsString::from).collect(),
            folder: folder.path().to_owned(),
            log: folder.path().join("service.log"),
            ..Program::default()
        };
        let section = name.replace('-', "_").to_uppercase();
        for (setting, port) in [("BIND", Some(&port)), ("ADMIN_BIND", admin.as_ref())] {
            // The command line has no section: its services have theirs.
            let port = port.filter(|_| name != "sluice");
            let address = port.map(|port| format!("127.0.0.1:{}", port.number).into());
            program.env.extend(address.map(|it| (format!("SLUICE__{section}__{setting}").into(), it)));
        }
        // The password is any: the users of a test's server have none.
        let user = User::ALL.into_iter().find(|user| user.name() == name);
        if let Some(user) = user.filter(|_| !env.iter().any(|(name, _)| *name == "SLUICE__REDIS__PASSWORD")) {
            program.env.push(("SLUICE__REDIS__USERNAME".into(), user.name().into()));
            program.env.push(("SLUICE__REDIS__PASSWORD".into(), "any".into()));
        }
        // No balancer has to learn that a test stops it.
        program.env.extend([("SLUICE__HTTP__STOP_DELAY_MS".into(), "0".into())]);
        program.env.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
        let process = Guarded::start(&program);
        Self { process, program, name: name.to_owned(), port, admin, _folder: folder }
    }

    /// `http://127.0.0.1:<port>`, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// The port of 127.0.0.1 that it was told to bind; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The port of 127.0.0.1 where operators ask: its own, or the only one.
    pub fn admin_port(&self) -> u16 {
        self.admin.as_ref().unwrap_or(&self.port).number
    }

    /// `http://127.0.0.1:<admin port>`, without a slash at the end.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port())
    }

    /// A client of this service that sends the key.
    pub fn client(&self, key: &str) -> Client {
        Client::new(&self.base_url()).with_key(key)
    }

    /// The service's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything that it wrote to stdout and stderr so far, over restarts too.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// SIGKILL. Returns once the process is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, then waits for its end and returns the exit code.
    ///
    /// # Panics
    /// When it has not ended within a minute.
    pub async fn stop(&mut self) -> i32 {
        self.process.signal(Signal::TERM);
        self.wait_for_end().await
    }

    /// Waits until it ends by itself and returns the exit code (128 + n for signal n).
    ///
    /// # Panics
    /// When it has not ended within a minute.
    pub async fn wait_for_end(&mut self) -> i32 {
        until(|| std::future::ready(self.process.exit_code()), DEADLINE).await
    }

    /// Kills it unless it ended, and starts it again on the same port; waits until it is ready.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = Guarded::start(&self.program);
        self.wait_until_ready().await;
    }

    /// SIGSTOP: connections stay open, nothing answers. Returns once no thread runs.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// Waits until `/health/ready` answers 200.
    ///
    /// # Panics
    /// As [`Service::start`].
    pub async fn wait_until_ready(&mut self) {
        self.wait_for("/health/ready").await;
    }

    async fn wait_for(&mut self, path: &str) {
        let client = Client::new(&self.admin_url());
        // Twice the deadline: `until` would not tell why, the log below does.
        let answered = until(
            || {
                let gone = self.process.exit_code().is_some();
                let request = client.get(path).timeout(Duration::from_secs(2));
                async move {
                    let ready = request.send().await.is_ok_and(|answer| answer.status().is_success());
                    (gone || ready).then_some(ready)
                }
            },
            DEADLINE * 2,
        );
        let ready = tokio::time::timeout(DEADLINE, answered).await.unwrap_or(false);
        assert!(ready, "{} is not at {path}:\n{}", self.name, self.log());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A shell instead of a service: what is tested here is how a process is held.
    fn shell(script: &str, env: &[(&str, &str)]) -> Service {
        Service::launch("/bin/sh".into(), "some-service", &["-c", script], env, None)
    }

    async fn has_logged(service: &Service, text: &str) {
        until(async || service.log().contains(text), DEADLINE).await;
    }

    #[tokio::test]
    async fn it_gets_its_address_and_the_settings_of_the_test() {
        let mut service =
            shell("echo $SLUICE__SOME_SERVICE__BIND $SLUICE__A; exit 78", &[("SLUICE__A", "b")]);

        assert_eq!(service.wait_for_end().await, 78);
        assert_eq!(service.log(), format!("127.0.0.1:{} b\n", service.port()));
    }

    /// Not a test by itself: what the next one runs in a process with settings of its own.
    #[tokio::test]
    #[ignore = "runs only as the child of the next test"]
    async fn child() {
        let mut service = shell("env", &[]);
        service.wait_for_end().await;
        println!("{}", service.log());
    }

    #[test]
    fn a_developers_own_settings_do_not_reach_it() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["service::tests::child", "--exact", "--ignored", "--nocapture"])
            .env("SLUICE__REDIS__URL", "of the developer")
            .output()
            .unwrap();

        let seen = String::from_utf8(output.stdout).unwrap();
        assert!(seen.contains("SLUICE__SOME_SERVICE__BIND=127.0.0.1:"), "{seen}");
        assert!(!seen.contains("of the developer"), "{seen}");
    }

    #[tokio::test]
    async fn stop_lets_it_end_in_its_own_way_and_kill_does_not() {
        let script = "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 0.01; done";
        let mut service = shell(script, &[]);
        has_logged(&service, "up").await;
        assert_eq!(service.stop().await, 7);
        assert!(service.log().contains("asked"));

        let mut service = shell(script, &[]);
        has_logged(&service, "up").await;
        service.kill();
        assert_eq!(service.wait_for_end().await, 128 + 9);
        assert!(!service.log().contains("asked"));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_paused_process_runs_no_more_once_pause_returns() {
        let mut service = shell("echo up; while :; do :; done", &[]);
        has_logged(&service, "up").await;
        for turn in 0..200 {
            service.pause();
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
            assert!(stat.contains(") T "), "{turn}: {stat}");
            service.resume();
        }
    }

    #[tokio::test]
    async fn it_is_ready_only_when_its_health_says_so() {
        let mut service = shell("while :; do sleep 1; done", &[]);
        let listener = TcpListener::bind(("127.0.0.1", service.port())).await.unwrap();
        let answers = async {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1000];
                let length = client.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"GET /health/ready "));
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                client.write_all(head.as_bytes()).await.unwrap();
            }
        };

        tokio::join!(service.wait_until_ready(), answers);
    }

    #[tokio::test]
    #[should_panic(expected = "no such key: colour")]
    async fn one_that_ends_instead_of_getting_ready_is_reported_with_its_log() {
        shell("echo no such key: colour >&2; exit 78", &[]).wait_for("/health/ready").await;
    }
}
