//! Helpers for the public door's tests: both ends of it, in bytes.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::NamedTempFile;
use testkit::{Keys, Service, free_port, service_binary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// The gateway's process. Every path below `/` leads to the upstream, but for those whose host is `nowhere`.
pub(crate) struct Door {
    pub(crate) service: Service,
    _prepared: Prepared,
}

/// What the process reads.
struct Prepared {
    _rules: NamedTempFile,
    _keys: Keys,
    settings: Vec<(String, String)>,
}

impl Door {
    /// With one upstream, this port or these.
    pub(crate) async fn to(ports: &[u16]) -> Self {
        Self::with(ports, &[]).await
    }

    /// With settings: `door.<name>` is one of `[ratelimit_gateway.door]`, `http.<name>` of `[http]`,
    /// `identity.<name>` one of the rules, the others
    /// are timeouts of the route.
    pub(crate) async fn with(ports: &[u16], settings: &[(&str, &str)]) -> Self {
        let targets: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Self::start(&targets, settings).await
    }

    pub(crate) async fn start(targets: &[String], settings: &[(&str, &str)]) -> Self {
        let prepared = Prepared::new(targets, settings);
        let service = Service::start_with_admin("ratelimit-gateway", &prepared.env()).await;
        Self { service, _prepared: prepared }
    }

    /// With `hosts` in place of `/etc/hosts`, in a mount namespace of its own; none where that is not allowed.
    pub(crate) async fn with_hosts(
        hosts: &Path,
        targets: &[String],
        settings: &[(&str, &str)],
    ) -> Option<Self> {
        let allowed = Command::new("unshare").args(["--mount", "--map-root-user", "true"]).status();
        if !allowed.is_ok_and(|status| status.success()) {
            return None;
        }
        let prepared = Prepared::new(targets, settings);
        let (names, admin) = (NamedTempFile::new().unwrap(), format!("127.0.0.1:{}", free_port()));
        // Nobody is asked over the network for what the file does not know.
        std::fs::write(names.path(), "hosts: files\n").unwrap();
        let (gateway, hosts) = (service_binary("ratelimit-gateway"), hosts.display());
        let inside = format!(
            "mount --bind {hosts} /etc/hosts && mount --bind {} /etc/nsswitch.conf && exec {}",
            names.path().display(),
            gateway.display()
        );
        let mut env = prepared.env();
        env.push(("SLUICE__RATELIMIT_GATEWAY__ADMIN_BIND", &admin));
        let arguments = ["--mount", "--map-root-user", "sh", "-c", &inside];
        let service = Service::spawn_program(Path::new("unshare"), "ratelimit-gateway", &arguments, &env);
        let listens = || async { TcpStream::connect(("127.0.0.1", service.port())).await.is_ok() };
        testkit::until(listens, DEADLINE).await;
        Some(Self { service, _prepared: prepared })
    }

    pub(crate) async fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect(("127.0.0.1", self.service.port())).await.unwrap())
    }
}

impl Prepared {
    fn new(targets: &[String], settings: &[(&str, &str)]) -> Self {
        let targets: Vec<String> = targets.iter().map(|target| format!("\"http://{target}\"")).collect();
        let timeouts = settings.iter().filter(|(name, _)| !name.contains('.'));
        let timeouts: Vec<String> = timeouts.map(|(name, value)| format!("{name} = {value}")).collect();
        let identity =
            settings.iter().filter_map(|(name, value)| Some((name.strip_prefix("identity.")?, value)));
        let identity: Vec<String> = identity.map(|(name, value)| format!("{name} = {value}")).collect();
        let mut rules = NamedTempFile::new().unwrap();
        let text = format!(
            "[identity]\n{}\n[upstreams.app]\ntargets = [{}]\n[[routes]]\nname = \"all\"\npath = \"/\"\nhosts = [\"a\", \"api.example\"]\n\
             upstream = \"app\"\ntimeouts = {{ {} }}\n",
            identity.join("\n"),
            targets.join(", "),
            timeouts.join(", ")
        );
        std::io::Write::write_all(&mut rules, text.as_bytes()).unwrap();
        let (keys, _) = Keys::admin();
        let own = "SLUICE__RATELIMIT_GATEWAY__";
        let door = settings.iter().filter_map(|(name, value)| Some((name.strip_prefix("door.")?, *value)));
        let door =
            door.map(|(name, value)| (format!("{own}DOOR__{}", name.to_uppercase()), value.to_owned()));
        let http = settings.iter().filter_map(|(name, value)| Some((name.strip_prefix("http.")?, *value)));
        let http =
            http.map(|(name, value)| (format!("SLUICE__HTTP__{}", name.to_uppercase()), value.to_owned()));
        let files = [
            (format!("{own}RULES_FILE"), rules.path().display().to_string()),
            ("SLUICE__AUTH__KEYS_FILE".to_owned(), keys.path().display().to_string()),
        ];
        let settings = door.chain(http).chain(files).collect();
        Self { _rules: rules, _keys: keys, settings }
    }

