//! `Redis`: the handle that engines hold.

use crate::batch::{Batchers, Keys};
use crate::breaker::Breaker;
use crate::config::without_password;
use crate::connection::{blob, slot};
use crate::finder::Finder;
use crate::health::LastFound;
use crate::metrics::{self, Operation};
use crate::pool::Pool;
use crate::server::ServerHealth;
use crate::subscribe::{Subscriber, Subscription};
use crate::{Arg, Channel, Clock, Key, RedisConfig, RedisError, Reply, Script};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use fred::types::Value;
use futures_util::future::try_join_all;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The way to one Redis. Cheap to clone; one per process, or per test.
#[derive(Clone)]
pub struct Redis {
    pub(crate) inner: Arc<Inner>,
    clock: Clock,
}

pub(crate) struct Inner {
    config: RedisConfig,
    pub(crate) pool: Pool,
    /// A connection that carries nothing but the question how Redis is.
    pub(crate) health: Pool,
    pub(crate) breaker: Breaker,
    /// A task asks whether Redis is back.
    pub(crate) probing: AtomicBool,
    batchers: Batchers,
    subscriber: Subscriber,
    /// What the servers said last, for the metrics.
    pub(crate) shown: ArcSwapOption<Vec<ServerHealth>>,
    pub(crate) last_found: LastFound,
    /// Names this handle among all that use the same Redis.
    pub(crate) instance: u64,
    pub(crate) round_trips: AtomicU64,
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Redis {
    /// A handle. Nothing is sent yet: each thread connects when it first needs to, and an absent Redis is waited for.
    pub fn connect(config: &RedisConfig) -> Self {
        let (finder, tasks) = (Arc::new(Finder::new(config.clone())), TaskTracker::new());
        let inner = Inner {
            config: config.clone(),
            pool: Pool::new(Arc::clone(&finder), config.pool, tasks.clone()),
            health: Pool::new(Arc::clone(&finder), NonZeroUsize::MIN, tasks.clone()),
            breaker: Breaker::new(without_password(&config.url)),
            probing: AtomicBool::new(false),
            batchers: Batchers::new(config.pool.get()),
            subscriber: Subscriber::new(finder, tasks.clone()),
            shown: ArcSwapOption::empty(),
            last_found: LastFound::default(),
            instance: rand::random(),
            round_trips: AtomicU64::new(0),
            closing: CancellationToken::new(),
            tasks,
        };
        let inner = Arc::new(inner);
        metrics::show(&inner);
        Self { inner, clock: Clock::redis() }
    }

    /// The same connections, judged by another clock. For tests and the dev mode.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Whose time counts.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How long a command may take unless it says otherwise.
    pub fn command_timeout(&self) -> Duration {
        self.inner.config.command_timeout()
    }

    /// A key of this installation. Only an engine's `keys.rs` calls it.
    pub fn key(&self, tail: impl Display) -> Key {
        Key(Bytes::from(format!("{}{tail}", self.inner.config.prefix.0)))
    }

    /// A sharded channel of this installation. Only an engine's `keys.rs` calls it.
    pub fn channel(&self, tail: impl Display) -> Channel {
        Channel(format!("{}{tail}", self.inner.config.prefix.0))
    }

    /// Runs a script on keys of one slot. `ARGV[1]` is the clock, `args` follow.
    ///
    /// One round trip; one more when the server does not know the script yet.
    ///
    /// # Errors
    /// See [`RedisError`]; after `Unknown` it may have been applied.
    pub async fn run(&self, script: &Script, keys: &[Key], args: Vec<Arg>) -> Result<Reply, RedisError> {
        self.run_for(None, script, keys, args).await
    }

    /// [`Redis::run`] with a deadline of its own, kept inside the client: what has not been written by then is never
    /// executed.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn run_within(
        &self,
        deadline: Duration,
        script: &Script,
        keys: &[Key],
        args: Vec<Arg>,
    ) -> Result<Reply, RedisError> {
        self.run_for(Some(deadline), script, keys, args).await
    }

