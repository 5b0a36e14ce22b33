//! `Operations`: one method an operation, each one script.

use crate::answer::Answer;
use crate::log::{Position, Tail};
use crate::record::{About, snapshot};
use crate::report::{check_new, is_child, json_text, pack_last_words, pack_steps, pack_updates};
use crate::scripts::{ANNOUNCE, CREATE, DELETE, END, EVENTS, EXPIRE, UPDATE};
use crate::{Change, Cursor, Ending, Epoch, Illegal, ProgressError, keys};
use domain::progress::{LastWords, NewOperation, Snapshot, Standing, Updates};
use domain::{FencingToken, OperationId, ProjectId};
use redis_core::{Arg, Redis, RedisError, Reply, Subscription};
use std::time::Duration;

/// Operations on one Redis. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operations {
    redis: Redis,
    lifetimes: Lifetimes,
}

/// How long operations live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// A running operation without a report for this long is failed.
    pub running: Duration,
    /// What has ended can be read and replayed for this long.
    pub retention: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { running: Duration::from_secs(24 * 3600), retention: Duration::from_secs(24 * 3600) }
    }
}

impl Operations {
    /// Operations on `redis`.
    pub fn new(redis: Redis, lifetimes: Lifetimes) -> Self {
        Self { redis, lifetimes }
    }

    /// An id for an operation that needs no other: 128 random bits.
    pub fn random_id() -> OperationId {
        format!("{:032x}", rand::random::<u128>()).parse().expect("32 hex digits are an operation id")
    }

    /// Begins an operation that nobody leases; it is `pending` until the first report.
    ///
    /// Two round trips: its deadline is listed first, in another slot (docs/adr/0005-list-logs.md), then `create.lua`,
    /// O(steps). A repeat after a lost answer gets `AlreadyExists`.
    ///
    /// # Errors
    /// [`ProgressError::Invalid`], [`ProgressError::AlreadyExists`], [`ProgressError::Redis`].
    pub async fn create(&self, new: &NewOperation) -> Result<Standing, ProgressError> {
        self.create_ahead(new, Duration::ZERO).await
    }

    /// [`Operations::create`] for work that will not begin before `wait` is over: its deadline is so much later.
    ///
    /// # Errors
    /// As [`Operations::create`].
    pub async fn create_ahead(&self, new: &NewOperation, wait: Duration) -> Result<Standing, ProgressError> {
        let id = new.id.clone().unwrap_or_else(Self::random_id);
        self.begin(&id, None, new, wait).await?.ok_or(ProgressError::AlreadyExists)
    }

    /// Applies one or many reports, all or none; each becomes one event.
    ///
    /// One round trip, `update.lua`, shared with concurrent callers of the same operation: O(updates). A token that is
    /// later than the operation's is announced first, in two more. Not safe to repeat blindly: the event would be
    /// written twice, though the percentages stay right.
    ///
    /// # Errors
    /// [`ProgressError::LeaseLost`]: a later token was seen, or there is one and `token` is none.
    /// [`ProgressError::Finished`], [`ProgressError::NotFound`], [`ProgressError::Illegal`],
    /// [`ProgressError::Invalid`] and [`ProgressError::TooLarge`] say what they name; nothing was applied.
    pub async fn update(
        &self,
        id: &OperationId,
        token: Option<FencingToken>,
        updates: &Updates,
    ) -> Result<Standing, ProgressError> {
        let lines = pack_updates(updates)?;
        match (self.apply(id, token, &lines, updates).await?, token) {
            (Applied::Stands(standing), _) => Ok(standing),
            (Applied::Newer, Some(token)) => {
                self.fence(id, token).await?.ok_or(ProgressError::NotFound)?;
                self.apply_announced(id, token, &lines, updates).await
            }
            (Applied::Newer | Applied::Missing, _) => Err(ProgressError::NotFound),
        }
    }

    /// [`Operations::update`] for a leased task: the first report creates the operation as `new` says.
    ///
    /// One round trip; four when it has to be created.
    ///
    /// # Errors
    /// As [`Operations::update`], but never `NotFound`.
    pub async fn report(
        &self,
        id: &OperationId,
        token: FencingToken,
        updates: &Updates,
        new: &NewOperation,
    ) -> Result<Standing, ProgressError> {
        let lines = pack_updates(updates)?;
        match self.apply(id, Some(token), &lines, updates).await? {
            Applied::Stands(standing) => Ok(standing),
            Applied::Newer | Applied::Missing => {
                self.announce(id, token, new).await?;
                self.apply_announced(id, token, &lines, updates).await
            }
        }
    }

