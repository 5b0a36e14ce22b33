//! Which keys hold now: those of the keys file, and those of a source that is asked again every two seconds.

use crate::access::Access;
use crate::configuration::ConfigError;
use crate::keys::{ApiKey, KeyRecord, KeyTable};
use crate::problem::{Problem, causes};
use crate::throttle::Throttle;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use arc_swap::ArcSwap;
use domain::{BackendError, ErrorCode, Timestamp};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::MissedTickBehavior;

/// `[auth]` in `sluice.toml`, `SLUICE__AUTH__*` in the environment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// `keys` (default), or `none`: no key is asked for, and the service starts only when bound to loopback.
    pub mode: AuthMode,
    /// JSON file with the hashes of keys, read once at the start: `{"keys":[{"id","hash","scopes","expires_at"}]}`.
    pub keys_file: Option<PathBuf>,
    /// How often the other keys are read again, in milliseconds. Default 2000, at most 3000: with the deadline of a
    /// reading, a revocation holds within 5 s.
    pub reload_ms: u64,
    /// How often the last uses of keys are told, which `sluice keys list` shows, in milliseconds. Default 60,000.
    pub last_use_ms: NonZeroU64,
}

/// Whether a key is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Every request needs a key.
    #[default]
    Keys,
    /// No request does.
    None,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { mode: AuthMode::Keys, keys_file: None, reload_ms: 2000, last_use_ms: A_MINUTE_MS }
    }
}

type KeySource = dyn Fn() -> BoxFuture<'static, Result<Vec<String>, BackendError>> + Send + Sync;
type LastUses =
    dyn Fn(Vec<(String, Timestamp)>) -> BoxFuture<'static, Result<(), BackendError>> + Send + Sync;

/// Holds the keys of a service. Cheap to clone; all clones see a reload at once.
#[derive(Clone)]
pub struct Authenticator {
    shared: Arc<Shared>,
    source: Option<Arc<KeySource>>,
    /// The source is read also when no request needs a key.
    serves_others: bool,
    last_uses: Option<Arc<LastUses>>,
}

struct Shared {
    mode: AuthMode,
    from_file: Vec<Arc<KeyRecord>>,
    table: ArcSwap<KeyTable>,
    /// Locked for failed attempts only.
    throttle: Mutex<Throttle>,
    reload: Duration,
    tell: Duration,
}

impl Authenticator {
    /// Reads the keys file.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read, a key in it is wrong, or `none` with an address beyond loopback.
    pub fn new(config: &AuthConfig, bind: SocketAddr) -> Result<Self, ConfigError> {
        if config.mode == AuthMode::None && !bind.ip().is_loopback() {
            let reason = format!("`none` is for loopback only, and the service is bound to {bind}");
            return Err(ConfigError::value("auth.mode", reason));
        }
        if !(1..=RELOAD_MS_MAX).contains(&config.reload_ms) {
            return Err(ConfigError::value("auth.reload_ms", format!("1 to {RELOAD_MS_MAX}")));
        }
        let from_file = match &config.keys_file {
            Some(path) => read_keys(path).map_err(|reason| ConfigError::value("auth.keys_file", reason))?,
            None => Vec::new(),
        };
        let table = ArcSwap::from_pointee(KeyTable::new(from_file.iter().cloned()));
        let reload = Duration::from_millis(config.reload_ms);
        let tell = Duration::from_millis(config.last_use_ms.get());
        let shared = Shared { mode: config.mode, from_file, table, throttle: Mutex::default(), reload, tell };
        Ok(Self { shared: Arc::new(shared), source: None, serves_others: false, last_uses: None })
    }