    fn env(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|(name, value)| (&**name, &**value)).collect()
    }
}

/// An upstream of which the test plays every part.
pub(crate) struct Upstream {
    listener: TcpListener,
}

impl Upstream {
    pub(crate) async fn listen() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    /// At another address of this host, and the same port.
    pub(crate) async fn beside(&self, address: &str) -> Self {
        Self { listener: TcpListener::bind((address, self.port())).await.unwrap() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection that the gateway opens.
    pub(crate) async fn accept(&self) -> Wire {
        Wire::new(within(self.listener.accept()).await.unwrap().0)
    }

    /// A connection, and the head of its first request.
    pub(crate) async fn request(&self) -> (Wire, String) {
        let mut wire = self.accept().await;
        let head = wire.head().await;
        (wire, head)
    }
}

/// One end of a connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// A head, with its empty line.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// A head, or none when the connection ends before.
    pub(crate) async fn next_head(&mut self) -> Option<String> {
        while !self.read.windows(4).any(|part| part == b"\r\n\r\n") {
            if !self.more().await {
                return None;
            }
        }
        Some(self.head().await)
    }

    /// What comes up to this text, and the text.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|part| part == end.as_bytes()) {
                return self.take(at + end.len());
            }
            assert!(self.more().await, "ended before {end:?}: {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// So many bytes, of a text.
    pub(crate) async fn exactly(&mut self, count: usize) -> String {
        String::from_utf8_lossy(&self.bytes(count).await).into_owned()
    }

    /// So many bytes.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.more().await, "ended early: {:?}", String::from_utf8_lossy(&self.read));
        }
        self.read.drain(..count).collect()
    }

    /// Everything up to the end of the connection, by a close or a reset.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        self.take(self.read.len())
    }

    /// Head and body of a message with a `Content-Length`, or without a body.
    pub(crate) async fn message(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        (head, self.exactly(length).await)
    }

    /// Answers a request with 200 and this body.
    pub(crate) async fn answer(&mut self, body: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    }

    async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        let count = within(self.stream.read(&mut chunk)).await.unwrap_or(0);
        self.read.extend_from_slice(&chunk[..count]);
        count > 0
    }

    fn take(&mut self, count: usize) -> String {
        let taken: Vec<u8> = self.read.drain(..count).collect();
        String::from_utf8_lossy(&taken).into_owned()
    }
}

/// The value of a field of a head; several are joined.
pub(crate) fn field(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let values = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    values.map(str::to_owned).reduce(|mut all, value| {
        write!(all, ", {value}").unwrap();
        all
    })
}

/// Requires a problem of this status, from its head on.
pub(crate) async fn expect_problem(client: &mut Wire, status: u16) -> String {
    let (head, body) = client.message().await;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}{body}");
    assert_eq!(field(&head, "content-type").as_deref(), Some("application/problem+json"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], status, "{body}");
    assert_eq!(problem["correlation_id"].as_str(), field(&head, "x-correlation-id").as_deref(), "{body}");
    head
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("nothing happened for a minute")
}

const DEADLINE: Duration = Duration::from_secs(60);
