//! Real Redis servers on free ports, in temp folders.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis_acl::User;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::guardian::{Guarded, Program};
use crate::port::Port;
use crate::{Authority, resp, until};

/// What a test's server is like. The default is a plain one that keeps nothing on disk.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// A cluster of one node that owns all slots: refuses a script that strays into a second slot.
    pub cluster: bool,
    /// Append-only file, fsync before each reply: what was answered survives [`RedisServer::kill`].
    pub persistent: bool,
    /// Further settings, as in `redis.conf`: `("maxmemory", "50mb")`.
    pub settings: Vec<(String, String)>,
}

/// A Redis server of one test, on 127.0.0.1. Dropping it kills it and removes its folder.
///
/// It ends with the test's process, even when that is killed.
///
/// Unless it has an ACL file, it knows the users of `redis-acl`, without passwords; whoever gives no name may do everything. Of a test that made
/// a user try what it may not, the end fails: a test that means to calls [`RedisServer::denials`] last.
#[derive(Debug)]
pub struct RedisServer {
    // First, so that the process ends before its folder and its port are given back.
    process: Guarded,
    program: Program,
    ports: Ports,
    kind: Kind,
    folder: TempDir,
}

/// What it waits for at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// Owns all slots, and gives them to itself.
    ClusterOfOne,
    /// A member of a [`crate::Cluster`], which knows the others from its file.
    Member,
    Sentinel,
}

/// All of them are taken before the process starts, so that none can be given away meanwhile.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) main: Port,
    pub(crate) bus: Port,
    pub(crate) tls: Port,
}

impl Ports {
    pub(crate) fn take() -> Self {
        Self { main: Port::take(), bus: Port::take(), tls: Port::take() }
    }
}

impl RedisServer {
    /// Starts a plain server: empty, no persistence. Takes about 20 ms.
    ///
    /// # Panics
    /// When there is no server to start: `SLUICE_TEST_REDIS` names one, else `redis-server` or
    /// `valkey-server` is looked for on `PATH`.
    pub async fn start() -> Self {
        Self::with(RedisOptions::default()).await
    }

    /// Starts a cluster of one node that owns all slots; a plain connection to it is enough.
    ///
    /// Takes a bit over 2 s: a cluster's primary refuses writes for that long after its start.
    pub async fn cluster() -> Self {
        Self::with(RedisOptions { cluster: true, ..RedisOptions::default() }).await
    }

    /// Starts a cluster of two primaries with half of the slots each; [`RedisServer::cluster_url`] of either leads to both.
    pub async fn cluster_of_two() -> [Self; 2] {
        let (one, other) = tokio::join!(Self::cluster(), Self::cluster());
        one.cli(&["CLUSTER", "DELSLOTSRANGE", "8192", "16383"]).await;
        other.cli(&["CLUSTER", "DELSLOTSRANGE", "0", "8191"]).await;
        let (port, bus) = (other.port().to_string(), other.bus_port().to_string());
        one.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        for server in [&one, &other] {
            let is_whole = async || {
                let info = server.cli(&["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok") && info.contains("cluster_size:2")
            };
            until(is_whole, Duration::from_secs(20)).await;
        }
        [one, other]
    }

    /// Starts a plain server that loses nothing that it has answered, also when it is killed.
    pub async fn persistent() -> Self {
        Self::with(RedisOptions { persistent: true, ..RedisOptions::default() }).await
    }

    /// Starts a server with these options.
    pub async fn with(options: RedisOptions) -> Self {
        let kind = if options.cluster { Kind::ClusterOfOne } else { Kind::Plain };
        let (folder, ports) = (folder(), Ports::take());
        let args = arguments(&options, &ports);
        Self::run(binary(), args, folder, ports, kind).await
    }

    /// Starts a server with these options that also speaks TLS, with a certificate of this authority for `127.0.0.1` and
    /// `localhost`. Who connects by TLS has to show a certificate of the same authority when `clients_too` says so.
    ///
    /// It is the machine's own server: `SLUICE_TEST_REDIS` may name one that was built without TLS.
    pub async fn with_tls(mut options: RedisOptions, authority: &Authority, clients_too: bool) -> Self {
        let kind = if options.cluster { Kind::ClusterOfOne } else { Kind::Plain };
        let (folder, ports) = (folder(), Ports::take());
        options.settings.extend(tls_settings(&folder, &ports, authority, clients_too));
        let args = arguments(&options, &ports);
        Self::run(installed(), args, folder, ports, kind).await
    }

    pub(crate) async fn run(
        path: PathBuf,
        args: Vec<OsString>,
        folder: TempDir,
        ports: Ports,
        kind: Kind,
    ) -> Self {
        let log = folder.path().join("redis.log");
        let program = Program { path, args, folder: folder.path().to_owned(), log, ..Program::default() };
        let process = Guarded::start(&program);
        let mut server = Self { process, program, ports, kind, folder };
        server.wait_until_ready().await;
        server
    }

    /// `redis://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    /// As [`RedisServer::url`], for a client that asks for the other nodes of a cluster.
    pub fn cluster_url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{}", self.port())
    }

