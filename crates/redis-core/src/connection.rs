//! One connection for commands, and the task that makes it again for as long as it lives.
//!
//! A client of fred lives as long as one TCP connection, and knows one server. Everything that has to do with more than
//! that is ours: who is primary, when to try again, what is silent, what was sent and never answered. fred's defaults
//! would lose, repeat or hang; each setting says what it prevents, and a test in `tests/it/traps.rs` holds it.

use crate::finder::Finder;
use crate::metrics;
use crate::target::{Address, Layout};
use crate::{Arg, RedisError, Reply};
use arc_swap::ArcSwap;
use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::{Config, Options, Server, ServerConfig, TcpConfig, TlsConnector};
use fred::types::{Builder, ClusterHash, CustomCommand, RespVersion, Value};
use rand::RngExt;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, futures::Notified};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_rustls::TlsConnector as RustlsConnector;
use tokio_util::sync::CancellationToken;

/// A connection with the task that drives it. The task lives on the runtime of the thread that made it.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    /// Ends with it.
    _supervisor: JoinSet<()>,
    supervisor: AbortHandle,
}

struct Shared {
    finder: Arc<Finder>,
    place: Place,
    state: ArcSwap<State>,
    changed: Notify,
    again: Notify,
    in_flight: AtomicUsize,
}

/// Which server it is to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    At(Address),
    /// Whichever the Sentinels name.
    Primary,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Primary => f.write_str("the primary of the Sentinels"),
        }
    }
}

enum State {
    /// A try is under way, or about to be, and none before it says how it will end.
    New,
    Up(Link),
    /// It was lost just now, and no try has failed since.
    Lost(Instant),
    /// What the last try said.
    Down(RedisError),
}

/// What lives as long as one TCP connection.
struct Link {
    client: Client,
    driver: AbortHandle,
    /// Cancelled when nobody will answer here any more.
    lost: CancellationToken,
    in_flight: AtomicUsize,
    /// Something was asked, and nothing answered since; also when nobody waits for it any more.
    owes: AtomicBool,
    answers: AtomicU64,
}

type Driver = JoinHandle<Result<(), Error>>;

