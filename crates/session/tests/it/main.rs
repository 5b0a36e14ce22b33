//! Sessions against real servers.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod costs;
mod full;
mod interleavings;
mod lives;
mod secrecy;
mod support;
mod tokens;