    /// `rediss://127.0.0.1:<port>`, for a server that was started [`RedisServer::with_tls`].
    pub fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port())
    }

    /// The port of 127.0.0.1 that it listens on; the same after a restart.
    pub fn port(&self) -> u16 {
        self.ports.main.number
    }

    /// The port of 127.0.0.1 on which it speaks TLS, if it does.
    pub fn tls_port(&self) -> u16 {
        self.ports.tls.number
    }

    /// The port on which members of a cluster speak to each other.
    pub(crate) fn bus_port(&self) -> u16 {
        self.ports.bus.number
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What the server logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Whether its process lives: it was not killed, or has been started again.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// SIGKILL: the machine lost its power. Returns once the process is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills the server unless that was done, and starts it again on the same port and data.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = Guarded::start(&self.program);
        self.wait_until_ready().await;
    }

    /// SIGSTOP: connections stay open, nothing answers. Returns once no thread runs.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT: answers everything that came in since [`RedisServer::pause`].
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// Sends one command on a new connection and returns the reply as text.
    ///
    /// Nil is `(nil)`, an error its message (`WRONGTYPE …`), an array one element a line.
    ///
    /// # Panics
    /// When the server does not answer within 5 s.
    pub async fn cli(&self, command: &[&str]) -> String {
        let answer = resp::ask(self.port(), command, Duration::from_secs(5)).await;
        answer.unwrap_or_else(|| panic!("no answer to {command:?}; the log:\n{}", self.log()))
    }

    /// What users were denied since the start, or since this was asked before: user, command or key, reason.
    pub async fn denials(&self) -> Vec<String> {
        let log = self.cli(&["ACL", "LOG"]).await;
        self.cli(&["ACL", "LOG", "RESET"]).await;
        denials(&log)
    }

    /// One field of `INFO`, such as `used_memory` or `redis_version`.
    ///
    /// # Panics
    /// When there is no such field.
    pub async fn info(&self, field: &str) -> String {
        let info = self.cli(&["INFO", "everything"]).await;
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("INFO has no field {field}")).trim().to_owned()
    }

    pub(crate) async fn wait_until_ready(&mut self) {
        const DEADLINE: Duration = Duration::from_secs(20);
        let (port, pid) = (self.port(), self.pid());
        // Asks for the pid, so that a stranger on this port is not taken for ours.
        let ours = format!("process_id:{pid}\r");
        let is_sentinel = self.kind == Kind::Sentinel;
        let ready = until(
            || {
                let gone = self.process.exit_code().is_some();
                let ours = ours.clone();
                async move {
                    let info = resp::ask(port, &["INFO", "everything"], Duration::from_secs(1)).await;
                    let ready = info.is_some_and(|info| {
                        info.contains(&ours) && (is_sentinel || info.contains("\nloading:0"))
                    });
                    (gone || ready).then_some(ready)
                }
            },
            DEADLINE,
        )
        .await;
        assert!(ready, "{} ended:\n{}", self.program.path.display(), self.log());
        if self.kind == Kind::ClusterOfOne {
            // Already assigned after a restart: then this answers with an error and changes nothing.
            self.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
            let is_ok = async || self.cli(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok");
            until(is_ok, DEADLINE).await;
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let port = self.port();
        // On a thread of its own, since the test's runtime does not wait here.
        let asking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            runtime.block_on(resp::ask(port, &["ACL", "LOG"], Duration::from_millis(500)))
        });
        // No answer: it was killed or paused, and tells nothing any more.
        let denials = asking.join().ok().flatten().map_or_else(Vec::new, |log| denials(&log));
        assert!(denials.is_empty(), "a user of crates/redis-acl/src/table.rs was denied: {denials:#?}");
    }
}

