//! One clock: Redis decides for all nodes. Only tests (and later the dev mode) turn it by hand.

use crate::Arg;
use domain::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The Lua that each script shares: `clock_us()`, `clock_ms()`, `next_stamp(last)`.
pub const CLOCK_LUA: &str = include_str!("scripts/clock.lua");

/// Whose time counts. Every script call passes it as `ARGV[1]`.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// Redis's own `TIME`, read inside each script: what production uses.
    pub fn redis() -> Self {
        Self(None)
    }

    /// A clock that stands still until it is turned. All clones turn together.
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.millis()))))
    }

    /// Turns a manual clock forward.
    ///
    /// # Panics
    /// On Redis's clock, which nobody turns.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).expect("no test turns the clock by an age of the world");
        self.turned().fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets a manual clock, backwards too.
    ///
    /// # Panics
    /// On Redis's clock, which nobody turns.
    pub fn set(&self, now: Timestamp) {
        self.turned().store(now.millis(), Ordering::SeqCst);
    }

    /// The moment for logs and hints. Whatever decides is decided in a script, by the same clock.
    #[expect(clippy::disallowed_methods, reason = "the one home of the wall clock")]
    pub fn now(&self) -> Timestamp {
        let millis = match &self.0 {
            Some(turned) => turned.load(Ordering::SeqCst),
            None => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        };
        Timestamp::from_millis(millis)
    }

    /// It stands still unless a test turns it.
    pub fn is_manual(&self) -> bool {
        self.0.is_some()
    }

    /// `ARGV[1]` of a script: empty for Redis's own time, else milliseconds.
    pub(crate) fn arg(&self) -> Arg {
        match &self.0 {
            Some(turned) => Arg::from(turned.load(Ordering::SeqCst)),
            None => Arg::from(""),
        }
    }

    fn turned(&self) -> &AtomicI64 {
        self.0.as_deref().expect("only a manual clock is turned")
    }
}
