//! `Sessions`: one method an operation.

use crate::scripts::{CREATE, END, END_ALL, LIST, ROTATE, VALIDATE, WRITE};
use crate::token::Tag;
use crate::{SessionConfig, SessionError, SessionId, SessionKeys, Token, keys};
use domain::{Timestamp, UserId};
use redis_core::{Arg, Key, Redis, RedisError, Reply, Script};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// What a team keeps in a session: a JSON object.
pub type Attributes = Map<String, Value>;

/// Grows by one with each change of a session's content.
pub type Revision = u32;

/// A session as its user's process sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its name; opens nothing.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// What the team keeps in it.
    pub attributes: Attributes,
    /// Grows with each change.
    pub revision: Revision,
    /// When it lives, by the clock of Redis.
    pub times: Times,
    /// This read let it live on.
    pub extended: bool,
}

/// When a session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When it was made.
    pub created_at: Timestamp,
    /// How long it lives without use.
    pub idle: Duration,
    /// When it ends unless it is used before.
    pub expires_at: Timestamp,
    /// When it ends whatever happens.
    pub ends_at: Timestamp,
}

/// One session of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name, which ends it.
    pub id: SessionId,
    /// When it lives.
    pub times: Times,
}

/// The sessions of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Redis,
    keys: SessionKeys,
    config: SessionConfig,
    /// What Redis's clock is ahead of ours, in ms, as far as it was ever noticed.
    ahead_ms: AtomicI64,
}

/// The part of a value that only we can read.
#[derive(Serialize, Deserialize)]
struct Content {
    user: UserId,
    attributes: Attributes,
}

impl Sessions {
    /// Sessions on this Redis. Nothing is sent yet.
    pub fn new(redis: Redis, keys: SessionKeys, config: SessionConfig) -> Self {
        Self { inner: Arc::new(Inner { redis, keys, config, ahead_ms: AtomicI64::new(0) }) }
    }

