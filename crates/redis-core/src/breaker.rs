//! A circuit breaker: while Redis does not answer, callers hear so within microseconds.
//!
//! It is *closed* as long as calls are answered, whatever the answer says; several failures in a row *open* it; then
//! every call is refused, and only a ping of our own asks whether Redis is back (*half-open*, one ping at a time). So no
//! caller pays for the question. What was begun before an opening has no say after it: a late answer does not close the
//! breaker, and a late failure does not open one that was closed again meanwhile. Source: Nygard, "Release It!" (2018),
//! chapter 5.

use crate::RedisError;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// They do.
    Closed,
    /// They are refused, until a ping is due.
    Open,
    /// They are refused, and a ping is under way.
    HalfOpen,
}

/// A circuit breaker, as seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerReport {
    /// Whether calls pass.
    pub state: BreakerState,
    /// Failures in a row so far; at five it opens.
    pub failures: u32,
    /// How often it has opened.
    pub opened: u64,
    /// How many calls it has refused.
    pub refused: u64,
    /// How many pings have asked whether Redis is back.
    pub probes: u64,
}

/// The breaker of one Redis. In the closed state a call costs two loads of one word.
pub(crate) struct Breaker {
    /// For the log: where Redis is, without a password.
    target: String,
    /// The generation, and what a call has to do (the two lowest bits). Written under the lock only.
    word: AtomicU64,
    machine: Mutex<Machine>,
    refused: AtomicU64,
    now: fn() -> Instant,
}

/// A call that was let through. Dropped without an outcome, it says nothing.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    generation: u64,
}

/// The right to ask whether Redis is back. Dropped without an outcome, it is there again for the next.
pub(crate) struct Probe<'a>(Option<&'a Breaker>);

impl Breaker {
    pub(crate) fn new(target: String) -> Self {
        Self::with_clock(target, Instant::now)
    }

    fn with_clock(target: String, now: fn() -> Instant) -> Self {
        let machine = Machine::default();
        let word = AtomicU64::new(machine.word());
        Self { target, word, machine: Mutex::new(machine), refused: AtomicU64::new(0), now }
    }

    /// Lets a call through, or says when to come again.
    pub(crate) fn call(&self) -> Result<Call, Duration> {
        let word = self.word.load(Ordering::Acquire);
        if word & REFUSING == 0 {
            return Ok(Call { generation: word >> TAG_BITS });
        }
        let machine = self.lock();
        machine.call((self.now)()).inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Notes what came of a call. An error of the server is an answer; what never left this process says nothing.
    /// True when that opened the breaker.
    pub(crate) fn settle<T>(&self, call: Call, outcome: &Result<T, RedisError>) -> bool {
        match outcome {
            // Nothing has failed since the last answer of this generation: nothing to note.
            Ok(_) if self.word.load(Ordering::Acquire) == call.generation << TAG_BITS => false,
            Ok(_) => {
                self.change(|machine| machine.answered(call));
                false
            }
            Err(RedisError::Unknown | RedisError::Unavailable { .. }) => self.failed(call),
            Err(_) => false,
        }
    }

    fn failed(&self, call: Call) -> bool {
        let opened = self.change(|machine| machine.failed(call, (self.now)()));
        if opened {
            tracing::warn!(
                redis.target = self.target,
                "circuit breaker opened: {FAILURES} calls in a row had no answer from redis at {}",
                self.target
            );
        }
        opened
    }

    /// How long to wait before the next probe; none while it is closed.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.lock().wait((self.now)())
    }

    /// The right to ask, if it is due and nobody has it.
    pub(crate) fn probe(&self) -> Option<Probe<'_>> {
        self.change(|machine| machine.probe((self.now)())).then(|| Probe(Some(self)))
    }

    pub(crate) fn report(&self) -> BreakerReport {
        let machine = self.lock();
        let (state, failures) = match machine.phase {
            Phase::Closed { failures } => (BreakerState::Closed, failures),
            Phase::Open { .. } => (BreakerState::Open, FAILURES),
            Phase::HalfOpen => (BreakerState::HalfOpen, FAILURES),
        };
        let refused = self.refused.load(Ordering::Relaxed);
        BreakerReport { state, failures, opened: machine.opened, refused, probes: machine.probes }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.lock();
        let changed = change(&mut machine);
        self.word.store(machine.word(), Ordering::Release);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe<'_> {
    /// Redis answers: calls pass again.
    pub(crate) fn succeeded(mut self) {
        if let Some(breaker) = self.0.take() {
            breaker.change(Machine::close);
            tracing::info!(redis.target = breaker.target, "circuit breaker closed: redis answers again");
        }
    }

    /// It does not; the next probe waits longer.
    pub(crate) fn failed(mut self) {
        if let Some(breaker) = self.0.take() {
            breaker.change(|machine| machine.pause((breaker.now)()));
        }
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0.take() {
            breaker.change(|machine| machine.give_back((breaker.now)()));
        }
    }
}

