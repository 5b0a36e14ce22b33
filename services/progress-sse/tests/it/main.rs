//! The service as clients see it: the real binary, a real Redis.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails, also in helpers")]

mod bad_input;
mod correlations;
mod events;
mod operations;
mod rights;
mod support;
mod updates;
mod watch_page;
