//! What is known to be denied, so that an attack costs Redis nothing.
//!
//! Exact: the wait comes from the script, admissions by others only make it longer, and it is counted from before the
//! call was sent. Of fixed size: what does not fit is asked again.

use crate::Demand;
use crate::demand::Standing;
use crate::limits::MOST_WINDOWS;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Denials of this process. Memory: about 200 bytes a place, all of it from the beginning.
pub(crate) struct Denials {
    sets: Vec<Mutex<[Option<Denial>; WAYS]>>,
    /// Two keyed hashes, so that nobody can make two counts look alike.
    hashers: [RandomState; 2],
    /// How many there may be: none, and nobody looks.
    present: AtomicUsize,
    /// Grows with each reset: what was judged before one is not kept.
    epoch: AtomicU64,
}

#[derive(Clone)]
struct Denial {
    /// Of the key.
    name: u128,
    /// Of its limits: others than those that were judged say nothing.
    limits: u64,
    /// Denied for this cost and any higher one.
    cost: u32,
    /// Of the judgement: a little before it.
    since: Instant,
    until: Instant,
    windows: [Option<Known>; MOST_WINDOWS],
}

/// One window as it was judged.
#[derive(Clone, Copy)]
struct Known {
    limit: u32,
    used: u32,
    room_in: Duration,
    wait: Duration,
}

impl Denials {
    pub(crate) fn new(places: usize) -> Self {
        let sets = places.div_ceil(WAYS);
        Self {
            sets: (0..sets).map(|_| Mutex::new([const { None }; WAYS])).collect(),
            hashers: [RandomState::new(), RandomState::new()],
            present: AtomicUsize::new(0),
            epoch: AtomicU64::new(0),
        }
    }

    /// Taken before a check is sent, and given back with what came of it.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Where the demand stands when it is known to be denied; `index` is its place among the demands.
    pub(crate) fn find(
        &self,
        key: &[u8],
        demand: &Demand,
        index: usize,
        cost: u32,
        now: Instant,
    ) -> Option<Vec<Standing>> {
        if self.present.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let (name, limits) = (self.name(key), self.limits(demand));
        let mut set = self.set(name);
        let place = set.iter_mut().find(|place| place.as_ref().is_some_and(|it| it.name == name))?;
        let denial = place.as_ref()?;
        if denial.until <= now {
            *place = None;
            self.present.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        if denial.limits != limits || cost < denial.cost {
            return None;
        }
        let since = now.saturating_duration_since(denial.since);
        let standing = |(window, known): (usize, &Known)| Standing {
            demand: index,
            window,
            limit: known.limit,
            used: known.used,
            room_in: known.room_in.saturating_sub(since),
            wait: known.wait.saturating_sub(since),
            denies: known.wait > since,
            judged_at_ms: 0,
        };
        Some(denial.windows.iter().flatten().enumerate().map(standing).collect())
    }

    /// Keeps what Redis said of a demand that denies. `sent` is from before the call, `most` bounds how long it is
    /// believed.
    pub(crate) fn keep(
        &self,
        key: &[u8],
        demand: &Demand,
        cost: u32,
        standings: &[Standing],
        (sent, most): (Instant, Duration),
        epoch: u64,
    ) {
        if self.sets.is_empty() {
            return;
        }
        let wait = standings.iter().map(|standing| standing.wait).max().unwrap_or_default();
        let mut windows = [None; MOST_WINDOWS];
        for (place, standing) in windows.iter_mut().zip(standings) {
            let Standing { limit, used, room_in, wait, .. } = *standing;
            *place = Some(Known { limit, used, room_in, wait });
        }
        let denial = Denial {
            name: self.name(key),
            limits: self.limits(demand),
            cost,
            since: sent,
            until: sent + wait.min(most),
            windows,
        };
        let mut set = self.set(denial.name);
        if self.epoch() != epoch {
            return;
        }
        let same = set.iter().position(|place| place.as_ref().is_some_and(|it| it.name == denial.name));
        // Who could pass soonest is the cheapest to forget.
        let free = || (0..WAYS).min_by_key(|way| set[*way].as_ref().map(|it| it.until));
        let Some(way) = same.or_else(free) else { return };
        if set[way].is_none() {
            self.present.fetch_add(1, Ordering::Relaxed);
        }
        set[way] = Some(denial);
    }

    /// Forgets one count, which was reset.
    pub(crate) fn forget(&self, key: &[u8]) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        if self.sets.is_empty() {
            return;
        }
        let name = self.name(key);
        self.forget_if(&mut self.set(name), |denial| denial.name == name);
    }

