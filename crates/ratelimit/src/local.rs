//! What this process admits by itself while Redis is away: its share of each limit, counted in memory.

use crate::demand::{Standing, Verdict};
use crate::limits::millis;
use crate::runs::Runs;
use crate::{Demand, Mode, Window};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts by key. Bounded: beyond it a new count has to wait until an old one is over.
pub(crate) struct Local {
    nodes: u32,
    began: Instant,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    by_key: HashMap<Vec<u8>, Count>,
    /// The last judgement: time never goes back, whichever thread comes first.
    latest: u64,
    swept: u64,
}

/// What was admitted for one key, for each length of a window that is known.
#[derive(Default)]
struct Count {
    windows: Vec<(Duration, Runs)>,
    /// When its longest window will be empty.
    over_at: u64,
}

impl Local {
    /// One of so many processes.
    pub(crate) fn new(nodes: u32) -> Self {
        Self { nodes: nodes.max(1), began: Instant::now(), counts: Mutex::default() }
    }

    /// As `check.lua`: judges all, then charges those that have room when nothing denies.
    pub(crate) fn check(&self, keys: &[Vec<u8>], demands: &[Demand], cost: u32, now: Instant) -> Verdict {
        let now = millis(now.saturating_duration_since(self.began));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let now = counts.turn_to(now);
        let mut standings = Vec::with_capacity(demands.len());
        for (index, (key, demand)) in keys.iter().zip(demands).enumerate() {
            let has_place = counts.has_place_for(key);
            let mut fresh = Count::default();
            let count = counts.by_key.get_mut(key).unwrap_or(&mut fresh);
            count.know(demand.limits.windows(), now);
            for (place, window) in demand.limits.windows().iter().enumerate() {
                let share = self.share(window);
                let runs = count.runs_of(window.length);
                let used = runs.used(window.length, now);
                let needed = (used + u64::from(cost)).saturating_sub(u64::from(share.limit));
                let wait = match (needed, has_place) {
                    (0, true) => 0,
                    // Nothing here says when: the share is smaller than the cost, or the table is full.
                    _ => runs.wait_for(window.length, needed, now).max(1_000),
                };
                standings.push(Standing {
                    demand: index,
                    window: place,
                    limit: share.limit,
                    used: u32::try_from(used).unwrap_or(u32::MAX),
                    room_in: Duration::from_millis(runs.room_in(window.length, now)),
                    wait: Duration::from_millis(wait),
                    denies: wait > 0 && !demand.dry_run,
                    judged_at_ms: 0,
                });
            }
        }
        let admitted = !standings.iter().any(|standing| standing.denies);
        if admitted && cost > 0 {
            for (index, (key, demand)) in keys.iter().zip(demands).enumerate() {
                let mut own =
                    standings.iter_mut().filter(|standing| standing.demand == index).collect::<Vec<_>>();
                if own.iter().all(|standing| standing.wait.is_zero()) {
                    let count = counts.by_key.entry(key.clone()).or_default();
                    self.charge(count, demand, cost, now);
                    own.iter_mut().for_each(|standing| standing.used += cost);
                }
            }
        }
        Verdict { admitted, mode: Mode::Local, local: true, standings }
    }

    fn charge(&self, count: &mut Count, demand: &Demand, cost: u32, now: u64) {
        let asked = demand.limits.windows();
        count.know(asked, now);
        for (length, runs) in &mut count.windows {
            let limit =
                asked.iter().find(|window| window.length == *length).map(|window| self.share(window).limit);
            runs.used(*length, now);
            runs.charge(*length, limit, cost, now);
        }
        let longest = count.windows.iter().map(|(length, _)| millis(*length)).max().unwrap_or_default();
        count.over_at = now + longest + 1;
    }

    /// Forgets what was counted: Redis is back.
    pub(crate) fn clear(&self) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).by_key.clear();
    }

    /// Rounded down, so that all processes together admit no more than the limit.
    fn share(&self, window: &Window) -> Window {
        Window { limit: window.limit / self.nodes, length: window.length }
    }
}

impl Counts {
    fn turn_to(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        self.latest
    }

    /// Whether a key is there or may come; what is over goes, looked for once a second.
    fn has_place_for(&mut self, key: &[u8]) -> bool {
        let is_full = self.by_key.len() >= MOST_COUNTS && !self.by_key.contains_key(key);
        if is_full && self.swept + SWEEP_EVERY_MS <= self.latest {
            self.swept = self.latest;
            self.by_key.retain(|_, count| count.over_at > self.latest);
        }
        !is_full || self.by_key.len() < MOST_COUNTS
    }
}

