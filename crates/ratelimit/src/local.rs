//! What this process admits by itself while Redis is away: its share of each limit, counted in memory.

use crate::demand::{Standing, Verdict};
use crate::runs::Runs;
use crate::{Demand, Mode, Window};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts by key. Bounded: beyond it a new count has to wait until an old one is empty.
pub(crate) struct Local {
    nodes: u32,
    began: Instant,
    counts: Mutex<HashMap<Vec<u8>, Vec<Runs>>>,
}

impl Local {
    /// One of so many processes.
    pub(crate) fn new(nodes: u32) -> Self {
        Self { nodes: nodes.max(1), began: Instant::now(), counts: Mutex::default() }
    }

    /// As `check.lua`: judges all, then charges those that have room when nothing denies.
    pub(crate) fn check(&self, keys: &[Vec<u8>], demands: &[Demand], cost: u32, now: Instant) -> Verdict {
        let now = u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut standings = Vec::with_capacity(demands.len());
        for (index, (key, demand)) in keys.iter().zip(demands).enumerate() {
            let windows = demand.limits.windows();
            let has_place =
                counts.contains_key(key) || counts.len() < MOST_COUNTS || make_room(&mut counts, now);
            let mut fresh = vec![Runs::default(); windows.len()];
            let runs = counts.get_mut(key).filter(|runs| runs.len() == windows.len()).unwrap_or(&mut fresh);
            for (place, (window, runs)) in windows.iter().zip(runs).enumerate() {
                let share = self.share(window);
                let used = runs.used(&share, now);
                let needed = used.saturating_add(cost).saturating_sub(share.limit);
                let wait = match (needed, has_place) {
                    (0, true) => 0,
                    // Nothing here says when: the share is smaller than the cost, or the table is full.
                    _ => runs.wait_for(&share, needed, now).max(1_000),
                };
                standings.push(Standing {
                    demand: index,
                    window: place,
                    limit: share.limit,
                    used,
                    room_in: Duration::from_millis(runs.room_in(&share, now)),
                    wait: Duration::from_millis(wait),
                    denies: wait > 0 && !demand.dry_run,
                    judged_at_ms: 0,
                });
            }
        }
        let admitted = !standings.iter().any(|standing| standing.denies);
        if admitted && cost > 0 {
            self.charge(&mut counts, keys, demands, cost, now, &mut standings);
        }
        Verdict { admitted, mode: Mode::Local, local: true, standings }
    }

    fn charge(
        &self,
        counts: &mut HashMap<Vec<u8>, Vec<Runs>>,
        keys: &[Vec<u8>],
        demands: &[Demand],
        cost: u32,
        now: u64,
        standings: &mut [Standing],
    ) {
        for (index, (key, demand)) in keys.iter().zip(demands).enumerate() {
            let own = || standings.iter().filter(|standing| standing.demand == index);
            if own().any(|standing| !standing.wait.is_zero()) {
                continue;
            }
            let windows = demand.limits.windows();
            let runs = counts.entry(key.clone()).or_default();
            runs.resize(windows.len(), Runs::default());
            for (window, runs) in windows.iter().zip(runs) {
                runs.charge(&self.share(window), cost, now);
            }
            for standing in standings.iter_mut().filter(|standing| standing.demand == index) {
                standing.used += cost;
            }
        }
    }

    /// Forgets what was counted: Redis is back.
    pub(crate) fn clear(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Rounded down, so that all processes together admit no more than the limit.
    fn share(&self, window: &Window) -> Window {
        Window { limit: window.limit / self.nodes, length: window.length }
    }
}

/// Drops what is empty by now; false when everything is in use.
fn make_room(counts: &mut HashMap<Vec<u8>, Vec<Runs>>, now: u64) -> bool {
    counts.retain(|_, windows| {
        windows.iter().any(|runs| runs.newest().is_some_and(|last| now - last < KEPT_MS))
    });
    counts.len() < MOST_COUNTS
}

const MOST_COUNTS: usize = 65_536;
/// No window is longer.
const KEPT_MS: u64 = 31 * 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Scope};
    use std::sync::Arc;

    fn demand(limit: u32) -> Demand {
        let limits = Arc::new(Limits::one(limit, Duration::from_secs(1)).unwrap());
        Demand { policy: "p".parse().unwrap(), scope: Scope::all(), limits, dry_run: false }
    }

    #[test]
    fn all_processes_together_admit_no_more_than_the_limit() {
        let processes = [(); 3].map(|()| Local::new(3));
        let (demand, key, now) = (demand(10), b"k".to_vec(), Instant::now() + Duration::from_secs(1));
        let (keys, demands) = ([key], [demand]);
        let ask = |local: &Local| local.check(&keys, &demands, 1, now).admitted;

        let admitted =
            processes.iter().flat_map(|local| (0..10).map(|_| ask(local))).filter(|it| *it).count();
        assert_eq!(admitted, 9);
    }

    #[test]
    fn a_share_comes_back_as_the_window_moves() {
        let (local, demand, key, start) = (Local::new(1), demand(2), b"k".to_vec(), Instant::now());
        let (keys, demands) = ([key], [demand]);
        let ask = |ms| local.check(&keys, &demands, 1, start + Duration::from_millis(ms));

        assert!(ask(100).admitted && ask(200).admitted);
        let denied = ask(1_000);
        assert_eq!((denied.admitted, denied.mode), (false, Mode::Local));
        assert!(!ask(1_100).admitted, "the window is closed at both ends");
        assert!(ask(1_200).admitted);
    }

    #[test]
    fn a_dry_run_and_a_denied_request_charge_nothing() {
        let (local, now) = (Local::new(1), Instant::now() + Duration::from_secs(1));
        let (tight, wide) = (demand(1), Demand { policy: "wide".parse().unwrap(), ..demand(9) });
        let keys = [b"tight".to_vec(), b"wide".to_vec()];
        let ask = |dry_run| {
            let demands = [Demand { dry_run, ..tight.clone() }, wide.clone()];
            let verdict = local.check(&keys, &demands, 1, now);
            (verdict.admitted, verdict.standings.iter().map(|it| it.used).collect::<Vec<_>>())
        };

        assert_eq!(ask(false), (true, vec![1, 1]));
        assert_eq!(ask(false), (false, vec![1, 1]));
        assert_eq!(ask(true), (true, vec![1, 2]));
    }
}
