//! The algorithm in Rust: what this process counts by itself while Redis is away. The same as `scripts/runs.lua` and
//! `scripts/check.lua`; docs/ratelimit.md proves it.

use crate::limits::millis;
use std::collections::VecDeque;
use std::time::Duration;

/// Admissions of one window, in runs: neighbours that are kept as one until the last of them has left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    total: u64,
    /// Oldest first; the last is open.
    runs: VecDeque<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    first: u64,
    last: u64,
    units: u64,
}

/// Runs of one window, but for the open one.
const RUNS: u64 = 31;

impl Runs {
    /// Forgets what has left the window, and tells how much is in it.
    pub(crate) fn used(&mut self, length: Duration, now: u64) -> u64 {
        let horizon = now.saturating_sub(millis(length));
        while let Some(oldest) = self.runs.front().filter(|run| run.last < horizon) {
            self.total -= oldest.units;
            self.runs.pop_front();
        }
        self.total
    }

    /// When so many units will have left, in ms from `now`.
    pub(crate) fn wait_for(&self, length: Duration, mut units: u64, now: u64) -> u64 {
        for run in &self.runs {
            units = units.saturating_sub(run.units);
            if units == 0 {
                return run.last + millis(length) + 1 - now;
            }
        }
        0
    }

    /// When more room comes, in ms from `now`; 0 when there is nothing in the window.
    pub(crate) fn room_in(&self, length: Duration, now: u64) -> u64 {
        self.runs.front().map_or(0, |run| run.last + millis(length) + 1 - now)
    }

    /// Counts units of this moment; without a limit in a window that nobody asked for now.
    pub(crate) fn charge(&mut self, length: Duration, limit: Option<u32>, units: u32, now: u64) {
        let units = u64::from(units);
        self.total += units;
        let is_exact = limit.map_or(self.total, u64::from) <= RUNS + 1;
        let grain = if is_exact { 1 } else { millis(length).div_ceil(RUNS) };
        match self.runs.back_mut() {
            Some(open) if now - open.first < grain => {
                open.last = now;
                open.units += units;
            }
            _ => self.runs.push_back(Run { first: now, last: now, units }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_32_units_have_runs_of_their_own_and_more_share_32() {
        let length = Duration::from_millis(3_100);
        for (limit, units, admissions, runs) in [
            (Some(32), 1, 32, 32),
            (Some(33), 1, 33, 1),
            (None, 1, 32, 32),
            (None, 33, 1, 1),
            (Some(1_000_000), 1, 10_000, 32),
            (None, 1, 10_000, 32),
        ] {
            let mut counted = Runs::default();
            for now in 0..admissions {
                counted.used(length, now);
                counted.charge(length, limit, units, now);
            }
            assert_eq!(counted.runs.len(), runs, "{limit:?} {units} {admissions}");
        }
    }
}