impl Count {
    /// Knows the windows that are asked for, and of others those in which something counts: the longest, which know what
    /// a shorter one knows. A new one begins with the runs of the next longer, else of the longest, so that other limits
    /// refill nothing.
    fn know(&mut self, asked: &[Window], now: u64) {
        for Window { length, .. } in asked {
            if !self.windows.iter().any(|(known, _)| known == length) {
                let longer = self.windows.iter().filter(|(known, _)| known > length).min_by_key(|it| it.0);
                let source = longer.or_else(|| self.windows.iter().max_by_key(|it| it.0));
                let runs = source.map(|(_, runs)| runs.clone()).unwrap_or_default();
                self.windows.push((*length, runs));
            }
        }
        let is_asked = |length| asked.iter().any(|window| window.length == length);
        self.windows.retain_mut(|(length, runs)| is_asked(*length) || runs.used(*length, now) > 0);
        self.windows.sort_by_key(|(length, _)| (!is_asked(*length), Reverse(*length)));
        self.windows.truncate(MOST_LENGTHS);
    }

    /// The runs of a window that is known.
    fn runs_of(&mut self, length: Duration) -> &mut Runs {
        let place = self.windows.iter().position(|(known, _)| *known == length);
        &mut self.windows[place.expect("asked for, so it is known")].1
    }
}

const MOST_COUNTS: usize = 65_536;
/// Of windows for one count: those of a few limits that take turns.
const MOST_LENGTHS: usize = 8;
const SWEEP_EVERY_MS: u64 = 1_000;

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

    #[test]
    fn a_thread_that_comes_late_with_an_earlier_moment_is_judged_now() {
        let (local, keys, demands) = (Local::new(1), [b"k".to_vec()], [demand(2)]);
        let start = Instant::now() + Duration::from_secs(9);
        let ask = |now| local.check(&keys, &demands, 1, now).admitted;
        assert!(ask(start) && ask(start - Duration::from_secs(5)) && !ask(start - Duration::from_secs(5)));
    }

    #[test]
    fn other_windows_of_the_same_count_refill_nothing() {
        let (local, keys, now) = (Local::new(1), [b"k".to_vec()], Instant::now() + Duration::from_secs(9));
        let of = |limit, seconds| {
            let limits = Arc::new(Limits::one(limit, Duration::from_secs(seconds)).unwrap());
            [Demand { limits, ..demand(1) }]
        };
        let admitted =
            |demands: &[Demand]| (0..9).filter(|_| local.check(&keys, demands, 1, now).admitted).count();
        let seen = [of(3, 10), of(3, 20), of(4, 10), of(4, 5)].map(|demands| admitted(&demands));
        assert_eq!(seen, [3, 0, 1, 0]);
    }

    #[test]
    fn limits_that_take_turns_know_all_that_was_admitted() {
        let (local, keys, start) = (Local::new(1), [b"k".to_vec()], Instant::now() + Duration::from_secs(9));
        let check = |limit, length_s, at_s: f64| {
            let limits = Arc::new(Limits::one(limit, Duration::from_secs(length_s)).unwrap());
            let demands = [Demand { limits, ..demand(1) }];
            local.check(&keys, &demands, 1, start + Duration::from_secs_f64(at_s))
        };
        assert_eq!((0..9).filter(|_| check(5, 60, 0.0).admitted).count(), 5);
        // More lengths than are known at once, and none of them is as long.
        assert!((1..=20).all(|length_s| check(1000, length_s, length_s as f64 * 2.0).admitted));
        let denied = check(5, 60, 41.0);
        assert_eq!((denied.admitted, denied.standings[0].used), (false, 25));
        assert_eq!(
            denied.standings[0].wait,
            Duration::from_millis(51_001),
            "of the 32nd second, the last of 21"
        );
        assert_eq!(local.counts.lock().unwrap().by_key[&keys[0]].windows.len(), MOST_LENGTHS);
        assert_eq!((0..9).filter(|_| check(22, 60, 60.1).admitted).count(), 2);
    }

    #[test]
    fn a_full_table_admits_new_counts_again_once_old_ones_are_over() {
        let (local, start) = (Local::new(1), Instant::now() + Duration::from_secs(1));
        let demands = [demand(2)];
        let ask = |n: usize, ms| {
            local.check(&[n.to_le_bytes().to_vec()], &demands, 1, start + Duration::from_millis(ms)).admitted
        };
        assert!((0..MOST_COUNTS).all(|n| ask(n, 0)));
        assert!(!ask(MOST_COUNTS, 1_000), "they are in use");
        assert!(ask(7, 1_000), "one that is there goes on");
        assert!(!ask(MOST_COUNTS, 1_500), "looked for once a second");
        assert!(ask(MOST_COUNTS, 2_001));
    }
}