impl Connection {
    /// Begins to connect, for ever, on the current runtime. Does not wait.
    pub(crate) fn open(finder: Arc<Finder>, place: Place) -> Self {
        let shared = Arc::new(Shared {
            finder,
            place,
            state: ArcSwap::from_pointee(State::New),
            changed: Notify::new(),
            again: Notify::new(),
            in_flight: AtomicUsize::new(0),
        });
        let mut tasks = JoinSet::new();
        let supervisor = tasks.spawn(supervise(Arc::clone(&shared)));
        Self { shared, _supervisor: tasks, supervisor }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Nobody will connect here again: its runtime has ended, and the task with it.
    pub(crate) fn is_dead(&self) -> bool {
        self.supervisor.is_finished()
    }

    /// It refuses calls.
    pub(crate) fn is_down(&self) -> bool {
        match &**self.shared.state.load() {
            State::New | State::Up(_) => false,
            State::Lost(since) => since.elapsed() > BLINK,
            State::Down(_) => true,
        }
    }

    /// Tries now, if it is down, rather than after its pause; callers wait for that try.
    pub(crate) fn hurry(&self) {
        let state = self.shared.state.load();
        if self.is_down() {
            // Unless it has changed meanwhile.
            self.shared.state.compare_and_swap(&state, Arc::new(State::New));
            self.shared.again.notify_one();
        }
    }

    /// Gives up the connection that is, and makes a new one: its server is not the right one any more.
    pub(crate) fn renew(&self) {
        if let State::Up(link) = &**self.shared.state.load() {
            link.driver.abort();
        }
    }

    /// Sends one command and waits for its answer, `within` or the default time. An `Err` means that none came; an error
    /// that the server answered with is a [`Reply::Error`].
    pub(crate) async fn send(
        &self,
        command: &'static str,
        args: Vec<Value>,
        within: Option<Duration>,
    ) -> Result<Reply, RedisError> {
        let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
        self.call(within, async |client, within| match within {
            // The time runs inside the client: a future dropped outside would be executed later all the same.
            Some(timeout) => {
                let options = Options { timeout: Some(timeout), ..Options::default() };
                client.with_options(&options).custom_raw(command, args).await
            }
            None => client.custom_raw(command, args).await,
        })
        .await
        .map(Reply::from_frame)
    }

    /// As [`Connection::send`], for a server that is about to take over the slot: it answers only who says ASKING. Should
    /// another's command come in between, the server redirects us again, and nothing has run.
    pub(crate) async fn send_asking(
        &self,
        command: &'static str,
        args: Vec<Value>,
        within: Option<Duration>,
    ) -> Result<Reply, RedisError> {
        // Polled in this order, and each is written when it is first polled.
        let (_, answer) = tokio::join! {
            biased;
            self.send("ASKING", Vec::new(), within),
            self.send(command, args, within),
        };
        answer
    }

    /// `GET`, as the client's own command: it waits for what the same task sends next, and both leave in one write. A
    /// command that the client does not know by itself is flushed at once, each with a system call of its own.
    pub(crate) async fn get(&self, key: &Bytes) -> Result<Reply, RedisError> {
        let key = fred::types::Key::from(key.clone());
        self.call(None, async |client, _| match client.get::<Option<Bytes>, _>(key).await {
            // What the server said: the client makes an error of it, where it knows the command by itself.
            Err(error) if begins_with_an_error_code(error.details()) => {
                Ok(Reply::Error(error.details().to_owned()))
            }
            answer => answer.map(|found| found.map_or(Reply::Nil, Reply::Text)),
        })
        .await
    }

    async fn call<T>(
        &self,
        within: Option<Duration>,
        ask: impl AsyncFnOnce(&Client, Option<Duration>) -> Result<T, Error>,
    ) -> Result<T, RedisError> {
        let _counted = InFlight::on(&self.shared.in_flight);
        if self.in_flight() > self.shared.finder.config.queue_limit.get() {
            return Err(RedisError::Overloaded);
        }
        let (state, within) = match self.shared.state.load_full() {
            state if matches!(*state, State::Up(_)) => (state, within),
            _ => Box::pin(self.wait_until_up(within)).await?,
        };
        let State::Up(link) = &*state else { return Err(RedisError::away()) };
        let _counted = InFlight::on(&link.in_flight);
        link.owes.store(true, Ordering::Relaxed);
        let lost = link.lost.cancelled();
        // On the heap, since the client's futures are deep and large, and every caller's would be as large.
        let asking = Box::pin(ask(&link.client, within));
        tokio::select! {
            biased;
            answer = asking => {
                if answer.is_ok() {
                    link.answered();
                }
                answer.map_err(|error| sort(&error))
            }
            // Sooner than the deadline: whether it was written is not known.
            () = lost => Err(RedisError::Unknown),
        }
    }

    /// For the first try, or for a blink after a loss; then refuses at once, rather than letting callers queue up until
    /// their deadline. Says how much of the time is left.
    async fn wait_until_up(
        &self,
        within: Option<Duration>,
    ) -> Result<(Arc<State>, Option<Duration>), RedisError> {
        let begun = Instant::now();
        let within = within.unwrap_or_else(|| self.shared.finder.config.command_timeout());
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            Notified::enable(changed.as_mut());
            let state = self.shared.state.load_full();
            let left = within.saturating_sub(begun.elapsed());
            let patience = match &*state {
                State::Up(_) if left.is_zero() => return Err(RedisError::away()),
                State::Up(_) => return Ok((state, Some(left))),
                State::New => left,
                State::Lost(since) => BLINK.saturating_sub(since.elapsed()).min(left),
                State::Down(why) => return Err(why.clone()),
            };
            if tokio::time::timeout(patience, changed).await.is_err() {
                return Err(RedisError::away());
            }
        }
    }

    /// Says goodbye and waits a little for the driver to end.
    pub(crate) async fn close(&self) {
        if let State::Up(link) = &*self.shared.state.load_full() {
            let _ = tokio::time::timeout(Duration::from_millis(500), link.client.quit()).await;
        }
        self.supervisor.abort();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The driver owns the socket and would keep it for ever.
        self.driver.abort();
        self.lost.cancel();
    }
}