    /// Fences an operation with the token of a new lease, before its holder says anything; creates it, as `new` says,
    /// when it is missing, and begins it anew when it has ended. Steps that ran under an earlier lease are pending
    /// again.
    ///
    /// One round trip, `announce.lua`, O(steps); up to four when it has to be created. Safe to repeat.
    ///
    /// # Errors
    /// [`ProgressError::LeaseLost`]: a later token was seen. [`ProgressError::Invalid`], [`ProgressError::Redis`].
    pub async fn announce(
        &self,
        id: &OperationId,
        token: FencingToken,
        new: &NewOperation,
    ) -> Result<Standing, ProgressError> {
        if let Some(standing) = self.fence(id, token).await? {
            return Ok(standing);
        }
        if let Some(standing) = self.begin(id, Some(token), new, Duration::ZERO).await? {
            return Ok(standing);
        }
        // It came into being in between, or it has ended under this very lease or a later one.
        self.fence(id, token).await?.ok_or(ProgressError::LeaseLost)
    }

    /// Ends an operation; its running steps end with it. State and log are kept for the retention.
    ///
    /// Two round trips: `end.lua`, O(steps), then its deadline is taken off the list. Safe to repeat: the same end
    /// again is `Ok`. Runs on a full Redis.
    ///
    /// # Errors
    /// [`ProgressError::NotFound`], [`ProgressError::LeaseLost`], [`ProgressError::Finished`] when it ended otherwise,
    /// [`ProgressError::Invalid`], [`ProgressError::TooLarge`], [`ProgressError::Redis`].
    pub async fn end(
        &self,
        id: &OperationId,
        token: Option<FencingToken>,
        ending: Ending,
        words: &LastWords,
    ) -> Result<Standing, ProgressError> {
        let (message, data) = pack_last_words(words)?;
        let args = vec![
            token_arg(token),
            ending.as_str().into(),
            message.into(),
            data.into(),
            millis(self.lifetimes.retention),
        ];
        let reply = self.redis.run(&END, &keys::pair(&self.redis, id), args).await?;
        let standing = match Answer::read(id, reply)? {
            Answer::Ok(standing) => standing,
            Answer::Finished(state) => return Err(ProgressError::Finished(state)),
            Answer::Stale => return Err(ProgressError::LeaseLost),
            _ => return Err(ProgressError::NotFound),
        };
        self.unlist(id).await;
        Ok(standing)
    }

    /// The state now; none when there is no such operation. One round trip, O(steps).
    ///
    /// # Errors
    /// [`ProgressError::Redis`].
    pub async fn snapshot(&self, id: &OperationId) -> Result<Option<Snapshot>, ProgressError> {
        let [state, _] = keys::pair(&self.redis, id);
        let fields = self.redis.command("HGETALL", &state, Vec::new()).await?.into_array()?;
        snapshot(id, fields)
    }

    /// Whose it is: the project, if it has one. One round trip, O(1).
    ///
    /// # Errors
    /// [`ProgressError::NotFound`], [`ProgressError::Redis`].
    pub async fn project(&self, id: &OperationId) -> Result<Option<ProjectId>, ProgressError> {
        let [state, _] = keys::pair(&self.redis, id);
        let about = self.redis.command("HGET", &state, vec!["about".into()]).await?;
        let json = about.into_option().ok_or(ProgressError::NotFound)?.into_bytes()?;
        let about: About =
            serde_json::from_slice(&json).map_err(|_| ProgressError::format("the operation"))?;
        Ok(about.project)
    }

    /// Forgets an operation; those who watch it are told. Two round trips, `delete.lua`, O(log).
    ///
    /// # Errors
    /// [`ProgressError::NotFound`], [`ProgressError::Redis`].
    pub async fn delete(&self, id: &OperationId) -> Result<(), ProgressError> {
        let reply = self.redis.run(&DELETE, &keys::pair(&self.redis, id), Vec::new()).await?;
        if reply.word() == "missing" {
            return Err(ProgressError::NotFound);
        }
        self.unlist(id).await;
        Ok(())
    }