    /// Makes a session. Its token is known to nobody else, and cannot be had again.
    ///
    /// One round trip; two when this node's clock is more than a second apart from Redis's, the first time. A user who has
    /// too many loses the one that would expire first.
    ///
    /// # Errors
    /// [`SessionError::TooLarge`], `Idle`, `Redis`.
    pub async fn create(
        &self,
        user: &UserId,
        attributes: Attributes,
        idle: Option<Duration>,
    ) -> Result<(Token, Session), SessionError> {
        let inner = &self.inner;
        let config = &inner.config;
        let idle_ms =
            idle.map_or(config.idle_ttl_ms, |idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        if !(1000..=config.absolute_ttl_ms).contains(&idle_ms) {
            return Err(SessionError::Idle { most_ms: config.absolute_ttl_ms });
        }
        let content = inner.content(user.clone(), attributes)?;
        let token = Token::random(inner.keys.tag(user));
        let (tag, id) = (*token.tag(), token.id());
        for _ in 0..2 {
            let ends = inner.now_ms() + config.absolute_ttl_ms;
            let args = vec![
                Arg::from(id.as_str().to_owned()),
                Arg::from(idle_ms),
                Arg::from(config.absolute_ttl_ms),
                Arg::from(ends),
                Arg::from(config.max_per_user),
                Arg::from(inner.keys.seal(&content.1, &tag, &id, ends)),
            ];
            let keys = [inner.name_of(&tag, &id), inner.index(&tag), keys::base(&inner.redis, &tag)];
            let [word, answer] = inner.run(&CREATE, &keys, args).await?.into_elements()?;
            if word.word() == "made" {
                let head = Head::read(&answer.into_bytes()?)?;
                return Ok((token, head.session(id, content.0, false)));
            }
            inner.ahead_ms.store(answer.into_int()? - inner.redis.clock().now().millis(), Ordering::Relaxed);
        }
        Err(RedisError::Protocol("the clock of redis does not stand still".to_owned()).into())
    }

    /// Reads a session, and lets it live on when less than three quarters of its idle time are left.
    ///
    /// One round trip; one more, once, when it was sealed with an older key: then it is sealed with the newest.
    ///
    /// # Errors
    /// [`SessionError::Unauthenticated`], `Redis`.
    pub async fn validate(&self, token: &Token) -> Result<Session, SessionError> {
        let inner = &self.inner;
        let (tag, id) = (token.tag(), token.id());
        let keys = [inner.name_of(tag, &id), inner.index(tag)];
        let reply = inner.run(&VALIDATE, &keys, vec![Arg::from(id.as_str().to_owned())]).await?;
        let mut elements = reply.into_array()?.into_iter();
        let word = elements.next().unwrap_or(Reply::Nil);
        let Some(value) = elements.next() else { return Err(SessionError::Unauthenticated) };
        let value = value.into_bytes()?;
        let head = Head::read(&value)?;
        let sealed = &value[HEAD_BYTES..];
        let Some((content, is_old)) = inner.keys.open(sealed, tag, &id, head.ends_ms) else {
            tracing::error!(
                "a session in Redis does not open with our keys: it was altered, or a key is missing"
            );
            return Err(SessionError::Unauthenticated);
        };
        if is_old {
            let seal = inner.keys.seal(&content, tag, &id, head.ends_ms);
            // Whoever changes it meanwhile seals it with the newest key, too. A full or a silent Redis is no reason to turn
            // away who was just found good: the next use tries again.
            match inner.write(&keys, &id, head.revision, false, seal).await {
                Err(SessionError::Redis(error)) => {
                    tracing::debug!("a session keeps its older key for now: {error}");
                }
                written => {
                    written?;
                }
            }
        }
        let content = serde_json::from_slice(&content)
            .map_err(|_| RedisError::Protocol("a session's content is not ours".to_owned()))?;
        Ok(head.session(id, content, word.word() == "extended"))
    }

    /// Changes attributes by a JSON merge patch (RFC 7396): members replace, `null` removes. Two round trips, two more for
    /// each change that came between, at most 8 tries; with a revision one try.
    ///
    /// # Errors
    /// [`SessionError::Unauthenticated`], `Changed` (another revision than `at`), `Contended`, `TooLarge`, `Redis`.
    pub async fn patch(
        &self,
        token: &Token,
        patch: &Attributes,
        at: Option<Revision>,
    ) -> Result<Session, SessionError> {
        let inner = &self.inner;
        let (tag, id) = (token.tag(), token.id());
        let keys = [inner.name_of(tag, &id), inner.index(tag)];
        for _ in 0..MOST_TRIES {
            let Session { user, mut attributes, revision, times, extended, .. } =
                self.validate(token).await?;
            if at.is_some_and(|at| at != revision) {
                return Err(SessionError::Changed(revision));
            }
            merge(&mut attributes, patch);
            let (content, text) = inner.content(user, attributes)?;
            let seal = inner.keys.seal(&text, tag, &id, millis(times.ends_at));
            match inner.write(&keys, &id, revision, true, seal).await? {
                Wrote::Done(head) => return Ok(head.session(id, content, extended)),
                Wrote::Conflict(now) if at.is_some() => return Err(SessionError::Changed(now)),
                Wrote::Conflict(_) => {}
            }
        }
        Err(SessionError::Contended)
    }

    /// The same session under another token: after a login, or whenever a token may have been seen. The old token is
    /// dead in the same moment. Two round trips.
    ///
    /// # Errors
    /// [`SessionError::Unauthenticated`], `Contended`, `Redis`. After an unknown outcome neither token may be good: log in again.
    pub async fn rotate(&self, token: &Token) -> Result<(Token, Session), SessionError> {
        let inner = &self.inner;
        let (tag, id) = (token.tag(), token.id());
        for _ in 0..MOST_TRIES {
            let Session { user, attributes, revision, times, .. } = self.validate(token).await?;
            let next = Token::random(*tag);
            let next_id = next.id();
            let (content, text) = inner.content(user, attributes)?;
            let args = vec![
                Arg::from(id.as_str().to_owned()),
                Arg::from(revision),
                Arg::from(next_id.as_str().to_owned()),
                Arg::from(inner.keys.seal(&text, tag, &next_id, millis(times.ends_at))),
            ];
            let keys = [inner.name_of(tag, &id), inner.index(tag), inner.name_of(tag, &next_id)];
            if let Wrote::Done(head) = Wrote::read(inner.run(&ROTATE, &keys, args).await?)? {
                return Ok((next, head.session(next_id, content, false)));
            }
        }
        Err(SessionError::Contended)
    }

    /// How long a session can live at most from now on. No round trip.
    #[must_use]
    pub fn most_left(&self, times: &Times) -> Duration {
        Duration::from_millis(millis(times.ends_at).saturating_sub(self.inner.now_ms()))
    }

    /// Ends a session. Whatever was begun with it before is refused from now on. One round trip.
    ///
    /// # Errors
    /// [`SessionError::Unauthenticated`]: it was over already. `Redis`: repeat it.
    pub async fn log_out(&self, token: &Token) -> Result<(), SessionError> {
        self.inner.end(token.tag(), &token.id()).await?.then_some(()).ok_or(SessionError::Unauthenticated)
    }

    /// Ends every session of a user; returns how many there were. One round trip, O(sessions of the user).
    ///
    /// # Errors
    /// [`SessionError::Redis`]: repeat it.
    pub async fn log_out_all(&self, user: &UserId) -> Result<u64, SessionError> {
        let inner = &self.inner;
        let tag = inner.keys.tag(user);
        let keys = [inner.index(&tag), keys::base(&inner.redis, &tag)];
        let ended = inner.run(&END_ALL, &keys, Vec::new()).await?.into_int()?;
        Ok(u64::try_from(ended).unwrap_or_default())
    }

    /// Ends one session of a user by its name; false when there is none (any more). One round trip.
    ///
    /// # Errors
    /// [`SessionError::Redis`]: repeat it.
    pub async fn end(&self, user: &UserId, id: &SessionId) -> Result<bool, SessionError> {
        self.inner.end(&self.inner.keys.tag(user), id).await
    }

    /// The sessions of a user, the one that expires last first. One round trip, O(sessions of the user).
    ///
    /// # Errors
    /// [`SessionError::Redis`].
    pub async fn list(&self, user: &UserId) -> Result<Vec<Listed>, SessionError> {
        let inner = &self.inner;
        let tag = inner.keys.tag(user);
        let keys = [inner.index(&tag), keys::base(&inner.redis, &tag)];
        let elements = inner.run(&LIST, &keys, Vec::new()).await?.into_array()?;
        let mut elements = elements.into_iter();
        let mut listed = Vec::with_capacity(elements.len() / 2);
        while let (Some(id), Some(head)) = (elements.next(), elements.next()) {
            let id = id.into_string()?.parse();
            let id = id.map_err(|_| RedisError::Protocol("a session's name is not ours".to_owned()))?;
            listed.push(Listed { id, times: Head::read(&head.into_bytes()?)?.times() });
        }
        Ok(listed)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("keys", &self.inner.keys).finish_non_exhaustive()
    }
}

impl Inner {
    fn name_of(&self, tag: &Tag, id: &SessionId) -> Key {
        keys::session(&self.redis, tag, id)
    }

