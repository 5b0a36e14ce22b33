//! When a failed task is tried again.

use std::time::Duration;

/// Full jitter: before attempt `n` (the first retry is attempt 2) a task waits uniformly between 0 and
/// `min(cap, base * 2^(n - 2))`, so that tasks which failed together do not come back together.
///
/// Source: Brooker, "Exponential backoff and jitter" (AWS architecture blog, 2015).
/// The draw itself happens in `settling.lua`, the only place that knows how often the task has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the second attempt.
    pub base: Duration,
    /// The longest wait before any attempt.
    pub cap: Duration,
}

impl Backoff {
    /// The longest wait before `attempt`; zero before the first.
    pub fn longest(&self, attempt: u8) -> Duration {
        match attempt.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => self
                .base
                .saturating_mul(1_u32.checked_shl(doublings.into()).unwrap_or(u32::MAX))
                .min(self.cap),
        }
    }
}

impl Default for Backoff {
    /// 1 s, 2 s, 4 s, … up to a minute.
    fn default() -> Self {
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(60) }
    }
}

/// A task is dead with its third lost lease.
pub const MAX_CRASHES: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_doubles_up_to_the_cap() {
        let backoff = Backoff::default();
        for (attempt, longest) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (8, 60), (255, 60)] {
            assert_eq!(backoff.longest(attempt), Duration::from_secs(longest), "attempt {attempt}");
        }
    }
}
