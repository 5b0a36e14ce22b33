//! What exactness stands on: that the limiter's Redis keeps what it was told, and that its clock runs on.

use redis_core::{Redis, RedisError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When something happened that asks for care.
pub(crate) struct Watch {
    origin: Instant,
    /// The last of them.
    alarm: Mutex<Option<Instant>>,
    seen: Mutex<Option<Vec<Seen>>>,
}

/// What one server said of itself.
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
        Self { origin, alarm: Mutex::default(), seen: Mutex::default() }
    }

    /// Whether something that counts may not have survived happened less than such a window ago.
    pub(crate) fn is_careful(&self, now: Instant, longest: Duration) -> bool {
        let alarm = *self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        alarm.is_some_and(|alarm| now.saturating_duration_since(alarm) <= longest)
    }

    /// Something happened that counts may not have survived: careful until a window has moved past it.
    pub(crate) fn alarm(&self, now: Instant, reason: &'static str) {
        let before = self.alarm.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        // A server that evicts all the time would say so every second.
        if before.is_none_or(|before| now.saturating_duration_since(before) > TOLD_AGAIN_AFTER) {
            tracing::warn!(reason, "limits are careful for one window each: {reason}");
        }
    }

    /// Compares with what was seen before. The first look compares with nothing.
    pub(crate) fn saw(&self, mut seen: Vec<Seen>, now: Instant) {
        seen.sort_by(|one, other| one.run_id.cmp(&other.run_id));
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).replace(seen.clone());
        if let Some(reason) = before.and_then(|before| change(&before, &seen)) {
            self.alarm(now, reason);
        }
    }

    /// Looks at each server that holds counts: one round trip, on a cluster two.
    ///
    /// # Errors
    /// Redis did not answer; then nothing has changed.
    pub(crate) async fn look(&self, redis: &Redis) -> Result<(), RedisError> {
        let asked = self.origin.elapsed().as_micros();
        let texts = redis.info(&["server", "replication", "stats"]).await?;
        let now = Instant::now();
        let answered = now.saturating_duration_since(self.origin).as_micros();
        self.saw(texts.iter().map(|text| Seen::read(text, asked, answered)).collect(), now);
        Ok(())
    }
}

/// Why counts of before may be gone, from all servers, in the order of their run ids.
fn change(before: &[Seen], after: &[Seen]) -> Option<&'static str> {
    let ids = |servers: &[Seen]| servers.iter().map(|server| server.run_id.clone()).collect::<Vec<_>>();
    if ids(before) != ids(after) {
        return Some("another redis answers, or it was started again");
    }
    before.iter().zip(after).find_map(|(before, after)| before.changed(after))
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

    /// Why counts of before may be gone from the same server.
    fn changed(&self, after: &Self) -> Option<&'static str> {
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
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str =
        "# Server\r\nrun_id:abc\r\nserver_time_usec:1000000000\r\nrole:master\r\nevicted_keys:3\r\n";

    #[test]
    fn what_may_cost_counts_is_told_and_nothing_else() {
        let first = [Seen::read(INFO, 0, 1_000)];
        for (text, asked, reason) in [
            (INFO.replace("1000000000", "1002000000"), 2_000_000, None),
            (INFO.replace("1000000000", "1002200000"), 2_000_000, None),
            (INFO.replace("1000000000", "1002400000"), 2_000_000, Some("the clock of redis stepped")),
            (INFO.replace("1000000000", "1001600000"), 2_000_000, Some("the clock of redis stepped")),
            (INFO.replace("abc", "abd"), 0, Some("another redis answers, or it was started again")),
            (INFO.replace("master", "slave"), 0, Some("redis has another role")),
            (INFO.replace("keys:3", "keys:4"), 0, Some("redis evicted keys")),
        ] {
            assert_eq!(change(&first, &[Seen::read(&text, asked, asked + 1_000)]), reason, "{text}");
        }
    }

    #[test]
    fn of_a_cluster_each_primary_is_compared_with_itself() {
        let server = |run_id: &str, evicted: &str| {
            Seen::read(&INFO.replace("abc", run_id).replace("keys:3", evicted), 0, 1_000)
        };
        let (now, watch) = (Instant::now(), Watch::new(Instant::now()));
        let careful_after = |seen: Vec<Seen>| {
            watch.saw(seen, now);
            watch.alarm.lock().unwrap().take().is_some()
        };
        assert!(!careful_after(vec![server("one", "keys:3"), server("other", "keys:5")]));
        assert!(!careful_after(vec![server("other", "keys:5"), server("one", "keys:3")]), "in any order");
        assert!(
            careful_after(vec![server("one", "keys:3"), server("other", "keys:6")]),
            "one of them evicts"
        );
        assert!(careful_after(vec![server("one", "keys:3"), server("third", "keys:6")]), "one was replaced");
        assert!(careful_after(vec![server("one", "keys:3")]), "one is gone");
    }

    #[test]
    fn an_answer_that_took_long_is_no_step() {
        let first = Seen::read(INFO, 0, 1_000);
        let late = INFO.replace("1000000000", "1009000000");
        assert_eq!(first.changed(&Seen::read(&late, 1_000_000, 9_000_000)), None);
    }

    #[test]
    fn it_is_careful_for_one_window_each() {
        let (now, minute, second) = (Instant::now(), Duration::from_secs(60), Duration::from_secs(1));
        let watch = Watch::new(now);
        watch.saw(vec![Seen::read(INFO, 0, 1_000)], now);
        assert!(!watch.is_careful(now, minute), "there was nothing to compare with");

        watch.saw(vec![Seen::read(&INFO.replace("keys:3", "keys:4"), 0, 1_000)], now);
        for window in [second, minute] {
            assert!(watch.is_careful(now, window) && watch.is_careful(now + window, window), "{window:?}");
            assert!(!watch.is_careful(now + window + Duration::from_millis(1), window), "{window:?}");
        }
    }
}