    fn index(&self, tag: &Tag) -> Key {
        keys::index(&self.redis, tag)
    }

    async fn run(&self, script: &Script, keys: &[Key], args: Vec<Arg>) -> Result<Reply, SessionError> {
        Ok(self.redis.run(script, keys, args).await?)
    }

    async fn end(&self, tag: &Tag, id: &SessionId) -> Result<bool, SessionError> {
        let keys = [self.name_of(tag, id), self.index(tag)];
        let reply = self.run(&END, &keys, vec![Arg::from(id.as_str().to_owned())]).await?;
        Ok(reply.word() == "ended")
    }

    async fn write(
        &self,
        keys: &[Key],
        id: &SessionId,
        revision: Revision,
        changes: bool,
        seal: Vec<u8>,
    ) -> Result<Wrote, SessionError> {
        let args = vec![
            Arg::from(id.as_str().to_owned()),
            Arg::from(revision),
            Arg::from(u8::from(changes)),
            Arg::from(seal),
        ];
        Wrote::read(self.run(&WRITE, keys, args).await?)
    }

    /// The content, and its bytes.
    fn content(&self, user: UserId, attributes: Attributes) -> Result<(Content, Vec<u8>), SessionError> {
        let mistake = |_| RedisError::Protocol("a session's content cannot be written".to_owned());
        let bytes = serde_json::to_vec(&attributes).map_err(mistake)?.len();
        let most = self.config.max_attributes_bytes;
        if bytes > most {
            return Err(SessionError::TooLarge { bytes, most });
        }
        let content = Content { user, attributes };
        let text = serde_json::to_vec(&content).map_err(mistake)?;
        Ok((content, text))
    }

