//! `Limiter`: one method an operation.

use crate::demand::{Standing, Verdict};
use crate::denials::Denials;
use crate::error::MOST_DEMANDS;
use crate::local::Local;
use crate::scripts::{CHECK, REFUND, RESET};
use crate::watch::Watch;
use crate::{Away, Demand, LimitError, Mode, Scope, answer, keys};
use domain::PolicyName;
use futures_util::future::join_all;
use redis_core::{Arg, Hint, Key, Redis, RedisError, Reply, Subscription};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How a limiter behaves.
#[derive(Clone, Debug)]
pub struct LimiterSettings {
    /// How long a check waits for Redis before it is answered by [`Away`]. An answer that comes later was charged all
    /// the same. Default 250 ms.
    pub deadline: Duration,
    /// How many processes share each limit while Redis is away and they count by themselves. Default 1.
    pub nodes: u32,
    /// How many denials are remembered, about 200 bytes each. Default 16,384; 0 asks Redis every time.
    pub denials: usize,
    /// How long a remembered denial is believed at most, should its reset not have been heard of. Default 5 s.
    pub believed: Duration,
}

impl Default for LimiterSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(250),
            nodes: 1,
            denials: 16_384,
            believed: Duration::from_secs(5),
        }
    }
}

/// Judges requests. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Limiter {
    inner: Arc<Inner>,
    // Of the last clone: ends what runs in the background.
    _running: Arc<DropGuard>,
}