/// Makes the connection, watches it, and makes it again, for ever.
async fn supervise(shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        match connect(&shared).await {
            Ok((client, driver, address)) => {
                let link = Link {
                    client,
                    driver: driver.abort_handle(),
                    lost: CancellationToken::new(),
                    in_flight: AtomicUsize::new(0),
                    owes: AtomicBool::new(false),
                    answers: AtomicU64::new(0),
                };
                let state = Arc::new(State::Up(link));
                shared.enter(Arc::clone(&state));
                if let State::Up(link) = &*state {
                    let cause = tokio::select! {
                        cause = watch(link, driver, &address) => cause,
                        () = shared.finder.until_replaced(&address) => {
                            tracing::info!("redis at {address} is not the primary any more: connecting to another");
                            "replaced"
                        }
                    };
                    metrics::reconnects(cause);
                    link.driver.abort();
                    shared.enter(Arc::new(State::Lost(Instant::now())));
                    link.lost.cancel();
                }
                // One that is lost again at once is tried again more and more slowly.
                if begun.elapsed() > LONGEST_PAUSE {
                    failures = 0;
                }
            }
            Err(error) => {
                if failures == 0 || matches!(error, RedisError::Reply(_)) && shared.says_new(&error) {
                    tracing::warn!(error = %error, "cannot connect to redis at {}: {error}", shared.place);
                }
                shared.enter(Arc::new(State::Down(error)));
            }
        }
        failures += 1;
        let pause = pause(failures, rand::rng().random_range(0.0..1.0), shared.is_refused());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.again.notified() => {}
        }
    }
}

impl Shared {
    fn enter(&self, state: Arc<State>) {
        self.state.store(state);
        self.changed.notify_waiters();
    }

    /// The server answers, and does not let us in: trying often would not help.
    fn is_refused(&self) -> bool {
        matches!(&**self.state.load(), State::Down(RedisError::Reply(_)))
    }

    fn says_new(&self, error: &RedisError) -> bool {
        !matches!(&**self.state.load(), State::Down(before) if before == error)
    }
}

/// Full jitter at every step, also at the longest: uniform in 0..=min(longest, 20 ms · 2^failures). Source: Brooker,
/// "Exponential Backoff and Jitter" (2015).
pub(crate) fn pause(failures: u32, dice: f64, refused: bool) -> Duration {
    let longest = if refused { LONGEST_PAUSE_REFUSED } else { LONGEST_PAUSE };
    (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(16))).min(longest).mul_f64(dice)
}

/// Returns when nobody will answer any more: the driver has ended, or the peer takes bytes and says nothing. (The client's
/// own watch counts from the last write, so that a busy connection never looks silent.)
async fn watch(link: &Link, mut driver: Driver, address: &Address) -> &'static str {
    let mut heard = (0, Instant::now());
    loop {
        tokio::select! {
            _ = &mut driver => return "closed",
            () = tokio::time::sleep(TICK) => {}
        }
        let (answers, waiting) =
            (link.answers.load(Ordering::Relaxed), link.in_flight.load(Ordering::Relaxed));
        if answers != heard.0 || waiting == 0 && !link.owes.load(Ordering::Relaxed) {
            heard = (answers, Instant::now());
            continue;
        }
        let silent = if waiting > 0 {
            heard.1.elapsed() > SILENCE
        } else {
            // Nobody waits any more who would notice an answer: we ask ourselves.
            tokio::select! {
                _ = &mut driver => return "closed",
                pong = link.ping() => pong.is_err(),
            }
        };
        if silent {
            tracing::warn!("redis at {address} takes commands and does not answer: connecting again");
            return "silent";
        }
    }
}

impl Link {
    async fn ping(&self) -> Result<(), Error> {
        let command = CustomCommand::new_static("PING", ClusterHash::Random, false);
        let options = Options { timeout: Some(SILENCE), ..Options::default() };
        self.client.with_options(&options).custom_raw(command, Vec::<Value>::new()).await?;
        self.answered();
        Ok(())
    }