    /// Fails what is overdue in one of the [`SHARDS`] lists, at most 64 operations. Answers how many it looked at: 64
    /// means that more may wait.
    ///
    /// One round trip, and two for each overdue operation. Any number of nodes may do it at once.
    ///
    /// # Errors
    /// [`ProgressError::Redis`]; what was not reached is met again.
    pub async fn expire(&self, shard: u32) -> Result<usize, ProgressError> {
        let list = keys::running(&self.redis, shard);
        let now = self.redis.clock().now().millis();
        let due: Vec<Arg> =
            ["-inf".into(), now.into(), "BYSCORE".into(), "LIMIT".into(), "0".into(), EXPIRE_AT_ONCE.into()]
                .into();
        let due = self.redis.command("ZRANGE", &list, due).await?.into_array()?;
        let looked_at = due.len();
        for id in due {
            let member = id.into_bytes()?;
            let parsed = std::str::from_utf8(&member).ok().and_then(|text| text.parse::<OperationId>().ok());
            let later = match parsed {
                Some(id) => self.expire_one(&id).await?,
                None => None,
            };
            // The list only says when to look; the state's own deadline decides.
            match later {
                Some(deadline) => {
                    self.redis.command("ZADD", &list, vec![deadline.into(), member.into()]).await?
                }
                None => self.redis.command("ZREM", &list, vec![member.into()]).await?,
            };
        }
        Ok(looked_at)
    }

    /// Fails it if its deadline has passed; else says when to look again.
    async fn expire_one(&self, id: &OperationId) -> Result<Option<i64>, ProgressError> {
        let args = vec![
            json_text("nothing was reported until its deadline").into(),
            millis(self.lifetimes.retention),
        ];
        let reply = self.redis.run(&EXPIRE, &keys::pair(&self.redis, id), args).await?;
        let parts = reply.into_array()?;
        match (parts.first().map(Reply::word), parts.get(1)) {
            (Some("later"), Some(deadline)) => Ok(Some(deadline.clone().into_int()?)),
            _ => Ok(None),
        }
    }

    /// Lists the deadline, then creates. None: an operation of that id lives (or ended under a token not before this).
    async fn begin(
        &self,
        id: &OperationId,
        token: Option<FencingToken>,
        new: &NewOperation,
        wait: Duration,
    ) -> Result<Option<Standing>, ProgressError> {
        check_new(new)?;
        let steps = pack_steps(new)?;
        let about = About {
            title: new.title.clone(),
            project: new.project.clone(),
            correlation_id: new.correlation_id.clone(),
        };
        let about = serde_json::to_string(&about).expect("names and text are always JSON");

        // Before the operation is there, in another slot: a listed one that is missing is taken off in passing, one
        // that runs without being listed would never be ended.
        let silent = self.lifetimes.running.saturating_add(wait);
        let look_at = (self.redis.clock().now() + silent).millis();
        let list = keys::running(&self.redis, keys::shard(id));
        // LT: one that is there already must not be looked at later because somebody tried to create it again.
        let listed = vec!["LT".into(), look_at.into(), id.as_str().to_owned().into()];
        self.redis.command("ZADD", &list, listed).await?;

        let args = vec![
            Epoch::random().to_string().into(),
            token_arg(token),
            millis(silent),
            about.into(),
            if new.open_steps { "1" } else { "" }.into(),
            steps.into(),
        ];
        let reply = self.redis.run(&CREATE, &keys::pair(&self.redis, id), args).await?;
        match Answer::read(id, reply)? {
            Answer::Ok(standing) => Ok(Some(standing)),
            _ => Ok(None),
        }
    }

    /// None: it is missing, or has ended.
    async fn fence(&self, id: &OperationId, token: FencingToken) -> Result<Option<Standing>, ProgressError> {
        let args = vec![token.into(), millis(self.lifetimes.running)];
        let reply = self.redis.run(&ANNOUNCE, &keys::pair(&self.redis, id), args).await?;
        match Answer::read(id, reply)? {
            Answer::Ok(standing) => Ok(Some(standing)),
            Answer::Stale => Err(ProgressError::LeaseLost),
            _ => Ok(None),
        }
    }