/// The entries of an `ACL LOG` in which a user is one of ours.
fn denials(log: &str) -> Vec<String> {
    let mut lines = log.lines().peekable();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line != "count" {
            continue;
        }
        // Pairs of lines, in the order of the server; the next entry begins at its `count`.
        let mut entry = Vec::new();
        while lines.peek().is_some_and(|next| *next != "count") {
            entry.extend(lines.next());
        }
        let value = |name: &str| {
            let at = entry.iter().position(|line| *line == name);
            at.and_then(|at| entry.get(at + 1)).copied().unwrap_or_default()
        };
        if User::ALL.iter().any(|user| user.name() == value("username")) {
            found.push(format!("{}: {} ({})", value("username"), value("object"), value("reason")));
        }
    }
    found
}

/// Runs a test's body on a plain server, then on a cluster of one node.
///
/// The panic message of a failed body says which server it ran on.
pub async fn both<F: Future<Output = ()>>(body: impl Fn(RedisServer) -> F) {
    let plain = async {
        let server = RedisServer::start().await;
        let _kind = NamedOnPanic("a plain server");
        body(server).await;
    };
    // The cluster needs 2 s to start, in which the first body already runs.
    let ((), cluster) = tokio::join!(plain, RedisServer::cluster());
    let _kind = NamedOnPanic("a cluster of one node");
    body(cluster).await;
}

struct NamedOnPanic(&'static str);

impl Drop for NamedOnPanic {
    #[expect(clippy::print_stderr, reason = "a failing test's output is read on stderr")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the test failed on {}", self.0);
        }
    }
}

/// The server of this run: `SLUICE_TEST_REDIS`, else the machine's own.
pub(crate) fn binary() -> PathBuf {
    env::var_os("SLUICE_TEST_REDIS").map_or_else(installed, PathBuf::from)
}

fn installed() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|file| file.is_file())
        .expect("tests need redis-server or valkey-server on PATH, or SLUICE_TEST_REDIS=/path/to/one")
}

pub(crate) fn folder() -> TempDir {
    tempfile::Builder::new().prefix("sluice-redis-").tempdir().expect("a temp folder")
}

pub(crate) fn arguments(options: &RedisOptions, ports: &Ports) -> Vec<OsString> {
    let appendonly = if options.persistent { "yes" } else { "no" };
    let (port, bus) = (ports.main.number.to_string(), ports.bus.number.to_string());
    let mut settings = vec![
        ("port", port.as_str()),
        ("bind", "127.0.0.1"),
        ("save", ""),
        ("appendonly", appendonly),
        ("appendfsync", "always"),
        ("enable-debug-command", "yes"),
    ];
    if options.cluster {
        settings.extend([("cluster-enabled", "yes"), ("cluster-port", bus.as_str())]);
        // Else it tells its clients to connect to nowhere, until another node has met it.
        settings.push(("cluster-announce-ip", "127.0.0.1"));
    }
    settings.extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut arguments: Vec<OsString> =
        settings.iter().flat_map(|(name, value)| [format!("--{name}").into(), (*value).into()]).collect();
    // A server has its users from one place.
    let has_file = options.settings.iter().any(|(name, _)| name == "aclfile");
    for user in User::ALL.into_iter().filter(|_| !has_file) {
        arguments.extend(["--user".into(), user.name().into(), "on".into(), "nopass".into()]);
        arguments.extend(user.rules().split(' ').map(OsString::from));
    }
    arguments
}

fn tls_settings(
    folder: &TempDir,
    ports: &Ports,
    authority: &Authority,
    clients_too: bool,
) -> Vec<(String, String)> {
    let authority_file = folder.path().join("authority.crt");
    std::fs::write(&authority_file, authority.certificate_pem()).expect("the folder can be written");
    let (certificate, key) = authority.issue(&["127.0.0.1", "localhost"]).write(folder.path(), "server");
    [
        ("tls-port", ports.tls.number.to_string()),
        ("tls-ca-cert-file", authority_file.display().to_string()),
        ("tls-cert-file", certificate.display().to_string()),
        ("tls-key-file", key.display().to_string()),
        ("tls-auth-clients", if clients_too { "yes" } else { "no" }.to_owned()),
        // A cluster then tells its clients the ports that speak TLS.
        ("tls-cluster", "yes".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