/// The whole life of a breaker, one change at a time.
#[derive(Debug, Default)]
struct Machine {
    phase: Phase,
    /// Counts the closed phases: a call speaks for the one in which it began.
    generation: u64,
    /// Pauses between probes since a call was last answered: each is longer than the one before.
    pauses: u32,
    opened: u64,
    probes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Machine {
    fn call(&self, now: Instant) -> Result<Call, Duration> {
        match self.phase {
            Phase::Closed { .. } => Ok(Call { generation: self.generation }),
            Phase::Open { until } => Err(until.saturating_duration_since(now).max(FIRST_PAUSE)),
            Phase::HalfOpen => Err(FIRST_PAUSE),
        }
    }

    fn answered(&mut self, call: Call) {
        if self.is_of_now(call) {
            (self.phase, self.pauses) = (Phase::Closed { failures: 0 }, 0);
        }
    }

    /// True when that opened it.
    fn failed(&mut self, call: Call, now: Instant) -> bool {
        let Phase::Closed { failures } = self.phase else { return false };
        if !self.is_of_now(call) {
            return false;
        }
        if failures + 1 < FAILURES {
            self.phase = Phase::Closed { failures: failures + 1 };
            return false;
        }
        self.opened += 1;
        if self.pauses == 0 {
            // A connection that was cut under many calls fails them all at once: ask at once whether more is wrong.
            self.phase = Phase::Open { until: now };
        } else {
            // Pings are answered and calls are not: without a pause it would open and close all the time.
            self.pause(now);
        }
        true
    }

    fn wait(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until } => Some(until.saturating_duration_since(now)),
            Phase::HalfOpen => Some(FIRST_PAUSE),
        }
    }

    fn probe(&mut self, now: Instant) -> bool {
        let due = matches!(self.phase, Phase::Open { until } if until <= now);
        if due {
            self.phase = Phase::HalfOpen;
            self.probes += 1;
        }
        due
    }

    /// A probe was answered.
    fn close(&mut self) {
        self.phase = Phase::Closed { failures: 0 };
        self.generation += 1;
        // Until a call is answered, too, the next opening begins with a pause.
        self.pauses = self.pauses.max(1);
    }

    /// A probe was not answered.
    fn pause(&mut self, now: Instant) {
        let pause = (FIRST_PAUSE * 2_u32.pow(self.pauses.min(8))).min(LONGEST_PAUSE);
        self.pauses = self.pauses.saturating_add(1);
        self.phase = Phase::Open { until: now + pause };
    }

    /// A probe ended without an outcome.
    fn give_back(&mut self, now: Instant) {
        self.phase = Phase::Open { until: now };
    }

    fn is_of_now(&self, call: Call) -> bool {
        matches!(self.phase, Phase::Closed { .. }) && call.generation == self.generation
    }

    fn word(&self) -> u64 {
        let tag = match self.phase {
            Phase::Closed { failures: 0 } if self.pauses == 0 => 0,
            Phase::Closed { .. } => WATCHING,
            Phase::Open { .. } | Phase::HalfOpen => REFUSING,
        };
        self.generation << TAG_BITS | tag
    }
}

const FAILURES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Redis is back at most this long, and a ping, before calls pass again.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

