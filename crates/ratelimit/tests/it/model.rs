//! Random arrivals, judged by an exact log.
//!
//! The log is the plainest correct limiter: every admission with its moment. Of many counts at once, each with limits of
//! its own, each admission is entered; what the limiter did is compared with what the log knows.

use crate::support::{demand, turned};
use domain::Timestamp;
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ratelimit::{Away, Demand, Limiter, Scope, Standing};
use redis_core::Clock;
use std::time::Duration;
use testkit::RedisServer;

/// How many counts have one history each.
fn cases() -> usize {
    std::env::var("SLUICE_LIMITER_CASES").map_or(10_000, |cases| cases.parse().unwrap())
}

/// Of every count, and not judged: a key lives as long as its longest window by the server's own clock, which nobody
/// turns, and a busy machine must not make it forget.
const NEVER_FULL: (u32, Duration) = (1_000_000, Duration::from_secs(3600));

/// Counts that live at the same time, under one clock.
const AT_ONCE: usize = 250;

/// Two tiers, which take turns on one count.
#[derive(Clone, Debug)]
struct Policy {
    tiers: [Vec<(u32, u64)>; 2],
}

/// Who asks for how much: the count, by which tier, the cost.
type Ask = (usize, usize, u32);

/// One moment: how far the clock turns, and what is asked then.
#[derive(Clone, Debug)]
struct Moment {
    turn_ms: i64,
    asks: Vec<Ask>,
}

#[derive(Clone, Debug)]
struct History {
    policies: Vec<Policy>,
    moments: Vec<Moment>,
}