    /// What Redis's clock says, as far as we know.
    fn now_ms(&self) -> u64 {
        let now = self.redis.clock().now().millis() + self.ahead_ms.load(Ordering::Relaxed);
        u64::try_from(now).unwrap_or_default()
    }
}

/// What became of a write.
enum Wrote {
    Done(Head),
    Conflict(Revision),
}

impl Wrote {
    fn read(reply: Reply) -> Result<Self, SessionError> {
        let mut elements = reply.into_array()?.into_iter();
        let word = elements.next().unwrap_or(Reply::Nil);
        match (word.word(), elements.next()) {
            ("written", Some(head)) => Ok(Self::Done(Head::read(&head.into_bytes()?)?)),
            ("conflict", Some(revision)) => {
                Ok(Self::Conflict(Revision::try_from(revision.into_int()?).unwrap_or(Revision::MAX)))
            }
            ("gone", None) => Err(SessionError::Unauthenticated),
            _ => Err(RedisError::Protocol("an unknown answer about a session".to_owned()).into()),
        }
    }
}

/// The head of a value: see `scripts/session.lua`.
struct Head {
    revision: Revision,
    created_ms: u64,
    idle_ms: u64,
    expires_ms: u64,
    ends_ms: u64,
}

impl Head {
    fn read(value: &[u8]) -> Result<Self, RedisError> {
        let Some((&[1, ref rest @ ..], _)) = value.split_first_chunk::<HEAD_BYTES>() else {
            return Err(RedisError::Protocol("a session of an unknown version".to_owned()));
        };
        let number = |from: usize, bytes: usize| {
            rest[from..from + bytes].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        Ok(Self {
            revision: Revision::try_from(number(0, 4)).unwrap_or(Revision::MAX),
            created_ms: number(4, 6),
            idle_ms: number(10, 6),
            expires_ms: number(16, 6),
            ends_ms: number(22, 6),
        })
    }

    fn times(&self) -> Times {
        let at = |ms: u64| Timestamp::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
        Times {
            created_at: at(self.created_ms),
            idle: Duration::from_millis(self.idle_ms),
            expires_at: at(self.expires_ms),
            ends_at: at(self.ends_ms),
        }
    }

    fn session(&self, id: SessionId, content: Content, extended: bool) -> Session {
        let Content { user, attributes } = content;
        Session { id, user, attributes, revision: self.revision, times: self.times(), extended }
    }
}

/// RFC 7396, section 2, for an object.
fn merge(target: &mut Attributes, patch: &Attributes) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(name);
            }
            Value::Object(inner) => {
                let place = target.entry(name).or_insert(Value::Null);
                if !place.is_object() {
                    *place = Value::Object(Attributes::new());
                }
                if let Value::Object(place) = place {
                    merge(place, inner);
                }
            }
            other => {
                target.insert(name.clone(), other.clone());
            }
        }
    }
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.millis()).unwrap_or_default()
}

const HEAD_BYTES: usize = 29;
const MOST_TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use redis_core::RedisConfig;
    use serde_json::json;
    use testkit::RedisServer;

    #[tokio::test]
    async fn a_node_whose_clock_is_wrong_makes_sessions_that_end_when_they_should() {
        let server = RedisServer::start().await;
        let redis = Redis::connect(&RedisConfig::at(server.url()));
        let sessions = Sessions::new(redis, SessionKeys::random(), SessionConfig::default());
        for wrong_ms in [3_600_000, -3_600_000] {
            sessions.inner.ahead_ms.store(wrong_ms, Ordering::Relaxed);
            let user = "ada".parse().unwrap();
            let (token, session) = sessions.create(&user, Attributes::new(), None).await.unwrap();
            let life = session.times.ends_at.millis() - session.times.created_at.millis();
            assert!((life - 30 * 86_400_000).abs() <= 1000, "{wrong_ms}: {life}");
            assert_eq!(sessions.validate(&token).await.unwrap().times, session.times);
        }
    }

    /// The examples of RFC 7396, appendix A, that are about objects.
    #[test]
    fn a_merge_patch_does_what_its_rfc_says() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target.as_object().unwrap().clone();
            merge(&mut merged, patch.as_object().unwrap());
            assert_eq!(Value::Object(merged), result, "{target} with {patch}");
        }
    }
}
