//! Nothing outlives a test, however the test ends.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::{RedisServer, until};

const ROLE: &str = "TESTKIT_CHILD";
const SOON: Duration = Duration::from_secs(10);

/// Not a test by itself: what the tests below start in a process of its own, and end in their own ways.
#[tokio::test]
#[ignore = "runs only as the child of the other tests here"]
async fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut server = RedisServer::start().await;
    println!("\nserver {} {}", server.pid(), server.cli(&["CONFIG", "GET", "dir"]).await.replace('\n', " "));
    match role.as_str() {
        "panics" => panic!("as asked"),
        "exits" => std::process::exit(3),
        "pauses" => server.pause(),
        _ => {}
    }
    std::future::pending::<()>().await;
}

/// What a [`child`] told about its server.
struct Server {
    pid: u32,
    folder: PathBuf,
}

impl Server {
    fn from_line(line: &str) -> Option<Self> {
        let (pid, folder) = line.strip_prefix("server ")?.split_once(" dir ")?;
        Some(Self { pid: pid.parse().ok()?, folder: folder.into() })
    }

    fn is_running(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    }

    async fn leaves_nothing(&self) {
        until(async || !self.is_running() && !self.folder.exists(), SOON).await;
    }
}

/// Runs [`child`] in its role until it told about its server.
fn start(role: &str) -> (std::process::Child, Server) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["leftovers::child", "--exact", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let server = lines.find_map(|line| Server::from_line(&line.unwrap())).unwrap();
    // Read on in the background, else the harness fails to print its verdict.
    std::thread::spawn(move || lines.for_each(drop));
    (child, server)
}

#[tokio::test]
async fn a_server_ends_with_a_test_process_that_is_killed() {
    for role in ["waits", "pauses"] {
        let (mut child, server) = start(role);
        assert!(server.is_running() && server.folder.exists());

        child.kill().unwrap();
        child.wait().unwrap();

        server.leaves_nothing().await;
    }
}

#[tokio::test]
async fn a_server_ends_with_a_test_that_panics_or_exits() {
    for role in ["panics", "exits"] {
        let (mut child, server) = start(role);

        assert!(!child.wait().unwrap().success());

        server.leaves_nothing().await;
    }
}

#[tokio::test]
async fn a_guardian_that_is_killed_does_not_set_its_server_free() {
    let (mut child, server) = start("waits");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid)).unwrap();
    let guardian = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();

    kill_process(Pid::from_raw(guardian).unwrap(), Signal::KILL).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    server.leaves_nothing().await;
}