    /// Forgets all: a reset may have been missed.
    pub(crate) fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for set in &self.sets {
            self.forget_if(&mut set.lock().unwrap_or_else(PoisonError::into_inner), |_| true);
        }
    }

    fn forget_if(&self, set: &mut [Option<Denial>; WAYS], is_meant: impl Fn(&Denial) -> bool) {
        for place in set.iter_mut().filter(|place| place.as_ref().is_some_and(&is_meant)) {
            *place = None;
            self.present.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn name(&self, key: &[u8]) -> u128 {
        let [high, low] = [0, 1].map(|half: usize| u128::from(self.hashers[half].hash_one(key)));
        high << 64 | low
    }

    fn limits(&self, demand: &Demand) -> u64 {
        self.hashers[0].hash_one(demand.limits.packed())
    }

    fn set(&self, name: u128) -> MutexGuard<'_, [Option<Denial>; WAYS]> {
        let set = (name % self.sets.len() as u128) as usize;
        self.sets[set].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many denials share a place of the table.
const WAYS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Scope};
    use std::sync::Arc;

    fn demand(user: &str, limit: u32) -> (Vec<u8>, Demand) {
        let scope = Scope::user(&user.parse().unwrap());
        let limits = Arc::new(Limits::one(limit, Duration::from_secs(60)).unwrap());
        let key = format!("rl:{{{scope}}}:p").into_bytes();
        (key, Demand { policy: "p".parse().unwrap(), scope, limits, dry_run: false })
    }

    fn denied(wait_ms: u64) -> [Standing; 1] {
        let wait = Duration::from_millis(wait_ms);
        [Standing {
            demand: 0,
            window: 0,
            limit: 5,
            used: 5,
            room_in: wait,
            wait,
            denies: true,
            judged_at_ms: 1,
        }]
    }

    const LONG: Duration = Duration::from_secs(5);

    #[test]
    fn a_denial_holds_until_the_moment_that_was_told_and_not_a_moment_longer() {
        let (denials, (key, demand), sent) = (Denials::new(16), demand("42", 5), Instant::now());
        denials.keep(&key, &demand, 1, &denied(1000), (sent, LONG), denials.epoch());

        let at = |ms| denials.find(&key, &demand, 3, 1, sent + Duration::from_millis(ms));
        let standing = at(400).unwrap()[0];
        let rest = Duration::from_millis(600);
        assert_eq!(
            (standing.demand, standing.wait, standing.room_in, standing.denies),
            (3, rest, rest, true)
        );
        assert!(at(999).is_some());
        assert!(at(1000).is_none());
    }

    #[test]
    fn it_is_about_this_count_these_limits_and_this_cost_or_more() {
        let (denials, (key, five), sent) = (Denials::new(16), demand("42", 5), Instant::now());
        denials.keep(&key, &five, 3, &denied(1000), (sent, LONG), denials.epoch());

        for (user, limit, cost, is_denied) in [
            ("42", 5, 3, true),
            ("42", 5, 4, true),
            ("42", 5, 2, false),
            ("42", 6, 3, false),
            ("43", 5, 3, false),
        ] {
            let (key, demand) = demand(user, limit);
            let found = denials.find(&key, &demand, 0, cost, sent);
            assert_eq!(found.is_some(), is_denied, "{user} {limit} {cost}");
        }
    }

    #[test]
    fn it_is_believed_for_a_bounded_time_and_then_asked_again() {
        let (denials, (key, demand), sent) = (Denials::new(16), demand("42", 5), Instant::now());
        denials.keep(&key, &demand, 1, &denied(3_600_000), (sent, LONG), denials.epoch());

        assert!(denials.find(&key, &demand, 0, 1, sent + LONG - Duration::from_millis(1)).is_some());
        assert!(denials.find(&key, &demand, 0, 1, sent + LONG).is_none());
    }

    #[test]
    fn a_reset_forgets_and_what_was_judged_before_it_is_not_kept() {
        let (denials, (key, demand), sent) = (Denials::new(16), demand("42", 5), Instant::now());
        for forget in [Denials::forget_all, |denials: &Denials| denials.forget(b"rl:{user:42}:p")] {
            let before = denials.epoch();
            denials.keep(&key, &demand, 1, &denied(1000), (sent, LONG), before);
            forget(&denials);
            assert!(denials.find(&key, &demand, 0, 1, sent).is_none());

            denials.keep(&key, &demand, 1, &denied(1000), (sent, LONG), before);
            assert!(denials.find(&key, &demand, 0, 1, sent).is_none());
        }
    }

    #[test]
    fn counts_share_its_places_evenly() {
        let (denials, sent) = (Denials::new(1_024), Instant::now());
        let users: Vec<_> = (0..64).map(|n| demand(&n.to_string(), 5)).collect();
        for (key, demand) in &users {
            denials.keep(key, demand, 1, &denied(1000), (sent, LONG), denials.epoch());
        }
        let known =
            users.iter().filter(|(key, demand)| denials.find(key, demand, 0, 1, sent).is_some()).count();
        assert!(known >= 60, "{known} of 64");
    }

    #[test]
    fn its_size_is_fixed_and_who_could_pass_soonest_is_forgotten() {
        let (denials, sent) = (Denials::new(WAYS), Instant::now());
        let users: Vec<_> = (0..100_u64).map(|n| (n, demand(&n.to_string(), 5))).collect();
        for (n, (key, demand)) in &users {
            denials.keep(key, demand, 1, &denied(1000 + n), (sent, LONG), denials.epoch());
        }

        let known: Vec<_> = users
            .iter()
            .filter(|(_, (key, demand))| denials.find(key, demand, 0, 1, sent).is_some())
            .map(|(n, _)| *n)
            .collect();
        assert_eq!(known, [96, 97, 98, 99]);
    }
}
