//! The engine on real Redis servers, through its public API.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails, also in helpers")]

mod fence;
mod full;
mod life;
mod operations;
mod support;
mod watch;
mod watch_faults;
