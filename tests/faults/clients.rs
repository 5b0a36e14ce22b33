//! Clients as a team's backend would have them: they ask, note what they were told, and go on.

mod entries;
mod limits;
mod operations;
mod sessions;
mod tasks;

use crate::history::{Answer, Fact, Record, Service};
use crate::stand::Stand;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use testkit::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// All clients of one fault.
pub(crate) struct Clients {
    notes: Arc<Notes>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Clients {
    /// Starts them; they ask until they are told to finish.
    pub(crate) fn start(stand: &Stand, seed: u64) -> Self {
        let notes = Arc::new(Notes { begin: Instant::now(), records: Mutex::default() });
        let mut clients = Self { notes, stop: CancellationToken::new(), running: JoinSet::new() };
        let key = &stand.key;
        let (cache, queue) = (stand.cache_api.client(key), stand.queue_worker.client(key));
        let progress = stand.progress_sse.client(key);
        // The public door asks for no key.
        let door = Client::new(&stand.gateway.base_url());
        for number in 0..2 {
            let each = |seed| Asking::new(&clients.notes, &clients.stop, seed + number);
            let asking = [each(seed), each(seed + 10), each(seed + 20), each(seed + 30), each(seed + 40)];
            let [entries, sessions, limits, tasks, operations] = asking;
            let name = format!("c{number}");
            clients.running.spawn(entries::run(entries, cache.clone(), name.clone()));
            clients.running.spawn(sessions::run(sessions, cache.clone(), name.clone()));
            clients.running.spawn(limits::run(limits, door.clone(), number));
            clients.running.spawn(tasks::run(tasks, queue.clone(), name.clone()));
            clients.running.spawn(operations::run(operations, progress.clone(), name));
        }
        clients
    }

    /// Since they began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.notes.begin.elapsed()
    }

    /// Lets them come to an end, and gives what they noted.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Vec<Record>> {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended?;
        }
        let mut records = self.notes.records.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *records))
    }
}

struct Notes {
    begin: Instant,
    records: Mutex<Vec<Record>>,
}

/// What a client asks with.
struct Asking {
    notes: Arc<Notes>,
    stop: CancellationToken,
    random: StdRng,
}

/// A good answer.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Asking {
    fn new(notes: &Arc<Notes>, stop: &CancellationToken, seed: u64) -> Self {
        Self { notes: Arc::clone(notes), stop: stop.clone(), random: StdRng::seed_from_u64(seed) }
    }

    /// A pause between two requests; false when the client should finish.
    async fn goes_on(&mut self) -> bool {
        let pause = Duration::from_millis(self.random.random_range(20..60));
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Asks, waits as long as a client's patience lasts, and notes it. `learned`: what a good answer claims.
    async fn ask(
        &self,
        service: Service,
        request: RequestBuilder,
        good: &[u16],
        learned: impl FnOnce(&Reply) -> Option<Fact>,
    ) -> Option<Reply> {
        let sent = self.notes.begin.elapsed();
        let whole = async {
            let answer = request.send().await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = answer.bytes().await?.into();
            Ok::<_, reqwest::Error>(Reply { status, headers, body })
        };
        let reply = match tokio::time::timeout(PATIENCE, whole).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => {
                self.note(service, sent, Answer::None, None);
                return None;
            }
        };
        if !good.contains(&reply.status.as_u16()) {
            self.note(service, sent, refusal(&reply), None);
            return None;
        }
        let fact = learned(&reply);
        self.note(service, sent, Answer::Good, fact);
        Some(reply)
    }

    fn note(&self, service: Service, sent: Duration, answer: Answer, fact: Option<Fact>) {
        let record = Record { service, sent, ended: self.notes.begin.elapsed(), answer, fact };
        self.notes.records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// Notes something that no request of its own brought.
    fn note_fact(&self, service: Service, fact: Fact) {
        self.note(service, self.notes.begin.elapsed(), Answer::Good, Some(fact));
    }
}

/// A problem that says "not now" and when to come again; anything else is wrong.
fn refusal(reply: &Reply) -> Answer {
    let problem = reply.json();
    let kind = problem["type"].as_str().and_then(|uri| uri.rsplit(['/', '#']).next()).unwrap_or_default();
    let is_problem = reply.headers.get(CONTENT_TYPE).is_some_and(|is| is == "application/problem+json");
    if reply.status == StatusCode::SERVICE_UNAVAILABLE
        && is_problem
        && reply.headers.contains_key(RETRY_AFTER)
    {
        return Answer::Away { kind: kind.to_owned() };
    }
    Answer::Wrong { what: format!("{} {kind}: {}", reply.status, problem["detail"]) }
}

/// A second more than any deadline of ours.
const PATIENCE: Duration = Duration::from_secs(3);
