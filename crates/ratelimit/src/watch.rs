//! What exactness stands on: that the limiter's Redis keeps what it was told, and that its clock runs on.

use crate::limits::millis;
use redis_core::{Redis, RedisError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Until when the limiter has to be careful.
pub(crate) struct Watch {
    origin: Instant,
    longest_ms: AtomicU64,
    /// Since `origin`.
    careful_until_ms: AtomicU64,
    seen: Mutex<Option<Seen>>,
}

/// What Redis said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    run_id: String,
    role: String,
    evicted_keys: u64,
    /// Its clock minus ours lies between these, in us: it read its clock between question and answer.
    offset: (i128, i128),
}

impl Watch {
    /// How often Redis is looked at, while the limiter is used.
    pub(crate) const EVERY: Duration = Duration::from_secs(1);

    pub(crate) fn new(origin: Instant) -> Self {
        let zero = || AtomicU64::new(0);
        Self { origin, longest_ms: zero(), careful_until_ms: zero(), seen: Mutex::default() }
    }

    /// A window of this length is in use.
    pub(crate) fn uses(&self, longest: Duration) {
        self.longest_ms.fetch_max(millis(longest), Ordering::Relaxed);
    }

    pub(crate) fn is_careful(&self, now: Instant) -> bool {
        self.since_origin(now) < self.careful_until_ms.load(Ordering::Relaxed)
    }

    /// Something happened that counts may not have survived: careful until every window has moved past it.
    pub(crate) fn alarm(&self, now: Instant, reason: &'static str) {
        let longest = self.longest_ms.load(Ordering::Relaxed);
        if longest > 0 && !self.is_careful(now) {
            tracing::warn!(reason, longest_ms = longest, "limits are careful for {longest} ms: {reason}");
        }
        self.careful_until_ms.fetch_max(self.since_origin(now) + longest, Ordering::Relaxed);
    }

    /// Compares with what was seen before. The first look compares with nothing.
    pub(crate) fn saw(&self, seen: Seen, now: Instant) {
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(seen.clone());
        if let Some(reason) = before.and_then(|before| before.changed(&seen)) {
            self.alarm(now, reason);
        }
    }

    /// Looks at Redis. One round trip.
    ///
    /// # Errors
    /// Redis did not answer; then nothing has changed.
    pub(crate) async fn look(&self, redis: &Redis) -> Result<(), RedisError> {
        let asked = self.origin.elapsed().as_micros();
        let text = redis.info(&["server", "replication", "stats"]).await?;
        let now = Instant::now();
        let answered = now.saturating_duration_since(self.origin).as_micros();
        self.saw(Seen::read(&text, asked, answered), now);
        Ok(())
    }

    fn since_origin(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.origin))
    }
}

impl Seen {
    fn read(text: &str, asked: u128, answered: u128) -> Self {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_default().trim_end()
        };
        let clock: i128 = field("server_time_usec").parse().unwrap_or_default();
        Self {
            run_id: field("run_id").to_owned(),
            role: field("role").to_owned(),
            evicted_keys: field("evicted_keys").parse().unwrap_or_default(),
            offset: (clock - answered as i128, clock - asked as i128),
        }
    }

    /// Why counts of before may be gone.
    fn changed(&self, after: &Self) -> Option<&'static str> {
        if self.run_id != after.run_id {
            return Some("another redis answers, or it was started again");
        }
        if self.role != after.role {
            return Some("redis has another role");
        }
        if self.evicted_keys != after.evicted_keys {
            return Some("redis evicted keys");
        }
        let apart = (after.offset.0 - self.offset.1).max(self.offset.0 - after.offset.1);
        (apart > STEP_US).then_some("the clock of redis stepped")
    }
}

/// Less is drift, not a step.
const STEP_US: i128 = 250_000;

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str =
        "# Server\r\nrun_id:abc\r\nserver_time_usec:1000000000\r\nrole:master\r\nevicted_keys:3\r\n";

    #[test]
    fn what_may_cost_counts_is_told_and_nothing_else() {
        let first = Seen::read(INFO, 0, 1_000);
        for (text, asked, reason) in [
            (INFO.replace("1000000000", "1002000000"), 2_000_000, None),
            (INFO.replace("1000000000", "1002200000"), 2_000_000, None),
            (INFO.replace("1000000000", "1002400000"), 2_000_000, Some("the clock of redis stepped")),
            (INFO.replace("1000000000", "1001600000"), 2_000_000, Some("the clock of redis stepped")),
            (INFO.replace("abc", "abd"), 0, Some("another redis answers, or it was started again")),
            (INFO.replace("master", "slave"), 0, Some("redis has another role")),
            (INFO.replace("keys:3", "keys:4"), 0, Some("redis evicted keys")),
        ] {
            assert_eq!(first.changed(&Seen::read(&text, asked, asked + 1_000)), reason, "{text}");
        }
    }

    #[test]
    fn an_answer_that_took_long_is_no_step() {
        let first = Seen::read(INFO, 0, 1_000);
        let late = INFO.replace("1000000000", "1009000000");
        assert_eq!(first.changed(&Seen::read(&late, 1_000_000, 9_000_000)), None);
    }

    #[test]
    fn it_is_careful_for_one_longest_window() {
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let watch = Watch::new(now);
        watch.uses(minute);
        watch.uses(Duration::from_secs(1));
        watch.saw(Seen::read(INFO, 0, 1_000), now);
        assert!(!watch.is_careful(now), "there was nothing to compare with");

        watch.saw(Seen::read(&INFO.replace("keys:3", "keys:4"), 0, 1_000), now);
        assert!(watch.is_careful(now) && watch.is_careful(now + minute - Duration::from_millis(1)));
        assert!(!watch.is_careful(now + minute));
    }
}
