//! A small service on a free port, and ways to talk to it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use domain::{EntryName, ProjectId, QueueName};
use http_kit::{
    Access, Action, ApiKey, AuthConfig, AuthMode, Authenticator, Body, BodyLimit, Correlation, HttpConfig,
    Json, Path, Problem, Query, ServeError, Server, TraceParent,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use telemetry::{LogConfig, LogFormat};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A server that runs until it is stopped or dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) client: reqwest::Client,
    running: JoinSet<Result<(), ServeError>>,
}

impl Served {
    pub(crate) fn start(
        server: Server,
        routes: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        let (address, stop) = (server.address().unwrap(), CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(server.run(routes, stop.clone()));
        Self { address, stop, client: reqwest::Client::new(), running }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path))).await
    }

    pub(crate) async fn get_with_key(&self, path: &str, key: &SecretString) -> Answer {
        Answer::of(self.client.get(self.url(path)).bearer_auth(key.expose_secret())).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.client.post(self.url(path)).header("Content-Type", "application/json");
        Answer::of(request.body(body)).await
    }

    /// Sends bytes as they are, and reads one answer.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        tokio::time::timeout(DEADLINE, Answer::read(&mut stream)).await.unwrap()
    }

    pub(crate) async fn ended(mut self) -> Result<(), ServeError> {
        tokio::time::timeout(DEADLINE, self.running.join_next()).await.unwrap().unwrap().unwrap()
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.timeout(DEADLINE).send().await.unwrap();
        let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let (status, headers) = (response.status().as_u16(), response.headers().iter().map(header).collect());
        Self { status, headers, body: response.text().await.unwrap() }
    }

    /// Reads until it is whole, or the server closes.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let mut text = Vec::new();
        while stream.read_buf(&mut text).await.unwrap() > 0 {
            let answer = Self::parse(&text);
            let length = answer.header("content-length").and_then(|length| length.parse().ok());
            if length.is_some_and(|length: usize| answer.body.len() >= length) {
                return answer;
            }
        }
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_default();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem that it is: whole, and of one mind with its head.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("https://sluice.dev/problems/{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["correlation_id"].as_str(), self.header("x-correlation-id"), "{problem}");
        assert!(problem["instance"].as_str().unwrap().starts_with('/'), "{problem}");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        problem
    }

    /// The pointer of the one field that it names.
    #[track_caller]
    pub(crate) fn field(&self, status: u16, kind: &str) -> String {
        let problem = self.problem(status, kind);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors: {problem}"));
        assert_eq!(errors.len(), 1, "{problem}");
        errors[0]["pointer"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn config() -> HttpConfig {
    HttpConfig { workers: 1, stop_delay_ms: 0, ..HttpConfig::default() }
}

pub(crate) fn open() -> Authenticator {
    Authenticator::new(&AuthConfig { mode: AuthMode::None, ..AuthConfig::default() }, LOCAL).unwrap()
}

pub(crate) fn server(config: HttpConfig, auth: Authenticator) -> Server {
    Server::bind("test", LOCAL, config, auth).unwrap()
}

/// The test service without authentication.
pub(crate) fn start() -> Served {
    Served::start(server(config(), open()), routes)
}

/// A keys file with these keys, and the folder that it lies in.
pub(crate) fn keys_file(keys: &[ApiKey]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    std::fs::write(&file, json!({ "keys": keys }).to_string()).unwrap();
    (folder, file)
}

pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/v1/entries/{project}/{name:.*}").route(web::get().to(entry)))
        .service(web::resource("/v1/queues/{queue}").route(web::get().to(queue)))
        .service(
            web::resource("/v1/tasks")
                .app_data(BodyLimit::new("task", 1000))
                .route(web::post().to(task))
                .route(web::patch().to(task))
                .route(web::get().to(list)),
        )
        .service(web::resource("/v1/bytes").route(web::put().to(bytes)))
        .service(web::resource("/v1/correlation").route(web::get().to(correlation)))
        .service(web::resource("/v1/panic").route(web::get().to(panic)))
        .service(web::resource("/v1/mistake").route(web::get().to(mistake)))
        .service(web::resource("/v1/foreign").route(web::post().to(foreign)))
        .service(web::resource("/v1/own").route(web::get().to(own)))
        .service(web::resource("/v1/bare/{status}").route(web::get().to(bare)))
        .service(
            web::resource("/v1/cached/{project}").route(web::get().to(cached)).route(web::put().to(cached)),
        );
}

async fn entry(path: Path<(ProjectId, EntryName)>) -> HttpResponse {
    HttpResponse::Ok().json(path.into_inner())
}

async fn queue(path: Path<QueueName>) -> HttpResponse {
    HttpResponse::Ok().json(path.into_inner())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    queue: QueueName,
    #[serde(default)]
    priority: u8,
    #[serde(default)]
    payload: Value,
}

async fn task(body: Json<Task>) -> HttpResponse {
    HttpResponse::Created().json(body.into_inner())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    limit: u16,
}

async fn list(query: Query<List>) -> HttpResponse {
    HttpResponse::Ok().json(query.into_inner())
}

async fn bytes(body: Body) -> HttpResponse {
    HttpResponse::Ok().json(body.0.len())
}

async fn correlation(Correlation(id): Correlation, TraceParent(trace): TraceParent) -> HttpResponse {
    HttpResponse::Ok().json((id, trace))
}

async fn panic() -> HttpResponse {
    panic!("on purpose")
}

#[derive(Debug, thiserror::Error)]
#[error("the password is hunter2")]
struct Mistake;

impl domain::Coded for Mistake {
    fn code(&self) -> domain::ErrorCode {
        domain::ErrorCode::Internal
    }
}

async fn mistake() -> Result<HttpResponse, Problem> {
    Err(Mistake)?
}

/// Uses an extractor of actix in place of ours.
async fn foreign(body: web::Json<Value>) -> HttpResponse {
    HttpResponse::Ok().json(body.into_inner())
}

async fn own() -> HttpResponse {
    HttpResponse::Conflict().content_type("text/plain").body("mine")
}

/// A status, and not a word about it.
async fn bare(Path(status): Path<u16>) -> HttpResponse {
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish()
}

async fn cached(
    access: Access,
    path: Path<ProjectId>,
    request: actix_web::HttpRequest,
) -> Result<HttpResponse, Problem> {
    let action = if request.method() == "GET" { Action::CacheRead } else { Action::CacheWrite };
    access.require(action, path.as_str())?;
    Ok(HttpResponse::Ok().json(access.key_id()))
}

/// What is logged on this thread while the guard of [`Log::start`] lives.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn start(&self) -> tracing::subscriber::DefaultGuard {
        let (config, log) = (LogConfig { format: LogFormat::Json, ..LogConfig::default() }, self.clone());
        tracing::subscriber::set_default(telemetry::subscriber(&config, false, move || log.clone()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
