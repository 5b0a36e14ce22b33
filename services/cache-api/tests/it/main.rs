//! cache-api over HTTP: the real binary on a real Redis. A module per file of `routes/`, and what holds for all.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod access;
mod bad_input;
mod batch;
mod entries;
mod invalidate;
mod operations;
mod redis_away;
mod sessions;
mod support;