    /// Runs one item of a [`Script::batched`] script, together with whatever else waits for the same script and keys.
    ///
    /// Sent at once when nothing of the kind is in flight; else with up to 63 others when the answer is there. The
    /// call runs in a task of its own, so dropping the future does not drop the write. At most two round trips of
    /// waiting, a share of one of cost.
    ///
    /// # Errors
    /// As [`Redis::run`]; an item's own error answers it alone. `Overloaded` when 4,096 wait already.
    pub async fn batch(
        &self,
        script: &'static Script,
        keys: &[Key],
        item: Vec<Arg>,
    ) -> Result<Reply, RedisError> {
        let _span = script.operation().span();
        self.inner.batchers.submit(self, script, Keys::Shared(keys), item).await
    }

    /// As [`Redis::batch`], for items that are about keys of their own: one call for items of any keys. KEYS are those
    /// of the items, one after the other; an item says how many of them are its own.
    ///
    /// On a server that is no cluster. A cluster refuses the call, and nothing has run, when its keys lie in several
    /// slots.
    ///
    /// # Errors
    /// As [`Redis::batch`].
    pub async fn batch_across(
        &self,
        script: &'static Script,
        keys: Vec<Key>,
        item: Vec<Arg>,
    ) -> Result<Reply, RedisError> {
        let _span = script.operation().span();
        self.inner.batchers.submit(self, script, Keys::Own(keys), item).await
    }

