//! One connection to Redis, and every setting of the client that is not ours by default.
//!
//! fred's defaults would lose, repeat or hang; each setting says what it prevents, and a test in `tests/it/traps.rs`
//! holds it.

use crate::config::{RedisConfig, expose, without_password};
use crate::{Arg, RedisError, Reply};
use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::{Config, Options, ReconnectPolicy, TcpConfig};
use fred::types::{Builder, ClientState, ClusterHash, CustomCommand, RespVersion, Value};
use rand::RngExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A connection with the task that drives it. The task lives on the runtime of the thread that made it.
pub(crate) struct Connection {
    client: Client,
    driver: tokio::task::JoinHandle<Result<(), Error>>,
    in_flight: AtomicUsize,
    made: Instant,
    /// Milliseconds after `made` since which it is down, plus one; zero while it is up.
    down_since: AtomicU64,
    /// The same for the first deadline that passed since the last answer; zero when an answer was the last to come.
    silent_since: AtomicU64,
}

impl Connection {
    /// Begins to connect, for ever, on the current runtime. Does not wait.
    pub(crate) fn open(config: &RedisConfig) -> Result<Self, RedisError> {
        let client = builder(config)?.build().map_err(|error| wrong_config(config, &error))?;
        let driver = client.connect();
        let (down_since, silent_since) = (AtomicU64::new(0), AtomicU64::new(0));
        let (in_flight, made) = (AtomicUsize::new(0), Instant::now());
        Ok(Self { client, driver, in_flight, made, down_since, silent_since })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// It speaks to every node of a cluster.
    pub(crate) fn is_clustered(&self) -> bool {
        self.client.is_clustered()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Nobody will answer here again: its runtime has ended, and the driver with it; or the peer takes bytes and says
    /// nothing. (The client's own watch counts from the last write, so that a busy connection never looks silent.)
    pub(crate) fn is_dead(&self) -> bool {
        let silent_since = self.silent_since.load(Ordering::Relaxed);
        self.driver.is_finished()
            || (silent_since != 0 && self.now_ms().saturating_sub(silent_since) > SILENCE_MS)
    }

    /// Sends one command and waits for its answer, `within` or the default time. An `Err` means that none came; an error
    /// that the server answered with is a [`Reply::Error`].
    pub(crate) async fn send(
        &self,
        command: &'static str,
        slot: Option<u16>,
        args: Vec<Value>,
        within: Option<Duration>,
    ) -> Result<Reply, RedisError> {
        self.refuse_while_down()?;
        let hash = slot.map_or(ClusterHash::Random, ClusterHash::Custom);
        let command = CustomCommand::new_static(command, hash, false);
        let _counted = InFlight::on(&self.in_flight);
        let answer = match within {
            // The time runs inside the client: a future dropped outside would be executed later all the same.
            Some(timeout) => {
                let options = Options { timeout: Some(timeout), max_attempts: Some(1), ..Options::default() };
                self.client.with_options(&options).custom_raw(command, args).await
            }
            None => self.client.custom_raw(command, args).await,
        };
        self.heard(answer).map(Reply::from_frame)
    }

    /// `GET`, as the client's own command: it waits for what the same task sends next, and both leave in one write. A
    /// command that the client does not know by itself is flushed at once, each with a system call of its own.
    pub(crate) async fn get(&self, key: &Bytes) -> Result<Reply, RedisError> {
        self.refuse_while_down()?;
        let _counted = InFlight::on(&self.in_flight);
        let answer = self.client.get::<Option<Bytes>, _>(fred::types::Key::from(key.clone())).await;
        let answer = match answer {
            // What the server said: the client makes an error of it, where it knows the command by itself.
            Err(error) if begins_with_an_error_code(error.details()) => {
                Ok(Reply::Error(error.details().to_owned()))
            }
            answer => answer.map(|found| found.map_or(Reply::Nil, Reply::Text)),
        };
        self.heard(answer)
    }

    /// Sorts what came of a command, and notes whether the peer spoke.
    fn heard<T>(&self, answer: Result<T, Error>) -> Result<T, RedisError> {
        let error = match answer {
            Ok(answer) => {
                self.silent_since.store(0, Ordering::Relaxed);
                return Ok(answer);
            }
            Err(error) => error,
        };
        if *error.kind() == ErrorKind::Timeout {
            let now = self.now_ms();
            let _ = self.silent_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(sort(&error))
    }

    /// Says `Unavailable` at once when the connection has been down for longer than a blink, rather than letting
    /// callers queue up behind it until their deadline.
    pub(crate) fn refuse_while_down(&self) -> Result<(), RedisError> {
        if self.client.state() == ClientState::Connected {
            self.down_since.store(0, Ordering::Relaxed);
            return Ok(());
        }
        let now = self.now_ms();
        let since = match self.down_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now,
            Err(since) => since,
        };
        // Another thread may have noticed it a moment later than `now`.
        if now.saturating_sub(since) > BLINK_MS { Err(RedisError::away()) } else { Ok(()) }
    }

    /// Milliseconds since it was made, plus one.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Says goodbye and waits a little for the driver to end.
    pub(crate) async fn close(&self) {
        // Without a connection, QUIT would wait for one.
        if self.client.state() == ClientState::Connected {
            let _ = tokio::time::timeout(Duration::from_millis(500), self.client.quit()).await;
        }
        self.driver.abort();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The driver owns the socket and would keep it for ever.
        self.driver.abort();
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

fn builder(config: &RedisConfig) -> Result<Builder, RedisError> {
    let mut fred = Config::from_url(&config.url).map_err(|error| wrong_config(config, &error))?;
    fred.version = RespVersion::RESP3;
    // A Redis that is not there yet is waited for, not an error of the start.
    fred.fail_fast = false;
    if config.username.is_some() {
        fred.username.clone_from(&config.username);
    }
    let password = config.read_password().map_err(|error| {
        RedisError::Reply(format!("the file of the redis password can't be read: {error}"))
    })?;
    if let Some(password) = password {
        fred.password = Some(expose(&password));
    }

    let mut builder = Builder::from_config(fred);
    // Default: no policy at all; a lost connection stays lost, and commands wait for ever. 0 = for ever. The jitter
    // vanishes at the longest delay, so each connection has a longest delay of its own.
    let longest = rand::rng().random_range(1_500..3_000);
    let mut policy = ReconnectPolicy::new_exponential(0, 20, longest, 2);
    policy.set_jitter(100);
    builder.set_policy(policy);
    builder.with_connection_config(|connection| {
        // Default: 10 s each.
        connection.connection_timeout = Duration::from_millis(config.connect_timeout_ms);
        connection.internal_command_timeout = Duration::from_millis(config.connect_timeout_ms);
        // Default: 3; a script whose answer was lost would run twice. (0 fails every command.)
        connection.max_command_attempts = 1;
        // Default: unbounded; 50,000 commands waited in memory and all ran after an outage.
        connection.max_command_buffer_len = config.queue_limit.get();
        connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
    });
    builder.with_performance_config(|performance| {
        // Default: none; a command to a stopped server waits for ever.
        performance.default_command_timeout = config.command_timeout();
        // Default: 32; a burst of messages would be dropped. What is dropped still shows as a gap.
        performance.broadcast_channel_capacity = 4_096;
    });
    Ok(builder)
}

/// Sorts an error of the client by what it says about the command. (What the server said comes as an answer, except to
/// a subscription.)
pub(crate) fn sort(error: &Error) -> RedisError {
    let details = error.details();
    match error.kind() {
        // Refused by the bounded queue: it says nothing about Redis.
        ErrorKind::Backpressure => RedisError::Overloaded,
        // By a client that has no connection to write to.
        _ if details == "Failed to route command." => RedisError::away(),
        ErrorKind::Protocol | ErrorKind::Parse => RedisError::Protocol(details.to_owned()),
        ErrorKind::Auth => RedisError::Reply(details.to_owned()),
        _ if begins_with_an_error_code(details) => RedisError::from_server(details),
        // Timeout, a lost connection, a client that ended: whether the command had been written is not known.
        _ => RedisError::Unknown,
    }
}

/// `NOPERM this user has no permissions…`: the server's style, not the client's.
fn begins_with_an_error_code(text: &str) -> bool {
    let word = text.split(' ').next().unwrap_or_default();
    word.len() > 2 && word.bytes().all(|c| c.is_ascii_uppercase())
}

fn wrong_config(config: &RedisConfig, error: &Error) -> RedisError {
    RedisError::Reply(format!("wrong redis url {}: {}", without_password(&config.url), error.details()))
}

/// Where a key or a channel lies in a cluster.
pub(crate) fn slot(name: &[u8]) -> u16 {
    fred::util::redis_keyslot(name)
}

const BLINK_MS: u64 = 300;
/// Longer than a hiccup, so that one slow command alone never costs the others their connection.
const SILENCE_MS: u64 = 1_000;
