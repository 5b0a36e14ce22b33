//! What a queue tells: that there is work, that leases were voided, that tasks have ended. Hints, never the truth.

use crate::lease::LeasedBatch;
use crate::queues::LONGEST_PAUSE;
use redis_core::{Hint, Subscription};
use std::time::Duration;

/// What a queue tells about work.
#[derive(Debug)]
pub(crate) struct WakeUps(pub(crate) Subscription);

/// What a worker heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// There may be work.
    Look,
    /// Leases of these tasks were voided.
    Voided(Vec<u64>),
}

impl WakeUps {
    /// The next message. May be dropped at any time.
    pub(crate) async fn next(&mut self) -> Wake {
        match self.0.recv().await {
            Hint::Gap => Wake::Look,
            Hint::Message(message) => {
                match std::str::from_utf8(&message).unwrap_or_default().strip_prefix("void ") {
                    Some(numbers) => {
                        Wake::Voided(numbers.split(' ').filter_map(|number| number.parse().ok()).collect())
                    }
                    None => Wake::Look,
                }
            }
        }
    }

    /// Waits for a wake-up, for what is due next, or for `left`; a second at most. May be dropped at any time.
    pub(crate) async fn wait(&mut self, leased: &LeasedBatch, left: Duration) {
        let pause = if leased.more { Duration::ZERO } else { leased.next.unwrap_or(LONGEST_PAUSE) };
        let pause = pause.min(left).min(LONGEST_PAUSE);
        let looked = async { while self.next().await != Wake::Look {} };
        // Time over: look all the same.
        let _ = tokio::time::timeout(pause, looked).await;
    }
}

/// Until the end of this task was told, or something may have been missed.
pub(crate) async fn heard_of(ends: &mut Subscription, number: u64) {
    let number = number.to_string();
    loop {
        match ends.recv().await {
            Hint::Gap => return,
            Hint::Message(message) => {
                let text = std::str::from_utf8(&message).unwrap_or_default();
                if text.split(' ').any(|ended| ended == number) {
                    return;
                }
            }
        }
    }
}