struct Inner {
    redis: Redis,
    settings: LimiterSettings,
    denials: Denials,
    local: Local,
    watch: Watch,
    is_away: AtomicBool,
    /// Redis is a cluster, which refuses a call that is about several slots.
    by_slot: AtomicBool,
    was_used: AtomicBool,
    has_begun: AtomicBool,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Limiter {
    /// A limiter on this Redis. Nothing is sent before the first check.
    pub fn new(redis: Redis, settings: LimiterSettings) -> Self {
        // While a clock is turned by hand, a wait says nothing about real time.
        let places = if redis.clock().is_manual() { 0 } else { settings.denials };
        let stop = CancellationToken::new();
        let inner = Inner {
            denials: Denials::new(places),
            local: Local::new(settings.nodes),
            watch: Watch::new(Instant::now()),
            is_away: AtomicBool::new(false),
            by_slot: AtomicBool::new(false),
            was_used: AtomicBool::new(false),
            has_begun: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
            redis,
            settings,
        };
        Self { inner: Arc::new(inner), _running: Arc::new(stop.drop_guard()) }
    }

    /// Judges a request, and charges it to every demand when none denies. A denial charges nothing.
    ///
    /// One round trip, shared with other checks that wait; none when a demand is known to be denied. On a cluster one for
    /// each demand, at the same time, and one more for each to give back when another denied. Cost 0 only looks.
    ///
    /// # Errors
    /// [`LimitError`]: it could never pass, Redis is away and `away` is [`Away::Closed`], or too many wait.
    pub async fn check(&self, demands: &[Demand], cost: u32, away: Away) -> Result<Verdict, LimitError> {
        check_cost(demands, cost)?;
        if demands.is_empty() {
            return Ok(Verdict { admitted: true, mode: Mode::Exact, local: true, standings: Vec::new() });
        }
        let keys = self.inner.keys(demands);
        let sent = Instant::now();
        if let Some(verdict) = self.inner.known(&keys, demands, cost, sent) {
            return Ok(verdict);
        }
        self.inner.begin();
        if !self.inner.is_away.load(Ordering::Relaxed) {
            let epoch = self.inner.denials.epoch();
            match self.inner.ask(&keys, demands, cost, false).await {
                Ok(verdict) => {
                    self.inner.learn(&keys, demands, cost, &verdict, (sent, epoch));
                    return Ok(verdict);
                }
                Err(RedisError::Overloaded) => return Err(LimitError::Overloaded { retry_after: AGAIN }),
                Err(error) => self.inner.lost(&error),
            }
        }
        self.inner.without_redis(&keys, demands, cost, away)
    }

    /// What a check would answer now. Charges nothing. Round trips as [`Limiter::check`], and always asks Redis.
    ///
    /// # Errors
    /// [`LimitError`]: it could never pass, or Redis did not answer.
    pub async fn peek(&self, demands: &[Demand], cost: u32) -> Result<Verdict, LimitError> {
        check_cost(demands, cost)?;
        let keys = self.inner.keys(demands);
        Ok(self.inner.ask(&keys, demands, cost, true).await?)
    }

    /// Forgets what was counted for one scope; true when something was. Every process hears of it, at the latest when it
    /// no longer believes a denial. Two round trips.
    ///
    /// # Errors
    /// [`LimitError::Redis`]; repeat it then.
    pub async fn reset(&self, policy: &PolicyName, scope: &Scope) -> Result<bool, LimitError> {
        let inner = &self.inner;
        let key = keys::count(&inner.redis, scope, policy);
        let both = [key.clone(), keys::was_reset(&inner.redis, scope, policy)];
        let gone = inner.redis.run(&RESET, &both, Vec::new()).await?.into_int()?;
        inner.denials.forget(key.as_bytes());
        inner.redis.publish(&keys::resets(&inner.redis), key.as_bytes()).await?;
        Ok(gone > 0)
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Inner {
    fn keys(&self, demands: &[Demand]) -> Vec<Key> {
        demands.iter().map(|demand| keys::count(&self.redis, &demand.scope, &demand.policy)).collect()
    }

    /// Denied without asking: by the demands that are known to deny.
    fn known(&self, keys: &[Key], demands: &[Demand], cost: u32, now: Instant) -> Option<Verdict> {
        let mut standings = Vec::new();
        for (index, (key, demand)) in keys.iter().zip(demands).enumerate() {
            if !demand.dry_run {
                let found = self.denials.find(key.as_bytes(), demand, index, cost, now);
                standings.extend(found.into_iter().flatten());
            }
        }
        (!standings.is_empty()).then(|| Verdict {
            admitted: false,
            mode: self.mode(demands),
            local: true,
            standings,
        })
    }

    /// Keeps each demand that denied.
    fn learn(
        &self,
        keys: &[Key],
        demands: &[Demand],
        cost: u32,
        verdict: &Verdict,
        (sent, epoch): (Instant, u64),
    ) {
        if verdict.admitted {
            return;
        }
        // On a cluster a charge that will be given back may be what denied.
        let by_slot = self.by_slot.load(Ordering::Relaxed) && demands.len() > 1;
        let believed = if by_slot { BELIEVED_BY_SLOT } else { self.settings.believed };
        for (index, (key, demand)) in keys.iter().zip(demands).enumerate() {
            let own: Vec<_> = verdict.standings.iter().filter(|it| it.demand == index).copied().collect();
            if own.iter().any(|standing| standing.denies) {
                self.denials.keep(key.as_bytes(), demand, cost, &own, (sent, believed), epoch);
            }
        }
    }

    async fn ask(
        &self,
        keys: &[Key],
        demands: &[Demand],
        cost: u32,
        peek: bool,
    ) -> Result<Verdict, RedisError> {
        let peek = peek || cost == 0;
        let within = self.settings.deadline;
        if !self.by_slot.load(Ordering::Relaxed) {
            let item = vec![answer::item(demands, cost, peek)];
            let asked = self.redis.batch_across(&CHECK, keys.to_vec(), item);
            match tokio::time::timeout(within, asked).await.unwrap_or(Err(RedisError::Unknown)) {
                // It has not run.
                Err(RedisError::Reply(text)) if text.starts_with("CROSSSLOT") => {
                    self.by_slot.store(true, Ordering::Relaxed);
                }
                reply => return self.verdict(&reply?, demands),
            }
        }
        let asked = self.ask_by_slot(keys, demands, cost, peek);
        tokio::time::timeout(within, asked).await.unwrap_or(Err(RedisError::Unknown))
    }

    /// Each demand in its own slot, all at the same time. They are charged first, and given back at most once when one
    /// denies: so no scope ever passes its limit, whatever is lost on the way.
    async fn ask_by_slot(
        &self,
        keys: &[Key],
        demands: &[Demand],
        cost: u32,
        peek: bool,
    ) -> Result<Verdict, RedisError> {
        let ask = |(key, demand): (&Key, &Demand)| {
            let item = vec![answer::item(std::slice::from_ref(demand), cost, peek)];
            let key = key.clone();
            async move { self.redis.batch(&CHECK, std::slice::from_ref(&key), item).await }
        };
        let replies = join_all(keys.iter().zip(demands).map(ask)).await;
        let mode = self.mode(demands);
        let mut all = Verdict { admitted: true, mode, local: false, standings: Vec::new() };
        for (index, (reply, demand)) in replies.into_iter().zip(demands).enumerate() {
            let one = self.verdict(&reply?, std::slice::from_ref(demand))?;
            all.admitted &= one.admitted;
            all.standings.extend(one.standings.into_iter().map(|it| Standing { demand: index, ..it }));
        }
        if !all.admitted && !peek {
            self.give_back(keys, demands, cost, &mut all.standings);
        }
        Ok(all)
    }

    fn give_back(&self, keys: &[Key], demands: &[Demand], cost: u32, standings: &mut [Standing]) {
        for (index, (key, demand)) in keys.iter().zip(demands).enumerate() {
            let own = || standings.iter().filter(|standing| standing.demand == index);
            let Some(at) = own().all(|it| it.wait.is_zero()).then(|| own().next()).flatten() else {
                continue;
            };
            let args = vec![Arg::from(at.judged_at_ms), Arg::from(cost)];
            let both = [key.clone(), keys::was_reset(&self.redis, &demand.scope, &demand.policy)];
            let redis = self.redis.clone();
            // Once: a second time could give back what another request was charged.
            self.tasks.spawn(async move { redis.run(&REFUND, &both, args).await });
            for standing in standings.iter_mut().filter(|standing| standing.demand == index) {
                standing.used -= cost;
            }
        }
    }

    fn verdict(&self, reply: &Reply, demands: &[Demand]) -> Result<Verdict, RedisError> {
        let (admitted, standings) = answer::read(reply, demands)?;
        Ok(Verdict { admitted, mode: self.mode(demands), local: false, standings })
    }

    fn mode(&self, demands: &[Demand]) -> Mode {
        let longest = demands.iter().map(|demand| demand.limits.longest()).max().unwrap_or_default();
        if self.watch.is_careful(Instant::now(), longest) { Mode::Careful } else { Mode::Exact }
    }

    fn without_redis(
        &self,
        keys: &[Key],
        demands: &[Demand],
        cost: u32,
        away: Away,
    ) -> Result<Verdict, LimitError> {
        match away {
            Away::Open => {
                Ok(Verdict { admitted: true, mode: Mode::Open, local: true, standings: Vec::new() })
            }
            Away::Closed => Err(LimitError::Away { retry_after: AGAIN }),
            Away::Local => {
                let keys: Vec<_> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
                Ok(self.local.check(&keys, demands, cost, Instant::now()))
            }
        }
    }

    /// Redis could not be asked. From here on nobody waits for it, until a ping says that it is back.
    fn lost(self: &Arc<Self>, error: &RedisError) {
        if !matches!(error, RedisError::Unavailable { .. } | RedisError::Unknown) {
            tracing::error!(error = %error, "the limiter cannot judge: {error}");
            return;
        }
        if self.is_away.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(error = %error, "the limiter's Redis is away: limits hold by the policy of each route");
        let (inner, stop) = (self.clone(), self.stop.clone());
        self.tasks.spawn(async move { stop.run_until_cancelled(inner.wait_for_redis()).await });
    }

    async fn wait_for_redis(&self) {
        loop {
            tokio::time::sleep(PROBE_EVERY).await;
            if self.redis.ping(self.settings.deadline).await.is_ok() {
                break;
            }
        }
        // What passed meanwhile was counted nowhere that lasts.
        self.watch.alarm(Instant::now(), "redis was away");
        self.local.clear();
        self.is_away.store(false, Ordering::Relaxed);
        tracing::info!("the limiter's Redis is back");
    }

    /// Starts what runs beside the checks, once.
    fn begin(self: &Arc<Self>) {
        self.was_used.store(true, Ordering::Relaxed);
        if self.has_begun.load(Ordering::Relaxed) || self.has_begun.swap(true, Ordering::Relaxed) {
            return;
        }
        let (inner, stop) = (Arc::downgrade(self), self.stop.clone());
        let (redis, tasks) = (self.redis.clone(), self.tasks.clone());
        tasks.spawn(async move {
            let run = async {
                let mut resets = None;
                loop {
                    // With the first check, so that what happens from then on has something to be compared with.
                    if let Some(inner) = inner.upgrade()
                        && inner.was_used.swap(false, Ordering::Relaxed)
                    {
                        // A Redis that does not answer is found by the checks.
                        let _ = inner.watch.look(&inner.redis).await;
                    }
                    next_reset_or_tick(&redis, &mut resets, &inner).await;
                }
            };
            stop.run_until_cancelled(run).await
        });
    }
}

/// Listens for resets until it is time to look at Redis again.
async fn next_reset_or_tick(
    redis: &Redis,
    resets: &mut Option<Subscription>,
    inner: &std::sync::Weak<Inner>,
) {
    let tick = tokio::time::sleep(Watch::EVERY);
    tokio::pin!(tick);
    loop {
        let Some(subscription) = resets else {
            // Nothing is lost while there is none: denials are believed for a bounded time.
            *resets = redis.subscribe(&keys::resets(redis)).await.ok();
            return tick.await;
        };
        tokio::select! { // Both only listen.
            () = &mut tick => return,
            hint = subscription.recv() => {
                let Some(inner) = inner.upgrade() else { return };
                match hint {
                    Hint::Message(key) => inner.denials.forget(&key),
                    Hint::Gap => inner.denials.forget_all(),
                }
            }
        }
    }
}

fn check_cost(demands: &[Demand], cost: u32) -> Result<(), LimitError> {
    if demands.len() > MOST_DEMANDS {
        return Err(LimitError::TooManyDemands(demands.len()));
    }
    let too_much = demands.iter().find(|demand| !demand.dry_run && cost > demand.limits.most_at_once());
    too_much.map_or(Ok(()), |demand| {
        let limit = demand.limits.most_at_once();
        Err(LimitError::CostAboveLimit { policy: demand.policy.clone(), cost, limit })
    })
}

/// After what has no better answer.
const AGAIN: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_millis(100);
const BELIEVED_BY_SLOT: Duration = Duration::from_millis(100);
const _: () = assert!(MOST_DEMANDS <= u8::MAX as usize, "check.lua counts demands in one byte");