    /// Further keys, as JSON of one [`ApiKey`] each. Asked for at the start and every `auth.reload_ms`; when that fails
    /// the keys stay as they are. A key of the file wins over one of the same id from here.
    pub fn with_source<F>(mut self, source: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<String>, BackendError>> + Send + 'static,
    {
        self.source = Some(Arc::new(move || Box::pin(source())));
        self
    }

    /// Says that [`Authenticator::access_of`] is asked too, so that keys are needed also with `auth.mode = "none"`.
    pub fn also_for_others(mut self) -> Self {
        self.serves_others = true;
        self
    }

    /// Who is told, once in `auth.last_use_ms`, when keys were last used: by id, to the minute, only those that were used
    /// since. What cannot be told is told the next time.
    pub fn with_last_uses<F>(
        mut self,
        tell: impl Fn(Vec<(String, Timestamp)>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), BackendError>> + Send + 'static,
    {
        self.last_uses = Some(Arc::new(move |uses| Box::pin(tell(uses))));
        self
    }

    /// Reads the source and tells last uses again and again, for ever. The server drops it when it stops.
    pub(crate) async fn keep_fresh(self) {
        // Side by side: a reading must not wait for a telling.
        tokio::join!(self.keep_reading(), self.keep_telling(), std::future::pending::<()>());
    }

    async fn keep_telling(&self) {
        let Some(tell) = &self.last_uses else { return };
        let mut again = tokio::time::interval(self.shared.tell);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            let table = self.shared.table.load_full();
            let untold = table.records().filter_map(|record| Some((record, record.last_use.untold()?)));
            let untold: Vec<_> = untold.collect();
            if untold.is_empty() {
                continue;
            }
            let uses = untold.iter().map(|(record, at)| (record.id.clone(), *at)).collect();
            match tokio::time::timeout(SOURCE_DEADLINE, tell(uses)).await {
                Ok(Ok(())) => untold.iter().for_each(|(record, at)| record.last_use.tell(*at)),
                Ok(Err(error)) => {
                    tracing::debug!(
                        error = causes(&*error),
                        "the last uses of keys wait: {}",
                        causes(&*error)
                    );
                }
                Err(_) => tracing::debug!("the last uses of keys wait: no answer in time"),
            }
        }
    }

    async fn keep_reading(&self) {
        let is_needed = self.serves_others || !self.is_open();
        let Some(source) = self.source.as_ref().filter(|_| is_needed) else { return };
        let mut again = tokio::time::interval(self.shared.reload);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complaints = Complaints::default();
        loop {
            again.tick().await;
            match tokio::time::timeout(SOURCE_DEADLINE, source()).await {
                Ok(Ok(texts)) => {
                    complaints.source_works();
                    self.replace(&texts, &mut complaints);
                }
                Ok(Err(error)) => complaints.source_fails(&causes(&*error)),
                Err(_) => complaints.source_fails("no answer in time"),
            }
        }
    }

    fn replace(&self, texts: &[String], complaints: &mut Complaints) {
        let parse = |text: &String| ApiKey::from_json(text).and_then(|key| key.parse());
        let (good, bad): (Vec<_>, Vec<_>) = texts.iter().map(parse).partition(Result::is_ok);
        complaints.unusable(bad.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect());
        let before = self.shared.table.load();
        let further = good.into_iter().flatten().map(|mut record: KeyRecord| {
            if let Some(known) = before.same_as(&record) {
                record.last_use = Arc::clone(&known.last_use);
            }
            Arc::new(record)
        });
        let table = KeyTable::new(self.shared.from_file.iter().cloned().chain(further));
        self.shared.table.store(Arc::new(table));
    }

    /// What the text of a key grants, if it holds now; for keys that came another way than `Authorization`, whatever
    /// the mode.
    pub fn access_of(&self, key: &str) -> Option<Access> {
        self.shared.table.load().find(key, now()).map(Access::of)
    }

    /// Counts a wrong credential of this address, of any kind, and says how long it has to wait after too many.
    pub fn failed(&self, peer: Option<IpAddr>) -> Option<Duration> {
        let mut throttle = self.shared.throttle.lock().unwrap_or_else(PoisonError::into_inner);
        throttle.failed(peer, Instant::now())
    }

    /// Whether nobody is asked for a key: `auth.mode = "none"`.
    pub fn is_open(&self) -> bool {
        self.shared.mode == AuthMode::None
    }

    pub(crate) fn authenticate(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Access, Problem> {
        if self.shared.mode == AuthMode::None {
            return Ok(Access::open());
        }
        let Some(header) = headers.get(AUTHORIZATION) else {
            let detail = "an API key is needed: `Authorization: Bearer sk_…`";
            return Err(Problem::new(ErrorCode::Unauthenticated, detail));
        };
        let key = header.to_str().ok().and_then(bearer);
        if let Some(access) = key.and_then(|key| self.access_of(key)) {
            return Ok(access);
        }
        Err(match self.failed(peer) {
            None => Problem::new(ErrorCode::Unauthenticated, "the API key is unknown, revoked or expired"),
            Some(wait) => Problem::new(ErrorCode::RateLimited, "too many wrong API keys from this address")
                .and_retry_after(wait),
        })
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.shared.table.load().len();
        f.debug_struct("Authenticator")
            .field("mode", &self.shared.mode)
            .field("keys", &keys)
            .finish_non_exhaustive()
    }
}

/// The credentials of `Bearer <credentials>`; the scheme in any case (RFC 9110, section 11.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_matches(' '))
}

fn read_keys(path: &Path) -> Result<Vec<Arc<KeyRecord>>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        keys: Vec<ApiKey>,
    }
    let named = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
    let file: File = serde_json::from_str(&text).map_err(|error| named(&error))?;
    file.keys.iter().map(|key| key.parse().map(Arc::new).map_err(|error| named(&error))).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a key's expiry is judged by this node's clock: it holds while Redis is away, and a second does not matter"
)]
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

const A_MINUTE_MS: NonZeroU64 = NonZeroU64::new(60_000).expect("not zero");
const SOURCE_DEADLINE: Duration = Duration::from_secs(2);
const RELOAD_MS_MAX: u64 = 3_000;
const _: () =
    assert!(RELOAD_MS_MAX + SOURCE_DEADLINE.as_millis() as u64 <= 5_000, "a revocation holds within 5 s");

/// Says each thing once, not every two seconds.
#[derive(Default)]
struct Complaints {
    source_fails: bool,
    unusable: HashSet<String>,
}

impl Complaints {
    fn source_works(&mut self) {
        if std::mem::take(&mut self.source_fails) {
            tracing::info!("API keys are read again");
        }
    }

    fn source_fails(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.source_fails, true) {
            tracing::warn!(reason, "cannot read the API keys again; those known so far hold: {reason}");
        }
    }

    fn unusable(&mut self, reasons: HashSet<String>) {
        for reason in reasons.difference(&self.unusable) {
            tracing::warn!(reason, "ignoring a stored API key: {reason}");
        }
        self.unusable = reasons;
    }
}
