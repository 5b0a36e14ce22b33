//! How long a caller waits for an answer that is not there yet.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The wait of a long poll, in milliseconds. Whatever was asked for, it is [`LongPoll::LONGEST`] at most, so that no
/// connection is held for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LongPoll(u64);

impl LongPoll {
    /// Half a minute: below what proxies usually allow an answer.
    pub const LONGEST: Duration = Duration::from_secs(30);

    /// So many milliseconds.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// How long to wait.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0).min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_poll_waits_half_a_minute_at_most() {
        for (asked, waits) in [(0, 0), (7, 7), (30_000, 30_000), (30_001, 30_000), (u64::MAX, 30_000)] {
            let wait: LongPoll = serde_json::from_value(asked.into()).unwrap();
            assert_eq!(wait.duration(), Duration::from_millis(waits), "{asked}");
        }
    }
}