    /// One command on one key: `GET`, `LRANGE`, … One round trip.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn command(&self, name: &'static str, key: &Key, args: Vec<Arg>) -> Result<Reply, RedisError> {
        let mut all = Vec::with_capacity(1 + args.len());
        all.push(blob(&key.0));
        all.extend(args.into_iter().map(Value::from));
        self.send(name, Some(slot(key.as_bytes())), all, None).await
    }

    /// `GET`: the bytes under a key. One round trip; none when a script is sent by the same task in the same moment
    /// (`join!`, this first): then both leave in one write, and the answers come together.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, RedisError> {
        let measure = metrics::get().begin(&[]);
        let answer = match self.admit() {
            Ok(call) => {
                self.inner.round_trips.fetch_add(1, Ordering::Relaxed);
                let answer = self.inner.pool.get(slot(key.as_bytes()), &key.0).await;
                self.settle(call, &answer);
                answer
            }
            Err(error) => Err(error),
        };
        measure.end(&answer);
        answer?.ok()?.into_option().map(Reply::into_bytes).transpose()
    }

    /// `INFO` of these sections, of each server that holds keys: the one, or every primary of a cluster. One round trip;
    /// on a cluster another before it, which asks who they are.
    ///
    /// # Errors
    /// As [`Redis::run`], when any of them does not answer.
    pub async fn info(&self, sections: &[&'static str]) -> Result<Vec<String>, RedisError> {
        let sections: Vec<_> = sections.iter().map(|section| Value::from(Arg::from(*section))).collect();
        let ask = async |slot| self.send("INFO", slot, sections.clone(), None).await?.into_string();
        try_join_all(self.inner.pool.a_slot_of_each_server().await?.into_iter().map(ask)).await
    }

    /// Asks whether Redis is there. One round trip.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn ping(&self, within: Duration) -> Result<Duration, RedisError> {
        let begin = Instant::now();
        self.send("PING", None, Vec::new(), Some(within)).await?;
        Ok(begin.elapsed())
    }

    /// Listens to a sharded channel. The process has one connection for all its subscriptions; it is made again, with
    /// every channel, after a loss, and each subscriber then hears [`crate::Hint::Gap`].
    ///
    /// # Errors
    /// `Unavailable` or `Unknown` when Redis does not confirm in time; then nothing is subscribed.
    pub async fn subscribe(&self, channel: &Channel) -> Result<Subscription, RedisError> {
        self.inner.subscriber.subscribe(channel).await
    }

    /// Tells whoever listens to a sharded channel. One round trip. (A script that changes something publishes by itself.)
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub async fn publish(&self, channel: &Channel, message: impl Into<Arg>) -> Result<(), RedisError> {
        let name = Bytes::copy_from_slice(channel.as_str().as_bytes());
        let args = vec![blob(&name), Value::from(message.into())];
        self.send("SPUBLISH", Some(slot(&name)), args, None).await.map(drop)
    }

    /// How many requests went to Redis through this handle and its clones.
    pub fn round_trips(&self) -> u64 {
        self.inner.round_trips.load(Ordering::Relaxed)
    }

    /// Waits for writes in flight, then says goodbye.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.subscriber.close();
        self.inner.tasks.close();
        let _ = tokio::time::timeout(self.command_timeout() * 2, self.inner.tasks.wait()).await;
        self.inner.health.close().await;
        self.inner.pool.close().await;
    }

    pub(crate) fn batchers(&self) -> &Batchers {
        &self.inner.batchers
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    async fn run_for(
        &self,
        within: Option<Duration>,
        script: &Script,
        keys: &[Key],
        args: Vec<Arg>,
    ) -> Result<Reply, RedisError> {
        let guard = self.guard(keys);
        let count = keys.len() + usize::from(guard.is_some());
        let mut all = Vec::with_capacity(3 + count + args.len());
        all.push(Value::String(script.sha().into()));
        all.push(Value::Integer(i64::try_from(count).unwrap_or(i64::MAX)));
        all.extend(keys.iter().map(|key| blob(&key.0)));
        all.extend(guard);
        all.push(Value::from(self.clock.arg()));
        all.extend(args.into_iter().map(Value::from));

        let slot = keys.first().map(|key| slot(key.as_bytes()));
        match self.send_as(script.operation(), "EVALSHA", slot, all.clone(), within).await {
            // Nothing ran: the server is new, or has forgotten its scripts. EVAL runs it and teaches it.
            Err(RedisError::Reply(text)) if text.starts_with("NOSCRIPT") => {
                all[0] = Value::String(script.source().into());
                self.send("EVAL", slot, all, within).await
            }
            answer => answer,
        }
    }

    /// On a cluster, a second key that never exists for a script that has but one, from which it may derive others. While
    /// a slot moves, a server runs what names several keys only if it has all of them: so nothing runs then that would
    /// find half of its keys, or none, and take them for gone.
    fn guard(&self, keys: &[Key]) -> Option<Value> {
        let [key] = keys else { return None };
        if !self.inner.pool.is_clustered() {
            return None;
        }
        // Under the same right, and no engine's: their names hold no control character.
        let guard = [key.as_bytes(), b"\0"].concat();
        // Without a hash tag it would lie elsewhere; and then the others that could be derived do, too.
        (slot(&guard) == slot(key.as_bytes())).then(|| Value::Bytes(guard.into()))
    }

    async fn send(
        &self,
        command: &'static str,
        slot: Option<u16>,
        args: Vec<Value>,
        within: Option<Duration>,
    ) -> Result<Reply, RedisError> {
        self.send_as(&metrics::command(command), command, slot, args, within).await
    }

    async fn send_as(
        &self,
        operation: &Operation,
        command: &'static str,
        slot: Option<u16>,
        args: Vec<Value>,
        within: Option<Duration>,
    ) -> Result<Reply, RedisError> {
        let measure = operation.begin(&args);
        let answer = match self.admit() {
            Ok(call) => {
                self.inner.round_trips.fetch_add(1, Ordering::Relaxed);
                let answer = self.inner.pool.send(command, slot, args, within).await;
                self.settle(call, &answer);
                answer
            }
            Err(error) => Err(error),
        };
        measure.end(&answer);
        answer?.ok()
    }
}

impl Inner {
    /// Where Redis is, without a password.
    pub(crate) fn target(&self) -> String {
        without_password(&self.config.url)
    }

    pub(crate) fn batchers(&self) -> &Batchers {
        &self.batchers
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("config", &self.inner.config)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