fn windows() -> impl Strategy<Value = Vec<(u32, u64)>> {
    let limit = prop_oneof![1..=8_u32, 9..=40_u32, 60..=120_u32];
    let length = prop_oneof![100..=400_u64, 401..=3000_u64];
    prop::collection::vec((limit, length), 1..=3).prop_map(|mut windows| {
        windows.sort_by_key(|(_, length)| *length);
        windows.dedup_by_key(|(_, length)| *length);
        windows
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    [windows(), windows()].prop_map(|tiers| Policy { tiers })
}

fn moment() -> impl Strategy<Value = Moment> {
    let turn_ms = prop_oneof![
        6 => 0..=40_i64,
        3 => 41..=400_i64,
        1 => 401..=3500_i64,
        // A step back that is absorbed.
        1 => -1500..=-1_i64,
    ];
    // Half of the counts have one tier only, as most have.
    let tier = |count: usize, second: bool| usize::from(second && count.is_multiple_of(2));
    let ask = (0..AT_ONCE, any::<bool>(), 1..=6_u32);
    let ask = ask.prop_map(move |(count, second, cost)| (count, tier(count, second), cost));
    let asks = prop::collection::vec(ask, 1..=AT_ONCE * 2);
    (turn_ms, asks).prop_map(|(turn_ms, asks)| Moment { turn_ms, asks })
}

fn history() -> impl Strategy<Value = History> {
    let policies = prop::collection::vec(policy(), AT_ONCE);
    (policies, prop::collection::vec(moment(), 24..=36))
        .prop_map(|(policies, moments)| History { policies, moments })
}

/// Every admission of one count: when by the limiter's clock, how much.
#[derive(Clone, Default)]
struct Log(Vec<(u64, u32)>);

impl Log {
    /// Units in the closed window that ends at `now`.
    fn used(&self, now: u64, length: u64) -> u64 {
        self.0
            .iter()
            .filter(|(at, _)| *at + length >= now && *at <= now)
            .map(|(_, units)| u64::from(*units))
            .sum()
    }

    /// No closed window, wherever it begins, holds more than the limit.
    fn holds(&self, (limit, length): (u32, u64)) -> bool {
        self.0.iter().all(|(at, _)| self.used(*at, length) <= u64::from(limit))
    }
}

struct Judge {
    logs: Vec<Log>,
    policies: Vec<Policy>,
    /// Since when the count has runs of each tier's windows. Before, and when one was over, it had those of another window,
    /// which may be coarser.
    known_since: Vec<[Option<u64>; 2]>,
}

impl Judge {
    fn enter(&mut self, (count, tier, cost): Ask, admitted: bool, standings: &[Standing]) {
        let at = standings[0].judged_at_ms;
        let log = &self.logs[count];
        let windows = &self.policies[count].tiers[tier];
        let known_since = &mut self.known_since[count][tier];
        for ((limit, length), standing) in windows.iter().zip(standings) {
            let exact = log.used(at, *length);
            // A run leaves with its last admission: what it holds too long is younger than a window and a 31st.
            let most = log.used(at, *length + length.div_ceil(31));
            let before = u64::from(standing.used) - if admitted { u64::from(cost) } else { 0 };
            assert!(before >= exact, "{windows:?} counts {before} of {exact} at {at}: {:?}", log.0);
            // What it began with came in the runs of a longer window.
            if !log.0.is_empty() && known_since.is_none_or(|since| at <= since + length) {
                continue;
            }
            assert!(
                before <= most,
                "{windows:?} counts {before}, and {most} may still count at {at}: {:?}",
                log.0
            );
            // The other tier may let more pass, and then they are kept together.
            if *limit <= 32 && exact <= 32 && count % 2 == 1 {
                assert_eq!(before, exact, "up to 32 it is the exact log: {windows:?} at {at}: {:?}", log.0);
            }
        }
        let fits = |length: u64, limit: u32| log.used(at, length) + u64::from(cost) <= u64::from(limit);
        let passes = windows.iter().all(|(limit, length)| fits(*length, *limit));
        assert!(passes || !admitted, "{windows:?} admitted {cost} at {at} over {:?}", log.0);
        if admitted {
            if known_since.is_none() {
                *known_since = Some(if log.0.is_empty() { 0 } else { at });
            }
            let quiet = at - log.0.last().map_or(at, |(last, _)| *last);
            let other = 1 - tier;
            if self.policies[count].tiers[other].iter().any(|(_, length)| quiet > *length) {
                self.known_since[count][other] = None;
            }
            self.logs[count].0.push((at, cost));
        }
        // Of two tiers each is held to its limit when it admits, and the other may let more pass behind it.
        for window in windows.iter().filter(|_| count % 2 == 1) {
            assert!(self.logs[count].holds(*window), "{window:?} was passed: {:?}", self.logs[count].0);
        }
    }
}

async fn asked(limiter: &Limiter, demand: &Demand, cost: u32) -> (bool, Vec<Standing>) {
    let verdict = limiter.check(std::slice::from_ref(demand), cost, Away::Closed).await.unwrap();
    (verdict.admitted, verdict.standings)
}

async fn run(limiter: &Limiter, clock: &Clock, history: History, name: &str) {
    let demands: Vec<[Demand; 2]> = (0..AT_ONCE)
        .map(|count| {
            let scope = Scope::user(&format!("{name}-{count}").parse().unwrap());
            history.policies[count].tiers.each_ref().map(|windows| {
                let windows = windows.iter().map(|(limit, length)| (*limit, Duration::from_millis(*length)));
                demand(scope.clone(), "p", &windows.chain([NEVER_FULL]).collect::<Vec<_>>())
            })
        })
        .collect();
    let mut judge = Judge {
        logs: vec![Log::default(); AT_ONCE],
        policies: history.policies,
        known_since: vec![[None; 2]; AT_ONCE],
    };
    let mut denied = vec![None; AT_ONCE];
    let mut latest = clock.now().millis();
    for Moment { turn_ms, asks } in history.moments {
        // More than two seconds behind would be a clock that was set, and another rule.
        let now = (clock.now().millis() + turn_ms).max(latest - 1_900);
        latest = latest.max(now);
        clock.set(Timestamp::from_millis(now));
        let asks = asks
            .into_iter()
            .map(|(count, tier, cost)| (count, tier, cost.min(demands[count][tier].limits.most_at_once())));
        // Sent together, judged one after the other: the order of the answers is that of the calls.
        let answers =
            join_all(asks.map(async |ask| (ask, asked(limiter, &demands[ask.0][ask.1], ask.2).await))).await;
        for (ask, (admitted, standings)) in answers {
            judge.enter(ask, admitted, &standings);
            denied[ask.0] = (!admitted).then_some((now, ask, standings));
        }
    }
    the_wait_is_exact(limiter, clock, &demands, denied).await;
}

/// Of every count that ended with a denial: a millisecond early it is denied, at the promised moment it is not.
async fn the_wait_is_exact(
    limiter: &Limiter,
    clock: &Clock,
    demands: &[[Demand; 2]],
    denied: Vec<Option<(i64, Ask, Vec<Standing>)>>,
) {
    let mut promised: Vec<_> = denied
        .into_iter()
        .flatten()
        .filter_map(|(asked_at, ask, standings)| {
            let wait = standings.iter().map(|standing| standing.wait).max()?;
            Some((asked_at + i64::try_from(wait.as_millis()).unwrap(), ask))
        })
        .collect();
    promised.sort_unstable();
    for (moment, (count, tier, cost)) in promised {
        let demand = &demands[count][tier];
        for (at, passes) in [(moment - 1, false), (moment, true)] {
            clock.set(Timestamp::from_millis(at));
            let verdict = limiter.peek(std::slice::from_ref(demand), cost).await.unwrap();
            assert_eq!(verdict.admitted, passes, "{cost} of {:?} at {at}", demand.limits);
        }
    }
}

#[test]
fn no_closed_window_ever_holds_more_than_its_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(RedisServer::start());
    let (limiter, clock) = runtime.block_on(async { turned(&server) });
    let mut runner = TestRunner::new(Config {
        cases: u32::try_from(cases().div_ceil(AT_ONCE)).unwrap(),
        // A history is large; its seed is printed, and finds it again.
        max_shrink_iters: 64,
        failure_persistence: None,
        ..Config::default()
    });
    let names = std::cell::Cell::new(0_u32);
    runner
        .run(&history(), |history| {
            names.set(names.get() + 1);
            runtime.block_on(run(&limiter, &clock, history, &format!("h{}", names.get())));
            Ok(())
        })
        .unwrap();
}