    fn answered(&self) {
        self.owes.store(false, Ordering::Relaxed);
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

async fn connect(shared: &Shared) -> Result<(Client, Driver, Address), RedisError> {
    let patience = shared.finder.patience();
    let connecting = async {
        let address = match &shared.place {
            Place::At(address) => address.clone(),
            Place::Primary => shared.finder.primary().await?,
        };
        let client = builder(&shared.finder, &address)?.build().map_err(|error| refused(&error))?;
        let mut driver = OnDrop(Some(client.connect()));
        let ended = async {
            match driver.0.as_mut() {
                Some(driver) => driver.await,
                None => pending().await,
            }
        };
        let connected = tokio::select! {
            connected = client.wait_for_connect() => connected,
            ended = ended => ended.unwrap_or_else(|error| Err(error.into())),
        };
        connected.map_err(|error| refused(&error))?;
        let driver = driver.0.take().ok_or_else(RedisError::away)?;
        Ok((client, driver, address))
    };
    tokio::time::timeout(patience, connecting).await.unwrap_or_else(|_| Err(RedisError::away()))
}

/// Ends a driver whose connection nobody waits for any more.
struct OnDrop(Option<Driver>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(driver) = &self.0 {
            driver.abort();
        }
    }
}

fn builder(finder: &Finder, address: &Address) -> Result<Builder, RedisError> {
    let (target, login, config) = (finder.target()?, finder.login()?, &finder.config);
    let server = Server::new(address.host.as_str(), address.port);
    let fred = Config {
        server: ServerConfig::Centralized { server },
        // A new client for each try: it ends with its connection.
        fail_fast: true,
        version: RespVersion::RESP3,
        database: (target.database != 0).then_some(target.database),
        // fred asks for both or none.
        username: login.password.as_ref().and(login.username),
        password: login.password,
        tls: finder.tls()?.map(|tls| TlsConnector::Rustls(RustlsConnector::from(tls)).into()),
        ..Config::default()
    };
    let mut builder = Builder::from_config(fred);
    builder.with_connection_config(|connection| {
        // Default: 10 s each. All of them together are bounded by us.
        connection.connection_timeout = finder.patience();
        connection.internal_command_timeout = finder.patience();
        // Default: 3; a script whose answer was lost would run twice. (0 fails every command.)
        connection.max_command_attempts = 1;
        // Default: unbounded; 50,000 commands waited in memory and all ran after an outage.
        connection.max_command_buffer_len = config.queue_limit.get();
        connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
    });
    builder.with_performance_config(|performance| {
        // Default: none; a command to a stopped server waits for ever.
        performance.default_command_timeout = config.command_timeout();
    });
    Ok(builder)
}

/// The one server that commands go to, unless they are spread over a cluster.
pub(crate) fn place(layout: &Layout) -> Option<Place> {
    match layout {
        Layout::One(address) => Some(Place::At(address.clone())),
        Layout::Sentinel { .. } => Some(Place::Primary),
        Layout::Cluster { .. } => None,
    }
}

/// Counts a command for as long as its future lives.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn on(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<Arg> for Value {
    fn from(arg: Arg) -> Self {
        Value::Bytes(arg.0)
    }
}

/// A blob that goes out as it is, such as a key.
pub(crate) fn blob(bytes: &Bytes) -> Value {
    Value::Bytes(bytes.clone())
}

/// Sorts an error of the client by what it says about the command. What the server said is no error of the client: where
/// one looks like it (CLUSTERDOWN), the client has given up the connection with all that was in flight on it.
fn sort(error: &Error) -> RedisError {
    match error.kind() {
        // Refused by the bounded queue: it says nothing about Redis.
        ErrorKind::Backpressure => RedisError::Overloaded,
        ErrorKind::Protocol | ErrorKind::Parse => RedisError::Protocol(error.details().to_owned()),
        // Timeout, a lost connection, a client that ended: whether the command had been written is not known.
        _ => RedisError::Unknown,
    }
}

/// Sorts an error of a try to connect.
fn refused(error: &Error) -> RedisError {
    let details = error.details();
    match error.kind() {
        ErrorKind::Config | ErrorKind::Url | ErrorKind::Tls => RedisError::Reply(details.to_owned()),
        // WRONGPASS, NOAUTH, NOPERM; LOADING and the like are sorted as ever.
        _ if begins_with_an_error_code(details) => RedisError::from_server(details),
        ErrorKind::Auth => RedisError::Reply(details.to_owned()),
        _ => RedisError::away(),
    }
}

/// `NOPERM this user has no permissions…`: the server's style, not the client's.
fn begins_with_an_error_code(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or_default();
    word.len() > 2 && word.bytes().all(|c| c.is_ascii_uppercase())
}

/// Where a key or a channel lies in a cluster.
pub(crate) fn slot(name: &[u8]) -> u16 {
    fred::util::redis_keyslot(name)
}

/// How long calls wait for a connection that was lost.
const BLINK: Duration = Duration::from_millis(300);
/// Longer than a hiccup, so that one slow command alone never costs the others their connection; with the tick, a peer
/// that says nothing is found within 2 s.
const SILENCE: Duration = Duration::from_millis(1_100);
const TICK: Duration = Duration::from_millis(400);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_spread_at_every_length() {
        for (failures, refused, longest_ms) in [
            (1, false, 20),
            (2, false, 40),
            (6, false, 640),
            (7, false, 1_000),
            (40, false, 1_000),
            (40, true, 3_000),
        ] {
            for dice in [0.0, 0.25, 1.0] {
                let expected = Duration::from_millis(longest_ms).mul_f64(dice);
                assert_eq!(pause(failures, dice, refused), expected, "{failures} failures");
            }
        }
    }
}