    async fn apply(
        &self,
        id: &OperationId,
        token: Option<FencingToken>,
        lines: &str,
        updates: &Updates,
    ) -> Result<Applied, ProgressError> {
        let item = vec![token_arg(token), millis(self.lifetimes.running), lines.to_owned().into()];
        let reply = self.redis.batch(&UPDATE, &keys::pair(&self.redis, id), item).await?;
        let at = |report: usize, field: &str| format!("{}{field}", updates.pointer(report));
        Err(match Answer::read(id, reply)? {
            Answer::Ok(standing) => return Ok(Applied::Stands(standing)),
            Answer::Missing => return Ok(Applied::Missing),
            Answer::Newer => return Ok(Applied::Newer),
            Answer::Stale => ProgressError::LeaseLost,
            Answer::Finished(state) => ProgressError::Finished(state),
            Answer::Exists => return Err(ProgressError::format("the answer")),
            Answer::Illegal { report, state } => {
                let update = &updates.as_slice()[report.min(updates.as_slice().len() - 1)];
                let change = update.state.map_or(Change::Progressed, Change::from);
                ProgressError::Illegal { source: Illegal { state, change }, pointer: at(report, "") }
            }
            Answer::Unknown(report) => {
                ProgressError::invalid(at(report, "/step"), "the operation has no such step")
            }
            Answer::Crowded(report) => ProgressError::invalid(at(report, "/step"), "at most 100 steps"),
            Answer::Steps(report) => {
                let rule = "name the step: the percentage of an operation with steps follows from them";
                ProgressError::invalid(at(report, "/step"), rule)
            }
        })
    }

    async fn apply_announced(
        &self,
        id: &OperationId,
        token: FencingToken,
        lines: &str,
        updates: &Updates,
    ) -> Result<Standing, ProgressError> {
        match self.apply(id, Some(token), lines, updates).await? {
            Applied::Stands(standing) => Ok(standing),
            // Deleted between the two calls, or a dead lease that came back: both are the end of this lease's say.
            Applied::Newer | Applied::Missing => Err(ProgressError::LeaseLost),
        }
    }

    /// Best effort: what stays listed is met once, at its deadline, and taken off then.
    async fn unlist(&self, id: &OperationId) {
        let list = keys::running(&self.redis, keys::shard(id));
        let _ = self.redis.command("ZREM", &list, vec![id.as_str().to_owned().into()]).await;
    }

    /// What the log holds after a cursor; none when there is no such operation. One round trip, O(events).
    pub(crate) async fn tail(
        &self,
        id: &OperationId,
        after: Option<Cursor>,
    ) -> Result<Option<Tail>, ProgressError> {
        if is_child(id) {
            return Ok(None);
        }
        let (epoch, seq) =
            after.map_or_else(|| (String::new(), 0), |cursor| (cursor.epoch.to_string(), cursor.seq));
        let reply =
            self.redis.run(&EVENTS, &keys::pair(&self.redis, id), vec![epoch.into(), seq.into()]).await?;
        Tail::read(reply.into_array()?)
    }

    /// Where the log ends; none when there is no such operation. One round trip, O(1).
    pub(crate) async fn position(&self, id: &OperationId) -> Result<Option<Position>, ProgressError> {
        let [state, _] = keys::pair(&self.redis, id);
        let fields = self.redis.command("HMGET", &state, vec!["epoch".into(), "seq".into()]).await?;
        Position::read(fields.into_array()?)
    }

    pub(crate) async fn subscribe(&self, id: &OperationId) -> Result<Subscription, RedisError> {
        self.redis.subscribe(&keys::channel(&self.redis, id)).await
    }

    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }
}

enum Applied {
    Stands(Standing),
    Missing,
    Newer,
}

fn token_arg(token: Option<FencingToken>) -> Arg {
    token.map_or_else(|| "".into(), Arg::from)
}

fn millis(duration: Duration) -> Arg {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()
}

/// The lists of running operations by deadline.
pub const SHARDS: u32 = keys::SHARDS;
/// Overdue operations that one call ends.
const EXPIRE_AT_ONCE: u32 = 64;
