//! Waiting for a state, never for a delay.

use std::panic::Location;
use std::time::{Duration, Instant};

/// What a probe of [`until`] may return: `bool`, or an `Option` whose value is handed back.
pub trait Settled {
    /// What [`until`] returns once the state is reached.
    type Value;
    /// The value when the state is reached, else `None`.
    fn settled(self) -> Option<Self::Value>;
}

impl Settled for bool {
    type Value = ();
    fn settled(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Settled for Option<T> {
    type Value = T;
    fn settled(self) -> Option<T> {
        self
    }
}

/// Asks `probe` again and again until it answers `true` or `Some(value)`, and returns the value.
///
/// Asks at once, then every 2 ms, later every 40 ms.
///
/// # Panics
/// When the state was not reached within `deadline`; the message names the caller's line.
#[track_caller]
pub fn until<S: Settled, F: Future<Output = S>>(
    mut probe: impl FnMut() -> F,
    deadline: Duration,
) -> impl Future<Output = S::Value> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(value) = probe().await.settled() {
                return value;
            }
            let waited = start.elapsed();
            assert!(waited < deadline, "{caller}: the state was not reached within {deadline:?}");
            tokio::time::sleep(pause.min(deadline.saturating_sub(waited))).await;
            pause = (pause * 2).min(Duration::from_millis(40));
        }
    }
}

/// [`until`] for callers that cannot await, such as `Drop`; `false` when time ran out.
pub(crate) fn within(deadline: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if probe() {
            return true;
        }
        if start.elapsed() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