const TAG_BITS: u32 = 2;
/// Calls pass, and an answer has to be noted.
const WATCHING: u64 = 1;
const REFUSING: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::sync::LazyLock;

    const UNKNOWN: Result<(), RedisError> = Err(RedisError::Unknown);

    thread_local! {
        static MILLIS: Cell<u64> = const { Cell::new(0) };
    }

    fn turned() -> Instant {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        *START + Duration::from_millis(MILLIS.get())
    }

    fn breaker() -> Breaker {
        MILLIS.set(0);
        Breaker::with_clock("redis://test".to_owned(), turned)
    }

    fn opened() -> Breaker {
        let breaker = breaker();
        for _ in 0..FAILURES {
            breaker.settle(breaker.call().unwrap(), &UNKNOWN);
        }
        assert_eq!(breaker.report().state, BreakerState::Open);
        breaker
    }

    #[test]
    fn it_opens_when_so_many_calls_in_a_row_had_no_answer() {
        let breaker = breaker();
        for failure in 1..FAILURES {
            assert!(!breaker.settle(breaker.call().unwrap(), &UNKNOWN), "{failure}");
        }
        breaker.settle(breaker.call().unwrap(), &Ok(()));
        for failure in 1..FAILURES {
            assert!(!breaker.settle(breaker.call().unwrap(), &UNKNOWN), "{failure} after an answer");
        }
        assert!(breaker.settle(breaker.call().unwrap(), &UNKNOWN));
        assert!(breaker.call().is_err());
    }

    #[test]
    fn only_a_lost_connection_and_a_deadline_count() {
        let away = RedisError::Unavailable { retry_after: Duration::ZERO };
        for (outcome, counts) in [
            (RedisError::Unknown, true),
            (away, true),
            (RedisError::Overloaded, false),
            (RedisError::Full, false),
            (RedisError::Reply("WRONGTYPE".to_owned()), false),
            (RedisError::Protocol("nil instead of text".to_owned()), false),
        ] {
            let breaker = breaker();
            for _ in 0..FAILURES {
                breaker.settle(breaker.call().unwrap(), &Err::<(), _>(outcome.clone()));
            }
            assert_eq!(breaker.call().is_err(), counts, "{outcome:?}");
        }
    }

    #[test]
    fn a_call_that_is_answered_takes_no_lock() {
        let breaker = breaker();
        let locked = breaker.lock();
        std::thread::scope(|scope| {
            let called = scope.spawn(|| breaker.settle(breaker.call().unwrap(), &Ok(())));
            let began = Instant::now();
            while !called.is_finished() && began.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
            }
            let was_finished = called.is_finished();
            drop(locked); // Else a failure would wait for itself.
            assert!(was_finished);
        });
    }

    #[test]
    fn a_late_answer_does_not_close_it() {
        let breaker = breaker();
        let late = breaker.call().unwrap();
        for _ in 0..FAILURES {
            breaker.settle(breaker.call().unwrap(), &UNKNOWN);
        }
        breaker.settle(late, &Ok(()));
        assert!(breaker.call().is_err());

        let probe = breaker.probe().unwrap();
        breaker.settle(late, &Ok(()));
        assert!(breaker.call().is_err(), "nor while a ping is under way");
        probe.failed();
        assert!(breaker.call().is_err());
    }

    #[test]
    fn late_failures_do_not_open_one_that_was_closed_meanwhile() {
        let breaker = breaker();
        let late: Vec<_> = (0..2 * FAILURES).map(|_| breaker.call().unwrap()).collect();
        for call in &late[..FAILURES as usize] {
            breaker.settle(*call, &UNKNOWN);
        }
        breaker.probe().unwrap().succeeded();
        for call in &late[FAILURES as usize..] {
            assert!(!breaker.settle(*call, &UNKNOWN));
        }
        assert_eq!(breaker.report().failures, 0);
        assert!(breaker.call().is_ok());
    }

    #[test]
    fn a_late_answer_does_not_forget_the_failures_of_calls_that_began_later() {
        let breaker = breaker();
        let late = breaker.call().unwrap();
        for _ in 0..FAILURES {
            breaker.settle(breaker.call().unwrap(), &UNKNOWN);
        }
        breaker.probe().unwrap().succeeded();
        for _ in 1..FAILURES {
            breaker.settle(breaker.call().unwrap(), &UNKNOWN);
        }
        breaker.settle(late, &Ok(()));
        assert!(breaker.settle(breaker.call().unwrap(), &UNKNOWN));
    }

    #[test]
    fn one_probe_at_a_time_and_a_dropped_one_is_there_again() {
        let breaker = opened();
        let probe = breaker.probe().expect("the first is due at once");
        assert_eq!(breaker.report().state, BreakerState::HalfOpen);
        assert!(breaker.probe().is_none());

        drop(probe);
        assert_eq!(breaker.report().state, BreakerState::Open, "no outcome, no verdict");
        assert!(breaker.probe().is_some());
    }

    #[test]
    fn the_pauses_between_probes_double_up_to_the_longest() {
        let breaker = opened();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            breaker.probe().expect("it is due").failed();
            let pause = breaker.wait().unwrap();
            pauses.push(pause.as_millis());
            MILLIS.set(MILLIS.get() + u64::try_from(pause.as_millis()).unwrap() - 1);
            assert!(breaker.probe().is_none(), "a moment too early");
            MILLIS.set(MILLIS.get() + 1);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 500, 500]);
    }

    #[test]
    fn where_pings_are_answered_and_calls_are_not_it_does_not_flap() {
        let breaker = opened();
        breaker.probe().unwrap().succeeded();
        for _ in 0..FAILURES {
            breaker.settle(breaker.call().unwrap(), &UNKNOWN);
        }
        assert!(breaker.wait().unwrap() > Duration::ZERO);

        MILLIS.set(10_000);
        breaker.probe().unwrap().succeeded();
        breaker.settle(breaker.call().unwrap(), &Ok(()));
        for _ in 0..FAILURES {
            breaker.settle(breaker.call().unwrap(), &UNKNOWN);
        }
        assert_eq!(breaker.wait(), Some(Duration::ZERO), "a call was answered in between");
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Begin,
        /// Of the calls under way, the one at this index.
        End(usize, Outcome),
        BeginProbe,
        EndProbe(Outcome),
        Wait(u64),
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Outcome {
        Answered,
        Failed,
        Dropped,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let outcome = || {
            prop_oneof![
                2 => Just(Outcome::Answered),
                5 => Just(Outcome::Failed),
                1 => Just(Outcome::Dropped),
            ]
        };
        let step = prop_oneof![
            6 => Just(Step::Begin),
            6 => (any::<usize>(), outcome()).prop_map(|(index, outcome)| Step::End(index, outcome)),
            2 => Just(Step::BeginProbe),
            2 => outcome().prop_map(Step::EndProbe),
            2 => prop_oneof![1..60_u64, 1..600_u64].prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// The plainest account: for each closed time, what came of the calls that began in it, in order.
    #[derive(Default)]
    struct Model {
        /// The last is of now, or the one that ended with the opening.
        closed_times: Vec<Vec<Outcome>>,
        is_open: bool,
        asks: bool,
        /// Probes without an answer since the opening, and openings since a call was answered.
        pauses: u32,
        ask_at: u64,
    }

    impl Model {
        fn new() -> Self {
            Self { closed_times: vec![Vec::new()], ..Self::default() }
        }

        fn now(&self) -> usize {
            self.closed_times.len() - 1
        }

        fn end(&mut self, began_in: usize, outcome: Outcome) {
            if self.is_open || began_in != self.now() || outcome == Outcome::Dropped {
                return;
            }
            let of_now = &mut self.closed_times[began_in];
            of_now.push(outcome);
            if outcome == Outcome::Answered {
                self.pauses = 0;
            }
            let last: Vec<_> = of_now.iter().rev().take(5).collect();
            if last.len() == 5 && last.iter().all(|it| **it == Outcome::Failed) {
                self.is_open = true;
                self.ask_at = MILLIS.get();
                if self.pauses > 0 {
                    self.pause();
                }
            }
        }

        fn pause(&mut self) {
            let pauses = [50, 100, 200, 400, 500];
            self.ask_at = MILLIS.get() + pauses[self.pauses.min(4) as usize];
            self.pauses += 1;
        }

        fn end_probe(&mut self, outcome: Outcome) {
            self.asks = false;
            match outcome {
                Outcome::Answered => {
                    self.is_open = false;
                    self.closed_times.push(Vec::new());
                    self.pauses = self.pauses.max(1);
                }
                Outcome::Failed => self.pause(),
                Outcome::Dropped => self.ask_at = MILLIS.get(),
            }
        }

        fn state(&self) -> BreakerState {
            match (self.is_open, self.asks) {
                (false, _) => BreakerState::Closed,
                (true, false) => BreakerState::Open,
                (true, true) => BreakerState::HalfOpen,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_does_what_its_model_does(steps in steps()) {
            let (breaker, mut model) = (breaker(), Model::new());
            let mut calls: Vec<(Call, usize)> = Vec::new();
            let mut probe = None;
            for step in steps {
                match step {
                    Step::Begin => {
                        let call = breaker.call();
                        prop_assert_eq!(call.is_ok(), !model.is_open);
                        calls.extend(call.ok().map(|call| (call, model.now())));
                    }
                    Step::End(_, _) if calls.is_empty() => {}
                    Step::End(index, outcome) => {
                        let (call, began_in) = calls.swap_remove(index % calls.len());
                        let was_open = model.is_open;
                        model.end(began_in, outcome);
                        let opened = match outcome {
                            Outcome::Answered => breaker.settle(call, &Ok(())),
                            Outcome::Failed => breaker.settle(call, &UNKNOWN),
                            Outcome::Dropped => false,
                        };
                        prop_assert_eq!(opened, model.is_open && !was_open);
                    }
                    Step::BeginProbe => {
                        let is_due = model.is_open && !model.asks && model.ask_at <= MILLIS.get();
                        let begun = breaker.probe();
                        prop_assert_eq!(begun.is_some(), is_due);
                        if is_due {
                            (probe, model.asks) = (begun, true);
                        }
                    }
                    Step::EndProbe(outcome) => {
                        let Some(probe) = probe.take() else { continue };
                        model.end_probe(outcome);
                        match outcome {
                            Outcome::Answered => probe.succeeded(),
                            Outcome::Failed => probe.failed(),
                            Outcome::Dropped => drop(probe),
                        }
                    }
                    Step::Wait(millis) => MILLIS.set(MILLIS.get() + millis),
                }
                prop_assert_eq!(breaker.report().state, model.state());
            }
        }
    }
}
